//! Detects the effect of an injection in the stamps, and learns how long requests take to act.

use super::numbers::real;
use crate::time::{Rig, Timestamp};

/// The size of a step is the median over this number of stamps after it.
pub const SETTLE_FRAMES: usize = 7;
/// A smaller step cannot be distinguished from drift: in ns, and in standard deviations of a stamp.
const STEP: f64 = 40_000.0;
const STEP_SIGMA: f64 = 6.0;
/// Stamps agree if all but two are within this distance of their median: in ns, and in standard deviations.
const AGREE: f64 = 20_000.0;
const AGREE_SIGMA: f64 = 3.0;
/// Before any request was seen to act, a request acts within this number of frames.
const UNKNOWN: u64 = 30;
/// The effect is unclear after this number of displaced frames that do not agree.
const UNSETTLED: usize = 30;
/// Mean latency that is assumed before any request was seen to act.
const USUAL: f64 = 4.0;
/// A request may act later than the longest observed latency by `MARGIN` frames, `DEVIATIONS` mean deviations, and
/// `INEXPERIENCE` frames divided by the number of observed requests.
const MARGIN: f64 = 4.0;
const INEXPERIENCE: f64 = 12.0;
const DEVIATIONS: f64 = 3.0;
/// A step of whole periods counts as missing frames if the expected shift differs from whole periods by more than this part.
const BESIDE: f64 = 0.05;
/// Least weight of one request in the mean.
const GAIN: f64 = 0.1;

/// The learnt latency: frames from a request to the last frame that it does not move.
#[derive(Debug, Clone, Copy)]
pub struct RequestLatency {
    mean: f64,
    deviation: f64,
    longest: f64,
    requests: u32,
}

impl RequestLatency {
    /// The latency of a camera before its first request.
    pub const fn unknown() -> Self {
        Self { mean: USUAL, deviation: 0.0, longest: 0.0, requests: 0 }
    }

    /// A request acted after `frames`.
    pub fn learn(&mut self, frames: u64) {
        let frames = real(frames);
        self.requests = self.requests.saturating_add(1);
        let gain = GAIN.max(1.0 / f64::from(self.requests));
        let off = frames - self.mean;
        self.mean += gain * off;
        let off = if self.requests == 1 { 0.0 } else { off.abs() };
        self.deviation += gain * (off - self.deviation);
        self.longest = self.longest.max(frames);
    }

    /// The mean, and the mean deviation.
    pub const fn frames(&self) -> (f64, f64) {
        (self.mean, self.deviation)
    }

    /// Whether a request without effect after `frames` will have none.
    pub fn has_passed(&self, frames: u64) -> bool {
        if self.requests == 0 {
            return frames >= UNKNOWN;
        }
        let margin = MARGIN + DEVIATIONS * self.deviation + INEXPERIENCE / f64::from(self.requests);
        real(frames) >= self.longest + margin
    }
}

/// A frame's position relative to the line that frames were on before the injection.
#[derive(Debug, Clone, Copy)]
pub struct FramePlace {
    /// The driver's count.
    pub sequence: u64,
    /// The frame's stamp.
    pub time: Timestamp<Rig>,
    /// Offset from the line, in ns, including whole periods.
    pub offset: f64,
    /// Standard deviation of a stamp's jitter, in ns.
    pub jitter: f64,
    /// Error of the line at this frame, 1 sigma, in ns.
    pub doubt: f64,
}

/// The effect of an injection, as far as the frames since show it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Not yet known.
    Pending,
    /// The frames moved by `offset` ns, and the long one took `elapsed` ns more than a normal frame.
    Step {
        /// Offset from the line, in ns.
        offset: f64,
        /// Additional duration, including whole periods, in ns.
        elapsed: f64,
        /// Frames from the request to the last frame that did not move.
        latency: u64,
    },
    /// No single stamp showed a step in the time in which the request should have acted.
    Still {
        /// Median offset from the line, in ns.
        offset: f64,
        /// Additional duration, including whole periods, in ns.
        elapsed: f64,
        /// Whether the stamps together show a small step, or a step of whole periods.
        moved: bool,
        /// A smaller shift could not be detected, in ns.
        least: f64,
    },
    /// The stamps do not agree for long.
    Unclear,
}

/// Detects the effect of one injection.
#[derive(Debug)]
pub struct EffectDetector {
    asked_at: u64,
    /// The newest frame that had not moved.
    quiet: (u64, Timestamp<Rig>),
    /// Frames since then.
    out: usize,
    /// Frames since the request.
    frames: usize,
    offsets: [f64; SETTLE_FRAMES],
    /// Expected additional duration of the long frame, in ns, if known.
    expected: Option<f64>,
    /// Whole periods that count as missing frames, in ns.
    skipped: f64,
}

impl EffectDetector {
    /// An exposure was requested at this frame; it should make one frame longer by `expected` ns.
    pub const fn new(sequence: u64, time: Timestamp<Rig>, expected: Option<f64>) -> Self {
        let offsets = [0.0; SETTLE_FRAMES];
        Self {
            asked_at: sequence,
            quiet: (sequence, time),
            out: 0,
            frames: 0,
            offsets,
            expected,
            skipped: 0.0,
        }
    }

    /// Whether the newest frame has moved.
    pub const fn has_stepped(&self) -> bool {
        self.out > 0
    }

    /// Whether a step of `elapsed` ns, which is whole periods except for `rest`, means missing frames.
    fn is_gap(&self, elapsed: f64, rest: f64, least: f64, period: f64) -> bool {
        let beside = |time: f64| (time - period * (time / period).round()).abs();
        let unlike = self.expected.is_none_or(|expected| {
            (elapsed - expected).abs() > 0.5 * period || beside(expected) > BESIDE * period
        });
        rest.abs() <= least && unlike
    }

    /// Handles the next frame, on a grid of `period` ns.
    pub fn handle_frame(&mut self, place: FramePlace, period: f64, latency: &RequestLatency) -> Effect {
        self.offsets.rotate_left(1);
        let newest = place.offset - self.skipped;
        self.offsets[SETTLE_FRAMES - 1] = newest;
        self.frames += 1;
        let least = STEP.max(STEP_SIGMA * place.jitter) + 3.0 * place.doubt;
        if newest.abs() <= least {
            (self.quiet, self.out) = ((place.sequence, place.time), 0);
        } else {
            self.out += 1;
        }
        let (offset, agree) = self.agreement(place.jitter);
        let since = self.quiet.0 - self.asked_at;
        if self.out >= SETTLE_FRAMES {
            if agree {
                let elapsed = (place.time - self.quiet.1).as_nanos_f64() - real(self.out as u64) * period;
                let rest = offset - period * (offset / period).round();
                if self.is_gap(elapsed, rest, least, period) {
                    self.skipped += offset - rest;
                    self.offsets.iter_mut().for_each(|one| *one -= offset - rest);
                    (self.quiet, self.out) = ((place.sequence, place.time), 0);
                    return Effect::Pending;
                }
                return Effect::Step { offset, elapsed, latency: since + 1 };
            }
            return if self.out > UNSETTLED { Effect::Unclear } else { Effect::Pending };
        }
        if self.out > 0 || self.frames < SETTLE_FRAMES || !latency.has_passed(since) {
            return Effect::Pending;
        }
        // The median of seven stamps has half a stamp's deviation.
        let moved = offset.abs() > 0.5 * STEP + 2.0 * place.jitter + 3.0 * place.doubt || self.skipped != 0.0;
        let shows = self.expected.is_some_and(|expected| expected > least);
        Effect::Still {
            offset,
            elapsed: offset + self.skipped,
            moved,
            least: if shows { 0.0 } else { least },
        }
    }

    /// The median of the newest offsets, and whether they agree on it. The newest one has to agree too, or the frames may have
    /// moved again.
    fn agreement(&self, jitter: f64) -> (f64, bool) {
        let mut offsets = self.offsets;
        offsets.sort_by(f64::total_cmp);
        let median = offsets[SETTLE_FRAMES / 2];
        let bound = AGREE.max(AGREE_SIGMA * jitter);
        let is_near = |offset: &&f64| (**offset - median).abs() <= bound;
        let near = offsets.iter().filter(is_near).count();
        (median, near + 2 >= SETTLE_FRAMES && is_near(&&self.offsets[SETTLE_FRAMES - 1]))
    }
}
