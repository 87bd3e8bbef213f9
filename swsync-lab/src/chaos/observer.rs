//! The observer: a process in a network of its own, beside the devices, that asks them how they are and gives orders. Where the
//! network is cut in two, each part has one.

use std::io::BufRead as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use swsync_core::name::{Name, OrderId};
use swsync_core::order::{Order, OrderKind};
use swsync_core::time::Span;
use swsync_rig::{RigConfig, Session, StatusReport};
use swsync_time::host_now;

use super::protocol::{Command, Heard, Observation, Outcome, host_time};
use swsync_cli::output;
use swsync_cli::rig_time::ReportedRigTime;

/// Devices are asked this often: each thread asks once a second.
const ASKING_THREADS: u32 = 5;
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// A device that says nothing for so long is not heard in this round.
const ASK_TIMEOUT: Duration = Duration::from_millis(900);
/// How long devices may take to answer an order: an answer comes once all frames are decided.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Rig time as it was reported last.
type Clock = Arc<Mutex<Option<ReportedRigTime>>>;

/// Observes until standard input ends.
///
/// # Errors
/// The network cannot be joined.
pub fn run(rig: &Name) -> anyhow::Result<()> {
    let session = Session::open_unshared(&RigConfig::discovering(rig.clone()))?;
    let clock = Clock::default();
    for index in 0..ASKING_THREADS {
        let (session, clock) = (session.clone(), clock.clone());
        std::thread::spawn(move || {
            std::thread::sleep(ASK_INTERVAL / ASKING_THREADS * index);
            ask_for_ever(&session, &clock);
        });
    }
    for line in std::io::stdin().lock().lines() {
        let command: Command = serde_json::from_str(&line?).context("a command that cannot be read")?;
        let (session, clock) = (session.clone(), clock.clone());
        std::thread::spawn(move || match command {
            Command::Give { id, from_now, count } => give_new(&session, &clock, id, from_now, count),
            Command::GiveAgain(order) => give(&session, &order),
        });
    }
    Ok(())
}

fn tell(observation: &Observation) {
    output::line(&serde_json::to_string(observation).expect("an observation is plain data"));
}

fn ask_for_ever(session: &Session, clock: &Clock) {
    loop {
        let begun = Instant::now();
        let reports = session.statuses(ASK_TIMEOUT);
        // A clock that nobody reports any more goes on: the rig may be between two leaders.
        if let Some(best) = ReportedRigTime::best(&reports) {
            *clock.lock() = Some(best);
        }
        let heard = |report: StatusReport| Heard { at: host_time(report.heard), what: report.status };
        tell(&Observation::Statuses(reports.into_iter().map(heard).collect()));
        std::thread::sleep(ASK_INTERVAL.saturating_sub(begun.elapsed()));
    }
}

fn give_new(session: &Session, clock: &Clock, id: OrderId, from_now: Span, count: u32) {
    let Some(clock) = *clock.lock() else {
        let why = "no device has told the time".to_owned();
        tell(&Observation::NotGiven { id, at: host_now(), why });
        return;
    };
    let at = clock.at(Instant::now()) + from_now;
    let kind = match count {
        1 => OrderKind::Still { every: None, count: Some(1) },
        count => OrderKind::Burst { count },
    };
    match Order::new(id.clone(), at, None, kind) {
        Ok(order) => {
            tell(&Observation::Given(Heard { at: host_now(), what: order.clone() }));
            give(session, &order);
        }
        Err(error) => tell(&Observation::NotGiven { id, at: host_now(), why: error.to_string() }),
    }
}

fn give(session: &Session, order: &Order) {
    let placed = session.place(order, ANSWER_TIMEOUT, |outcome| {
        tell(&Observation::Outcome {
            order: order.id().clone(),
            device: outcome.device().clone(),
            outcome: Heard { at: host_now(), what: Outcome::from(outcome) },
        });
    });
    if let Err(error) = placed {
        tell(&Observation::NotGiven { id: order.id().clone(), at: host_now(), why: error.to_string() });
    }
    tell(&Observation::Ended { order: order.id().clone() });
}
