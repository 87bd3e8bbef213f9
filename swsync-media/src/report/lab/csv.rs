//! Tables as the laboratory writes them: RFC 4180, the first line names the columns, an empty cell is a value that is not known.

use std::collections::BTreeMap;
use std::io::BufRead;

use anyhow::{Context as _, bail, ensure};

/// At most so many columns.
const MAX_COLUMNS: usize = 200;

/// A column of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// All cells are numbers, or empty.
    Numbers(Vec<Option<f64>>),
    /// Anything else.
    Words(Vec<String>),
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The columns in their order, with their names.
    pub columns: Vec<(String, Column)>,
    /// Number of rows.
    pub rows: usize,
}

impl Table {
    /// Reads a table.
    pub fn read(mut from: impl BufRead) -> anyhow::Result<Self> {
        let mut line = 0;
        let head = record(&mut from, &mut line)?.context("it is empty")?;
        ensure!(head.len() <= MAX_COLUMNS, "it has {} columns: more than {MAX_COLUMNS}", head.len());
        let mut columns: Vec<_> = head.into_iter().map(|name| (name, Column::Numbers(Vec::new()))).collect();
        let mut rows = 0;
        while let Some(cells) = record(&mut from, &mut line)? {
            if cells == [""] {
                continue; // an empty line
            }
            ensure!(
                cells.len() == columns.len(),
                "line {line} has {} cells rather than {}",
                cells.len(),
                columns.len()
            );
            columns.iter_mut().zip(cells).for_each(|((_, column), cell)| column.push(cell));
            rows += 1;
        }
        Ok(Self { columns, rows })
    }

    /// The column of numbers with this name.
    pub fn numbers(&self, name: &str) -> Option<&[Option<f64>]> {
        self.columns.iter().find_map(|(own, column)| match column {
            Column::Numbers(numbers) if own == name => Some(&numbers[..]),
            _ => None,
        })
    }

    /// The names of columns of numbers with at least one value.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter_map(|(name, column)| match column {
            Column::Numbers(numbers) if numbers.iter().any(Option::is_some) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The rows that have the same words in all columns of words except `without`, and in the columns `also`: what these words
    /// are, and the rows' indexes. Without such columns all rows are one group, whose name is empty.
    pub fn groups(&self, also: &[&str], without: &[&str]) -> Vec<(String, Vec<usize>)> {
        let keys: Vec<_> = self
            .columns
            .iter()
            .filter(|(name, column)| {
                let name = name.as_str();
                also.contains(&name) || (matches!(column, Column::Words(_)) && !without.contains(&name))
            })
            .collect();
        let key = |row: usize| {
            let parts = keys.iter().map(|(name, column)| format!("{name} {}", column.text(row)));
            parts.collect::<Vec<_>>().join(", ")
        };
        let mut order: Vec<(String, Vec<usize>)> = Vec::new();
        let mut places = std::collections::HashMap::<String, usize>::new();
        for row in 0..self.rows {
            let key = key(row);
            let place = *places.entry(key.clone()).or_insert_with(|| {
                order.push((key, Vec::new()));
                order.len() - 1
            });
            order[place].1.push(row);
        }
        order
    }
}

impl Column {
    fn push(&mut self, cell: String) {
        match self {
            Self::Words(words) => words.push(cell),
            Self::Numbers(numbers) => match cell.trim() {
                "" => numbers.push(None),
                text => match text.parse::<f64>() {
                    Ok(number) => numbers.push(Some(number)),
                    Err(_) => {
                        let before = (0..numbers.len()).map(|row| self.text(row)).collect::<Vec<_>>();
                        *self = Self::Words(before);
                        self.push(cell);
                    }
                },
            },
        }
    }

    /// How often each of its words occurs. `None`: it is a column of numbers.
    pub fn counts(&self) -> Option<BTreeMap<&str, usize>> {
        let Self::Words(words) = self else { return None };
        let mut counts = BTreeMap::new();
        words.iter().for_each(|word| *counts.entry(word.as_str()).or_default() += 1);
        Some(counts)
    }

    /// The cell of `row` as text.
    fn text(&self, row: usize) -> String {
        match self {
            Self::Words(words) => words.get(row).cloned().unwrap_or_default(),
            Self::Numbers(numbers) => {
                numbers.get(row).copied().flatten().map_or_else(String::new, |n| n.to_string())
            }
        }
    }
}

/// The cells of the next record; `None`: there is none. `line` counts lines.
fn record(from: &mut impl BufRead, line: &mut usize) -> anyhow::Result<Option<Vec<String>>> {
    let mut text = String::new();
    loop {
        let begin = text.len();
        if from.read_line(&mut text).context("it is not text in UTF-8")? == 0 {
            if begin == 0 {
                return Ok(None);
            }
            bail!("a quoted cell does not end");
        }
        *line += 1;
        // Within quotes a line end belongs to the cell.
        if text.matches('"').count().is_multiple_of(2) {
            break;
        }
    }
    let text = text.trim_end_matches(['\r', '\n']);
    let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    Ok(Some(cells))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> anyhow::Result<Table> {
        Table::read(text.as_bytes())
    }

    #[test]
    fn cells_that_are_empty_are_not_known() {
        let table = table("camera,a_ns,b\r\nx,1,\r\n\"y, \"\"z\"\"\",,\n").unwrap();
        assert_eq!(table.rows, 2);
        assert_eq!(table.numbers("a_ns"), Some(&[Some(1.0), None][..]));
        assert_eq!(table.known().collect::<Vec<_>>(), ["a_ns"]);
        let groups = table.groups(&[], &[]);
        assert_eq!(table.columns[0].1.counts().unwrap()["x"], 1);
        assert_eq!(groups, [("camera x".to_owned(), vec![0]), ("camera y, \"z\"".to_owned(), vec![1])]);
    }

    #[test]
    fn a_number_among_words_is_a_word() {
        let table = table("a,n\n1.50,7\nx,8\n").unwrap();
        assert_eq!(table.columns[0].1, Column::Words(vec!["1.5".into(), "x".into()]));
        assert_eq!(table.groups(&["n"], &[])[1].0, "a x, n 8");
    }

    #[test]
    fn bad_tables_say_where() {
        for (text, said) in [
            ("", "it is empty"),
            ("a,b\n1,2\n3\n", "line 3 has 1 cells rather than 2"),
            ("a\n\"x\n", "a quoted cell does not end"),
        ] {
            assert_eq!(table(text).unwrap_err().to_string(), said, "{text}");
        }
        assert_eq!(table("a,b\n").unwrap().rows, 0);
    }
}
