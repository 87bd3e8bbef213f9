//! The aligner: frames in, frame lengths out, so that every frame lies on the grid.
//!
//! # Model
//!
//! A free-running sensor takes frames that are whole numbers of lines long. With line time λ, a
//! frame of L lines moves the phase of the next one by L·λ − T against the grid's period T. The
//! aligner keeps an estimate of phase and of the rate by which λ differs from its nominal value
//! (`filter`: a Kalman filter over the stamps, with a gate for late ones), and the lengths that were
//! asked for with the frames that have them (`delayed_lengths`). From these it predicts the phase of the first
//! frame that it can still determine, and asks for the length that brings the one after it nearest to
//! the grid (`plan`). So a large error goes in one frame (the paper's frame injection, sec. V.B), and
//! from then on whole lines are dithered such that the phase stays within half a line.
//!
//! # What goes wrong, and what comes of it
//!
//! A frame is always explained by a length that it could have: what was asked for with the latency that
//! is believed in, or with another one. A write that was lost or came late shows as the length that was
//! asked for before it; the estimate takes that in, and what is left of the correction is asked for
//! again, once. A latency that explains frames better than the believed one takes its place. Stamps
//! that are late one at a time move nothing; several in a row that agree are the new truth, and where a
//! length was asked for that the sensor does not seem to have, that is a limit nobody told of.
//!
//! Other methods, for cameras whose frames cannot be made longer or shorter: [`inject`] and [`reset`].

pub mod calibrate;
mod delayed_lengths;
mod delivery;
mod effect;
pub mod exposure_response;
mod filter;
pub mod inject;
mod lock;
mod plan;
pub mod point;
pub mod reset;
mod response_estimator;

use delayed_lengths::{CANDIDATES, DelayedLengths};
use delivery::DeliveryDelay;
use filter::{PhaseFilter, StampVerdict};
use lock::{Lock, LockInput};
use plan::LengthLimits;

use crate::frame::LockState;
use crate::grid::FrameGrid;
use crate::time::{Rig, Span, Timestamp};

/// Frames whose stamps agree before the first correction.
const SEARCH_FRAMES: u32 = 2;
/// Stamps that contradict the estimate and agree with each other until they are believed: at first, and
/// of a stream that is on the grid. Two stamps in a hundred are late; four that agree come by chance once
/// in a year.
const AGREEING_AT_FIRST: u32 = 2;
const AGREEING: u32 = 4;
/// Frames that can be missing without the phase being learnt anew.
const LONGEST_GAP: u64 = 60;
/// How far from a length that explains it a stamp may be, in ns: stamps are up to a millisecond late, and
/// clocks may shake.
const LOOSELY_EARLY: f64 = -60_000.0;
const LOOSELY_LATE: f64 = 1_100_000.0;
/// Lines by which a frame of a stream on the grid may differ from the period: one late stamp, or one
/// write lost, then costs no more than that.
const HOLDING_LINES: f64 = 1.2;
/// Frames after which a limit that nobody told of is tried again.
const DISTRUST_FRAMES: u32 = 900;
/// Frames may be this part of the period in any case: hardly more of the next ones are late for that.
const SHORTER: f64 = 0.97;
/// How many lines a length has to differ from what was expected for one stamp to tell.
const TELLING_LINES: u64 = 3;
/// Corrections of more frames than this are too slow to be meant.
const PATIENCE_FRAMES: f64 = 90.0;

/// A sensor, as far as the aligner has to know it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SensorTiming {
    /// Nominal time of one line, in ns: the quantum of frame lengths.
    pub line_time_ns: f64,
    /// Shortest frame, in lines.
    pub min_lines: u32,
    /// Longest frame, in lines.
    pub max_lines: u32,
    /// Length of frames as long as nothing is asked for, in lines.
    pub nominal_lines: u32,
    /// Frames from the one at whose arrival a length is asked for to the first one that has it.
    pub latency: u32,
    /// Lengths differ from the nominal one by multiples of so many lines.
    pub line_step: u32,
    /// Lines that an exposure has to be shorter than its frame.
    pub exposure_margin: u32,
}

/// What the aligner works towards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlignerConfig {
    /// The grid.
    pub grid: FrameGrid,
    /// The sensor.
    pub sensor: SensorTiming,
    /// Largest phase error of a locked frame.
    pub tolerance: Span,
    /// Frames within the tolerance, in a row, that make a lock.
    pub settle_frames: u32,
    /// Where frames are to lie after the grid's instants: cameras that take turns have different ones.
    pub phase_offset: Span,
    /// Largest part of the period by which one frame may differ from it; `None` is any.
    pub max_slew: Option<f64>,
}

/// What may change while a camera is being aligned, and all methods have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlignTarget {
    /// Where frames are to lie after the grid's instants.
    pub phase_offset: Span,
    /// Largest phase error of a locked frame.
    pub tolerance: Span,
    /// Frames within the tolerance, in a row, that make a lock.
    pub settle_frames: u32,
    /// Largest part of the period by which one frame may differ from it; `None` is any.
    pub max_slew: Option<f64>,
}

impl AlignerConfig {
    /// On the grid itself, corrected as fast as the sensor can.
    #[must_use]
    pub const fn new(grid: FrameGrid, sensor: SensorTiming, tolerance: Span, settle_frames: u32) -> Self {
        Self { grid, sensor, tolerance, settle_frames, phase_offset: Span::ZERO, max_slew: None }
    }
}

/// What stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlignProblem {
    /// No frame is as long as the period.
    #[error(
        "frames of {min} to {max} lines cannot follow a grid of {period} lines: choose another frame rate \
         or sensor mode"
    )]
    OffRate {
        /// Shortest frame, in lines.
        min: u32,
        /// Longest frame, in lines.
        max: u32,
        /// The period, in lines, rounded.
        period: u32,
    },
    /// The exposure keeps frames longer than the period.
    #[error(
        "an exposure of {exposure} lines does not fit into a frame of {period}: shorten it, or limit auto \
         exposure"
    )]
    ExposureTooLong {
        /// Exposure, in lines.
        exposure: u32,
        /// The period, in lines, rounded.
        period: u32,
    },
    /// The way to the grid is long, as frames may hardly be shorter or longer.
    #[error(
        "{frames} frames until the grid is reached, as frames may only have {min} to {max} lines: a lower \
         frame rate, a shorter exposure or a larger max-slew leaves more room"
    )]
    LittleHeadroom {
        /// Frames until then.
        frames: u32,
        /// Shortest frame, in lines.
        min: u32,
        /// Longest frame, in lines.
        max: u32,
    },
    /// The sensor takes lengths otherwise than it was said to.
    #[error("asked for {asked} lines, the sensor made {got}: its limits are not what its profile says")]
    Clamped {
        /// What was asked for, in lines.
        asked: u32,
        /// What it came to, in lines.
        got: u32,
    },
    /// Long exposures shift nothing.
    #[error(
        "{injections} long exposures in a row shifted no frame: the camera does not take them up, or keeps its \
         frame rate all the same (switch a constant frame rate off)"
    )]
    NoEffect {
        /// Injections in a row without effect.
        injections: u32,
    },
    /// Lengths take effect later or sooner than the profile says.
    #[error("lengths take effect after {found} frames, the profile says {told}")]
    Latency {
        /// Frames by the profile.
        told: u32,
        /// Frames as found.
        found: u32,
    },
}

impl AlignProblem {
    /// Its name in messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::OffRate { .. } => "off-rate",
            Self::ExposureTooLong { .. } => "exposure-too-long",
            Self::LittleHeadroom { .. } => "little-headroom",
            Self::Clamped { .. } => "clamped",
            Self::NoEffect { .. } => "no-effect",
            Self::Latency { .. } => "latency",
        }
    }
}

/// What the aligner makes of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlignerReport {
    /// The frame's phase error: filtered, as single stamps come late now and then.
    pub phase_error: Span,
    /// What the error of that may be, 1 sigma, by the stamps alone: the clock's is to be added.
    pub uncertainty: Span,
    /// Where the camera stands.
    pub lock: LockState,
    /// How often the lock was won.
    pub lock_count: u32,
    /// Length to ask for, in lines, if any.
    pub lines: Option<u32>,
    /// Frames until a length that is asked for now takes effect, as far as is known.
    pub latency: u32,
    /// Writes that were lost or late.
    pub missed_writes: u32,
    /// What stands in the way, if anything: the gravest.
    pub problem: Option<AlignProblem>,
}

/// Brings one camera's frames onto the grid and holds them there.
#[derive(Debug)]
pub struct Aligner {
    config: AlignerConfig,
    filter: PhaseFilter,
    lengths: DelayedLengths,
    lock: Lock,
    sequence: Option<u64>,
    /// Frames since the filter began.
    seen: u32,
    /// The newest frame is out of place by more than stamps are late.
    astray: bool,
    /// Nothing was asked for at the newest frame, as it came too late for a large correction.
    withheld: bool,
    delivery: DeliveryDelay,
    missed_writes: u32,
    exposure_lines: u32,
    holdover: bool,
    found: Option<FoundLimit>,
}

/// A limit of the sensor that nobody told of.
#[derive(Debug, Clone, Copy)]
struct FoundLimit {
    asked: u32,
    got: u32,
    /// Frames for which it is respected.
    left: u32,
}

impl Aligner {
    /// An aligner that has seen no frame.
    #[must_use]
    pub fn new(config: AlignerConfig) -> Self {
        Self {
            filter: PhaseFilter::new(config.grid.period_ns()),
            lengths: DelayedLengths::new(config.sensor.latency, config.sensor.nominal_lines),
            lock: Lock::new(config.tolerance, config.settle_frames),
            delivery: DeliveryDelay::new(config.grid.period_ns()),
            config,
            sequence: None,
            seen: 0,
            astray: false,
            withheld: false,
            missed_writes: 0,
            exposure_lines: 0,
            holdover: false,
            found: None,
        }
    }

    /// Frames have this exposure from now on, so that shorter ones than it allows are not asked for.
    pub fn set_exposure(&mut self, exposure: Span) {
        self.exposure_lines = whole(exposure.as_nanos_f64() / self.config.sensor.line_time_ns);
    }

    /// Whether the clock is in holdover: a lock is then said to be coasting.
    pub const fn set_holdover(&mut self, holdover: bool) {
        self.holdover = holdover;
    }

    /// The next frame's time stands for another instant than the frames' before, later by `by`: the
    /// exposure changed, say, and frames are aligned by its middle.
    ///
    /// By so much that it ends the lock, that is said at once, and corrected like any error at the start.
    pub fn displace(&mut self, by: Span) {
        self.filter.displace(by.as_nanos_f64());
        self.lock.handle_displacement(self.error());
    }

    /// Frames are to lie elsewhere, or be judged otherwise, from the next one on. What has been learnt of the
    /// sensor stays.
    pub fn set_target(&mut self, target: AlignTarget) {
        let by = self.config.phase_offset - target.phase_offset;
        (self.config.phase_offset, self.config.max_slew) = (target.phase_offset, target.max_slew);
        (self.config.tolerance, self.config.settle_frames) = (target.tolerance, target.settle_frames);
        self.lock.set_target(&target);
        if by != Span::ZERO {
            self.displace(by);
        }
    }

    /// A frame has arrived: the driver's count of it, and its time.
    pub fn handle_frame(&mut self, sequence: u64, time: Timestamp<Rig>) -> AlignerReport {
        self.handle_frame_at(sequence, time, time)
    }

    /// A frame has arrived, at `now` on the clock of its time.
    ///
    /// Where the next frame has begun by then, a large correction waits for the next frame's turn: it may be
    /// too late, and libcamera's controls then delay all later ones besides. Where that has begun as well, an
    /// ordinary length is asked for. Of frames that have waited for one another nothing is asked at all: each set
    /// of controls takes a frame of its own, so that several at once delay all later ones.
    pub fn handle_frame_at(
        &mut self,
        sequence: u64,
        time: Timestamp<Rig>,
        now: Timestamp<Rig>,
    ) -> AlignerReport {
        let observed = self.config.grid.phase_error(time - self.config.phase_offset).as_nanos_f64();
        self.astray = false;
        match self.sequence.replace(sequence) {
            Some(before) if before < sequence && sequence - before <= LONGEST_GAP => {
                self.follow(before, sequence, observed);
            }
            // The first one, or a count that began anew: nothing that was asked for is known to hold.
            before => {
                if before.is_some() {
                    self.lengths =
                        DelayedLengths::new(self.config.sensor.latency, self.config.sensor.nominal_lines);
                    self.lock.handle_restart(Span::MAX);
                }
                self.filter.restart(observed);
                self.seen = 1;
            }
        }
        if let Some(found) = &mut self.found {
            found.left -= 1;
            if found.left == 0 {
                self.found = None;
            }
        }
        let learnt = self.seen >= SEARCH_FRAMES;
        let length = f64::from(self.lengths.length(self.lengths.current(), sequence));
        let waited = self.delivery.handle_frame(time, now);
        let ahead = length.mul_add(self.config.sensor.line_time_ns, self.delivery.usual());
        let late = now >= time + Span::from_nanos_f64(ahead);
        let (plan, problem) = self.choose_length(sequence, late);
        let period = self.config.grid.period_ns() / self.config.sensor.line_time_ns;
        let large = (f64::from(plan) - period).abs() > real(TELLING_LINES);
        let lines = match (learnt && !waited, late && large) {
            (false, _) => None,
            (true, false) => Some(plan),
            (true, true) if !self.withheld => None,
            // The sensor keeps the length that it has: where that is a short one, all frames are late.
            (true, true) => Some(self.ordinary_length(period)),
        };
        self.withheld = learnt && !waited && lines.is_none();
        self.lengths.ask(sequence, lines, late);
        self.lock.handle_frame(LockInput { error: self.error(), learnt, holdover: self.holdover });
        AlignerReport {
            phase_error: Span::from_nanos_f64(if self.astray { observed } else { self.filter.phase() }),
            uncertainty: Span::from_nanos_f64(self.filter.uncertainty()),
            lock: if self.astray && self.lock.holds() { LockState::Lost } else { self.lock.state() },
            lock_count: self.lock.count(),
            lines,
            latency: self.lengths.latency(),
            missed_writes: self.missed_writes,
            problem,
        }
    }

    /// From frame `before` to frame `sequence`, which was stamped at the phase `observed`.
    fn follow(&mut self, before: u64, sequence: u64, observed: f64) {
        let lines: [u64; CANDIDATES] = std::array::from_fn(|candidate| {
            (before..sequence).map(|frame| u64::from(self.lengths.length(candidate, frame))).sum()
        });
        let frames = real(sequence - before);
        let moves = lines.map(|lines| self.movement(real(lines), frames));
        let residuals = moves.map(|(shift, periods)| self.filter.residual_after(observed, shift, periods));
        if frames > 1.0 {
            self.lengths.handle_loss();
        }
        let (shift, periods) = self.explain(lines, moves, residuals);
        self.filter.advance(shift, periods);
        let agreeing = if self.lock.holds() { AGREEING } else { AGREEING_AT_FIRST };
        match self.filter.observe(observed, agreeing) {
            StampVerdict::Used => self.seen = self.seen.saturating_add(1),
            // Stamps come late, but not by so much: whatever moved this frame, it is not on the grid.
            StampVerdict::PassedOver { residual } => {
                self.astray = !(LOOSELY_EARLY..=LOOSELY_LATE).contains(&residual);
            }
            StampVerdict::Restarted { jump } => {
                self.look_for_limit(sequence, jump);
                if self.lock.handle_restart(self.error()) {
                    // The stamps that agreed are as good as a search.
                    self.seen = SEARCH_FRAMES;
                }
            }
        }
    }

    /// How far the phase moved, in ns, and in how many periods, by the lengths that each candidate says.
    fn explain(
        &mut self,
        lines: [u64; CANDIDATES],
        moves: [(f64, f64); CANDIDATES],
        residuals: [f64; CANDIDATES],
    ) -> (f64, f64) {
        let believed = self.lengths.current();
        let [least, most] = [lines.iter().min(), lines.iter().max()].map(|n| n.copied().unwrap_or(0));
        if least == most {
            return moves[believed];
        }
        let deviation = self.filter.variance().sqrt();
        let near = self.config.sensor.line_time_ns * real(TELLING_LINES);
        let best = residuals.iter().copied().min_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(0.0);
        let possible = residuals.map(|residual| (residual - best).abs() < near);
        if possible.contains(&false) {
            // Lengths that differ by so much that one stamp tells, if anything explains it.
            if !(LOOSELY_EARLY..=LOOSELY_LATE).contains(&best) {
                return moves[believed];
            }
            if !possible[believed] {
                self.missed_writes = self.missed_writes.saturating_add(1);
            }
            self.lengths.exclude(possible);
        }
        // A line or two are between one late stamp and the next: all that is possible has its share.
        let residuals = residuals.map(|residual| residual / deviation);
        let mut shares = self.lengths.shares(residuals);
        let sum: f64 = (0..CANDIDATES).filter(|i| possible[*i]).map(|i| shares[i]).sum();
        for (share, possible) in shares.iter_mut().zip(possible) {
            *share = if possible { *share / sum } else { 0.0 };
        }
        self.lengths.weigh(residuals);
        let [shift, periods] = [moves.map(|m| m.0), moves.map(|m| m.1)]
            .map(|values| (0..CANDIDATES).map(|i| shares[i] * values[i]).sum::<f64>());
        let spread: f64 = (0..CANDIDATES).map(|i| shares[i] * (moves[i].0 - shift).powi(2)).sum();
        self.filter.doubt(spread);
        (shift, periods)
    }

    /// How far `lines` lines in `frames` frames move the phase by the nominal line time, in ns, and how
    /// many periods they take.
    fn movement(&self, lines: f64, frames: f64) -> (f64, f64) {
        let period = self.config.grid.period_ns();
        let duration = lines * self.config.sensor.line_time_ns;
        (duration - frames * period, duration / period)
    }

    /// The length of the first frame that can still be determined, and what is in the way.
    fn choose_length(&self, sequence: u64, late: bool) -> (u32, Option<AlignProblem>) {
        let AlignerConfig { sensor, grid, max_slew, .. } = &self.config;
        let (period, believed) = (grid.period_ns(), self.lengths.current());
        let near = sensor.line_time_ns * real(TELLING_LINES);
        let phases: [f64; CANDIDATES] = std::array::from_fn(|i| self.phase_ahead(i, sequence, late));
        let odds = self.lengths.odds();
        // Where it is open which latency is true, the mean errs least; what is far off is no matter of that.
        let lead =
            |i: usize| Some(self.filter.wrap(phases[i] - phases[believed])).filter(|d| d.abs() <= near);
        let (lead, sum) = (0..CANDIDATES)
            .filter_map(|i| Some((odds[i] * lead(i)?, odds[i])))
            .fold((0.0, 0.0), |(lead, sum), (l, o)| (lead + l, sum + o));
        let phase = self.filter.wrap(phases[believed] + lead / sum);
        let line_ns = sensor.line_time_ns * (1.0 + self.filter.rate() / period);
        let period_lines = period / line_ns;
        let mut limits = LengthLimits::of(sensor, self.exposure_lines, period_lines, *max_slew);
        if let Some(FoundLimit { asked, got, .. }) = self.found {
            if asked < got {
                limits.min = limits.min.max(got).min(limits.max);
            } else {
                limits.max = limits.max.min(got).max(limits.min);
            }
        }
        // After a frame that is shorter than the next one takes to arrive, that cannot be answered in time.
        let answered = (self.delivery.soonest() / line_ns).min(SHORTER * period_lines);
        limits.min = limits.min.max(whole(answered)).min(limits.max);
        if self.lock.holds() {
            limits = limits.near(period_lines, HOLDING_LINES * f64::from(sensor.line_step.max(1)));
        }
        let plan = plan::length(sensor, limits, (phase, period), line_ns, self.lock.holds());
        (plan.lines, self.problem(limits, period_lines, plan.frames))
    }

    /// The length nearest to a period of `period` lines that a frame may have.
    fn ordinary_length(&self, period: f64) -> u32 {
        let sensor = &self.config.sensor;
        let limits = LengthLimits::of(sensor, self.exposure_lines, period, None);
        plan::length(sensor, limits, (0.0, period * sensor.line_time_ns), sensor.line_time_ns, true).lines
    }

    /// The phase of the first frame that can still be determined, if `candidate` is true.
    fn phase_ahead(&self, candidate: usize, sequence: u64, late: bool) -> f64 {
        let known = self.lengths.known_frames(candidate, late);
        let lines = (sequence..sequence.saturating_add(known))
            .map(|frame| u64::from(self.lengths.length(candidate, frame)))
            .sum();
        let (shift, periods) = self.movement(real(lines), real(known));
        self.filter.wrap(self.filter.phase() + shift + self.filter.rate() * periods)
    }

    /// What is in the way of a correction that takes `frames` frames: the gravest.
    fn problem(&self, limits: LengthLimits, period_lines: f64, frames: f64) -> Option<AlignProblem> {
        let LengthLimits { min, max } = limits;
        let period = whole(period_lines.round());
        if self.exposure_lines.saturating_add(self.config.sensor.exposure_margin) > whole(period_lines.ceil())
            && self.exposure_lines > 0
        {
            return Some(AlignProblem::ExposureTooLong { exposure: self.exposure_lines, period });
        }
        if f64::from(min) > period_lines || f64::from(max) < period_lines {
            return Some(AlignProblem::OffRate { min, max, period });
        }
        if let Some(FoundLimit { asked, got, .. }) = self.found {
            return Some(AlignProblem::Clamped { asked, got });
        }
        if frames > PATIENCE_FRAMES && !self.lock.holds() && self.seen >= SEARCH_FRAMES {
            return Some(AlignProblem::LittleHeadroom { frames: whole(frames), min, max });
        }
        let latency =
            || AlignProblem::Latency { told: self.config.sensor.latency, found: self.lengths.latency() };
        self.lengths.differs().then(latency)
    }

    /// The phase jumped by `jump` ns from what was expected: perhaps the length that was asked for, of a
    /// frame just before, is none that the sensor has.
    fn look_for_limit(&mut self, sequence: u64, jump: f64) {
        let line = self.config.sensor.line_time_ns;
        let period = self.config.grid.period_ns() / line;
        let recent = sequence.saturating_sub(u64::from(AGREEING) + 2)..sequence;
        let telling = recent
            .map(|frame| self.lengths.length(self.lengths.current(), frame))
            .max_by(|a, b| (f64::from(*a) - period).abs().total_cmp(&(f64::from(*b) - period).abs()));
        let Some(asked) = telling else { return };
        let (wanted, got) = (f64::from(asked) - period, f64::from(asked) - period + jump / line);
        // Cut short, but not to nothing: that would be a write that was lost.
        let telling = real(TELLING_LINES);
        let cut = wanted * got > 0.0 && got.abs() < wanted.abs() - telling && got.abs() > telling;
        if cut {
            let got = whole((got + period).round());
            self.found = Some(FoundLimit { asked, got, left: DISTRUST_FRAMES });
        }
    }

    fn error(&self) -> Span {
        Span::from_nanos_f64(self.filter.phase()).abs()
    }
}

/// A count as a float: exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "lines, frames and ns of a profile are fewer than 2^53")]
pub(crate) const fn real(n: u64) -> f64 {
    n as f64
}

/// Whole lines or frames, truncated.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to int casts saturate, which is what a limit does"
)]
const fn whole(n: f64) -> u32 {
    n as u32
}

#[cfg(test)]
mod tests;
