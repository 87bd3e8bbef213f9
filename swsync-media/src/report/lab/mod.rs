//! The report of a run of the laboratory: `lab.json`, and the tables beside it.

mod csv;
mod known;
mod page;
mod plots;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use csv::Table;
pub use page::page;

/// Name of the file that says what was measured.
pub const LAB_JSON: &str = "lab.json";

/// Version of that file which is known here.
const SCHEMA: u32 = 1;

/// A larger file is no table of a laboratory.
const MAX_BYTES: u64 = 512 << 20;

/// At most so many tables.
const MAX_TABLES: usize = 50;

/// `lab.json`.
#[derive(Debug, Deserialize)]
pub struct About {
    /// Version of the file.
    schema: u32,
    /// Which experiment.
    lab: String,
    /// Seed of all that is random in it.
    #[serde(default)]
    seed: Option<u64>,
    /// The command that gives the same again.
    #[serde(default)]
    command: Option<String>,
    /// What came out.
    #[serde(default)]
    figures: Value,
}

/// A run of the laboratory.
pub struct LabData {
    about: About,
    /// The tables, by file name.
    tables: Vec<(String, Table)>,
    /// What cannot be read: for a person.
    pub problems: Vec<String>,
}

impl LabData {
    /// Reads the run in `folder`.
    ///
    /// # Errors
    /// `lab.json` cannot be read.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(LAB_JSON);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let about: About = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what `swsync lab ... --out` writes", path.display()))?;
        let version = about.schema;
        ensure!(
            version == SCHEMA,
            "{} is of version {version}, which this swsync does not know: use a newer one",
            path.display()
        );
        let (mut tables, mut problems) = (Vec::new(), Vec::new());
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "csv"));
        files.sort();
        if files.len() > MAX_TABLES {
            problems
                .push(format!("{} tables are there; only the first {MAX_TABLES} are shown.", files.len()));
            files.truncate(MAX_TABLES);
        }
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let read = || -> anyhow::Result<Table> {
                let opened = File::open(&file)?;
                let size = opened.metadata()?.len();
                ensure!(size <= MAX_BYTES, "it is larger than {}", swsync_cli::table::size(MAX_BYTES));
                Table::read(BufReader::new(opened))
            };
            match read() {
                Ok(table) => tables.push((name, table)),
                Err(error) => problems.push(format!("{name} cannot be read: {error:#}.")),
            }
        }
        if tables.is_empty() {
            problems.push("There is no table (CSV) to draw: only the figures of lab.json are shown.".into());
        }
        Ok(Self { about, tables, problems })
    }
}
