//! `swsync lock 3a` and `swsync unlock 3a`: cameras that look alike.
//!
//! 3A are a camera's three automatics: exposure (time and gain), white balance and focus. Each camera measures its own picture, so
//! that the cameras of a rig differ. Locked, all use the values of one of them, or means of all.

mod mismatch;
pub(crate) mod report;
mod values;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use swsync_client::Session;
use swsync_client::camera_settings::{ChangeRequest, RigChange, change_cameras, read_cameras};
use swsync_core::camera_settings::{CameraControl, CameraReport, ChangePart};
use swsync_core::centre::CentreRequest;
use swsync_core::grid::FrameNumber;
use swsync_core::name::DeviceId;
use swsync_core::order::Targets;
use swsync_core::time::{Rig, Timestamp};

use crate::exit;
use crate::orders::{RigSnapshot, TargetArgs, default_id};
use crate::output::{self, warn};
use crate::rig::RigArgs;
pub use report::LockReport;
use report::objections;
use values::{LockedValues, locking_part, unlocking_part};

/// How long devices may take to confirm, and cameras to be back on the frame grid.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long devices have to measure a frame.
const MEASURING: Duration = Duration::from_secs(6);

/// What is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Exposure, white balance and focus.
    #[value(name = "3a")]
    ThreeA,
}

/// Freeze exposure, gain, white balance and focus of all cameras at the same values, from one frame number on.
///
/// The values are what one camera uses now, or means of what all use. Afterwards the brightness and the colour of the centre of a
/// frame of each camera are measured, and what they still differ by is shown.
#[derive(Debug, Clone, Args)]
#[command(after_help = LOCK_HELP)]
pub struct LockArgs {
    #[command(flatten)]
    rig: RigArgs,
    #[command(flatten)]
    targets: TargetArgs,
    #[arg(value_name = "3a")]
    what: What,
    /// Use what this device's camera uses now.
    #[arg(long, value_name = "DEVICE")]
    from: Option<DeviceId>,
    /// Use means of what all cameras use now: geometric ones of exposure and gains, which are ratios. This is the default.
    #[arg(long, conflicts_with = "from")]
    mean: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// Give exposure and white balance back to the cameras' automatics.
#[derive(Debug, Clone, Args)]
#[command(after_help = UNLOCK_HELP)]
pub struct UnlockArgs {
    #[command(flatten)]
    rig: RigArgs,
    #[command(flatten)]
    targets: TargetArgs,
    #[arg(value_name = "3a")]
    what: What,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

const LOCK_HELP: &str = "\
Examples:
  swsync lock 3a                     all at the means of what they use now
  swsync lock 3a --from pi3          all as pi3 has it, which looks at the stage
  swsync lock 3a --to left           only group left
  swsync unlock 3a

Columns:
  brightness   median of the centre, from 0 (black) to 255
  red, blue    medians of the centre relative to green: what white balance sets

Exit codes:
  0  every camera uses the values from one frame number on, and every centre was measured
  1  a camera cannot take a value, or did not use it from that frame on; a device does not answer or could not be measured
  2  wrong arguments
  3  no rig or no devices";

const UNLOCK_HELP: &str = "\
A camera without an automatic goes back to what its pipeline's properties say.

Exit codes:
  0  every camera has its automatics back, from one frame number on
  1  some device does not answer, or its camera did not do it
  2  wrong arguments
  3  no rig or no devices";

/// What `swsync unlock 3a --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnlockReport {
    /// The frame from which on it holds; `None`: nothing was locked.
    pub frame: Option<FrameNumber>,
    /// The devices that were asked to.
    pub devices: Vec<DeviceId>,
    /// Devices whose camera has neither auto exposure nor auto white balance: it is as the pipeline's properties say.
    pub without_automatics: Vec<DeviceId>,
    /// What did not go as it should, in words.
    pub problems: Vec<String>,
}

fn has_automatics(report: &CameraReport) -> bool {
    [CameraControl::AeEnable, CameraControl::AwbEnable]
        .iter()
        .any(|control| report.ranges.contains_key(control))
}

/// A device and what its camera says of itself.
type Camera = (DeviceId, CameraReport);

/// Runs `swsync lock`.
///
/// # Errors
/// There is no rig, no values to lock at, or nothing was changed.
pub fn lock(args: &LockArgs) -> anyhow::Result<ExitCode> {
    let What::ThreeA = args.what;
    let session = args.rig.visit()?;
    let report = lock_cameras(&session, &args.targets, args.from.as_ref())?;
    print(&report, args.json);
    Ok(ExitCode::from(if report.is_complete() { 0 } else { exit::INCOMPLETE }))
}

/// Locks the cameras of `to` at the means of what they use now, or as `from` has them.
///
/// # Errors
/// There is no camera to lock, or no values to lock it at.
pub fn lock_cameras(
    session: &Session,
    to: &TargetArgs,
    from: Option<&DeviceId>,
) -> anyhow::Result<LockReport> {
    let (cameras, mut problems) = cameras(session, to, from)?;
    let values = match from {
        Some(from) => {
            let source = cameras.iter().find(|(device, _)| device == from);
            let (_, report) = source.ok_or_else(|| {
                anyhow!(
                    "{from} does not say what its camera uses, so nothing was changed: {}",
                    problems.join("; ")
                )
            })?;
            LockedValues::of(&report.used)
        }
        None => LockedValues::mean(cameras.iter().map(|(_, report)| &report.used)),
    };
    if values.is_empty() {
        bail!(
            "no camera reports exposure, gain, white balance or focus that the others could be set to, so nothing was changed"
        );
    }
    let targets = to.resolve_in(session)?;
    let mut parts = Vec::new();
    for (device, report) in cameras.iter().filter(|(device, _)| targets.include(device)) {
        let (part, lacking) = locking_part(device, report, &values);
        parts.push(part);
        problems.extend(lacking);
    }
    let change = set(session, "lock", parts)?;
    problems.extend(report::problems(&change));
    let measured = Targets::Devices(change.devices.iter().map(|device| device.device.clone()).collect());
    let request = CentreRequest { from: change.frame };
    let centres = session.centres(request, &measured, MEASURING);
    Ok(LockReport::new(&change, values, centres, problems))
}

/// Runs `swsync unlock`.
///
/// # Errors
/// There is no rig, or nothing was changed.
pub fn unlock(args: &UnlockArgs) -> anyhow::Result<ExitCode> {
    let What::ThreeA = args.what;
    let session = args.rig.visit()?;
    let (report, exact) = unlock_cameras(&session, &args.targets)?;
    let code = ExitCode::from(if report.problems.is_empty() { 0 } else { exit::INCOMPLETE });
    if args.json {
        output::json(&report);
        return Ok(code);
    }
    report.problems.iter().for_each(|problem| warn(problem));
    let Some(frame) = report.frame else {
        output::line(
            "nothing is locked: no camera has automatics, and the rig has set none of what they set",
        );
        return Ok(code);
    };
    output::line(&format!("unlocked {exact} of {} cameras, from frame {frame} on", report.devices.len()));
    if !report.without_automatics.is_empty() {
        let without: Vec<_> = report.without_automatics.iter().map(DeviceId::as_str).collect();
        output::line(&format!(
            "without automatics, and as their pipelines' properties say: {}",
            without.join(", ")
        ));
    }
    Ok(code)
}

/// Gives the cameras of `to` their automatics back. Returns what became of it, and how many did it at the frame.
///
/// # Errors
/// There is no camera, or none can be set.
pub fn unlock_cameras(session: &Session, to: &TargetArgs) -> anyhow::Result<(UnlockReport, usize)> {
    let (cameras, mut problems) = cameras(session, to, None)?;
    let parts: Vec<_> =
        cameras.iter().filter_map(|(device, report)| unlocking_part(device, report)).collect();
    if parts.is_empty() {
        let without_automatics = cameras.into_iter().map(|(device, _)| device).collect();
        return Ok((UnlockReport { frame: None, devices: Vec::new(), without_automatics, problems }, 0));
    }
    let change = set(session, "unlock", parts)?;
    problems.extend(report::problems(&change));
    let without = cameras.into_iter().filter(|(_, report)| !has_automatics(report));
    let without_automatics = without.map(|(device, _)| device).collect();
    let devices = change.devices.iter().map(|device| device.device.clone()).collect();
    let exact = change.devices.iter().filter(|device| device.is_exact()).count();
    Ok((UnlockReport { frame: Some(change.frame), devices, without_automatics, problems }, exact))
}

/// What the cameras after `--to` say, and that of `also`; and what is wrong with the others.
fn cameras(
    session: &Session,
    to: &TargetArgs,
    also: Option<&DeviceId>,
) -> anyhow::Result<(Vec<Camera>, Vec<String>)> {
    let snapshot = RigSnapshot::take(session);
    if snapshot.devices().next().is_none() {
        return Err(session.nobody_there(crate::orders::STATUS_TIMEOUT).into());
    }
    let mut targets = to.resolve(&snapshot)?;
    if let (Targets::Devices(devices), Some(also)) = (&mut targets, also) {
        devices.insert(also.clone());
    }
    let (mut cameras, mut problems) = (Vec::new(), Vec::new());
    for reply in read_cameras(session, &targets) {
        match reply.reply {
            Ok(report) => cameras.push((reply.device, report)),
            Err(why) => problems.push(format!("{}: {why}", reply.device)),
        }
    }
    if cameras.is_empty() {
        bail!("no device says what its camera uses, so nothing was changed: {}", problems.join("; "));
    }
    Ok((cameras, problems))
}

/// Sets the cameras that can take it.
fn set(session: &Session, kind: &str, parts: Vec<ChangePart>) -> anyhow::Result<RigChange> {
    let now = jiff::Timestamp::now().as_nanosecond();
    let now = Timestamp::<Rig>::from_nanos(i64::try_from(now).unwrap_or(0));
    let id = default_id(kind, now, rand::random())?;
    let request = ChangeRequest { id, parts, partial: true, patience: PATIENCE };
    change_cameras(session, &request).map_err(|error| {
        let details = objections(&error);
        if details.is_empty() { anyhow!("{error}") } else { anyhow!("{error}: {}", details.join("; ")) }
    })
}

fn print(report: &LockReport, json: bool) {
    if json {
        output::json(&report);
    } else {
        report.problems.iter().for_each(|problem| warn(problem));
        report.lines().iter().for_each(|line| output::line(line));
    }
}
