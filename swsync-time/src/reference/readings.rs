//! The readings of a reference: the line through the last ones, and the ones that are not believed yet.
//!
//! A reading that does not continue the line is held back. It may be one wild reading, or the first after a step of the
//! reference. The next readings tell: if they agree with it and with each other ([`CONFIRMING`] of them within
//! [`CONFIRMING_TIME`] or more), the reference has stepped, and they become the line. If one of them continues the old line, those
//! that were held back are dropped.

use std::collections::VecDeque;

use swsync_core::time::{Local, Offset, Skew, Span, Timestamp};

use super::source::ReferenceReading;

/// Number of readings that the skew is fitted to: 2 s.
const WINDOW: usize = 16;
/// With fewer readings the skew stays as it was.
const MIN_READINGS: usize = 4;
/// Largest deviation of a reading from the line, beside what the reference's uncertainty and its slewing explain.
const MAX_DEVIATION: Span = Span::from_micros(50);
/// A program that keeps the reference slews it at up to 500 ppm (adjtimex(2)), and may turn from one extreme to the other. A
/// tenth is added for the crystals.
const MAX_DEVIATION_RATE: Skew = Skew::from_ratio(1100e-6);
/// A reference may jump by so many times its own uncertainty (1 sigma) ...
const NOISE_SIGMAS: i64 = 4;
/// ... but by no more than this. Chosen: with the other two parts it stays below the smallest step of a clock (10 ms) for the
/// longest gap.
const MAX_NOISE: Span = Span::from_millis(2);
/// After a longer gap between two readings nothing can be said of the line: the next readings have to agree with each other.
const LONGEST_GAP: Span = Span::from_secs(3);
/// So many readings that agree with each other, the first one included, ...
const CONFIRMING: usize = 4;
/// ... over at least this time, are a step.
const CONFIRMING_TIME: Span = Span::from_millis(300);
/// Uncertainty of the skew before it is measured.
const UNKNOWN_SKEW: Skew = Skew::from_ratio(100e-6);
/// Least uncertainty of the skew: a nanosecond of rounding at each end of 2 s.
const LEAST_SKEW_UNCERTAINTY: Skew = Skew::from_ratio(1e-9);

/// The offset by one reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) at: Timestamp<Local>,
    pub(super) offset: Offset,
    /// Half of how long the reading took.
    pub(super) half: Span,
    /// By how much the reference may jump without having stepped.
    noise: Span,
}

impl Sample {
    /// `correction` is added to the reference's time.
    pub(super) fn of(reading: &ReferenceReading, correction: Span) -> Self {
        let at = reading.middle();
        let noise = (reading.uncertainty * NOISE_SIGMAS).min(MAX_NOISE);
        let offset = Offset::between(reading.reference + correction, at);
        Self { at, offset, half: (reading.after - reading.before) / 2, noise }
    }
}

/// What a reading says of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It continues the line, or is the first of all.
    Continues,
    /// It does not, and is held back.
    InDoubt,
    /// It confirms those that were held back: the reference has stepped.
    Stepped,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Readings {
    /// Those of the line.
    window: VecDeque<Sample>,
    /// Those that are held back. They agree with each other.
    doubted: VecDeque<Sample>,
    /// The first of them.
    doubted_since: Timestamp<Local>,
    /// Slope of the line, and its uncertainty.
    pub(super) skew: Skew,
    pub(super) skew_uncertainty: Skew,
    /// Deviation of the readings from the line, rms.
    pub(super) scatter: Span,
}

impl Readings {
    pub(super) fn new() -> Self {
        Self {
            window: VecDeque::with_capacity(WINDOW),
            doubted: VecDeque::with_capacity(WINDOW),
            doubted_since: Timestamp::ZERO,
            skew: Skew::ZERO,
            skew_uncertainty: UNKNOWN_SKEW,
            scatter: Span::ZERO,
        }
    }

    /// The last reading of the line.
    pub(super) fn last(&self) -> Option<&Sample> {
        self.window.back()
    }

    /// The reference could not be used: its next readings have to agree with each other.
    pub(super) fn interrupt(&mut self) {
        self.window.clear();
        self.doubted.clear();
    }

    /// Adds a reading. `relied_on`: readers rely on the clock, so that even after an interruption no reading is believed alone.
    pub(super) fn add(&mut self, sample: Sample, relied_on: bool) -> Verdict {
        if self.window.back().is_some_and(|last| sample.at - last.at > LONGEST_GAP) {
            self.window.clear();
        }
        let continues = match self.window.back() {
            Some(last) => self.agree(last, &sample),
            None => !relied_on && self.doubted.is_empty(),
        };
        if continues {
            self.doubted.clear();
            self.push(sample);
            return Verdict::Continues;
        }
        match self.doubted.back() {
            Some(last) if sample.at - last.at <= LONGEST_GAP && self.agree(last, &sample) => {}
            Some(_) | None => {
                self.doubted.clear();
                self.doubted_since = sample.at;
            }
        }
        if self.doubted.len() == WINDOW {
            self.doubted.pop_front();
        }
        self.doubted.push_back(sample);
        if self.doubted.len() < CONFIRMING || sample.at - self.doubted_since < CONFIRMING_TIME {
            return Verdict::InDoubt;
        }
        std::mem::swap(&mut self.window, &mut self.doubted);
        self.doubted.clear();
        self.fit();
        Verdict::Stepped
    }

    /// Whether `sample` may be of the same line as `earlier`.
    fn agree(&self, earlier: &Sample, sample: &Sample) -> bool {
        let elapsed = sample.at - earlier.at;
        let expected = earlier.offset.as_span() + self.skew.over(elapsed);
        let deviation = (sample.offset.as_span() - expected).abs();
        let slack = MAX_DEVIATION + MAX_DEVIATION_RATE.over(elapsed) + sample.noise.max(earlier.noise);
        deviation <= slack + sample.half + earlier.half
    }

    fn push(&mut self, sample: Sample) {
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(sample);
        if self.window.len() >= MIN_READINGS {
            self.fit();
        }
    }

    /// Fits a line to the window's samples by least squares. The last sample is the origin.
    fn fit(&mut self) {
        let Some(origin) = self.window.back().copied() else { return };
        let points = || {
            self.window.iter().map(|sample| {
                let offset = sample.offset.as_span() - origin.offset.as_span();
                ((sample.at - origin.at).as_secs_f64(), offset.as_secs_f64())
            })
        };
        #[expect(clippy::cast_precision_loss, reason = "16 at most")]
        let count = self.window.len() as f64;
        let (sum_t, sum_y) = points().fold((0.0, 0.0), |(t, y), point| (t + point.0, y + point.1));
        let (mean_t, mean_y) = (sum_t / count, sum_y / count);
        let spread: f64 = points().map(|(t, _)| (t - mean_t).powi(2)).sum();
        if spread <= 0.0 {
            return; // all at one instant
        }
        let slope = points().map(|(t, y)| (t - mean_t) * (y - mean_y)).sum::<f64>() / spread;
        let rest: f64 = points().map(|(t, y)| (y - mean_y - slope * (t - mean_t)).powi(2)).sum();
        let scatter = (rest / (count - 2.0)).sqrt();
        self.skew = Skew::from_ratio(slope);
        self.skew_uncertainty =
            Skew::from_ratio((scatter / spread.sqrt()).max(LEAST_SKEW_UNCERTAINTY.as_ratio()));
        self.scatter = Span::from_secs_f64(scatter);
    }
}
