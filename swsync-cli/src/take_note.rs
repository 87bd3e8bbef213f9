//! `swsync note`: a person's note on a take, kept beside it on every device.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use swsync_client::removal::wall_clock;
use swsync_client::rig_takes::RigTakes;
use swsync_client::share::TakeNote;
use swsync_client::{NoOrder, RemoteTakes, Session, host_name};
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::Targets;

use crate::duration;
use crate::exit;
use crate::list_takes::unknown_order;
use crate::output::{self, warn};
use crate::rig::RigArgs;

/// Write a note on a take.
///
/// Every device keeps it beside its files (`note.json`), and it is collected with them. The latest note on a take wins.
/// A device that is away gets it from `swsync collect` once it is back.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct NoteArgs {
    /// The order whose take it is.
    #[arg(value_name = "ORDER")]
    order: OrderId,
    /// The note: one line of at most 1000 bytes. Without it the note that there is is shown.
    #[arg(value_name = "TEXT")]
    text: Vec<String>,
    /// Remove the note.
    #[arg(long, conflicts_with = "text")]
    remove: bool,
    #[command(flatten)]
    rig: RigArgs,
    /// How long a device may be silent before it is given up, like 30s.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration::positive)]
    timeout: Duration,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  swsync note walk second try, left camera was bumped
  swsync note walk                        shows it
  swsync note walk --remove

Exit codes:
  0  every device of the rig that has the take has the note
  1  some device is away, or did not take the note
  2  wrong arguments
  3  no rig or no devices
  5  no device has this order";

/// What became of a note.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NoteJson {
    /// The order.
    pub order: OrderId,
    /// The note that counts now. null: there is none.
    pub note: Option<String>,
    /// Devices that have it.
    pub devices: Vec<DeviceId>,
    /// Devices that may not have it, and why.
    pub without: Vec<NotNoted>,
}

/// A device that may not have the note.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotNoted {
    /// The device.
    pub device: DeviceId,
    /// Why, for a person.
    pub why: String,
}

/// Runs the command.
///
/// # Errors
/// There is no rig, or no device has the order.
pub fn run(args: &NoteArgs) -> anyhow::Result<ExitCode> {
    let text = args.text.join(" ");
    let new = TakeNote::new(&text, wall_clock(), &host_name());
    let new = match new {
        Ok(note) => (args.remove || !args.text.is_empty()).then_some(note),
        Err(error) => {
            output::tell(&error.to_string());
            return Ok(ExitCode::from(exit::USAGE));
        }
    };
    let session = args.rig.visit()?;
    let Noted { latest, devices, without } = note_take(&session, &args.order, new.as_ref(), args.timeout)?;
    print(args, new.as_ref(), latest, devices, without)
}

/// A take's note, and who has it.
#[derive(Debug, Clone, Default)]
pub struct Noted {
    /// The note that counts now.
    pub latest: Option<TakeNote>,
    /// Devices that have it.
    pub devices: Vec<DeviceId>,
    /// Devices that may not have it, and why.
    pub without: Vec<NotNoted>,
}

/// Has every device keep the note `new` with the take of `order`; without one, only looks. A device may be silent for `patience`.
///
/// # Errors
/// No device has this order.
pub fn note_take(
    session: &Session,
    order: &OrderId,
    new: Option<&TakeNote>,
    patience: Duration,
) -> Result<Noted, NoOrder> {
    let takes = RigTakes::list(session, &Targets::All, patience);
    let Some(take) = takes.find(order) else {
        return Err(unknown_order(order, &takes));
    };
    let mut without: Vec<_> = takes
        .silent
        .iter()
        .map(|(device, why)| NotNoted { device: device.clone(), why: why.clone() })
        .collect();
    let (mut devices, mut latest) = (Vec::new(), take.note().cloned());
    for (device, part) in &take.parts {
        let Some(new) = new else {
            match part.summary.note == latest {
                true => devices.push(device.clone()),
                false => without
                    .push(NotNoted { device: device.clone(), why: "it has no note, or an older one".into() }),
            }
            continue;
        };
        let remote = RemoteTakes::new(session, device.clone(), patience, |_| ());
        match remote.set_note(order, new) {
            Ok(note) => {
                latest = latest.filter(|latest| latest.at_ns >= note.at_ns).or(Some(note));
                devices.push(device.clone());
            }
            Err(error) => without.push(NotNoted { device: device.clone(), why: error.to_string() }),
        }
    }
    Ok(Noted { latest, devices, without })
}

fn print(
    args: &NoteArgs,
    new: Option<&TakeNote>,
    latest: Option<TakeNote>,
    devices: Vec<DeviceId>,
    without: Vec<NotNoted>,
) -> anyhow::Result<ExitCode> {
    let is_later = new.is_some_and(|new| latest.as_ref().is_some_and(|latest| latest.at_ns > new.at_ns));
    let is_asked = new.is_none();
    let is_everywhere = without.is_empty();
    for NotNoted { device, why } in &without {
        warn(&format!("{device} may not have the note: {why}. `swsync collect` brings it there once it can"));
    }
    let text = latest.as_ref().map(|note| note.text.clone()).filter(|text| !text.is_empty());
    if args.json {
        let json = NoteJson { order: args.order.clone(), note: text, devices, without };
        output::json(&json);
    } else {
        match (&text, is_later) {
            (Some(text), true) => {
                let by = latest.map(|note| note.by).unwrap_or_default();
                warn(&format!("a later note of {by} stays: is the clock of this host, or of that, wrong?"));
                output::line(&crate::table::clean(text));
            }
            (Some(text), false) if is_asked => output::line(&crate::table::clean(text)),
            (Some(_), false) => output::line(&format!("noted on {} devices", devices.len())),
            (None, _) if is_asked => output::line("there is no note"),
            (None, _) => output::line(&format!("no note any more on {} devices", devices.len())),
        }
    }
    Ok(ExitCode::from(if is_everywhere && !is_later { 0 } else { exit::INCOMPLETE }))
}
