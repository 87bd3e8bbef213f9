//! The line through the points of a calibration.

use super::super::exposure_response::{ExposureResponse, ResponseUncertainty};
use super::super::numbers::{real, wrap};
use crate::profile::MeasuredResponse;

/// Least share of points on the line.
const MOST: f64 = 0.7;
/// A point is a stray if its residual exceeds the typical one by this factor.
const STRAY: f64 = 6.0;
/// Least scatter, in ns: stamps are not more accurate.
const LEAST_SCATTER: f64 = 1_000.0;
/// A normal distribution's standard deviation over its median magnitude.
const SIGMA_PER_MEDIAN: f64 = 1.4826;
/// Range of plausible slopes.
const SLOPES: (f64, f64) = (0.1, 10.0);
/// Shifts below this share of the period count as none.
const NONE: f64 = 0.05;

/// One exposure, and the shift of the frames after it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationPoint {
    /// The exposure, in ns.
    pub exposure_ns: f64,
    /// The shift, in ns, including whole periods.
    pub shift_ns: f64,
    /// Whether it belongs to the search for the knee.
    pub knee: bool,
}

/// The fitted line: the shift of exposures, and its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// The stream's period, in ns.
    pub period_ns: f64,
    /// Shift per exposure.
    pub slope: f64,
    /// Error of the slope, 1 sigma.
    pub slope_sigma: f64,
    /// The mean exposure, in ns; there the errors of slope and shift are independent.
    pub centre_ns: f64,
    /// The shift at the centre, in ns.
    pub shift_ns: f64,
    /// Error of that shift, 1 sigma, in ns.
    pub shift_sigma_ns: f64,
    /// Scatter of single shifts, 1 sigma, in ns.
    pub scatter_ns: f64,
    /// Shortest exposure that follows the line, in ns.
    pub min_exposure_ns: f64,
    /// Number of injections on the line.
    pub used: usize,
    /// Number of injections that were ignored as strays.
    pub strays: usize,
}

/// Why there is no line.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// Too few points.
    #[error("{0} injections are too few for a line")]
    TooFew(usize),
    /// Exposures have no effect.
    #[error(
        "exposures up to {longest_ms:.1} ms shift nothing: the camera cuts them to its frame length. Let frames be \
         longer (no FrameDurationLimits), or align it by frame duration, which needs no calibration"
    )]
    NoEffect {
        /// The longest exposure, in ms.
        longest_ms: f64,
    },
    /// The points are not on a line.
    #[error(
        "only {used} of {of} injections lie on a line ({slope:.3} per exposure). Exposures from {from_ms:.1} ms on may \
         be cut by the camera: try a shorter --longest, and make sure that auto exposure is off"
    )]
    NoLine {
        /// Number of points on the best line.
        used: usize,
        /// Number of points.
        of: usize,
        /// Slope of the best line.
        slope: f64,
        /// The shortest exposure that is not on it, in ms.
        from_ms: f64,
    },
    /// The slope is implausible.
    #[error(
        "the line through the injections has a slope of {0:.3}, which no camera has (0.1 to 10): the camera may \
         cut long exposures. Try a shorter --longest, and make sure that auto exposure is off"
    )]
    Slope(f64),
}

impl Fit {
    /// The line through `points`, without those of the search for the knee.
    ///
    /// # Errors
    /// If there is none.
    pub fn through(points: &[CalibrationPoint], period_ns: f64) -> Result<Self, FitError> {
        let points: Vec<(f64, f64)> = points
            .iter()
            .filter(|point| !point.knee)
            .map(|point| (point.exposure_ns, point.shift_ns))
            .collect();
        if points.len() < 4 {
            return Err(FitError::TooFew(points.len()));
        }
        if points.iter().all(|(_, shift)| shift.abs() < NONE * period_ns) {
            let longest = points.iter().map(|(exposure, _)| *exposure).fold(0.0, f64::max);
            return Err(FitError::NoEffect { longest_ms: longest / 1e6 });
        }
        // The Theil-Sen slope tolerates a third of strays.
        let slope = theil_sen(&points).ok_or(FitError::TooFew(points.len()))?;
        let offset = median(points.iter().map(|(x, y)| y - slope * x).collect()).unwrap_or(0.0);
        let residual = |(x, y): &(f64, f64)| y - slope * x - offset;
        let typical = median(points.iter().map(|point| residual(point).abs()).collect()).unwrap_or(0.0);
        let bound = STRAY * (SIGMA_PER_MEDIAN * typical).max(LEAST_SCATTER);
        let (near, strays): (Vec<_>, Vec<_>) =
            points.iter().partition(|point| residual(point).abs() <= bound);
        let enough = real(near.len() as u64) >= MOST * real(points.len() as u64) && near.len() >= 4;
        if !enough || bound > period_ns / 4.0 {
            let from = strays.iter().map(|(exposure, _)| *exposure).fold(f64::INFINITY, f64::min);
            let from_ms = if from.is_finite() { from / 1e6 } else { 0.0 };
            return Err(FitError::NoLine { used: near.len(), of: points.len(), slope, from_ms });
        }
        let fit = Self::least_squares(&near, strays.len(), period_ns);
        if (SLOPES.0..=SLOPES.1).contains(&fit.slope) { Ok(fit) } else { Err(FitError::Slope(fit.slope)) }
    }

    fn least_squares(points: &[(f64, f64)], strays: usize, period_ns: f64) -> Self {
        let n = real(points.len() as u64);
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let square = points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>();
        let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / square;
        let left = points.iter().map(|point| (point.1 - y - slope * (point.0 - x)).powi(2)).sum::<f64>();
        let scatter = (left / (n - 2.0)).sqrt().max(LEAST_SCATTER);
        let shortest = points.iter().map(|point| point.0).fold(f64::INFINITY, f64::min);
        Self {
            period_ns,
            slope,
            slope_sigma: scatter / square.sqrt(),
            centre_ns: x,
            shift_ns: y,
            shift_sigma_ns: scatter / n.sqrt(),
            scatter_ns: scatter,
            min_exposure_ns: shortest,
            used: points.len(),
            strays,
        }
    }

    /// The shift of `exposure`, in ns, including whole periods.
    #[must_use]
    pub fn shift(&self, exposure: f64) -> f64 {
        self.shift_ns + self.slope * (exposure - self.centre_ns)
    }

    /// Error of the shift of a single injection, 1 sigma, in ns.
    #[must_use]
    pub fn sigma(&self, exposure: f64) -> f64 {
        let slope = self.slope_sigma * (exposure - self.centre_ns);
        (self.scatter_ns.powi(2) + self.shift_sigma_ns.powi(2) + slope * slope).sqrt()
    }

    /// Whether `point` lies on the line.
    #[must_use]
    pub fn explains(&self, point: &CalibrationPoint) -> bool {
        (point.shift_ns - self.shift(point.exposure_ns)).abs() <= STRAY * self.sigma(point.exposure_ns)
    }

    /// What a frame takes beyond its exposure, in ns, reduced to half a period.
    #[must_use]
    pub fn overhead_ns(&self) -> f64 {
        wrap(self.shift(0.0), self.period_ns) / self.slope
    }

    /// Number of whole periods that the shortest injection shifts by: the paper's k.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts saturate")]
    pub fn periods(&self) -> u32 {
        (self.shift(self.min_exposure_ns) / self.period_ns).round() as u32
    }

    /// The response, for the camera's profile.
    #[must_use]
    pub fn response(&self) -> MeasuredResponse {
        MeasuredResponse {
            period_ns: self.period_ns,
            periods: self.periods(),
            response: ExposureResponse {
                slope: self.slope,
                overhead_ns: self.overhead_ns(),
                min_exposure_ns: self.min_exposure_ns,
                scatter_ns: self.scatter_ns,
                uncertainty: Some(ResponseUncertainty {
                    centre_ns: self.centre_ns,
                    slope_sigma: self.slope_sigma,
                    shift_sigma_ns: self.shift_sigma_ns,
                }),
            },
            injections: u32::try_from(self.used).unwrap_or(u32::MAX),
        }
    }
}

/// The median; `None` if there are no values.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied()?;
    Some(if values.len().is_multiple_of(2) { (values[middle - 1] + upper) / 2.0 } else { upper })
}

/// The Theil-Sen slope: the median of the slopes of all pairs of points.
fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    let pairs = points.iter().enumerate().flat_map(|(i, a)| points[i + 1..].iter().map(move |b| (a, b)));
    median(pairs.filter(|(a, b)| (a.0 - b.0).abs() > 1e-9).map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)).collect())
}

/// Period and phase of steady frames (count, time), and the typical residual of their stamps.
pub(super) fn steady(frames: &[(f64, f64)]) -> (f64, f64, f64) {
    let period = theil_sen(frames).unwrap_or(0.0);
    let phase = median(frames.iter().map(|(n, t)| t - n * period).collect()).unwrap_or(0.0);
    let away = median(frames.iter().map(|(n, t)| (t - n * period - phase).abs()).collect());
    (period, phase, SIGMA_PER_MEDIAN * away.unwrap_or(0.0))
}
