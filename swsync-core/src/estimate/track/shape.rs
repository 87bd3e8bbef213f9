//! The shape of the delays: whether each direction has a floor or only a centre (docs/time.md, "Floor or centre").

use super::super::estimator::number;
use super::samples::{CAPACITY, Samples};

/// Spread below which a direction is a constant, in ns: the noise of timestamps.
const NOISE: f64 = 200.0;
/// Fewer samples have no shape.
const FEWEST: usize = 12;
/// Logarithm of the odds of the classes before any delay was seen.
const PRIOR: [f64; 3] = [1.0, -1.0, 0.0];
/// Up to this logarithm of its tail a direction has a clear floor: a gamma distribution of shape 2 has -1.1.
const TAIL_OF_A_FLOOR: f64 = -1.02;
/// Logarithm of the odds that a direction is symmetric if the other is skewed.
const BESIDE_SKEWED: f64 = -2.5;
/// The quantiles that tell the shape, in per cent.
const PERCENTS: [usize; 6] = [1, 2, 10, 50, 90, 98];
/// A direction that is this many times narrower than the other counts less.
const SHARE: f64 = 10.0;
/// A floor of a long lower tail may be off by this part of the distance from the lowest delays to the median.
const LOOSE: f64 = 0.5;
/// Evidence against a class, from one direction, counts at most this much.
const MOST: f64 = 12.0;

/// What the samples of both directions say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Probability that both directions are symmetric about a centre, without a floor.
    pub symmetric: f64,
    /// Probability that they are skewed, without a floor that shows.
    pub skewed: f64,
    /// How far the wider direction is from having a clear floor, in [0, 1].
    pub floorless: f64,
    /// How unlike the widths of the two directions are: squared, in deviations.
    pub unlike: f64,
    /// What the middle of the floors may be off where the lower tails are long, 1 sigma, in ns.
    pub loose: f64,
}

impl Shape {
    /// Before there are enough samples: as on ordinary links, a floor.
    pub const UNKNOWN: Self = Self { symmetric: 0.0, skewed: 0.0, floorless: 0.0, unlike: 0.0, loose: 0.0 };
}

/// One direction.
#[derive(Debug, Clone, Copy)]
struct OneWay {
    /// Median above the 2 % quantile, in ns.
    spread: f64,
    /// From the 10 % quantile to the 90 % quantile, in ns.
    width: f64,
    /// Length of the lower tail, 2 % to 10 %, as a part of 10 % to 50 %.
    tail: f64,
    /// Logarithm of the likelihood of each class.
    evidence: [f64; 3],
}

/// Sorts samples. It owns its working memory.
#[derive(Debug)]
pub(super) struct ShapeFinder {
    sorted: Vec<f64>,
}

impl ShapeFinder {
    pub fn new() -> Self {
        Self { sorted: Vec::with_capacity(CAPACITY) }
    }

    /// The shape of `samples`, whose offset moves by `rate` ns/s. `correlation` of them count as one.
    pub fn find(&mut self, samples: &Samples, rate: f64, correlation: f64) -> Shape {
        if samples.slots().len() < FEWEST {
            return Shape::UNKNOWN;
        }
        let ways = [0, 1].map(|direction| self.one_way(samples, direction, rate, correlation));
        let widest = ways[0].spread.max(ways[1].spread).max(NOISE);
        let mut odds = PRIOR;
        let (mut tail, mut weights) = (0.0, 0.0);
        for way in ways {
            let share = way.spread / widest;
            for (odds, evidence) in odds.iter_mut().zip(way.evidence) {
                *odds += evidence * (SHARE * share).min(1.0);
            }
            tail += share * way.tail;
            weights += share;
        }
        let tail = if weights > 0.0 { tail / weights } else { f64::NEG_INFINITY };
        let most = odds.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let [sharp, skewed, symmetric] = odds.map(|odds| (odds - most).exp());
        let sum = sharp + skewed + symmetric;
        let floorless = |tail: f64| ((tail - TAIL_OF_A_FLOOR) / 0.42).clamp(0.0, 1.0);
        let [up, down] = ways.map(|way| LOOSE * way.spread * floorless(way.tail));
        let ratio = ((ways[0].width + NOISE) / (ways[1].width + NOISE)).ln();
        let error = 1.6 * (correlation / number(samples.slots().len())).sqrt();
        Shape {
            symmetric: symmetric / sum,
            skewed: skewed / sum,
            floorless: floorless(tail),
            unlike: (ratio / error).powi(2),
            loose: up.hypot(down) / 2.0,
        }
    }

    fn one_way(&mut self, samples: &Samples, direction: usize, rate: f64, correlation: f64) -> OneWay {
        let sorted = &mut self.sorted;
        sorted.clear();
        sorted.extend(
            samples.slots().iter().map(|slot| slot.sample[direction].projected(direction, rate, 0.0)),
        );
        let last = sorted.len() - 1;
        // From the highest down: each selection leaves the lower samples before it.
        let mut quantiles = [0.0; PERCENTS.len()];
        let mut end = sorted.len();
        for (quantile, percent) in quantiles.iter_mut().zip(PERCENTS).rev() {
            let (at, rest) = (last * percent / 100, last * percent % 100);
            let next = (at + 1).min(end - 1);
            let upper = *sorted[..end].select_nth_unstable_by(next, f64::total_cmp).1;
            let lower = sorted[..=at].iter().copied().fold(f64::NEG_INFINITY, f64::max);
            *quantile = lower + (upper - lower) * number(rest) / 100.0;
            end = next + 1;
        }
        let [lowest, low, tenth, median, ninetieth, high] = quantiles;
        let spread = median - low;
        if high - low < NOISE {
            return OneWay { spread, width: high - low, tail: f64::NEG_INFINITY, evidence: [0.0; 3] };
        }
        let tail = ((tenth - lowest + 1.0) / (median - tenth + 1.0)).ln();
        let lean = (high + low - 2.0 * median) / (high - low);
        let root = (number(sorted.len()) / correlation).sqrt();
        let tail_error = 3.6 / root;
        let [sharp, skewed, symmetric] =
            CLASSES.map(|class| class.log_likelihood(tail, tail_error, lean, 1.05 / root).max(-MOST));
        // One direction may be symmetric where the other is skewed.
        let skewed = skewed.max(symmetric + BESIDE_SKEWED);
        let evidence = [sharp, skewed, symmetric];
        OneWay { spread, width: ninetieth - tenth, tail: tail - tail_error / 2.0, evidence }
    }
}

/// What delays of one kind look like: mean and deviation, over the laws of that kind, of the logarithm of the tail and of the lean.
#[derive(Debug, Clone, Copy)]
struct Class {
    tail: [f64; 2],
    lean: [f64; 2],
}

/// Sharp floor, skewed, symmetric.
const CLASSES: [Class; 3] = [
    Class { tail: [-1.4, 0.35], lean: [0.25, 0.3] },
    Class { tail: [-0.55, 0.2], lean: [0.28, 0.09] },
    Class { tail: [-0.2, 0.25], lean: [0.0, 0.04] },
];

impl Class {
    /// Logarithm of the likelihood of `tail` and `lean`, which are known to so much.
    fn log_likelihood(&self, tail: f64, tail_error: f64, lean: f64, lean_error: f64) -> f64 {
        let log_density = |x: f64, [mean, sigma]: [f64; 2], error: f64| {
            let sigma = sigma.hypot(error);
            -((x - mean) / sigma).powi(2) / 2.0 - sigma.ln()
        };
        log_density(tail, self.tail, tail_error) + log_density(lean, self.lean, lean_error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::Bound;
    use super::*;
    use crate::testing::XorShift;

    /// The shape of 300 delays each way, in ns.
    fn shape(up: impl Fn(&mut XorShift) -> f64, down: impl Fn(&mut XorShift) -> f64, seed: u64) -> Shape {
        let mut random = XorShift::mixed(seed);
        let mut samples = Samples::new();
        for k in 0..300_u32 {
            let t = f64::from(k) / 8.0;
            let [up, down] = [up(&mut random), down(&mut random)];
            samples.insert([Bound { t, height: up }, Bound { t, height: down }]);
        }
        ShapeFinder::new().find(&samples, 0.0, 1.0)
    }

    fn exponential(random: &mut XorShift) -> f64 {
        5e5 - 1e6 * (random.uniform() + 1e-9).ln()
    }

    fn normal(random: &mut XorShift) -> f64 {
        3e6 + 1e6 * random.normal()
    }

    fn narrow(random: &mut XorShift) -> f64 {
        3e6 + 1e5 * random.normal()
    }

    fn log_normal(random: &mut XorShift) -> f64 {
        3e6 * (0.25 * random.normal()).exp()
    }

    #[test]
    fn a_floor_a_centre_and_neither_are_told_apart() {
        for seed in 0..40 {
            let floor = shape(exponential, exponential, seed);
            assert!(floor.symmetric < 1e-3 && floor.skewed < 0.01, "{seed}: {floor:?}");
            assert!(floor.floorless < 0.01 && floor.loose < 1.0, "{seed}: {floor:?}");
            let uniform = |random: &mut XorShift| 1e6 + 4e6 * random.uniform();
            let edges = shape(uniform, uniform, seed);
            assert!(edges.symmetric < 0.1 && edges.floorless < 0.1, "{seed}: {edges:?}");
        }
        let mean = |of: &dyn Fn(u64) -> f64| (0..40).map(of).sum::<f64>() / 40.0;
        assert!(mean(&|seed| shape(normal, normal, seed).symmetric) > 0.9);
        assert!(mean(&|seed| shape(normal, normal, seed).floorless) > 0.9);
        assert!(mean(&|seed| shape(normal, exponential, seed).symmetric) < 0.02);
        assert!(mean(&|seed| shape(log_normal, log_normal, seed).symmetric) < 0.3);
        assert!(mean(&|seed| shape(log_normal, log_normal, seed).skewed) > 0.5);
    }

    #[test]
    fn unlike_widths_are_seen() {
        let mean = |of: &dyn Fn(u64) -> f64| (0..40).map(of).sum::<f64>() / 40.0;
        // Of alike widths the square is 1 on average, or less: the error is stated for wider laws.
        assert!(mean(&|seed| shape(normal, normal, seed).unlike) < 1.5);
        assert!(mean(&|seed| shape(normal, narrow, seed).unlike) > 100.0);
    }

    #[test]
    fn constant_delays_and_few_have_no_shape() {
        let constant = shape(|_| 5e4, |_| 5e4, 1);
        assert!(constant.floorless < 1e-9 && constant.unlike < 1e-9 && constant.loose < 1e-9, "{constant:?}");
        let mut samples = Samples::new();
        samples.insert([Bound { t: 0.0, height: 1.0 }; 2]);
        assert!(ShapeFinder::new().find(&samples, 0.0, 1.0).symmetric < 1e-9);
    }
}
