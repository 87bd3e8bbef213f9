//! A device's answer to an order: what became of every frame that it names.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::bounded;
use crate::certificate;
use crate::frame::{FrameInfo, LockState};
use crate::grid::{FrameGrid, FrameNumber};
use crate::message::TimeScale;
use crate::name::{DeviceId, OrderId};
use crate::time::{Rig, Span, Timestamp};

/// Largest distance of a frame from the grid instant of its number: the largest `phase-offset` of `swsyncsrc`, plus half a
/// period at one frame per second.
pub const MAX_FRAME_OFFSET: Span = Span::from_millis(1_500);

/// More frames than any device takes: sums of so many over all runs of an answer do not overflow.
const MOST_FRAMES: u64 = 1 << 48;

/// Most runs of an answer: twice what a device keeps of one order.
pub const MAX_ANSWER_RUNS: usize = 4_000;

/// What became of frames of an order on one device. JSON calls it `fate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "fate", rename_all = "kebab-case")]
pub enum FrameOutcome {
    /// One frame, complete on disk.
    Saved {
        /// Path of the file on the device.
        #[serde(deserialize_with = "bounded::path")]
        file: String,
        /// Its size.
        bytes: u64,
        /// The frame.
        info: FrameInfo,
    },
    /// Frames that are complete on disk, in one file or several.
    Recorded(RecordedFrames),
    /// They were never captured, or have left the ring.
    Missed {
        /// The reason, as text for the operator.
        #[serde(deserialize_with = "bounded::text")]
        why: String,
    },
    /// They were captured, but could not be written.
    Failed {
        /// The reason, as text for the operator.
        #[serde(deserialize_with = "bounded::text")]
        why: String,
    },
    /// Some are on disk and some are not: several runs were merged because an answer cannot hold more. The manifest has the
    /// details.
    Partly {
        /// How many frames are on disk.
        saved: u64,
        /// Frames missed or failed.
        lost: u64,
        /// Size of what is on disk.
        bytes: u64,
    },
}

impl FrameOutcome {
    /// The outcome of this run and the one that follows it as one run. `None`: they cannot be merged.
    pub(super) fn merged(&self, next: &Self) -> Option<Self> {
        match (self, next) {
            (Self::Recorded(one), Self::Recorded(two)) => {
                let mut both = one.clone();
                both.append(two.clone());
                Some(Self::Recorded(both))
            }
            (Self::Missed { why: one }, Self::Missed { why: two }) if one == two => {
                Some(Self::Missed { why: one.clone() })
            }
            (Self::Failed { why: one }, Self::Failed { why: two }) if one == two => {
                Some(Self::Failed { why: one.clone() })
            }
            (Self::Partly { .. } | Self::Saved { .. }, _)
            | (_, Self::Partly { .. } | Self::Saved { .. })
            | (Self::Recorded(_) | Self::Missed { .. } | Self::Failed { .. }, _) => None,
        }
    }

    /// The same without the details of a single frame.
    pub(super) fn without_details(self) -> Self {
        match self {
            Self::Saved { file, bytes, info } => Self::Recorded(RecordedFrames::frame(file, bytes, &info)),
            other => other,
        }
    }
}

/// Sums over frames on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RecordedFrames {
    /// Path of the first file on the device.
    #[serde(deserialize_with = "bounded::path")]
    pub file: String,
    /// Path of the last file, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::optional_path")]
    pub last_file: Option<String>,
    /// Size of the frames in the files.
    pub bytes: u64,
    /// The phase error farthest from zero.
    pub phase_error_ns: Span,
    /// The largest clock uncertainty, if known.
    pub clock_uncertainty_ns: Option<Span>,
    /// Frames that were not locked to the grid.
    pub unlocked: u64,
    /// Frames that were taken while the clock was not synced.
    #[serde(default)]
    pub unsynced: u64,
    /// The largest error bound ([`certificate::bound`]). `None`: a frame has none, or the device is of a version that does
    /// not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound_ns: Option<Span>,
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
            unsynced: u64::from(!info.sync.is_synced()),
            bound_ns: certificate::bound(info),
        }
    }

    /// Adds the frames that follow.
    pub fn append(&mut self, next: Self) {
        let last = next.last_file.unwrap_or(next.file);
        self.last_file = (last != self.file).then_some(last);
        self.bytes = self.bytes.saturating_add(next.bytes);
        if next.phase_error_ns.abs() > self.phase_error_ns.abs() {
            self.phase_error_ns = next.phase_error_ns;
        }
        self.clock_uncertainty_ns = self.clock_uncertainty_ns.max(next.clock_uncertainty_ns);
        self.unlocked = self.unlocked.saturating_add(next.unlocked);
        self.unsynced = self.unsynced.saturating_add(next.unsynced);
        self.bound_ns = self.bound_ns.zip(next.bound_ns).map(|(one, two)| one.max(two));
    }
}

/// Consecutive frames of an order with one outcome: `count` of the frames that it names, from number `first` to `last`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "RawRun", into = "RawRun")]
pub struct FrameRun {
    /// The first.
    pub first: FrameNumber,
    /// The last.
    pub last: FrameNumber,
    /// How many. Fewer than `last - first + 1` if the order does not name every frame.
    pub count: u64,
    /// What became of them.
    pub outcome: FrameOutcome,
}

/// A run on the wire. A single frame has only a number.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct RawRun {
    number: FrameNumber,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<FrameNumber>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(flatten)]
    outcome: FrameOutcome,
}

/// Why an answer does not account for frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// A run of no frames, of more than there are numbers, or whose frames are not all saved or lost.
    #[error("the run of {count} frames from {first} to {last} does not add up")]
    Run {
        /// The first number.
        first: FrameNumber,
        /// The last number.
        last: FrameNumber,
        /// How many frames it says to have.
        count: u64,
    },
    /// Runs that overlap, or are not in order.
    #[error("the run at {0} overlaps the one before it")]
    Overlap(FrameNumber),
}

impl TryFrom<RawRun> for FrameRun {
    type Error = AnswerError;
    fn try_from(raw: RawRun) -> Result<Self, AnswerError> {
        let RawRun { number: first, last, count, outcome } = raw;
        let run = Self { first, last: last.unwrap_or(first), count: count.unwrap_or(1), outcome };
        let adds_up = match (run.last.checked_sub(first), &run.outcome) {
            // One past the last number is a number.
            _ if run.last == FrameNumber::MAX || run.count == 0 => false,
            (Some(more), outcome) if run.count - 1 <= more => match outcome {
                FrameOutcome::Partly { saved, lost, .. } => saved.checked_add(*lost) == Some(run.count),
                FrameOutcome::Saved { .. } => run.count == 1,
                // The first of several runs that were written at once has the sums of all of them.
                FrameOutcome::Recorded(all) => all.unlocked <= MOST_FRAMES && all.unsynced <= MOST_FRAMES,
                FrameOutcome::Missed { .. } | FrameOutcome::Failed { .. } => true,
            },
            (Some(_) | None, _) => false,
        };
        match adds_up {
            true => Ok(run),
            false => Err(AnswerError::Run { first, last: run.last, count: run.count }),
        }
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
    /// A run of one frame.
    #[must_use]
    pub const fn one(number: FrameNumber, outcome: FrameOutcome) -> Self {
        Self { first: number, last: number, count: 1, outcome }
    }

    /// How many of its frames are on disk.
    #[must_use]
    pub const fn saved(&self) -> u64 {
        match self.outcome {
            FrameOutcome::Saved { .. } | FrameOutcome::Recorded(_) => self.count,
            FrameOutcome::Partly { saved, .. } => saved,
            FrameOutcome::Missed { .. } | FrameOutcome::Failed { .. } => 0,
        }
    }

    /// Bytes of its frames on disk.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        match &self.outcome {
            FrameOutcome::Saved { bytes, .. } | FrameOutcome::Partly { bytes, .. } => *bytes,
            FrameOutcome::Recorded(recorded) => recorded.bytes,
            FrameOutcome::Missed { .. } | FrameOutcome::Failed { .. } => 0,
        }
    }

    /// Why frames of it are missing, if some are.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        match &self.outcome {
            FrameOutcome::Missed { why } | FrameOutcome::Failed { why } => Some(why),
            FrameOutcome::Partly { .. } => {
                Some("with more gaps than an answer can hold; the manifest has them all")
            }
            FrameOutcome::Saved { .. } | FrameOutcome::Recorded(_) => None,
        }
    }
}

/// A device's answer to an order. It accounts for every frame that the order names, exactly once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The order.
    pub order: OrderId,
    /// The device that answers.
    pub device: DeviceId,
    /// The frames, by number.
    #[serde(deserialize_with = "runs")]
    pub frames: Vec<FrameRun>,
    /// Set if no frame could be numbered, because the device does not know its grid: why.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::optional_text")]
    pub unnumbered: Option<String>,
    /// Set if the account ends before the order does: why. A device that was stopped resumes the order later.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded::optional_text")]
    pub unfinished: Option<String>,
    /// Time scale and frame rate of its numbers.
    #[serde(flatten)]
    pub basis: TimeBasis,
}

/// The runs of an answer: in order, without overlap, and not too many. So no sum over them overflows.
fn runs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FrameRun>, D::Error> {
    let runs = bounded::list::<D, FrameRun, MAX_ANSWER_RUNS>(deserializer)?;
    match runs.windows(2).find(|pair| pair[1].first <= pair[0].last) {
        Some(pair) => Err(D::Error::custom(AnswerError::Overlap(pair[1].first))),
        None => Ok(runs),
    }
}

/// The time scale and the frame rate that a device's frame numbers refer to. Numbers of two devices can be compared only if
/// both are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TimeBasis {
    /// The time scale of its clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timescale: Option<TimeScale>,
    /// The grid of the numbers, on the wire as (numerator, denominator) of frames per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<FrameGrid>,
}

impl Answer {
    /// The same answer with equal outcomes merged, and without details of single frames (the manifest has them).
    #[must_use]
    pub fn condensed(self) -> Self {
        let mut frames: Vec<FrameRun> = Vec::new();
        for run in self.frames {
            let run = FrameRun { outcome: run.outcome.without_details(), ..run };
            // An account has no gaps, so the next run holds the frames that the order names next.
            match frames.last_mut().and_then(|last| Some((last.outcome.merged(&run.outcome)?, last))) {
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

    /// The same answer as a single run: only how many frames were saved.
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

    /// Whether every frame that the order names is saved.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unnumbered.is_none() && self.unfinished.is_none() && self.saved() == self.named()
    }

    /// How many frames the order names.
    #[must_use]
    pub fn named(&self) -> u64 {
        self.frames.iter().map(|run| run.count).sum()
    }

    /// How many frames are on disk.
    #[must_use]
    pub fn saved(&self) -> u64 {
        self.frames.iter().map(FrameRun::saved).sum()
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.frames.iter().map(FrameRun::bytes).fold(0, u64::saturating_add)
    }
}

/// The progress of a device with an open order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OrderProgress {
    /// The order.
    pub order: OrderId,
    /// When it begins.
    pub at_ns: Timestamp<Rig>,
    /// When it stops, if it has a stop.
    pub stop_ns: Option<Timestamp<Rig>>,
    /// How many frames it names. `None`: it goes on until it is stopped.
    pub named: Option<u64>,
    /// Frames on disk or with the writer.
    pub saved: u64,
    /// Frames missed or failed.
    pub lost: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Why the last lost frame was lost.
    #[serde(default, deserialize_with = "bounded::optional_text")]
    pub why: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{decode, encode};
    use serde_json::json;

    fn parse(frames: serde_json::Value) -> Result<Answer, serde_json::Error> {
        serde_json::from_value(json!({"order": "o", "device": "d", "frames": frames}))
    }

    fn missed(number: u64, last: u64, count: u64) -> serde_json::Value {
        json!({"number": number, "last": last, "count": count, "fate": "missed", "why": "x"})
    }

    #[test]
    fn an_answer_whose_sums_overflow_is_refused() {
        assert_eq!(parse(json!([missed(0, 9, 10), missed(20, 90, 2)])).unwrap().named(), 12);
        let most = u64::MAX - 1;
        assert_eq!(parse(json!([missed(0, most, u64::MAX)])).unwrap().named(), u64::MAX);
        let partly = |saved, lost| json!([{"number": 0, "last": 9, "count": 10, "fate": "partly", "saved": saved, "lost": lost, "bytes": most}]);
        assert_eq!(parse(partly(4, 6)).unwrap().saved(), 4);
        let recorded = json!({"number": 0, "last": 9, "count": 10, "fate": "recorded", "file": "a.mp4", "bytes": 1,
            "phase_error_ns": 0, "clock_uncertainty_ns": null, "unlocked": MOST_FRAMES + 1});
        for bad in [
            json!([missed(0, 9, 11)]),
            json!([missed(0, 9, 0)]),
            json!([missed(9, 0, 1)]),
            json!([missed(0, u64::MAX, 1)]),
            json!([missed(0, 9, 10), missed(9, 12, 1)]),
            json!([missed(20, 90, 2), missed(0, 9, 10)]),
            partly(11, 0),
            partly(u64::MAX, 11),
            json!([recorded]),
            json!(vec![missed(0, 0, 1); MAX_ANSWER_RUNS + 1]),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_of_several_runs_may_have_the_sums_of_all() {
        let recorded = |number: u64, unlocked: u64| {
            json!({"number": number, "last": number, "count": 1, "fate": "recorded", "file": "a.mp4", "bytes": 1,
                "phase_error_ns": 0, "clock_uncertainty_ns": null, "unlocked": unlocked, "unsynced": unlocked})
        };
        assert!(parse(json!([recorded(1, 2), recorded(3, 0)])).is_ok());
    }

    #[test]
    fn sizes_of_any_size_are_summed() {
        let saved = |number| {
            json!({"number": number, "last": number, "count": 1, "fate": "partly", "saved": 1, "lost": 0,
            "bytes": u64::MAX})
        };
        assert_eq!(parse(json!([saved(1), saved(2)])).unwrap().bytes(), u64::MAX);
    }

    #[test]
    fn what_a_device_says_cannot_control_a_terminal() {
        let text = "gone\u{1b}[2J";
        let answer = Answer {
            order: "o".parse().unwrap(),
            device: "d".parse().unwrap(),
            frames: vec![FrameRun::one(5, FrameOutcome::Failed { why: text.into() })],
            unnumbered: Some(text.into()),
            unfinished: None,
            basis: TimeBasis::default(),
        };
        let read: Answer = decode(&encode(&answer)).unwrap();
        assert_eq!((read.frames[0].why(), read.unnumbered.as_deref()), (Some("gone [2J"), Some("gone [2J")));
    }
}
