//! `swsync cameras`: lists the cameras, and which of their modes leave room to shift frames.

mod headroom;
mod rate;
mod report;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use gst::prelude::*;

use rate::Rate;
pub use report::CamerasDocument;
use report::{Camera, Report};
use swsync_cli::exit;
use swsync_cli::output;

/// List the cameras that swsyncsrc can open, their modes, and how much room each leaves to shift frames.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CamerasArgs {
    /// Wanted frame rate, as a number or a fraction (30000/1001).
    #[arg(long, value_name = "RATE", default_value = "30")]
    fps: Rate,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Each camera is opened for a moment and put into each of its modes; where another process has it open, the modes are
those of its profile.

Columns:
  mode         columns x rows that the sensor reads (of cameras that do not tell: of the picture)
  shortest us  shortest frame, in microseconds
  fastest fps  the frame rate that this allows
  headroom     by how much frames can be shorter than the wanted rate's period. Below 2 % there is too little: a
               camera is held on the frame grid by frames that are a little shorter or longer

Exit codes:
  0  cameras are listed, with their modes
  1  some camera's modes cannot be known, or GStreamer does not find swsync's plugin
  2  wrong arguments
  3  no camera";

/// Runs the command.
///
/// # Errors
/// GStreamer does not start, or the plugin lists no cameras (`plugin.rs` says why).
pub fn run(args: &CamerasArgs) -> anyhow::Result<ExitCode> {
    let cameras = devices()?.iter().map(camera).collect();
    let report = Report { fps: args.fps, cameras };
    if args.json {
        output::json(&report.document());
    } else {
        report.lines().iter().for_each(|line| output::line(line));
    }
    Ok(ExitCode::from(match report.is_whole() {
        Some(true) => 0,
        Some(false) => exit::INCOMPLETE,
        None => exit::NO_RIG,
    }))
}

/// The ids of the cameras, in libcamera's order. None is opened.
///
/// # Errors
/// As [`run`].
pub fn ids() -> anyhow::Result<Vec<String>> {
    Ok(devices()?.iter().map(id).collect())
}

fn devices() -> anyhow::Result<Vec<gst::Device>> {
    gst::init().context("GStreamer does not start")?;
    Ok(crate::plugin::device_provider()?.devices().into_iter().collect())
}

fn id(device: &gst::Device) -> String {
    let named = device.properties().and_then(|properties| properties.get("camera-name").ok());
    named.unwrap_or_else(|| device.display_name().into())
}

/// A camera as the plugin describes it.
fn camera(device: &gst::Device) -> Camera {
    let properties = device.properties();
    let text = |name: &str| properties.as_ref().and_then(|p| p.get::<String>(name).ok());
    let modes = device.emit_by_name::<gst::Structure>("list-modes", &[]);
    let listed = modes.get::<gst::Array>("modes").ok();
    let listed = listed.iter().flat_map(|modes| modes.as_slice());
    Camera {
        id: id(device),
        model: text("model").unwrap_or_else(|| "unknown".to_owned()),
        location: text("location"),
        modes: listed.filter_map(|mode| report::Mode::of(&mode.get::<gst::Structure>().ok()?)).collect(),
        from_profile: modes.get("from-profile").ok(),
        error: modes.get("error").ok(),
    }
}
