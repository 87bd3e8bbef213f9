//! The paper's minimum filter (sec. IV.B): it takes the exchange with the least delay, which is the most symmetric one.
//!
//! An exchange expires after `window` others. The filter knows no skew, so between good exchanges its estimate drifts at the
//! rate difference of the crystals; `track` solves that.

use std::collections::VecDeque;

use super::estimator::{CRYSTALS, ClockEstimate, Estimator};
use super::exchange::Exchange;
use crate::time::{Skew, Span};

/// The exchange with the least delay among the last `window`.
#[derive(Debug)]
pub struct MinEstimator {
    window: usize,
    /// A delay below this is good enough: no more exchanges are needed.
    threshold: Option<Span>,
    recent: VecDeque<Exchange>,
}

impl MinEstimator {
    /// A filter over `window` exchanges (at least one): the paper's K, 300 there. It settles earlier if a delay is below
    /// `threshold`.
    #[must_use]
    pub fn new(window: usize, threshold: Option<Span>) -> Self {
        Self { window: window.max(1), threshold, recent: VecDeque::with_capacity(window.clamp(1, 4096) + 1) }
    }
}

impl Estimator for MinEstimator {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        if exchange.is_plausible() {
            self.recent.push_back(*exchange);
            if self.recent.len() > self.window {
                self.recent.pop_front();
            }
        }
        let best = self.recent.iter().min_by_key(|exchange| exchange.delay())?;
        Some(ClockEstimate {
            at: best.t4,
            offset: best.offset(),
            skew: Skew::ZERO,
            // The error is at most half the delay; we count that as two sigma.
            uncertainty: best.delay() / 4 + Span::from_nanos(100),
            skew_uncertainty: CRYSTALS,
            least_delay: best.delay(),
        })
    }

    fn has_settled(&self) -> bool {
        let least = self.recent.iter().map(Exchange::delay).min();
        self.recent.len() >= self.window || least < self.threshold && least.is_some()
    }

    fn reset(&mut self) {
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::testing::{Link, at_ms};

    #[test]
    fn the_least_delay_wins() {
        let mut link = Link::new(3);
        let mut filter = MinEstimator::new(300, None);
        let mut best = Span::MAX;
        for i in 0..300 {
            let exchange = link.exchange(at_ms(i * 4));
            best = best.min(exchange.delay());
            let estimate = filter.handle_exchange(&exchange).unwrap();
            let error = estimate.rig_at(estimate.at) - link.truth(estimate.at);
            assert!(error.abs() <= best / 2);
        }
        let estimate = filter.handle_exchange(&link.exchange(at_ms(1300))).unwrap();
        let error = estimate.rig_at(estimate.at) - link.truth(estimate.at);
        assert!(error.abs() < Span::from_micros(100), "{error:?}");
    }

    #[test]
    fn old_exchanges_expire() {
        let mut link = Link::new(5);
        let mut filter = MinEstimator::new(10, None);
        let shortest = Exchange { t4: at_ms(0), ..link.exchange(at_ms(0)) };
        link.floor = Span::from_millis(5);
        filter.handle_exchange(&shortest);
        for i in 1..=10 {
            filter.handle_exchange(&link.exchange(at_ms(i * 10)));
        }
        assert!(filter.recent.iter().all(|exchange| exchange.delay() > Span::from_millis(9)));
    }
}
