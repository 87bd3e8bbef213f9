//! Offset and skew from the least delays of both directions.
//!
//! # Model
//!
//! With the offset θ(t), each exchange bounds it twice: f = T2 − T1 = θ(t) + d↑ from above and
//! g = T3 − T4 = θ(t) − d↓ from below. Delays are a floor plus an excess whose distribution has a long
//! tail, a body, and (on WiFi) a few quiet moments far below the body. So two questions are asked
//! of the last minute, by two statistics:
//!
//! *Skew.* Eight exchanges make a bin; the least f and the greatest g of a bin lie near the lower
//! edge of the body, for every bin alike. The slope of their lower quintile over time, of both
//! directions together, is the skew s (quantile regression): the tail above hardly weighs, and a rare
//! quiet moment below cannot tilt it. With an asymmetric Laplace likelihood of unknown scale in
//! each direction and a wide normal prior,
//!
//! ```text
//! ln L(s) = −n ln Σρ(f − s·t − p) − n ln Σρ(s·t − g − q) − s²/2σ²,
//!     ρ(x) = x/5 above zero and −4x/5 below, p and q the lower quintiles
//! ```
//!
//! *Offset.* Carried to now by s, the least f and the greatest g of all bins enclose the offset. Age
//! raises a bound by twice what the skew's uncertainty and the crystal's wander may have carried it
//! astray, so that an old one counts only where it is clearly lower. The estimate is the middle of
//! the two. Its uncertainty joins how far the middle moves when the best bounds are left out (a
//! jackknife: one lucky exchange among many says little of the floor) and the age of those used.
//!
//! Assumed: a linear offset over a minute (a crystal that walks 0.02 ppm/√s bends it by a few us).
//! A step, or a path that became shorter, contradicts the estimate and starts the window anew. Not
//! seen by any two-way exchange: half the difference of the floors.

use std::collections::VecDeque;

use super::{Estimator, Exchange};
use crate::clock::{ClockEstimate, WANDER};
use crate::time::{Local, Offset, Skew, Span, Timestamp};

/// Length of the window. Long enough to learn a skew to a fraction of a ppm over WiFi, short against
/// the wander of a crystal.
const WINDOW: Span = Span::from_secs(60);
/// Exchanges in a bin.
const BIN_EXCHANGES: u32 = 8;
/// Longest bin: at slow polls eight exchanges would take too long.
const BIN_TIME: Span = Span::from_secs(2);
/// Width of the prior of the skew, in ns/s: crystals of up to 400 ppm are within four sigma.
const PRIOR: f64 = 100e3;
/// Residuals below this are as good as none, in ns: the timestamps' own noise.
const NOISE: f64 = 100.0;
/// Quantile of the bins' least delays that the skew is fitted to: the lower edge of the body, above the
/// quiet moments.
const QUANTILE: f64 = 0.2;
/// Sigmas of possible error by which age raises a bound.
const INFLATION: f64 = 2.0;
/// Bounds of each direction that are compared to tell how well its floor is known.
const DEPTH: usize = 4;
/// The bound that stands for the typical low ones: so many lucky moments may lie below it.
const TYPICAL: usize = 3;
/// A lucky moment of one direction alone counts up to this part of the least round trip.
const SLACK: f64 = 40.0;
/// Exchanges in a row that contradict the estimate before it is given up.
const CONTRADICTIONS: u32 = 4;
/// The least by which an exchange has to contradict the estimate to count.
const CONTRADICTION: Span = Span::from_micros(500);

/// Some successive exchanges: t in s since the origin, f and g in ns relative to the reference.
#[derive(Debug, Clone, Copy)]
struct Bin {
    begin: Timestamp<Local>,
    count: u32,
    /// Times and values of the least f and the greatest g.
    upper: (f64, f64),
    lower: (f64, f64),
}

/// Offset and skew from the least delays of both directions. See the module's documentation.
#[derive(Debug, Default)]
pub struct Track {
    /// Where t = 0 and what offset is zero, so that floats stay small.
    origin: Option<(Timestamp<Local>, Offset)>,
    bins: VecDeque<Bin>,
    /// Skew and its standard deviation, in ns/s.
    skew: Option<(f64, f64)>,
    last: Option<ClockEstimate>,
    contradictions: u32,
}

impl Track {
    /// An estimator that has heard nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the last few exchanges all say that the estimate is impossible.
    fn is_contradicted(&mut self, exchange: &Exchange) -> bool {
        let Some(last) = &self.last else { return false };
        let offset = Offset::between(last.rig_at(exchange.t4), exchange.t4);
        let margin = CONTRADICTION.max(last.uncertainty_at(exchange.t4) * 6);
        let above = offset.as_span() - exchange.upper().as_span() > margin;
        let below = exchange.lower().as_span() - offset.as_span() > margin;
        self.contradictions = if above || below { self.contradictions + 1 } else { 0 };
        self.contradictions >= CONTRADICTIONS
    }

    /// Puts an exchange into its bin; `true` where that is a new one.
    fn insert(&mut self, exchange: &Exchange) -> bool {
        let (start, reference) = *self.origin.get_or_insert((exchange.t4, exchange.offset()));
        let relative = |offset: Offset| (offset.as_span() - reference.as_span()).as_nanos_f64();
        let middle = exchange.t1 + (exchange.t4 - exchange.t1) / 2;
        let t = (middle - start).as_secs_f64();
        let (f, g) = (relative(exchange.upper()), relative(exchange.lower()));
        let skew = self.skew.map_or(0.0, |(skew, _)| skew);
        while self.bins.front().is_some_and(|bin| bin.begin < exchange.t4 - WINDOW) {
            self.bins.pop_front();
        }
        match self.bins.back_mut() {
            Some(bin) if bin.count < BIN_EXCHANGES && exchange.t4 - bin.begin < BIN_TIME => {
                bin.count += 1;
                if f - skew * t < bin.upper.1 - skew * bin.upper.0 {
                    bin.upper = (t, f);
                }
                if g - skew * t > bin.lower.1 - skew * bin.lower.0 {
                    bin.lower = (t, g);
                }
                false
            }
            _ => {
                let begin = exchange.t4;
                self.bins.push_back(Bin { begin, count: 1, upper: (t, f), lower: (t, g) });
                true
            }
        }
    }

    /// The offset now, given the skew.
    fn solve(&mut self, now: Timestamp<Local>) -> Option<ClockEstimate> {
        let (start, reference) = self.origin?;
        let (skew, skew_sigma) = self.skew?;
        let now_s = (now - start).as_secs_f64();
        let carried =
            |(t, v): (f64, f64), sign: f64| Bound::carried(t, sign * v, now_s, sign * skew, skew_sigma);
        let upper = Lowest::of(self.bins.iter().map(|bin| carried(bin.upper, 1.0)));
        let lower = Lowest::of(self.bins.iter().map(|bin| carried(bin.lower, -1.0)));
        // A lucky moment that only one direction had says as much of the other one's floor as of
        // its own: what one stands out beyond the other, and a little, does not count.
        let slack = (upper.height(0) + lower.height(0)).abs() / SLACK;
        let common = upper.drop().min(lower.drop()) + slack;
        let middle_at = |k: usize| {
            let floor = |lowest: &Lowest| lowest.height(k).max(lowest.height(TYPICAL) - common);
            (floor(&upper) - floor(&lower)) / 2.0
        };
        let middle = middle_at(0);
        // How far the middle would move without the best exchanges: how well the floors are known.
        let moved: f64 = (1..DEPTH).map(|k| (middle_at(k) - middle).powi(2)).sum();
        let scatter = (moved / count(DEPTH - 1)).sqrt();
        let astray = upper.bounds[0].astray.max(lower.bounds[0].astray);
        let sigma = scatter.hypot(astray).max(NOISE);
        Some(ClockEstimate {
            at: now,
            offset: Offset::from_span(reference.as_span() + Span::from_nanos_f64(middle)),
            skew: Skew::from_ratio(skew * 1e-9),
            uncertainty: Span::from_nanos_f64(sigma),
            skew_uncertainty: Skew::from_ratio(skew_sigma * 1e-9),
            least_delay: Span::from_nanos_f64(upper.height(0) + lower.height(0)).max(Span::ZERO),
        })
    }
}

impl Estimator for Track {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        if exchange.is_plausible() {
            if self.is_contradicted(exchange) {
                self.reset();
            }
            if self.insert(exchange) || self.skew.is_none() {
                self.skew = Some(fit_skew(&self.bins, self.skew));
            }
            self.last = self.solve(exchange.t4);
        }
        self.last
    }

    fn reset(&mut self) {
        *self = Self::new();
    }
}

/// One end of a bin's interval, carried to now: a bound from below of its direction's envelope.
#[derive(Debug, Clone, Copy)]
struct Bound {
    /// In ns; for the response's direction negated, so that lower is better in both.
    height: f64,
    /// How far age may have carried it astray, 1 sigma, in ns.
    astray: f64,
}

impl Bound {
    fn carried(t: f64, height: f64, now: f64, skew: f64, skew_sigma: f64) -> Self {
        let age = now - t;
        let wander = WANDER.as_ratio() * 1e9 * age * age.abs().sqrt();
        Self { height: height + skew * age, astray: (skew_sigma * age).hypot(wander) }
    }

    /// The height, with what age may have hidden: an old bound has to be clearly lower to count.
    fn inflated(&self) -> f64 {
        self.height + INFLATION * self.astray
    }
}

/// The lowest few bounds, lowest first.
struct Lowest {
    bounds: Vec<Bound>,
}

impl Lowest {
    /// Of `bounds`, at least one.
    fn of(bounds: impl Iterator<Item = Bound>) -> Self {
        let mut bounds: Vec<Bound> = bounds.collect();
        let by_height = |a: &Bound, b: &Bound| a.inflated().total_cmp(&b.inflated());
        if bounds.len() > DEPTH {
            bounds.select_nth_unstable_by(DEPTH - 1, by_height);
            bounds.truncate(DEPTH);
        }
        bounds.sort_unstable_by(by_height);
        Self { bounds }
    }

    /// How far the lowest bound stands out below the typical low ones.
    fn drop(&self) -> f64 {
        self.height(TYPICAL) - self.height(0)
    }

    /// Height of the `k`-th lowest bound; of the last one where there are fewer.
    fn height(&self, k: usize) -> f64 {
        self.bounds[k.min(self.bounds.len() - 1)].height
    }
}

/// Skew and its standard deviation in ns/s, by quantile regression of both directions.
fn fit_skew(bins: &VecDeque<Bin>, before: Option<(f64, f64)>) -> (f64, f64) {
    let directions = [
        bins.iter().map(|bin| bin.upper).collect::<Vec<_>>(),
        bins.iter().map(|bin| (-bin.lower.0, -bin.lower.1)).collect::<Vec<_>>(),
    ];
    let mut scratch = Vec::with_capacity(bins.len());
    let mut cost = |s: f64| {
        let misfits = directions.iter().map(|points| misfit(points, s, &mut scratch).ln());
        count(bins.len()) * misfits.sum::<f64>() + (s / PRIOR).powi(2) / 2.0
    };
    // The likelihood has one peak: golden section, around the last one where there is one.
    let reach = before.map_or(5.0 * PRIOR, |(_, sigma)| (8.0 * sigma).clamp(1e3, 5.0 * PRIOR));
    let around = before.map_or(0.0, |(skew, _)| skew);
    let (mut low, mut high) = (around - reach, around + reach);
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut a, mut b) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut cost_a, mut cost_b) = (cost(a), cost(b));
    while high - low > 1.0 {
        if cost_a < cost_b {
            (high, b, cost_b) = (b, a, cost_a);
            a = high - ratio * (high - low);
            cost_a = cost(a);
        } else {
            (low, a, cost_a) = (a, b, cost_b);
            b = low + ratio * (high - low);
            cost_b = cost(b);
        }
    }
    let skew = f64::midpoint(low, high);
    (skew, skew_sigma(&directions, skew, &mut scratch))
}

/// Standard deviation of the slope: as if of Laplace noise with each direction's mean loss as its scale,
/// both directions and the prior joined.
fn skew_sigma(directions: &[Vec<(f64, f64)>; 2], skew: f64, scratch: &mut Vec<f64>) -> f64 {
    let n = count(directions[0].len());
    let mean = directions[0].iter().map(|point| point.0).sum::<f64>() / n;
    let spread: f64 = directions[0].iter().map(|point| (point.0 - mean).powi(2)).sum();
    let information: f64 =
        directions.iter().map(|points| spread / (misfit(points, skew, scratch) / n).powi(2)).sum();
    (information + PRIOR.powi(-2)).sqrt().recip()
}

/// Sum of the quantile losses of `points` from a line of slope `s` through their lower quantile.
fn misfit(points: &[(f64, f64)], s: f64, scratch: &mut Vec<f64>) -> f64 {
    scratch.clear();
    scratch.extend(points.iter().map(|(t, v)| v - s * t));
    let at = scratch.len() / 5;
    let (_, quantile, _) = scratch.select_nth_unstable_by(at, f64::total_cmp);
    let quantile = *quantile;
    let loss = |v: &f64| {
        let above = v - quantile;
        if above >= 0.0 { QUANTILE * above } else { (QUANTILE - 1.0) * above }
    };
    scratch.iter().map(loss).sum::<f64>() + NOISE * count(scratch.len())
}

#[expect(clippy::cast_precision_loss, reason = "a window holds some thousands of bins")]
fn count(bins: usize) -> f64 {
    bins as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::testing::{Link, at_ms};

    /// Errors at each exchange after the `skip`-th.
    fn errors(link: &mut Link, spacing_ms: i64, count: i64, skip: i64) -> Vec<(Span, Span)> {
        let mut track = Track::new();
        let mut errors = Vec::new();
        for i in 0..count {
            let exchange = link.exchange(at_ms(i * spacing_ms));
            let estimate = track.handle_exchange(&exchange).unwrap();
            if i >= skip {
                errors.push((estimate.rig_at(exchange.t4) - link.truth(exchange.t4), estimate.uncertainty));
            }
        }
        errors
    }

    fn worst(errors: &[(Span, Span)]) -> Span {
        errors.iter().map(|(error, _)| error.abs()).max().unwrap()
    }

    #[test]
    fn three_hundred_exchanges_suffice() {
        for seed in 0..10 {
            let mut link = Link::new(seed);
            link.ppm = 40.0;
            let errors = errors(&mut link, 4, 320, 300);
            assert!(worst(&errors) < Span::from_micros(120), "{seed}: {:?}", worst(&errors));
        }
    }

    #[test]
    fn it_follows_a_bad_crystal_for_minutes() {
        for ppm in [-400.0, 40.0, 400.0] {
            let mut link = Link::new(11);
            link.ppm = ppm;
            let errors = errors(&mut link, 125, 1500, 400);
            assert!(worst(&errors) < Span::from_micros(60), "{ppm}: {:?}", worst(&errors));
        }
    }

    #[test]
    fn most_errors_are_within_twice_the_uncertainty() {
        let (mut within, mut all) = (0_usize, 0_usize);
        for seed in 0..20 {
            let mut link = Link::new(seed + 100);
            link.ppm = 15.0;
            let errors = errors(&mut link, 50, 600, 20);
            within += errors.iter().filter(|(e, u)| e.abs() <= *u * 2).count();
            all += errors.len();
        }
        assert!(within * 100 > all * 80, "{within} of {all}");
    }

    #[test]
    fn a_step_is_noticed() {
        let mut link = Link::new(9);
        let mut track = Track::new();
        for i in 0..200 {
            track.handle_exchange(&link.exchange(at_ms(i * 20)));
        }
        link.offset += Span::from_millis(40);
        let mut estimate = None;
        for i in 200..400 {
            estimate = track.handle_exchange(&link.exchange(at_ms(i * 20)));
        }
        let error = estimate.unwrap().rig_at(at_ms(8000)) - link.truth(at_ms(8000));
        assert!(error.abs() < Span::from_micros(150), "{error:?}");
    }
}
