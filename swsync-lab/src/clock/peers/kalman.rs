//! A plain Kalman filter of offset and skew, as in textbooks and many PTP servos.
//!
//! State (θ, s), dθ/dt = s, with random walk of the frequency. A measurement is an exchange's offset. Its standard deviation is half
//! of the delay above the least delay so far, since the two directions may differ by that much, but at least a floor. The filter
//! models neither tails nor asymmetry: slow exchanges pull it towards the slower direction.

use swsync_core::estimate::ClockEstimate;
use swsync_core::estimate::{Estimator, Exchange};
use swsync_core::time::{Local, Offset, Skew, Span, Timestamp};

/// Change of frequency in one second, 1 sigma, in ns/s: 0.01 ppm, as a Raspberry Pi's crystal has.
const WANDER: f64 = 10.0;
/// Initial uncertainty of the skew, 1 sigma, in ns/s: 50 ppm.
const SKEW: f64 = 50e3;
/// Least standard deviation of a measurement, in ns.
const FLOOR: f64 = 2e3;
/// Least standard deviation of a measurement, as a fraction of its delay.
const PART: f64 = 0.02;

/// A Kalman filter of offset and skew.
#[derive(Debug, Default)]
pub struct Kalman {
    state: Option<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    at: Timestamp<Local>,
    /// θ is relative to this offset, so that floats stay small.
    reference: Offset,
    /// Offset in ns, skew in ns/s.
    theta: f64,
    skew: f64,
    /// Covariance, row by row: θθ, θs, ss.
    p: [f64; 3],
    least: Span,
}

impl State {
    fn first(exchange: &Exchange) -> Self {
        let half = exchange.delay().as_nanos_f64() / 2.0;
        Self {
            at: exchange.t4,
            reference: exchange.offset(),
            theta: 0.0,
            skew: 0.0,
            p: [half * half, 0.0, SKEW * SKEW],
            least: exchange.delay(),
        }
    }

    /// Predicts the state at `at`.
    fn predict(&mut self, at: Timestamp<Local>) {
        let dt = (at - self.at).max(Span::ZERO).as_secs_f64();
        let q = WANDER * WANDER * dt;
        let [tt, ts, ss] = self.p;
        self.theta += self.skew * dt;
        self.p = [tt + 2.0 * dt * ts + dt * dt * ss + q * dt * dt / 3.0, ts + dt * ss + q * dt / 2.0, ss + q];
        self.at = self.at.max(at);
    }

    fn update(&mut self, exchange: &Exchange) {
        self.least = self.least.min(exchange.delay());
        let excess = (exchange.delay() - self.least).as_nanos_f64() / 2.0;
        let sigma = excess.hypot(FLOOR.max(PART * exchange.delay().as_nanos_f64()));
        let [tt, ts, ss] = self.p;
        let spread = tt + sigma * sigma;
        let (gain, skew_gain) = (tt / spread, ts / spread);
        let measured = (exchange.offset().as_span() - self.reference.as_span()).as_nanos_f64();
        let innovation = measured - self.theta;
        self.theta += gain * innovation;
        self.skew += skew_gain * innovation;
        self.p = [(1.0 - gain) * tt, (1.0 - gain) * ts, ss - skew_gain * ts];
    }

    fn estimate(&self) -> ClockEstimate {
        ClockEstimate {
            at: self.at,
            offset: Offset::from_span(self.reference.as_span() + Span::from_nanos_f64(self.theta)),
            skew: Skew::from_ratio(self.skew * 1e-9),
            uncertainty: Span::from_nanos_f64(self.p[0].max(0.0).sqrt()),
            skew_uncertainty: Skew::from_ratio(self.p[2].max(0.0).sqrt() * 1e-9),
            least_delay: self.least,
        }
    }
}

impl Estimator for Kalman {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        if exchange.is_plausible() {
            match &mut self.state {
                None => self.state = Some(State::first(exchange)),
                Some(state) => {
                    state.predict(exchange.t4);
                    state.update(exchange);
                }
            }
        }
        self.state.as_ref().map(State::estimate)
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{errors, ethernet, ideal, mean, worst};
    use super::*;

    #[test]
    fn it_is_exact_without_noise() {
        let exchanges = ideal(60, 100, 400.0).simulate(1).exchanges;
        assert!(worst(&errors(&mut Kalman::default(), &exchanges, 300)) < 0.1);
    }

    #[test]
    fn it_is_unbiased_on_a_symmetric_link() {
        let exchanges = ethernet(120, 20, 15.0).simulate(1).exchanges;
        let errors = errors(&mut Kalman::default(), &exchanges, 1000);
        assert!(mean(&errors).abs() < 1.0 && worst(&errors) < 10.0, "{} {}", mean(&errors), worst(&errors));
    }
}
