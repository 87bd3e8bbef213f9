//! The answers to an order: a row per device and a last line, or JSON.

use serde::Serialize;
use swsync_client::leaders::Following;
use swsync_client::{DeviceOutcome, Summary};
use swsync_core::certificate::AnsweredBounds;
use swsync_core::grid::FrameGrid;
use swsync_core::message::TimeScale;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::Order;
use swsync_core::order::{Answer, FrameOutcome, FrameRun};
use swsync_core::status::RigAgreement;
use swsync_core::time::{Rig, Span, Timestamp};

use super::leaders;
use crate::table::{Align, Column, NOTHING, Table, micros, micros_unsigned, size};

/// The table of answers, with room for device ids of `width` characters.
pub fn table(width: usize) -> Table<7> {
    let column = |heading, width, align| Column { heading, width, align };
    Table::new([
        column("device", width.max(6), Align::Left),
        column("result", 10, Align::Left),
        column("frames", 12, Align::Left),
        column("phase us", 8, Align::Right),
        column("clock us", 8, Align::Right),
        column("size", 8, Align::Right),
        column("files", 5, Align::Left),
    ])
}

/// A device's row.
pub fn row(outcome: &DeviceOutcome) -> [String; 7] {
    let device = outcome.device().to_string();
    let empty = || NOTHING.to_owned();
    match outcome {
        DeviceOutcome::Answered(answer) => answered(device, answer),
        DeviceOutcome::NoAnswer { why, .. } => {
            [device, "no answer".into(), empty(), empty(), empty(), empty(), why.clone()]
        }
        DeviceOutcome::Refused { why, .. } => {
            [device, "refused".into(), empty(), empty(), empty(), empty(), why.clone()]
        }
    }
}

/// The frames of one answer, counted by what became of them.
#[derive(Default)]
struct Tally<'a> {
    /// The files, or the first and the last of those that belong together.
    files: Vec<&'a str>,
    /// No frame could be numbered.
    is_unnumbered: bool,
    named: u64,
    is_unfinished: bool,
    saved: u64,
    missed: u64,
    failed: u64,
    /// The phase error farthest from zero, and the largest clock uncertainty.
    phase: Option<Span>,
    clock: Option<Span>,
    /// Reasons that concern the order as a whole.
    notes: Vec<&'a str>,
    /// Each reason once, with its number of frames.
    why: Vec<(&'a str, u64)>,
    /// Frames that were taken while the clock was not synced.
    unsynced: u64,
}

impl<'a> Tally<'a> {
    fn of(answer: &'a Answer) -> Self {
        let mut tally = Self {
            named: answer.named(),
            saved: answer.saved(),
            is_unnumbered: answer.unnumbered.is_some(),
            is_unfinished: answer.unfinished.is_some(),
            ..Self::default()
        };
        let notes = answer.unnumbered.iter().chain(&answer.unfinished);
        tally.notes.extend(notes.map(String::as_str));
        for run in &answer.frames {
            match &run.outcome {
                FrameOutcome::Saved { file, info, .. } => {
                    tally.files.push(file);
                    tally.unsynced += u64::from(!info.sync.is_synced());
                    tally.update_worst(info.phase_error_ns, info.clock_uncertainty_ns);
                }
                FrameOutcome::Recorded(recorded) => {
                    tally.files.push(&recorded.file);
                    tally.unsynced += recorded.unsynced;
                    tally.files.extend(recorded.last_file.as_deref());
                    tally.update_worst(recorded.phase_error_ns, recorded.clock_uncertainty_ns);
                }
                FrameOutcome::Missed { .. } => tally.missed += run.count,
                FrameOutcome::Failed { .. } => tally.failed += run.count,
                FrameOutcome::Partly { lost, .. } => tally.missed += lost,
            }
            let Some(why) = run.why() else { continue };
            match tally.why.iter_mut().find(|(known, _)| *known == why) {
                Some((_, count)) => *count += run.count,
                None => tally.why.push((why, run.count)),
            }
        }
        tally
    }

    fn update_worst(&mut self, phase: Span, clock: Option<Span>) {
        self.phase = self.phase.into_iter().chain([phase]).max_by_key(|phase| phase.abs());
        self.clock = self.clock.max(clock);
    }

    fn result(&self) -> String {
        match (self.saved, self.missed, self.failed) {
            (0, 0, 0) if self.is_unnumbered => "missed".into(),
            (0, 0, 0) => "no frames".into(),
            (saved, 0, 0) if self.is_unfinished => format!("saved {saved}/?"),
            (_, 0, 0) => "saved".into(),
            (0, _, 0) => "missed".into(),
            (0, 0, _) => "failed".into(),
            (saved, ..) => format!("saved {saved}/{}", self.named),
        }
    }

    /// The files, and the reasons for those that are missing.
    fn files(&self) -> String {
        let mut parts = Vec::new();
        match &self.files[..] {
            [] => {}
            [file] => parts.push((*file).to_owned()),
            [first, .., last] => parts.push(format!("{first} .. {last}")),
        }
        match (self.unsynced, self.named) {
            (0, _) => {}
            (1, 1) => parts.push("taken while its clock was not synced".to_owned()),
            (count, _) => parts.push(format!("{count} frames taken while its clock was not synced")),
        }
        parts.extend(self.notes.iter().map(|note| (*note).to_owned()));
        for (why, count) in &self.why {
            let alone = self.named <= 1;
            parts.push(if alone { (*why).to_owned() } else { format!("{count} frames: {why}") });
        }
        parts.join("; ")
    }
}

fn answered(device: String, answer: &Answer) -> [String; 7] {
    let tally = Tally::of(answer);
    [
        device,
        tally.result(),
        numbers(&answer.frames),
        tally.phase.map_or(NOTHING.to_owned(), micros),
        tally.clock.map_or(NOTHING.to_owned(), micros_unsigned),
        if tally.files.is_empty() { NOTHING.to_owned() } else { size(answer.bytes()) },
        tally.files(),
    ]
}

/// The first and the last frame number.
fn numbers(frames: &[FrameRun]) -> String {
    match (frames.first(), frames.last()) {
        (Some(first), Some(last)) if first.first < last.last => format!("{}-{}", first.first, last.last),
        (Some(first), _) => first.first.to_string(),
        (None, _) => NOTHING.into(),
    }
}

/// The last line.
pub fn verdict(summary: &Summary) -> String {
    let complete = summary.complete();
    let devices = summary.outcomes.len();
    let is_empty =
        |outcome: &DeviceOutcome| matches!(outcome, DeviceOutcome::Answered(answer) if answer.named() == 0);
    if summary.is_complete() && summary.outcomes.iter().all(is_empty) {
        return format!(
            "nothing saved: the order ended before its first frame, on {devices} of {devices} devices"
        );
    }
    let all = if summary.is_complete() { "all" } else { "NOT all" };
    let bytes = summary.outcomes.iter().map(|outcome| match outcome {
        DeviceOutcome::Answered(answer) => answer.bytes(),
        DeviceOutcome::NoAnswer { .. } | DeviceOutcome::Refused { .. } => 0,
    });
    let bytes = bytes.fold(0, u64::saturating_add);
    format!("{all} saved: {complete} of {devices} devices complete, {}", size(bytes))
}

/// The number of devices that have answered, whatever became of the frames.
pub fn answers(summary: &Summary) -> usize {
    summary.outcomes.iter().filter(|outcome| matches!(outcome, DeviceOutcome::Answered(_))).count()
}

/// The last line of an order that was cancelled.
pub fn cancelled(summary: &Summary) -> String {
    let saved = summary.outcomes.iter().map(|outcome| match outcome {
        DeviceOutcome::Answered(answer) => answer.saved(),
        DeviceOutcome::NoAnswer { .. } | DeviceOutcome::Refused { .. } => 0,
    });
    let (gone, all, saved) = (answers(summary), summary.outcomes.len(), saved.sum::<u64>());
    let word = if gone == all { "cancelled" } else { "NOT cancelled everywhere: let go" };
    format!("{word} on {gone} of {all} devices; {saved} frames had been saved, and stay")
}

/// The document of `shoot`, `record`, `stop` and `cancel` with `--json`: the order, and what became of its frames on each device.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderDocument {
    order: OrderId,
    /// The instant of its first frame.
    at_ns: Timestamp<Rig>,
    ordered: Order,
    /// Whether every device of the rig saved every frame, of the same instants.
    complete: bool,
    /// In what devices differ, for a person.
    differences: Vec<String>,
    leaders: Vec<Following>,
    devices: Vec<DeviceResult>,
    /// How far pictures of one number may be apart. Not of `cancel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    bounds: Option<AnsweredBounds>,
}

/// The result of an order on one device.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum DeviceResult {
    /// It answered.
    Answered {
        /// The device.
        device: DeviceId,
        /// What became of the frames, in order.
        frames: Vec<FrameRun>,
        /// Why no frame could be numbered.
        unnumbered: Option<String>,
        /// The time scale of its frame numbers.
        timescale: Option<TimeScale>,
        /// The rate of its frames, as (numerator, denominator) of frames per second.
        rate: Option<FrameGrid>,
        /// Why the order ended before its last frame.
        unfinished: Option<String>,
    },
    /// It gave no answer.
    NoAnswer {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
    /// It refused the order.
    Refused {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
}

impl From<&DeviceOutcome> for DeviceResult {
    fn from(outcome: &DeviceOutcome) -> Self {
        match outcome.clone() {
            DeviceOutcome::Answered(answer) => Self::Answered {
                device: answer.device,
                frames: answer.frames,
                unnumbered: answer.unnumbered,
                timescale: answer.basis.timescale,
                rate: answer.basis.rate,
                unfinished: answer.unfinished,
            },
            DeviceOutcome::NoAnswer { device, why } => Self::NoAnswer { device, why },
            DeviceOutcome::Refused { device, why } => Self::Refused { device, why },
        }
    }
}

impl OrderDocument {
    /// The document of `order` and its answers. `common`: what the devices have in common.
    pub fn new(
        order: &Order,
        summary: &Summary,
        common: &RigAgreement,
        bounds: Option<AnsweredBounds>,
    ) -> Self {
        Self {
            order: order.id().clone(),
            at_ns: order.at(),
            ordered: order.clone(),
            complete: summary.is_complete(),
            differences: summary.differences.iter().map(|difference| difference.what.clone()).collect(),
            leaders: leaders::followings(common),
            devices: summary.outcomes.iter().map(Into::into).collect(),
            bounds,
        }
    }
}

/// The document of an order that was given and not waited for.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GivenDocument {
    order: OrderId,
    ordered: Order,
}

impl GivenDocument {
    /// The document of `order`.
    pub fn new(order: &Order) -> Self {
        Self { order: order.id().clone(), ordered: order.clone() }
    }
}

#[cfg(test)]
mod tests {
    use swsync_core::order::{Fill, OrderKind};
    use swsync_core::time::Timestamp;

    use super::*;
    use crate::testing::{answer, missed, name, saved};

    /// The instant of frame 7.
    fn seventh() -> Timestamp<swsync_core::time::Rig> {
        swsync_core::grid::FrameGrid::new(30, 1).unwrap().instant(7)
    }

    fn summary_of(outcomes: Vec<DeviceOutcome>) -> Summary {
        Summary::new(&Order::still(name("o1"), seventh()).unwrap(), outcomes)
    }

    fn cells(frames: Vec<FrameRun>) -> [String; 7] {
        row(&DeviceOutcome::Answered(answer(frames)))
    }

    #[test]
    fn the_row_of_one_frame_has_number_errors_size_and_file() {
        let expected = ["a", "saved", "7", "+3.0", "20.0", "100 kB", "o1/a/7.jpg"];
        assert_eq!(cells(vec![saved(7)]), expected);
        let expected = ["a", "missed", "7", "-", "-", "-", "too old"];
        assert_eq!(cells(vec![missed(7, "too old")]), expected);
    }

    #[test]
    fn a_burst_has_one_row_with_first_and_last() {
        let mut frames: Vec<_> = (7..=9).map(saved).collect();
        let FrameOutcome::Saved { info, .. } = &mut frames[1].outcome else { unreachable!() };
        info.phase_error_ns = Span::from_micros(-40);
        let expected = ["a", "saved", "7-9", "-40.0", "20.0", "300 kB", "o1/a/7.jpg .. o1/a/9.jpg"];
        assert_eq!(cells(frames.clone()), expected);

        frames.extend([missed(10, "dropped"), missed(11, "dropped")]);
        let [_, result, numbers, .., files] = cells(frames.clone());
        assert_eq!((result.as_str(), numbers.as_str()), ("saved 3/5", "7-11"));
        assert!(files.ends_with("; 2 frames: dropped"), "{files}");

        let FrameOutcome::Saved { info, .. } = &mut frames[2].outcome else { unreachable!() };
        info.sync = swsync_core::frame::SyncState::Holdover;
        let [.., files] = cells(vec![frames[2].clone()]);
        assert_eq!(files, "o1/a/9.jpg; taken while its clock was not synced");
        let [.., files] = cells(frames);
        assert!(files.contains("; 1 frames taken while its clock was not synced"), "{files}");
    }

    #[test]
    fn a_missing_answer_has_its_reason() {
        let outcome = DeviceOutcome::NoAnswer { device: name("b"), why: "left".into() };
        assert_eq!(row(&outcome), ["b", "no answer", "-", "-", "-", "-", "left"]);
        assert_eq!(cells(Vec::new())[1], "no frames");
        let unknown = Answer { unnumbered: Some("no frame yet".into()), ..answer(Vec::new()) };
        let [_, _, numbers, .., files] = row(&DeviceOutcome::Answered(unknown));
        assert_eq!((numbers.as_str(), files.as_str()), ("-", "no frame yet"));
    }

    #[test]
    fn an_order_that_ended_early_is_not_all_saved() {
        let stopped = Answer { unfinished: Some("it was stopped".into()), ..answer(vec![saved(7)]) };
        let outcome = DeviceOutcome::Answered(stopped);
        let [_, result, .., files] = row(&outcome);
        assert_eq!((result.as_str(), files.as_str()), ("saved 1/?", "o1/a/7.jpg; it was stopped"));
        let verdict = verdict(&summary_of(vec![outcome]));
        assert!(verdict.starts_with("NOT all saved: 0 of 1"), "{verdict}");
    }

    #[test]
    fn the_verdict_counts_devices() {
        let good = DeviceOutcome::Answered(answer(vec![saved(7)]));
        let summary = summary_of(vec![good.clone()]);
        assert_eq!(verdict(&summary), "all saved: 1 of 1 devices complete, 100 kB");
        let bad = DeviceOutcome::NoAnswer { device: name("b"), why: "left".into() };
        let summary = summary_of(vec![good, bad]);
        assert_eq!(verdict(&summary), "NOT all saved: 1 of 2 devices complete, 100 kB");
        let at = seventh();
        let kind = OrderKind::Take { segment: None, fill: Fill::Hold };
        let mut stopped = Order::new(name("o1"), at, None, kind).unwrap();
        stopped.stop_at(at);
        let summary = Summary::new(&stopped, vec![DeviceOutcome::Answered(answer(Vec::new()))]);
        assert_eq!(
            verdict(&summary),
            "nothing saved: the order ended before its first frame, on 1 of 1 devices"
        );
    }

    #[test]
    fn json_has_order_frames_and_reasons() {
        let order = Order::still(name("o1"), Timestamp::from_nanos(5)).unwrap();
        let bad = DeviceOutcome::Refused { device: name("b"), why: "no".into() };
        let summary = summary_of(vec![DeviceOutcome::Answered(answer(vec![saved(7)])), bad]);
        let document = OrderDocument::new(&order, &summary, &RigAgreement::default(), None);
        let json = serde_json::to_value(document).unwrap();
        assert_eq!(json["at_ns"], 5);
        assert_eq!(json["complete"], false);
        let frame = &json["devices"][0]["frames"][0];
        assert_eq!(frame["fate"], "saved");
        assert_eq!(frame["info"]["phase_error_ns"], 3000);
        assert_eq!(
            json["devices"][1],
            serde_json::json!({ "device": "b", "outcome": "refused", "why": "no" })
        );
    }
}
