//! The mean of the exchanges' offsets (the paper, sec. IV.A). It is biased by half the difference of the two directions' mean
//! delays.

use std::collections::VecDeque;

use super::estimator::{CRYSTALS, ClockEstimate, Estimator};
use super::exchange::Exchange;
use crate::time::{Offset, Skew, Span};

/// The mean of the last `window` offsets.
#[derive(Debug)]
pub struct MeanEstimator {
    window: usize,
    /// Longer delays are outliers.
    threshold: Option<Span>,
    recent: VecDeque<Exchange>,
}

impl MeanEstimator {
    /// A filter over `window` exchanges (at least one): the paper's K. It rejects exchanges that took longer than
    /// `threshold`.
    #[must_use]
    pub fn new(window: usize, threshold: Option<Span>) -> Self {
        Self { window: window.max(1), threshold, recent: VecDeque::with_capacity(window.clamp(1, 4096) + 1) }
    }
}

impl Estimator for MeanEstimator {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        if exchange.is_plausible() && self.threshold.is_none_or(|most| exchange.delay() <= most) {
            self.recent.push_back(*exchange);
            if self.recent.len() > self.window {
                self.recent.pop_front();
            }
        }
        let (first, last) = (self.recent.front()?, self.recent.back()?);
        #[expect(clippy::cast_precision_loss, reason = "a window of some hundreds")]
        let n = self.recent.len() as f64;
        // Relative to the first offset, so that floats stay small.
        let reference = first.offset().as_span();
        let mut sum = 0.0;
        let mut squares = 0.0;
        for exchange in &self.recent {
            let beyond = (exchange.offset().as_span() - reference).as_nanos_f64();
            sum += beyond;
            squares += beyond * beyond;
        }
        let mean = sum / n;
        let deviation = (squares / n - mean * mean).max(0.0).sqrt();
        // The mean holds for the middle of the window.
        let at = first.t4 + (last.t4 - first.t4) / 2;
        Some(ClockEstimate {
            at,
            offset: Offset::from_span(reference + Span::from_nanos_f64(mean)),
            skew: Skew::ZERO,
            uncertainty: Span::from_nanos_f64(deviation / n.sqrt()) + Span::from_nanos(100),
            skew_uncertainty: CRYSTALS,
            least_delay: self.recent.iter().map(Exchange::delay).min()?,
        })
    }

    fn has_settled(&self) -> bool {
        self.recent.len() >= self.window
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
    fn symmetric_delays_average_out() {
        let mut link = Link::new(3);
        let mut filter = MeanEstimator::new(1000, None);
        let mut estimate = None;
        for i in 0..1000 {
            assert!(!filter.has_settled());
            estimate = filter.handle_exchange(&link.exchange(at_ms(i * 4)));
        }
        assert!(filter.has_settled());
        // The rms error of one exchange is 566 us, that of their mean 18 us.
        let error = estimate.unwrap().rig_at(at_ms(4000)) - link.truth(at_ms(4000));
        assert!(error.abs() < Span::from_micros(80), "{error:?}");
    }

    #[test]
    fn outliers_are_rejected() {
        let mut link = Link::new(3);
        let mut filter = MeanEstimator::new(100, Some(Span::from_millis(3)));
        let estimate = (0..100).filter_map(|i| filter.handle_exchange(&link.exchange(at_ms(i * 4)))).last();
        assert!(filter.recent.len() < 90 && !filter.has_settled(), "{}", filter.recent.len());
        assert!(filter.recent.iter().all(|exchange| exchange.delay() <= Span::from_millis(3)));
        assert!(estimate.is_some());
    }
}
