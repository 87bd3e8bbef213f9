//! Offset and skew from the least delays of both directions.
//!
//! # Model
//!
//! With the offset θ(t), each exchange bounds it twice: T2 − T1 = θ(t) + d↑ from above and T3 − T4 =
//! θ(t) − d↓ from below. Delays are a floor plus an excess whose distribution has a long tail, a
//! body, and (on WiFi) a few quiet moments far below the body. The [`window`] keeps the best
//! bounds of short spans of the last minute; of them two questions are asked, by two statistics:
//!
//! *Skew* ([`skew`]). The bounds lie near the lower edge of the body, for every span alike. The slope
//! of their lower quintile over time, of both directions together, is the skew s: the tail above
//! hardly weighs, and a rare quiet moment below cannot tilt it. Spans whose round trips differ have a quintile of their
//! own: the path has levels.
//!
//! *Offset* ([`floor`]). Carried to now by s, the bounds of each direction end at a floor: the offset
//! plus or minus that direction's least delay. The estimate is the middle between the two floors.
//! Where both directions had quiet moments there are two pairs of floors, and each pair counts
//! by how well it is known; quiet moments of one direction alone say nothing of the other and are left out.
//!
//! *Uncertainty*: how densely the bounds lie above their floors, the age of those used, how far the two
//! pairs of floors disagree, how little time has passed to have seen the path at its best, and one part in
//! seventy of the least round trip for floors that differ as they do in ordinary networks. More than
//! that can be asymmetric, and no two-way exchange sees it: half of `least_delay` is the bound.
//!
//! Assumed: a linear offset over a minute (a crystal that walks 0.02 ppm/√s bends it by a few us).
//! Bounds that contradict the estimate, or undercut a floor one after the other, are a step or
//! a new path: what was before is forgotten. docs/time.md derives all this and measures it.

mod floor;
mod skew;
mod window;

use floor::{Cleft, Floor, Lowest};
use skew::{Fitter, Rate};
use window::{Inserted, Window};

use super::{Estimator, Exchange, number};
use crate::clock::ClockEstimate;
use crate::time::{Local, Offset, Skew, Span, Timestamp};

/// Uncertainty of the timestamps as such, ns.
const NOISE: f64 = 100.0;
/// Exchanges in a row that contradict the estimate before it is given up.
const CONTRADICTIONS: u32 = 4;
/// The least by which an exchange has to contradict the estimate to count.
const CONTRADICTION: Span = Span::from_micros(500);
/// Most lucky moments that one direction has alone.
const ALONE: usize = 5;
/// Bins in a row that undercut a floor before the ones before are given up.
const UNDERCUTS: usize = 6;
/// The path is in another mood after so many seconds: congestion lasts from a packet to the next.
const MOOD: f64 = 0.5;
/// What the part of the least delay that may never have been absent so far is after one mood.
const UNSEEN: f64 = 1.0 / 8.0;
/// After a silence the rate may be another one by so much, in ns/s, 1 sigma: it has become warmer, say.
const LATER: f64 = 1e3;
/// What the floors' delays differ by in ordinary networks, as a part of the least round trip, 1 sigma.
const UNEVEN: f64 = 1.0 / 70.0;
/// After a step it may be the rate of another pair of clocks.
const OTHER_CLOCKS: f64 = 100e3;

/// Offset and skew from the least delays of both directions. See the module's documentation.
#[derive(Debug)]
pub struct Track {
    window: Window,
    fitter: Fitter,
    /// What is known of the rate from before the window.
    prior: Rate,
    rate: Rate,
    /// Bins that began since the rate was fitted.
    unfitted: usize,
    contradictions: u32,
    solution: Option<Solution>,
}

/// What the window came to.
#[derive(Debug, Clone, Copy)]
struct Solution {
    estimate: ClockEstimate,
    /// When, s since the window's origin, and the heights there that a new bound has to be below to
    /// change it.
    now: f64,
    limits: [f64; 2],
}

impl Default for Track {
    fn default() -> Self {
        Self::new()
    }
}

impl Track {
    /// An estimator that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            window: Window::new(),
            fitter: Fitter::new(),
            prior: Rate::UNKNOWN,
            rate: Rate::UNKNOWN,
            unfitted: 0,
            contradictions: 0,
            solution: None,
        }
    }

    /// Whether the last few exchanges all say that the estimate is impossible.
    fn is_contradicted(&mut self, exchange: &Exchange) -> bool {
        let Some(Solution { estimate, .. }) = &self.solution else { return false };
        let offset = Offset::between(estimate.rig_at(exchange.t4), exchange.t4);
        let margin = CONTRADICTION.max(estimate.uncertainty_at(exchange.t4) * 6);
        let above = offset.as_span() - exchange.upper().as_span() > margin;
        let below = exchange.lower().as_span() - offset.as_span() > margin;
        self.contradictions = if above || below { self.contradictions + 1 } else { 0 };
        self.contradictions >= CONTRADICTIONS
    }

    /// Forgets all but the newest `keep` bins; the rate may have changed by `doubt` ns/s, 1 sigma.
    fn forget(&mut self, keep: usize, doubt: f64) {
        self.window.keep_newest(keep);
        self.prior = Rate { mean: self.rate.mean, sigma: self.rate.sigma.hypot(doubt) };
        self.rate = self.prior;
        self.fit();
        self.contradictions = 0;
    }

    fn fit(&mut self) {
        if !self.window.bins().is_empty() {
            self.rate = self.fitter.fit(&self.window, self.prior, self.rate);
        }
        self.unfitted = 0;
    }

    /// How many of the newest bins undercut one direction's floor while the other direction stays
    /// above its own by as much: the offset has changed. (A path that became shorter does only the former.)
    fn undercut(&self, lowest: &[Lowest; 2], clefts: [Option<Cleft>; 2], now: f64) -> Option<usize> {
        let bins = self.window.bins();
        (0..2).find_map(|direction| {
            let Cleft { below, width } = clefts[direction]?;
            let older = bins.len().checked_sub(below).filter(|older| below.min(*older) >= UNDERCUTS)?;
            let newest = lowest[direction].first_of(below) >= self.window.seconds(bins[older].begin());
            let other = 1 - direction;
            let best = bins.range(older..).map(|bin| bin.bounds[other].carried(other, self.rate.mean, now));
            let rise = best.fold(f64::INFINITY, f64::min) - lowest[other].height();
            (newest && rise > width / 2.0 && rise < width * 2.0).then_some(below)
        })
    }

    /// Makes the estimate for the instant `at` from the window.
    fn solve(&mut self, at: Timestamp<Local>) -> ClockEstimate {
        let now = self.window.seconds(at);
        let lowest = [0, 1].map(|direction| Lowest::of(&self.window, direction, self.rate, now));
        let clefts = lowest.each_ref().map(Lowest::cleft);
        if let Some(newest) = self.undercut(&lowest, clefts, now) {
            tracing::debug!(newest, "the offset has stepped");
            self.forget(newest, OTHER_CLOCKS);
            return self.solve(at);
        }
        let (middle, sigma) = middle(&lowest, clefts);
        let delay = (lowest[0].height() + lowest[1].height()).max(0.0);
        let moods = (1.0 + self.window.age(at).as_secs_f64() / MOOD).min(number(self.window.bins().len()));
        let unseen = delay * (UNSEEN / moods.powf(1.5)).hypot(UNEVEN);
        let estimate = ClockEstimate {
            at,
            offset: self.window.offset(middle),
            skew: Skew::from_ratio(self.rate.mean * 1e-9),
            uncertainty: Span::from_nanos_f64(sigma.hypot(unseen).hypot(NOISE)),
            skew_uncertainty: Skew::from_ratio(self.rate.sigma * 1e-9),
            least_delay: Span::from_nanos_f64(delay),
        };
        self.solution = Some(Solution { estimate, now, limits: lowest.each_ref().map(Lowest::limit) });
        estimate
    }
}

/// The middle between the floors, and its standard deviation, in ns.
fn middle(lowest: &[Lowest; 2], clefts: [Option<Cleft>; 2]) -> (f64, f64) {
    let between = |up: Floor, down: Floor| {
        let sigma = (up.scatter.hypot(down.scatter) / 2.0).hypot(up.astray.max(down.astray)).hypot(NOISE);
        ((up.height - down.height) / 2.0, sigma)
    };
    let [up, down] = lowest;
    if let [Some(above), Some(below)] = clefts
        && above.width < 2.0 * below.width
        && below.width < 2.0 * above.width
    {
        let (ordinary, ordinary_sigma) = between(up.ordinary(above.below), down.ordinary(below.below));
        let (lucky, lucky_sigma) = between(up.lucky(above), down.lucky(below));
        let weights = (ordinary_sigma.powi(-2), lucky_sigma.powi(-2));
        let sum = weights.0 + weights.1;
        // They differ by the asymmetries of their delays, and neither is known to be right.
        let disagreement = (ordinary - lucky) / 2.0;
        return ((ordinary * weights.0 + lucky * weights.1) / sum, sum.sqrt().recip().hypot(disagreement));
    }
    let alone = |cleft: Option<Cleft>, other: &Lowest| {
        cleft.filter(|cleft| cleft.below <= ALONE && other.drop() < cleft.width / 2.0)
    };
    let skipped = |cleft: Option<Cleft>| cleft.map_or(0, |cleft| cleft.below);
    between(up.ordinary(skipped(alone(clefts[0], down))), down.ordinary(skipped(alone(clefts[1], up))))
}

impl Estimator for Track {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        if !exchange.is_plausible() {
            return self.solution.map(|solution| solution.estimate);
        }
        if self.is_contradicted(exchange) {
            tracing::debug!("the offset has stepped");
            self.forget(0, OTHER_CLOCKS);
        } else if self.window.is_past(exchange.t4) {
            self.forget(0, LATER);
        }
        let bounds = self.window.bounds(exchange);
        let inserted = self.window.insert(exchange.t4, bounds, self.rate.mean);
        self.unfitted += usize::from(inserted == Inserted::Began);
        // The rate: whenever the window has grown by a sixteenth.
        if self.unfitted * 16 >= self.window.bins().len() {
            self.fit();
        }
        if let Some(solution) = self.solution
            && inserted == Inserted::Joined
        {
            let lowered = (0..2).any(|direction| {
                bounds[direction].carried(direction, self.rate.mean, solution.now)
                    < solution.limits[direction]
            });
            if !lowered {
                return Some(solution.estimate);
            }
        }
        Some(self.solve(exchange.t4))
    }

    fn reset(&mut self) {
        self.window.clear();
        self.prior = Rate::UNKNOWN;
        self.rate = Rate::UNKNOWN;
        self.unfitted = 0;
        self.contradictions = 0;
        self.solution = None;
    }
}

#[cfg(test)]
mod levels;
#[cfg(test)]
mod tests;
