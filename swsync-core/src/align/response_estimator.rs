//! Learns how a long exposure shifts a stream's phase.
//!
//! An exposure x shifts the phase by `slope (x - origin) + offset`, modulo the period T, with a scatter of some tens of us (the
//! paper, sec. V.B). A Kalman filter estimates slope and offset together, for several hypotheses at once; their weights follow
//! from how well each explains the observed shifts:
//!
//! - the shift is proportional to the exposure, except for a small overhead (`origin` 0),
//! - the shift is proportional to the excess of the exposure over the period (`origin` T),
//! - only the order of the slope is known (`origin` at the first exposure).
//!
//! A shift is only known modulo T. So a hypothesis whose uncertainty exceeds a period is split into one for each number of
//! periods.

use super::exposure_response::ExposureResponse;
use super::numbers;

/// Prior of the slope, and its standard deviation: most cameras' slopes are between 1/2 and 2.
const SLOPE: (f64, f64) = (1.2, 0.6);
/// Least plausible slope.
const LEAST_SLOPE: f64 = 0.1;
/// Largest plausible slope: no known camera has more than 2.2.
const MOST_SLOPE: f64 = 3.5;
/// Prior of the overhead, and its standard deviation, in ns (libsoftwaresync's Pixel 3 has 0.2 ms).
const OVERHEAD: (f64, f64) = (200_000.0, 250_000.0);
/// Errors of a profile's slope (relative) and overhead (in ns), 1 sigma, without a stated uncertainty.
const PROFILE_SLOPE: f64 = 0.001;
const PROFILE_OVERHEAD: f64 = 15_000.0;
/// Least errors of a measured slope (relative) and shift (in ns), 1 sigma: a camera changes from day to day.
const MEASURED_SLOPE: f64 = 5e-5;
const MEASURED_SHIFT: f64 = 3_000.0;
/// Relative weight of the hypothesis that the camera is not the one that was measured.
const UNLIKE_MEASURED: f64 = 0.05;
/// Most hypotheses.
const MOST: usize = 12;
/// An innovation beyond this number of standard deviations fits no hypothesis.
const SURPRISE: f64 = 6.0;
/// Factor on the weight of the number of periods that the frames' times suggest.
const ELAPSED_BONUS: f64 = 4.0;
/// Hypotheses below this log weight relative to the best are dropped.
const UNLIKELY: f64 = -20.0;
/// Weight of the configured scatter, in shifts.
const TOLD: f64 = 4.0;
/// Weight of a profile's scatter, in shifts.
const MEASURED: f64 = 12.0;
/// Largest weight of the learnt scatter, in shifts.
const MOST_TRIED: f64 = 30.0;
/// Range of the scatter, in ns.
const SCATTER: (f64, f64) = (3_000.0, 200_000.0);
/// Longest exposure, in periods.
const LONGEST: f64 = 4.0;
/// Least exposure of the first injection, in periods: the longer, the less the unknown overhead blurs the slope.
const FIRST: f64 = 2.2;

/// One hypothesis about the line: mean and covariance of (slope, offset).
#[derive(Debug, Clone, Copy)]
struct Hypothesis {
    /// Logarithm of its weight.
    weight: f64,
    origin: f64,
    mean: [f64; 2],
    /// [slope, both, offset].
    covariance: [f64; 3],
}

impl Hypothesis {
    fn new(weight: f64, origin: f64, slope: (f64, f64), offset: (f64, f64)) -> Self {
        Self {
            weight: weight.ln(),
            origin,
            mean: [slope.0, offset.0],
            covariance: [slope.1 * slope.1, 0.0, offset.1 * offset.1],
        }
    }

    fn shift(&self, exposure: f64) -> f64 {
        self.mean[0] * (exposure - self.origin) + self.mean[1]
    }

    /// Variance of the shift, without the scatter.
    fn variance(&self, exposure: f64) -> f64 {
        let x = exposure - self.origin;
        let [slope, both, offset] = self.covariance;
        (slope * x * x + 2.0 * both * x + offset).max(0.0)
    }

    /// This hypothesis after `exposure` shifted the phase by `innovation` more than it predicts, with its new weight. The shift
    /// was measured with `variance`.
    fn learn(mut self, exposure: f64, innovation: f64, variance: f64) -> Self {
        let x = exposure - self.origin;
        let expected = self.variance(exposure) + variance;
        let surprise = innovation * innovation / expected;
        // A surprise means that an earlier shift may have been mismeasured: increase the covariance.
        let fading = (surprise / UNEXPECTED).clamp(1.0, MOST_FADING);
        self.covariance = self.covariance.map(|part| fading * part);
        let total = self.variance(exposure) + variance;
        let [slope, both, offset] = self.covariance;
        let (along, across) = (slope * x + both, both * x + offset);
        self.mean[0] += along / total * innovation;
        self.mean[1] += across / total * innovation;
        self.covariance =
            [slope - along * along / total, both - along * across / total, offset - across * across / total];
        self.weight -= 0.5 * (surprise + expected.ln());
        self
    }
}

/// The covariance grows if the squared error of a shift exceeds its expectation by this factor.
const UNEXPECTED: f64 = 4.0;
/// Largest growth of the covariance.
const MOST_FADING: f64 = 4.0;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct ResponseEstimator {
    period: f64,
    scatter: f64,
    lines: Vec<Hypothesis>,
    /// The shortest exposure to use, in ns.
    least: f64,
    /// The longest exposure to use, in ns.
    longest: f64,
    observed: u32,
    /// Weight of `scatter`, in shifts.
    tried: f64,
    /// A shift that fits no hypothesis: it may be another exposure's.
    suspect: Option<Shift>,
}

/// The observed effect of an exposure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// The exposure, in ns.
    pub exposure: f64,
    /// Shift of the phase, in ns, modulo the period.
    pub shift: f64,
    /// The same from the frames' times, in ns, including whole periods.
    pub elapsed: f64,
    /// Variance of the measurement, without the camera's scatter, in ns^2.
    pub variance: f64,
}

impl ResponseEstimator {
    /// An estimator for an unknown camera with a frame every `period` ns and lines of `line` ns.
    pub fn unknown(period: f64, line: f64, scatter: f64) -> Self {
        let lines =
            vec![Hypothesis::new(0.5, 0.0, SLOPE, OVERHEAD), Hypothesis::new(0.5, period, SLOPE, OVERHEAD)];
        // Exposures up to the period fit into a normal frame and may have no effect.
        Self {
            period,
            scatter,
            lines,
            least: period * 1.02 + 2.0 * line,
            longest: LONGEST * period,
            observed: 0,
            tried: TOLD,
            suspect: None,
        }
    }

    /// An estimator that starts from a profile: with its uncertainty, and beside it a looser hypothesis in case the camera is
    /// not quite the one that was measured.
    pub fn known(period: f64, profile: &ExposureResponse) -> Self {
        let offset = profile.slope * profile.overhead_ns;
        let loosely = Hypothesis::new(
            1.0,
            0.0,
            (profile.slope, PROFILE_SLOPE * profile.slope),
            (offset, PROFILE_OVERHEAD * profile.slope),
        );
        let mut lines = vec![loosely];
        if let Some(uncertainty) = profile.uncertainty {
            let slope_sigma = uncertainty.slope_sigma.max(MEASURED_SLOPE * profile.slope);
            let shift = offset + profile.slope * uncertainty.centre_ns;
            lines[0].weight = UNLIKE_MEASURED.ln();
            lines.push(Hypothesis::new(
                1.0,
                uncertainty.centre_ns,
                (profile.slope, slope_sigma),
                (shift, uncertainty.shift_sigma_ns.max(MEASURED_SHIFT)),
            ));
        }
        Self {
            period,
            scatter: profile.scatter_ns,
            lines,
            least: profile.min_exposure_ns,
            longest: LONGEST * period,
            observed: u32::from(profile.uncertainty.is_some()),
            tried: MEASURED,
            suspect: None,
        }
    }

    /// Limits exposures to `longest` ns.
    pub const fn limit(&mut self, longest: f64) {
        self.longest = longest.min(self.longest).max(self.least);
    }

    /// The likeliest slope and its standard deviation.
    pub fn slope(&self) -> (f64, f64) {
        let line = self.best();
        (line.mean[0], line.covariance[0].max(0.0).sqrt())
    }

    /// The learnt response; the overhead is reduced to half a period.
    pub fn profile(&self) -> ExposureResponse {
        let line = self.best();
        let slope = line.mean[0].max(LEAST_SLOPE);
        let offset = self.wrap(line.mean[1] - slope * line.origin);
        ExposureResponse {
            slope,
            overhead_ns: offset / slope,
            min_exposure_ns: self.least,
            scatter_ns: self.scatter,
            uncertainty: None,
        }
    }

    fn best(&self) -> &Hypothesis {
        let best = self.lines.iter().max_by(|a, b| a.weight.total_cmp(&b.weight));
        best.expect("a mixture is never empty")
    }

    fn wrap(&self, phase: f64) -> f64 {
        numbers::wrap(phase, self.period)
    }

    /// The exposure that shifts the phase by `wanted` ns, modulo the period, with the least uncertainty.
    pub fn exposure_for(&self, wanted: f64) -> f64 {
        let line = self.best();
        let slope = line.mean[0].max(LEAST_SLOPE);
        let step = self.period / slope;
        let any = line.origin + (wanted - line.mean[1]) / slope;
        let unlearnt = self.observed == 0 && self.lines.len() > 1;
        let least = if unlearnt { (FIRST * self.period).min(self.longest - step) } else { self.least };
        let least = least.max(self.least);
        let first = any + step * ((least - any) / step).ceil();
        let longest = self.longest.max(first);
        let mut best = (first, f64::INFINITY);
        let mut exposure = first;
        for _ in 0..16 {
            if exposure > longest {
                break;
            }
            // A longer exposure makes a longer gap between frames, so it has to be better by a tenth.
            let doubt = line.variance(exposure) + 0.1 * self.scatter * self.scatter;
            if doubt < 0.9 * best.1 {
                best = (exposure, doubt);
            }
            exposure += step;
        }
        // If the camera's limits do not allow any phase, use the longest exposure.
        best.0.min(self.longest.max(self.least))
    }

    /// Error of the next shift by `exposure`, 1 sigma, in ns.
    #[cfg(test)]
    pub fn doubt(&self, exposure: f64) -> f64 {
        (self.best().variance(exposure) + self.scatter * self.scatter).sqrt()
    }

    /// Expected additional duration of a frame with this exposure, in ns, if the number of periods is known.
    pub fn expected(&self, exposure: f64) -> Option<f64> {
        let line = self.best();
        (line.variance(exposure).sqrt() < self.period / 16.0).then(|| line.shift(exposure))
    }

    /// Scatter of single shifts, 1 sigma, in ns.
    pub const fn scatter(&self) -> f64 {
        self.scatter
    }

    /// Learns from an observed shift. A shift that fits no hypothesis is remembered, because another exposure may have caused it.
    /// After a second one in a row the hypotheses are replaced: the camera is not the expected one.
    pub fn learn(&mut self, shift: Shift) {
        if self.take_in(shift) {
            self.suspect = None;
        } else if let Some(suspect) = self.suspect.take() {
            crate::log::debug!(?suspect, ?shift, "exposures do not shift as expected: starting anew");
            let slope = (self.best().mean[0].clamp(LEAST_SLOPE, MOST_SLOPE), SLOPE.1);
            let spread = (suspect.variance + self.scatter * self.scatter).sqrt();
            self.lines = vec![Hypothesis::new(1.0, suspect.exposure, slope, (suspect.shift, spread))];
            self.take_in(shift);
        } else {
            self.suspect = Some(shift);
        }
    }

    /// Updates all hypotheses if some hypothesis explains this shift. Returns whether one does.
    fn take_in(&mut self, Shift { exposure, shift, elapsed, variance }: Shift) -> bool {
        let lines = self.lines.len();
        if self.observed == 0 && lines > 1 {
            // The third hypothesis: the line goes through this point.
            let offset = (elapsed, self.period);
            self.lines.push(Hypothesis::new(0.1, exposure, SLOPE, offset));
        }
        let noise = variance + self.scatter * self.scatter;
        let mut next = Vec::with_capacity(2 * MOST);
        let mut nearest = f64::INFINITY;
        for line in &self.lines {
            let spread = (line.variance(exposure) + noise).sqrt();
            let innovation = self.wrap(shift - line.shift(exposure));
            nearest = nearest.min(innovation.abs() / spread);
            let periods = (2.5 * spread / self.period).floor().clamp(0.0, 4.0);
            let mut k = -periods;
            while k <= periods {
                let innovation = innovation + k * self.period;
                let mut learnt = line.learn(exposure, innovation, noise);
                let by_clock = (line.shift(exposure) + innovation - elapsed).abs() < self.period / 4.0;
                learnt.weight += if by_clock { ELAPSED_BONUS.ln() } else { 0.0 };
                if (LEAST_SLOPE..MOST_SLOPE).contains(&learnt.mean[0]) {
                    next.push(learnt);
                }
                k += 1.0;
            }
        }
        if nearest > SURPRISE || next.is_empty() {
            self.lines.truncate(lines);
            return false;
        }
        self.observed += 1;
        self.learn_scatter(exposure, shift, noise);
        next.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        next.truncate(MOST);
        let best = next[0].weight;
        next.iter_mut().for_each(|line| line.weight -= best);
        next.retain(|line| line.weight > UNLIKELY);
        self.lines = next;
        true
    }

    /// Updates the scatter, if the line is known well enough for the innovation to be mostly scatter.
    fn learn_scatter(&mut self, exposure: f64, shift: f64, noise: f64) {
        let (line, own) = (self.best(), self.scatter * self.scatter);
        let known = line.variance(exposure);
        if known > own {
            return;
        }
        let innovation = self.wrap(shift - line.shift(exposure));
        let square = own * (innovation * innovation / (known + noise)).min(9.0);
        let scatter = ((self.tried * own + square) / (self.tried + 1.0)).sqrt();
        self.scatter = scatter.clamp(SCATTER.0, SCATTER.1);
        self.tried = (self.tried + 1.0).min(MOST_TRIED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: f64 = 33_333_333.3;

    fn teach(response: &mut ResponseEstimator, exposures: &[f64], truth: impl Fn(f64) -> f64) {
        for exposure in exposures {
            let shift = truth(*exposure);
            let wrapped = response.wrap(shift);
            response.learn(Shift { exposure: *exposure, shift: wrapped, elapsed: shift, variance: 0.0 });
        }
    }

    #[test]
    fn two_exposures_determine_any_line() {
        let pixel = |x: f64| 2.0 * (x + 200_000.0);
        let beyond = |x: f64| 0.6 * (x - PERIOD) + 400_000.0;
        let ideal = |x: f64| x - PERIOD;
        for truth in [&pixel as &dyn Fn(f64) -> f64, &beyond, &ideal] {
            let mut response = ResponseEstimator::unknown(PERIOD, 18_904.0, 25_000.0);
            teach(&mut response, &[45e6, 52e6], truth);
            for wanted in [-15e6, -1e3, 9e6] {
                let exposure = response.exposure_for(wanted);
                let error = response.wrap(truth(exposure) - wanted).abs();
                assert!(error < 2.0 * response.doubt(exposure), "{error} of {}", response.doubt(exposure));
                assert!((34e6..140e6).contains(&exposure), "{exposure}");
            }
        }
    }

    #[test]
    fn a_right_profile_hits_at_once_and_a_wrong_one_is_replaced() {
        let profile = ExposureResponse {
            slope: 2.0,
            overhead_ns: 200_000.0,
            min_exposure_ns: 33_370_000.0,
            scatter_ns: 25_000.0,
            uncertainty: None,
        };
        let mut response = ResponseEstimator::known(PERIOD, &profile);
        let truth = |x: f64| 2.0 * (x + 200_000.0);
        let exposure = response.exposure_for(-5e6);
        assert!(response.wrap(truth(exposure) + 5e6).abs() < 1.0);
        assert!(exposure >= profile.min_exposure_ns);
        teach(&mut response, &[40e6, 43e6, 45e6, 44e6, 42e6], |x| x - PERIOD);
        let (slope, _) = response.slope();
        assert!((slope - 1.0).abs() < 0.02, "{slope}");
        let learnt = response.profile();
        assert!((learnt.slope - 1.0).abs() < 0.02 && learnt.overhead_ns.abs() < 1e6, "{learnt:?}");
    }
}
