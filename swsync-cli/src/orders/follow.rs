//! An order from the moment it is given to the last device's answer, with Ctrl-C on the way.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use swsync_core::grid::FrameGrid;
use swsync_core::name::DeviceId;
use swsync_core::order::{Command, Order, Registry, Standing};
use swsync_core::time::{Rig, Timestamp};
use swsync_rig::control::{DeviceOutcome, Session, Summary};

use super::progress::Progress;
use super::{Look, STATUS_TIMEOUT, STOP_LEAD, report, timeout};
use crate::exit;
use crate::output;
use crate::table::clean;

/// An order that is settled within this is asked for its answer at once. For a longer one devices are offered it,
/// watched, and asked in the end: a device may be out of reach for a while.
const SHORT: Duration = Duration::from_secs(10);
/// How long devices have to take an order.
const OFFER: Duration = Duration::from_secs(5);
/// Between two looks at how far it is.
const WATCH: Duration = Duration::from_secs(1);
/// How often it is looked whether it was interrupted.
const NOTICE: Duration = Duration::from_millis(50);

/// How an order is followed.
pub struct Follow<'a> {
    pub session: &'a Session,
    pub look: &'a Look,
    pub json: bool,
    /// Longest wait for answers, where the user gave one.
    pub timeout: Option<Duration>,
    /// How to ask again, for whoever interrupts.
    pub again: String,
}

/// What Ctrl-C finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The order runs, and can be stopped.
    Running,
    /// It is to be stopped.
    Interrupted,
    /// Devices are asked for their answers; so many have given one.
    Asking(usize),
}

type Shared = Arc<Mutex<Stage>>;

fn stage(shared: &Shared) -> MutexGuard<'_, Stage> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Follow<'_> {
    /// Gives `order`, described by `what`, and follows it.
    ///
    /// # Errors
    /// Where no device is there any more. What devices answer is an exit code, not an error.
    pub fn run(&self, mut order: Order, what: &str) -> anyhow::Result<ExitCode> {
        let now = self.look.now();
        let settled = order.settled_at(self.look.slowest());
        let is_short = settled.is_some_and(|settled| (settled - now).to_duration() < SHORT);
        if !self.json {
            output::line(&format!("{}  {what}", order.id()));
        }
        let shared = Arc::new(Mutex::new(if is_short { Stage::Asking(0) } else { Stage::Running }));
        on_interrupt(Arc::clone(&shared), self.look.roster.len(), self.again.clone())?;
        if !is_short {
            self.offer(&order)?;
            self.watch(&mut order, &shared);
            *stage(&shared) = Stage::Asking(0);
        }
        let left = self.timeout.unwrap_or_else(|| timeout(&order, self.look.now(), self.look.slowest()));
        let summary = collect_answers(self.session, &order, left, self.json, self.look, |answered| {
            *stage(&shared) = Stage::Asking(answered);
        })?;
        Ok(conclude(&order, &summary, self.look, self.json))
    }

    /// Has the devices take the order; says who does not. Whether all have.
    pub fn offer(&self, order: &Order) -> anyhow::Result<bool> {
        let heard = self.session.offer(order, OFFER);
        if heard.is_empty() {
            return Err(self.session.nobody_there(OFFER).into());
        }
        let mut all = true;
        for heard in heard {
            if let Err(why) = heard.reply {
                all = false;
                eprintln!("swsync: warning: {} has not taken the order: {}", heard.device, clean(&why));
            }
        }
        Ok(all)
    }

    /// Until the order is over, or is stopped by Ctrl-C.
    fn watch(&self, order: &mut Order, shared: &Shared) {
        let mut progress = Progress::new(order.id().clone(), order.targets().clone());
        let mut next = Instant::now() + WATCH;
        loop {
            let over = order.ends_at(self.look.slowest()).is_some_and(|end| end <= self.look.now());
            if over {
                return;
            }
            if *stage(shared) == Stage::Interrupted {
                let _ = writeln!(std::io::stderr(), "\nswsync: stopping {} on all devices", order.id());
                let at = self.look.now() + STOP_LEAD;
                self.stop(order, at);
                std::thread::sleep(STOP_LEAD.to_duration());
                return;
            }
            if Instant::now() >= next {
                if self.heed(order) {
                    return;
                }
                progress.show(self.session);
                next = Instant::now() + WATCH;
            }
            std::thread::sleep(NOTICE);
        }
    }

    /// Takes over a stop that was given elsewhere. Whether the order was cancelled.
    fn heed(&self, order: &mut Order) -> bool {
        heed(order, &self.session.registry(STATUS_TIMEOUT))
    }

    fn stop(&self, order: &mut Order, at: Timestamp<Rig>) {
        order.stop_at(at);
        let command = Command::Stop { order: order.id().clone(), at_ns: at };
        tell(self.session, &command, order);
    }
}

fn heed(order: &mut Order, known: &Registry) -> bool {
    let id = order.id().clone();
    let mut cancelled = false;
    if let Some(stop) = known.orders.iter().find(|known| *known.id() == id).and_then(Order::stop) {
        order.stop_at(stop);
    }
    for command in known.commands.iter().filter(|command| *command.order() == id) {
        match command {
            Command::Stop { at_ns, .. } => order.stop_at(*at_ns),
            Command::Cancel { .. } => cancelled = true,
        }
    }
    cancelled
}

/// Gives a command for `order`, and says who has not heard it, or too late.
pub fn tell(session: &Session, command: &Command, order: &Order) {
    for heard in session.command(command, order.targets(), OFFER) {
        let device = &heard.device;
        match heard.reply {
            Ok(acknowledgement) => match acknowledgement.standing {
                Standing::Late { surplus } => eprintln!(
                    "swsync: warning: {device} heard too late: it has recorded {surplus} frames after that instant"
                ),
                Standing::Unknown => {
                    eprintln!("swsync: warning: {device} does not know of order {}", order.id())
                }
                Standing::Open | Standing::Answered => {}
            },
            Err(why) => eprintln!(
                "swsync: warning: {device} may not have heard it: {}. It learns of it when it is back in the rig",
                clean(&why)
            ),
        }
    }
}

/// Asks every device what became of `order`, and prints a row for each as it answers.
///
/// # Errors
/// Where no device is there.
pub fn collect_answers(
    session: &Session,
    order: &Order,
    timeout: Duration,
    json: bool,
    look: &Look,
    mut answered: impl FnMut(usize),
) -> anyhow::Result<Summary> {
    let width = look.roster.iter().map(|device| device.as_str().len()).max().unwrap_or_default();
    let table = report::table(width);
    if !json {
        output::line(&table.headings());
    }
    let mut count = 0;
    let summary = session.place(order, timeout, |outcome| {
        count += 1;
        answered(count);
        if !json {
            output::line(&table.row(&report::row(outcome)));
        }
    });
    summary.with_context(|| format!("order {}", order.id()))
}

/// The last words about an order, and its exit code.
pub fn conclude(order: &Order, summary: &Summary, look: &Look, json: bool) -> ExitCode {
    let odd = odd_ones(order, summary, &rates(look));
    for why in &odd {
        eprintln!("swsync: warning: {}", clean(why));
    }
    if json {
        output::line(&report::json(order, summary, &odd).to_string());
    } else {
        output::line(&report::verdict(summary, &odd));
    }
    let whole = summary.is_complete() && odd.is_empty();
    ExitCode::from(if whole { 0 } else { exit::INCOMPLETE })
}

fn rates(look: &Look) -> BTreeMap<DeviceId, FrameGrid> {
    let rate = |report: &swsync_rig::control::StatusReport| {
        Some((report.status.device.clone(), report.status.frames.as_ref()?.rate))
    };
    look.reports.iter().filter_map(rate).collect()
}

/// Devices that answer for other frames than `order` asked for, or than others with the same rate: the id was given to
/// another order before, or a stop was heard too late.
fn odd_ones(order: &Order, summary: &Summary, rates: &BTreeMap<DeviceId, FrameGrid>) -> Vec<String> {
    let mut first: BTreeMap<(u32, u32), (&DeviceId, u64)> = BTreeMap::new();
    let mut odd = Vec::new();
    for outcome in &summary.outcomes {
        let DeviceOutcome::Answered(answer) = outcome else { continue };
        let device = &answer.device;
        let rate = answer.grid.or_else(|| rates.get(device).copied());
        if let Some(why) = answer.strays_from(order, rate) {
            odd.push(format!("{device} {why}"));
            continue;
        }
        let Some(rate) = rate else { continue };
        let (other, count) = *first.entry(rate.rate()).or_insert((device, answer.named()));
        if count != answer.named() {
            odd.push(format!("{device} accounts for {} frames, and {other} for {count}", answer.named()));
        }
    }
    odd
}

/// Has Ctrl-C stop an order that runs; later it ends the command and says that the order stands.
fn on_interrupt(shared: Shared, devices: usize, again: String) -> anyhow::Result<()> {
    ctrlc::set_handler(move || {
        let mut stage = stage(&shared);
        match *stage {
            Stage::Running => *stage = Stage::Interrupted,
            Stage::Interrupted => {
                let _ = writeln!(std::io::stderr(), "\nswsync: the order goes on; to stop it: swsync stop");
                std::process::exit(i32::from(exit::INTERRUPTED));
            }
            Stage::Asking(answered) => {
                let text = interrupted(answered, devices, &again);
                let _ = writeln!(std::io::stderr(), "\nswsync: {}", clean(&text)); // it may be closed
                std::process::exit(i32::from(exit::INTERRUPTED));
            }
        }
    })
    .context("cannot catch Ctrl-C")
}

fn interrupted(answered: usize, devices: usize, again: &str) -> String {
    format!(
        "interrupted, but the order stands: {answered} of {devices} devices had answered, and the others still \
         save their frames. To ask again: {again}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{answer, name};
    use swsync_core::order::{Answer, Fill, Kind};

    #[test]
    fn whoever_interrupts_can_ask_again() {
        let text = interrupted(1, 3, "swsync shoot --id o1 --at 5 --count 2");
        assert!(text.contains("1 of 3") && text.ends_with("swsync shoot --id o1 --at 5 --count 2"), "{text}");
    }

    #[test]
    fn what_is_done_to_an_order_elsewhere_is_heeded() {
        let at = Timestamp::from_nanos;
        let kind = Kind::Take { segment: None, fill: Fill::Hold };
        let take = |id: &str, stop| Order::new(name(id), at(5), stop, kind).unwrap();
        let stop = |id: &str, ns| Command::Stop { order: name(id), at_ns: at(ns) };
        let heeded = |orders: Vec<Order>, commands: Vec<Command>| {
            let mut order = take("t", None);
            let cancelled = heed(&mut order, &Registry { orders, commands });
            (order.stop(), cancelled)
        };
        assert_eq!(heeded(vec![take("t", None), take("u", Some(at(7)))], vec![stop("u", 7)]), (None, false));
        assert_eq!(heeded(vec![take("t", Some(at(9)))], Vec::new()), (Some(at(9)), false));
        assert_eq!(
            heeded(Vec::new(), vec![stop("t", 9), stop("t", 8)]),
            (Some(at(8)), false),
            "answered everywhere"
        );
        assert_eq!(heeded(Vec::new(), vec![Command::Cancel { order: name("t") }]), (None, true));
    }

    #[test]
    fn devices_with_other_frames_than_asked_for_or_than_others_are_named() {
        let rate = |rate| FrameGrid::new(rate, 1).unwrap();
        let take = |grid: FrameGrid, stop: Option<u64>| {
            let kind = Kind::Take { segment: None, fill: Fill::Hold };
            Order::new(name("o1"), grid.instant(0), stop.map(|stop| grid.instant(stop)), kind).unwrap()
        };
        let answered = |device: &str, numbers: std::ops::Range<u64>| {
            let missed = |number| crate::testing::missed(number, "dropped");
            let answer = Answer { device: name(device), ..answer(numbers.map(missed).collect()) };
            DeviceOutcome::Answered(answer)
        };
        let rates = [(name("a"), rate(30)), (name("b"), rate(30)), (name("c"), rate(60))].into();
        let odd = |order: &Order, outcomes| odd_ones(order, &Summary { outcomes }, &rates);
        let outcomes = vec![answered("a", 0..3), answered("b", 0..5), answered("c", 0..6)];
        let endless = take(rate(30), None);
        assert_eq!(odd(&endless, outcomes.clone()), ["b accounts for 5 frames, and a for 3"]);
        let [why] = &odd(&take(rate(30), Some(3)), outcomes)[..] else { panic!() };
        assert_eq!(why, "b accounts for 5 frames, 0 to 4, where it was asked for 3");
        let [why] = &odd(&endless, vec![answered("a", 0..3), answered("b", 9..12)])[..] else { panic!() };
        assert!(why.starts_with("b answers for frames from 9 on"), "{why}");
    }
}
