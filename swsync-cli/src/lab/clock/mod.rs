//! `swsync lab clock`: how good clock estimators are, where the truth is known.

mod csv;
mod filter;
mod out;
mod replay;
mod score;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use swsync_core::time::Span;

use filter::Filter;

/// Measure clock estimators: on a recorded trace, in simulation, or live.
///
/// With --trace, a trace of exchanges is replayed, and every exchange is answered by what the filter
/// says at its end, from the exchanges so far alone. A trace is a table (CSV) with the columns
/// t0_ns,t1_ns,t2_ns,t3_ns: the client sends (its clock), the leader receives and sends (its clock), the
/// client receives (its clock). Answers have the columns t3_ns,offset_ns,skew_ppb,uncertainty_ns:
/// leader minus client at t3, the leader's rate beyond the client's, and 1 sigma of the offset, without
/// what the asymmetry of the path adds. Impossible exchanges are answered by the estimate that stands;
/// cells are empty before the first estimate.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct ClockArgs {
    /// A recorded trace; `-` is standard input, answered line by line
    #[arg(long, value_name = "FILE|-")]
    trace: PathBuf,
    /// Estimators, separated by commas; without this: track
    #[arg(long, value_name = "FILTER", value_enum, value_delimiter = ',')]
    filter: Vec<Filter>,
    /// Where the answers go; `-` (and without --truth, the default) is standard output
    #[arg(long, value_name = "FILE|-")]
    out: Option<PathBuf>,
    /// The trace's true offsets (t3_ns,true_offset_ns): adds a table of the errors
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Exchanges at the beginning whose errors do not count
    #[arg(long, value_name = "N", default_value_t = 300)]
    after: usize,
    /// What the path's asymmetry adds to every offset, in us, or `auto`: half of what the least
    /// delay to the leader is above the least delay to the client. It is taken off before errors are
    /// compared with the stated uncertainty, and only there
    #[arg(long, value_name = "US|auto", default_value = "auto", value_parser = parse_asymmetry, allow_hyphen_values = true)]
    asymmetry: Asymmetry,
    /// Prints the table as JSON; spans in ns
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Examples:
  swsync lab clock --trace wifi.csv --out answers.csv       every exchange, answered by `track`
  recorder | swsync lab clock --trace - --filter min        answers as the exchanges come
  swsync lab clock --trace wifi.csv --truth wifi.truth.csv --filter track,min,mean";

/// What the path's asymmetry adds to every offset: as told, or measured.
type Asymmetry = Option<Span>;

fn parse_asymmetry(text: &str) -> Result<Asymmetry, String> {
    if text == "auto" {
        return Ok(None);
    }
    let micros: f64 = text.parse().map_err(|_| "expected microseconds, as -19, or auto".to_owned())?;
    if !micros.is_finite() {
        return Err("expected a finite number of microseconds".to_owned());
    }
    Ok(Some(Span::from_nanos_f64(micros * 1e3)))
}

/// Runs the command.
///
/// # Errors
/// Where a file cannot be read or written, and at the first row of a trace that is none.
pub fn run(args: &ClockArgs) -> anyhow::Result<ExitCode> {
    replay::run(args, &args.trace)
}
