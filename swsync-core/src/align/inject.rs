//! Alignment by exposure: for cameras where only that can be set (the paper, sec. V.B).
//!
//! One long frame shifts all later ones. The injector measures phase and rate of the stream over some frames, requests an
//! exposure that should bring the phase to the grid, detects the effect (`effect`), and learns from it what exposures do
//! (`response_estimator`). A shift scatters by some tens of us, so 20 us take several attempts. Drift helps: a stream that will
//! soon drift onto the grid is left alone, and the target for a drifting stream is a little before the grid.
//!
//! There is never more than one injection in flight, because the latency of requests varies. docs/phase.md ("Only exposure can
//! be set") has the details and the measurements.

use super::config::AlignerTarget;
use super::effect::{Effect, EffectDetector, FramePlace, RequestLatency, SETTLE_FRAMES};
use super::exposure_response::ExposureResponse;
use super::filter::{PhaseFilter, StampVerdict};
use super::lock::{Lock, LockInput};
use super::numbers::real;
use super::problem::AlignProblem;
use super::response_estimator::{ResponseEstimator, Shift};
use crate::frame::LockState;
use crate::grid::FrameGrid;
use crate::time::{Rig, Span, Timestamp};

/// Number of frames from which phase, rate and jitter are learnt before the first injection.
const SEARCH_FRAMES: usize = 12;
/// After this number of frames, an injection no longer waits for a more accurate phase.
const READY_FRAMES: u32 = 45;
/// The stream is left alone if drift brings it to the grid within this number of frames.
const DRIFT_FRAMES: f64 = 60.0;
/// A locked stream may exceed the tolerance by its drift over this number of frames, and by one tolerance at most.
const HOLD_FRAMES: f64 = 30.0;
/// Largest distance of the target before the grid for a drifting stream, in tolerances.
const AHEAD: f64 = 1.5;
/// An injection without effect may still act within this number of frames.
const BLAME_FRAMES: u64 = 90;
/// This number of injections in a row without effect is reported as a problem.
const MAX_INEFFECTIVE: u32 = 4;
/// Prior of the rate, in s/s: two crystals, and a period that is not quite the grid's.
const RATE_PRIOR: f64 = 300e-6;
/// The estimate restarts after this number of matching stamps that contradict it.
const AGREEING: u32 = 3;

/// The settings of the injector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InjectConfig {
    /// The frame grid.
    pub grid: FrameGrid,
    /// Intended delay of frames after the grid's instants.
    pub phase_offset: Span,
    /// Time of one line, in ns; exposures are multiples of it.
    pub line_time_ns: f64,
    /// Largest phase error of an aligned frame.
    pub tolerance: Span,
    /// Number of frames in a row within the tolerance that make a lock.
    pub settle_frames: u32,
    /// Scatter of single shifts, 1 sigma; `response` overrides it.
    pub scatter: Span,
    /// The camera's response, if known.
    pub response: Option<ExposureResponse>,
    /// The longest exposure that the camera supports, if known.
    pub longest: Option<Span>,
}

/// The injector's report on a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InjectorReport {
    /// The frame's phase error, filtered.
    pub phase_error: Span,
    /// Error of `phase_error`, 1 sigma, from the stamps alone, without the clock's uncertainty.
    pub uncertainty: Span,
    /// The camera's lock state.
    pub lock: LockState,
    /// How often the camera has locked.
    pub lock_count: u32,
    /// Exposure to request for one frame, if any.
    pub exposure: Option<Span>,
    /// Number of injections so far, including this one.
    pub injections: u32,
    /// The problem, if any.
    pub problem: Option<AlignProblem>,
}

/// Aligns a camera by injecting long exposures.
#[derive(Debug)]
pub struct Injector {
    config: InjectConfig,
    filter: PhaseFilter,
    response: ResponseEstimator,
    latency: RequestLatency,
    lock: Lock,
    last: Option<(u64, Timestamp<Rig>)>,
    /// Time in periods and phase of the first frames.
    search: [(f64, f64); SEARCH_FRAMES],
    /// Number of frames in `search`.
    seen: usize,
    /// Number of frames that the phase has been measured over.
    measured: u32,
    injections: u32,
    /// Number of injections in a row without effect.
    ineffective: u32,
    holdover: bool,
    /// The injection whose effect has not been seen yet.
    pending: Option<(EffectDetector, Injection)>,
    /// The injection whose effect was seen and is being measured.
    acted: Option<Injection>,
    /// The frame at which the last injection without effect was requested.
    ineffective_since: Option<u64>,
    /// The effect of the last injection was unclear, for instance because the old exposure did not return. It may be part of the
    /// next step.
    unclear: bool,
}

/// An injection in flight.
#[derive(Debug, Clone, Copy)]
struct Injection {
    exposure: f64,
    /// The frame at which it was requested.
    asked_at: u64,
    /// Phase of that frame without the injection, and its variance.
    phase: f64,
    variance: f64,
    /// Sum of what the frames since took longer than a period each, plus the residual of the first.
    offset: f64,
    /// The additional duration of the long frame.
    elapsed: f64,
    /// The intended shift of the phase.
    wanted: f64,
}

impl Injector {
    /// An injector before the first frame.
    #[must_use]
    pub fn new(config: InjectConfig) -> Self {
        let period = config.grid.period_ns();
        let unknown =
            || ResponseEstimator::unknown(period, config.line_time_ns, config.scatter.as_nanos_f64());
        let mut response =
            config.response.map_or_else(unknown, |known| ResponseEstimator::known(period, &known));
        if let Some(longest) = config.longest {
            response.limit(longest.as_nanos_f64());
        }
        Self {
            filter: PhaseFilter::with_rate_prior(period, RATE_PRIOR),
            response,
            latency: RequestLatency::unknown(),
            lock: Lock::new(config.tolerance, config.settle_frames),
            config,
            last: None,
            search: [(0.0, 0.0); SEARCH_FRAMES],
            seen: 0,
            measured: 0,
            injections: 0,
            ineffective: 0,
            holdover: false,
            pending: None,
            acted: None,
            ineffective_since: None,
            unclear: false,
        }
    }

    /// Whether the clock is in holdover: a lock then counts as coasting.
    pub const fn set_holdover(&mut self, holdover: bool) {
        self.holdover = holdover;
    }

    /// From the next frame on, a frame's time means another instant, later by `by`.
    pub fn displace(&mut self, by: Span) {
        if let Some((_, injection)) = &mut self.pending {
            injection.offset -= by.as_nanos_f64();
        }
        self.shift(by);
    }

    /// Adds `by` to all phases.
    fn shift(&mut self, by: Span) {
        let by = by.as_nanos_f64();
        self.filter.displace(by);
        self.search.iter_mut().for_each(|(_, phase)| *phase += by);
        let pending = self.pending.as_mut().map(|(_, injection)| injection);
        pending.into_iter().chain(&mut self.acted).for_each(|injection| injection.phase += by);
        if self.pending.is_none() {
            self.lock.handle_displacement(Span::from_nanos_f64(self.filter.phase()).abs());
        }
    }

    /// Changes the target from the next frame on. `max_slew` has no effect here: an injection is a single frame.
    pub fn set_target(&mut self, target: AlignerTarget) {
        let by = self.config.phase_offset - target.phase_offset;
        self.config.phase_offset = target.phase_offset;
        (self.config.tolerance, self.config.settle_frames) = (target.tolerance, target.settle_frames);
        self.lock.set_target(&target);
        if by != Span::ZERO {
            self.shift(by);
        }
    }

    /// The learnt response of the camera, for its profile.
    #[must_use]
    pub fn learnt(&self) -> ExposureResponse {
        self.response.profile()
    }

    /// Frames from a request to the last frame that it does not move: mean, and mean deviation.
    #[must_use]
    pub const fn latency(&self) -> (f64, f64) {
        self.latency.frames()
    }

    /// The slope of the response, and its standard deviation.
    #[must_use]
    pub fn slope(&self) -> (f64, f64) {
        self.response.slope()
    }

    /// A frame has arrived; `sequence` is the driver's count, `time` the frame's time.
    pub fn handle_frame(&mut self, sequence: u64, time: Timestamp<Rig>) -> InjectorReport {
        let period = self.config.grid.period_ns();
        let observed = self.config.grid.phase_error(time - self.config.phase_offset).as_nanos_f64();
        match self.last.replace((sequence, time)) {
            Some((before, then)) if before < sequence => {
                let frames = real(sequence - before);
                self.filter.advance(0.0, frames);
                match self.pending.take() {
                    Some((detector, mut injection)) => {
                        injection.offset += (time - then).as_nanos_f64() - period;
                        self.await_effect(detector, injection, (sequence, time), observed);
                    }
                    None => self.follow(sequence, frames, observed),
                }
            }
            _ => {
                self.filter.restart(observed);
                (self.pending, self.acted, self.ineffective_since) = (None, None, None);
                self.search_from(observed);
            }
        }
        let learnt = self.seen >= SEARCH_FRAMES && self.pending.is_none();
        let exposure = if learnt { self.inject(sequence, time, observed) } else { None };
        // After a step the filter waits for frames that agree on its size.
        let stepped = self.pending.as_ref().is_some_and(|(detector, _)| detector.has_stepped());
        let phase_error = Span::from_nanos_f64(if stepped { observed } else { self.filter.phase() });
        let error = phase_error.abs();
        let learnt = learnt && self.is_known_to(0.5 * self.config.tolerance.as_nanos_f64());
        self.lock.handle_frame(LockInput { error, learnt, holdover: self.holdover });
        let injections = self.ineffective;
        InjectorReport {
            phase_error,
            uncertainty: Span::from_nanos_f64(self.filter.uncertainty()),
            problem: (injections >= MAX_INEFFECTIVE).then_some(AlignProblem::NoEffect { injections }),
            lock: self.lock.state(),
            lock_count: self.lock.count(),
            exposure,
            injections: self.injections,
        }
    }

    /// Whether the phase will be known to `sigma` ns when an injection shows its effect, or no longer waiting is worth it.
    fn is_known_to(&self, sigma: f64) -> bool {
        let ahead = self.latency.frames().0 + real(SETTLE_FRAMES as u64);
        let later = self.filter.uncertainty().hypot(self.filter.rate_uncertainty() * ahead);
        later <= sigma || self.measured >= READY_FRAMES
    }

    /// Starts to learn phase, rate and jitter at this frame.
    fn search_from(&mut self, observed: f64) {
        self.search[0] = (0.0, observed);
        (self.seen, self.measured) = (1, 0);
    }

    fn follow(&mut self, sequence: u64, frames: f64, observed: f64) {
        if self.seen < SEARCH_FRAMES {
            let (at, phase) = self.search[self.seen - 1];
            self.search[self.seen] = (at + frames, phase + self.filter.wrap(observed - phase));
            self.seen += 1;
            self.filter.restart(observed);
            if self.seen == SEARCH_FRAMES && !self.filter.restart_with_line(&self.search) {
                self.search_from(observed);
            }
            return;
        }
        self.measured = self.measured.saturating_add(1);
        if matches!(self.filter.observe(observed, AGREEING), StampVerdict::Restarted { .. }) {
            // An injection that was given up has acted after all, or the reason is unknown.
            let since = self
                .ineffective_since
                .take()
                .map(|asked| sequence - asked)
                .filter(|since| *since < BLAME_FRAMES);
            since.into_iter().for_each(|since| self.latency.learn(since.saturating_sub(AGREEING.into())));
            self.acted = None;
            self.search_from(observed);
            self.lock.handle_restart(Span::from_nanos_f64(self.filter.phase()).abs());
        }
    }

    /// Handles a frame while an injection is in flight.
    fn await_effect(
        &mut self,
        mut detector: EffectDetector,
        mut injection: Injection,
        (sequence, time): (u64, Timestamp<Rig>),
        observed: f64,
    ) {
        let since = real(sequence - injection.asked_at);
        let (rate, unsure) = (self.filter.rate(), self.filter.rate_uncertainty() * since);
        let place = FramePlace {
            sequence,
            time,
            offset: injection.offset - rate * since,
            jitter: self.filter.jitter(),
            doubt: unsure.hypot(injection.variance.sqrt()),
        };
        let offset = match detector.handle_frame(place, self.config.grid.period_ns(), &self.latency) {
            Effect::Pending => {
                self.pending = Some((detector, injection));
                return;
            }
            Effect::Unclear => {
                (self.ineffective_since, self.unclear) = (Some(injection.asked_at), true);
                self.filter.restart(observed);
                self.search_from(observed);
                return;
            }
            Effect::Step { offset, elapsed, latency } => {
                injection.elapsed = elapsed;
                self.acted = (!std::mem::take(&mut self.unclear)).then_some(injection);
                self.ineffective = 0;
                // The effect of an earlier injection would come too soon for this one's latency.
                if !self.is_confused(sequence) {
                    self.latency.learn(latency);
                }
                offset
            }
            Effect::Still { offset, elapsed, moved, least } => {
                if moved {
                    injection.elapsed = elapsed;
                    self.acted = Some(injection);
                } else if injection.wanted.abs() > least {
                    self.ineffective = self.ineffective.saturating_add(1);
                    self.ineffective_since = Some(injection.asked_at);
                }
                offset
            }
        };
        self.filter.restart(self.filter.wrap(injection.phase + rate * since + offset));
        self.filter.settled(SETTLE_FRAMES);
        self.measured = 0;
    }

    /// Whether an injection that was given up may act now.
    fn is_confused(&self, sequence: u64) -> bool {
        self.ineffective_since.is_some_and(|asked| sequence - asked < BLAME_FRAMES)
    }

    /// Learns the effect of the last injection, now that the phase after it is known.
    fn learn_shift(&mut self, sequence: u64) {
        let Some(injection) = self.acted.take() else { return };
        let since = real(sequence - injection.asked_at);
        let shift = self.filter.wrap(self.filter.phase() - injection.phase - self.filter.rate() * since);
        let (now, unsure) = (self.filter.uncertainty(), self.filter.rate_uncertainty() * since);
        let variance = injection.variance + now * now + unsure * unsure;
        self.response.learn(Shift {
            exposure: injection.exposure,
            shift,
            elapsed: injection.elapsed,
            variance,
        });
    }

    /// Starts an injection if the stream needs one. Returns its exposure.
    fn inject(&mut self, sequence: u64, time: Timestamp<Rig>, observed: f64) -> Option<Span> {
        let (phase, rate) = (self.filter.phase(), self.filter.rate());
        let tolerance = self.config.tolerance.as_nanos_f64();
        let needed = (0.5 * tolerance).max(0.6 * self.response.scatter()).max(0.05 * phase.abs());
        if !self.is_known_to(needed) {
            return None;
        }
        self.learn_shift(sequence);
        // The slower the drift, the nearer to the grid the stream is brought: it will stay there.
        let drift = (HOLD_FRAMES * rate.abs()).min(tolerance) + self.filter.uncertainty();
        let bound = if self.lock.holds() { tolerance + drift } else { tolerance };
        if phase.abs() <= bound {
            return None;
        }
        let frames_back = (phase.abs() - 0.7 * tolerance) / (-rate * phase.signum());
        if (0.0..DRIFT_FRAMES).contains(&frames_back) {
            return None; // drift will bring it to the grid
        }
        let most = AHEAD * tolerance;
        let ahead = (0.5 * rate * DRIFT_FRAMES * self.filter.rate_known()).clamp(-most, most);
        let (latency, _) = self.latency.frames();
        let wanted = self.filter.wrap(-phase - ahead - rate * latency);
        let exposure = self.response.exposure_for(wanted);
        self.injections = self.injections.saturating_add(1);
        let injection = Injection {
            exposure,
            asked_at: sequence,
            phase,
            variance: self.filter.uncertainty().powi(2),
            offset: self.filter.wrap(observed - phase),
            elapsed: 0.0,
            wanted,
        };
        let expected = self.response.expected(exposure);
        self.pending = Some((EffectDetector::new(sequence, time, expected), injection));
        Some(Span::from_nanos_f64(exposure))
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod phone_tests;
