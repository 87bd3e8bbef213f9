//! A simulated device clock: what a crystal makes of true time.
//!
//! With `x = t - epoch`, the clock reads
//!
//! ```text
//! D(t) = t + offset + skew x + amount tau (1 - exp(-x / tau)) + w(t) - w(epoch)
//!                              [warm-up, for x > 0]             [wander]
//!      + daily D / (2 pi) (1 - cos(2 pi x / D)) + aging x^2 / (2 D)        D = 24 h
//!        [temperature of the day]                 [aging]
//! ```
//!
//! # Wander
//!
//! A crystal's frequency is a random walk: the variance of its change over a time `s` is `wander^2 s`. `w` is the integral of such a
//! walk, as a sum of octaves: for each period `P = 1 s, 2 s, 4 s ... 4096 s` a cubic B-spline over hashed, nearly normal knots `P`
//! apart, with amplitude `0.426 wander P^(3/2)`. With that factor the variance is `wander^2 s` to within 12 % for `s` from 2 s to
//! 1000 s (a test checks it).
//!
//! A spline has no kinks, so the frequency is continuous. Unlike a random walk it stays bounded (about `31 wander sqrt(s)` of the
//! mean), so `skew` keeps its meaning on a host that has been up for weeks. The clock has no state: readings in any order, in any
//! process with the same settings, agree.
//!
//! Typical values of Raspberry Pi class crystals: wander 0.003 ppm per root second at rest, 0.01 ppm under load, warm-up of 3 ppm
//! with a time constant of 85 s.

mod config;
mod suspend;

use std::f64::consts::TAU;
use std::marker::PhantomData;

use swsync_core::time::{Host, Local, Skew, Span, Timestamp};

pub use config::{OscillatorConfig, OscillatorError, WarmUp};
pub use suspend::Suspend;

use crate::noise::{gaussian, hash};

/// Number of octaves: periods of `2^0` to `2^12` s.
const OCTAVES: u32 = 13;
/// Scale of the octaves, so that the variance is `wander^2 s`: `1/sqrt(5.5)`, from the sum of the octaves' structure functions.
const OCTAVE_SCALE: f64 = 0.4264;
/// Most steps of the inversion. Each reduces the error by the skew: three are enough for a crystal, this number for the largest
/// skew of the text form (5 %) over centuries.
const INVERSION_STEPS: usize = 20;

/// A simulated device clock of kind `D`.
///
/// ```
/// use swsync_core::time::{Host, Local, Timestamp};
/// use swsync_sim::oscillator::{Oscillator, OscillatorConfig};
///
/// let config: OscillatorConfig = "offset=2.5s,skew=31ppm".parse()?;
/// let clock = Oscillator::<Local>::new(config);
/// let second = clock.read(Timestamp::from_nanos(1_000_000_000));
/// assert_eq!(second.as_nanos(), 3_500_031_000);
/// assert_eq!(clock.true_at(second).as_nanos(), 1_000_000_000);
/// # Ok::<(), swsync_sim::oscillator::OscillatorError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Oscillator<D = Local> {
    config: OscillatorConfig,
    /// Wander at the epoch, in ns. It is subtracted, so that the offset holds at the epoch.
    wander_at_epoch: f64,
    clock: PhantomData<D>,
}

impl<D> Oscillator<D> {
    /// The clock that `config` describes.
    #[must_use]
    pub fn new(config: OscillatorConfig) -> Self {
        let wander_at_epoch = wander_ns(&config, config.epoch);
        Self { config, wander_at_epoch, clock: PhantomData }
    }

    /// Its settings.
    #[must_use]
    pub const fn config(&self) -> &OscillatorConfig {
        &self.config
    }

    /// The clock's reading at true time `at`. Never decreases as `at` increases.
    #[must_use]
    pub fn read(&self, at: Timestamp<Host>) -> Timestamp<D> {
        Timestamp::from_nanos(at.as_nanos()).saturating_add(self.error_at(at))
    }

    /// The clock's reading minus true time, at true time `at`.
    #[must_use]
    pub fn error_at(&self, at: Timestamp<Host>) -> Span {
        let since_epoch = at - self.config.epoch;
        let mut gained = since_epoch.as_nanos_f64() * self.config.skew.as_ratio();
        if let Some(warm_up) = self.config.warm_up
            && !since_epoch.is_negative()
        {
            let tau = warm_up.time_constant.as_nanos_f64();
            let decayed = -(-since_epoch.as_nanos_f64() / tau).exp_m1();
            gained += warm_up.amount.as_ratio() * tau * decayed;
        }
        let day = 86_400e9;
        let days = since_epoch.as_nanos_f64() / day;
        gained += self.config.daily.as_ratio() * day / TAU * (1.0 - (TAU * days).cos());
        gained += self.config.aging.as_ratio() * day * days * days / 2.0;
        gained += wander_ns(&self.config, at) - self.wander_at_epoch;
        self.config.offset + Span::from_nanos_f64(gained)
    }

    /// The clock's rate relative to true time at `at`, averaged over the second around it.
    #[must_use]
    pub fn skew_at(&self, at: Timestamp<Host>) -> Skew {
        let half = Span::from_millis(500);
        let gained = self.error_at(at + half) - self.error_at(at - half);
        Skew::from_ratio(gained.as_secs_f64())
    }

    /// The true time at which the clock reads `reading`, to 1 ns: a slow clock has some readings for two nanoseconds, a fast one
    /// skips some.
    #[must_use]
    pub fn true_at(&self, reading: Timestamp<D>) -> Timestamp<Host> {
        let nominal = Timestamp::<Host>::from_nanos(reading.as_nanos()) - self.config.offset;
        // The iteration t = reading - error(t) contracts by the skew.
        let mut at = nominal;
        for _ in 0..INVERSION_STEPS {
            let next = Timestamp::from_nanos(reading.as_nanos()) - self.error_at(at);
            let settled = (next - at).abs() <= Span::from_nanos(1);
            at = next;
            if settled {
                break;
            }
        }
        // Rounding may leave it a nanosecond or two off.
        [0, -1, 1, -2, 2]
            .map(|beside| at + Span::from_nanos(beside))
            .into_iter()
            .find(|t| self.read(*t) == reading)
            .unwrap_or(at)
    }
}

/// Integrated wander at `at`, in ns.
fn wander_ns(config: &OscillatorConfig, at: Timestamp<Host>) -> f64 {
    if config.wander == Skew::ZERO {
        return 0.0;
    }
    let octave = |k: u32| {
        let period = Span::from_secs(1_i64 << k);
        let knot = at.as_nanos().div_euclid(period.as_nanos());
        let within = Span::from_nanos(at.as_nanos().rem_euclid(period.as_nanos()));
        let fraction = within.as_nanos_f64() / period.as_nanos_f64();
        // The unit of wander is s/s per sqrt(s); times P^(3/2) it is s.
        let seconds = config.wander.as_ratio() * OCTAVE_SCALE * period.as_secs_f64().powf(1.5);
        let spline: f64 = (-1..=2)
            .zip(b_spline(fraction))
            .map(|(step, share)| {
                let knot = knot.wrapping_add(step).cast_unsigned();
                share * gaussian(hash(config.seed, u64::from(k), knot))
            })
            .sum();
        seconds * 1e9 * spline
    };
    (0..OCTAVES).map(octave).sum()
}

/// Uniform cubic B-spline: weights of the knots at -1, 0, 1 and 2 for the value at `u` in `[0, 1)`.
fn b_spline(u: f64) -> [f64; 4] {
    let v = 1.0 - u;
    [
        v * v * v / 6.0,
        (4.0 - 6.0 * u * u + 3.0 * u * u * u) / 6.0,
        (4.0 - 6.0 * v * v + 3.0 * v * v * v) / 6.0,
        u * u * u / 6.0,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::real;
    use proptest::prelude::*;

    fn at(nanos: i64) -> Timestamp<Host> {
        Timestamp::from_nanos(nanos)
    }

    fn clock(text: &str) -> Oscillator {
        Oscillator::new(text.parse().unwrap())
    }

    #[test]
    fn the_default_clock_reads_true_time() {
        let clock = clock("");
        assert_eq!(clock.read(at(123)).as_nanos(), 123);
        assert_eq!(clock.true_at(Timestamp::from_nanos(123)), at(123));
    }

    #[test]
    fn the_offset_holds_at_the_epoch() {
        let clock = clock("offset=-3ms,skew=40ppm,wander=0.02ppm,warmup=3ppm/80s,epoch=1000s,seed=5");
        let epoch = at(1_000_000_000_000);
        assert_eq!(clock.error_at(epoch), Span::from_millis(-3));
        // 40 ppm and the beginning of 3 ppm of warm-up
        let second = clock.error_at(epoch + Span::from_secs(1)) - Span::from_millis(-3);
        assert!((second.as_micros_f64() - 43.0).abs() < 1.0, "{second:?}");
    }

    #[test]
    fn the_rate_follows_the_day_and_ages() {
        let clock = clock("daily=1.5ppm,aging=0.2ppm");
        let ppm = |hours: i64| clock.skew_at(Timestamp::ZERO + Span::from_secs(3_600 * hours)).as_ppm();
        for (hours, expected) in [(6, 1.55), (12, 0.1), (18, -1.35), (24, 0.2), (48, 0.4), (54, 1.95)] {
            assert!((ppm(hours) - expected).abs() < 2e-3, "{hours} h: {}", ppm(hours));
        }
    }

    #[test]
    fn warm_up_ends_at_the_skew() {
        let clock = clock("skew=20ppm,warmup=3ppm/80s");
        assert!((clock.skew_at(at(1_000_000_000)).as_ppm() - 22.96).abs() < 0.01);
        assert!((clock.skew_at(at(1_000_000_000_000)).as_ppm() - 20.0).abs() < 0.01);
        let gained = clock.error_at(at(1_000_000_000_000)).as_micros_f64();
        assert!((gained - 20_000.0 - 240.0).abs() < 0.1, "{gained}");
    }

    #[test]
    fn the_frequency_walk_has_the_documented_variance() {
        // E[(f(t + s) - f(t))^2] = wander^2 s, over many times and seeds
        for lag in [2, 16, 128, 1024] {
            let mut sum = 0.0;
            let mut count = 0;
            for seed in 0..40 {
                let clock = clock(&format!("wander=0.01ppm,seed={seed}"));
                for step in 0..50 {
                    let t = at(step * 4_999_000_000_000);
                    let frequency = |t| {
                        let half = Span::from_millis(50);
                        (clock.error_at(t + half) - clock.error_at(t - half)).as_nanos_f64() * 1e-2
                    };
                    let change = frequency(t + Span::from_secs(lag)) - frequency(t); // ppm
                    sum += change * change;
                    count += 1;
                }
            }
            let seconds = Span::from_secs(lag).as_secs_f64();
            let ratio = sum / real(count) / (1e-4 * seconds);
            assert!((0.8..1.2).contains(&ratio), "lag {lag}: {ratio}");
        }
    }

    proptest! {
        #[test]
        fn readings_never_decrease(seed: u64, t in 0_i64..1_000_000_000_000_000, step in 0_i64..1000) {
            let clock = clock(&format!("skew=-100ppm,wander=0.1ppm,warmup=5ppm/60s,seed={seed}"));
            prop_assert!(clock.read(at(t + step)) >= clock.read(at(t)));
        }

        #[test]
        fn true_at_inverts_read(
            seed: u64,
            t in -1_000_000_000_000_i64..1_000_000_000_000_000,
            skew in -5000.0_f64..5000.0,
            offset in -1_000_000_000_000_i64..1_000_000_000_000,
        ) {
            let clock = Oscillator::<Local>::new(OscillatorConfig {
                offset: Span::from_nanos(offset),
                skew: Skew::from_ppm(skew),
                wander: Skew::from_ppm(0.1),
                warm_up: None,
                epoch: at(77),
                seed,
                ..OscillatorConfig::default()
            });
            let back = clock.true_at(clock.read(at(t)));
            prop_assert!((back - at(t)).abs() <= Span::from_nanos(1), "{:?}", back - at(t));
        }
    }
}
