//! What is printed of changes of settings, and of cameras.

use serde::Serialize;
use swsync_client::DeviceReply;
use swsync_client::camera_settings::{ChangeError, DeviceChange, Objection, RigChange};
use swsync_core::camera_settings::{
    Assignments, CameraReport, ChangeState, ControlRefusal, ControlValues, PhaseRecord,
};
use swsync_core::frame::LockState;
use swsync_core::name::DeviceId;

use crate::table::{Align, Column, NOTHING, Table, micros};

/// The document of `swsync set --json`: what became of a change.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SetDocument<'a> {
    /// Whether every device did all of it at the frame, and is on the frame grid.
    complete: bool,
    #[serde(flatten)]
    change: &'a RigChange,
}

impl<'a> SetDocument<'a> {
    /// Of `change`.
    #[must_use]
    pub fn of(change: &'a RigChange) -> Self {
        Self { complete: is_good(change), change }
    }
}

/// The document of `swsync get --json`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GetDocument<'a> {
    /// The devices.
    devices: Vec<CameraDocument<'a>>,
}

/// A device, and its camera if it answers.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct CameraDocument<'a> {
    /// The device.
    device: &'a DeviceId,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    report: Option<&'a CameraReport>,
    /// Why it gives no answer, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_answer: Option<&'a str>,
}

impl<'a> GetDocument<'a> {
    /// Of what devices replied.
    #[must_use]
    pub fn of(replies: &'a [DeviceReply<CameraReport>]) -> Self {
        let devices = replies.iter().map(|DeviceReply { device, reply }| CameraDocument {
            device,
            report: reply.as_ref().ok(),
            no_answer: reply.as_ref().err().map(String::as_str),
        });
        Self { devices: devices.collect() }
    }
}

/// Whether every device did all of a change at its frame, and is on the frame grid, as far as it can be.
pub fn is_good(change: &RigChange) -> bool {
    let cannot = |device: &DeviceChange| match device.outcome.as_ref().map(|outcome| &outcome.state) {
        Some(ChangeState::Seen { phase, .. }) => phase.before == Some(LockState::Free),
        _ => false,
    };
    change.is_exact() && change.devices.iter().all(|device| device.is_on_grid() || cannot(device))
}

/// What became of a change: a row for each device, and a last line.
pub fn lines(assign: &Assignments, change: &RigChange) -> Vec<String> {
    let column = |heading, width, align| Column { heading, width, align };
    let ids = change.devices.iter().map(|device| device.device.as_str().len());
    let ids = ids.chain(change.objections.iter().map(|objection| objection.device.as_str().len()));
    let used = change.devices.iter().map(|device| used_of(device).chars().count()).max().unwrap_or(0);
    let table = Table::new([
        column("device", ids.max().unwrap_or(0).max(6), Align::Left),
        column("result", 9, Align::Left),
        column("from frame", 12, Align::Left),
        column("used", used.max(4), Align::Left),
        column("phase", 5, Align::Left),
    ]);
    let mut lines = vec![table.headings()];
    for device in &change.devices {
        let (result, first, phase) = row(device);
        lines.push(table.row(&[device.device.to_string(), result.to_owned(), first, used_of(device), phase]));
        lines.extend(device.refusals.iter().map(|refusal| format!("  {}: {}", device.device, refusal.why)));
    }
    for objection in &change.objections {
        let cells =
            [objection.device.to_string(), "not set".into(), NOTHING.into(), NOTHING.into(), why(objection)];
        lines.push(table.row(&cells));
    }
    lines.push(summary(assign, change));
    lines
}

fn used_of(device: &DeviceChange) -> String {
    let values = match device.outcome.as_ref().map(|outcome| &outcome.state) {
        Some(ChangeState::Seen { used, unreported, .. }) if unreported.is_empty() => used.to_string(),
        Some(ChangeState::Seen { used, .. }) if used.is_empty() => "not reported".to_owned(),
        Some(ChangeState::Seen { used, unreported, .. }) if unreported.len() > 3 => used.to_string(),
        Some(ChangeState::Seen { used, unreported, .. }) => {
            let names: Vec<_> = unreported.iter().map(|control| control.name()).collect();
            format!("{used} ({} not reported)", names.join(", "))
        }
        _ => String::new(),
    };
    if values.is_empty() { NOTHING.to_owned() } else { values }
}

/// Result, first frame, and phase of a device.
fn row(device: &DeviceChange) -> (&'static str, String, String) {
    let nothing = || NOTHING.to_owned();
    let Some(outcome) = &device.outcome else {
        return ("no answer", nothing(), device.problem.clone().unwrap_or_default());
    };
    match &outcome.state {
        ChangeState::Seen { frame, first: Some(first), phase, .. } => {
            let result = match first.cmp(frame) {
                std::cmp::Ordering::Less => "early",
                std::cmp::Ordering::Equal => "in effect",
                std::cmp::Ordering::Greater => "late",
            };
            (result, first.to_string(), phase_text(phase, *frame))
        }
        ChangeState::Seen { frame, first: None, phase, .. } => {
            ("no effect", nothing(), phase_text(phase, *frame))
        }
        ChangeState::Waiting => {
            ("waiting", nothing(), "its frame has not come: does the camera deliver any?".into())
        }
        ChangeState::Unknown => {
            ("unknown", nothing(), "the device was started since, or its camera was".into())
        }
        ChangeState::Withdrawn => ("taken back", nothing(), nothing()),
        ChangeState::ForOthers => ("not meant", nothing(), nothing()),
    }
}

fn phase_text(phase: &PhaseRecord, frame: u64) -> String {
    let worst = micros(phase.worst_ns);
    match (phase.before, phase.lost, phase.back) {
        (Some(LockState::Free), ..) => format!("not aligned, {worst} us"),
        (_, Some(lost), Some(back)) => format!(
            "lock lost at frame +{}, back at +{} (up to {worst} us)",
            lost.saturating_sub(frame),
            back.saturating_sub(frame)
        ),
        (_, Some(lost), None) => {
            format!("lock lost at frame +{}, and not back yet ({worst} us)", lost.saturating_sub(frame))
        }
        (Some(LockState::Locked | LockState::Coasting), None, _) => format!("kept, within {worst} us"),
        (before, None, _) => format!("was {} before", before.map_or("unknown", LockState::as_str)),
    }
}

fn summary(assign: &Assignments, change: &RigChange) -> String {
    let all = change.devices.len() + change.objections.len();
    let exact = change.devices.iter().filter(|device| device.is_exact()).count();
    let values = assign.values();
    let what = match (values.is_empty(), assign.iter().count()) {
        (true, count) if count > 3 => "all controls as the pipelines have them".to_owned(),
        _ => assign.to_string(),
    };
    let whole = if exact == all { "set" } else { "NOT set everywhere" };
    format!("{whole}: {what} on {exact} of {all} devices from frame {} on", change.frame)
}

/// The reasons why nothing was changed, a line for each device.
pub fn objections(error: &ChangeError) -> Vec<String> {
    match error {
        ChangeError::Refused(objections) => objections
            .iter()
            .map(|objection| format!("{}: {}", objection.device, why(objection)))
            .chain(["--partial sets what can be set".to_owned()])
            .collect(),
        ChangeError::TakenBack { stuck, .. } if !stuck.is_empty() => {
            let names: Vec<_> = stuck.iter().map(ToString::to_string).collect();
            vec![format!(
                "{} may have it all the same: `swsync get` tells, `swsync set` again mends it",
                names.join(", ")
            )]
        }
        _ => Vec::new(),
    }
}

fn why(objection: &Objection) -> String {
    let refusals = objection.refusals.iter().map(|ControlRefusal { why, .. }| why.clone());
    refusals.chain(objection.problem.clone()).collect::<Vec<_>>().join("; ")
}

/// The document of `swsync set --json` if nothing was changed on any device.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotSetDocument {
    /// False.
    complete: bool,
    /// Why, for a person.
    error: String,
    /// The devices whose cameras do not take it.
    objections: Vec<Objection>,
}

impl NotSetDocument {
    /// Of `error`.
    #[must_use]
    pub fn new(error: &ChangeError) -> Self {
        let objections = match error {
            ChangeError::Refused(objections) => objections.clone(),
            _ => Vec::new(),
        };
        Self { complete: false, error: error.to_string(), objections }
    }
}

/// The cameras, a row each.
pub fn camera_lines(replies: &[DeviceReply<CameraReport>], ranges: bool) -> Vec<String> {
    let column = |heading, width, align| Column { heading, width, align };
    let text =
        |values: &ControlValues| if values.is_empty() { NOTHING.to_owned() } else { values.to_string() };
    let widest = |of: &dyn Fn(&DeviceReply<CameraReport>) -> usize| replies.iter().map(of).max().unwrap_or(0);
    let reported = |reply: &DeviceReply<CameraReport>| reply.reply.clone().unwrap_or_default();
    let table = Table::new([
        column("device", widest(&|reply| reply.device.as_str().len()).max(6), Align::Left),
        column(
            "camera",
            widest(&|reply| reported(reply).camera.map_or(1, |name| name.chars().count())).max(6),
            Align::Left,
        ),
        column("frame", 12, Align::Left),
        column("set", widest(&|reply| text(&reported(reply).set.values()).len()).max(3), Align::Left),
        column("uses", 4, Align::Left),
    ]);
    let mut lines = vec![table.headings()];
    for DeviceReply { device, reply } in replies {
        let nothing = || NOTHING.to_owned();
        let cells = match reply {
            Ok(report) => [
                device.to_string(),
                report.camera.clone().unwrap_or_else(nothing),
                report.frame.map_or_else(nothing, |frame| frame.to_string()),
                text(&report.set.values()),
                text(&report.used),
            ],
            Err(why) => [device.to_string(), nothing(), nothing(), nothing(), format!("no answer: {why}")],
        };
        lines.push(table.row(&cells));
        let Ok(report) = reply else { continue };
        for (change, frame) in &report.ahead {
            lines.push(format!("  {change} takes effect at frame {frame}"));
        }
        lines.extend(report.problem.iter().map(|problem| format!("  {problem}")));
        if ranges {
            lines.extend(
                report.ranges.iter().map(|(control, range)| format!("  {control:<24}  {}", range.text)),
            );
        }
    }
    lines
}
