//! What a device answers to an order.

use serde::{Deserialize, Serialize};

use crate::frame::{FrameInfo, LockState};
use crate::grid::{FrameGrid, FrameNumber};
use crate::message::TimeScale;
use crate::name::{DeviceId, OrderId};
use crate::order::Order;
use crate::time::{Rig, Span, Timestamp};

/// A frame is at most so far from the instant that it is numbered by: `swsyncsrc`'s largest `phase-offset`, and half a
/// period of a frame a second.
pub const MAX_FRAME_OFFSET: Span = Span::from_millis(1_500);

/// What became of frames of an order on one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "kebab-case")]
pub enum FrameOutcome {
    /// One frame, which is on disk, whole.
    Saved {
        /// Path of the file on the device.
        file: String,
        /// Its size.
        bytes: u64,
        /// What is known of the frame.
        info: FrameInfo,
    },
    /// Frames that are on disk, whole, in one file or several.
    RecordedFrames(RecordedFrames),
    /// They cannot be had: never captured, or no longer held.
    Missed {
        /// Why, for a person.
        why: String,
    },
    /// They were there but could not be written.
    Failed {
        /// Why, for a person.
        why: String,
    },
    /// Some are on disk and some are not: what is left of an account with more runs than an answer can hold. The
    /// manifest has the details.
    Partly {
        /// Frames on disk.
        saved: u64,
        /// Frames missed or failed.
        lost: u64,
        /// Size of what is on disk.
        bytes: u64,
    },
}

impl FrameOutcome {
    /// What two runs of frames are together that follow each other, if they can be one.
    pub(super) fn joined(&self, next: &Self) -> Option<Self> {
        match (self, next) {
            (Self::RecordedFrames(one), Self::RecordedFrames(two)) => {
                let mut both = one.clone();
                both.append(two.clone());
                Some(Self::RecordedFrames(both))
            }
            (Self::Missed { why: one }, Self::Missed { why: two }) if one == two => {
                Some(Self::Missed { why: one.clone() })
            }
            (Self::Failed { why: one }, Self::Failed { why: two }) if one == two => {
                Some(Self::Failed { why: one.clone() })
            }
            (Self::Partly { .. } | Self::Saved { .. }, _)
            | (_, Self::Partly { .. } | Self::Saved { .. })
            | (Self::RecordedFrames(_) | Self::Missed { .. } | Self::Failed { .. }, _) => None,
        }
    }

    /// The same without what is known of a single frame.
    pub(super) fn summed(self) -> Self {
        match self {
            Self::Saved { file, bytes, info } => {
                Self::RecordedFrames(RecordedFrames::frame(file, bytes, &info))
            }
            other => other,
        }
    }
}

/// Frames on disk, summed up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedFrames {
    /// Path of the first file on the device.
    pub file: String,
    /// Path of the last one, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_file: Option<String>,
    /// Size of the frames in them.
    pub bytes: u64,
    /// The phase error farthest from zero.
    pub phase_error_ns: Span,
    /// The largest clock uncertainty, where it is known.
    pub clock_uncertainty_ns: Option<Span>,
    /// Frames that were not locked to the grid.
    pub unlocked: u64,
}

impl RecordedFrames {
    /// One frame in `file`.
    #[must_use]
    pub fn frame(file: String, bytes: u64, info: &FrameInfo) -> Self {
        Self {
            file,
            last_file: None,
            bytes,
            phase_error_ns: info.phase_error_ns,
            clock_uncertainty_ns: info.clock_uncertainty_ns,
            unlocked: u64::from(info.lock != Some(LockState::Locked)),
        }
    }

    /// Adds what comes after it.
    pub fn append(&mut self, next: Self) {
        let last = next.last_file.unwrap_or(next.file);
        self.last_file = (last != self.file).then_some(last);
        self.bytes = self.bytes.saturating_add(next.bytes);
        if next.phase_error_ns.abs() > self.phase_error_ns.abs() {
            self.phase_error_ns = next.phase_error_ns;
        }
        self.clock_uncertainty_ns = self.clock_uncertainty_ns.max(next.clock_uncertainty_ns);
        self.unlocked += next.unlocked;
    }
}

/// Frames of an order with one outcome: `count` of those that it named, from number `first` to `last`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "RawRun", into = "RawRun")]
pub struct FrameRun {
    /// The first.
    pub first: FrameNumber,
    /// The last.
    pub last: FrameNumber,
    /// How many: fewer than lie between where an order names one frame of many.
    pub count: u64,
    /// What became of them.
    pub outcome: FrameOutcome,
}

/// A run on the wire: one frame has a number and no more.
#[derive(Serialize, Deserialize)]
struct RawRun {
    number: FrameNumber,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<FrameNumber>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(flatten)]
    outcome: FrameOutcome,
}

impl From<RawRun> for FrameRun {
    fn from(raw: RawRun) -> Self {
        let RawRun { number, last, count, outcome } = raw;
        Self { first: number, last: last.unwrap_or(number), count: count.unwrap_or(1), outcome }
    }
}
impl From<FrameRun> for RawRun {
    fn from(run: FrameRun) -> Self {
        let one = run.count == 1;
        Self {
            number: run.first,
            last: (!one).then_some(run.last),
            count: (!one).then_some(run.count),
            outcome: run.outcome,
        }
    }
}

impl FrameRun {
    /// The one frame `number`.
    #[must_use]
    pub const fn one(number: FrameNumber, outcome: FrameOutcome) -> Self {
        Self { first: number, last: number, count: 1, outcome }
    }

    /// Frames of it on disk.
    #[must_use]
    pub const fn saved(&self) -> u64 {
        match self.outcome {
            FrameOutcome::Saved { .. } | FrameOutcome::RecordedFrames(_) => self.count,
            FrameOutcome::Partly { saved, .. } => saved,
            FrameOutcome::Missed { .. } | FrameOutcome::Failed { .. } => 0,
        }
    }

    /// Bytes of it on disk.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        match &self.outcome {
            FrameOutcome::Saved { bytes, .. } | FrameOutcome::Partly { bytes, .. } => *bytes,
            FrameOutcome::RecordedFrames(recorded) => recorded.bytes,
            FrameOutcome::Missed { .. } | FrameOutcome::Failed { .. } => 0,
        }
    }

    /// Why frames of it are not on disk.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match &self.outcome {
            FrameOutcome::Missed { why } | FrameOutcome::Failed { why } => Some(why),
            FrameOutcome::Partly { .. } => {
                Some("with more gaps than an answer can hold; the manifest has them all")
            }
            FrameOutcome::Saved { .. } | FrameOutcome::RecordedFrames(_) => None,
        }
    }
}

/// A device's answer to an order: every frame that it named, accounted for exactly once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The order.
    pub order: OrderId,
    /// Who answers.
    pub device: DeviceId,
    /// Its frames, by number.
    pub frames: Vec<FrameRun>,
    /// Why no frame could be numbered, where none could: the device does not know its grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unnumbered: Option<String>,
    /// Why the account ends before the order does, where that is so: the device was stopped, and takes the order up
    /// again when it is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<String>,
    /// What its numbers and instants mean.
    #[serde(flatten)]
    pub basis: TimeBasis,
}

/// What a device's frame numbers and instants mean, as far as it says so: answers of two devices can be told to be of the
/// same instants only where both do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeBasis {
    /// The time scale that its clock read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timescale: Option<TimeScale>,
    /// Frames per second as (numerator, denominator): the grid that the numbers count on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<FrameGrid>,
}

impl Answer {
    /// The same by runs, without what is known of single frames: the manifest has that.
    #[must_use]
    pub fn condensed(self) -> Self {
        let mut frames: Vec<FrameRun> = Vec::new();
        for run in self.frames {
            let run = FrameRun { outcome: run.outcome.summed(), ..run };
            // The account has no gaps: what follows in it is what the order names next.
            match frames.last_mut().and_then(|last| Some((last.outcome.joined(&run.outcome)?, last))) {
                Some((outcome, last)) => {
                    *last = FrameRun {
                        first: last.first,
                        last: run.last,
                        count: last.count + run.count,
                        outcome,
                    };
                }
                None => frames.push(run),
            }
        }
        Self { frames, ..self }
    }

    /// The same as one run, which says how many frames were saved and little else.
    #[must_use]
    pub(super) fn shortened(self) -> Self {
        let short = self.condensed();
        let ([first, .., _], Some(last)) = (&short.frames[..], short.frames.iter().map(|run| run.last).max())
        else {
            return short;
        };
        let (count, saved) = (short.named(), short.saved());
        let outcome = FrameOutcome::Partly { saved, lost: count - saved, bytes: short.bytes() };
        let all = FrameRun { first: first.first, last, count, outcome };
        Self { frames: vec![all], ..short }
    }

    /// How this differs from an account of what `order` names, for a person; `None`: it is one.
    ///
    /// Of an order that goes on until it is stopped the device decides how far.
    #[must_use]
    pub fn strays_from(&self, order: &Order) -> Option<String> {
        if self.unnumbered.is_some() || self.unfinished.is_some() {
            return None; // it says itself that it is none
        }
        let (Some(first), Some(last)) = (self.frames.first(), self.frames.last()) else {
            let named = self.basis.rate.and_then(|grid| order.named(grid).count()).unwrap_or(0);
            return (named > 0)
                .then(|| format!("accounts for none of the {named} frames that were asked for"));
        };
        let Some(grid) = self.basis.rate else {
            return Some(
                "does not say at which rate its frames are numbered, so they cannot be checked".into(),
            );
        };
        let named = order.named(grid);
        let begin = named.first();
        if first.first != begin {
            let off = grid.instant(first.first) - grid.instant(begin);
            return Some(format!(
                "answers for frames from {} on, where it was asked for those from {begin} on, {:.3} s from there",
                first.first,
                off.abs().as_secs_f64()
            ));
        }
        let taken = self.frames.iter().find_map(|run| match &run.outcome {
            FrameOutcome::Saved { info, .. } => Some((run.first, info.rig_time_ns)),
            _ => None,
        });
        if let Some((number, at)) = taken
            && let off = at - grid.instant(number)
            && off.abs() > MAX_FRAME_OFFSET
        {
            return Some(format!(
                "took its frame {number} {:.3} s from where it was asked for",
                off.abs().as_secs_f64()
            ));
        }
        let count = named.count()?;
        (self.named() != count).then(|| {
            format!(
                "accounts for {} frames, {} to {}, where it was asked for {count}",
                self.named(),
                first.first,
                last.last
            )
        })
    }

    /// Whether every frame that the order names was saved.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unnumbered.is_none() && self.unfinished.is_none() && self.saved() == self.named()
    }

    /// Frames that the order named.
    #[must_use]
    pub fn named(&self) -> u64 {
        self.frames.iter().map(|run| run.count).sum()
    }

    /// Frames on disk.
    #[must_use]
    pub fn saved(&self) -> u64 {
        self.frames.iter().map(FrameRun::saved).sum()
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.frames.iter().map(FrameRun::bytes).sum()
    }
}

/// How far a device is with an open order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderProgress {
    /// The order.
    pub order: OrderId,
    /// When it begins.
    pub at_ns: Timestamp<Rig>,
    /// When it stops, where that is said by an instant.
    pub stop_ns: Option<Timestamp<Rig>>,
    /// Frames that it names; `None`: it goes on until it is stopped.
    pub named: Option<u64>,
    /// Frames that are on disk or on their way there.
    pub saved: u64,
    /// Frames missed or failed.
    pub lost: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Why the last frame was lost, if one was.
    pub why: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::order::testing::info;
    use crate::order::{Fill, OrderKind};

    const NOW: FrameNumber = 54_000_000_000;

    fn grid() -> FrameGrid {
        FrameGrid::new(30, 1).unwrap()
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn answer(numbers: std::ops::Range<FrameNumber>) -> Answer {
        let saved = |number| {
            let info = FrameInfo { number, rig_time_ns: grid().instant(number), ..info(number) };
            FrameRun::one(number, FrameOutcome::Saved { file: String::new(), bytes: 1, info })
        };
        let frames = numbers.map(saved).collect();
        Answer {
            order: name("o"),
            device: name("a"),
            frames,
            basis: TimeBasis { rate: Some(grid()), timescale: None },
            unnumbered: None,
            unfinished: None,
        }
    }

    fn burst(first: FrameNumber, count: u32) -> Order {
        Order::burst(name("o"), grid().instant(first), count).unwrap()
    }

    fn take(first: FrameNumber, end: Option<FrameNumber>) -> Order {
        let kind = OrderKind::Take { segment: None, fill: Fill::None };
        let stop = end.map(|end| grid().instant(end));
        Order::new(name("o"), grid().instant(first), stop, kind).unwrap()
    }

    #[test]
    fn an_answer_to_what_was_asked_is_told_from_another() {
        let given = answer(NOW..NOW + 3);
        for order in [burst(NOW, 3), take(NOW, Some(NOW + 3)), take(NOW, None)] {
            assert_eq!(given.strays_from(&order), None, "{order:?}");
        }
        let stray = |order: &Order| given.strays_from(order).unwrap();
        let later = stray(&burst(NOW + 300, 3));
        assert!(later.contains("54000000300") && later.contains("10.000 s from there"), "{later}");
        assert!(stray(&burst(NOW - 1, 3)).contains("0.033 s"));
        assert!(
            stray(&burst(NOW, 4)).contains("3 frames, 54000000000 to 54000000002, where it was asked for 4")
        );
        assert!(stray(&take(NOW, Some(NOW + 2))).contains("asked for 2"));
        assert!(stray(&take(NOW + 1, None)).contains("from 54000000000 on"));
        assert!(answer(0..0).strays_from(&burst(NOW, 3)).unwrap().contains("none of the 3"));
    }

    #[test]
    fn frames_that_were_taken_elsewhere_or_on_no_known_grid_stray() {
        let mut moved = answer(NOW..NOW + 3);
        let FrameOutcome::Saved { info, .. } = &mut moved.frames[0].outcome else { unreachable!() };
        info.rig_time_ns += Span::from_secs(5);
        assert!(moved.strays_from(&burst(NOW, 3)).unwrap().contains("5.000 s"));
        let older = Answer { basis: TimeBasis::default(), ..answer(NOW..NOW + 3) };
        assert!(older.strays_from(&burst(NOW, 3)).unwrap().contains("at which rate"));
        let unnumbered = Answer { unnumbered: Some("no frame yet".into()), ..answer(0..0) };
        assert_eq!(unnumbered.strays_from(&burst(NOW, 3)), None, "it says so itself");
    }
}
