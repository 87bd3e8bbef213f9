//! `swsync calibrate`: measures how a camera responds to long exposures, and keeps it in the camera's profile.

mod camera;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use swsync_core::profile::{MeasuredResponse, PhaseConfig, base_model};
use swsync_core::time::Span;
use swsync_rig::profiles;

use swsync_cli::{exit, output};

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
    source: String,
    /// Model that the profile is for; that of a simulated camera is known
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Rate and size at which the camera is measured: a response belongs to one frame rate
    #[arg(long, value_name = "CAPS", default_value = "video/x-raw,framerate=30/1")]
    caps: String,
    /// Exposures that are measured, besides those that look for the shortest
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u16).range(8..=1000))]
    injections: u16,
    /// Longest exposure; without this, three frame periods
    #[arg(long, value_name = "TIME")]
    longest: Option<humantime::Duration>,
    /// Exposure of all other frames
    #[arg(long, value_name = "TIME", default_value = "5ms")]
    exposure: humantime::Duration,
    /// Takes the numbers from a phaseconfig of libsoftwaresync instead of a camera
    #[arg(long, value_name = "FILE", requires = "model")]
    import: Option<PathBuf>,
    /// File to keep the profile in; without this, the folder in which swsyncsrc looks for it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Measures, and writes nothing
    #[arg(long)]
    dry_run: bool,
    /// Prints the result as JSON
    #[arg(long)]
    json: bool,
}

const HELP: &str = "\
Examples:
  swsync calibrate 'swsyncsrc backend=simulated simulated-sensor=phone' --output phone.json
  swsync calibrate 'swsyncsrc camera-name=...' --model ov5693
  swsync calibrate --import pixel3_phaseconfig.json --model pixel3";

/// Runs the command.
///
/// # Errors
/// The camera does not run, its response is not linear, or the profile cannot be written.
pub fn run(args: &CalibrateArgs) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.import {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let config = PhaseConfig::from_json(&text)
            .with_context(|| format!("{} is no phaseconfig of libsoftwaresync", file.display()))?;
        let model = args.model.clone().unwrap_or_default();
        return keep(args, &model, &config.response(), None);
    }
    let camera = camera::Camera::new(args)?;
    let model = match (&args.model, camera.model()) {
        (Some(model), _) => model.clone(),
        (None, Some(model)) => model,
        (None, None) => bail!("which camera model is it? Say --model, as `swsync cameras` lists it"),
    };
    // Fails early: the measurement takes half a minute.
    let path = path(args, &model)?;
    let found =
        if path.exists() { profiles::read(&path, &model)?.source } else { profiles::find(&model)?.source };
    if !args.json {
        output::line(&format!("{model}: measuring with {} (so far: {found})", args.caps));
    }
    let Some(calibration) = camera.measure(args)? else {
        eprintln!("swsync: interrupted; nothing was written");
        return Ok(ExitCode::from(exit::INTERRUPTED));
    };
    let fit = calibration.finish().context("nothing was written")?;
    if !args.json {
        output::line(&report::plot(calibration.points(), &fit));
        output::line(&report::summary(&fit));
    }
    keep(args, &model, &fit.response(), Some(&calibration))
}

fn path(args: &CalibrateArgs, model: &str) -> anyhow::Result<PathBuf> {
    if base_model(model).is_empty() {
        bail!("--model is {model:?}: expected a name like imx219");
    }
    Ok(match &args.output {
        Some(path) => path.clone(),
        None => profiles::home_of(model)?,
    })
}

fn keep(
    args: &CalibrateArgs,
    model: &str,
    response: &MeasuredResponse,
    measured: Option<&swsync_core::align::calibrate::Calibration>,
) -> anyhow::Result<ExitCode> {
    let path = path(args, model)?;
    let profile = if args.dry_run {
        profiles::with_response(&path, model, response.clone())?
    } else {
        profiles::keep_response(&path, model, response.clone())?
    };
    if args.json {
        output::line(
            &report::json(&profile, response, measured, (!args.dry_run).then_some(&path)).to_string(),
        );
    } else if args.dry_run {
        output::line(&format!(
            "Would write {}:\n{}",
            path.display(),
            serde_json::to_string_pretty(response)?
        ));
    } else {
        output::line(&format!("Written to {}", path.display()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The duration of an argument.
fn span(duration: humantime::Duration) -> Span {
    Span::from(*duration)
}
