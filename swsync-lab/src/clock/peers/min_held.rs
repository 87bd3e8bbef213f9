//! The paper's min filter as the paper uses it (sec. IV.B): of one burst of K exchanges the one with the least delay gives the
//! offset, which is held from then on.

use swsync_core::estimate::ClockEstimate;
use swsync_core::estimate::{Estimator, EstimatorConfig, EstimatorKind, Exchange};

/// K of the paper.
const BURST: usize = 300;

/// The least delay of the first K exchanges, held.
#[derive(Debug)]
pub struct MinHeld {
    min: Box<dyn Estimator>,
    /// Plausible exchanges that are still missing.
    missing: usize,
    last: Option<ClockEstimate>,
}

impl MinHeld {
    /// A filter without exchanges.
    #[must_use]
    pub fn new() -> Self {
        let config =
            EstimatorConfig { kind: EstimatorKind::Min, window: BURST, ..EstimatorConfig::default() };
        Self { min: config.build(), missing: BURST, last: None }
    }
}

impl Estimator for MinHeld {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        if self.missing > 0 && exchange.is_plausible() {
            self.missing -= 1;
            self.last = self.min.handle_exchange(exchange);
        }
        self.last
    }

    fn has_settled(&self) -> bool {
        self.missing == 0
    }

    fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{errors, ethernet};
    use super::*;

    #[test]
    fn its_error_grows_after_the_burst() {
        let exchanges = ethernet(120, 20, 20.0).simulate(2).exchanges;
        let errors = errors(&mut MinHeld::new(), &exchanges, 0);
        assert!(errors[299].abs() < 150.0, "{}", errors[299]);
        // 12 to 20 ppm for 114 s.
        let end = errors.last().unwrap().abs();
        assert!((1200.0..2500.0).contains(&end), "{end}");
    }
}
