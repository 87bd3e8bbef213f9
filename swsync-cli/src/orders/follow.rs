//! Follows an order from the moment it is given to the last device's answer, and handles signals meanwhile.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use serde_json::json;
use swsync_core::name::DeviceId;
use swsync_core::order::{
    CommandOutcome, Disagreement, FrameOutcome, Order, OrderCommand, OrderKind, OrderRoster, RecordedFrames,
};
use swsync_core::time::Span;
use swsync_rig::{DeviceOutcome, Session, Summary};

use super::progress::ProgressDisplay;
use swsync_client::leaders;
use swsync_client::snapshot::{RigSnapshot, STATUS_TIMEOUT, STOP_LEAD, timeout};

use super::{bounds, report};
use crate::exit;
use crate::output::{self, tell, warn};
use crate::signals::{Signal, on_signal};

/// Devices are asked for their answers at once if the order is settled within this time. A longer order is offered, watched,
/// and asked for at its end: a device may be out of reach for a while.
const SHORT: Duration = Duration::from_secs(10);
/// How long devices have to take an order.
const OFFER: Duration = Duration::from_millis(2_500);
/// Time from one question about open orders to the next.
const WATCH: Duration = Duration::from_secs(1);
/// Extensions of files that hold one frame.
const PICTURES: [&str; 8] = ["jpg", "jpeg", "png", "tif", "tiff", "webp", "bayer", "raw"];
/// The order is over if so many times in a row every device answered and none had it open.
const CLOSED: u32 = 2;
/// How often a signal is looked for.
const NOTICE: Duration = Duration::from_millis(50);

/// An order that is about to be given, and how to report on it.
pub struct FollowOrder<'a> {
    pub session: &'a Session,
    pub snapshot: &'a RigSnapshot,
    pub json: bool,
    /// Longest wait for answers, if the user set one.
    pub timeout: Option<Duration>,
    /// The command that asks again, printed after an interrupt.
    pub again: String,
    /// Whether the user set a length of video files.
    pub is_cut: bool,
    /// How far pictures may be apart; `None`: as they like.
    pub max_error: Option<Span>,
}

/// The devices that have saved pictures.
fn savers_of_pictures(summary: &Summary) -> impl Iterator<Item = &DeviceId> {
    let is_picture = |file: &str| {
        let extension = Path::new(file).extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| PICTURES.contains(&extension))
    };
    summary.outcomes.iter().filter_map(move |outcome| match outcome {
        DeviceOutcome::Answered(answer) => {
            let files = answer.frames.iter().filter_map(|run| match &run.outcome {
                FrameOutcome::Saved { file, .. } | FrameOutcome::Recorded(RecordedFrames { file, .. }) => {
                    Some(file)
                }
                _ => None,
            });
            files.into_iter().any(|file| is_picture(file)).then_some(&answer.device)
        }
        _ => None,
    })
}

/// What a signal interrupts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The order runs, and can be stopped.
    Running,
    /// The order is being stopped.
    Stopping,
    /// Devices are asked for their answers; `answered` is how many have given one.
    Asking { answered: usize, stopped: bool },
}

impl FollowOrder<'_> {
    /// Gives `order`, described by `what`, and follows it.
    ///
    /// # Errors
    /// No device is there any more. What devices answer is an exit code, not an error.
    pub fn run(&self, mut order: Order, what: &str) -> anyhow::Result<ExitCode> {
        let now = self.snapshot.now();
        let settled = self.snapshot.settled(&order);
        // A take can be stopped, however short it is.
        let is_take = matches!(order.kind(), OrderKind::Take { .. });
        let is_short = !is_take && settled.is_some_and(|settled| (settled - now).to_duration() < SHORT);
        if !self.json {
            output::line(&format!("{}  {what}", order.id()));
        }
        let asking = |answered, stopped| Stage::Asking { answered, stopped };
        let stage = Arc::new(Mutex::new(if is_short { asking(0, false) } else { Stage::Running }));
        handle_signals(Arc::clone(&stage), self.snapshot.devices().count(), self.again.clone())?;
        let (given, mut stopped) = (Instant::now(), false);
        if !is_short {
            self.offer(&order)?;
            stopped = self.watch(&mut order, &stage);
            *stage.lock() = asking(0, stopped);
        }
        let left = self
            .timeout
            .unwrap_or_else(|| timeout(&order, self.snapshot.now(), self.snapshot.settled(&order)));
        let summary =
            collect_answers(self.session, &order, given, left, self.json, self.snapshot, |answered| {
                *stage.lock() = asking(answered, stopped);
            })?;
        for device in savers_of_pictures(&summary).filter(|_| self.is_cut) {
            warn(&format!(
                "{device} saves pictures, a file for each frame: --segment changes nothing there (videos are saved of \
                 what an encoder of video before swsyncsink makes)"
            ));
        }
        // Much may have happened since the order was given.
        let later = (given.elapsed() > leaders::HANDOVER).then(|| RigSnapshot::take(self.session));
        let snapshot = later.as_ref().unwrap_or(self.snapshot);
        Ok(conclude(self.session, &order, summary, snapshot, self.max_error, self.json))
    }

    /// Offers the order to the devices, and warns of those that do not take it. Returns whether all did.
    pub fn offer(&self, order: &Order) -> anyhow::Result<bool> {
        let heard = self.session.offer(order, OFFER);
        if heard.is_empty() {
            return Err(self.session.nobody_there(OFFER).into());
        }
        let mut all = true;
        for heard in heard {
            if let Err(why) = heard.reply {
                all = false;
                warn(&format!("{} has not taken the order: {why}", heard.device));
            }
        }
        Ok(all)
    }

    /// Waits until the order is over: stopped here, ended elsewhere, or complete. Returns whether a signal stopped it here.
    fn watch(&self, order: &mut Order, stage: &Mutex<Stage>) -> bool {
        let mut progress = ProgressDisplay::new(order.id().clone(), order.targets().clone());
        let mut next = Instant::now() + WATCH;
        let mut closed = 0;
        loop {
            if *stage.lock() == Stage::Stopping {
                tell(&format!("stopping {} on all devices", order.id()));
                let at = self.snapshot.now() + STOP_LEAD;
                order.stop_at(at);
                command(self.session, &OrderCommand::Stop { order: order.id().clone(), at_ns: at }, order);
                std::thread::sleep((at - self.snapshot.now()).to_duration());
                return true;
            }
            if order.ends_at(self.snapshot.longest_period()).is_some_and(|end| end <= self.snapshot.now()) {
                return false;
            }
            if Instant::now() >= next {
                let known = self.session.known(STATUS_TIMEOUT);
                let is_open = known.registry.orders.iter().any(|open| open.id() == order.id());
                // An order that is open nowhere was cancelled, or stopped with its device.
                closed = if is_open || !known.silent.is_empty() { 0 } else { closed + 1 };
                if apply_changes(order, &known.registry) || closed >= CLOSED {
                    tell(&format!("{} was ended elsewhere, or is open on no device any more", order.id()));
                    return false;
                }
                progress.show(self.session);
                next = Instant::now() + WATCH;
            }
            std::thread::sleep(NOTICE);
        }
    }
}

/// Applies to `order` what was done to it elsewhere. Returns whether it was cancelled.
fn apply_changes(order: &mut Order, known: &OrderRoster) -> bool {
    let id = order.id().clone();
    let mut cancelled = false;
    if let Some(stop) = known.orders.iter().find(|known| *known.id() == id).and_then(Order::stop) {
        order.stop_at(stop);
    }
    for command in known.commands.iter().filter(|command| *command.order() == id) {
        match command {
            OrderCommand::Stop { at_ns, .. } => order.stop_at(*at_ns),
            OrderCommand::Cancel { .. } => cancelled = true,
        }
    }
    cancelled
}

/// Sends a command for `order`, and warns of devices that did not get it, or too late.
pub fn command(session: &Session, command: &OrderCommand, order: &Order) {
    for heard in session.command(command, order.targets(), OFFER) {
        let device = &heard.device;
        match heard.reply {
            Ok(acknowledgement) => match acknowledgement.outcome {
                CommandOutcome::Late { surplus } => warn(&format!(
                    "{device} heard too late: it has recorded {surplus} frames after that instant"
                )),
                CommandOutcome::Unknown => warn(&format!("{device} does not know of order {}", order.id())),
                CommandOutcome::Open | CommandOutcome::Answered => {}
            },
            Err(why) => warn(&format!(
                "{device} may not have heard it: {why}. It learns of it when it is back in the rig"
            )),
        }
    }
}

/// Asks every device for its answer to `order`, which was given at `since`, and prints each row as it comes.
///
/// # Errors
/// There is no device.
pub fn collect_answers(
    session: &Session,
    order: &Order,
    since: Instant,
    timeout: Duration,
    json: bool,
    snapshot: &RigSnapshot,
    mut answered: impl FnMut(usize),
) -> anyhow::Result<Summary> {
    let width = snapshot.devices().map(|device| device.as_str().len()).max().unwrap_or_default();
    let table = report::table(width);
    if !json {
        output::line(&table.headings());
    }
    let mut count = 0;
    let summary = session.place_since(order, since, timeout, |outcome| {
        count += 1;
        answered(count);
        if !json {
            let row = report::row(outcome).map(|cell| snapshot.common.with_leaders(&cell));
            output::line(&table.row(&row));
        }
    });
    summary.with_context(|| format!("order {}", order.id()))
}

/// Prints differences and the last line, or the JSON; returns the exit code. `snapshot`: of the rig when the frames were taken, or
/// later.
pub fn conclude(
    session: &Session,
    order: &Order,
    mut summary: Summary,
    snapshot: &RigSnapshot,
    max_error: Option<Span>,
    json: bool,
) -> ExitCode {
    let common = snapshot.common_of(order.targets());
    summary.differences.extend(common.clock_disagreements());
    for difference in &mut summary.differences {
        difference.what = common.with_leaders(&difference.what);
    }
    if let Some(split) = leaders::lasting_split(session, order.targets(), snapshot) {
        match split.is_apart {
            true => summary.differences.push(Disagreement { what: split.what, devices: split.devices }),
            false => warn(&split.what),
        }
    }
    for difference in &summary.differences {
        warn(&difference.what);
    }
    let bounds = bounds::of(&summary, max_error);
    for shortfall in bounds::shortfalls(&bounds) {
        warn(&shortfall);
    }
    if json {
        let mut json = report::json(order, &summary, &common);
        json["bounds"] = json!(bounds);
        output::line(&json.to_string());
    } else {
        output::line(&format!("{}{}", report::verdict(&summary), bounds::text(&bounds)));
    }
    ExitCode::from(match (summary.is_complete(), bounds.passes) {
        (false, _) => exit::INCOMPLETE,
        (true, false) => exit::NOT_PROVEN,
        (true, true) => 0,
    })
}

/// From now on a signal stops an order that runs. If there is nothing to stop, the command ends and says that the order
/// stands. While an order is being stopped only Ctrl-C ends the command: the end of a session sends more than one signal.
fn handle_signals(stage: Arc<Mutex<Stage>>, devices: usize, again: String) -> anyhow::Result<()> {
    on_signal(move |signal| {
        let mut stage = stage.lock();
        match *stage {
            Stage::Running => *stage = Stage::Stopping,
            Stage::Stopping | Stage::Asking { stopped: true, .. } if signal != Signal::Interrupt => {}
            Stage::Stopping => {
                tell("interrupted before all devices had heard the stop; to stop the order: swsync stop");
                std::process::exit(signal.exit_code());
            }
            Stage::Asking { answered, .. } => {
                tell(&interrupted(answered, devices, &again));
                std::process::exit(signal.exit_code());
            }
        }
    })
    .context("cannot catch signals")
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
    use crate::testing::name;
    use swsync_core::order::Fill;
    use swsync_core::time::Timestamp;

    #[test]
    fn after_an_interrupt_the_command_to_ask_again_is_printed() {
        let text = interrupted(1, 3, "swsync shoot --id o1 --at 5 --count 2");
        assert!(text.contains("1 of 3") && text.ends_with("swsync shoot --id o1 --at 5 --count 2"), "{text}");
    }

    #[test]
    fn only_devices_that_save_pictures_are_found() {
        let answered = |device: &str, file: &str| {
            let recorded = RecordedFrames {
                file: file.into(),
                last_file: None,
                bytes: 1,
                phase_error_ns: swsync_core::time::Span::ZERO,
                clock_uncertainty_ns: None,
                unlocked: 0,
                unsynced: 0,
                bound_ns: None,
            };
            DeviceOutcome::Answered(swsync_core::order::Answer {
                order: name("t"),
                device: name(device),
                frames: vec![swsync_core::order::FrameRun::one(7, FrameOutcome::Recorded(recorded))],
                unnumbered: None,
                unfinished: None,
                basis: swsync_core::order::TimeBasis { timescale: None, rate: None },
            })
        };
        let outcomes = vec![answered("a", "/x/t/a/00000007.jpg"), answered("b", "/x/t/b/0000.mp4")];
        let summary = Summary { outcomes, differences: Vec::new() };
        assert_eq!(savers_of_pictures(&summary).map(DeviceId::as_str).collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn stops_and_cancellations_from_elsewhere_are_applied() {
        let at = Timestamp::from_nanos;
        let kind = OrderKind::Take { segment: None, fill: Fill::Hold };
        let take = |id: &str, stop| Order::new(name(id), at(5), stop, kind).unwrap();
        let stop = |id: &str, ns| OrderCommand::Stop { order: name(id), at_ns: at(ns) };
        let applied = |orders: Vec<Order>, commands: Vec<OrderCommand>| {
            let mut order = take("t", None);
            let cancelled = apply_changes(&mut order, &OrderRoster { orders, commands });
            (order.stop(), cancelled)
        };
        assert_eq!(applied(vec![take("t", None), take("u", Some(at(7)))], vec![stop("u", 7)]), (None, false));
        assert_eq!(applied(vec![take("t", Some(at(9)))], Vec::new()), (Some(at(9)), false));
        assert_eq!(
            applied(Vec::new(), vec![stop("t", 9), stop("t", 8)]),
            (Some(at(8)), false),
            "answered everywhere"
        );
        assert_eq!(applied(Vec::new(), vec![OrderCommand::Cancel { order: name("t") }]), (None, true));
    }
}
