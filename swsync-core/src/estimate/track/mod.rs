//! Offset and skew from the least delays of both directions, and from all of them where the least are not sharp.
//!
//! Each exchange bounds the offset from both sides. The [`window`] keeps the best bounds of short spans of the last minute.
//! [`skew`] fits the rate to the lower quintile of the bounds, and [`floor`] finds the least delay of each direction. One
//! estimate of the offset is the middle between the two floors. The other one is the [`centre`] of all exchanges, which
//! [`samples`] keeps. What each of them counts depends on their deviations and on the [`shape`] of the delays.
//!
//! The model assumes that the offset is linear over a minute. Exchanges that contradict the estimate mean a step or a new
//! path, and the window begins anew. docs/time.md ("track") derives the model, the uncertainty and the limits, and measures
//! them.

mod centre;
mod floor;
mod samples;
mod shape;
mod skew;
mod window;

use centre::{Centre, CentreFitter};
use floor::{Floor, Lowest, QuietGap};
use samples::Samples;
use shape::{Shape, ShapeFinder};
use skew::{Fitter, Rate};
use window::{Inserted, Window};

use super::estimator::{ClockEstimate, Estimator, number};
use super::exchange::Exchange;
use crate::time::{Local, Offset, Skew, Span, Timestamp};

/// Noise of the timestamps themselves, in ns.
const NOISE: f64 = 100.0;
/// The estimate is given up after this many exchanges in a row that contradict it.
const CONTRADICTIONS: u32 = 4;
/// A smaller contradiction does not count.
const CONTRADICTION: Span = Span::from_micros(500);
/// Up to this many quiet moments of one direction alone are left out.
const ONE_SIDED: usize = 5;
/// Older bins are discarded after this many newer bins in a row undercut their floor.
const UNDERCUTS: usize = 6;
/// Congestion is correlated over about this many seconds.
const CONGESTION_TIME: f64 = 0.5;
/// Part of the least delay that may be standing congestion after one [`CONGESTION_TIME`].
const UNSEEN: f64 = 1.0 / 8.0;
/// The rate may have changed by this after a silence, for instance with the temperature; in ns/s, 1 sigma.
const LATER: f64 = 1e3;
/// Difference of the two directions' floors in ordinary networks, as a part of the least round trip, 1 sigma.
const UNEVEN: f64 = 1.0 / 70.0;
/// The rate may have changed by this after a step, because the leader may have another crystal; in ns/s, 1 sigma.
const OTHER_CLOCKS: f64 = 100e3;
/// Skewed delays may have equal centres if their floors then differ by less than this part.
const UNEVEN_FLOORS: f64 = 0.4;
/// The stated deviation follows what the bounds say by these parts, in the logarithm: the spacing of a few bounds varies.
const RISE: f64 = 0.4;
const FALL: f64 = 0.2;
/// Floors and centre count as one if they differ by no more than about so many deviations.
const ALIKE: f64 = 2.0;

/// Offset and skew from the floors and the centre of the delays. See the module's documentation.
#[derive(Debug)]
pub struct TrackEstimator {
    window: Window,
    samples: Samples,
    fitter: Fitter,
    centre_fitter: CentreFitter,
    shape_finder: ShapeFinder,
    centre: Option<Centre>,
    shape: Shape,
    /// New slots since the centre was fitted.
    uncentred: usize,
    /// The rate as known from before the window, and when it was, in s since the window's origin.
    prior: Rate,
    prior_at: f64,
    /// The rate of the floors alone, and what is used: with the centre's.
    floor_rate: Rate,
    rate: Rate,
    /// New bins since the rate was fitted.
    unfitted: usize,
    contradictions: u32,
    /// The deviation as it was last stated.
    smoothed: Option<f64>,
    solution: Option<Solution>,
}

/// The newest estimate, and when it has to be made anew.
#[derive(Debug, Clone, Copy)]
struct Solution {
    estimate: ClockEstimate,
    /// When it was made, in s since the window's origin. Only a bound below `limits` at that time changes it.
    now: f64,
    limits: [f64; 2],
}

impl Default for TrackEstimator {
    fn default() -> Self {
        Self::new()
    }
}

impl TrackEstimator {
    /// An estimator without exchanges.
    #[must_use]
    pub fn new() -> Self {
        Self {
            window: Window::new(),
            samples: Samples::new(),
            fitter: Fitter::new(),
            centre_fitter: CentreFitter::new(),
            shape_finder: ShapeFinder::new(),
            centre: None,
            shape: Shape::UNKNOWN,
            uncentred: 0,
            prior: Rate::UNKNOWN,
            prior_at: 0.0,
            floor_rate: Rate::UNKNOWN,
            rate: Rate::UNKNOWN,
            unfitted: 0,
            contradictions: 0,
            smoothed: None,
            solution: None,
        }
    }

    /// Discards all exchanges; of the rate it is known what `prior` says.
    fn begin_anew(&mut self, prior: Rate) {
        self.window.clear();
        self.samples.clear();
        self.centre = None;
        self.shape = Shape::UNKNOWN;
        self.uncentred = 0;
        (self.prior, self.prior_at) = (prior, 0.0);
        self.floor_rate = prior;
        self.rate = prior;
        self.unfitted = 0;
        self.contradictions = 0;
        self.smoothed = None;
        self.solution = None;
    }

    /// Whether the last few exchanges all contradict the estimate.
    fn is_contradicted(&mut self, exchange: &Exchange) -> bool {
        let Some(Solution { estimate, .. }) = &self.solution else { return false };
        let offset = Offset::between(estimate.rig_at(exchange.t4), exchange.t4);
        let margin = CONTRADICTION.max(estimate.uncertainty_at(exchange.t4) * 6);
        let above = offset.as_span() - exchange.upper().as_span() > margin;
        let below = exchange.lower().as_span() - offset.as_span() > margin;
        self.contradictions = if above || below { self.contradictions + 1 } else { 0 };
        self.contradictions >= CONTRADICTIONS
    }

    /// Discards all but the newest `keep` bins; the rate may have changed by `doubt` ns/s, 1 sigma.
    fn forget(&mut self, keep: usize, doubt: f64) {
        let newest = self.newest();
        self.window.keep_newest(keep);
        let oldest = self.window.bins().front().map_or(f64::INFINITY, |bin| self.window.seconds(bin.begin()));
        self.samples.forget_before(oldest);
        self.centre = None;
        self.shape = Shape::UNKNOWN;
        self.uncentred = self.samples.slots().len();
        self.prior_at = newest;
        self.prior = Rate { mean: self.rate.mean, sigma: self.rate.sigma.hypot(doubt) };
        self.floor_rate = self.prior;
        self.rate = self.prior;
        self.fit();
        self.contradictions = 0;
        self.smoothed = None;
    }

    /// When the newest bin began, in s since the window's origin.
    fn newest(&self) -> f64 {
        self.window.bins().back().map_or(self.prior_at, |bin| self.window.seconds(bin.begin()))
    }

    fn fit(&mut self) {
        if !self.window.bins().is_empty() {
            let prior = self.prior.aged(self.newest() - self.prior_at);
            self.floor_rate = self.fitter.fit(&self.window, prior, self.floor_rate);
            self.rate = self.combined_rate();
        }
        self.unfitted = 0;
    }

    /// How many of the newest bins undercut one direction's floor while the other direction stays above its own by as much:
    /// the offset has stepped. (A path that became shorter undercuts only.)
    fn undercut(&self, lowest: &[Lowest; 2], gaps: [Option<QuietGap>; 2], now: f64) -> Option<usize> {
        let bins = self.window.bins();
        (0..2).find_map(|direction| {
            let QuietGap { below, width } = gaps[direction]?;
            let older = bins.len().checked_sub(below).filter(|older| below.min(*older) >= UNDERCUTS)?;
            let newest = lowest[direction].first_of(below) >= self.window.seconds(bins[older].begin());
            let other = 1 - direction;
            let best = bins.range(older..).map(|bin| bin.bounds[other].projected(other, self.rate.mean, now));
            let rise = best.fold(f64::INFINITY, f64::min) - lowest[other].height();
            (newest && rise > width / 2.0 && rise < width * 2.0).then_some(below)
        })
    }

    /// Fits the centre at `now`, in s since the window's origin.
    fn fit_centre(&mut self, now: f64) {
        let prior = self.prior.aged(now - self.prior_at);
        self.centre = self.centre_fitter.fit(&self.samples, prior, self.rate, now);
        self.rate = self.combined_rate();
        self.shape = self.centre.map_or(Shape::UNKNOWN, |centre| {
            self.shape_finder.find(&self.samples, self.rate.mean, centre.correlation)
        });
        self.uncentred = 0;
    }

    fn combined_rate(&self) -> Rate {
        self.centre.map_or(self.floor_rate, |centre| combine_rates(self.floor_rate, centre.rate))
    }

    /// The offset and its deviation at `now`, from the middle of the floors and the centre.
    fn combined(&self, floors: (f64, f64), lowest: &[Lowest; 2], now: f64) -> (f64, f64) {
        let Some(centre) = self.centre else { return floors };
        let age = now - centre.at;
        let height = centre.height + centre.rate.mean * age;
        // The centre cannot lie beyond what the fastest packets allow.
        let height = height.max(-lowest[1].bound()).min(lowest[0].bound());
        let sigma = centre.sigma.hypot(centre.rate.sigma * age);
        let (v_floor, v_centre) = (floors.1.powi(2), sigma.powi(2));
        let apart = height - floors.0;
        let unlike = apart * apart / (v_floor + v_centre) + self.shape.unlike;
        let alike = (-unlike / (2.0 * ALIKE * ALIKE)).exp();
        let loose = v_floor + self.shape.loose.powi(2);
        let share = loose / (loose + v_centre);
        // Equal centres make the floors unequal, by twice this part of their mean.
        let uneven = apart.abs() / ((lowest[0].height() + lowest[1].height()) / 2.0).max(NOISE);
        let plausible = (1.0 + ((uneven - UNEVEN_FLOORS) * 25.0).exp()).recip();
        // A centre that is known worse than it differs from the floors says nothing.
        let known = apart * apart / (apart * apart + v_centre);
        let probable = self.shape.symmetric + self.shape.skewed * plausible;
        // What is more probable counts more than in proportion: the mean error is least if only that counts.
        let centred = known * probable.powi(2) / (probable.powi(2) + (1.0 - probable).powi(2));
        let weight = alike * share + (1.0 - alike) * centred;
        let variance = alike * (share * share * v_centre + (1.0 - share).powi(2) * v_floor)
            + (1.0 - alike) * (centred * v_centre.min(apart * apart) + (1.0 - centred) * v_floor);
        let doubt = (1.0 - alike) * self.shape.floorless * apart * apart / 4.0;
        (floors.0 + weight * apart, (variance + doubt).sqrt())
    }

    /// The estimate for the instant `at`, from the window.
    fn solve(&mut self, at: Timestamp<Local>) -> ClockEstimate {
        let now = self.window.seconds(at);
        let lowest = [0, 1].map(|direction| Lowest::of(&self.window, direction, self.rate, now));
        let gaps = lowest.each_ref().map(Lowest::quiet_gap);
        if let Some(newest) = self.undercut(&lowest, gaps, now) {
            crate::log::debug!(newest, "the offset has stepped");
            self.forget(newest, OTHER_CLOCKS);
            return self.solve(at);
        }
        let (middle, sigma) = self.combined(middle(&lowest, gaps), &lowest, now);
        let sigma = self.smoothed.map_or(sigma, |before| {
            let change = sigma / before;
            before * change.powf(if change > 1.0 { RISE } else { FALL })
        });
        self.smoothed = Some(sigma);
        let delay = (lowest[0].height() + lowest[1].height()).max(0.0);
        let periods =
            (1.0 + self.window.age(at).as_secs_f64() / CONGESTION_TIME).min(number(self.window.bins().len()));
        let unseen = delay * (UNSEEN / periods.powf(1.5)).hypot(UNEVEN);
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

/// Two estimates of the rate by precision, if they agree; else the floors' one.
fn combine_rates(floors: Rate, centre: Rate) -> Rate {
    let (v_floor, v_centre) = (floors.sigma.powi(2), centre.sigma.powi(2));
    let apart = centre.mean - floors.mean;
    let alike = (-(apart * apart) / (2.0 * ALIKE * ALIKE * (v_floor + v_centre))).exp();
    let weight = alike * v_floor / (v_floor + v_centre);
    let variance = alike * v_floor * v_centre / (v_floor + v_centre) + (1.0 - alike) * v_floor;
    Rate { mean: floors.mean + weight * apart, sigma: variance.sqrt() }
}

/// The middle between the floors, and its standard deviation, in ns. docs/time.md, "Offset", tells the cases.
fn middle(lowest: &[Lowest; 2], gaps: [Option<QuietGap>; 2]) -> (f64, f64) {
    let between = |up: Floor, down: Floor| {
        let sigma = (up.scatter.hypot(down.scatter) / 2.0).hypot(up.drift.max(down.drift)).hypot(NOISE);
        ((up.height - down.height) / 2.0, sigma)
    };
    let [up, down] = lowest;
    if let [Some(above), Some(below)] = gaps
        && above.width < 2.0 * below.width
        && below.width < 2.0 * above.width
    {
        let (ordinary, ordinary_sigma) = between(up.ordinary(above.below), down.ordinary(below.below));
        let (quiet, quiet_sigma) = between(up.quiet(above), down.quiet(below));
        let weights = (ordinary_sigma.powi(-2), quiet_sigma.powi(-2));
        let sum = weights.0 + weights.1;
        // Quiet and ordinary floors differ by the asymmetries of their delays, and neither is known to be right.
        let disagreement = (ordinary - quiet) / 2.0;
        return ((ordinary * weights.0 + quiet * weights.1) / sum, sum.sqrt().recip().hypot(disagreement));
    }
    let alone = |quiet_gap: Option<QuietGap>, other: &Lowest| {
        quiet_gap.filter(|quiet_gap| quiet_gap.below <= ONE_SIDED && other.drop() < quiet_gap.width / 2.0)
    };
    let skipped = |quiet_gap: Option<QuietGap>| quiet_gap.map_or(0, |quiet_gap| quiet_gap.below);
    between(up.ordinary(skipped(alone(gaps[0], down))), down.ordinary(skipped(alone(gaps[1], up))))
}

impl Estimator for TrackEstimator {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        if !exchange.is_plausible() {
            return self.solution.map(|solution| solution.estimate);
        }
        if self.is_contradicted(exchange) {
            crate::log::debug!("the offset has stepped");
            self.forget(0, OTHER_CLOCKS);
        } else if self.contradictions > 0 {
            // Either this exchange is wrong or all that came before: it must not be joined with them.
            return self.solution.map(|solution| solution.estimate);
        } else if self.window.is_past(exchange.t4) {
            self.forget(0, LATER);
        }
        let bounds = self.window.bounds(exchange);
        let inserted = self.window.insert(exchange.t4, bounds, self.rate.mean);
        self.uncentred += usize::from(self.samples.insert(bounds));
        self.unfitted += usize::from(inserted == Inserted::Began);
        // Fit the rate whenever the window has grown by a sixteenth.
        if self.unfitted * 16 >= self.window.bins().len() {
            self.fit();
        }
        let recentred = self.uncentred * 16 >= self.samples.slots().len();
        if recentred {
            self.fit_centre(self.window.seconds(exchange.t4));
        }
        if let Some(solution) = self.solution
            && inserted == Inserted::Joined
            && !recentred
        {
            let lowered = (0..2).any(|direction| {
                bounds[direction].projected(direction, self.rate.mean, solution.now)
                    < solution.limits[direction]
            });
            if !lowered {
                return Some(solution.estimate);
            }
        }
        Some(self.solve(exchange.t4))
    }

    fn reset(&mut self) {
        self.begin_anew(Rate::UNKNOWN);
    }

    fn reset_keeping_rate(&mut self, doubt: Skew) {
        let Rate { mean, sigma } = self.rate;
        self.begin_anew(Rate { mean, sigma: sigma.hypot(doubt.as_ratio() * 1e9) });
    }
}

#[cfg(test)]
mod link_levels;
#[cfg(test)]
mod tests;
