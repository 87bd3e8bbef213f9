//! One-way delays of the network between a leader and one client, in both directions, with loss.
//!
//! [`LinkModel`] has the models and their sources; a [`Link`] draws delays from one. Each direction has its own generator, so the
//! directions do not influence each other, and the same sends give the same delays. Packets may overtake each other, as on the
//! air; the caller delivers them in order of arrival.

mod air;
mod floors;
mod model;
mod shapes;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, Gamma, StandardNormal};
use swsync_core::time::{Host, Span, Timestamp};

pub use air::{Air, AirModel};
pub use floors::Floors;
pub use model::{BurstPattern, Bursts, DirectionModel, Law, LinkModel, Quiet, Spikes, UnknownLink};

use crate::noise::{generator, hash, uniform};

/// No packet arrives sooner than this, whatever the law.
const LEAST: Span = Span::from_micros(1);
/// Series of hashed numbers that determines the quiet moments.
const QUIET: u64 = 10;
/// Series of hashed numbers that determines which cells have bursts; the next two determine start and length.
const BURSTS: u64 = 11;

/// The direction of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the leader: the paper's slower direction.
    ToLeader,
    /// From the leader to the client.
    ToClient,
}

/// A network path between a leader and one client.
#[derive(Debug, Clone)]
pub struct Link {
    model: LinkModel,
    seed: u64,
    to_leader: DirectionState,
    to_client: DirectionState,
}

/// The state of one direction.
#[derive(Debug, Clone)]
struct DirectionState {
    rng: ChaCha8Rng,
    /// Instant of the last packet, and the logarithm of the congestion queue then, in standard deviations.
    queue: Option<(Timestamp<Host>, f64)>,
}

impl DirectionState {
    fn new(seed: u64, direction: Direction) -> Self {
        Self { rng: generator(seed, direction.series()), queue: None }
    }
}

impl Direction {
    const fn series(self) -> u64 {
        match self {
            Self::ToLeader => 1,
            Self::ToClient => 2,
        }
    }
}

impl Link {
    /// A link of the kind `model`; each seed gives another one.
    #[must_use]
    pub fn new(model: LinkModel, seed: u64) -> Self {
        Self {
            model,
            seed,
            to_leader: DirectionState::new(seed, Direction::ToLeader),
            to_client: DirectionState::new(seed, Direction::ToClient),
        }
    }

    /// Its model.
    #[must_use]
    pub const fn model(&self) -> &LinkModel {
        &self.model
    }

    /// The delay of a packet that is sent at `at`; `None`: it is lost.
    ///
    /// Within a direction, call this in the order of sending: congestion is correlated from packet to packet.
    #[must_use]
    pub fn delay(&mut self, direction: Direction, at: Timestamp<Host>) -> Option<Span> {
        let quiet = self.is_quiet(at);
        let congested = self.is_congested(direction, at);
        let (model, state) = match direction {
            Direction::ToLeader => (&self.model.to_leader, &mut self.to_leader),
            Direction::ToClient => (&self.model.to_client, &mut self.to_client),
        };
        if state.rng.random::<f64>() < self.model.loss {
            return None;
        }
        let spike = model.spikes.filter(|spikes| state.rng.random::<f64>() < spikes.probability);
        let queue = self.model.bursts.filter(|_| congested).map(|bursts| {
            let level = state.queue_at(at, bursts.correlation);
            bursts.median.mul_f64((bursts.sigma * level).exp())
        });
        let body = if let Some(spikes) = spike {
            spikes.floor + spikes.mean_excess.mul_f64(state.rng.sample(Exp1))
        } else if quiet {
            model.quiet_floor + model.quiet_mean_excess.mul_f64(state.rng.sample(Exp1))
        } else {
            (model.floor + model.excess(&mut state.rng)).max(LEAST)
        };
        Some(body + queue.unwrap_or(Span::ZERO))
    }

    /// Whether `at` is in a quiet moment, which covers both directions.
    fn is_quiet(&self, at: Timestamp<Host>) -> bool {
        self.model.quiet.is_some_and(|quiet| {
            let (moment, _) = cell(at, quiet.length);
            uniform(hash(self.seed, QUIET, moment)) < quiet.probability
        })
    }

    /// Whether `direction` is congested at `at`.
    fn is_congested(&self, direction: Direction, at: Timestamp<Host>) -> bool {
        match self.model.bursts.map(|bursts| bursts.pattern) {
            None => false,
            Some(BurstPattern::Random { cell: length, probability, min, mean_excess }) => {
                let (index, within) = cell(at, length);
                // A burst of the previous cell may still last.
                [(index, within), (index.wrapping_sub(1), within + length)].into_iter().any(
                    |(index, within)| {
                        let draw = |series| uniform(hash(self.seed, series, index));
                        let start = length.mul_f64(draw(BURSTS + 1));
                        let excess = mean_excess.mul_f64(-(1.0 - draw(BURSTS + 2)).ln());
                        let lasts = (min + excess).min(length);
                        draw(BURSTS) < probability && within >= start && within < start + lasts
                    },
                )
            }
            Some(BurstPattern::Alternating { every, length }) => {
                let (turn, within) = cell(at, every);
                let start = (every - length) / 2;
                let turn_of = if turn.is_multiple_of(2) { Direction::ToLeader } else { Direction::ToClient };
                direction == turn_of && within >= start && within < start + length
            }
        }
    }
}

/// The index of the cell of `length` that contains `at`, and the time since its beginning.
fn cell(at: Timestamp<Host>, length: Span) -> (u64, Span) {
    let length = length.as_nanos().max(1);
    let index = at.as_nanos().div_euclid(length).cast_unsigned();
    (index, Span::from_nanos(at.as_nanos().rem_euclid(length)))
}

impl DirectionState {
    /// The queue's level at `at`: an Ornstein-Uhlenbeck process of mean 0 and variance 1.
    fn queue_at(&mut self, at: Timestamp<Host>, correlation: Span) -> f64 {
        let innovation: f64 = self.rng.sample(StandardNormal);
        let level = match self.queue {
            None => innovation,
            Some((before, level)) => {
                let elapsed = (at - before).max(Span::ZERO).as_secs_f64();
                let kept = (-elapsed / correlation.as_secs_f64()).exp();
                level * kept + innovation * (1.0 - kept * kept).sqrt()
            }
        };
        self.queue = Some((at, level));
        level
    }
}

impl DirectionModel {
    /// Draws the body's time above its floor; zero if no gamma distribution has this shape and scale.
    fn excess(&self, rng: &mut ChaCha8Rng) -> Span {
        let scale = self.mean_excess;
        match self.law {
            Law::Gamma(shape) => Gamma::new(shape, scale.as_nanos_f64() / shape)
                .map_or(Span::ZERO, |gamma| Span::from_nanos_f64(gamma.sample(rng))),
            Law::Uniform => scale.mul_f64(2.0 * rng.random::<f64>()),
            Law::Normal => scale.mul_f64(rng.sample(StandardNormal)),
            Law::LogNormal(sigma) => {
                let normal: f64 = rng.sample(StandardNormal);
                scale.mul_f64((sigma * normal).exp())
            }
            Law::TwoModes => {
                let mode = if rng.random::<bool>() { 0.5 } else { 1.5 };
                let normal: f64 = rng.sample(StandardNormal);
                scale.mul_f64(mode * (1.0 + 0.1 * normal))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::real;
    use proptest::prelude::*;

    /// Delays in us of `n` exchanges, one every `spacing_us`.
    fn exchanges(model: LinkModel, seed: u64, n: i64, spacing_us: i64) -> Vec<(f64, f64)> {
        let mut link = Link::new(model, seed);
        (0..n)
            .filter_map(|k| {
                let sent = Timestamp::from_nanos(1_000_000_000_000) + Span::from_micros(k * spacing_us);
                let up = link.delay(Direction::ToLeader, sent)?;
                let down = link.delay(Direction::ToClient, sent + up + Span::from_micros(40))?;
                Some((up.as_micros_f64(), down.as_micros_f64()))
            })
            .collect()
    }

    fn mean(values: impl Iterator<Item = f64>) -> f64 {
        let values: Vec<f64> = values.collect();
        values.iter().sum::<f64>() / real(values.len())
    }

    fn min(values: impl Iterator<Item = f64>) -> f64 {
        values.fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn wifi_matches_table_iii_of_the_paper() {
        let n = 100_000;
        let all = exchanges(LinkModel::wifi(), 3, n, 3430);
        let kept: Vec<_> = all.iter().copied().filter(|(up, down)| up.max(*down) <= 10_000.0).collect();

        let outliers = 1.0 - real(kept.len()) / real(all.len());
        assert!((outliers - 0.0064).abs() < 0.0010, "{outliers}"); // 64 of 10 000

        let (up, down) = (mean(kept.iter().map(|e| e.0)), mean(kept.iter().map(|e| e.1)));
        assert!((up - 1878.0).abs() < 15.0, "client to leader {up}");
        assert!((down - 1133.0).abs() < 10.0, "leader to client {down}");

        // The minima of any 10 000 exchanges match the table's to some 20 us.
        for some in kept.chunks(10_000).filter(|some| some.len() > 5_000) {
            assert!((min(some.iter().map(|e| e.0)) - 479.0).abs() < 30.0);
            assert!((min(some.iter().map(|e| e.1)) - 517.0).abs() < 30.0);
            // quiet moments cover both directions: the sum is the shortest round trip
            assert!((min(some.iter().map(|e| e.0 + e.1)) - 996.0).abs() < 50.0);
        }
        let lost = 1.0 - real(all.len()) / 100_000.0;
        assert!((lost - 0.004).abs() < 0.001, "either way: {lost}");
    }

    #[test]
    fn few_exchanges_rarely_hit_a_quiet_moment() {
        // Paper, VI.C: 1.87 ms for K = 300, 0.996 ms for K = 10 000. The median over trials.
        let mut shortest: Vec<f64> = (0..101)
            .map(|seed| min(exchanges(LinkModel::wifi(), seed, 300, 3430).iter().map(|e| e.0 + e.1)))
            .collect();
        shortest.sort_by(f64::total_cmp);
        assert!((1780.0..2000.0).contains(&shortest[50]), "{}", shortest[50]);
    }

    #[test]
    fn ethernet_is_short_and_symmetric() {
        let all = exchanges(LinkModel::ethernet(), 1, 50_000, 20_000);
        assert_eq!(all.len(), 50_000);
        for delays in [all.iter().map(|e| e.0).collect::<Vec<_>>(), all.iter().map(|e| e.1).collect()] {
            assert!((mean(delays.iter().copied()) - 33.7).abs() < 1.0);
            assert!((min(delays.iter().copied()) - 20.0).abs() < 0.5);
        }
    }

    #[test]
    fn ideal_is_constant() {
        assert!(exchanges(LinkModel::ideal(), 1, 1000, 1000).iter().all(|&e| e == (50.0, 50.0)));
    }

    #[test]
    fn bursts_last_and_are_correlated() {
        let all = exchanges(LinkModel::wifi_busy(), 5, 60_000, 20_000);
        let slow = all.iter().filter(|(up, _)| *up > 4000.0).count();
        let share = real(slow) / real(all.len());
        assert!((0.02..0.12).contains(&share), "{share}");
        // rank correlation of neighbours, which a memoryless link does not have
        let both = all.windows(2).filter(|w| w[0].0 > 4000.0 && w[1].0 > 4000.0).count();
        assert!(real(both) / real(slow) > 0.5);
    }

    #[test]
    fn asymmetric_bursts_alternate() {
        let all = exchanges(LinkModel::wifi_asymmetric(), 5, 30_000, 20_000);
        let slow = |delay: f64| delay > 4000.0;
        let up = all.iter().filter(|e| slow(e.0)).count();
        let down = all.iter().filter(|e| slow(e.1)).count();
        let both = all.iter().filter(|e| slow(e.0) && slow(e.1)).count();
        assert!(up > 2000 && down > 2000 && both * 10 < up, "{up} {down} {both}");
    }

    #[test]
    fn loss_is_a_parameter() {
        let model = LinkModel { loss: 1.0, ..LinkModel::ideal() };
        assert!(exchanges(model, 1, 100, 1000).is_empty());
        let model = LinkModel { loss: 0.0, ..LinkModel::wifi() };
        assert_eq!(exchanges(model, 1, 10_000, 1000).len(), 10_000);
    }

    /// The quantiles, of 20 000 delays to the leader, that determine each law.
    #[test]
    fn laws_have_their_quantiles() {
        let named = |name: &str| name.parse::<LinkModel>().unwrap();
        for (name, q10, q50, q90) in [
            ("sharp", 1002.0, 1010.0, 1018.0),
            ("exponential", 605.4, 1193.1, 2802.6),
            ("gamma-8", 1897.0, 2800.0, 4031.0),
            ("two-modes", 1829.0, 3000.0, 5379.0),
            ("normal", 1718.4, 3000.0, 4281.6),
            ("log-normal", 1053.8, 2000.0, 3796.0),
            ("unlike-uniform", 1400.0, 3000.0, 4600.0),
        ] {
            let mut up: Vec<f64> = exchanges(named(name), 4, 20_000, 5_000).iter().map(|e| e.0).collect();
            up.sort_by(f64::total_cmp);
            for (at, expected) in [(2_000, q10), (10_000, q50), (18_000, q90)] {
                // The median of two modes lies between them, where few delays are.
                let tolerance = if name == "two-modes" && at == 10_000 { 0.3 } else { 0.025 };
                assert!((up[at] / expected - 1.0).abs() < tolerance, "{name} {at}: {} {expected}", up[at]);
            }
        }
    }

    proptest! {
        #[test]
        fn the_same_sends_give_the_same_delays(seed: u64, at in -1_000_000_000_000_i64..1_000_000_000_000_000) {
            for model in LinkModel::presets().into_iter().chain(LinkModel::shapes()) {
                let delays = || exchanges(model.clone(), seed, 20, at.rem_euclid(100_000));
                prop_assert_eq!(delays(), delays());
                let delay = Link::new(model, seed).delay(Direction::ToClient, Timestamp::from_nanos(at));
                prop_assert!(delay.is_none_or(|delay| delay > Span::ZERO));
            }
        }
    }
}
