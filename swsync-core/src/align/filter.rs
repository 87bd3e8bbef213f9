//! Phase and rate of a frame stream from its stamps: a Kalman filter with a gate.
//!
//! State: phase error of the newest frame, and rate, the ns per frame by which frames differ from what
//! their lengths say (two crystals' difference). Stamps have a few us of interrupt jitter; two in a
//! hundred come late by more than the gate and are passed over, unless several in a row agree.

/// Standard deviation of a stamp's ordinary jitter, in ns (sensors.md: N(0, 3) + Exp(4) us).
const JITTER: f64 = 5_000.0;
/// Width of the rate's prior: 40 ppm of a 33 ms frame, in ns per frame.
const RATE_PRIOR: f64 = 1_300.0;
/// How much phase and rate wander by themselves from frame to frame, in ns. The phase's is mostly the
/// clock's, which works off corrections at up to some tens of ppm.
const PHASE_WALK: f64 = 1_500.0;
const RATE_WALK: f64 = 5.0;
/// Stamps further from the prediction than this are late, in standard deviations and at least in ns.
const GATE_SIGMA: f64 = 4.0;
const GATE_LEAST: f64 = 25_000.0;
/// So many stamps in a row beyond the gate that agree with each other are the new truth.
const AGREEING: u32 = 3;

/// What became of a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It moved the estimate.
    Used,
    /// It was late, or so it seems.
    PassedOver,
    /// It confirmed others that contradicted the estimate, which now begins anew.
    Restarted,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Filter {
    period: f64,
    phase: f64,
    rate: f64,
    /// Covariance of phase and rate: [phase, both, rate].
    covariance: [f64; 3],
    /// The last residual beyond the gate, and how many in a row agree.
    suspect: f64,
    agreeing: u32,
}

impl Filter {
    /// A filter for a grid of `period` ns.
    pub const fn new(period: f64) -> Self {
        Self {
            period,
            phase: 0.0,
            rate: 0.0,
            covariance: [JITTER * JITTER, 0.0, RATE_PRIOR * RATE_PRIOR],
            suspect: 0.0,
            agreeing: 0,
        }
    }

    /// Phase error of the newest frame, in ns, in (-period/2, period/2].
    pub const fn phase(&self) -> f64 {
        self.phase
    }

    /// What each frame is longer than its length says, in ns.
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// `phase` brought into (-period/2, period/2].
    pub fn wrap(&self, phase: f64) -> f64 {
        phase - self.period * (phase / self.period - 0.5).ceil()
    }

    /// Begins anew at the phase `observed`. The rate is a property of two crystals and stays.
    pub fn restart(&mut self, observed: f64) {
        self.phase = observed;
        self.covariance[0] = JITTER * JITTER;
        self.covariance[1] = 0.0;
        self.agreeing = 0;
    }

    /// One frame on, whose length moves the phase by `shift` ns.
    pub fn advance(&mut self, shift: f64) {
        self.phase = self.wrap(self.phase + shift + self.rate);
        let [phase, both, rate] = self.covariance;
        self.covariance =
            [phase + 2.0 * both + rate + PHASE_WALK * PHASE_WALK, both + rate, rate + RATE_WALK * RATE_WALK];
    }

    /// The newest frame's phase as stamped.
    pub fn observe(&mut self, observed: f64) -> Verdict {
        let residual = self.wrap(observed - self.phase);
        let [phase, both, rate] = self.covariance;
        let variance = phase + JITTER * JITTER;
        let gate = GATE_LEAST.max(GATE_SIGMA * variance.sqrt());
        if residual.abs() > gate {
            let agrees = self.wrap(residual - self.suspect).abs() <= gate;
            self.agreeing = if agrees { self.agreeing + 1 } else { 1 };
            self.suspect = residual;
            if self.agreeing < AGREEING {
                return Verdict::PassedOver;
            }
            self.restart(observed);
            return Verdict::Restarted;
        }
        self.agreeing = 0;
        let (gain_phase, gain_rate) = (phase / variance, both / variance);
        self.phase = self.wrap(self.phase + gain_phase * residual);
        self.rate += gain_rate * residual;
        self.covariance = [phase * (1.0 - gain_phase), both * (1.0 - gain_phase), rate - gain_rate * both];
        Verdict::Used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: f64 = 33_333_333.3;

    #[test]
    fn wrapping_is_half_open() {
        let filter = Filter::new(10.0);
        assert_eq!(filter.wrap(5.0), 5.0);
        assert_eq!(filter.wrap(-5.0), 5.0);
        assert_eq!(filter.wrap(12.0), 2.0);
        assert_eq!(filter.wrap(-12.0), -2.0);
    }

    #[test]
    fn it_learns_the_rate() {
        let mut filter = Filter::new(PERIOD);
        let mut phase = 1_000.0;
        filter.restart(phase);
        for i in 0..400 {
            phase += 1_000.0;
            filter.advance(0.0);
            let jitter = if i % 2 == 0 { 4_000.0 } else { -4_000.0 };
            filter.observe(filter.wrap(phase + jitter));
        }
        assert!((filter.rate() - 1_000.0).abs() < 100.0, "{}", filter.rate());
        assert!((filter.phase() - phase).abs() < 2_000.0);
    }

    #[test]
    fn late_stamps_move_nothing() {
        let mut filter = Filter::new(PERIOD);
        filter.restart(0.0);
        for i in 0..100 {
            filter.advance(0.0);
            let stamp = if i % 10 == 9 { 150_000.0 } else { 0.0 };
            let verdict = filter.observe(stamp);
            assert_eq!(verdict == Verdict::PassedOver, stamp > 0.0);
        }
        assert!(filter.phase().abs() < 1.0);
    }

    #[test]
    fn three_that_agree_are_believed() {
        let mut filter = Filter::new(PERIOD);
        filter.restart(0.0);
        let mut verdicts = Vec::new();
        for _ in 0..3 {
            filter.advance(0.0);
            verdicts.push(filter.observe(-7_000_000.0));
        }
        assert_eq!(verdicts, [Verdict::PassedOver, Verdict::PassedOver, Verdict::Restarted]);
        assert_eq!(filter.phase(), -7_000_000.0);
    }
}
