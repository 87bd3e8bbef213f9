//! `swsync measure`: reads an LED panel in the pictures of takes, and says how far apart the devices are and what to correct.
//!
//! `reading.rs` reads the panel's time from every picture, `stills.rs` compares it with what the devices believed, `constants.rs`
//! finds each device's constant, `models.rs` what is common to those of one camera
//! model, `report.rs` shows it.

mod args;
mod constants;
mod models;
mod reading;
mod report;
mod stills;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use swsync_cli::{output, own_settings};
use swsync_core::name::DeviceId;
use swsync_core::panel::Panel;
use swsync_core::time::Span;

pub use args::{Cause, MeasureArgs};
use constants::{Constant, Constants};
use reading::{Reader, Stills};
pub use report::MeasureDocument;
use report::Report;

/// Runs the command.
///
/// # Errors
/// The takes cannot be read, no panel can be read on two devices at once, or a file cannot be written.
pub fn run(args: &MeasureArgs) -> anyhow::Result<ExitCode> {
    let slot = Span::from(*args.slot);
    ensure!(slot > Span::ZERO, "--slot has to be longer than nothing, like 200us");
    let reader = Reader {
        panel: Panel::PAPER.with_fast_slot(slot),
        readout: args.readout.map(|readout| Span::from(*readout)),
        // Anywhere within the floor is equally likely: a twelfth of its square is the variance.
        panel_error: args
            .screen
            .map_or(Span::ZERO, |hz| swsync_cli::panel::floor(hz).mul_f64(12.0_f64.sqrt().recip())),
        most: usize::try_from(args.most).unwrap_or(usize::MAX),
    };
    let stills = reader.read(&args.takes)?;
    if !args.json {
        report::pictures(&stills).iter().for_each(|line| output::line(line));
    }
    let compared = stills::compare(&stills.stills);
    let constants =
        constants::constants(&compared, stills.devices.len()).with_context(|| report::why_unread(&stills))?;
    let report = Report { stills: &stills, pairs: stills::pairs(&compared), constants: &constants };
    if args.cause == Cause::Camera {
        return models::run(args, &stills, &constants, &report);
    }
    let written = if args.write { keep(&stills, &constants)? } else { None };
    if args.json {
        output::json(&report.document(written.map(|(_, path)| path)));
    } else {
        report.lines().iter().for_each(|line| output::line(line));
        report.settings_lines(written.as_ref()).iter().for_each(|line| output::line(line));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the path offset of this host's device, if it is among those that were measured.
fn keep(stills: &Stills, constants: &Constants) -> anyhow::Result<Option<(DeviceId, PathBuf)>> {
    let here = own_settings::device()?;
    let found = stills.devices.keys().zip(&constants.devices).find(|(device, _)| **device == here);
    let Some((_, Some(Constant { offset, .. }))) = found else { return Ok(None) };
    let path = own_settings::keep_path_offset(Span::from_nanos_f64(*offset))?;
    Ok(Some((here, path)))
}
