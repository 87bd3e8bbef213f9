//! The floor of one direction: the offset plus that direction's least delay, from the lowest bounds (docs/time.md, "Offset").

use super::super::estimator::WANDER;
use super::skew::Rate;
use super::window::Window;

/// Bounds that are examined.
const DEPTH: usize = 32;
/// Age raises a bound by this many sigmas of its possible drift.
const INFLATION: f64 = 2.0;
/// The spacing of the bounds is the median of this many gaps between neighbours.
const GAPS: usize = 5;
/// At most this many bounds count as quiet moments.
const MAX_QUIET: usize = 24;
/// Index of the bound that is typical of the low ones, with or without quiet moments.
const TYPICAL: usize = 6;
/// A gap separates quiet from ordinary bounds if it is this many times as wide as the next five gaps together.
const GAP_RATIO: f64 = 2.0;
/// Distance of the floor below the lowest bound, in gaps. It fits delays whose excess has a gamma distribution of shape 2,
/// where the height of the k-th lowest of many grows as sqrt(k).
const BELOW: f64 = 3.0;
/// Standard deviation of the floor, in gaps. Chosen for coverage (docs/time.md).
const SCATTER: f64 = 4.0;
/// Spacing that is assumed of a single quiet bound, as a part of the gap above it.
const ONE_SIDED: f64 = 1.0 / 20.0;

/// A bin's bound, projected to the present by the rate.
#[derive(Debug, Clone, Copy)]
struct ProjectedBound {
    /// When it was measured, in s since the window's origin.
    t: f64,
    /// ns from the reference.
    height: f64,
    /// What the offset may have drifted from the projection since then, 1 sigma, in ns.
    drift: f64,
    /// Height for comparisons: it includes the drift, so an old bound has to be clearly lower to count.
    compared: f64,
}

/// A gap that separates the lowest bounds from the rest: quiet moments, or bounds since the path or a clock changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuietGap {
    /// Number of bounds below it.
    pub below: usize,
    /// Its width, in ns.
    pub width: f64,
}

/// A direction's floor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Floor {
    /// ns from the reference.
    pub height: f64,
    /// Error of `height`, 1 sigma, from the spacing of the bounds.
    pub scatter: f64,
    /// Drift since the bound was measured, 1 sigma; it affects both directions alike.
    pub drift: f64,
}

/// The lowest bounds of one direction, lowest first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lowest {
    bounds: [ProjectedBound; DEPTH],
    count: usize,
}

impl Lowest {
    /// The lowest bounds of `direction` in `window` (not empty), projected to `now` by `rate`.
    pub fn of(window: &Window, direction: usize, rate: Rate, now: f64) -> Self {
        let wander = (WANDER.as_ratio() * 1e9).powi(2);
        let nothing = ProjectedBound { t: 0.0, height: 0.0, drift: 0.0, compared: f64::INFINITY };
        let mut lowest = Self { bounds: [nothing; DEPTH], count: 0 };
        for bin in window.bins() {
            let bound = bin.bounds[direction];
            let age = now - bound.t;
            let height = bound.projected(direction, rate.mean, now);
            let drift = age.abs() * (rate.sigma.powi(2) + wander * age.abs()).sqrt();
            let compared = height + INFLATION * drift;
            lowest.insert(ProjectedBound { t: bound.t, height, drift, compared });
        }
        lowest
    }

    fn insert(&mut self, bound: ProjectedBound) {
        let mut place = DEPTH - 1;
        if bound.compared >= self.bounds[place].compared {
            return;
        }
        while place > 0 && bound.compared < self.bounds[place - 1].compared {
            self.bounds[place] = self.bounds[place - 1];
            place -= 1;
        }
        self.bounds[place] = bound;
        self.count = (self.count + 1).min(DEPTH);
    }

    fn gap(&self, index: usize) -> f64 {
        self.bounds[index + 1].compared - self.bounds[index].compared
    }

    fn rise(&self, from: usize, to: usize) -> f64 {
        self.bounds[to].compared - self.bounds[from].compared
    }

    /// The gap between quiet and ordinary bounds, if there is one.
    pub fn quiet_gap(&self) -> Option<QuietGap> {
        let candidates = 0..MAX_QUIET.min(self.count.saturating_sub(GAPS + 1));
        let widest = candidates.max_by(|a, b| self.gap(*a).total_cmp(&self.gap(*b)))?;
        let width = self.gap(widest);
        let apart = width > GAP_RATIO * self.rise(widest + 1, widest + 1 + GAPS);
        apart.then_some(QuietGap { below: widest + 1, width })
    }

    /// Height of the lowest bound, in ns from the reference.
    pub fn height(&self) -> f64 {
        self.bounds[0].height
    }

    /// What the offset can at most be above the reference, with the drift since it was measured.
    pub fn bound(&self) -> f64 {
        self.bounds[0].compared
    }

    /// Distance of the lowest bound below the typical low one.
    pub fn drop(&self) -> f64 {
        self.rise(0, TYPICAL.min(self.count - 1))
    }

    /// When the earliest of the lowest `count` bounds was measured.
    pub fn first_of(&self, count: usize) -> f64 {
        self.bounds[..count].iter().map(|bound| bound.t).fold(f64::INFINITY, f64::min)
    }

    /// The floor under all bounds but the lowest `skipped`.
    pub fn ordinary(&self, skipped: usize) -> Floor {
        self.floor(skipped, self.spacing(skipped, self.count).unwrap_or(0.0))
    }

    /// The floor under the bounds below `quiet_gap`.
    pub fn quiet(&self, quiet_gap: QuietGap) -> Floor {
        self.floor(0, self.spacing(0, quiet_gap.below).unwrap_or(quiet_gap.width * ONE_SIDED))
    }

    fn floor(&self, index: usize, spacing: f64) -> Floor {
        let lowest = self.bounds[index.min(self.count - 1)];
        Floor { height: lowest.height - BELOW * spacing, scatter: SCATTER * spacing, drift: lowest.drift }
    }

    /// Spacing of the bounds `from..to`: the median of their first few gaps.
    fn spacing(&self, from: usize, to: usize) -> Option<f64> {
        let mut gaps = [0.0; GAPS];
        let count = GAPS.min(to.saturating_sub(from + 1));
        for (gap, index) in gaps.iter_mut().zip(from..from + count) {
            *gap = self.gap(index);
        }
        let (_, median, _) = gaps
            .get_mut(..count)
            .filter(|gaps| !gaps.is_empty())?
            .select_nth_unstable_by(count / 2, f64::total_cmp);
        Some(*median)
    }

    /// Only a new bound below this height can change the floor.
    pub fn limit(&self) -> f64 {
        self.bounds[(TYPICAL + 1).min(self.count - 1)].compared
    }
}
