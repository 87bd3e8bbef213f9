//! The arguments of `swsync lab clock`.

use std::path::PathBuf;

use clap::Args;
use swsync_core::time::Span;
use swsync_sim::trace::Scenario;

use super::filter::Filter;
use super::live::LiveArgs;

/// Measure clock estimators: in simulation, on a recorded trace, or live.
///
/// Without further arguments, swsync's estimators and those of its peers follow simulated leaders over
/// simulated links, and a table a scenario says how far off they were.
///
/// With --trace, a trace of exchanges is replayed, and every exchange is answered by what the filter
/// says at its end, from the exchanges so far alone. A trace is a table (CSV) with the columns
/// t0_ns,t1_ns,t2_ns,t3_ns: the client sends (its clock), the leader receives and sends (its clock), the
/// client receives (its clock). Answers have the columns t3_ns,offset_ns,skew_ppb,uncertainty_ns:
/// leader minus client at t3, the leader's rate beyond the client's, and 1 sigma of the offset, without
/// what the asymmetry of the path adds. Impossible exchanges are answered by the estimate that stands;
/// cells are empty before the first estimate.
///
/// Tables: mean, 95 % and 99 % quantile and maximum of the error's magnitude and its mean with sign
/// (bias), in us; seconds from the first exchange until it stays within 100 us for a second (the median
/// seed's); and the share of errors within twice the stated uncertainty, less the path's asymmetry: half
/// of what the least delay to the leader is above the least delay to the client, which no exchange
/// can see. The last column is the worst seed's mean and 99 % quantile.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct ClockArgs {
    /// Estimators, separated by commas; without this, all in simulation, `track` on a trace
    #[arg(long, value_name = "FILTER", value_enum, value_delimiter = ',')]
    pub(super) filter: Vec<Filter>,
    /// Exchanges at the beginning whose errors do not count
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub(super) after: usize,
    /// What the path's asymmetry adds to every offset, in us, or `auto`: what is known of the
    /// simulated link, or of the trace by its truth. Taken off for the comparison with the stated
    /// uncertainty, and only there
    #[arg(long, value_name = "US|auto", default_value = "auto", value_parser = parse_asymmetry, allow_hyphen_values = true)]
    pub(super) asymmetry: Asymmetry,
    /// Prints tables as JSON; spans in ns
    #[arg(long)]
    pub(super) json: bool,

    /// Scenarios, separated by commas: pixel3-wifi, pixel3-wifi-10hz, pi-wifi-busy, ethernet-sw,
    /// drifting, asymmetric-bursts, quiet-levels, or a shape of delays (an unknown name lists them);
    /// without this, all
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Simulation")]
    pub(super) scenario: Vec<Scenario>,
    /// Traces a scenario
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one, help_heading = "Simulation")]
    pub(super) seeds: usize,
    /// Seed of the first one, and of the live link
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Simulation")]
    pub(super) seed: u64,
    /// Writes every simulated trace and its truth into this folder, for --trace and --truth
    #[arg(long, value_name = "DIR", help_heading = "Simulation")]
    pub(super) write_trace: Option<PathBuf>,

    /// Replays a recorded trace; `-` is standard input, answered line by line
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["scenario", "seeds", "seed", "write_trace"], help_heading = "Replay")]
    pub(super) trace: Option<PathBuf>,
    /// Where the answers go; `-` (and without --truth, the default) is standard output
    #[arg(long, value_name = "FILE|-", requires = "trace", help_heading = "Replay")]
    pub(super) out: Option<PathBuf>,
    /// The trace's true offsets (t3_ns,true_offset_ns): adds a table of the errors
    #[arg(long, value_name = "FILE", requires = "trace", help_heading = "Replay")]
    pub(super) truth: Option<PathBuf>,

    #[command(flatten)]
    pub(super) live: LiveArgs,
}

const HELP: &str = "\
Examples:
  swsync lab clock                                          all estimators, all scenarios
  swsync lab clock --scenario drifting --filter track,gstnet --seeds 100
  swsync lab clock --trace wifi.csv --out answers.csv       every exchange, answered by `track`
  recorder | swsync lab clock --trace - --filter min        answers as the exchanges come
  swsync lab clock --trace wifi.csv --truth wifi.truth.csv --filter track,min,mean
  swsync lab clock --live --seconds 30 --link wifi-busy";

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|seeds| *seeds > 0).ok_or_else(|| "expected a number from 1 on".to_owned())
}

/// What the path's asymmetry adds to every offset; `None`: it is measured.
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

#[cfg(test)]
pub mod testing {
    use clap::Parser;

    use super::ClockArgs;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        clock: ClockArgs,
    }

    /// The parsed arguments.
    pub fn args(args: &[&str]) -> ClockArgs {
        Command::parse_from([&["clock"], args].concat()).clock
    }
}
