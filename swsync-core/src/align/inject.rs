//! Alignment by exposure: for cameras where only that can be set (the paper, sec. V.B).
//!
//! One long frame shifts all later ones. By how much is learnt from frame to frame (`response`): phase
//! and rate of the stream are measured over some frames, an exposure is asked for that should bring the
//! phase to the grid, and when later frames have jumped and agree with each other on how far, that is
//! what this exposure does. A shift scatters by some tens of us, so to reach 20 us is a matter of
//! several attempts however well the line is known (with σ = 25 us six in ten hit). What helps is drift: a
//! stream that drifts towards the grid by itself, and will be there soon, is left alone; and a stream that
//! drifts is aimed a little before the grid, so that more of the scatter ends where drift mends it.
//!
//! Requests take a time that varies, by three frames and more on phones. So nothing is asked for until the
//! last injection's effect was seen, or as many frames have passed as requests take at most, by what was
//! learnt of them (`effect`). The effect is told by the time that a frame took, so that a small shift is seen among
//! noisy stamps, and frames that are missing are not taken for it. Nor is anything asked for before phase and
//! rate are known well enough for the next shift to hit; how noisy stamps are comes from the stream itself.

use super::effect::{Effect, EffectDetector, FramePlace, RequestLatency, SETTLE_FRAMES};
use super::exposure_response::ExposureResponse;
use super::filter::{PhaseFilter, StampVerdict};
use super::lock::{Lock, LockInput};
use super::response_estimator::{ResponseEstimator, Shift};
use super::{AlignProblem, AlignTarget, real};
use crate::frame::LockState;
use crate::grid::FrameGrid;
use crate::time::{Rig, Span, Timestamp};

/// Frames from which phase, rate and the stamps' jitter are learnt before the first injection.
const SEARCH_FRAMES: usize = 12;
/// Frames in which the phase has to become known as well as it is needed.
const READY_FRAMES: u32 = 45;
/// Frames for which drift may have its way.
const DRIFT_FRAMES: f64 = 60.0;
/// Frames by whose drift, and no more than a tolerance, a stream on the grid may be beyond the tolerance.
const HOLD_FRAMES: f64 = 30.0;
/// How far before the grid a drifting stream is aimed, in tolerances.
const AHEAD: f64 = 1.5;
/// Frames for which an injection that showed no effect may be to blame for what happens.
const BLAME_FRAMES: u64 = 90;
/// Injections in a row without effect that are no chance.
const FRUITLESS: u32 = 4;
/// What two crystals and a period that is not quite the grid's amount to.
const RATE_PRIOR: f64 = 300e-6;
/// Stamps that contradict the estimate and agree until they are believed.
const AGREEING: u32 = 3;

/// What the injector works with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InjectConfig {
    /// The grid.
    pub grid: FrameGrid,
    /// Where frames are to lie after the grid's instants.
    pub phase_offset: Span,
    /// Time of one line, in ns: the quantum of exposures.
    pub line_time_ns: f64,
    /// Largest phase error of an aligned frame.
    pub tolerance: Span,
    /// Frames within the tolerance, in a row, that make a lock.
    pub settle_frames: u32,
    /// What single shifts scatter by, 1 sigma; a profile knows better.
    pub scatter: Span,
    /// The camera's response, where it is known.
    pub response: Option<ExposureResponse>,
    /// The longest exposure that the camera takes, where that is known.
    pub longest: Option<Span>,
}

/// What the injector makes of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InjectorReport {
    /// The frame's phase error, filtered.
    pub phase_error: Span,
    /// What the error of that may be, 1 sigma, by the stamps alone: the clock's is to be added.
    pub uncertainty: Span,
    /// Where the camera stands.
    pub lock: LockState,
    /// How often the lock was won.
    pub lock_count: u32,
    /// Exposure of one frame to ask for, if any.
    pub exposure: Option<Span>,
    /// Injections so far, this one included.
    pub injections: u32,
    /// What stands in the way, if anything.
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
    /// Time in periods and phase of the frames that are learnt from first, and how many there are.
    search: [(f64, f64); SEARCH_FRAMES],
    seen: usize,
    /// Frames that the phase has been measured over.
    measured: u32,
    injections: u32,
    /// Injections in a row that shifted nothing.
    fruitless: u32,
    holdover: bool,
    /// An injection whose effect is awaited, and one whose effect is being measured.
    pending: Option<(EffectDetector, Injection)>,
    acted: Option<Injection>,
    /// When the last injection was asked for that showed no effect.
    lost: Option<u64>,
    /// What the last one did was never clear (the exposure before did not come back, say): the next one's step is
    /// partly that.
    unclear: bool,
}

/// An injection.
#[derive(Debug, Clone, Copy)]
struct Injection {
    exposure: f64,
    /// Frame at which it was asked for.
    asked_at: u64,
    /// Phase of that frame, without the injection, and its variance.
    phase: f64,
    variance: f64,
    /// What the frames since took longer than a period each, and what the first was off its phase.
    offset: f64,
    /// ... and what the long one did.
    elapsed: f64,
    /// How far the phase should be shifted, by what is known.
    wanted: f64,
}

impl Injector {
    /// An injector that has seen no frame.
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
            fruitless: 0,
            holdover: false,
            pending: None,
            acted: None,
            lost: None,
            unclear: false,
        }
    }

    /// Whether the clock is in holdover: a lock is then said to be coasting.
    pub const fn set_holdover(&mut self, holdover: bool) {
        self.holdover = holdover;
    }

    /// The next frame's time stands for another instant than the frames' before, later by `by`.
    pub fn displace(&mut self, by: Span) {
        if let Some((_, injection)) = &mut self.pending {
            injection.offset -= by.as_nanos_f64();
        }
        self.shift(by);
    }

    /// All phases are greater by `by`, without a frame.
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

    /// Frames are to lie elsewhere, or be judged otherwise, from the next one on. (A slew cannot be bounded
    /// here: one exposure is all there is.)
    pub fn set_target(&mut self, target: AlignTarget) {
        let by = self.config.phase_offset - target.phase_offset;
        self.config.phase_offset = target.phase_offset;
        (self.config.tolerance, self.config.settle_frames) = (target.tolerance, target.settle_frames);
        self.lock.set_target(&target);
        if by != Span::ZERO {
            self.shift(by);
        }
    }

    /// What has been learnt of the camera, to be kept in its profile.
    #[must_use]
    pub fn learnt(&self) -> ExposureResponse {
        self.response.profile()
    }

    /// Frames from a request to the last one that it leaves in its place: the mean so far, and the mean
    /// deviation from it.
    #[must_use]
    pub const fn latency(&self) -> (f64, f64) {
        self.latency.frames()
    }

    /// The slope of the response, and what it may be off.
    #[must_use]
    pub fn slope(&self) -> (f64, f64) {
        self.response.slope()
    }

    /// A frame has arrived: the driver's count of it, and its time.
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
                (self.pending, self.acted, self.lost) = (None, None, None);
                self.search_from(observed);
            }
        }
        let learnt = self.seen >= SEARCH_FRAMES && self.pending.is_none();
        let exposure = if learnt { self.inject(sequence, time, observed) } else { None };
        // After a step the filter waits for frames that agree on how far it was.
        let stepped = self.pending.as_ref().is_some_and(|(detector, _)| detector.has_stepped());
        let phase_error = Span::from_nanos_f64(if stepped { observed } else { self.filter.phase() });
        let error = phase_error.abs();
        let learnt = learnt && self.is_known_to(0.5 * self.config.tolerance.as_nanos_f64());
        self.lock.handle_frame(LockInput { error, learnt, holdover: self.holdover });
        let injections = self.fruitless;
        InjectorReport {
            phase_error,
            uncertainty: Span::from_nanos_f64(self.filter.uncertainty()),
            problem: (injections >= FRUITLESS).then_some(AlignProblem::NoEffect { injections }),
            lock: self.lock.state(),
            lock_count: self.lock.count(),
            exposure,
            injections: self.injections,
        }
    }

    /// Whether the phase is known to `sigma` ns, by when an injection shows too, or as well as can be waited for.
    fn is_known_to(&self, sigma: f64) -> bool {
        let ahead = self.latency.frames().0 + real(SETTLE_FRAMES as u64);
        let later = self.filter.uncertainty().hypot(self.filter.rate_uncertainty() * ahead);
        later <= sigma || self.measured >= READY_FRAMES
    }

    /// Phase, rate and jitter are learnt from this frame on.
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
            // An injection that was given up after all, or nothing that is known of.
            let since = self.lost.take().map(|asked| sequence - asked).filter(|since| *since < BLAME_FRAMES);
            since.into_iter().for_each(|since| self.latency.learn(since.saturating_sub(AGREEING.into())));
            self.acted = None;
            self.search_from(observed);
            self.lock.handle_restart(Span::from_nanos_f64(self.filter.phase()).abs());
        }
    }

    /// One frame more after an injection.
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
            Effect::Nothing => {
                self.pending = Some((detector, injection));
                return;
            }
            Effect::Unclear => {
                (self.lost, self.unclear) = (Some(injection.asked_at), true);
                self.filter.restart(observed);
                self.search_from(observed);
                return;
            }
            Effect::Step { offset, elapsed, latency } => {
                injection.elapsed = elapsed;
                self.acted = (!std::mem::take(&mut self.unclear)).then_some(injection);
                self.fruitless = 0;
                // What an earlier one did comes too soon for this one.
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
                    self.fruitless = self.fruitless.saturating_add(1);
                    self.lost = Some(injection.asked_at);
                }
                offset
            }
        };
        self.filter.restart(self.filter.wrap(injection.phase + rate * since + offset));
        self.filter.settled(SETTLE_FRAMES);
        self.measured = 0;
    }

    /// Whether what happens may be the work of an injection that was given up.
    fn is_confused(&self, sequence: u64) -> bool {
        self.lost.is_some_and(|asked| sequence - asked < BLAME_FRAMES)
    }

    /// What the last injection did, now that the phase since is known.
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

    /// An injection, if the stream needs one.
    fn inject(&mut self, sequence: u64, time: Timestamp<Rig>, observed: f64) -> Option<Span> {
        let (phase, rate) = (self.filter.phase(), self.filter.rate());
        let tolerance = self.config.tolerance.as_nanos_f64();
        let needed = (0.5 * tolerance).max(0.6 * self.response.scatter()).max(0.05 * phase.abs());
        if !self.is_known_to(needed) {
            return None;
        }
        self.learn_shift(sequence);
        // Where drift is slow, it is brought nearer, as that lasts.
        let drift = (HOLD_FRAMES * rate.abs()).min(tolerance) + self.filter.uncertainty();
        let bound = if self.lock.holds() { tolerance + drift } else { tolerance };
        if phase.abs() <= bound {
            return None;
        }
        let frames_back = (phase.abs() - 0.7 * tolerance) / (-rate * phase.signum());
        if (0.0..DRIFT_FRAMES).contains(&frames_back) {
            return None; // the drift is bringing it there
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
