//! Timecode format v2, which `rpicam-vid --save-pts` writes and `mkvmerge --timestamps` reads.
//!
//! After a header there is a line for each picture, in the order in which they are shown, with its time in milliseconds since
//! the first picture of the file.

use crate::time::Span;

/// The first line, with its end.
pub const HEADER: &str = "# timecode format v2\n";

/// The line of a picture that is shown `since_first` after the first one of the file, with nanosecond resolution.
#[must_use]
pub fn line(since_first: Span) -> String {
    let nanos = since_first.as_nanos();
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    format!("{sign}{}.{:06}\n", nanos / 1_000_000, nanos % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_milliseconds_to_the_nanosecond() {
        for (nanos, text) in [
            (0, "0.000000\n"),
            (33_333_333, "33.333333\n"),
            (66_666_667, "66.666667\n"),
            (3_600_000_000_001, "3600000.000001\n"),
            (-1, "-0.000001\n"),
            (i64::MIN, "-9223372036854.775808\n"),
        ] {
            assert_eq!(line(Span::from_nanos(nanos)), text);
        }
    }
}
