//! The rate of the offset, by quantile regression on the bounds of both directions (docs/time.md, "Skew").

use std::ops::Range;

use super::super::estimator::{WANDER, number};
use super::window::{Bin, CAPACITY, SIGNS, Window};

/// Standard deviation of the prior, in ns/s: crystals of up to 400 ppm are within four sigma.
const PRIOR: f64 = 100e3;
/// Noise of the timestamps themselves, in ns: smaller residuals mean nothing.
const NOISE: f64 = 100.0;
/// A round trip is ordinary if it differs from the lower quintile by at most this many median changes from one to the next.
const ORDINARY: f64 = 8.0;
/// Other round trips belong to one level while the next longer one is within this many such changes.
const APART: f64 = 3.0;
/// A level's loss is averaged with this many points of the usual loss: few points fit any line.
const FEW: f64 = 8.0;
/// The rate is fitted to this quantile of the bounds: the lower edge of the delays' body, above the quiet moments.
const QUANTILE: f64 = 0.2;

/// Degrees of freedom of a prior's law: how much a prior can be mistaken.
const FREEDOM: f64 = 3.0;

/// Factor on the Laplace model's deviation: neighbouring bounds are not independent, and the noise is not quite Laplacian.
/// Chosen for coverage (docs/time.md).
const DOUBT: f64 = 2.4;

/// Rate of rig time relative to local time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// ns/s.
    pub mean: f64,
    /// Standard deviation, ns/s.
    pub sigma: f64,
}

impl Rate {
    /// The prior for any two crystals.
    pub const UNKNOWN: Self = Self { mean: 0.0, sigma: PRIOR };

    /// This as a prior, `age` s after it was known: crystals wander.
    pub fn aged(self, age: f64) -> Self {
        Self { sigma: self.sigma.hypot(WANDER.as_ratio() * 1e9 * age.max(0.0).sqrt()), ..self }
    }

    /// This as a prior once `mean` is found: the normal law that Student's law with [`FREEDOM`] degrees equals there. What was known
    /// before may be wrong, as when the leader has changed its rate. Then it must not count for ever: under a normal law it would
    /// pull the rate, and with it the offset, to a compromise that neither the prior nor the exchanges stand for.
    pub fn believed(self, mean: f64) -> Self {
        let z = (mean - self.mean) / self.sigma;
        Self { sigma: self.sigma * ((FREEDOM + z * z) / (FREEDOM + 1.0)).sqrt(), ..self }
    }
}

/// Bins with similar round trips: the points `from..to`. Each level has a line of its own; all lines have the same slope.
#[derive(Debug, Clone, Copy)]
struct Level {
    from: usize,
    to: usize,
}

/// Fits the rate. It owns its working memory, so that fitting does not allocate.
#[derive(Debug)]
pub(super) struct Fitter {
    /// Round trip and index of each bin, in ascending order.
    trips: Vec<(f64, usize)>,
    levels: Vec<Level>,
    points: [Vec<(f64, f64)>; 2],
    /// Usual loss of a point, in ns.
    usual: f64,
    residuals: Vec<f64>,
}

impl Fitter {
    pub fn new() -> Self {
        let points = || Vec::with_capacity(CAPACITY);
        Self {
            trips: Vec::with_capacity(CAPACITY),
            levels: Vec::with_capacity(CAPACITY),
            points: [points(), points()],
            usual: 0.0,
            residuals: Vec::with_capacity(CAPACITY),
        }
    }

    /// The rate over `window`, which must not be empty; the search starts at `before`.
    pub fn fit(&mut self, window: &Window, prior: Rate, before: Rate) -> Rate {
        self.gather(window);
        // The likelihood has one peak. Search around the last rate, and more widely if the peak is at the edge.
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

    /// Sorts the bounds into levels by their round trips, which depend neither on the offset nor on the rate.
    fn gather(&mut self, window: &Window) {
        let round_trip = |bin: &Bin| bin.bounds[0].height + bin.bounds[1].height;
        let trips = &mut self.trips;
        trips.clear();
        trips.extend(window.bins().iter().map(round_trip).zip(0..));
        let changes = &mut self.residuals;
        changes.clear();
        changes.extend(trips.iter().zip(trips.iter().skip(1)).map(|(one, next)| (next.0 - one.0).abs()));
        let middle = changes.len() / 2;
        let change = match changes.get_mut(..) {
            Some(changes) if !changes.is_empty() => *changes.select_nth_unstable_by(middle, f64::total_cmp).1,
            _ => 0.0,
        };
        self.usual = QUANTILE * change;
        trips.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let typical = trips[trips.len() / 5].0;
        let is_ordinary = |trip: f64| (trip - typical).abs() <= ORDINARY * change + NOISE;
        self.levels.clear();
        let mut from = 0;
        for to in 1..=trips.len() {
            let begins = trips.get(to).is_none_or(|(trip, _)| {
                let last = trips[to - 1].0;
                is_ordinary(*trip) != is_ordinary(last)
                    || !is_ordinary(last) && trip - last > APART * change + NOISE
            });
            if begins {
                self.levels.push(Level { from, to });
                from = to;
            }
        }
        for (points, direction) in self.points.iter_mut().zip(0..) {
            points.clear();
            points.extend(trips.iter().map(|(_, bin)| {
                let bound = window.bins()[*bin].bounds[direction];
                (bound.t, SIGNS[direction] * bound.height)
            }));
        }
    }

    /// The rate of least cost within `reach` of `around`, by golden section.
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

    /// Negative logarithm of the posterior: asymmetric Laplace noise of unknown scale in each direction of each level, and the
    /// prior.
    fn cost(&mut self, rate: f64, prior: Rate) -> f64 {
        let z = (rate - prior.mean) / prior.sigma;
        let mut cost = (FREEDOM + 1.0) / 2.0 * (z * z / FREEDOM).ln_1p();
        for level in 0..self.levels.len() {
            let Level { from, to } = self.levels[level];
            for direction in 0..2 {
                cost += number(to - from) * self.loss(from..to, direction, rate).ln();
            }
        }
        cost
    }

    /// Mean quantile loss of a level's points in one direction, against a line of slope `rate` through their lower quantile.
    fn loss(&mut self, level: Range<usize>, direction: usize, rate: f64) -> f64 {
        let sign = SIGNS[direction];
        let residuals = &mut self.residuals;
        residuals.clear();
        residuals.extend(self.points[direction][level].iter().map(|(t, v)| sign * (v - rate * t)));
        let at = residuals.len() / 5;
        let (_, quantile, _) = residuals.select_nth_unstable_by(at, f64::total_cmp);
        let quantile = *quantile;
        let loss = |residual: &f64| {
            let above = residual - quantile;
            if above >= 0.0 { QUANTILE * above } else { (QUANTILE - 1.0) * above }
        };
        let sum = residuals.iter().map(loss).sum::<f64>();
        (sum + FEW * self.usual) / (number(residuals.len()) + FEW) + NOISE
    }

    /// Standard deviation of the rate: Laplace noise with each level's mean loss as its scale, all levels, directions and the
    /// prior combined; plus the crystal's wander.
    fn sigma(&mut self, rate: f64, prior: Rate) -> f64 {
        let (mut information, mut moment) = (0.0, 0.0);
        let mut newest = f64::NEG_INFINITY;
        for level in 0..self.levels.len() {
            let Level { from, to } = self.levels[level];
            for direction in 0..2 {
                let loss = self.loss(from..to, direction, rate);
                let points = &self.points[direction][from..to];
                let mean = points.iter().map(|point| point.0).sum::<f64>() / number(to - from);
                let spread: f64 = points.iter().map(|point| (point.0 - mean).powi(2)).sum();
                newest = points.iter().map(|point| point.0).fold(newest, f64::max);
                information += spread / loss.powi(2);
                moment += mean * spread / loss.powi(2);
            }
        }
        let fit = DOUBT * (information + prior.believed(rate).sigma.powi(-2)).sqrt().recip();
        // The slope is a mean over the points' time; the crystal has wandered since.
        let age = if information > 0.0 { (newest - moment / information).max(0.0) } else { 0.0 };
        fit.hypot(WANDER.as_ratio() * 1e9 * (age * 2.0 / 3.0).sqrt())
    }
}
