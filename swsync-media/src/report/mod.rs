//! `swsync report`: a take, or a run of the laboratory, as one page that someone can read who was not there.
//!
//! The page loads nothing from anywhere: styles, plots and small pictures are in it. What a take or a table says may come from
//! anybody, so it gets into the page as text only (`html.rs`), and a content security policy lets nothing but the page's own
//! script run. Data that is missing is said to be missing; it is never drawn as zero.

mod contact_sheet;
mod html;
mod lab;
mod page;
mod plot;
mod settings;
mod stats;
mod take;
mod take_page;
mod take_plots;
mod thumbnail;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;
use swsync_cli::exit;
use swsync_cli::output;
use swsync_core::manifest::utc;
use swsync_core::time::Timestamp;
use swsync_files::write_whole;

use lab::LabData;
use page::Page;
use take::TakeData;

/// Name of the page, in the folder of the take.
const REPORT_HTML: &str = "report.html";

/// Make a page that shows a take, or a run of the laboratory: one HTML file, for any browser.
///
/// It shows one instant on all devices, how far pictures of one number may be apart and why, what is missing, and with which
/// settings it was taken. `swsync certify TAKE` before adds the proof.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ReportArgs {
    /// The folder of a take, as `swsync collect` wrote it: OUT/ORDER. Or what `swsync lab` wrote, with lab.json.
    #[arg(value_name = "TAKE|LAB")]
    folder: PathBuf,
    /// Where the page goes. [default: report.html in that folder]
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// The document of `swsync report --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReportDocument {
    /// Whether all that should be there could be read.
    pub complete: bool,
    /// The page.
    pub page: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What is missing or cannot be read, for a person. The page says it too.
    pub problems: Vec<String>,
}

const AFTER_HELP: &str = "\
Examples:
  swsync report takes/shot-1
  swsync certify takes/walk; swsync report takes/walk --out walk.html

Exit codes:
  0  the page is written, and all of the take is in it
  1  the page cannot be written; or it is, and says that a part of the take is missing or cannot be read
  2  wrong arguments";

/// Runs the command.
///
/// # Errors
/// There is no take, or the page cannot be written.
pub fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let (page, problems) = page_of(&args.folder)?;
    let out = args.out.clone().unwrap_or_else(|| args.folder.join(REPORT_HTML));
    let html = page.to_html();
    write_whole(&out, html.as_bytes()).with_context(|| format!("cannot write {}", out.display()))?;
    let (complete, bytes) = (problems.is_empty(), html.len() as u64);
    if args.json {
        output::json(&ReportDocument { complete, page: out, bytes, problems });
    } else {
        output::line(&format!("{} ({})", out.display(), swsync_cli::table::size(bytes)));
    }
    Ok(ExitCode::from(if complete { 0 } else { exit::INCOMPLETE }))
}

/// The page about `folder`, and what should be there and could not be read.
fn page_of(folder: &Path) -> anyhow::Result<(Page, Vec<String>)> {
    ensure!(
        folder.is_dir(),
        "{} is no folder: give that of a take, or of a run of the laboratory",
        folder.display()
    );
    if folder.join(lab::LAB_JSON).is_file() {
        let lab = LabData::read(folder)?;
        return Ok((lab::page(&lab, command(), now()), lab.problems));
    }
    let take = TakeData::read(folder)?;
    Ok((take_page::page(&take, command(), now()), take.problems))
}

/// The command as it was typed.
fn command() -> String {
    let quoted = |word: std::ffi::OsString| {
        let word = word.to_string_lossy().into_owned();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    let words = std::iter::once("swsync".to_owned()).chain(std::env::args_os().skip(1).map(quoted));
    words.collect::<Vec<_>>().join(" ")
}

/// This host's time, to the second.
fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = i64::try_from(now.as_secs()).unwrap_or_default().saturating_mul(1_000_000_000);
    utc(Timestamp::from_nanos(nanos)).replace(".000000000", "")
}
