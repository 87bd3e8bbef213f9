//! What became of a shot: a row per device, a verdict, or JSON.

use serde_json::{Value, json};
use swsync_core::frame::FrameInfo;
use swsync_core::grid::FrameNumber;
use swsync_core::order::Order;
use swsync_core::order::{Answer, Fate, FrameAnswer};
use swsync_core::time::Span;
use swsync_rig::control::{DeviceOutcome, Summary};

use crate::table::{Align, Column, NOTHING, Table, micros, micros_unsigned, size};

/// The table of outcomes, with room for devices' names of `width` characters.
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

/// Frames of one answer by what became of them.
#[derive(Default)]
struct Tally<'a> {
    files: Vec<&'a str>,
    bytes: u64,
    infos: Vec<&'a FrameInfo>,
    missed: usize,
    failed: usize,
    /// Reasons, each once, with how many frames had it.
    why: Vec<(&'a str, usize)>,
}

impl<'a> Tally<'a> {
    fn of(frames: &'a [FrameAnswer]) -> Self {
        let mut tally = Self::default();
        for frame in frames {
            let why = match &frame.fate {
                Fate::Saved { file, bytes, info } => {
                    tally.files.push(file);
                    tally.bytes = tally.bytes.saturating_add(*bytes);
                    tally.infos.push(info);
                    continue;
                }
                Fate::Missed { why } => {
                    tally.missed += 1;
                    why
                }
                Fate::Failed { why } => {
                    tally.failed += 1;
                    why
                }
            };
            match tally.why.iter_mut().find(|(known, _)| known == why) {
                Some((_, count)) => *count += 1,
                None => tally.why.push((why, 1)),
            }
        }
        tally
    }

    fn result(&self) -> String {
        match (self.files.len(), self.missed, self.failed) {
            (0, 0, 0) => "no frames".into(),
            (_, 0, 0) => "saved".into(),
            (0, _, 0) => "missed".into(),
            (0, 0, _) => "failed".into(),
            (saved, missed, failed) => format!("saved {saved}/{}", saved + missed + failed),
        }
    }

    /// Files, or why there are none; both where both are.
    fn files(&self) -> String {
        let mut parts = Vec::new();
        match &self.files[..] {
            [] => {}
            [file] => parts.push((*file).to_owned()),
            [first, .., last] => parts.push(format!("{first} .. {last}")),
        }
        let total = self.missed + self.failed + self.files.len();
        for (why, count) in &self.why {
            parts.push(if total == 1 { (*why).to_owned() } else { format!("{count} frames: {why}") });
        }
        parts.join("; ")
    }
}

fn answered(device: String, answer: &Answer) -> [String; 7] {
    let tally = Tally::of(&answer.frames);
    let worst = |spans: &mut dyn Iterator<Item = Span>| spans.max_by_key(|span| span.abs());
    let phase = worst(&mut tally.infos.iter().map(|info| info.phase_error_ns));
    let clock = worst(&mut tally.infos.iter().filter_map(|info| info.clock_uncertainty_ns));
    [
        device,
        tally.result(),
        numbers(&answer.frames),
        phase.map_or(NOTHING.to_owned(), micros),
        clock.map_or(NOTHING.to_owned(), micros_unsigned),
        if tally.files.is_empty() { NOTHING.to_owned() } else { size(tally.bytes) },
        tally.files(),
    ]
}

/// The first and the last frame number.
fn numbers(frames: &[FrameAnswer]) -> String {
    let numbers: Vec<FrameNumber> = frames.iter().filter_map(|frame| frame.number).collect();
    match &numbers[..] {
        [] => NOTHING.into(),
        [number] => number.to_string(),
        [first, .., last] => format!("{first}-{last}"),
    }
}

/// The last line.
pub fn verdict(summary: &Summary) -> String {
    let complete = summary.outcomes.iter().filter(|outcome| outcome.is_complete()).count();
    let devices = summary.outcomes.len();
    let all = if complete == devices { "all" } else { "NOT all" };
    let bytes = summary.outcomes.iter().map(|outcome| match outcome {
        DeviceOutcome::Answered(answer) => Tally::of(&answer.frames).bytes,
        DeviceOutcome::NoAnswer { .. } | DeviceOutcome::Refused { .. } => 0,
    });
    let bytes = bytes.fold(0, u64::saturating_add);
    format!("{all} saved: {complete} of {devices} devices complete, {}", size(bytes))
}

/// The whole as JSON.
pub fn json(order: &Order, summary: &Summary) -> Value {
    let device = |outcome: &DeviceOutcome| match outcome {
        DeviceOutcome::Answered(answer) => {
            json!({ "device": answer.device, "outcome": "answered", "frames": answer.frames })
        }
        DeviceOutcome::NoAnswer { device, why } => {
            json!({ "device": device, "outcome": "no-answer", "why": why })
        }
        DeviceOutcome::Refused { device, why } => {
            json!({ "device": device, "outcome": "refused", "why": why })
        }
    };
    json!({
        "order": order.id(),
        "at_ns": order.at(),
        "count": order.count(),
        "complete": summary.is_complete(),
        "devices": summary.outcomes.iter().map(device).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use swsync_core::time::Timestamp;

    use super::*;
    use crate::testing::{answer, missed, name, saved};

    fn cells(frames: Vec<FrameAnswer>) -> [String; 7] {
        row(&DeviceOutcome::Answered(answer(frames)))
    }

    #[test]
    fn one_frame_has_everything_in_its_row() {
        let expected = ["a", "saved", "7", "+3.0", "20.0", "100 kB", "o1/a/7.jpg"];
        assert_eq!(cells(vec![saved(7)]), expected);
        let expected = ["a", "missed", "7", "-", "-", "-", "too old"];
        assert_eq!(cells(vec![missed(7, "too old")]), expected);
    }

    #[test]
    fn a_burst_is_summed_up() {
        let mut frames: Vec<_> = (7..=9).map(saved).collect();
        let Fate::Saved { info, .. } = &mut frames[1].fate else { unreachable!() };
        info.phase_error_ns = Span::from_micros(-40);
        let expected = ["a", "saved", "7-9", "-40.0", "20.0", "300 kB", "o1/a/7.jpg .. o1/a/9.jpg"];
        assert_eq!(cells(frames.clone()), expected);

        frames.extend([missed(10, "dropped"), missed(11, "dropped")]);
        let [_, result, numbers, .., files] = cells(frames);
        assert_eq!((result.as_str(), numbers.as_str()), ("saved 3/5", "7-11"));
        assert!(files.ends_with("; 2 frames: dropped"), "{files}");
    }

    #[test]
    fn what_nobody_answered_has_its_reason() {
        let outcome = DeviceOutcome::NoAnswer { device: name("b"), why: "left".into() };
        assert_eq!(row(&outcome), ["b", "no answer", "-", "-", "-", "-", "left"]);
        assert_eq!(cells(Vec::new())[1], "no frames");
        let unknown = FrameAnswer { number: None, fate: Fate::Missed { why: "no frame yet".into() } };
        assert_eq!(cells(vec![unknown])[2], "-");
    }

    #[test]
    fn the_verdict_counts_devices() {
        let good = DeviceOutcome::Answered(answer(vec![saved(7)]));
        let summary = Summary { outcomes: vec![good.clone()] };
        assert_eq!(verdict(&summary), "all saved: 1 of 1 devices complete, 100 kB");
        let bad = DeviceOutcome::NoAnswer { device: name("b"), why: "left".into() };
        let summary = Summary { outcomes: vec![good, bad] };
        assert_eq!(verdict(&summary), "NOT all saved: 1 of 2 devices complete, 100 kB");
    }

    #[test]
    fn json_has_all_there_is() {
        let order = Order::new(name("o1"), Timestamp::from_nanos(5), 1).unwrap();
        let bad = DeviceOutcome::Refused { device: name("b"), why: "no".into() };
        let summary = Summary { outcomes: vec![DeviceOutcome::Answered(answer(vec![saved(7)])), bad] };
        let json = json(&order, &summary);
        assert_eq!(json["at_ns"], 5);
        assert_eq!(json["complete"], false);
        let frame = &json["devices"][0]["frames"][0];
        assert_eq!(frame["fate"], "saved");
        assert_eq!(frame["info"]["phase_error_ns"], 3000);
        assert_eq!(json["devices"][1], json!({ "device": "b", "outcome": "refused", "why": "no" }));
    }
}
