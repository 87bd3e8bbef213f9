//! Phase and rate of a frame stream from its stamps: a Kalman filter with a gate for late stamps.
//!
//! The state is the phase error of the newest frame, and the rate: the ns per period by which frames differ from their nominal
//! lengths, because two crystals differ. Stamps have a few us of interrupt jitter. Two in a hundred are late by more than the
//! gate; they are ignored unless several in a row match.
//!
//! The jitter is measured from the differences of successive residuals. A correction of the clock moves successive residuals
//! alike, so it does not count as jitter; noise of the clock does.

use super::numbers;

/// Standard deviation of a stamp's usual jitter, in ns (N(0, 3) + Exp(4) us), and the range of the measured one.
const JITTER: f64 = 5_000.0;
const JITTER_LEAST: f64 = 3_000.0;
const JITTER_MOST: f64 = 60_000.0;
/// Weight of one residual in the measured jitter.
const JITTER_GAIN: f64 = 0.05;
/// Standard deviation of the rate's prior, in s/s: two crystals of 20 ppm, and a line time that is rounded to 1 ns.
const RATE_PRIOR: f64 = 60e-6;
/// Random walk of the phase from frame to frame, in ns. The clock causes most of it: it is corrected at up to some tens of ppm.
const PHASE_WALK: f64 = 500.0;
/// Random walk of the phase while residuals keep one sign, as during a correction of the clock, in ns.
const PHASE_WALK_MOVING: f64 = 4_000.0;
/// Residuals keep one sign if their mean exceeds this number of its standard deviations.
const MOVING: f64 = 3.5;
/// Weight of one residual in the mean.
const MEAN_GAIN: f64 = 0.2;
/// Random walk of the rate from frame to frame, in ns.
const RATE_WALK: f64 = 5.0;
/// A stamp is late beyond this distance from the prediction: in standard deviations, and at least in ns.
const GATE_SIGMA: f64 = 4.0;
const GATE_LEAST: f64 = 20_000.0;
/// Residuals are clamped to this number of standard deviations.
const OUTER_SIGMA: f64 = 0.7;
/// A stamp is late if it is this number of the others' standard deviations off their line.
const LATE_SIGMA: f64 = 5.0;
/// A line contradicts the estimated rate if their squared difference exceeds their variance by this factor.
const CONTRADICTS: f64 = 36.0;
/// No two crystals differ by more than this, in s/s.
const MOST_RATE: f64 = 2e-3;
/// Frames are not on a line if their variance exceeds that of the largest jitter by this factor.
const NO_LINE: f64 = 9.0;
/// The filter restarts after this number of stamps in a row beyond the gate, matching or not.
const STUBBORN: u32 = 8;

/// What the filter did with a stamp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StampVerdict {
    /// It updated the estimate.
    Used,
    /// It was ignored as late.
    Late {
        /// Its distance from the prediction, in ns.
        residual: f64,
    },
    /// It matched earlier stamps that contradicted the estimate, so the filter restarted.
    Restarted {
        /// Its distance from the prediction, in ns.
        jump: f64,
    },
}

/// A straight line by least squares, evaluated at the last frame.
struct LineFit {
    end: f64,
    phase: f64,
    rate: f64,
    /// Variance of a stamp, and covariance of phase and rate in units of it.
    variance: f64,
    covariance: [f64; 3],
}

impl LineFit {
    /// The line through at least three frames.
    fn of(frames: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let mean = |of: &dyn Fn((f64, f64)) -> f64| {
            let (sum, n) = frames.clone().fold((0.0, 0.0), |(sum, n), frame| (sum + of(frame), n + 1.0));
            (sum / n, n)
        };
        let (((centre, n), (level, _)), end) = (
            (mean(&|frame| frame.0), mean(&|frame| frame.1)),
            frames.clone().last().map_or(0.0, |last| last.0),
        );
        let spread = n * mean(&|(at, _)| (at - centre).powi(2)).0;
        let rate = n * mean(&|(at, phase)| (at - centre) * (phase - level)).0 / spread;
        let squares = n * mean(&|(at, phase)| (phase - level - rate * (at - centre)).powi(2)).0;
        let ahead = end - centre;
        Self {
            end,
            phase: level + rate * ahead,
            rate,
            variance: squares / (n - 2.0),
            covariance: [1.0 / n + ahead * ahead / spread, ahead / spread, 1.0 / spread],
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct PhaseFilter {
    period: f64,
    phase: f64,
    rate: f64,
    /// Covariance of phase and rate: [phase, both, rate].
    covariance: [f64; 3],
    /// Measured variance of a stamp's jitter.
    jitter: f64,
    /// Running mean of the residuals.
    mean: f64,
    /// The last residual that was used.
    last: f64,
    /// The last residual beyond the gate.
    suspect: f64,
    /// Number of matching residuals in a row beyond the gate.
    agreeing: u32,
    /// Number of residuals in a row beyond the gate.
    rejected: u32,
}

impl PhaseFilter {
    /// A filter for a grid of `period` ns.
    pub const fn new(period: f64) -> Self {
        Self::with_rate_prior(period, RATE_PRIOR)
    }

    /// A filter for streams whose rate has the standard deviation `prior`, in s/s.
    pub const fn with_rate_prior(period: f64, prior: f64) -> Self {
        let rate = prior * period;
        Self {
            period,
            phase: 0.0,
            rate: 0.0,
            covariance: [JITTER * JITTER, 0.0, rate * rate],
            jitter: JITTER * JITTER,
            mean: 0.0,
            last: 0.0,
            suspect: 0.0,
            agreeing: 0,
            rejected: 0,
        }
    }

    /// Phase error of the newest frame, in ns, in (-period/2, period/2].
    pub const fn phase(&self) -> f64 {
        self.phase
    }

    /// Excess of a frame of one period over its nominal length, in ns.
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// How significant the rate is: 0 if it may be noise, 1 if it is certain.
    pub fn rate_known(&self) -> f64 {
        let square = self.rate * self.rate;
        square / (square + self.covariance[2].max(1.0))
    }

    /// Error of the phase, 1 sigma, in ns.
    pub fn uncertainty(&self) -> f64 {
        self.covariance[0].max(0.0).sqrt()
    }

    /// `phase` brought into (-period/2, period/2].
    pub fn wrap(&self, phase: f64) -> f64 {
        numbers::wrap(phase, self.period)
    }

    /// Restarts at the phase `observed`. The rate is a property of two crystals and stays.
    pub fn restart(&mut self, observed: f64) {
        self.phase = observed;
        self.covariance[0] = self.jitter;
        self.covariance[1] = 0.0;
        (self.mean, self.last) = (0.0, 0.0);
        (self.agreeing, self.rejected) = (0, 0);
    }

    /// Restarts with the straight line through `frames`: periods, and phases near each other, in ns. The line is combined with
    /// the estimated rate, and one late stamp is left out. Returns whether the frames lie on a line.
    pub fn restart_with_line(&mut self, frames: &[(f64, f64)]) -> bool {
        let all = LineFit::of(frames.iter().copied());
        let off = |&(at, phase): &(f64, f64)| (phase - all.phase - all.rate * (at - all.end)).abs();
        let worst = frames.iter().max_by(|a, b| off(a).total_cmp(&off(b)));
        let others = LineFit::of(frames.iter().copied().filter(|frame| Some(frame) != worst));
        let late = worst.is_some_and(|&(at, phase)| {
            (phase - others.phase - others.rate * (at - others.end)).abs()
                > LATE_SIGMA * others.variance.sqrt()
        });
        let fit = if late { others } else { all };
        if fit.variance > NO_LINE * JITTER_MOST * JITTER_MOST {
            return false;
        }
        self.restart(0.0);
        self.jitter = fit.variance.clamp(JITTER_LEAST * JITTER_LEAST, JITTER_MOST * JITTER_MOST);
        let [_, _, prior] = self.covariance;
        let [phase, both, rate] = fit.covariance.map(|one| one * self.jitter);
        let contradicts = (self.rate - fit.rate).powi(2) > CONTRADICTS * (rate + prior);
        if contradicts && fit.rate.abs() > MOST_RATE * self.period {
            // No crystal causes such a rate, so the frames tell nothing about it.
            self.phase = self.wrap(frames.last().map_or(0.0, |frame| frame.1));
            return true;
        }
        let prior = if contradicts { f64::INFINITY } else { prior };
        let gain = 1.0 / (rate + prior);
        let innovation = self.rate - fit.rate;
        self.rate = fit.rate + rate * gain * innovation;
        let end = frames.last().map_or(fit.end, |frame| frame.0);
        let ahead = end - fit.end;
        self.phase = self.wrap(fit.phase + both * gain * innovation + self.rate * ahead);
        let [phase, both, rate] =
            [phase - both * both * gain, both - both * rate * gain, rate - rate * rate * gain];
        self.covariance = [phase + ahead * (2.0 * both + ahead * rate), both + ahead * rate, rate];
        true
    }

    /// The phase of the last restart was the median of `frames` stamps.
    pub fn settled(&mut self, frames: usize) {
        // The median's variance is pi/2 of the mean's.
        self.covariance[0] = 1.6 * self.jitter / f64::from(u32::try_from(frames).unwrap_or(1).max(1));
    }

    /// Measured standard deviation of a stamp's jitter, in ns.
    pub fn jitter(&self) -> f64 {
        self.jitter.sqrt()
    }

    /// Error of the rate, 1 sigma, in ns per period.
    pub fn rate_uncertainty(&self) -> f64 {
        self.covariance[2].max(0.0).sqrt()
    }

    /// Adds `variance` to that of the phase, in ns^2.
    pub fn doubt(&mut self, variance: f64) {
        self.covariance[0] += variance;
    }

    /// Moves the phase by `span` ns, for a known reason.
    pub fn displace(&mut self, span: f64) {
        self.phase = self.wrap(self.phase + span);
    }

    /// Advances by frames that last `periods` periods and whose nominal lengths move the phase by `shift` ns.
    pub fn advance(&mut self, shift: f64, periods: f64) {
        self.phase = self.wrap(self.phase + shift + self.rate * periods);
        let [phase, both, rate] = self.covariance;
        let spread = self.jitter.sqrt() * (MEAN_GAIN / (2.0 - MEAN_GAIN)).sqrt();
        let moving = self.mean.abs() > MOVING * spread;
        let walk = if moving { PHASE_WALK_MOVING } else { PHASE_WALK };
        self.covariance = [
            phase + periods * (2.0 * both + periods * rate + walk * walk),
            both + periods * rate,
            rate + periods * RATE_WALK * RATE_WALK,
        ];
    }

    /// Residual of `observed` if frames that last `periods` periods had moved the phase by `shift` ns; in ns.
    pub fn residual_after(&self, observed: f64, shift: f64, periods: f64) -> f64 {
        self.wrap(observed - self.phase - shift - self.rate * periods)
    }

    /// Variance of a residual, in ns^2.
    pub fn variance(&self) -> f64 {
        self.covariance[0] + self.jitter
    }

    /// Largest residual of ordinary jitter, in ns.
    pub fn gate(&self) -> f64 {
        GATE_LEAST.max(GATE_SIGMA * self.variance().sqrt())
    }

    /// Updates the estimate with the newest frame's stamp. The filter restarts after `agreeing` matching stamps in a row beyond
    /// the gate.
    pub fn observe(&mut self, observed: f64, agreeing: u32) -> StampVerdict {
        let residual = self.wrap(observed - self.phase);
        let (variance, gate) = (self.variance(), self.gate());
        if residual.abs() > gate {
            let agrees = self.agreeing > 0 && self.wrap(residual - self.suspect).abs() <= gate;
            self.agreeing = if agrees { self.agreeing + 1 } else { 1 };
            self.rejected += 1;
            self.suspect = residual;
            if self.agreeing < agreeing && self.rejected < STUBBORN {
                return StampVerdict::Late { residual };
            }
            self.restart(observed);
            return StampVerdict::Restarted { jump: residual };
        }
        (self.agreeing, self.rejected) = (0, 0);
        let change = residual - self.last;
        // Half the square of a difference is a variance. Limit the influence of one pair.
        let sample = (0.5 * change * change).min(9.0 * self.jitter);
        self.jitter += JITTER_GAIN * (sample - self.jitter);
        self.jitter = self.jitter.clamp(JITTER_LEAST * JITTER_LEAST, JITTER_MOST * JITTER_MOST);
        self.mean += MEAN_GAIN * (residual - self.mean);
        self.last = residual;
        // Stamps are late rather than early, so limit large residuals.
        let bound = OUTER_SIGMA * variance.sqrt();
        let residual = residual.clamp(-bound, bound);
        let [phase, both, rate] = self.covariance;
        let (gain_phase, gain_rate) = (phase / variance, both / variance);
        self.phase = self.wrap(self.phase + gain_phase * residual);
        self.rate += gain_rate * residual;
        self.covariance = [phase * (1.0 - gain_phase), both * (1.0 - gain_phase), rate - gain_rate * both];
        StampVerdict::Used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: f64 = 33_333_333.3;

    #[test]
    fn it_learns_the_rate() {
        let mut filter = PhaseFilter::new(PERIOD);
        let mut phase = 1_000.0;
        filter.restart(phase);
        for i in 0..400 {
            phase += 1_000.0;
            filter.advance(0.0, 1.0);
            let jitter = if i % 2 == 0 { 4_000.0 } else { -4_000.0 };
            filter.observe(filter.wrap(phase + jitter), 3);
        }
        assert!((filter.rate() - 1_000.0).abs() < 100.0, "{}", filter.rate());
        assert!((filter.phase() - phase).abs() < 2_000.0);
    }

    #[test]
    fn late_stamps_are_ignored() {
        let mut filter = PhaseFilter::new(PERIOD);
        filter.restart(0.0);
        for i in 0..100 {
            filter.advance(0.0, 1.0);
            let stamp = if i % 10 == 9 { 150_000.0 } else { 0.0 };
            let verdict = filter.observe(stamp, 3);
            assert_eq!(matches!(verdict, StampVerdict::Late { .. }), stamp > 0.0);
        }
        assert!(filter.phase().abs() < 1.0);
    }

    #[test]
    fn three_matching_stamps_restart_the_filter() {
        let mut filter = PhaseFilter::new(PERIOD);
        filter.restart(0.0);
        let mut verdicts = Vec::new();
        for _ in 0..3 {
            filter.advance(0.0, 1.0);
            verdicts.push(filter.observe(-7_000_000.0, 3));
        }
        assert!(matches!(
            verdicts[..],
            [
                StampVerdict::Late { .. },
                StampVerdict::Late { .. },
                StampVerdict::Restarted { jump: -7_000_000.0 }
            ]
        ));
        assert_eq!(filter.phase(), -7_000_000.0);
    }
}
