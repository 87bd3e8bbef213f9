//! Where the bounds of a direction end: at the offset plus that direction's least delay.

use super::skew::Rate;
use super::window::Window;
use crate::clock::WANDER;

/// Bounds that are looked at.
const DEPTH: usize = 32;
/// Sigmas of possible error by which age raises a bound.
const INFLATION: f64 = 2.0;
/// Gaps between neighbouring bounds whose median tells how densely they lie.
const GAPS: usize = 5;
/// Most bounds that can be lucky.
const LUCKY: usize = 24;
/// The bound that is typical of the low ones, lucky moments or not.
const TYPICAL: usize = 6;
/// A gap between lucky and ordinary bounds is so many times as wide as the next five together.
const CLEFT: f64 = 2.0;
/// So far below its lowest bound a direction's floor is thought to be, in gaps: as for delays whose
/// excess has a gamma distribution of shape 2, where the k-th lowest of many lies at a height of about
/// sqrt(k). For a shape of 1 it would be one gap.
const BELOW: f64 = 3.0;
/// The deviation of the floor from there, in gaps. Chosen for coverage (docs/time.md).
const SCATTER: f64 = 4.0;
/// What a single lucky bound leaves open, as a part of how far it stands out.
const ALONE: f64 = 1.0 / 20.0;

/// A bin's bound, carried to now.
#[derive(Debug, Clone, Copy)]
struct Carried {
    /// When it was made, s since the window's origin.
    t: f64,
    /// ns from the reference.
    height: f64,
    /// How far age may have carried it astray, 1 sigma.
    astray: f64,
    /// The height by which it is compared: an old bound has to be clearly lower to count.
    compared: f64,
}

/// Lowest bounds that stand apart: made in quiet moments, or since the path or a clock changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cleft {
    /// How many lie below.
    pub below: usize,
    /// ns from the highest of them to the lowest ordinary one.
    pub width: f64,
}

/// A direction's floor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Floor {
    /// ns from the reference.
    pub height: f64,
    /// What the error of that may be, 1 sigma, from how densely the bounds lie.
    pub scatter: f64,
    /// What age may have added to it, 1 sigma; the same error in both directions.
    pub astray: f64,
}

/// The lowest bounds of one direction, lowest first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lowest {
    bounds: [Carried; DEPTH],
    count: usize,
}

impl Lowest {
    /// Of the bounds of `direction` in `window` (not empty), carried to `now` by `rate`.
    pub fn of(window: &Window, direction: usize, rate: Rate, now: f64) -> Self {
        let wander = (WANDER.as_ratio() * 1e9).powi(2);
        let nothing = Carried { t: 0.0, height: 0.0, astray: 0.0, compared: f64::INFINITY };
        let mut lowest = Self { bounds: [nothing; DEPTH], count: 0 };
        for bin in window.bins() {
            let bound = bin.bounds[direction];
            let age = now - bound.t;
            let height = bound.carried(direction, rate.mean, now);
            let astray = age.abs() * (rate.sigma.powi(2) + wander * age.abs()).sqrt();
            let compared = height + INFLATION * astray;
            lowest.insert(Carried { t: bound.t, height, astray, compared });
        }
        lowest
    }

    fn insert(&mut self, bound: Carried) {
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

    /// Where lucky bounds are set apart from the ordinary ones, if they are.
    pub fn cleft(&self) -> Option<Cleft> {
        let candidates = 0..LUCKY.min(self.count.saturating_sub(GAPS + 1));
        let widest = candidates.max_by(|a, b| self.gap(*a).total_cmp(&self.gap(*b)))?;
        let width = self.gap(widest);
        let apart = width > CLEFT * self.rise(widest + 1, widest + 1 + GAPS);
        apart.then_some(Cleft { below: widest + 1, width })
    }

    /// The lowest bound, ns from the reference.
    pub fn height(&self) -> f64 {
        self.bounds[0].height
    }

    /// How far the lowest lies below the typical low ones.
    pub fn drop(&self) -> f64 {
        self.rise(0, TYPICAL.min(self.count - 1))
    }

    /// When the first of the lowest `count` was made.
    pub fn first_of(&self, count: usize) -> f64 {
        self.bounds[..count].iter().map(|bound| bound.t).fold(f64::INFINITY, f64::min)
    }

    /// The floor under all bounds but the lowest `skipped`.
    pub fn ordinary(&self, skipped: usize) -> Floor {
        self.floor(skipped, self.spacing(skipped, self.count).unwrap_or(0.0))
    }

    /// The floor under the bounds below `cleft`.
    pub fn lucky(&self, cleft: Cleft) -> Floor {
        self.floor(0, self.spacing(0, cleft.below).unwrap_or(cleft.width * ALONE))
    }

    fn floor(&self, index: usize, spacing: f64) -> Floor {
        let lowest = self.bounds[index.min(self.count - 1)];
        Floor { height: lowest.height - BELOW * spacing, scatter: SCATTER * spacing, astray: lowest.astray }
    }

    /// How densely the bounds `from..to` lie: the median of their first few gaps.
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

    /// What a new bound has to be below to change the floor.
    pub fn limit(&self) -> f64 {
        self.bounds[(TYPICAL + 1).min(self.count - 1)].compared
    }
}
