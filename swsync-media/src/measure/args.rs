//! The arguments of `swsync measure`.

use std::path::PathBuf;

use clap::Args;

/// Measure how far apart the devices' pictures really are, by pictures of an LED panel, and what to correct.
///
/// Each device photographs the same panel, which shows the time. What the pictures say is compared with what the devices believed
/// (frames.csv): the total error of each pair of devices, the phase errors that they knew of, and the rest. The part of the rest
/// that is the same in all pictures is a constant of each device: the path offset that its clock should take off.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct MeasureArgs {
    /// Folders of takes that show the panel, as `swsync collect` wrote them: OUT/ORDER
    #[arg(value_name = "TAKE", required = true)]
    pub(super) takes: Vec<PathBuf>,
    /// How long a column of the panel's fast array is lit
    #[arg(long, value_name = "TIME", default_value = "200us")]
    pub(super) slot: humantime::Duration,
    /// Refreshes per second of the screen that shows the panel (`swsync panel --serve`): its limits count as uncertainty
    #[arg(long, value_name = "HZ", value_parser = swsync_cli::panel::refresh_rate)]
    pub(super) screen: Option<f64>,
    /// From the first row's start to the last row's, for cameras whose manifest does not state their row time; without this, it is estimated from the picture
    #[arg(long, value_name = "TIME")]
    pub(super) readout: Option<humantime::Duration>,
    /// Most pictures of a device and take that are read: evenly spread
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) most: u32,
    /// What the constants are taken for; pictures cannot tell
    #[arg(long, value_enum, default_value_t = Cause::Path, value_name = "CAUSE")]
    pub(super) cause: Cause,
    /// Writes the path offset of this host's device into its configuration file; those of other devices are printed. With --cause
    /// camera: adds each model's part to the stamp bias in its profile, to be copied to the devices
    #[arg(long)]
    pub(super) write: bool,
    /// Prints the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What a device's constant is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Cause {
    /// The asymmetry of the device's path.
    Path,
    /// Stamps and exposure reference of the camera's model: the mean over its devices.
    Camera,
}

const AFTER_HELP: &str = "\
Examples:
  for i in 1 2 3 4 5 6; do swsync shoot --count 10 --id panel-$i; sleep 20; done
  swsync collect takes
  swsync measure takes/panel-*
  swsync measure takes/panel-* --slot 50ms --screen 60       # as the page of `swsync panel --serve` says

Several takes, some time apart, show how far the clocks wander: from four takes on, the uncertainty rests on that; before,
on what the clocks say of themselves.

Columns, in microseconds, of the first device minus the second:
  total     how far apart the pictures are, by the panel: mean and largest
  phase     what the devices knew of it: mean of their phase errors
  constant  mean of the rest: paths, stamps and exposure references, and clocks
  scatter   standard deviation of the rest, and what readings of the panel explain of it
  clock     what the devices' clocks said they might be off, 1 sigma

docs/measure.md says how to photograph a panel, and what pictures cannot tell.

Exit codes:
  0  measured
  1  the takes cannot be read, no panel can be read on two devices at once, or a file cannot be written
  2  wrong arguments";
