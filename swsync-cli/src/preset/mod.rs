//! `swsync preset`: what the cameras of a rig are set to, kept in files.

pub mod file;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use swsync_client::Session;
use swsync_client::camera_settings::{ChangeRequest, change_cameras, read_cameras};
use swsync_core::camera_settings::ChangePart;
use swsync_core::name::{DeviceId, Name};
use swsync_core::order::Targets;
use swsync_core::time::{Rig, Timestamp};

use crate::exit;
use crate::lock::report::{objections, problems};
use crate::orders::{RigSnapshot, STATUS_TIMEOUT, TargetArgs, default_id};
use crate::output::{self, warn};
use crate::rig::RigArgs;
use crate::table::{Align, Column, NOTHING, Table};
pub use file::Preset;

/// How long devices may take to confirm, and cameras to be back on the frame grid.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keep what the cameras use in a file, and set them to it again.
///
/// Presets are files in ~/.config/swsync/presets (or $XDG_CONFIG_HOME/swsync/presets), one each: to share one, copy its file.
#[derive(Debug, Clone, Args)]
pub struct PresetArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Subcommand)]
enum What {
    Save(SaveArgs),
    Apply(ApplyArgs),
    List(ListArgs),
    Show(ShowArgs),
}

/// Save what the cameras use now.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Exit codes:
  0  saved, with the values of every device
  1  saved without those of a device that does not answer; or not saved: the error says why
  2  wrong arguments
  3  no rig or no devices")]
struct SaveArgs {
    #[command(flatten)]
    rig: RigArgs,
    #[command(flatten)]
    targets: TargetArgs,
    /// The name of the preset.
    name: Name,
    /// Replace a preset of this name.
    #[arg(long)]
    force: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Set the cameras to a preset, all at one frame number.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
If a camera cannot take its values, none is changed. Devices that the preset does not name are set to its [all] section.

Exit codes:
  0  every device uses the values from one frame number on
  1  a device does not, or the preset names one that is not in the rig; or nothing was changed: the error says why
  2  wrong arguments
  3  no rig or no devices")]
struct ApplyArgs {
    #[command(flatten)]
    rig: RigArgs,
    #[command(flatten)]
    targets: TargetArgs,
    /// The name of the preset.
    name: Name,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// List the presets.
#[derive(Debug, Clone, Args)]
struct ListArgs {
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Print a preset's file.
#[derive(Debug, Clone, Args)]
struct ShowArgs {
    /// The name of the preset.
    name: Name,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// A preset in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListedPreset {
    /// Its name.
    pub preset: Name,
    /// Its file.
    pub file: String,
    /// When it was saved, if the file says so.
    pub saved: Option<String>,
    /// The devices that it has values of their own for.
    pub devices: Vec<DeviceId>,
    /// What is wrong with the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What `swsync preset list --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PresetList {
    /// The presets, by name.
    pub presets: Vec<ListedPreset>,
}

/// What `swsync preset save --json` and `apply --json` print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PresetResult {
    /// The preset.
    pub preset: Name,
    /// Its file.
    pub file: String,
    /// The devices whose values were saved, or that were set.
    pub devices: Vec<DeviceId>,
    /// The frame from which on an applied preset holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<u64>,
    /// What did not go as it should.
    pub problems: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// There is no rig, or the preset cannot be saved, read or applied.
pub fn run(args: &PresetArgs) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Save(args) => save(args),
        What::Apply(args) => apply(args),
        What::List(args) => list(args),
        What::Show(args) => show(args),
    }
}

fn save(args: &SaveArgs) -> anyhow::Result<ExitCode> {
    let session = args.rig.visit()?;
    let result = save_preset(&session, &args.name, &args.targets, args.force)?;
    let summary = format!("saved what {} cameras use: {}", result.devices.len(), result.file);
    Ok(print(&result, args.json, &summary))
}

/// Saves what the cameras of `to` use as the preset `name`. `force`: also if there is one of this name.
///
/// # Errors
/// There is no camera, or the file cannot be written.
pub fn save_preset(
    session: &Session,
    name: &Name,
    to: &TargetArgs,
    force: bool,
) -> anyhow::Result<PresetResult> {
    let folder = file::folder()?;
    let snapshot = RigSnapshot::take(session);
    if snapshot.devices().next().is_none() {
        return Err(session.nobody_there(STATUS_TIMEOUT).into());
    }
    let (mut cameras, mut problems) = (Vec::new(), Vec::new());
    for reply in read_cameras(session, &to.resolve(&snapshot)?) {
        match reply.reply {
            Ok(report) => cameras.push((reply.device, report)),
            Err(why) => problems.push(format!("{}: its values are not saved: {why}", reply.device)),
        }
    }
    let preset = Preset::of(cameras.iter().map(|(device, report)| (device, report)));
    if preset.is_empty() {
        bail!("no camera says what it uses, so nothing is saved. {}", problems.join("; "));
    }
    let saved = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let preset = Preset { saved: Some(saved), rig: Some(session.rig().clone()), ..preset };
    let path = file::write(&folder, name, &preset, force)?;
    let devices = cameras.into_iter().map(|(device, _)| device).collect();
    Ok(PresetResult {
        preset: name.clone(),
        file: path.display().to_string(),
        devices,
        frame: None,
        problems,
    })
}

fn apply(args: &ApplyArgs) -> anyhow::Result<ExitCode> {
    let folder = file::folder()?;
    // Before a rig is looked for.
    read_preset(&folder, &args.name)?;
    let session = args.rig.visit()?;
    let (result, exact) = apply_preset(&session, &args.name, &args.targets)?;
    let summary = format!(
        "{}: {exact} of {} devices use it from frame {} on",
        args.name,
        result.devices.len(),
        result.frame.unwrap_or_default()
    );
    Ok(print(&result, args.json, &summary))
}

fn read_preset(folder: &Path, name: &Name) -> anyhow::Result<Preset> {
    let preset = file::read(folder, name)?;
    if preset.is_empty() {
        bail!("{}: it sets nothing", file::path(folder, name).display());
    }
    Ok(preset)
}

/// Sets the cameras of `to` to the preset `name`. Returns what became of it, and how many did it at the frame.
///
/// # Errors
/// There is no such preset, no camera, or a camera does not take it.
pub fn apply_preset(
    session: &Session,
    name: &Name,
    to: &TargetArgs,
) -> anyhow::Result<(PresetResult, usize)> {
    let folder = file::folder()?;
    let preset = read_preset(&folder, name)?;
    let path = file::path(&folder, name);
    let snapshot = RigSnapshot::take(session);
    let targets = to.resolve(&snapshot)?;
    let here: BTreeSet<_> = snapshot.devices().filter(|device| targets.include(device)).cloned().collect();
    if here.is_empty() {
        return Err(session.nobody_there(STATUS_TIMEOUT).into());
    }
    let named = preset.device.keys().filter(|device| targets.include(device) && !here.contains(*device));
    let mut result = PresetResult {
        preset: name.clone(),
        file: path.display().to_string(),
        devices: Vec::new(),
        frame: None,
        problems: named
            .map(|device| format!("{device}: the preset names it, but it is not in the rig"))
            .collect(),
    };
    let now =
        Timestamp::<Rig>::from_nanos(i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0));
    let id = default_id("preset", now, rand::random())?;
    let request = ChangeRequest { id, parts: parts(&preset, &here), partial: false, patience: PATIENCE };
    let change = change_cameras(session, &request).map_err(|error| {
        let details = objections(&error);
        if details.is_empty() { anyhow!("{error}") } else { anyhow!("{error}: {}", details.join("; ")) }
    })?;
    result.problems.extend(problems(&change));
    result.frame = Some(change.frame);
    result.devices = change.devices.iter().map(|device| device.device.clone()).collect();
    let exact = change.devices.iter().filter(|device| device.is_exact()).count();
    Ok((result, exact))
}

/// What `here` is set to: what is for all, and then what is for single devices. Devices for which there is nothing take no part.
fn parts(preset: &Preset, here: &BTreeSet<DeviceId>) -> Vec<ChangePart> {
    let mut parts = Vec::new();
    if !preset.all.is_empty() {
        parts.push(ChangePart { targets: Targets::Devices(here.clone()), assign: preset.all.clone().into() });
    }
    for (device, values) in preset.device.iter().filter(|(device, _)| here.contains(*device)) {
        let targets = Targets::Devices(BTreeSet::from([device.clone()]));
        parts.push(ChangePart { targets, assign: values.clone().into() });
    }
    parts
}

fn print(result: &PresetResult, json: bool, summary: &str) -> ExitCode {
    if json {
        output::json(&result);
    } else {
        result.problems.iter().for_each(|problem| warn(problem));
        output::line(summary);
    }
    ExitCode::from(if result.problems.is_empty() { 0 } else { exit::INCOMPLETE })
}

/// The presets in `folder`.
///
/// # Errors
/// It cannot be read.
pub fn list_presets(folder: &Path) -> Result<Vec<ListedPreset>, file::PresetError> {
    let listed = file::names(folder)?.into_iter().map(|name| {
        let read = file::read(folder, &name);
        let problem = read.as_ref().err().map(ToString::to_string);
        let preset = read.unwrap_or_default();
        ListedPreset {
            file: file::path(folder, &name).display().to_string(),
            preset: name,
            saved: preset.saved,
            devices: preset.device.into_keys().collect(),
            problem,
        }
    });
    Ok(listed.collect())
}

fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let folder = file::folder()?;
    let listed = list_presets(&folder)?;
    if args.json {
        output::json(&PresetList { presets: listed.clone() });
    } else if listed.is_empty() {
        output::line(&format!("no presets in {}: `swsync preset save NAME` makes one", folder.display()));
    } else {
        lines(&listed).iter().for_each(|line| output::line(line));
    }
    listed.iter().filter_map(|preset| preset.problem.as_ref()).for_each(|problem| warn(problem));
    let all_read = listed.iter().all(|preset| preset.problem.is_none());
    Ok(ExitCode::from(if all_read { 0 } else { exit::INCOMPLETE }))
}

fn lines(listed: &[ListedPreset]) -> Vec<String> {
    let width = listed.iter().map(|preset| preset.preset.as_str().len()).max().unwrap_or_default();
    let column = |heading, width| Column { heading, width, align: Align::Left };
    let table = Table::new([column("preset", width.max(6)), column("saved", 20), column("devices", 7)]);
    let row = |preset: &ListedPreset| {
        let devices: Vec<_> = preset.devices.iter().map(Name::as_str).collect();
        let devices = if devices.is_empty() { "all alike".to_owned() } else { devices.join(", ") };
        let devices = if preset.problem.is_some() { "cannot be read".to_owned() } else { devices };
        let saved = preset.saved.clone().unwrap_or_else(|| NOTHING.to_owned());
        table.row(&[preset.preset.to_string(), saved, devices])
    };
    [table.headings()].into_iter().chain(listed.iter().map(row)).collect()
}

fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let folder = file::folder()?;
    if args.json {
        let preset = file::read(&folder, &args.name)?;
        output::json(&preset);
    } else {
        output::line(file::read_text(&folder, &args.name)?.trim_end());
        file::read(&folder, &args.name)?; // what is wrong with it
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use swsync_core::camera_settings::ControlValues;

    use super::*;
    use crate::testing::name;

    #[test]
    fn a_device_is_set_to_its_own_values_in_place_of_those_for_all() {
        let values = |text| ControlValues::parse([text]).unwrap();
        let device = [(name("a"), values("gamma=2")), (name("gone"), values("gamma=3"))];
        let preset = Preset { all: values("gamma=1"), device: device.into(), ..Preset::default() };
        let here = BTreeSet::from([name("a"), name("b")]);
        let parts = parts(&preset, &here);
        assert_eq!(ChangePart::all_for(&parts, &name("a")).values(), values("gamma=2"));
        assert_eq!(ChangePart::all_for(&parts, &name("b")).values(), values("gamma=1"));
        assert_eq!(ChangePart::targets_of(&parts), Targets::Devices(here));
    }

    #[test]
    fn presets_are_listed() {
        let listed = |preset: &str, devices: &[&str], problem: Option<&str>| ListedPreset {
            preset: name(preset),
            file: String::new(),
            saved: Some("2026-11-30T12:00:00Z".into()),
            devices: devices.iter().map(|text| name(text)).collect(),
            problem: problem.map(str::to_owned),
        };
        let all =
            [listed("evening", &["pi1", "pi2"], None), listed("x", &[], None), listed("y", &[], Some("bad"))];
        assert_eq!(
            lines(&all),
            [
                "preset   saved                 devices",
                "evening  2026-11-30T12:00:00Z  pi1, pi2",
                "x        2026-11-30T12:00:00Z  all alike",
                "y        2026-11-30T12:00:00Z  cannot be read",
            ]
        );
    }
}
