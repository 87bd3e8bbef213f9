//! Tables on a terminal: columns of text, and numbers with their units.

use std::fmt::Write as _;

use swsync_core::time::Span;

/// The entry of a cell without a value.
pub const NOTHING: &str = "-";

/// A column: its heading and its least width.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The text above it.
    pub heading: &'static str,
    /// Least width, in characters. Longer entries push what follows to the right.
    pub width: usize,
    /// The alignment of its entries: numbers to the right, so that their digits line up.
    pub align: Align,
}

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// To the left.
    Left,
    /// To the right.
    Right,
}

/// A table whose rows can be printed one by one, before the others are known.
#[derive(Debug, Clone)]
pub struct Table<const N: usize>([Column; N]);

impl<const N: usize> Table<N> {
    /// A table of these columns.
    #[must_use]
    pub const fn new(columns: [Column; N]) -> Self {
        Self(columns)
    }

    /// The columns.
    #[must_use]
    pub const fn columns(&self) -> &[Column; N] {
        &self.0
    }

    /// The headings, as a line.
    #[must_use]
    pub fn headings(&self) -> String {
        self.line(&self.0.map(|column| column.heading.to_owned()))
    }

    /// One row, as a line. Control characters, which may come from the network, are replaced.
    #[must_use]
    pub fn row(&self, cells: &[String; N]) -> String {
        self.line(cells)
    }

    fn line(&self, cells: &[String; N]) -> String {
        let mut line = String::new();
        for (column, cell) in self.0.iter().zip(cells) {
            let (cell, width) = (clean(cell), column.width);
            // Writing to a string cannot fail.
            let _ = match column.align {
                Align::Left => write!(line, "{cell:<width$}  "),
                Align::Right => write!(line, "{cell:>width$}  "),
            };
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// `text` without control characters, which could move the cursor or change a terminal's colours.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `span` in microseconds, signed: for errors.
#[must_use]
pub fn micros(span: Span) -> String {
    format!("{:+.1}", span.as_micros_f64())
}

/// `span` in microseconds, without sign: for uncertainties.
#[must_use]
pub fn micros_unsigned(span: Span) -> String {
    format!("{:.1}", span.as_micros_f64())
}

/// `bytes` with three digits and a unit.
#[must_use]
pub fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes, "B");
    let mut rest = 0;
    for larger in ["kB", "MB", "GB", "TB"] {
        if value < 1000 {
            break;
        }
        (rest, value, unit) = (value % 1000, value / 1000, larger);
    }
    match (unit, value) {
        ("B", _) | (_, 100..) => format!("{value} {unit}"),
        (_, 10..) => format!("{value}.{} {unit}", rest / 100),
        (_, _) => format!("{value}.{:02} {unit}", rest / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_end_without_blanks() {
        let table = Table::new([
            Column { heading: "device", width: 8, align: Align::Left },
            Column { heading: "us", width: 5, align: Align::Right },
            Column { heading: "why", width: 20, align: Align::Left },
        ]);
        assert_eq!(table.headings(), "device       us  why");
        let row = |cells: [&str; 3]| table.row(&cells.map(str::to_owned));
        assert_eq!(row(["a", "+3.1", ""]), "a          +3.1");
        assert_eq!(row(["longer-than-8", "1", "x"]), "longer-than-8      1  x");
    }

    #[test]
    fn control_characters_of_a_device_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\nc\u{9b}d"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d");
        assert_eq!(clean("Größe ✓"), "Größe ✓");
    }

    #[test]
    fn numbers_have_their_unit_and_sign() {
        assert_eq!(micros(Span::from_nanos(3_140)), "+3.1");
        assert_eq!(micros(Span::from_nanos(-16_666_667)), "-16666.7");
        assert_eq!(micros_unsigned(Span::from_nanos(3_140)), "3.1");
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.00 kB"),
            (12_345, "12.3 kB"),
            (312_900, "312 kB"),
            (2_350_000, "2.35 MB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
