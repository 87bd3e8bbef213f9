//! `swsync calibrate`: measures how a camera responds to long exposures, and keeps it in the camera's profile.

mod args;
mod camera;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use swsync_core::profile::{MeasuredResponse, PhaseConfig, base_model};
use swsync_files::profiles;

pub use args::CalibrateArgs;
pub use report::CalibrationDocument;

use swsync_cli::{exit, output};

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
        None => profiles::path_for(model)?,
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
        let written = (!args.dry_run).then_some(path.as_path());
        output::json(&CalibrationDocument::new(&profile, response, measured, written));
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
