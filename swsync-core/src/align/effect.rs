//! When an injection acts: its effect in the stamps, and how long requests take, with its spread.

use super::real;
use crate::time::{Rig, Timestamp};

/// Frames after a step that tell how far it was: the median of so many stamps.
pub const SETTLE_FRAMES: usize = 7;
/// A step of less cannot be told from drift, in ns; nor one of so many standard deviations of a stamp.
const STEP: f64 = 40_000.0;
const STEP_SIGMA: f64 = 6.0;
/// Stamps agree where all but two of them are within this of their median, in ns and in standard deviations.
const AGREE: f64 = 20_000.0;
const AGREE_SIGMA: f64 = 3.0;
/// Frames within which a request acts, as long as none was seen to.
const UNKNOWN: u64 = 30;
/// Frames out of their place that do not agree, until they are given up.
const UNSETTLED: usize = 30;
/// What is taken for the mean latency as long as none was seen.
const USUAL: f64 = 4.0;
/// Frames beyond the longest latency that was seen in which a request may still act: always, and the fewer
/// requests were seen, the more; and mean deviations.
const MARGIN: f64 = 4.0;
const INEXPERIENCE: f64 = 12.0;
const DEVIATIONS: f64 = 3.0;
/// What should move frames by a part of a period does not move them by whole ones, but for a chance in a hundred.
const BESIDE: f64 = 0.05;
/// Weight of one request in the mean, at least.
const GAIN: f64 = 0.1;

/// Frames from requests to the last one that they leave in place, as learnt.
#[derive(Debug, Clone, Copy)]
pub struct RequestLatency {
    mean: f64,
    deviation: f64,
    longest: f64,
    requests: u32,
}

impl RequestLatency {
    /// Of a camera that has answered no request.
    pub const fn unknown() -> Self {
        Self { mean: USUAL, deviation: 0.0, longest: 0.0, requests: 0 }
    }

    /// A request took `frames`.
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

    /// The mean, and the mean deviation from it.
    pub const fn frames(&self) -> (f64, f64) {
        (self.mean, self.deviation)
    }

    /// Whether a request that has shown no effect after `frames` will show none.
    pub fn has_passed(&self, frames: u64) -> bool {
        if self.requests == 0 {
            return frames >= UNKNOWN;
        }
        let margin = MARGIN + DEVIATIONS * self.deviation + INEXPERIENCE / f64::from(self.requests);
        real(frames) >= self.longest + margin
    }
}

/// Where frames are, beside the line that they were on when an exposure was asked for.
#[derive(Debug, Clone, Copy)]
pub struct FramePlace {
    /// The driver's count.
    pub sequence: u64,
    /// The stamp.
    pub time: Timestamp<Rig>,
    /// Offset from the line, in ns; whole periods too, by which a frame took longer.
    pub offset: f64,
    /// Standard deviation of a stamp's jitter, in ns.
    pub jitter: f64,
    /// What the line may be off there, 1 sigma, in ns.
    pub doubt: f64,
}

/// What the frames since an injection amount to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Not yet anything.
    Nothing,
    /// They moved by `offset` ns, and the long one took `elapsed` ns more than a frame does.
    Step {
        /// From the line, in ns.
        offset: f64,
        /// Whole periods included, in ns.
        elapsed: f64,
        /// Frames from the request to the last one in its place.
        latency: u64,
    },
    /// None moved in the time in which it should have, or by less than single stamps tell.
    Still {
        /// From the line, in ns: the median.
        offset: f64,
        /// Whole periods included, in ns.
        elapsed: f64,
        /// By stamps together, this is a step, or else one of whole periods.
        moved: bool,
        /// A shift by less than this could not be told, in ns.
        least: f64,
    },
    /// They do not agree for long.
    Unclear,
}

/// Watches frames after an injection.
#[derive(Debug)]
pub struct EffectDetector {
    asked_at: u64,
    /// The newest frame that was in its place.
    quiet: (u64, Timestamp<Rig>),
    /// Frames since then, and in all.
    out: usize,
    frames: usize,
    offsets: [f64; SETTLE_FRAMES],
    /// How much longer than a frame the long one should take, in ns, where that is known.
    expected: Option<f64>,
    /// Whole periods that were skipped as frames that are missing, in ns.
    skipped: f64,
}

impl EffectDetector {
    /// An exposure was asked for at this frame, and should make one take longer by `expected` ns.
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

    /// Whether the newest frame is out of its place.
    pub const fn has_stepped(&self) -> bool {
        self.out > 0
    }

    /// Whether a step of `elapsed` ns, whole periods but for `rest`, is frames that are missing.
    fn is_gap(&self, elapsed: f64, rest: f64, least: f64, period: f64) -> bool {
        let beside = |time: f64| (time - period * (time / period).round()).abs();
        let unlike = self.expected.is_none_or(|expected| {
            (elapsed - expected).abs() > 0.5 * period || beside(expected) > BESIDE * period
        });
        rest.abs() <= least && unlike
    }

    /// One frame more, on a grid of `period` ns.
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
                    return Effect::Nothing;
                }
                return Effect::Step { offset, elapsed, latency: since + 1 };
            }
            return if self.out > UNSETTLED { Effect::Unclear } else { Effect::Nothing };
        }
        if self.out > 0 || self.frames < SETTLE_FRAMES || !latency.has_passed(since) {
            return Effect::Nothing;
        }
        // The median of seven has half a stamp's deviation.
        let moved = offset.abs() > 0.5 * STEP + 2.0 * place.jitter + 3.0 * place.doubt || self.skipped != 0.0;
        let shows = self.expected.is_some_and(|expected| expected > least);
        Effect::Still {
            offset,
            elapsed: offset + self.skipped,
            moved,
            least: if shows { 0.0 } else { least },
        }
    }

    /// The median of the newest offsets, and whether they agree on it, the very newest too: else they may have moved
    /// once more.
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
