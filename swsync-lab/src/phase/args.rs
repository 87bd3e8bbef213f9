//! The arguments of `swsync lab phase`.

use clap::Args;

use super::method::Method;
use super::scenario::Scenario;

/// Measure how cameras reach the frame grid and hold it: in simulation, or for a judge.
///
/// Simulated cameras are started at arbitrary phases, their crystals up to 20 ppm off and wandering, with
/// libcamera's delayed controls, late stamps, lost frames and lost writes. Each is aligned by swsync and by
/// its peers. Tables: trials that were aligned (true error within 20 us for 5 frames), frames from the first
/// one to there (median and 99 % quantile) and seconds; then, over 60 s from there (or from 30 s on), mean, 95 % quantile and
/// maximum of the true error's magnitude in us, and the frames whose length was more than 1 % off the
/// period. Time is simulated.
///
/// With --stdio a judge plays the camera: see docs/phase.md for the messages.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct PhaseArgs {
    /// Answers a judge's frames on standard input, line by line, until that ends
    #[arg(long, conflicts_with_all = ["sensor", "method", "trials", "seed", "json", "svg", "trace"])]
    pub(super) stdio: bool,
    /// Cameras, separated by commas: imx219, imx477, imx708, latency, tight, clock, shaking, exposure,
    /// phone, reset; without this, all
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) sensor: Vec<Scenario>,
    /// Ways to align by frame length, separated by commas; without this, all
    #[arg(long, value_name = "METHOD", value_enum, value_delimiter = ',')]
    pub(super) method: Vec<Method>,
    /// Trials of each
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = at_least_one)]
    pub(super) trials: usize,
    /// Seed of the first trial
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Prints the tables as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Also draws the pictures of docs/phase.md into a folder, as SVG: one trial (that of --seed) of each
    /// camera whose frame lengths can be set, and how soon all trials of the first one are aligned
    #[arg(long, value_name = "DIR")]
    pub(super) svg: Option<std::path::PathBuf>,
    /// Also writes one trial (that of --seed) of each such camera and method, frame by frame, as CSV
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<std::path::PathBuf>,
}

const HELP: &str = "\
Examples:
  swsync lab phase                                          every camera, every method
  swsync lab phase --sensor imx477,latency --trials 1000
  swsync lab phase --sensor imx219,imx477,imx708 --svg pictures --trace frames.csv
  judge | swsync lab phase --stdio";

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|trials| *trials > 0).ok_or_else(|| "expected a number from 1 on".to_owned())
}

#[cfg(test)]
pub mod testing {
    use clap::Parser;

    use super::PhaseArgs;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        phase: PhaseArgs,
    }

    /// The parsed arguments.
    pub fn args(args: &[&str]) -> PhaseArgs {
        Command::parse_from([&["phase"], args].concat()).phase
    }
}
