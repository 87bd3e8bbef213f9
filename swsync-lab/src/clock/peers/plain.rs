//! The plainest estimators that use all exchanges of the last minute: a line of least squares through their offsets, and their
//! median. No program has them; they are what an estimator must not fall behind where delays have no floor.

use std::collections::VecDeque;

use swsync_core::estimate::ClockEstimate;
use swsync_core::estimate::{Estimator, Exchange};
use swsync_core::time::{Offset, Skew, Span};

use crate::stats::as_f64;

/// Length of the window.
const WINDOW: Span = Span::from_secs(60);
/// Uncertainty of the skew where it is not measured.
const SKEW: Skew = Skew::from_ratio(50e-6);

/// The exchanges of the last minute.
#[derive(Debug, Default)]
struct Recent(VecDeque<Exchange>);

impl Recent {
    fn add(&mut self, exchange: &Exchange) {
        if exchange.is_plausible() {
            self.0.push_back(*exchange);
            while self.0.front().is_some_and(|oldest| oldest.t4 < exchange.t4 - WINDOW) {
                self.0.pop_front();
            }
        }
    }

    /// Seconds before the newest exchange's end, and the offset in ns beyond its own, of each exchange.
    fn points(&self) -> Option<(Exchange, Vec<(f64, f64)>)> {
        let newest = *self.0.back()?;
        let point = |exchange: &Exchange| {
            let middle = exchange.t1 + (exchange.t4 - exchange.t1) / 2;
            let beyond = exchange.offset().as_span() - newest.offset().as_span();
            ((middle - newest.t4).as_secs_f64(), beyond.as_nanos_f64())
        };
        Some((newest, self.0.iter().map(point).collect()))
    }
}

fn estimate(
    newest: &Exchange,
    beyond: f64,
    uncertainty: f64,
    skew: f64,
    skew_uncertainty: Skew,
) -> ClockEstimate {
    ClockEstimate {
        at: newest.t4,
        offset: Offset::from_span(newest.offset().as_span() + Span::from_nanos_f64(beyond)),
        skew: Skew::from_ratio(skew * 1e-9),
        uncertainty: Span::from_nanos_f64(uncertainty) + Span::from_nanos(100),
        skew_uncertainty,
        least_delay: newest.delay(),
    }
}

/// Least squares through the offsets.
#[derive(Debug, Default)]
pub struct Regression(Recent);

impl Estimator for Regression {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        self.0.add(exchange);
        let (newest, points) = self.0.points()?;
        let n = as_f64(points.len());
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let xx: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        let xy: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
        let slope = if xx > 0.0 { xy / xx } else { 0.0 };
        let residual = |point: &(f64, f64)| (point.1 - y - slope * (point.0 - x)).powi(2);
        let variance = points.iter().map(residual).sum::<f64>() / (n - 2.0).max(1.0);
        let (now, of_slope) = ((variance / n).sqrt(), if xx > 0.0 { (variance / xx).sqrt() } else { 50e3 });
        let uncertainty = now.hypot(of_slope * x);
        Some(estimate(&newest, y - slope * x, uncertainty, slope, Skew::from_ratio(of_slope * 1e-9)))
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The median of the offsets.
#[derive(Debug, Default)]
pub struct Median(Recent);

impl Estimator for Median {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        self.0.add(exchange);
        let (newest, points) = self.0.points()?;
        let mut sorted: Vec<f64> = points.iter().map(|point| point.1).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let median = sorted[sorted.len() / 2];
        let quartiles = sorted[sorted.len() * 3 / 4] - sorted[sorted.len() / 4];
        Some(estimate(&newest, median, 0.93 * quartiles / as_f64(sorted.len()).sqrt(), 0.0, SKEW))
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{errors, ideal, mean};
    use super::*;

    #[test]
    fn a_line_follows_a_skew_and_a_median_lags_behind() {
        let exchanges = ideal(60, 100, 20.0).simulate(3).exchanges;
        let line = errors(&mut Regression::default(), &exchanges, 400);
        assert!(line.iter().all(|error| error.abs() < 0.1), "{line:?}");
        // 12 to 20 ppm for half of 40 to 60 s.
        let median = mean(&errors(&mut Median::default(), &exchanges, 400)).abs();
        assert!((250.0..600.0).contains(&median), "{median}");
    }
}
