//! The arguments of `swsync lab soak`.

use std::path::PathBuf;

use clap::Args;

/// Let a rig run for days in simulated time, and measure its clocks, what they state, and its cameras' phase.
///
/// Crystals wander, age, and follow the day's temperature (up to 1 ppm). Devices have latencies of their own and share a WiFi
/// channel. Every half hour or so something happens: the leader loses power for a minute, another device starts again, a device
/// hangs for 30 s, others use the channel for 10 minutes, or all move to another channel. Every hour the cameras are started and
/// run for a minute.
///
/// One row a day: the magnitude of the clocks' error against whoever leads, in us, without what the latencies' difference adds,
/// which no message shows (`asymmetry` is its mean magnitude): mean, 99 % quantile and maximum while nothing happens; how many of
/// these are within twice the stated uncertainty; the maximum while something happens and for 2 minutes after, of clocks that say
/// they are synced; and the phase error of locked cameras by their devices' clocks.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct SoakArgs {
    /// Devices, the leader among them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=50))]
    pub(super) devices: u8,
    /// Length
    #[arg(long, value_name = "DAYS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    days: u32,
    /// Length in minutes, instead
    #[arg(long, value_name = "MINUTES", conflicts_with = "days", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    minutes: Option<u32>,
    /// Devices, links and events follow from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Data that each device sends on the channel, in Mbit/s
    #[arg(long, value_name = "MBIT", default_value_t = 1.0)]
    pub(super) traffic: f64,
    /// Nothing happens: clocks drift, and that is all
    #[arg(long)]
    pub(super) calm: bool,
    /// Writes lab.json, clock.csv, phase.csv and events.csv into this folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Prints the figures as JSON; spans in ns
    #[arg(long)]
    pub(super) json: bool,
}

const HELP: &str = "\
Examples:
  swsync lab soak                                           two days, five devices
  swsync lab soak --days 14 --devices 10 --out FOLDER
  swsync lab soak --calm --minutes 90 --json";

impl SoakArgs {
    /// Length in minutes.
    pub(super) fn length(&self) -> u32 {
        self.minutes.unwrap_or(self.days * 24 * 60)
    }
}

#[cfg(test)]
pub mod testing {
    use clap::Parser;

    use super::SoakArgs;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        soak: SoakArgs,
    }

    /// The parsed arguments.
    pub fn args(args: &[&str]) -> SoakArgs {
        Command::parse_from([&["soak"], args].concat()).soak
    }
}
