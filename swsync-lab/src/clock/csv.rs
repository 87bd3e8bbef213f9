//! Reads tables of nanoseconds as CSV: traces of exchanges, and their true offsets.

use std::io::{self, BufRead, BufReader, Read};

/// Longer lines are an error.
const MAX_LINE: u64 = 1000;

/// The columns of a trace of exchanges.
pub const TRACE: [&str; 4] = ["t0_ns", "t1_ns", "t2_ns", "t3_ns"];
/// The columns of a table of true offsets.
pub const TRUTH: [&str; 2] = ["t3_ns", "true_offset_ns"];

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CsvError {
    /// The system's error.
    #[error("cannot read {name}, line {line}: {source}")]
    Read {
        /// Name of the input.
        name: String,
        /// Line, from 1.
        line: u64,
        /// The error.
        source: io::Error,
    },
    /// The first line is not the header.
    #[error("{name}, line 1: the header must be `{expected}`, but this is {found}: put the header there")]
    Header {
        /// Name of the input.
        name: String,
        /// The line.
        found: String,
        /// The header.
        expected: String,
    },
    /// A row with too few or too many columns.
    #[error(
        "{name}, line {line}: {found} columns where the header has {expected}: correct the row or remove it"
    )]
    Columns {
        /// Name of the input.
        name: String,
        /// Line, from 1.
        line: u64,
        /// Columns of the row.
        found: usize,
        /// Columns of the header.
        expected: usize,
    },
    /// A cell that is not a number.
    #[error(
        "{name}, line {line}, column {column} ({heading}): {text:?} is not a whole number of ns below \
         2^63: correct the row or remove it"
    )]
    Number {
        /// Name of the input.
        name: String,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: usize,
        /// Its heading.
        heading: &'static str,
        /// The cell.
        text: String,
    },
    /// A line that is too long.
    #[error("{name}, line {line}: longer than {MAX_LINE} bytes, so this is no table of timestamps")]
    TooLong {
        /// Name of the input.
        name: String,
        /// Line, from 1.
        line: u64,
    },
}

/// Reads a table row by row, each only when it is asked for.
#[derive(Debug)]
pub struct Rows<R, const N: usize> {
    input: BufReader<R>,
    name: String,
    headings: [&'static str; N],
    /// Number of the line read last.
    line: u64,
    text: Vec<u8>,
}

impl<R: Read, const N: usize> Rows<R, N> {
    /// A reader of `input`, which error messages call `name`. Reads nothing yet.
    pub fn new(input: R, name: impl Into<String>, headings: [&'static str; N]) -> Self {
        Self { input: BufReader::new(input), name: name.into(), headings, line: 0, text: Vec::new() }
    }

    /// Whether reading the next row may block: no whole line is buffered.
    pub fn may_block(&self) -> bool {
        !self.input.buffer().contains(&b'\n')
    }

    /// The next row; `None` at the end. The first call reads the header, too. Empty lines are skipped.
    ///
    /// # Errors
    /// [`CsvError`], with the line's number.
    pub fn next_row(&mut self) -> Result<Option<[i64; N]>, CsvError> {
        if self.line == 0 {
            self.header()?;
        }
        while self.next_line()? {
            if !self.text.is_empty() {
                return self.row().map(Some);
            }
        }
        Ok(None)
    }

    fn header(&mut self) -> Result<(), CsvError> {
        let is_there = self.next_line()?;
        let text = self.text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.text);
        let cells = text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        if is_there && cells.eq(self.headings.map(str::as_bytes)) {
            return Ok(());
        }
        let found = if is_there { format!("{:?}", shown(&self.text)) } else { "empty".to_owned() };
        Err(CsvError::Header { name: self.name.clone(), found, expected: self.headings.join(",") })
    }

    /// Reads a line, without its end; `false` at the end of the input.
    fn next_line(&mut self) -> Result<bool, CsvError> {
        self.line += 1;
        self.text.clear();
        let (name, line) = (&self.name, self.line);
        let read = (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut self.text);
        let read = read.map_err(|source| CsvError::Read { name: name.clone(), line, source })?;
        if u64::try_from(read).is_ok_and(|read| read >= MAX_LINE) && self.text.last() != Some(&b'\n') {
            return Err(CsvError::TooLong { name: name.clone(), line });
        }
        self.text.truncate(self.text.trim_ascii_end().len());
        Ok(read > 0)
    }

    fn row(&self) -> Result<[i64; N], CsvError> {
        let (name, line) = (&self.name, self.line);
        let found = self.text.split(|byte| *byte == b',').count();
        if found != N {
            return Err(CsvError::Columns { name: name.clone(), line, found, expected: N });
        }
        let mut row = [0; N];
        let cells = self.text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        for (index, (cell, value)) in cells.zip(&mut row).enumerate() {
            let number = str::from_utf8(cell).ok().and_then(|text| text.parse().ok());
            *value = number.ok_or_else(|| CsvError::Number {
                name: name.clone(),
                line,
                column: index + 1,
                heading: self.headings[index],
                text: shown(cell),
            })?;
        }
        Ok(row)
    }
}

/// The beginning of `text`, for a message.
fn shown(text: &[u8]) -> String {
    let mut shown: String = String::from_utf8_lossy(text).chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_rows_or_an_error(bytes: Vec<u8>, whole in proptest::collection::vec(any::<[i64; 2]>(), 0..20)) {
            let _ = rows(&bytes);
            let mut text = format!("{}\n", TRUTH.join(",")).into_bytes();
            for [t3, offset] in &whole {
                text.extend(format!("{t3},{offset}\n").bytes());
            }
            prop_assert_eq!(rows(&text), Ok(whole));
            text.extend(bytes);
            let _ = rows(&text);
        }
    }

    fn rows(text: &[u8]) -> Result<Vec<[i64; 2]>, String> {
        let mut rows = Rows::new(text, "x.csv", TRUTH);
        let mut all = Vec::new();
        while let Some(row) = rows.next_row().map_err(|error| error.to_string())? {
            all.push(row);
        }
        Ok(all)
    }

    #[test]
    fn unix_and_windows_line_ends_are_read() {
        let expected = Ok(vec![[1, -2], [i64::MAX, i64::MIN]]);
        assert_eq!(rows(b"t3_ns,true_offset_ns\n1,-2\n9223372036854775807,-9223372036854775808\n"), expected);
        let windows =
            b"\xef\xbb\xbft3_ns, true_offset_ns\r\n1,-2\r\n\r\n9223372036854775807 , -9223372036854775808";
        assert_eq!(rows(windows), expected);
        assert_eq!(rows(b"t3_ns,true_offset_ns"), Ok(vec![]));
    }

    #[test]
    fn errors_say_where_and_what_to_do() {
        let error = |rest: &str| rows(format!("t3_ns,true_offset_ns\n1,2\n{rest}").as_bytes()).unwrap_err();
        assert_eq!(
            error("3,4.5\n"),
            "x.csv, line 3, column 2 (true_offset_ns): \"4.5\" is not a whole number of ns below 2^63: \
             correct the row or remove it"
        );
        for wrong in ["", "x", "0x10", "1e9", "9223372036854775808", "nan", "- 1", "ü"] {
            assert!(error(&format!("{wrong},1")).contains("line 3, column 1 (t3_ns)"), "{wrong}");
        }
        assert!(error("\n1\n").contains("line 4: 1 columns where the header has 2"));
        assert!(error("1,2,3").contains("line 3: 3 columns"));
        assert!(error(&"1".repeat(3000)).contains("line 3: longer than"));
        assert!(rows(b"1,2\n").unwrap_err().contains("the header must be `t3_ns,true_offset_ns`"));
        assert!(rows(b"").unwrap_err().contains("this is empty"));
        assert!(rows(b"\xff\xfe\n").unwrap_err().contains("line 1"));
    }

    #[test]
    fn a_row_is_returned_as_soon_as_its_line_ends() {
        let mut rows = Rows::new(&b"t3_ns,true_offset_ns\n1,2\n3,4\n"[..], "x", TRUTH);
        assert!(rows.may_block());
        rows.next_row().unwrap();
        assert!(!rows.may_block());
        rows.next_row().unwrap();
        assert!(rows.may_block());
        assert_eq!(rows.next_row().unwrap(), None);
    }
}
