//! The settings of an oscillator, and their text form for environment variables and properties.

use std::fmt;
use std::str::FromStr;

use swsync_core::time::{Host, Skew, Span, Timestamp};

use super::Suspend;

/// Largest skew and warm-up: 5 %. More is a typing error, as no crystal is 0.1 % off.
const MAX_SKEW_PPM: f64 = 50_000.0;
/// Largest wander, per root second. No crystal has more, and the clock could run backwards.
const MAX_WANDER_PPM: f64 = 100.0;

/// The settings of a simulated clock. In the text form all parts are optional:
///
/// ```text
/// offset=2.5s,skew=31ppm,wander=0.02ppm,warmup=3ppm/80s,epoch=12s,seed=7,wall=-3600s,suspend=10s@30s,daily=1ppm,aging=0.01ppm
/// ```
///
/// `wall` sets the device's wall clock off, as that of a board without a battery. `suspend=10s@30s`: 30 s after the start of the
/// process the device sleeps for 10 s. Its monotonic clock stands still, and its boot-time and wall clocks go on. Only the clocks
/// sleep: the program goes on running.
///
/// `daily` is what the day's temperature makes of the rate: a sine of this amplitude and of 24 hours, zero at the epoch. `aging` is
/// what the rate gains in a day, for good.
///
/// Units of spans are `s`, `ms`, `us`, `ns`; units of rates are `ppm`, `ppb`. `Display` prints a text that parses to the same
/// clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OscillatorConfig {
    /// Reading minus true time, at `epoch`.
    pub offset: Span,
    /// Rate relative to true time, minus one, once warm.
    pub skew: Skew,
    /// Standard deviation of the change of rate over one second; it grows with the square root of
    /// time. 0.003 to 0.01 ppm is a Raspberry Pi.
    pub wander: Skew,
    /// Additional skew that decays after `epoch`.
    pub warm_up: Option<WarmUp>,
    /// When the offset holds and warm-up begins. Zero: when the host booted.
    pub epoch: Timestamp<Host>,
    /// Seed of the wander.
    pub seed: u64,
    /// The device's wall clock minus the host's. A board without a battery starts in the past.
    pub wall: Span,
    /// When the device sleeps, counted from the start of its process. It concerns the device; [`Oscillator`](super::Oscillator)
    /// does not stand still for it.
    pub suspend: Option<Suspend>,
    /// Amplitude of the rate's daily curve. Of either sign: crystals answer to temperature in either direction.
    pub daily: Skew,
    /// Change of the rate in 24 hours.
    pub aging: Skew,
}

/// Skew of a crystal that is warming up: `amount * exp(-x / time_constant)` after a time `x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WarmUp {
    /// Initial skew in addition to the final one.
    pub amount: Skew,
    /// After this time, 37 % of `amount` is left.
    pub time_constant: Span,
}

impl Default for OscillatorConfig {
    /// A perfect clock.
    fn default() -> Self {
        Self {
            offset: Span::ZERO,
            skew: Skew::ZERO,
            wander: Skew::ZERO,
            warm_up: None,
            epoch: Timestamp::ZERO,
            seed: 0,
            wall: Span::ZERO,
            suspend: None,
            daily: Skew::ZERO,
            aging: Skew::ZERO,
        }
    }
}

/// An error in the text form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OscillatorError {
    /// A part without `=`.
    #[error("oscillator: `{part}` has no value: write `{part}=...`")]
    NoValue {
        /// The part between two commas.
        part: String,
    },
    /// An unknown key.
    #[error("oscillator: unknown key `{key}`: use offset, skew, wander, warmup, epoch, seed, wall, suspend")]
    UnknownKey {
        /// The key as written.
        key: String,
    },
    /// A key that is given twice.
    #[error("oscillator: `{key}` is given twice")]
    Duplicate {
        /// The key.
        key: String,
    },
    /// The value has the wrong form, or is beyond its limits.
    #[error("oscillator: `{key}={value}`: expected {expected}")]
    BadValue {
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// The right form, by example.
        expected: &'static str,
    },
}

const SPAN_FORM: &str = "a span such as 2.5s, -3ms, 40us or 7ns";
const SKEW_FORM: &str = "a rate such as 31ppm or -200ppb, within 50000 ppm";
const WANDER_FORM: &str = "a rate per root second such as 0.02ppm, from 0 to 100 ppm";
const WARM_UP_FORM: &str = "a rate and a time constant such as 3ppm/80s";
const SUSPEND_FORM: &str = "how long the device sleeps and when, such as 10s@30s, neither negative";
const SEED_FORM: &str = "a whole number from 0 to 18446744073709551615";

impl FromStr for OscillatorConfig {
    type Err = OscillatorError;

    fn from_str(text: &str) -> Result<Self, OscillatorError> {
        let mut config = Self::default();
        let mut seen = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part
                .split_once('=')
                .map(|(key, value)| (key.trim(), value.trim()))
                .ok_or_else(|| OscillatorError::NoValue { part: part.to_owned() })?;
            if seen.contains(&key) {
                return Err(OscillatorError::Duplicate { key: key.to_owned() });
            }
            seen.push(key);
            config.set(key, value)?;
        }
        Ok(config)
    }
}

impl OscillatorConfig {
    fn set(&mut self, key: &str, value: &str) -> Result<(), OscillatorError> {
        let bad =
            |expected| OscillatorError::BadValue { key: key.to_owned(), value: value.to_owned(), expected };
        match key {
            "offset" => self.offset = parse_span(value).ok_or_else(|| bad(SPAN_FORM))?,
            "skew" => self.skew = parse_skew(value).ok_or_else(|| bad(SKEW_FORM))?,
            "wander" => {
                self.wander = parse_skew(value)
                    .filter(|wander| (0.0..=MAX_WANDER_PPM).contains(&wander.as_ppm()))
                    .ok_or_else(|| bad(WANDER_FORM))?;
            }
            "warmup" => {
                self.warm_up = Some(parse_warm_up(value).ok_or_else(|| bad(WARM_UP_FORM))?);
            }
            "epoch" => {
                let span = parse_span(value).ok_or_else(|| bad(SPAN_FORM))?;
                self.epoch = Timestamp::ZERO + span;
            }
            "wall" => self.wall = parse_span(value).ok_or_else(|| bad(SPAN_FORM))?,
            "suspend" => {
                self.suspend = Some(parse_suspend(value).ok_or_else(|| bad(SUSPEND_FORM))?);
            }
            "daily" => self.daily = parse_skew(value).ok_or_else(|| bad(SKEW_FORM))?,
            "aging" => self.aging = parse_skew(value).ok_or_else(|| bad(SKEW_FORM))?,
            "seed" => self.seed = value.parse().map_err(|_| bad(SEED_FORM))?,
            _ => {
                return Err(OscillatorError::UnknownKey { key: key.to_owned() });
            }
        }
        Ok(())
    }
}

impl fmt::Display for OscillatorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset={}ns,skew={}ppm", self.offset.as_nanos(), self.skew.as_ppm())?;
        write!(f, ",wander={}ppm", self.wander.as_ppm())?;
        if let Some(warm_up) = self.warm_up {
            let tau = warm_up.time_constant.as_nanos();
            write!(f, ",warmup={}ppm/{tau}ns", warm_up.amount.as_ppm())?;
        }
        if self.epoch != Timestamp::ZERO {
            write!(f, ",epoch={}ns", self.epoch.as_nanos())?;
        }
        if self.wall != Span::ZERO {
            write!(f, ",wall={}ns", self.wall.as_nanos())?;
        }
        if let Some(Suspend { lasts, after }) = self.suspend {
            write!(f, ",suspend={}ns@{}ns", lasts.as_nanos(), after.as_nanos())?;
        }
        for (key, rate) in [("daily", self.daily), ("aging", self.aging)] {
            if rate != Skew::ZERO {
                write!(f, ",{key}={}ppm", rate.as_ppm())?;
            }
        }
        write!(f, ",seed={}", self.seed)
    }
}

/// Parses a span in exact decimals, without floats.
fn parse_span(text: &str) -> Option<Span> {
    let (number, digits) = [("ns", 0), ("us", 3), ("ms", 6), ("s", 9)]
        .into_iter()
        .find_map(|(unit, digits)| Some((text.strip_suffix(unit)?.trim_end(), digits)))?;
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !plain(whole) || !plain(fraction) || fraction.len() > digits {
        return None;
    }
    let nanos: i64 = format!("{whole}{fraction:0<digits$}").parse().ok()?;
    Some(Span::from_nanos(if negative { -nanos } else { nanos }))
}

fn parse_skew(text: &str) -> Option<Skew> {
    let (number, per_ppm) = match text.strip_suffix("ppm") {
        Some(number) => (number, 1.0),
        None => (text.strip_suffix("ppb")?, 1e-3),
    };
    let ppm = number.trim_end().parse::<f64>().ok()? * per_ppm;
    (ppm.abs() <= MAX_SKEW_PPM).then(|| Skew::from_ppm(ppm))
}

fn parse_warm_up(text: &str) -> Option<WarmUp> {
    let (amount, time_constant) = text.split_once('/')?;
    let amount = parse_skew(amount.trim())?;
    let time_constant = parse_span(time_constant.trim())?;
    (time_constant > Span::ZERO).then_some(WarmUp { amount, time_constant })
}

fn parse_suspend(text: &str) -> Option<Suspend> {
    let (lasts, after) = text.split_once('@')?;
    let (lasts, after) = (parse_span(lasts.trim())?, parse_span(after.trim())?);
    (!lasts.is_negative() && !after.is_negative()).then_some(Suspend { lasts, after })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<OscillatorConfig, OscillatorError> {
        text.parse()
    }

    #[test]
    fn all_keys_parse_in_any_order() {
        let config =
            parse("seed=7, epoch=12s,daily=-1ppm,aging=10ppb,wall=-3600s,offset=-2.5s ,skew=31ppm,wander=20ppb,warmup=3ppm/1.5s,suspend=10s@0.5s")
                .unwrap();
        assert_eq!(config.seed, 7);
        let suspend = Suspend { lasts: Span::from_secs(10), after: Span::from_millis(500) };
        assert_eq!(config.suspend, Some(suspend));
        assert_eq!((config.daily, config.aging), (Skew::from_ppm(-1.0), Skew::from_ppm(0.01)));
        assert_eq!(config.epoch, Timestamp::from_nanos(12_000_000_000));
        assert_eq!((config.offset, config.wall), (Span::from_millis(-2500), Span::from_secs(-3600)));
        assert!((config.skew.as_ppm() - 31.0).abs() < 1e-9);
        assert!((config.wander.as_ppm() - 0.02).abs() < 1e-12);
        assert_eq!(config.warm_up.unwrap().time_constant, Span::from_millis(1500));
        assert_eq!(parse("").unwrap(), OscillatorConfig::default());
    }

    #[test]
    fn spans_are_exact_decimals() {
        assert_eq!(parse_span("0.1s"), Some(Span::from_millis(100)));
        assert_eq!(parse_span(".5us"), Some(Span::from_nanos(500)));
        assert_eq!(parse_span("-1.000000001s"), Some(Span::from_nanos(-1_000_000_001)));
        for wrong in ["", "s", ".s", "1", "1.5ns", "--1s", "1e3s", "1.-5s", "99999999999999s"] {
            assert_eq!(parse_span(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn errors_name_the_key_and_the_value() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(
            message("skew=31"),
            "oscillator: `skew=31`: expected a rate such as 31ppm or -200ppb, within 50000 ppm"
        );
        assert!(message("drift=3ppm").contains("unknown key `drift`"));
        assert!(message("seed").contains("`seed` has no value"));
        assert!(message("seed=1,seed=2").contains("`seed` is given twice"));
        for wrong in [
            "skew=inf ppm",
            "skew=NaNppm",
            "wander=-1ppm",
            "warmup=3ppm",
            "warmup=3ppm/0s",
            "seed=-1",
            "suspend=10s",
            "suspend=-1s@3s",
            "suspend=1s@-3s",
        ] {
            assert!(matches!(parse(wrong), Err(OscillatorError::BadValue { .. })), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn the_printed_text_parses(offset: i64, skew in -4e4_f64..4e4, wander in 0.0_f64..99.0, epoch: i64, seed: u64, warm: bool, wall: i64, sleep in proptest::option::of((0..i64::MAX, 0..i64::MAX))) {
            prop_assume!(offset != i64::MIN && epoch != i64::MIN && wall != i64::MIN);
            let config = OscillatorConfig {
                offset: Span::from_nanos(offset),
                skew: Skew::from_ppm(skew),
                wander: Skew::from_ppm(wander),
                warm_up: warm.then(|| WarmUp { amount: Skew::from_ppm(-skew), time_constant: Span::from_millis(700) }),
                epoch: Timestamp::from_nanos(epoch),
                seed,
                wall: Span::from_nanos(wall),
                suspend: sleep.map(|(lasts, after)| Suspend { lasts: Span::from_nanos(lasts), after: Span::from_nanos(after) }),
                daily: Skew::from_ppm(wander),
                aging: Skew::from_ppm(skew / 1e3),
            };
            let back = parse(&config.to_string()).unwrap();
            prop_assert_eq!((back.offset, back.epoch, back.seed, back.wall), (config.offset, config.epoch, config.seed, config.wall));
            prop_assert_eq!(back.suspend, config.suspend);
            prop_assert!((back.skew.as_ppm() - skew).abs() < 1e-9);
            prop_assert!((back.wander.as_ppm() - wander).abs() < 1e-9);
            prop_assert!((back.daily.as_ppm() - wander).abs() < 1e-9);
            prop_assert!((back.aging.as_ppm() - skew / 1e3).abs() < 1e-9);
        }
    }
}
