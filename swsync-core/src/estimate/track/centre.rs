//! The centre: a robust line through the middles of all exchanges (docs/time.md, "Centre").

use super::super::estimator::{WANDER, number};
use super::samples::{CAPACITY, Samples, Slot};
use super::skew::Rate;

/// Huber's constant: residuals beyond so many deviations count no more than at it. 95 % efficient on normal noise.
const HUBER: f64 = 1.345;
/// A median magnitude is this part of a normal deviation.
const MAD: f64 = 1.4826;
/// Noise of the timestamps themselves, in ns.
const NOISE: f64 = 100.0;
/// Steps of the reweighting: more move the line by less than a hundredth of its deviation.
const STEPS: usize = 4;
/// Fewer slots give no line.
const FEWEST: usize = 8;
/// Neighbouring exchanges may share a delay. The scatter of so many blocks of the window tells by how much.
const BLOCKS: usize = 16;

/// The line through the middles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Centre {
    /// When it was fitted, in s since the window's origin.
    pub at: f64,
    /// Its height then, in ns from the reference, and the deviation.
    pub height: f64,
    pub sigma: f64,
    /// Its slope.
    pub rate: Rate,
    /// How many times the variance is that of independent exchanges.
    pub correlation: f64,
}

/// Fits the centre. It owns its working memory, so that fitting does not allocate.
#[derive(Debug)]
pub(super) struct CentreFitter {
    /// Time before now, middle and count.
    points: Vec<[f64; 3]>,
    scratch: Vec<f64>,
}

/// Weighted sums of the normal equations, with the prior of the slope.
#[derive(Debug, Clone, Copy, Default)]
struct Normal {
    w: f64,
    wx: f64,
    wxx: f64,
    wy: f64,
    wxy: f64,
}

impl Normal {
    const fn add(&mut self, x: f64, y: f64, w: f64) {
        self.w += w;
        self.wx += w * x;
        self.wxx += w * x * x;
        self.wy += w * y;
        self.wxy += w * x * y;
    }

    /// Height at zero and slope, and the first and second row of the inverse.
    fn solve(&self) -> Option<([f64; 2], [[f64; 2]; 2])> {
        let det = self.w * self.wxx - self.wx * self.wx;
        if !(det > 0.0 && det.is_finite()) {
            return None;
        }
        let inverse = [[self.wxx / det, -self.wx / det], [-self.wx / det, self.w / det]];
        let solution = inverse.map(|[a, b]| a * self.wy + b * self.wxy);
        Some((solution, inverse))
    }
}

impl CentreFitter {
    pub fn new() -> Self {
        Self { points: Vec::with_capacity(CAPACITY), scratch: Vec::with_capacity(CAPACITY) }
    }

    /// The line through `samples` at `now`, in s since the window's origin.
    pub fn fit(&mut self, samples: &Samples, prior: Rate, before: Rate, now: f64) -> Option<Centre> {
        if samples.slots().len() < FEWEST {
            return None;
        }
        self.points.clear();
        self.points
            .extend(samples.slots().iter().map(|Slot { t, middle, count, .. }| [t - now, *middle, *count]));
        let slope = before.mean;
        let median = self.median(|[x, y, _]| y - slope * x);
        let mut line = [median, slope];
        let mut scale = NOISE;
        for _ in 0..STEPS {
            scale = (MAD * self.median(|[x, y, c]| (y - line[0] - line[1] * x).abs() * c.sqrt())).max(NOISE);
            let mut sums = Normal::default();
            for [x, y, count] in &self.points {
                let residual = (y - line[0] - line[1] * x).abs() * count.sqrt();
                sums.add(*x, *y, count * (HUBER * scale / residual.max(HUBER * scale)));
            }
            let prior_weight = (scale / prior.believed(line[1]).sigma).powi(2);
            sums.wxx += prior_weight;
            sums.wxy += prior_weight * prior.mean;
            line = sums.solve()?.0;
        }
        self.deviations(line, scale, prior.believed(line[1]), now)
    }

    /// The deviations of `line`, by the influence of each point (Huber's sandwich).
    fn deviations(&self, line: [f64; 2], scale: f64, prior: Rate, now: f64) -> Option<Centre> {
        let mut sums = Normal::default();
        for [x, y, count] in &self.points {
            let residual = (y - line[0] - line[1] * x) * count.sqrt();
            if residual.abs() <= HUBER * scale {
                sums.add(*x, *y, *count);
            }
        }
        sums.wxx += (scale / prior.sigma).powi(2);
        let (_, inverse) = sums.solve()?;
        let n = self.points.len();
        let (mut variances, mut blocked) = ([0.0; 2], 0.0);
        let (mut block, mut in_block) = (0, 0.0);
        for (index, [x, y, count]) in self.points.iter().enumerate() {
            let residual = (y - line[0] - line[1] * x) * count.sqrt();
            let psi = residual.clamp(-HUBER * scale, HUBER * scale) * count.sqrt();
            let influence = inverse.map(|[a, b]| (a + b * x) * psi);
            variances[0] += influence[0] * influence[0];
            variances[1] += influence[1] * influence[1];
            if index * BLOCKS / n != block {
                block = index * BLOCKS / n;
                blocked += in_block * in_block;
                in_block = 0.0;
            }
            in_block += influence[0];
        }
        blocked += in_block * in_block;
        let few = 1.0 + 6.0 / number(n);
        let correlation =
            if n >= 2 * BLOCKS && variances[0] > 0.0 { (blocked / variances[0]).max(1.0) } else { 1.0 };
        let age = -self.points[0][0];
        let wander = WANDER.as_ratio() * 1e9 * age.max(0.0).sqrt();
        let of_prior = inverse.map(|row| (row[1] * scale * scale / prior.sigma).powi(2));
        let deviation = |i: usize| {
            ((variances[i] * correlation + of_prior[i]).sqrt() * few).max(NOISE / number(n).sqrt())
        };
        Some(Centre {
            at: now,
            height: line[0],
            sigma: deviation(0).hypot(wander * age / 6.0),
            rate: Rate { mean: line[1], sigma: deviation(1).hypot(wander / 2.0) },
            correlation,
        })
    }

    fn median(&mut self, of: impl Fn(&[f64; 3]) -> f64) -> f64 {
        self.scratch.clear();
        self.scratch.extend(self.points.iter().map(of));
        let middle = self.scratch.len() / 2;
        *self.scratch.select_nth_unstable_by(middle, f64::total_cmp).1
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::Bound;
    use super::*;
    use crate::testing::XorShift;

    /// The centre of `count` exchanges, 0.1 s apart, whose middles are `middle(k)`.
    fn centre(count: u32, mut middle: impl FnMut(u32) -> f64) -> Option<Centre> {
        let mut samples = Samples::new();
        for k in 0..count {
            let (t, middle) = (f64::from(k) / 10.0, middle(k));
            samples.insert([Bound { t, height: 1e6 + middle }, Bound { t, height: 1e6 - middle }]);
        }
        CentreFitter::new().fit(&samples, Rate::UNKNOWN, Rate::UNKNOWN, f64::from(count) / 10.0)
    }

    #[test]
    fn outliers_hardly_move_it_and_its_deviations_are_true() {
        let (mut heights, mut rates, mut stated) = (0.0, 0.0, [0.0; 2]);
        for seed in 0..100 {
            let mut random = XorShift::mixed(seed);
            // 2 ppm and 50 us of noise, with an outlier of 20 ms in a hundred.
            let fitted = centre(300, |k| {
                let outlier = if k % 100 == 7 { 20e6 } else { 0.0 };
                f64::from(k) * 200.0 + 50e3 * random.normal() + outlier
            });
            let fitted = fitted.unwrap();
            heights += ((fitted.height - 60e3) / 100.0).powi(2);
            rates += ((fitted.rate.mean - 2e3) / 100.0).powi(2);
            stated[0] += (fitted.sigma / 10.0).powi(2);
            stated[1] += (fitted.rate.sigma / 10.0).powi(2);
        }
        for (measured, stated) in [(heights * 100.0, stated[0]), (rates * 100.0, stated[1])] {
            let ratio = (measured / stated).sqrt();
            assert!((0.7..1.2).contains(&ratio), "{ratio}");
        }
        assert!(heights.sqrt() < 8.0 * 1e2, "{heights}");
    }

    #[test]
    fn exchanges_that_share_a_delay_count_less() {
        let mut random = XorShift::mixed(3);
        let independent = centre(320, |_| 50e3 * random.normal()).unwrap();
        let mut shared = 0.0;
        let correlated = centre(320, |k| {
            if k % 20 == 0 {
                shared = 50e3 * random.normal();
            }
            shared
        });
        assert!(independent.correlation < 2.0, "{independent:?}");
        assert!(correlated.unwrap().correlation > 6.0, "{correlated:?}");
        assert!(correlated.unwrap().sigma > 2.0 * independent.sigma, "{correlated:?} {independent:?}");
    }

    #[test]
    fn few_exchanges_have_none() {
        assert!(centre(7, |_| 0.0).is_none());
        assert!(centre(8, |_| 0.0).is_some_and(|centre| centre.sigma > 0.0 && centre.height.abs() < 1e-6));
    }
}
