//! The arguments of `swsync lab steady`.

use std::path::PathBuf;

use clap::Args;
use swsync_sim::link::LinkModel;

use crate::simulated_rig::{Hardware, RigModel};

/// Let rigs of cameras run for an hour in simulated time, and read from their pictures how far apart they are.
///
/// Each rig has a leader and clients on one WiFi channel. Each device has its own crystal, latencies of host and radio, bias of
/// stamps and exposure reference. Ten stills in the first ten seconds after all cameras are aligned, one a second; from the second
/// minute on, one a minute. Each picture of the LED panel goes through JPEG and is read. The table has the time of each client's
/// picture minus the leader's: mean and maximum of its magnitude, in us, and the means of its parts, with sign: clock, phase,
/// exposure reference, stamp. Then the same devices on another day, with the path offset that the first ten stills after the first
/// minute gave: latencies that differ between the directions shift a clock, and no message shows them, but pictures do.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct SteadyArgs {
    /// Devices of a rig, the leader among them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=50))]
    pub(super) devices: u8,
    /// Length of each run, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(super) minutes: u32,
    /// Rigs, each with other devices
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) seeds: u64,
    /// Seed of the first rig
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// The links, without the devices' own latencies: wifi, wifi-busy, ethernet (an unknown name lists them)
    #[arg(long, value_name = "NAME", default_value = "wifi")]
    pub(super) link: LinkModel,
    /// Data that each device sends on the channel, in Mbit/s
    #[arg(long, value_name = "MBIT", default_value_t = 1.0)]
    pub(super) traffic: f64,
    /// Writes lab.json and stills.csv into this folder
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
    /// Prints the figures as JSON; spans in ns
    #[arg(long)]
    pub(super) json: bool,
}

const HELP: &str = "\
Examples:
  swsync lab steady                                         five rigs of five devices, an hour each
  swsync lab steady --seeds 1 --minutes 10 --link wifi-busy --traffic 4
  swsync lab steady --out FOLDER --json";

impl SteadyArgs {
    /// The rig of this seed.
    pub(super) fn rig(&self, seed: u64) -> RigModel {
        let devices = (0..usize::from(self.devices)).map(|index| Hardware::of(seed, index)).collect();
        RigModel { devices, link: self.link.clone(), megabits: self.traffic }
    }
}

#[cfg(test)]
pub mod testing {
    use clap::Parser;

    use super::SteadyArgs;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        steady: SteadyArgs,
    }

    /// The parsed arguments.
    pub fn args(args: &[&str]) -> SteadyArgs {
        Command::parse_from([&["steady"], args].concat()).steady
    }
}
