//! The arguments of `swsync collect`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use swsync_core::name::{DeviceId, OrderId};

use crate::rig::RigArgs;

/// Fetch the files of orders from every device of the rig.
///
/// They come to OUT/ORDER/DEVICE/, as they are on the devices, and what they prove to OUT/ORDER/certificate.json. Each file appears whole, with the SHA-256 of the
/// device's file, or not at all. If the command is interrupted, the same command goes on where it stopped. Files that
/// are here already are compared by their SHA-256 and not fetched again. A file that differs from the device's (an edited
/// picture) is kept under another name. The command waits for devices that record. A device whose files were not all
/// fetched the last time is named until they are, or until it is given up with --without.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CollectArgs {
    /// Where the files go.
    #[arg(value_name = "OUT")]
    pub(super) out: PathBuf,
    /// Orders to fetch, by name. [default: all that the devices have]
    #[arg(value_name = "ORDER")]
    pub(super) orders: Vec<OrderId>,
    #[command(flatten)]
    pub(super) rig: RigArgs,
    /// Only what was ordered last, whenever it was taken.
    #[arg(long, conflicts_with = "orders")]
    pub(super) last: bool,
    /// Only from this device. Repeatable, or separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(super) device: Vec<DeviceId>,
    /// Give this device up: it is not asked, and what is missing of it in OUT is no longer named. Repeatable, or separated by
    /// commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "device")]
    pub(super) without: Vec<DeviceId>,
    /// Also fetch what is whole of takes that a device is not done with: it still writes, its disk is full, or it was
    /// switched off.
    #[arg(long)]
    pub(super) partial: bool,
    /// Devices to fetch from at once: on WiFi more only share the same air.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    pub(super) parallel: u8,
    /// Delete an order's files on the device once all of them are here, and their SHA-256 was compared
    /// once more.
    #[arg(long)]
    pub(super) delete_verified: bool,
    /// How long a device may be silent before it is given up, like 30s.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(super) timeout: Duration,
    /// Print one JSON document instead of the tables.
    #[arg(long)]
    pub(super) json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  swsync collect takes                         everything that is not here yet
  swsync collect takes --last                  what was ordered last
  swsync collect takes run-3 --delete-verified one order, and make room on the devices
  swsync collect takes --without left          a device that will not come back
  swsync collect takes --json | jq .gaps       which frames some devices lack

Columns:
  new        files that came this time; the others were here already
  state      whole: all files are here, and are what the device has; unfinished: the device still writes, or was
             switched off while it did; partial: of such a take what is whole is here (--partial)

Exit codes:
  0  all files that the devices have of the orders are here, and can be read. Frames that a device never had are
     listed, but do not count
  1  not all of it: a file could not be fetched or read; a take is not finished (with --partial too); a device of the
     rig is out of reach or does not say what it has, or was not whole the last time and is not here now; or the command failed
  2  wrong arguments
  3  no rig or no devices
  130  interrupted by Ctrl-C; the same command goes on";
