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
        sorted.sort_unstable_by(f64::total_cmp);
        let quantile = |percent: usize| {
            let (at, rest) = ((sorted.len() - 1) * percent / 100, (sorted.len() - 1) * percent % 100);
            let next = sorted[(at + 1).min(sorted.len() - 1)];
            sorted[at] + (next - sorted[at]) * number(rest) / 100.0
        };
        let [lowest, low, tenth, median, ninetieth, high] = [1, 2, 10, 50, 90, 98].map(quantile);
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
