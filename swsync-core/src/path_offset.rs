//! A device's path offset as people write it: `-41.5us`, `12000ns`, `0`. A number without a unit counts nanoseconds.
//!
//! What it is: [`ClientConfig::path_offset`](crate::time_service::ClientConfig::path_offset).

use crate::time::Span;

/// A larger path offset is taken for a mistake in the unit. Send and receive latencies of devices differ by less than
/// milliseconds.
pub const MAX: Span = Span::from_millis(100);

/// Why a text is no path offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathOffsetError {
    /// Not a number with a unit.
    #[error("it has to be a time with its sign, like -41.5us, 12000ns or 0 (units: ns, us, ms)")]
    NotATime,
    /// Larger than [`MAX`].
    #[error("it is more than {} ms: check its unit", MAX.as_nanos() / 1_000_000)]
    TooLarge,
}

/// The path offset that `text` states.
///
/// # Errors
/// [`PathOffsetError`].
pub fn parse(text: &str) -> Result<Span, PathOffsetError> {
    let text = text.trim();
    let units = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6)];
    let with_unit = units.into_iter().find_map(|(unit, nanos)| Some((text.strip_suffix(unit)?, nanos)));
    let (number, nanos) = with_unit.unwrap_or((text, 1.0));
    let number = number.trim_end();
    let is_number = number.bytes().any(|byte| byte.is_ascii_digit())
        && number.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.'));
    let value: f64 = number.parse().ok().filter(|_| is_number).ok_or(PathOffsetError::NotATime)?;
    let offset = Span::from_nanos_f64(value * nanos);
    if offset.abs() > MAX { Err(PathOffsetError::TooLarge) } else { Ok(offset) }
}

/// `offset` as [`parse`] reads it, to the nanosecond.
#[must_use]
pub fn text(offset: Span) -> String {
    format!("{}us", offset.as_micros_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_with_their_unit_and_sign() {
        for (given, nanos) in [
            ("-41.5us", -41_500),
            ("+7 us", 7000),
            ("12000", 12_000),
            ("-12000ns", -12_000),
            ("0.25ms", 250_000),
            ("3µs", 3000),
            (" 0 ", 0),
        ] {
            assert_eq!(parse(given), Ok(Span::from_nanos(nanos)), "{given}");
        }
        for wrong in ["", "us", "40s", "40 u", "inf", "nan", "1e3us", "4-0us", "--4us", "forty"] {
            assert_eq!(parse(wrong), Err(PathOffsetError::NotATime), "{wrong}");
        }
        assert_eq!(parse("-100.1ms"), Err(PathOffsetError::TooLarge));
    }

    #[test]
    fn what_is_written_reads_back() {
        for nanos in [0, 1, -1, 12_345, -41_500, 99_999_999] {
            let offset = Span::from_nanos(nanos);
            assert_eq!(parse(&text(offset)), Ok(offset));
        }
        assert_eq!(text(Span::from_nanos(-41_500)), "-41.5us");
    }
}
