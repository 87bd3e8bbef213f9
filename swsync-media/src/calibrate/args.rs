//! The arguments of `swsync calibrate`.

use std::path::PathBuf;

use clap::Args;

/// Measure how far long exposures shift a camera's frames, and keep it in the camera's profile.
///
/// For cameras of which only the exposure can be set (align-method=inject-exposure): one that was calibrated is on the
/// grid after one or two injections instead of three to eight. The camera runs for half a minute; it may look at
/// anything, for only the times of frames are looked at.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct CalibrateArgs {
    /// The camera: an swsyncsrc with its properties, as gst-launch-1.0 takes it
    #[arg(default_value = "swsyncsrc", value_name = "SOURCE")]
    pub(super) source: String,
    /// Model that the profile is for; that of a simulated camera is known
    #[arg(long, value_name = "NAME")]
    pub(super) model: Option<String>,
    /// Rate and size at which the camera is measured: a response belongs to one frame rate
    #[arg(long, value_name = "CAPS", default_value = "video/x-raw,framerate=30/1")]
    pub(super) caps: String,
    /// Exposures that are measured, besides those that look for the shortest
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u16).range(8..=1000))]
    pub(super) injections: u16,
    /// Longest exposure; without this, three frame periods
    #[arg(long, value_name = "TIME")]
    pub(super) longest: Option<humantime::Duration>,
    /// Exposure of all other frames
    #[arg(long, value_name = "TIME", default_value = "5ms")]
    pub(super) exposure: humantime::Duration,
    /// Takes the numbers from a phaseconfig of libsoftwaresync instead of a camera
    #[arg(long, value_name = "FILE", requires = "model")]
    pub(super) import: Option<PathBuf>,
    /// File to keep the profile in; without this, the folder in which swsyncsrc looks for it
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Measures, and writes nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Prints the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

const HELP: &str = "\
Examples:
  swsync calibrate 'swsyncsrc backend=simulated simulated-sensor=phone' --output phone.json
  swsync calibrate 'swsyncsrc camera-name=...' --model ov5693
  swsync calibrate --import pixel3_phaseconfig.json --model pixel3";
