//! Measures a camera's response to long exposures: frames in, exposures out, a fitted line at the end.
//!
//! The calibration requests one long exposure after another. Each shifts all later frames, and the stamps before and after it
//! tell by how much. The frame count tells the whole shift, not only the shift modulo the period.
//!
//! 1. *Resting*: measure the stream's own period and phase.
//! 2. *Sweep*: measure exposures from the period to `longest`, in an order that spreads them from the beginning (golden
//!    section). So neither drift nor an early end distorts the slope.
//! 3. *Knee*: search for the shortest exposure that follows the line, by bisection.
//!
//! [`fit`] fits the line. It ignores injections that were lost; these are repeated.

pub mod fit;

pub use fit::CalibrationPoint;
use fit::{Fit, FitError};

use super::numbers::real;
use crate::time::Span;

/// Number of frames that measure the stream's period at the beginning.
const FIRST_REST: usize = 30;
/// Number of frames between injections that measure the phase.
const REST: usize = 12;
/// The shift is the median over this number of stamps.
const SETTLE: usize = 7;
/// Stamps agree if all but two are within this distance of their median, in ns: two may be late.
const AGREE: f64 = 20_000.0;
/// A smaller shift counts as none, in ns.
const JUMP: f64 = 60_000.0;
/// An exposure acts within this number of frames.
const PATIENCE: u64 = 16;
/// A measurement fails if the stream does not settle within this number of frames.
const RESTLESS: u64 = 60;
/// The calibration fails after this number of failures in a row.
const FAILURES: u32 = 6;
/// One in this number of the sweep's injections may be repeated.
const AGAIN: usize = 3;
/// Number of bisections on the way to the knee. One without effect is repeated once.
const HALVINGS: u32 = 10;
/// A shift follows the line if it is within this number of standard deviations.
const FOLLOWS: f64 = 4.0;
/// With a larger scatter, in ns, the line is of no use.
const MOST_SCATTER: f64 = 1e6;
/// With a larger relative error of the slope, the line is of no use.
const VAGUE: f64 = 0.02;
/// The golden section.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// The plan of a calibration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationPlan {
    /// Nominal period of the stream.
    pub period: Span,
    /// Shortest and longest allowed exposure.
    pub exposures: (Span, Span),
    /// Number of exposures of the sweep.
    pub injections: usize,
}

/// Default of the longest exposure, in periods.
const LONGEST: f64 = 3.0;
/// Lower end of the search for the knee, in periods.
const KNEE_FROM: f64 = 0.5;
/// Lower end of the sweep, in periods: longer than a normal frame.
const SWEEP_FROM: f64 = 1.03;
/// Least number of exposures that determine a line and its scatter.
const FEWEST: usize = 8;

/// Why a plan cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Too few exposures.
    #[error("{0} injections do not determine a line and its scatter: use at least {FEWEST}")]
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
    /// The default plan for a stream of this period: 24 exposures of up to three periods.
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

/// What to do after a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CalibrationStep {
    /// Nothing: more frames are needed.
    Wait,
    /// Request this exposure for one frame, then the normal exposure again.
    Expose(Span),
    /// The calibration is complete.
    Done,
}

/// The progress of a calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalibrationProgress {
    /// The present stage.
    pub stage: CalibrationStage,
    /// Number of measured injections.
    pub done: usize,
    /// Expected number of injections.
    pub of: usize,
}

/// The stages of a calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalibrationStage {
    /// Measuring the stream's own period.
    Resting,
    /// Measuring exposures of all lengths.
    Sweep,
    /// Searching for the shortest exposure that has an effect.
    Knee,
    /// Complete.
    Done,
}

/// Why a calibration failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// It is not complete.
    #[error("the calibration was stopped after {done} of {of} injections")]
    Unfinished {
        /// Number of measured injections.
        done: usize,
        /// Expected number of injections.
        of: usize,
    },
    /// The line is too uncertain.
    #[error(
        "the line is too uncertain to be of use: a slope of {slope:.3} +- {slope_sigma:.3}, single shifts scatter by \
         {scatter_us:.0} us. Try more --injections, and make sure that nothing else sets this camera's controls"
    )]
    Vague {
        /// Slope.
        slope: f64,
        /// 1 sigma of it.
        slope_sigma: f64,
        /// Scatter, in us.
        scatter_us: f64,
    },
    /// The frames do not come at steady intervals.
    #[error(
        "the camera's frames do not come at steady intervals: they differ by {spread_us:.0} us. Switch auto exposure off, \
         and make sure that nothing else sets this camera's controls"
    )]
    Restless {
        /// Spread of stamps that should agree, in us.
        spread_us: f64,
    },
    /// There is no line.
    #[error(transparent)]
    Fit(#[from] FitError),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Calibration {
    plan: CalibrationPlan,
    /// The stream's period, in ns.
    period: f64,
    period_weight: f64,
    /// The remaining exposures of the sweep, the next one last.
    sweep: Vec<f64>,
    /// Number of injections that may still be repeated.
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
    /// Measuring the stream at rest: count and time of each frame, relative to the first.
    Resting {
        origin: (u64, Span),
        frames: Vec<(f64, f64)>,
    },
    /// An exposure was requested; `line` describes the stream before it.
    Pending {
        exposure: f64,
        line: Line,
        asked_at: u64,
        offsets: Vec<f64>,
    },
    Done,
    Failed,
}

/// The stream without an injection.
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
    /// The present exposure had no effect once; the injection may have been lost.
    doubted: bool,
    fit: Fit,
}

impl Calibration {
    /// A calibration before the first frame.
    ///
    /// # Errors
    /// If `plan` cannot be carried out.
    pub fn new(plan: CalibrationPlan) -> Result<Self, PlanError> {
        plan.check()?;
        let period = plan.period.as_nanos_f64();
        let (least, longest) = (plan.exposures.0.as_nanos_f64(), plan.exposures.1.as_nanos_f64());
        let from = (SWEEP_FROM * period).max(least);
        let spread = |i: usize| from + (longest - from) * (GOLDEN * real(i as u64)).fract();
        // Measure both ends first: they determine the slope best.
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

    /// The measured points.
    #[must_use]
    pub fn points(&self) -> &[CalibrationPoint] {
        &self.points
    }

    /// The measured period of the stream.
    #[must_use]
    pub fn period(&self) -> Span {
        Span::from_nanos_f64(self.period)
    }

    /// The progress.
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

    /// The line through the points so far.
    ///
    /// # Errors
    /// If there is none.
    pub fn preview(&self) -> Result<Fit, FitError> {
        Fit::through(&self.points, self.period)
    }

    /// The result.
    ///
    /// # Errors
    /// If the calibration is not complete, or the points are not on a line.
    pub fn finish(&self) -> Result<Fit, CalibrationError> {
        match self.state {
            State::Done => {
                let mut fit = Fit::through(&self.points, self.period)?;
                let Fit { slope, slope_sigma, scatter_ns, .. } = fit;
                if scatter_ns > MOST_SCATTER || slope_sigma > VAGUE * slope {
                    return Err(CalibrationError::Vague { slope, slope_sigma, scatter_us: scatter_ns / 1e3 });
                }
                if let Some(knee) = self.knee {
                    // Near the knee the scatter may hide that an exposure is too short: add a margin.
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

    /// A frame has arrived; `sequence` is the driver's count, `time` the frame's time relative to any instant of a steady clock.
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

    /// Starts a rest with this frame.
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
        // The weight of a slope through n stamps is n cubed.
        let weight = real(frames.len() as u64).powi(3);
        self.period_weight += weight;
        self.period += (period - self.period) * weight / self.period_weight;
        // The phase is the median of the residuals by the improved period.
        let phase = fit::median(frames.iter().map(|(n, t)| t - n * self.period).collect()).unwrap_or(phase);
        self.next_exposure(Line { origin, phase }, sequence)
    }

    fn offset(&self, line: Line, sequence: u64, time: Span) -> f64 {
        let frames = real(sequence.saturating_sub(line.origin.0));
        (time - line.origin.1).as_nanos_f64() - line.phase - frames * self.period
    }

    /// Handles a frame after an injection.
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
                crate::log::debug!(exposure_ns = exposure, shift_ns = median, frames = since, "measured");
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

    /// An exposure to repeat, because its injection was lost or is off the line.
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
