//! The rate of the offset, by quantile regression of both directions' bounds.

use super::super::number;
use super::window::{Bin, CAPACITY, SIGNS, Window};
use crate::clock::WANDER;

/// Width of the prior, in ns/s: crystals of up to 400 ppm are within four sigma.
const PRIOR: f64 = 100e3;
/// Residuals below this are as good as none, in ns: the timestamps' own noise.
const NOISE: f64 = 100.0;
/// Round trips are ordinary if they differ from the lower quintile by so many times the median change from
/// one to the next.
const ORDINARY: f64 = 8.0;
/// Quantile of the bins' bounds that the rate is fitted to: the lower edge of the body, above the
/// quiet moments.
const QUANTILE: f64 = 0.2;

/// Neighbouring bounds are not independent, and the edge of the body is no Laplace distribution: so many
/// times the deviation that they would give. Chosen for coverage (docs/time.md).
const DOUBT: f64 = 2.4;

/// Rate of the rig's clock against the local one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// ns/s.
    pub mean: f64,
    /// Standard deviation, ns/s.
    pub sigma: f64,
}

impl Rate {
    /// Of any two crystals.
    pub const UNKNOWN: Self = Self { mean: 0.0, sigma: PRIOR };
}

/// Fits rates; keeps its working memory, which never grows.
#[derive(Debug)]
pub(super) struct Fitter {
    points: [Vec<(f64, f64)>; 2],
    residuals: Vec<f64>,
}

impl Fitter {
    pub fn new() -> Self {
        let points = || Vec::with_capacity(CAPACITY);
        Self { points: [points(), points()], residuals: Vec::with_capacity(CAPACITY) }
    }

    /// The rate over `window`, which holds something; `before` is where to look first.
    pub fn fit(&mut self, window: &Window, prior: Rate, before: Rate) -> Rate {
        self.gather(window);
        // The likelihood has one peak: golden section around the last one, wider where it is at the edge.
        let mut reach = 4.0 * before.sigma;
        let mut mean = before.mean;
        for _ in 0..6 {
            let found = self.search(mean, reach, before.sigma / 30.0, prior);
            let edge = (found - mean).abs() > 0.8 * reach;
            mean = found;
            if !edge {
                break;
            }
            reach *= 4.0;
        }
        Rate { mean, sigma: self.sigma(mean, prior) }
    }

    /// Gathers the bounds of the bins whose round trips are ordinary: congestion, or what another
    /// path was like before, would only tilt the line. No offset and no rate is in a round trip.
    fn gather(&mut self, window: &Window) {
        let round_trip = |bin: &Bin| bin.bounds[0].height + bin.bounds[1].height;
        let trips = &mut self.residuals;
        trips.clear();
        trips.extend(window.bins().iter().map(round_trip));
        let fifth = trips.len() / 5;
        let (_, typical, _) = trips.select_nth_unstable_by(fifth, f64::total_cmp);
        let typical = *typical;
        trips.clear();
        let pairs = window.bins().iter().zip(window.bins().iter().skip(1));
        trips.extend(pairs.map(|(one, next)| (round_trip(next) - round_trip(one)).abs()));
        let middle = trips.len() / 2;
        let ordinary = match trips.get_mut(..) {
            Some(changes) if !changes.is_empty() => {
                ORDINARY * *changes.select_nth_unstable_by(middle, f64::total_cmp).1 + NOISE
            }
            _ => f64::INFINITY,
        };
        for (points, direction) in self.points.iter_mut().zip(0..) {
            points.clear();
            let bins = window.bins().iter().filter(|bin| (round_trip(bin) - typical).abs() <= ordinary);
            points.extend(bins.map(|bin| {
                let bound = bin.bounds[direction];
                (bound.t, SIGNS[direction] * bound.height)
            }));
        }
    }

    fn search(&mut self, around: f64, reach: f64, tolerance: f64, prior: Rate) -> f64 {
        let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
        let (mut low, mut high) = (around - reach, around + reach);
        let (mut a, mut b) = (high - ratio * (high - low), low + ratio * (high - low));
        let (mut cost_a, mut cost_b) = (self.cost(a, prior), self.cost(b, prior));
        while high - low > tolerance.max(1.0) {
            if cost_a < cost_b {
                (high, b, cost_b) = (b, a, cost_a);
                a = high - ratio * (high - low);
                cost_a = self.cost(a, prior);
            } else {
                (low, a, cost_a) = (a, b, cost_b);
                b = low + ratio * (high - low);
                cost_b = self.cost(b, prior);
            }
        }
        f64::midpoint(low, high)
    }

    /// Negative logarithm of the posterior: asymmetric Laplace noise of unknown scale in each
    /// direction, and the prior.
    fn cost(&mut self, rate: f64, prior: Rate) -> f64 {
        let n = number(self.points[0].len());
        let misfits: f64 = [0, 1].map(|direction| self.misfit(direction, rate).ln()).iter().sum();
        n * misfits + ((rate - prior.mean) / prior.sigma).powi(2) / 2.0
    }

    /// Sum of the quantile losses of a direction's points from a line of slope `rate` through their
    /// lower quantile.
    fn misfit(&mut self, direction: usize, rate: f64) -> f64 {
        let sign = SIGNS[direction];
        let residuals = &mut self.residuals;
        residuals.clear();
        residuals.extend(self.points[direction].iter().map(|(t, v)| sign * (v - rate * t)));
        let at = residuals.len() / 5;
        let (_, quantile, _) = residuals.select_nth_unstable_by(at, f64::total_cmp);
        let quantile = *quantile;
        let loss = |residual: &f64| {
            let above = residual - quantile;
            if above >= 0.0 { QUANTILE * above } else { (QUANTILE - 1.0) * above }
        };
        residuals.iter().map(loss).sum::<f64>() + NOISE * number(residuals.len())
    }

    /// Standard deviation of the rate: as if of Laplace noise with each direction's mean loss as its
    /// scale, both directions and the prior joined; and the wander.
    fn sigma(&mut self, rate: f64, prior: Rate) -> f64 {
        let n = number(self.points[0].len());
        let mean = self.points[0].iter().map(|point| point.0).sum::<f64>() / n;
        let spread: f64 = self.points[0].iter().map(|point| (point.0 - mean).powi(2)).sum();
        let information: f64 =
            [0, 1].map(|direction| spread / (self.misfit(direction, rate) / n).powi(2)).iter().sum();
        let fit = DOUBT * (information + prior.sigma.powi(-2)).sqrt().recip();
        // The slope is the mean over the window; the crystal has wandered on since.
        let length = self.points[0].last().map_or(0.0, |last| last.0 - self.points[0][0].0);
        fit.hypot(WANDER.as_ratio() * 1e9 * (length.abs() / 3.0).sqrt())
    }
}
