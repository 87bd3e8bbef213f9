//! Follows an order from the moment it is given to the last device's answer, and handles signals meanwhile.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use swsync_client::{
    Conclusion, DeviceOutcome, OrderProblem, OrderStage, Ordered, OrderingError, RequestError, Rig,
    RigSnapshot, Summary,
};
use swsync_core::name::DeviceId;
use swsync_core::order::{FrameOutcome, Order, RecordedFrames};
use swsync_core::time::Span;

use super::progress::ProgressDisplay;
use super::report::OrderDocument;
use super::{bounds, report};
use crate::exit;
use crate::output::{self, tell, warn};
use crate::signals::{Signal, on_signal};

/// Time from one print of progress to the next.
const WATCH: Duration = Duration::from_secs(1);
/// Extensions of files that hold one frame.
const PICTURES: [&str; 8] = ["jpg", "jpeg", "png", "tif", "tiff", "webp", "bayer", "raw"];
/// How often a signal is looked for.
const NOTICE: Duration = Duration::from_millis(50);

/// An order that is about to be given, and how to report on it.
pub struct FollowOrder<'a> {
    pub rig: &'a Rig,
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
    pub fn run(&self, order: Order, what: &str) -> anyhow::Result<ExitCode> {
        if !self.json {
            output::line(&format!("{}  {what}", order.id()));
        }
        let asking = |answered, stopped| Stage::Asking { answered, stopped };
        let is_short = self.snapshot.is_short(&order);
        let stage = Arc::new(Mutex::new(if is_short { asking(0, false) } else { Stage::Running }));
        handle_signals(Arc::clone(&stage), self.snapshot.devices().count(), self.again.clone())?;
        let mut ordered = give(self.rig, order, self.snapshot, self.timeout)?;
        let mut stopped = false;
        if ordered.is_running() {
            warn_of(ordered.problems());
            stopped = self.watch(&mut ordered, &stage);
            *stage.lock() = asking(0, stopped);
        }
        let summary = print_answers(&mut ordered, self.json, |answered| {
            *stage.lock() = asking(answered, stopped);
        })?;
        for device in savers_of_pictures(&summary).filter(|_| self.is_cut) {
            warn(&format!(
                "{device} saves pictures, a file for each frame: --segment changes nothing there (videos are saved of \
                 what an encoder of video before swsyncsink makes)"
            ));
        }
        Ok(conclude(&ordered, summary, self.max_error, self.json))
    }

    /// Offers the order to the devices, and warns of those that do not take it. Returns whether all did.
    pub fn offer(&self, order: &Order) -> anyhow::Result<bool> {
        let problems = self.rig.offer(order)?;
        warn_of(&problems);
        Ok(problems.is_empty())
    }

    /// Waits until the order is over: stopped here, ended elsewhere, or complete. Returns whether a signal stopped it here.
    fn watch(&self, ordered: &mut Ordered, stage: &Mutex<Stage>) -> bool {
        let id = ordered.order().id().clone();
        let mut progress = ProgressDisplay::new(id.clone(), ordered.order().targets().clone());
        let mut next = Instant::now() + WATCH;
        loop {
            if *stage.lock() == Stage::Stopping {
                tell(&format!("stopping {id} on all devices"));
                let (at, problems) = ordered.stop();
                warn_of(&problems);
                std::thread::sleep((at - self.snapshot.now()).to_duration());
                return true;
            }
            match ordered.poll() {
                OrderStage::Over => return false,
                OrderStage::EndedElsewhere => {
                    tell(&format!("{id} was ended elsewhere, or is open on no device any more"));
                    return false;
                }
                OrderStage::Running => {}
            }
            if Instant::now() >= next {
                progress.show(self.rig.session());
                next = Instant::now() + WATCH;
            }
            std::thread::sleep(NOTICE);
        }
    }
}

/// Gives `order`.
///
/// # Errors
/// Those of [`Rig::give`], as the exit code needs them.
fn give(
    rig: &Rig,
    order: Order,
    snapshot: &RigSnapshot,
    timeout: Option<Duration>,
) -> anyhow::Result<Ordered> {
    rig.give(order, snapshot.clone(), timeout).map_err(|error| match error {
        OrderingError::Control(error) => error.into(),
        OrderingError::Request(RequestError::NoRigTime(error)) => error.into(),
        error => error.into(),
    })
}

/// Warns of devices that have not taken an order, or not carried out a command for it.
pub fn warn_of(problems: &[OrderProblem]) {
    for problem in problems {
        warn(&problem.to_string());
    }
}

/// Asks every device for its answer, and prints each row as it comes. `answered` is called with their number.
///
/// # Errors
/// There is no device.
pub fn print_answers(
    ordered: &mut Ordered,
    json: bool,
    mut answered: impl FnMut(usize),
) -> anyhow::Result<Summary> {
    let mut answers = ordered.answers();
    let snapshot = ordered.snapshot();
    let width = snapshot.devices().map(|device| device.as_str().len()).max().unwrap_or_default();
    let table = report::table(width);
    if !json {
        output::line(&table.headings());
    }
    for (outcome, count) in answers.by_ref().zip(1..) {
        answered(count);
        if !json {
            let row = report::row(&outcome).map(|cell| snapshot.common.with_leaders(&cell));
            output::line(&table.row(&row));
        }
    }
    answers.summary().with_context(|| format!("order {}", ordered.order().id()))
}

/// Prints differences and the last line, or the JSON; returns the exit code.
pub fn conclude(ordered: &Ordered, summary: Summary, max_error: Option<Span>, json: bool) -> ExitCode {
    let Conclusion { summary, notices, bounds, common } = ordered.conclude(summary, max_error);
    for notice in &notices {
        warn(notice);
    }
    for difference in &summary.differences {
        warn(&difference.what);
    }
    for shortfall in bounds::shortfalls(&bounds) {
        warn(&shortfall);
    }
    if json {
        output::json(&OrderDocument::new(ordered.order(), &summary, &common, Some(bounds.clone())));
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
                let text =
                    "interrupted before all devices had heard the stop; to stop the order: swsync stop";
                exit::interrupted(signal.exit_code(), text);
            }
            Stage::Asking { answered, .. } => {
                exit::interrupted(signal.exit_code(), &interrupted(answered, devices, &again));
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
}
