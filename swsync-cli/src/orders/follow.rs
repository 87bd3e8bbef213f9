//! An order from the moment it is given to the last device's answer, with signals on the way.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use swsync_core::name::DeviceId;
use swsync_core::order::{Command, Fate, Kind, Order, Recorded, Registry, Standing};
use swsync_rig::control::{DeviceOutcome, Session, Summary};

use super::progress::Progress;
use super::{Look, STATUS_TIMEOUT, STOP_LEAD, report, timeout};
use crate::exit;
use crate::output::{self, tell, warn};
use crate::signals::{Signal, on_signal};

/// An order that is settled within this is asked for its answer at once. For a longer one devices are offered it,
/// watched, and asked in the end: a device may be out of reach for a while.
const SHORT: Duration = Duration::from_secs(10);
/// How long devices have to take an order.
const OFFER: Duration = Duration::from_millis(2_500);
/// Between two looks at how far it is.
const WATCH: Duration = Duration::from_secs(1);
/// Extensions of files that hold one frame.
const PICTURES: [&str; 8] = ["jpg", "jpeg", "png", "tif", "tiff", "webp", "bayer", "raw"];
/// So many looks in which every device answered, and none had the order open, show that it is over.
const CLOSED: u32 = 2;
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
    /// Whether the user said how long files are to be.
    pub is_cut: bool,
}

/// The devices that have saved pictures.
fn savers_of_pictures(summary: &Summary) -> impl Iterator<Item = &DeviceId> {
    let is_picture = |file: &str| {
        let extension = Path::new(file).extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| PICTURES.contains(&extension))
    };
    summary.outcomes.iter().filter_map(move |outcome| match outcome {
        DeviceOutcome::Answered(answer) => {
            let files = answer.frames.iter().filter_map(|run| match &run.fate {
                Fate::Saved { file, .. } | Fate::Recorded(Recorded { file, .. }) => Some(file),
                _ => None,
            });
            files.into_iter().any(|file| is_picture(file)).then_some(&answer.device)
        }
        _ => None,
    })
}

/// What a signal finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The order runs, and can be stopped.
    Running,
    /// It is to be stopped.
    Stopping,
    /// Devices are asked for their answers; so many have given one.
    Asking { answered: usize, stopped: bool },
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
        let settled = self.look.settled(&order);
        // A take can be stopped, however short it is.
        let is_take = matches!(order.kind(), Kind::Take { .. });
        let is_short = !is_take && settled.is_some_and(|settled| (settled - now).to_duration() < SHORT);
        if !self.json {
            output::line(&format!("{}  {what}", order.id()));
        }
        let asking = |answered, stopped| Stage::Asking { answered, stopped };
        let shared = Arc::new(Mutex::new(if is_short { asking(0, false) } else { Stage::Running }));
        heed_signals(Arc::clone(&shared), self.look.devices().count(), self.again.clone())?;
        let (given, mut stopped) = (Instant::now(), false);
        if !is_short {
            self.offer(&order)?;
            stopped = self.watch(&mut order, &shared);
            *stage(&shared) = asking(0, stopped);
        }
        let left =
            self.timeout.unwrap_or_else(|| timeout(&order, self.look.now(), self.look.settled(&order)));
        let summary = collect_answers(self.session, &order, given, left, self.json, self.look, |answered| {
            *stage(&shared) = asking(answered, stopped);
        })?;
        for device in savers_of_pictures(&summary).filter(|_| self.is_cut) {
            warn(&format!(
                "{device} saves pictures, a file for each frame: --segment changes nothing there (videos are saved of \
                 what an encoder of video before swsyncsink makes)"
            ));
        }
        Ok(conclude(&order, &summary, self.json))
    }

    /// Has the devices take the order; says who does not. Whether all did.
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

    /// Until the order is over, here or by what was done to it elsewhere. Whether it was stopped here, by a signal.
    fn watch(&self, order: &mut Order, shared: &Shared) -> bool {
        let mut progress = Progress::new(order.id().clone(), order.targets().clone());
        let mut next = Instant::now() + WATCH;
        let mut closed = 0;
        loop {
            if *stage(shared) == Stage::Stopping {
                tell(&format!("stopping {} on all devices", order.id()));
                let at = self.look.now() + STOP_LEAD;
                order.stop_at(at);
                command(self.session, &Command::Stop { order: order.id().clone(), at_ns: at }, order);
                std::thread::sleep((at - self.look.now()).to_duration());
                return true;
            }
            if order.ends_at(self.look.slowest()).is_some_and(|end| end <= self.look.now()) {
                return false;
            }
            if Instant::now() >= next {
                let known = self.session.known(STATUS_TIMEOUT);
                let is_open = known.registry.orders.iter().any(|open| open.id() == order.id());
                // Nobody serves it any more: it was cancelled, or stopped with its device.
                closed = if is_open || !known.silent.is_empty() { 0 } else { closed + 1 };
                if heed(order, &known.registry) || closed >= CLOSED {
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

/// Takes over what was done to an order elsewhere. Whether it was cancelled.
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
pub fn command(session: &Session, command: &Command, order: &Order) {
    for heard in session.command(command, order.targets(), OFFER) {
        let device = &heard.device;
        match heard.reply {
            Ok(acknowledgement) => match acknowledgement.standing {
                Standing::Late { surplus } => warn(&format!(
                    "{device} heard too late: it has recorded {surplus} frames after that instant"
                )),
                Standing::Unknown => warn(&format!("{device} does not know of order {}", order.id())),
                Standing::Open | Standing::Answered => {}
            },
            Err(why) => warn(&format!(
                "{device} may not have heard it: {why}. It learns of it when it is back in the rig"
            )),
        }
    }
}

/// Asks every device what became of `order`, which was given at `since`, and prints a row for each as it answers.
///
/// # Errors
/// Where no device is there.
pub fn collect_answers(
    session: &Session,
    order: &Order,
    since: Instant,
    timeout: Duration,
    json: bool,
    look: &Look,
    mut answered: impl FnMut(usize),
) -> anyhow::Result<Summary> {
    let width = look.devices().map(|device| device.as_str().len()).max().unwrap_or_default();
    let table = report::table(width);
    if !json {
        output::line(&table.headings());
    }
    let mut count = 0;
    let summary = session.place_since(order, since, timeout, |outcome| {
        count += 1;
        answered(count);
        if !json {
            output::line(&table.row(&report::row(outcome)));
        }
    });
    summary.with_context(|| format!("order {}", order.id()))
}

/// The last words about an order, and its exit code.
pub fn conclude(order: &Order, summary: &Summary, json: bool) -> ExitCode {
    for difference in &summary.differences {
        warn(&difference.what);
    }
    if json {
        output::line(&report::json(order, summary).to_string());
    } else {
        output::line(&report::verdict(summary));
    }
    ExitCode::from(if summary.is_complete() { 0 } else { exit::INCOMPLETE })
}

/// Has a signal stop an order that runs, and end the command where there is nothing to stop: then it says that the order
/// stands. While an order is being stopped only Ctrl-C ends the command, since who ends a session sends more than one signal.
fn heed_signals(shared: Shared, devices: usize, again: String) -> anyhow::Result<()> {
    on_signal(move |signal| {
        let mut stage = stage(&shared);
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
    fn whoever_interrupts_can_ask_again() {
        let text = interrupted(1, 3, "swsync shoot --id o1 --at 5 --count 2");
        assert!(text.contains("1 of 3") && text.ends_with("swsync shoot --id o1 --at 5 --count 2"), "{text}");
    }

    #[test]
    fn devices_that_save_pictures_are_told_from_those_that_save_video() {
        let answered = |device: &str, file: &str| {
            let recorded = Recorded {
                file: file.into(),
                last_file: None,
                bytes: 1,
                phase_error_ns: swsync_core::time::Span::ZERO,
                clock_uncertainty_ns: None,
                unlocked: 0,
            };
            DeviceOutcome::Answered(swsync_core::order::Answer {
                order: name("t"),
                device: name(device),
                frames: vec![swsync_core::order::FrameRun::one(7, Fate::Recorded(recorded))],
                unnumbered: None,
                unfinished: None,
                basis: swsync_core::order::Basis { timescale: None, rate: None },
            })
        };
        let outcomes = vec![answered("a", "/x/t/a/00000007.jpg"), answered("b", "/x/t/b/0000.mp4")];
        let summary = Summary { outcomes, differences: Vec::new() };
        assert_eq!(savers_of_pictures(&summary).map(DeviceId::as_str).collect::<Vec<_>>(), ["a"]);
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
}
