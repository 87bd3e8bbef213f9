//! The aligner for sensors with adjustable frame lengths.

use super::config::{AlignerConfig, AlignerTarget};
use super::delayed_lengths::{CANDIDATES, DelayedLengths};
use super::delivery::DeliveryDelay;
use super::filter::{PhaseFilter, StampVerdict};
use super::lock::{Lock, LockInput};
use super::numbers::{real, whole};
use super::plan::{self, LengthLimits};
use super::problem::AlignProblem;
use crate::frame::LockState;
use crate::time::{Rig, Span, Timestamp};

/// Number of frames with matching stamps before the first correction.
const SEARCH_FRAMES: u32 = 2;
/// The estimate restarts after this number of matching stamps that contradict it: while searching, and on the grid. Two stamps
/// in a hundred are late; four late ones that match come by chance once a year.
const AGREEING_AT_FIRST: u32 = 2;
const AGREEING: u32 = 4;
/// Longest gap, in frames, after which the phase is still known.
const LONGEST_GAP: u64 = 60;
/// A length explains a stamp if the stamp is at most this early or late, in ns. Stamps are up to a millisecond late, and clocks
/// may be noisy.
const LOOSELY_EARLY: f64 = -60_000.0;
const LOOSELY_LATE: f64 = 1_100_000.0;
/// On the grid a frame differs from the period by at most this number of lines. So one late stamp or lost write causes no
/// larger error.
const HOLDING_LINES: f64 = 1.2;
/// Number of frames after which a discovered limit is tried again.
const DISTRUST_FRAMES: u32 = 900;
/// Frames may always be this short, as a part of the period: that makes hardly more of the next frames late.
const SHORTER: f64 = 0.97;
/// One stamp is enough to detect a length that differs from the expected one by more than this number of lines.
const TELLING_LINES: u64 = 3;
/// A correction that takes more frames than this is reported as a problem.
const PATIENCE_FRAMES: f64 = 90.0;

/// The aligner's report on a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlignerReport {
    /// The frame's phase error, filtered: single stamps may be late.
    pub phase_error: Span,
    /// Error of `phase_error`, 1 sigma, from the stamps alone, without the clock's uncertainty.
    pub uncertainty: Span,
    /// The camera's lock state.
    pub lock: LockState,
    /// How often the camera has locked.
    pub lock_count: u32,
    /// Length to request, in lines, if any.
    pub lines: Option<u32>,
    /// Frames until a request of now takes effect, as far as is known.
    pub latency: u32,
    /// Number of writes that were lost or late.
    pub missed_writes: u32,
    /// The gravest problem, if any.
    pub problem: Option<AlignProblem>,
    /// Whether the next frame had begun when this one arrived: a request of now takes effect a frame later.
    pub late: bool,
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
    /// The newest stamp is off by more than stamps are ever late: the frame itself is displaced.
    displaced: bool,
    /// The newest frame triggered no request, because it came too late for a large correction.
    withheld: bool,
    delivery: DeliveryDelay,
    missed_writes: u32,
    exposure_lines: u32,
    holdover: bool,
    found: Option<FoundLimit>,
}

/// A limit of the sensor that its profile does not tell.
#[derive(Debug, Clone, Copy)]
struct FoundLimit {
    asked: u32,
    got: u32,
    /// Number of frames for which it is still respected.
    left: u32,
}

impl Aligner {
    /// An aligner before the first frame.
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
            displaced: false,
            withheld: false,
            missed_writes: 0,
            exposure_lines: 0,
            holdover: false,
            found: None,
        }
    }

    /// Frames have this exposure from now on; it limits how short they can be.
    pub fn set_exposure(&mut self, exposure: Span) {
        self.exposure_lines = whole(exposure.as_nanos_f64() / self.config.sensor.line_time_ns);
    }

    /// Whether the clock is in holdover: a lock then counts as coasting.
    pub const fn set_holdover(&mut self, holdover: bool) {
        self.holdover = holdover;
    }

    /// From the next frame on, a frame's time means another instant, later by `by`. That happens when the exposure changes and
    /// frames are aligned by its middle.
    ///
    /// A displacement beyond the lock's tolerance ends the lock at once and is corrected as at the start.
    pub fn displace(&mut self, by: Span) {
        self.filter.displace(by.as_nanos_f64());
        self.lock.handle_displacement(self.error());
    }

    /// Changes the target from the next frame on. What the aligner has learnt about the sensor stays.
    pub fn set_target(&mut self, target: AlignerTarget) {
        let by = self.config.phase_offset - target.phase_offset;
        (self.config.phase_offset, self.config.max_slew) = (target.phase_offset, target.max_slew);
        (self.config.tolerance, self.config.settle_frames) = (target.tolerance, target.settle_frames);
        self.lock.set_target(&target);
        if by != Span::ZERO {
            self.displace(by);
        }
    }

    /// A frame has arrived; `sequence` is the driver's count, `time` the frame's time.
    pub fn handle_frame(&mut self, sequence: u64, time: Timestamp<Rig>) -> AlignerReport {
        self.handle_frame_at(sequence, time, time)
    }

    /// A frame has arrived at `now`, on the same clock as `time`.
    ///
    /// If the next frame has already begun, a large correction waits for the next call: it would be too late for its frame, and
    /// libcamera's delayed controls would then delay all later requests too. If the next call is late as well, the aligner
    /// requests an ordinary length. Frames that arrive in a batch trigger no requests: each set of controls takes a frame of its
    /// own, so several at once would delay all later ones.
    pub fn handle_frame_at(
        &mut self,
        sequence: u64,
        time: Timestamp<Rig>,
        now: Timestamp<Rig>,
    ) -> AlignerReport {
        let observed = self.config.grid.phase_error(time - self.config.phase_offset).as_nanos_f64();
        self.displaced = false;
        match self.sequence.replace(sequence) {
            Some(before) if before < sequence && sequence - before <= LONGEST_GAP => {
                self.follow(before, sequence, observed);
            }
            // The first frame, or the count has restarted: earlier requests may not hold.
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
            // The sensor keeps its present length. If that is a short one, all frames are late until it is changed.
            (true, true) => Some(self.ordinary_length(period)),
        };
        self.withheld = learnt && !waited && lines.is_none();
        self.lengths.ask(sequence, lines, late);
        self.lock.handle_frame(LockInput { error: self.error(), learnt, holdover: self.holdover });
        AlignerReport {
            phase_error: Span::from_nanos_f64(if self.displaced { observed } else { self.filter.phase() }),
            uncertainty: Span::from_nanos_f64(self.filter.uncertainty()),
            lock: if self.displaced && self.lock.holds() { LockState::Lost } else { self.lock.state() },
            lock_count: self.lock.count(),
            lines,
            latency: self.lengths.latency(),
            missed_writes: self.missed_writes,
            problem,
            late,
        }
    }

    /// Advances the filter from frame `before` to frame `sequence`, whose stamp has the phase `observed`.
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
            // No stamp is that late: the frame itself is off the grid.
            StampVerdict::Late { residual } => {
                self.displaced = !(LOOSELY_EARLY..=LOOSELY_LATE).contains(&residual);
            }
            StampVerdict::Restarted { jump } => {
                self.look_for_limit(sequence, jump);
                if self.lock.handle_restart(self.error()) {
                    // The matching stamps are as good as a search.
                    self.seen = SEARCH_FRAMES;
                }
            }
        }
    }

    /// How far the phase moved, in ns, and over how many periods: the mean over the latency candidates.
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
            // The lengths differ enough for one stamp to decide, if any candidate explains the stamp.
            if !(LOOSELY_EARLY..=LOOSELY_LATE).contains(&best) {
                return moves[believed];
            }
            if !possible[believed] {
                self.missed_writes = self.missed_writes.saturating_add(1);
            }
            self.lengths.exclude(possible);
        }
        // A line or two are less than a stamp's error: weigh all possible candidates.
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

    /// How far `lines` lines in `frames` frames move the phase, in ns by the nominal line time, and how many periods they take.
    fn movement(&self, lines: f64, frames: f64) -> (f64, f64) {
        let period = self.config.grid.period_ns();
        let duration = lines * self.config.sensor.line_time_ns;
        (duration - frames * period, duration / period)
    }

    /// The length of the first frame that a request can still determine, and the gravest problem.
    fn choose_length(&self, sequence: u64, late: bool) -> (u32, Option<AlignProblem>) {
        let AlignerConfig { sensor, grid, max_slew, .. } = &self.config;
        let (period, believed) = (grid.period_ns(), self.lengths.current());
        let near = sensor.line_time_ns * real(TELLING_LINES);
        let phases: [f64; CANDIDATES] = std::array::from_fn(|i| self.phase_ahead(i, sequence, late));
        let odds = self.lengths.odds();
        // While the latency is uncertain, the mean over the candidates has the least error. Candidates that are far off do not
        // take part.
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
        // A frame has to last until the next one's arrival, or the request after it would be late.
        let answered = (self.delivery.soonest() / line_ns).min(SHORTER * period_lines);
        limits.min = limits.min.max(whole(answered)).min(limits.max);
        if self.lock.holds() {
            limits = limits.near(period_lines, HOLDING_LINES * f64::from(sensor.line_step.max(1)));
        }
        let plan = plan::length(sensor, limits, (phase, period), line_ns, self.lock.holds());
        (plan.lines, self.problem(limits, period_lines, plan.frames))
    }

    /// The allowed length nearest to a period of `period` lines.
    fn ordinary_length(&self, period: f64) -> u32 {
        let sensor = &self.config.sensor;
        let limits = LengthLimits::of(sensor, self.exposure_lines, period, None);
        plan::length(sensor, limits, (0.0, period * sensor.line_time_ns), sensor.line_time_ns, true).lines
    }

    /// The phase of the first frame that a request can still determine, if `candidate` is true.
    fn phase_ahead(&self, candidate: usize, sequence: u64, late: bool) -> f64 {
        let known = self.lengths.known_frames(candidate, late);
        let lines = (sequence..sequence.saturating_add(known))
            .map(|frame| u64::from(self.lengths.length(candidate, frame)))
            .sum();
        let (shift, periods) = self.movement(real(lines), real(known));
        self.filter.wrap(self.filter.phase() + shift + self.filter.rate() * periods)
    }

    /// The gravest problem of a correction that takes `frames` frames.
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

    /// The phase jumped by `jump` ns: check whether the sensor has clamped the length of a recent frame.
    fn look_for_limit(&mut self, sequence: u64, jump: f64) {
        let line = self.config.sensor.line_time_ns;
        let period = self.config.grid.period_ns() / line;
        let recent = sequence.saturating_sub(u64::from(AGREEING) + 2)..sequence;
        let telling = recent
            .map(|frame| self.lengths.length(self.lengths.current(), frame))
            .max_by(|a, b| (f64::from(*a) - period).abs().total_cmp(&(f64::from(*b) - period).abs()));
        let Some(asked) = telling else { return };
        let (wanted, got) = (f64::from(asked) - period, f64::from(asked) - period + jump / line);
        // The difference from the period was cut, but not to zero: that would be a lost write.
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

#[cfg(test)]
mod tests;
