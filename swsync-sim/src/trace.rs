//! Traces of exchanges between a client and its leader, with known truth.
//!
//! A [`Scenario`] is a link, a crystal and a pace; with a seed it gives a [`Trace`]. The presets match the recorded-form traces in
//! `shared/traces` (for delays see [`LinkModel`]), with these further numbers from the files:
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
//! Requests overtake one another if their delays differ by more than the spacing, as in the files. Rows are in the order in which
//! answers arrive.

use std::str::FromStr;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use swsync_core::estimate::Exchange;
use swsync_core::time::{Host, Local, Offset, Rig, Skew, Span, Timestamp};

use crate::link::{Direction, Link, LinkModel};
use crate::noise::generator;
use crate::oscillator::{Oscillator, OscillatorConfig, WarmUp};

/// Series of the values that are drawn once per trace.
const ONCE: u64 = 20;
/// Series of the times of sending.
const PACE: u64 = 21;
/// Series of the leader's holding times.
const HOLD: u64 = 22;
/// Earliest true time of a trace's beginning.
const BEGIN: Timestamp<Host> = Timestamp::from_nanos(1_001_000_000_000);
/// Range of the beginning, in s: alternating bursts come at fixed times.
const LATER: f64 = 30.0;
/// Timeout of a client that waits for each answer.
const LOST: Span = Span::from_millis(20);

/// A link, a crystal and a pace.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name for `FromStr`.
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
    /// At this interval.
    Every(Span),
    /// When the previous answer arrives: the paper's phones.
    Following,
    /// As swsync's client on a good link: 480 at 2 ms, then 20 each at 125, 250 and 500 ms, then every second.
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

/// The client's crystal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crystal {
    /// Largest magnitude of its rate relative to the leader's.
    pub skew: Skew,
    /// Change of rate over one second, 1 sigma.
    pub wander: Skew,
    /// Warm-up, if it was switched on at the beginning.
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
#[error("unknown scenario `{name}`: use {}", Scenario::all().map(|scenario| scenario.name).collect::<Vec<_>>().join(", "))]
pub struct UnknownScenario {
    /// The name as given.
    pub name: String,
}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(name: &str) -> Result<Self, UnknownScenario> {
        Self::all()
            .find(|scenario| scenario.name == name)
            .ok_or_else(|| UnknownScenario { name: name.to_owned() })
    }
}

impl Scenario {
    /// All presets: the scenarios of `shared/traces`, and a quiet link whose round trips have levels.
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

    /// A scenario for each shape of delays: a poll every 125 ms, as in swsync's taper, and a crystal of up to 20 ppm.
    #[must_use]
    pub fn shapes() -> Vec<Self> {
        let of = |link: LinkModel| Self {
            name: link.name,
            link,
            pace: Pace::Every(Span::from_millis(125)),
            duration: Span::from_secs(90),
            hold: Hold { floor: Span::from_micros(20), mean_excess: Span::from_micros(20) },
            crystal: Crystal { skew: Skew::from_ppm(20.0), wander: Skew::from_ppm(0.003), warm_up: None },
        };
        LinkModel::shapes().into_iter().map(of).collect()
    }

    /// The presets and the shapes.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::presets().into_iter().chain(Self::shapes())
    }

    /// The trace of this scenario with `seed`.
    #[must_use]
    pub fn simulate(&self, seed: u64) -> Trace {
        let mut once = generator(seed, ONCE);
        let begin = BEGIN + Span::from_secs_f64(once.random_range(0.0..LATER));
        let clock = Oscillator::<Local>::new(self.oscillator(seed, begin, &mut once));
        let mut link = Link::new(self.link.clone(), seed);
        let mut generators = Generators { pace: generator(seed, PACE), hold: generator(seed, HOLD) };
        let exchanges = match self.pace {
            Pace::Every(spacing) => {
                let count = self.duration.as_nanos() / spacing.as_nanos().max(1);
                self.paced((0..count).map(|k| begin + spacing * k), &mut link, &mut generators)
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
                self.paced(times.take_while(|at| *at - begin < self.duration), &mut link, &mut generators)
            }
            Pace::Following => self.following(begin, &mut link, &mut generators),
        };
        Trace { exchanges: exchanges.iter().map(|exchange| exchange.seen_by(&clock)).collect() }
    }

    /// The client's clock: its skew is 60 to 100 % of the largest, its offset within 0.5 s.
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
        // A gamma distribution of shape 2 is the sum of two exponential distributions.
        let product = (1.0 - rng.random::<f64>()) * (1.0 - rng.random::<f64>());
        self.hold.floor + self.hold.mean_excess.mul_f64(-product.ln() / 2.0)
    }

    fn paced(
        &self,
        times: impl Iterator<Item = Timestamp<Host>>,
        link: &mut Link,
        generators: &mut Generators,
    ) -> Vec<TrueExchange> {
        let mut asked: Vec<TrueExchange> = times
            .filter_map(|at| {
                let jitter = Span::from_nanos(generators.pace.random_range(-100_000..=100_000));
                let t1 = at + jitter;
                let t2 = t1 + link.delay(Direction::ToLeader, t1)?;
                let t3 = t2 + self.hold(&mut generators.hold);
                Some(TrueExchange { t1, t2, t3, t4: t3 })
            })
            .collect();
        asked.sort_by_key(|exchange| exchange.t3.as_nanos());
        let mut answered: Vec<TrueExchange> = asked
            .into_iter()
            .filter_map(|exchange| {
                let t4 = exchange.t3 + link.delay(Direction::ToClient, exchange.t3)?;
                Some(TrueExchange { t4, ..exchange })
            })
            .collect();
        answered.sort_by_key(|exchange| exchange.t4.as_nanos());
        answered
    }

    fn following(
        &self,
        begin: Timestamp<Host>,
        link: &mut Link,
        generators: &mut Generators,
    ) -> Vec<TrueExchange> {
        let mut exchanges = Vec::new();
        let mut t1 = begin;
        while t1 - begin < self.duration {
            let there = link.delay(Direction::ToLeader, t1).map(|delay| t1 + delay);
            let exchange = there.and_then(|t2| {
                let t3 = t2 + self.hold(&mut generators.hold);
                let t4 = t3 + link.delay(Direction::ToClient, t3)?;
                Some(TrueExchange { t1, t2, t3, t4 })
            });
            let gap = Span::from_nanos(generators.pace.random_range(250_000..=270_000));
            t1 = exchange.map_or(t1 + LOST, |exchange| exchange.t4 + gap);
            exchanges.extend(exchange);
        }
        exchanges
    }
}

struct Generators {
    pace: ChaCha8Rng,
    hold: ChaCha8Rng,
}

/// An exchange in true time.
#[derive(Debug, Clone, Copy)]
struct TrueExchange {
    t1: Timestamp<Host>,
    t2: Timestamp<Host>,
    t3: Timestamp<Host>,
    t4: Timestamp<Host>,
}

impl TrueExchange {
    /// The exchange as a client with this clock measures it, and its true offset at the end.
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
    fn delays_have_the_recorded_distribution() {
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
        // Each direction is congested for 5 s of every 30 s, and most delays of that time are long.
        assert!((0.08..0.2).contains(&(slow(&up) / n)) && (0.08..0.2).contains(&(slow(&down) / n)));
        let both = up.iter().zip(&down).filter(|(up, down)| **up > 4000.0 && **down > 4000.0).count();
        assert!(real(both) * 20.0 < slow(&up));
    }

    #[test]
    fn a_seed_determines_the_trace() {
        for scenario in Scenario::all() {
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
    fn skews_match_the_crystal() {
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
