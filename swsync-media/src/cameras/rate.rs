//! Frame rates as arguments.

use std::fmt;
use std::str::FromStr;

use swsync_core::time::Span;

/// A frame rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    frames: f64,
    seconds: f64,
}

impl Rate {
    pub fn period(self) -> Span {
        Span::from_secs_f64(self.seconds / self.frames)
    }

    pub fn per_second(self) -> f64 {
        self.frames / self.seconds
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", (self.per_second() * 1e6).round() / 1e6)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (frames, seconds) = text.split_once('/').unwrap_or((text, "1"));
        let number = |part: &str| part.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
        let rate = number(frames).zip(number(seconds)).map(|(frames, seconds)| Self { frames, seconds });
        rate.filter(|rate| (0.001..=10_000.0).contains(&rate.per_second()))
            .ok_or_else(|| "expected frames per second, like 30, 29.97 or 30000/1001".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_or_fractions() {
        assert_eq!("30".parse::<Rate>().unwrap().period(), Span::from_nanos(33_333_333));
        assert_eq!("30000/1001".parse::<Rate>().unwrap().period(), Span::from_nanos(33_366_667));
        assert_eq!("12.5".parse::<Rate>().unwrap().period(), Span::from_millis(80));
        for wrong in ["", "0", "-1", "30/0", "nan", "inf", "30 fps", "1/1/1", "1e9"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
