//! A folder for `swsync report`: `lab.json` with the figures, and a CSV file for each series they come from.

use std::fmt::Write as _;
use std::path::Path;

use swsync_cli::output;
use swsync_core::time::Span;

use super::args::CommonArgs;
use crate::lab_folder;

/// A CSV file: a line of headings, then rows. The heading of each column names its unit.
#[derive(Debug, Clone)]
pub struct Csv {
    name: &'static str,
    text: String,
}

impl Csv {
    /// A file without rows.
    pub fn new(name: &'static str, columns: &[&str]) -> Self {
        Self { name, text: format!("{}\n", columns.join(",")) }
    }

    /// What it contains.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Appends a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        let _ = writeln!(self.text, "{}", cells.join(",")); // writing to a string cannot fail
    }
}

/// A cell with a span in ns; empty if there is none.
pub fn cell_ns(span: Option<Span>) -> String {
    span.map_or_else(String::new, |span| span.as_nanos().to_string())
}

/// What a laboratory found.
#[derive(Debug)]
pub struct Findings {
    /// Its name: the subcommand.
    pub lab: &'static str,
    /// The command that gives the same figures.
    pub command: String,
    /// Its figures.
    pub figures: serde_json::Value,
    /// What they come from.
    pub files: Vec<Csv>,
    /// The table.
    pub text: String,
}

impl Findings {
    /// `lab.json`.
    fn to_json(&self, seed: u64) -> serde_json::Value {
        lab_folder::about(self.lab, seed, &self.command, &self.figures)
    }

    /// Prints them, and writes the folder if `args` name one.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn publish(&self, args: &CommonArgs) -> anyhow::Result<()> {
        let json = self.to_json(args.seed);
        if let Some(folder) = &args.out {
            self.write(folder, &json)?;
        }
        output::line(&if args.json { json.to_string() } else { self.text.clone() });
        Ok(())
    }

    fn write(&self, folder: &Path, json: &serde_json::Value) -> anyhow::Result<()> {
        lab_folder::write(folder, json, self.files.iter().map(|csv| (csv.name, csv.text.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_has_the_figures_and_the_rows() {
        let folder = tempfile::tempdir().unwrap();
        let mut csv = Csv::new("errors.csv", &["trial", "total_error_ns"]);
        csv.row(["0".to_owned(), cell_ns(Some(Span::from_micros(-3)))]);
        csv.row(["1".to_owned(), cell_ns(None)]);
        let findings = Findings {
            lab: "table9",
            command: "swsync lab table9".to_owned(),
            figures: serde_json::json!({ "max_ns": 3000 }),
            files: vec![csv],
            text: String::new(),
        };
        let out = folder.path().join("new");
        findings.write(&out, &findings.to_json(7)).unwrap();
        let text = fs::read_to_string(out.join("errors.csv")).unwrap();
        assert_eq!(text, "trial,total_error_ns\n0,-3000\n1,\n");
        let json: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(out.join("lab.json")).unwrap()).unwrap();
        assert_eq!((&json["schema"], &json["lab"], &json["seed"]), (&1.into(), &"table9".into(), &7.into()));
        assert_eq!(json["figures"]["max_ns"], 3000);
    }
}
