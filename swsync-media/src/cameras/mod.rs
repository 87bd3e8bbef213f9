//! `swsync cameras`: lists the cameras, and which of their modes leave room to shift frames.

mod headroom;
mod report;

use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context as _;
use clap::Args;
use gst::prelude::*;
use swsync_core::time::Span;

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

/// A frame rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    frames: f64,
    seconds: f64,
}

impl Rate {
    fn period(self) -> Span {
        Span::from_secs_f64(self.seconds / self.frames)
    }

    fn per_second(self) -> f64 {
        self.frames / self.seconds
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", (self.per_second() * 1e6).round() / 1e6)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (frames, seconds) = text.split_once('/').unwrap_or((text, "1"));
        let number = |part: &str| part.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
        let rate = number(frames).zip(number(seconds)).map(|(frames, seconds)| Self { frames, seconds });
        rate.filter(|rate| (0.001..=10_000.0).contains(&rate.per_second()))
            .ok_or_else(|| "expected frames per second, like 30, 29.97 or 30000/1001".to_owned())
    }
}

/// Runs the command.
///
/// # Errors
/// GStreamer does not start, or the plugin lists no cameras ([`PluginError`](crate::plugin::PluginError)).
pub fn run(args: &CamerasArgs) -> anyhow::Result<ExitCode> {
    let cameras = devices()?.iter().map(camera).collect();
    let report = Report { fps: args.fps, cameras };
    if args.json {
        output::line(&report.json().to_string());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_numbers_or_fractions() {
        assert_eq!("30".parse::<Rate>().unwrap().period(), Span::from_nanos(33_333_333));
        assert_eq!("30000/1001".parse::<Rate>().unwrap().period(), Span::from_nanos(33_366_667));
        assert_eq!("12.5".parse::<Rate>().unwrap().period(), Span::from_millis(80));
        for wrong in ["", "0", "-1", "30/0", "nan", "inf", "30 fps", "1/1/1", "1e9"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
