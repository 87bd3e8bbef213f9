//! Measuring a camera's response to long exposures: frames in, exposures out, a line out.
//!
//! The paper (sec. V.B) fits "a function mapping a desired phase offset to an exposure". Here the camera is
//! asked for one long exposure after another; each shifts all later frames by an amount that the stamps
//! before and after it tell. The frame count tells the shift itself, not just the shift modulo the period.
//!
//! 1. *Resting*: the stream's own period and phase are measured where nothing was asked for.
//! 2. *Sweep*: exposures from the period to `longest`, in an order that spreads them from the first one
//!    on (golden section), so that neither drift nor a cut at the end passes for slope.
//! 3. *Knee*: halving between an exposure that does nothing and the shortest that follows the line: the
//!    shortest exposure that may be used.
//!
//! A line is fitted through what the sweep found ([`fit`]), which passes over injections that were lost.
//! Such ones are asked for again.

pub mod fit;

use fit::{Fit, FitError};

use super::real;
use crate::time::Span;

/// Frames from which the stream's period is learnt at first.
const FIRST_REST: usize = 30;
/// Frames of rest between injections that tell the phase.
const REST: usize = 12;
/// Frames that tell how far the stream was shifted: the median of so many stamps.
const SETTLE: usize = 7;
/// They agree where all but two of them are within this of their median, in ns: late stamps are not counted.
const AGREE: f64 = 20_000.0;
/// A shift of less cannot be told from none, in ns.
const JUMP: f64 = 60_000.0;
/// Frames within which an exposure acts.
const PATIENCE: u64 = 16;
/// Frames after which a stream that does not come to rest is given up.
const RESTLESS: u64 = 60;
/// Failures in a row that end the calibration.
const FAILURES: u32 = 6;
/// Share of the sweep that may be asked for again.
const AGAIN: usize = 3;
/// Halvings on the way to the knee. One that shows nothing is done twice.
const HALVINGS: u32 = 10;
/// Standard deviations within which a shift follows the line.
const FOLLOWS: f64 = 4.0;
/// Single shifts that scatter by more, in ns, align nothing; a slope less sure than this, relatively, neither.
const MOST_SCATTER: f64 = 1e6;
const VAGUE: f64 = 0.02;
/// The golden section.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationPlan {
    /// Period of the stream, nominally.
    pub period: Span,
    /// Shortest and longest exposure that may be asked for.
    pub exposures: (Span, Span),
    /// Exposures of the sweep.
    pub injections: usize,
}

/// Longest exposure that is measured unless something else is said, in periods.
const LONGEST: f64 = 3.0;
/// What lies below this, in periods, is not looked at for the knee.
const KNEE_FROM: f64 = 0.5;
/// Where the sweep begins, in periods: beyond what fits into a frame as it is.
const SWEEP_FROM: f64 = 1.03;
/// Fewest exposures that tell a line and its scatter.
const FEWEST: usize = 8;

/// Why a plan cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Too few exposures.
    #[error("{0} injections tell no line with its scatter: at least {FEWEST}")]
    TooFew(usize),
    /// The camera's longest exposure fits into a frame.
    #[error(
        "the longest exposure, {longest:?}, hardly exceeds the frame period of {period:?}, and only longer ones shift \
         frames: use a higher frame rate"
    )]
    TooShort {
        /// The longest exposure.
        longest: Span,
        /// The period.
        period: Span,
    },
}

impl CalibrationPlan {
    /// A plan for a stream of this period: exposures up to three periods, 24 of them.
    #[must_use]
    pub fn new(period: Span) -> Self {
        Self { period, exposures: (Span::ZERO, period.mul_f64(LONGEST)), injections: 24 }
    }

    fn check(&self) -> Result<(), PlanError> {
        let longest = self.exposures.1;
        if self.injections < FEWEST {
            return Err(PlanError::TooFew(self.injections));
        }
        if longest.as_nanos_f64() < 1.2 * self.period.as_nanos_f64() || self.period <= Span::ZERO {
            return Err(PlanError::TooShort { longest, period: self.period });
        }
        Ok(())
    }
}

/// One exposure, and how far it shifted the frames after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationPoint {
    /// In ns.
    pub exposure_ns: f64,
    /// In ns: whole periods included.
    pub shift_ns: f64,
    /// Whether it was asked for on the way to the knee.
    pub knee: bool,
}

/// What is to be done after a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CalibrationStep {
    /// Nothing: more frames are needed.
    Wait,
    /// One frame with this exposure, then exposures as before.
    Expose(Span),
    /// All is measured.
    Done,
}

/// Where a calibration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalibrationProgress {
    /// What is being done.
    pub stage: CalibrationStage,
    /// Injections that were measured.
    pub done: usize,
    /// Injections that are expected altogether.
    pub of: usize,
}

/// What a calibration is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalibrationStage {
    /// Learning the stream's own period.
    Resting,
    /// Measuring exposures of all lengths.
    Sweep,
    /// Looking for the shortest exposure that has its effect.
    Knee,
    /// All is measured.
    Done,
}

/// Why a calibration failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// It has not come to its end.
    #[error("the calibration was stopped after {done} of {of} injections")]
    Unfinished {
        /// Injections that were measured.
        done: usize,
        /// Injections that were to be.
        of: usize,
    },
    /// A line, but nothing to rely on.
    #[error(
        "the line is too uncertain to be of use: a slope of {slope:.3} +- {slope_sigma:.3}, single shifts scatter by \
         {scatter_us:.0} us. Try more --injections, and see that nothing else sets this camera's controls"
    )]
    Vague {
        /// Slope.
        slope: f64,
        /// 1 sigma of it.
        slope_sigma: f64,
        /// Scatter, in us.
        scatter_us: f64,
    },
    /// The stream does not hold still.
    #[error(
        "the camera's frames do not come at steady intervals: they differ by {spread_us:.0} us. Is auto exposure \
         off, and does nothing else set this camera's controls?"
    )]
    Restless {
        /// How far stamps are apart that should agree, in us.
        spread_us: f64,
    },
    /// No line.
    #[error(transparent)]
    Fit(#[from] FitError),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Calibration {
    plan: CalibrationPlan,
    /// The stream's period, in ns, and how much that is worth.
    period: f64,
    period_weight: f64,
    /// Exposures of the sweep that are still to be asked for, the next one last.
    sweep: Vec<f64>,
    again: usize,
    knee: Option<Knee>,
    points: Vec<CalibrationPoint>,
    failures: u32,
    spread: f64,
    state: State,
    last: Option<(u64, Span)>,
}

#[derive(Debug)]
enum State {
    /// Frames at rest: count and time, relative to the first of them.
    Resting {
        origin: (u64, Span),
        frames: Vec<(f64, f64)>,
    },
    /// An exposure was asked for after the rest that `line` describes.
    Pending {
        exposure: f64,
        line: Line,
        asked_at: u64,
        offsets: Vec<f64>,
    },
    Done,
    Failed,
}

/// Where frames would be without an injection.
#[derive(Debug, Clone, Copy)]
struct Line {
    origin: (u64, Span),
    phase: f64,
}

/// The search for the shortest exposure that follows the line.
#[derive(Debug, Clone, Copy)]
struct Knee {
    none: f64,
    follows: f64,
    halvings: u32,
    /// The exposure at hand seemed to do nothing: once may be an injection that was lost.
    doubted: bool,
    fit: Fit,
}

impl Calibration {
    /// One that has seen no frame.
    ///
    /// # Errors
    /// Where `plan` cannot be carried out.
    pub fn new(plan: CalibrationPlan) -> Result<Self, PlanError> {
        plan.check()?;
        let period = plan.period.as_nanos_f64();
        let (least, longest) = (plan.exposures.0.as_nanos_f64(), plan.exposures.1.as_nanos_f64());
        let from = (SWEEP_FROM * period).max(least);
        let spread = |i: usize| from + (longest - from) * (GOLDEN * real(i as u64)).fract();
        // The ends first: they tell most of the slope.
        let inner = (2..plan.injections).map(spread);
        let mut sweep: Vec<f64> = [longest, from].into_iter().chain(inner).collect();
        sweep.reverse();
        Ok(Self {
            again: plan.injections / AGAIN,
            plan,
            period,
            period_weight: 0.0,
            sweep,
            knee: None,
            points: Vec::new(),
            failures: 0,
            spread: 0.0,
            state: State::Resting { origin: (0, Span::ZERO), frames: Vec::new() },
            last: None,
        })
    }

    /// What has been measured.
    #[must_use]
    pub fn points(&self) -> &[CalibrationPoint] {
        &self.points
    }

    /// The stream's own period, as measured.
    #[must_use]
    pub fn period(&self) -> Span {
        Span::from_nanos_f64(self.period)
    }

    /// Where it stands.
    #[must_use]
    pub fn progress(&self) -> CalibrationProgress {
        let stage = match (&self.state, &self.knee) {
            (State::Done | State::Failed, _) => CalibrationStage::Done,
            (_, Some(_)) => CalibrationStage::Knee,
            _ if self.points.is_empty() && matches!(self.state, State::Resting { .. }) => {
                CalibrationStage::Resting
            }
            _ => CalibrationStage::Sweep,
        };
        let knee =
            self.knee.map_or(HALVINGS as usize * 3 / 2, |knee| (HALVINGS - knee.halvings) as usize * 3 / 2);
        let of = match self.state {
            State::Done | State::Failed => self.points.len(),
            _ => self.points.len() + self.sweep.len() + knee,
        };
        CalibrationProgress { stage, done: self.points.len(), of }
    }

    /// The line through what has been measured so far, to be shown while it goes on.
    ///
    /// # Errors
    /// Where there is none.
    pub fn preview(&self) -> Result<Fit, FitError> {
        Fit::through(&self.points, self.period)
    }

    /// The result.
    ///
    /// # Errors
    /// Where it has not come to its end, or what was measured is no line.
    pub fn finish(&self) -> Result<Fit, CalibrationError> {
        match self.state {
            State::Done => {
                let mut fit = Fit::through(&self.points, self.period)?;
                let Fit { slope, slope_sigma, scatter_ns, .. } = fit;
                if scatter_ns > MOST_SCATTER || slope_sigma > VAGUE * slope {
                    return Err(CalibrationError::Vague { slope, slope_sigma, scatter_us: scatter_ns / 1e3 });
                }
                if let Some(knee) = self.knee {
                    // Near the knee an exposure may fall short by what the scatter hides.
                    fit.min_exposure_ns = knee.follows + FOLLOWS * fit.scatter_ns / fit.slope;
                }
                Ok(fit)
            }
            State::Failed => Err(CalibrationError::Restless { spread_us: self.spread / 1e3 }),
            State::Resting { .. } | State::Pending { .. } => {
                let CalibrationProgress { done, of, .. } = self.progress();
                Err(CalibrationError::Unfinished { done, of })
            }
        }
    }

    /// A frame has arrived: the driver's count of it, and its time, from any instant of any even clock.
    pub fn handle_frame(&mut self, sequence: u64, time: Span) -> CalibrationStep {
        let follows = self.last.replace((sequence, time)).is_none_or(|(before, _)| before < sequence);
        match std::mem::replace(&mut self.state, State::Done) {
            State::Done => CalibrationStep::Done,
            State::Failed => {
                self.state = State::Failed;
                CalibrationStep::Done
            }
            State::Resting { .. } | State::Pending { .. } if !follows => self.rest(sequence, time),
            State::Resting { origin, frames } => self.handle_rest(origin, frames, sequence, time),
            State::Pending { exposure, line, asked_at, mut offsets } => {
                offsets.push(self.offset(line, sequence, time));
                self.handle_pending(exposure, line, (asked_at, sequence), offsets, time)
            }
        }
    }

    /// Begins to rest with the frame at hand.
    fn rest(&mut self, sequence: u64, time: Span) -> CalibrationStep {
        self.state = State::Resting { origin: (sequence, time), frames: vec![(0.0, 0.0)] };
        CalibrationStep::Wait
    }

    fn handle_rest(
        &mut self,
        origin: (u64, Span),
        mut frames: Vec<(f64, f64)>,
        sequence: u64,
        time: Span,
    ) -> CalibrationStep {
        if frames.is_empty() {
            return self.rest(sequence, time);
        }
        frames.push((real(sequence - origin.0), (time - origin.1).as_nanos_f64()));
        let needed = if self.period_weight > 0.0 { REST } else { FIRST_REST };
        if frames.len() < needed {
            self.state = State::Resting { origin, frames };
            return CalibrationStep::Wait;
        }
        let (period, phase, spread) = fit::steady(&frames);
        if spread > AGREE {
            self.spread = spread;
            return self.fail(sequence, time);
        }
        // A slope through n stamps is worth n cubed.
        let weight = real(frames.len() as u64).powi(3);
        self.period_weight += weight;
        self.period += (period - self.period) * weight / self.period_weight;
        // With the better period, the phase is the median of what is left.
        let phase = fit::median(frames.iter().map(|(n, t)| t - n * self.period).collect()).unwrap_or(phase);
        self.next_exposure(Line { origin, phase }, sequence)
    }

    fn offset(&self, line: Line, sequence: u64, time: Span) -> f64 {
        let frames = real(sequence.saturating_sub(line.origin.0));
        (time - line.origin.1).as_nanos_f64() - line.phase - frames * self.period
    }

    /// One frame more after an injection.
    fn handle_pending(
        &mut self,
        exposure: f64,
        line: Line,
        (asked_at, sequence): (u64, u64),
        offsets: Vec<f64>,
        time: Span,
    ) -> CalibrationStep {
        let since = sequence - asked_at;
        if let Some(newest) = offsets.len().checked_sub(SETTLE).map(|from| &offsets[from..]) {
            let median = fit::median(newest.to_vec()).unwrap_or(0.0);
            let near = newest.iter().filter(|offset| (**offset - median).abs() <= AGREE).count();
            let jumped = median.abs() > JUMP;
            if near + 2 >= SETTLE && (jumped || since >= PATIENCE) {
                self.failures = 0;
                tracing::debug!(exposure_ns = exposure, shift_ns = median, frames = since, "measured");
                self.points.push(CalibrationPoint {
                    exposure_ns: exposure,
                    shift_ns: median,
                    knee: self.knee.is_some(),
                });
                if let Some(knee) = &mut self.knee {
                    knee.learn(exposure, median);
                }
                return self.rest(sequence, time);
            }
            let least = newest.iter().copied().fold(f64::INFINITY, f64::min);
            let most = newest.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            self.spread = most - least;
        }
        if since > RESTLESS {
            self.sweep.extend(self.knee.is_none().then_some(exposure));
            return self.fail(sequence, time);
        }
        self.state = State::Pending { exposure, line, asked_at, offsets };
        CalibrationStep::Wait
    }

    fn fail(&mut self, sequence: u64, time: Span) -> CalibrationStep {
        self.failures += 1;
        if self.failures >= FAILURES {
            self.state = State::Failed;
            return CalibrationStep::Done;
        }
        self.rest(sequence, time)
    }

    fn next_exposure(&mut self, line: Line, sequence: u64) -> CalibrationStep {
        let next = self.sweep.pop().or_else(|| self.again()).or_else(|| self.next_to_knee());
        let Some(exposure) = next else {
            self.state = State::Done;
            return CalibrationStep::Done;
        };
        self.state = State::Pending { exposure, line, asked_at: sequence, offsets: Vec::new() };
        CalibrationStep::Expose(Span::from_nanos_f64(exposure))
    }

    /// An exposure whose injection was lost, or did something else.
    fn again(&mut self) -> Option<f64> {
        if self.knee.is_some() || self.again == 0 {
            return None;
        }
        let fit = self.preview().ok()?;
        let stray = self.points.iter().position(|point| !fit.explains(point))?;
        self.again -= 1;
        Some(self.points.swap_remove(stray).exposure_ns)
    }

    fn next_to_knee(&mut self) -> Option<f64> {
        let knee = match self.knee {
            Some(knee) => knee,
            None => {
                let fit = self.preview().ok()?;
                let following = self.points.iter().filter(|point| fit.explains(point));
                let follows = following.map(|point| point.exposure_ns).fold(f64::INFINITY, f64::min);
                let none = (KNEE_FROM * self.period).max(self.plan.exposures.0.as_nanos_f64());
                *self.knee.insert(Knee { none, follows, halvings: 0, doubted: false, fit })
            }
        };
        let close = (knee.follows - knee.none) < knee.fit.scatter_ns / knee.fit.slope;
        (!close && knee.halvings < HALVINGS).then_some((knee.none + knee.follows) / 2.0)
    }
}

impl Knee {
    fn learn(&mut self, exposure: f64, shift: f64) {
        let follows = (shift - self.fit.shift(exposure)).abs() <= FOLLOWS * self.fit.sigma(exposure);
        if !follows && !self.doubted {
            self.doubted = true;
            return;
        }
        self.doubted = false;
        self.halvings += 1;
        *(if follows { &mut self.follows } else { &mut self.none }) = exposure;
    }
}

#[cfg(test)]
mod tests;
