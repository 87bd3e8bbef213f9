//! Whole traces of exchanges between a client and its leader, with known truth.
//!
//! A [`Scenario`] is a link, a crystal and a pace; a seed makes a [`Trace`] of it, in simulated time.
//! The presets are the physics of the recorded-form traces in `shared/traces` (delays: see
//! [`LinkModel`]), with these further numbers read off the files:
//!
//! | | value | from |
//! | --- | --- | --- |
//! | leader's hold, WiFi | 20 us + gamma of shape 2, mean 20 us | mean 39.9, median 36.8, 95 % 67 us |
//! | leader's hold, Ethernet | 8 us + gamma of shape 2, mean 6 us | mean 14.0, median 13.0, 95 % 22.3 us |
//! | time of sending, paced | even, to 100 us either way | spacing within 200 us, triangular |
//! | time of sending, following | 250 to 270 us after the answer | `pixel3-wifi`, 90 % of gaps |
//! | loss, each way | 0.06 % `drifting`, 0.3 % busy, 0.5 % asymmetric | rows that are missing |
//! | skew | 60 to 100 % of the nominal one, either sign | 12.3, 10.4, -12.2 of 15; 22 of 25 ppm |
//!
//! Requests overtake one another where delays differ by more than the spacing, as in the files; rows
//! are in the order in which answers arrive.

use std::str::FromStr;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use swsync_core::estimate::Exchange;
use swsync_core::time::{Host, Local, Offset, Rig, Skew, Span, Timestamp};

use crate::link::{Direction, Link, LinkModel};
use crate::noise::generator;
use crate::oscillator::{Oscillator, OscillatorConfig, WarmUp};

/// Series of the generator: what of the scenario is drawn once, and the times of sending and holding.
const ONCE: u64 = 20;
const PACE: u64 = 21;
const HOLD: u64 = 22;
/// True time at a trace's beginning, at the earliest ...
const BEGIN: Timestamp<Host> = Timestamp::from_nanos(1_001_000_000_000);
/// ... and by how many seconds it may be later: bursts that take turns are due at fixed times.
const LATER: f64 = 30.0;
/// How long a client that follows answers waits for one that was lost.
const LOST: Span = Span::from_millis(20);

/// A link, a crystal and a pace.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What `FromStr` calls it.
    pub name: &'static str,
    /// The path between client and leader.
    pub link: LinkModel,
    /// When requests are sent.
    pub pace: Pace,
    /// From the first request to the last.
    pub duration: Span,
    /// How long the leader holds a request.
    pub hold: Hold,
    /// The client's clock; the leader's is true time.
    pub crystal: Crystal,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Evenly, whatever became of the one before.
    Every(Span),
    /// As soon as the answer to the one before is there: the paper's phones.
    Following,
    /// As swsync's client does on a good link: 480 at 2 ms, then 20 each at 125, 250 and 500 ms, then every second.
    Slowing,
}

/// How long the leader holds a request: a floor, and a gamma-distributed time of shape 2 above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Shortest.
    pub floor: Span,
    /// Mean time above that.
    pub mean_excess: Span,
}

/// What the client's clock may be like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crystal {
    /// Greatest magnitude of its rate against the leader's.
    pub skew: Skew,
    /// Change of rate over one second, 1 sigma.
    pub wander: Skew,
    /// It was switched on at the beginning.
    pub warm_up: Option<WarmUp>,
}

/// Exchanges in order of arrival, each with the true offset (leader minus client) at its `t4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The exchanges and the truth.
    pub exchanges: Vec<(Exchange, Offset)>,
}

/// No preset has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown scenario `{name}`: use {}", Scenario::presets().map(|scenario| scenario.name).join(", "))]
pub struct UnknownScenario {
    /// The name as given.
    pub name: String,
}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(name: &str) -> Result<Self, UnknownScenario> {
        Self::presets()
            .into_iter()
            .find(|scenario| scenario.name == name)
            .ok_or_else(|| UnknownScenario { name: name.to_owned() })
    }
}

impl Scenario {
    /// All presets: the scenarios of `shared/traces`, and one of a quiet link whose round trips have levels.
    #[must_use]
    pub fn presets() -> [Self; 7] {
        let phones = Self {
            name: "pixel3-wifi",
            link: LinkModel { loss: 0.0006, ..LinkModel::wifi() },
            pace: Pace::Following,
            duration: Span::from_secs(60),
            hold: Hold { floor: Span::from_micros(20), mean_excess: Span::from_micros(20) },
            crystal: Crystal { skew: Skew::from_ppm(1.0), wander: Skew::from_ppm(0.001), warm_up: None },
        };
        let pi = Self {
            name: "pi-wifi-busy",
            link: LinkModel::wifi_busy(),
            pace: Pace::Every(Span::from_millis(20)),
            duration: Span::from_secs(120),
            crystal: Crystal { skew: Skew::from_ppm(15.0), wander: Skew::from_ppm(0.003), warm_up: None },
            ..phones.clone()
        };
        let warm_up = WarmUp { amount: Skew::from_ppm(3.0), time_constant: Span::from_secs(85) };
        [
            phones.clone(),
            Self {
                name: "pixel3-wifi-10hz",
                pace: Pace::Every(Span::from_millis(100)),
                duration: Span::from_secs(120),
                ..phones.clone()
            },
            pi.clone(),
            Self {
                name: "ethernet-sw",
                link: LinkModel::ethernet(),
                hold: Hold { floor: Span::from_micros(8), mean_excess: Span::from_micros(6) },
                ..pi.clone()
            },
            Self {
                name: "drifting",
                pace: Pace::Every(Span::from_millis(50)),
                duration: Span::from_secs(300),
                crystal: Crystal {
                    skew: Skew::from_ppm(25.0),
                    wander: Skew::from_ppm(0.01),
                    warm_up: Some(warm_up),
                },
                ..phones
            },
            Self {
                name: "asymmetric-bursts",
                link: LinkModel { loss: 0.005, ..LinkModel::wifi_asymmetric() },
                ..pi.clone()
            },
            Self {
                name: "quiet-levels",
                link: LinkModel::levels(),
                pace: Pace::Slowing,
                hold: Hold { floor: Span::from_micros(2), mean_excess: Span::from_micros(1) },
                ..pi
            },
        ]
    }

    /// The trace that `seed` makes of it.
    #[must_use]
    pub fn simulate(&self, seed: u64) -> Trace {
        let mut once = generator(seed, ONCE);
        let begin = BEGIN + Span::from_secs_f64(once.random_range(0.0..LATER));
        let clock = Oscillator::<Local>::new(self.oscillator(seed, begin, &mut once));
        let mut link = Link::new(self.link.clone(), seed);
        let mut draws = Draws { pace: generator(seed, PACE), hold: generator(seed, HOLD) };
        let flights = match self.pace {
            Pace::Every(spacing) => {
                let count = self.duration.as_nanos() / spacing.as_nanos().max(1);
                self.paced((0..count).map(|k| begin + spacing * k), &mut link, &mut draws)
            }
            Pace::Slowing => {
                let spacings = [(480, 2), (20, 125), (20, 250), (20, 500)]
                    .into_iter()
                    .flat_map(|(count, ms)| std::iter::repeat_n(Span::from_millis(ms), count))
                    .chain(std::iter::repeat(Span::from_secs(1)));
                let times = spacings.scan(begin, |at, spacing| {
                    *at += spacing;
                    Some(*at)
                });
                self.paced(times.take_while(|at| *at - begin < self.duration), &mut link, &mut draws)
            }
            Pace::Following => self.following(begin, &mut link, &mut draws),
        };
        Trace { exchanges: flights.iter().map(|flight| flight.seen_by(&clock)).collect() }
    }

    /// The client's clock: its skew between 60 and 100 % of the greatest, its offset within 0.5 s.
    fn oscillator(&self, seed: u64, epoch: Timestamp<Host>, rng: &mut ChaCha8Rng) -> OscillatorConfig {
        let Crystal { skew, wander, warm_up } = self.crystal;
        let sign = if rng.random::<bool>() { 1.0 } else { -1.0 };
        let scaled = |skew: Skew, factor: f64| Skew::from_ratio(skew.as_ratio() * factor);
        OscillatorConfig {
            skew: scaled(skew, sign * rng.random_range(0.6..=1.0)),
            offset: Span::from_secs_f64(rng.random_range(-0.5..0.5)),
            wander,
            warm_up: warm_up.map(|warm_up| WarmUp { amount: scaled(warm_up.amount, sign), ..warm_up }),
            epoch,
            seed,
            ..OscillatorConfig::default()
        }
    }

    fn hold(&self, rng: &mut ChaCha8Rng) -> Span {
        // A gamma distribution of shape 2 is the sum of two exponential ones.
        let product = (1.0 - rng.random::<f64>()) * (1.0 - rng.random::<f64>());
        self.hold.floor + self.hold.mean_excess.mul_f64(-product.ln() / 2.0)
    }

    fn paced(
        &self,
        times: impl Iterator<Item = Timestamp<Host>>,
        link: &mut Link,
        draws: &mut Draws,
    ) -> Vec<Flight> {
        let mut asked: Vec<Flight> = times
            .filter_map(|at| {
                let jitter = Span::from_nanos(draws.pace.random_range(-100_000..=100_000));
                let t1 = at + jitter;
                let t2 = t1 + link.delay(Direction::ToLeader, t1)?;
                let t3 = t2 + self.hold(&mut draws.hold);
                Some(Flight { t1, t2, t3, t4: t3 })
            })
            .collect();
        asked.sort_by_key(|flight| flight.t3.as_nanos());
        let mut answered: Vec<Flight> = asked
            .into_iter()
            .filter_map(|flight| {
                let t4 = flight.t3 + link.delay(Direction::ToClient, flight.t3)?;
                Some(Flight { t4, ..flight })
            })
            .collect();
        answered.sort_by_key(|flight| flight.t4.as_nanos());
        answered
    }

    fn following(&self, begin: Timestamp<Host>, link: &mut Link, draws: &mut Draws) -> Vec<Flight> {
        let mut flights = Vec::new();
        let mut t1 = begin;
        while t1 - begin < self.duration {
            let there = link.delay(Direction::ToLeader, t1).map(|delay| t1 + delay);
            let flight = there.and_then(|t2| {
                let t3 = t2 + self.hold(&mut draws.hold);
                let t4 = t3 + link.delay(Direction::ToClient, t3)?;
                Some(Flight { t1, t2, t3, t4 })
            });
            let gap = Span::from_nanos(draws.pace.random_range(250_000..=270_000));
            t1 = flight.map_or(t1 + LOST, |flight| flight.t4 + gap);
            flights.extend(flight);
        }
        flights
    }
}

struct Draws {
    pace: ChaCha8Rng,
    hold: ChaCha8Rng,
}

/// An exchange in true time.
#[derive(Debug, Clone, Copy)]
struct Flight {
    t1: Timestamp<Host>,
    t2: Timestamp<Host>,
    t3: Timestamp<Host>,
    t4: Timestamp<Host>,
}

impl Flight {
    /// What a client with this clock makes of it, and its true offset at the end.
    fn seen_by(&self, clock: &Oscillator<Local>) -> (Exchange, Offset) {
        let leader = |at: Timestamp<Host>| Timestamp::<Rig>::from_nanos(at.as_nanos());
        let (t1, t4) = (clock.read(self.t1), clock.read(self.t4));
        let exchange = Exchange { t1, t2: leader(self.t2), t3: leader(self.t3), t4 };
        (exchange, Offset::between(leader(self.t4), t4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::real;

    fn delays(trace: &Trace) -> (Vec<f64>, Vec<f64>) {
        let up = |(e, truth): &(Exchange, Offset)| e.upper().as_span() - truth.as_span();
        let down = |(e, truth): &(Exchange, Offset)| truth.as_span() - e.lower().as_span();
        let micros = |delay: &dyn Fn(&(Exchange, Offset)) -> Span| {
            trace.exchanges.iter().map(|row| delay(row).as_micros_f64()).collect()
        };
        (micros(&up), micros(&down))
    }

    fn quantile(values: &[f64], q: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut at = 0;
        while real(at + 1) < q * real(sorted.len()) {
            at += 1;
        }
        sorted[at]
    }

    fn scenario(name: &str) -> Scenario {
        name.parse().unwrap()
    }

    /// Name, rows, and of each direction the median, the 90 % and the 99 % quantile in us, as the files in
    /// `shared/traces` have them.
    type Recorded = (&'static str, usize, [f64; 3], [f64; 3]);
    const RECORDED: [Recorded; 4] = [
        ("pixel3-wifi", 17_502, [1713.0, 2832.0, 4510.0], [1051.0, 1451.0, 2130.0]),
        ("pixel3-wifi-10hz", 1_199, [1691.0, 2816.0, 4434.0], [1055.0, 1467.0, 2114.0]),
        ("ethernet-sw", 6_000, [30.0, 44.0, 76.0], [30.0, 44.0, 75.0]),
        ("drifting", 5_993, [1733.0, 2838.0, 4462.0], [1057.0, 1449.0, 2107.0]),
    ];

    #[test]
    fn delays_are_distributed_as_recorded() {
        for (name, rows, to_leader, to_client) in RECORDED {
            let trace = scenario(name).simulate(7);
            assert!(trace.exchanges.len().abs_diff(rows) * 50 < rows, "{name}: {}", trace.exchanges.len());
            let (up, down) = delays(&trace);
            for (values, recorded) in [(up, to_leader), (down, to_client)] {
                for (q, recorded, tolerance) in
                    [(0.5, recorded[0], 0.04), (0.9, recorded[1], 0.05), (0.99, recorded[2], 0.2)]
                {
                    let ratio = quantile(&values, q) / recorded;
                    assert!((ratio - 1.0).abs() < tolerance, "{name} {q}: {ratio}");
                }
            }
        }
    }

    #[test]
    fn one_direction_at_a_time_is_congested() {
        let (up, down) = delays(&scenario("asymmetric-bursts").simulate(3));
        let slow = |values: &[f64]| real(values.iter().filter(|delay| **delay > 4000.0).count());
        let n = real(up.len());
        // A third of the time, by turns: 5 s of 15, and most delays of that time.
        assert!((0.08..0.2).contains(&(slow(&up) / n)) && (0.08..0.2).contains(&(slow(&down) / n)));
        let both = up.iter().zip(&down).filter(|(up, down)| **up > 4000.0 && **down > 4000.0).count();
        assert!(real(both) * 20.0 < slow(&up));
    }

    #[test]
    fn a_seed_is_a_trace() {
        for scenario in Scenario::presets() {
            let trace = scenario.simulate(1);
            assert_eq!(trace, scenario.simulate(1), "{}", scenario.name);
            assert_ne!(trace.exchanges[0], scenario.simulate(2).exchanges[0]);
            assert!(trace.exchanges.windows(2).all(|pair| pair[0].0.t4 <= pair[1].0.t4));
            assert!(trace.exchanges.iter().all(|(exchange, _)| exchange.is_plausible()));
            assert_eq!(scenario.name.parse::<Scenario>().unwrap(), scenario);
        }
        let error = "wlan".parse::<Scenario>().unwrap_err().to_string();
        assert!(error.contains("`wlan`") && error.contains("drifting"), "{error}");
    }

    #[test]
    fn skews_are_the_crystals() {
        for seed in 0..10 {
            let trace = scenario("drifting").simulate(seed);
            let rate = |from: usize, to: usize| {
                let ((a, before), (b, after)) = (trace.exchanges[from], trace.exchanges[to]);
                (after.as_span() - before.as_span()).as_micros_f64() / (b.t4 - a.t4).as_secs_f64()
            };
            let (cold, warm) = (rate(0, 200), rate(5500, 5900));
            assert!((14.0..26.0).contains(&warm.abs()), "{warm}");
            assert!((2.0..4.0).contains(&(cold.abs() - warm.abs())), "{cold} {warm}");
        }
    }
}
