//! Phase and rate of a frame stream from its stamps: a Kalman filter with a gate.
//!
//! State: phase error of the newest frame, and rate, the ns per period by which frames differ from what
//! their lengths say (two crystals' difference). Stamps have a few us of interrupt jitter; two in a
//! hundred come late by more than the gate and are passed over, unless several in a row agree.
//!
//! The jitter is measured as it goes, from how much successive residuals differ: a clock that is being
//! corrected moves all of them alike and so does not pass for noise, while one that shakes by 20 us does.

/// Standard deviation of a stamp's ordinary jitter, in ns (sensors.md: N(0, 3) + Exp(4) us), and the
/// range within which it is measured.
const JITTER: f64 = 5_000.0;
const JITTER_LEAST: f64 = 3_000.0;
const JITTER_MOST: f64 = 60_000.0;
/// Weight of one residual in the measured jitter.
const JITTER_GAIN: f64 = 0.05;
/// Width of the rate's prior: 60 ppm of a period (two crystals of 20 ppm, a line time given to 1 ns).
const RATE_PRIOR: f64 = 60e-6;
/// How much the phase wanders by itself from frame to frame, in ns: mostly the clock's doing, which works
/// off corrections at up to some tens of ppm.
const PHASE_WALK: f64 = 500.0;
/// ... and where residuals have one sign for a while, as when the clock is being corrected.
const PHASE_WALK_MOVING: f64 = 4_000.0;
/// Mean residual, in its standard deviations, from which that is so.
const MOVING: f64 = 3.5;
/// Weight of one residual in the mean.
const MEAN_GAIN: f64 = 0.2;
/// How much the rate wanders from frame to frame, in ns.
const RATE_WALK: f64 = 5.0;
/// Stamps further from the prediction than this are late, in standard deviations and at least in ns.
const GATE_SIGMA: f64 = 4.0;
const GATE_LEAST: f64 = 20_000.0;
/// Residuals count as no more than so many standard deviations.
const OUTER_SIGMA: f64 = 0.7;
/// A stamp is late where it is so many standard deviations of the others off their line.
const LATE_SIGMA: f64 = 5.0;
/// A line contradicts the rate that was believed from so many times their variance; and no two crystals differ by more
/// than this, in s/s.
const CONTRADICTS: f64 = 36.0;
const MOST_RATE: f64 = 2e-3;
/// Frames are on no line from so many times the variance of the largest jitter.
const NO_LINE: f64 = 9.0;
/// So many stamps in a row beyond the gate, agreeing or not, end what was believed.
const STUBBORN: u32 = 8;

/// What became of a stamp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StampVerdict {
    /// It moved the estimate.
    Used,
    /// It was late, or so it seems.
    PassedOver {
        /// By how much, in ns.
        residual: f64,
    },
    /// It confirmed others that contradicted the estimate, which now begins anew.
    Restarted {
        /// How far from what was believed, in ns.
        jump: f64,
    },
}

/// A straight line by least squares, at the last of its frames.
struct LineFit {
    end: f64,
    phase: f64,
    rate: f64,
    /// Variance of a stamp, and covariance of phase and rate in units of that.
    variance: f64,
    covariance: [f64; 3],
}

impl LineFit {
    /// Through at least three frames.
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
    /// Variance of a stamp's jitter, as measured.
    jitter: f64,
    /// Running mean of the residuals, and the last one that was used.
    mean: f64,
    last: f64,
    /// The last residual beyond the gate, how many in a row agree, and how many there are.
    suspect: f64,
    agreeing: u32,
    rejected: u32,
}

impl PhaseFilter {
    /// A filter for a grid of `period` ns.
    pub const fn new(period: f64) -> Self {
        Self::with_rate_prior(period, RATE_PRIOR)
    }

    /// A filter for streams whose rate may be off by `prior`, in s/s.
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

    /// What a frame of one period is longer than its length says, in ns.
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// How far the rate is to be trusted: 0 where it may as well be noise, 1 where it is certain.
    pub fn rate_known(&self) -> f64 {
        let square = self.rate * self.rate;
        square / (square + self.covariance[2].max(1.0))
    }

    /// Standard deviation of the phase's error, in ns.
    pub fn uncertainty(&self) -> f64 {
        self.covariance[0].max(0.0).sqrt()
    }

    /// `phase` brought into (-period/2, period/2].
    pub fn wrap(&self, phase: f64) -> f64 {
        phase - self.period * (phase / self.period - 0.5).ceil()
    }

    /// Begins anew at the phase `observed`. The rate is a property of two crystals and stays.
    pub fn restart(&mut self, observed: f64) {
        self.phase = observed;
        self.covariance[0] = self.jitter;
        self.covariance[1] = 0.0;
        (self.mean, self.last) = (0.0, 0.0);
        (self.agreeing, self.rejected) = (0, 0);
    }

    /// Begins anew with the straight line through `frames`: periods, and phases near each other, in ns. The rate that was
    /// believed counts as surely as it was known, and one stamp that is late for nothing. Whether they lie on a line.
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
            // Frames that a crystal cannot make so long: they say nothing of it.
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

    /// The phase it began anew at is the median of `frames` stamps.
    pub fn settled(&mut self, frames: usize) {
        // The median's variance is pi/2 that of the mean.
        self.covariance[0] = 1.6 * self.jitter / f64::from(u32::try_from(frames).unwrap_or(1).max(1));
    }

    /// Standard deviation of a stamp's jitter, as measured, in ns.
    pub fn jitter(&self) -> f64 {
        self.jitter.sqrt()
    }

    /// Standard deviation of the rate's error, in ns per period.
    pub fn rate_uncertainty(&self) -> f64 {
        self.covariance[2].max(0.0).sqrt()
    }

    /// The next frame's phase is open by a further `variance`, in ns^2.
    pub fn doubt(&mut self, variance: f64) {
        self.covariance[0] += variance;
    }

    /// The phase moved by `span` ns for a reason that is known, without a frame.
    pub fn displace(&mut self, span: f64) {
        self.phase = self.wrap(self.phase + span);
    }

    /// On by frames of `periods` periods together, whose length moves the phase by `shift` ns.
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

    /// How far `observed` is from where `shift` ns over `periods` periods would have brought the phase,
    /// in ns; nothing changes.
    pub fn residual_after(&self, observed: f64, shift: f64, periods: f64) -> f64 {
        self.wrap(observed - self.phase - shift - self.rate * periods)
    }

    /// Variance of a residual, in ns^2.
    pub fn variance(&self) -> f64 {
        self.covariance[0] + self.jitter
    }

    /// Residuals beyond this are not of ordinary jitter, in ns.
    pub fn gate(&self) -> f64 {
        GATE_LEAST.max(GATE_SIGMA * self.variance().sqrt())
    }

    /// The newest frame's phase as stamped; `agreeing` contradictions in a row that agree are believed.
    pub fn observe(&mut self, observed: f64, agreeing: u32) -> StampVerdict {
        let residual = self.wrap(observed - self.phase);
        let (variance, gate) = (self.variance(), self.gate());
        if residual.abs() > gate {
            let agrees = self.agreeing > 0 && self.wrap(residual - self.suspect).abs() <= gate;
            self.agreeing = if agrees { self.agreeing + 1 } else { 1 };
            self.rejected += 1;
            self.suspect = residual;
            if self.agreeing < agreeing && self.rejected < STUBBORN {
                return StampVerdict::PassedOver { residual };
            }
            self.restart(observed);
            return StampVerdict::Restarted { jump: residual };
        }
        (self.agreeing, self.rejected) = (0, 0);
        let change = residual - self.last;
        // Half the square of a difference is a variance; one wild pair does not make a shaking clock.
        let sample = (0.5 * change * change).min(9.0 * self.jitter);
        self.jitter += JITTER_GAIN * (sample - self.jitter);
        self.jitter = self.jitter.clamp(JITTER_LEAST * JITTER_LEAST, JITTER_MOST * JITTER_MOST);
        self.mean += MEAN_GAIN * (residual - self.mean);
        self.last = residual;
        // Stamps come late rather than early: what is far out counts for less than it says.
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
    fn wrapping_is_half_open() {
        let filter = PhaseFilter::new(10.0);
        assert_eq!(filter.wrap(5.0), 5.0);
        assert_eq!(filter.wrap(-5.0), 5.0);
        assert_eq!(filter.wrap(12.0), 2.0);
        assert_eq!(filter.wrap(-12.0), -2.0);
    }

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
    fn late_stamps_move_nothing() {
        let mut filter = PhaseFilter::new(PERIOD);
        filter.restart(0.0);
        for i in 0..100 {
            filter.advance(0.0, 1.0);
            let stamp = if i % 10 == 9 { 150_000.0 } else { 0.0 };
            let verdict = filter.observe(stamp, 3);
            assert_eq!(matches!(verdict, StampVerdict::PassedOver { .. }), stamp > 0.0);
        }
        assert!(filter.phase().abs() < 1.0);
    }

    #[test]
    fn three_that_agree_are_believed() {
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
                StampVerdict::PassedOver { .. },
                StampVerdict::PassedOver { .. },
                StampVerdict::Restarted { jump: -7_000_000.0 }
            ]
        ));
        assert_eq!(filter.phase(), -7_000_000.0);
    }
}
