//! `swsync name`: the groups of devices, and their places in the order of devices.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use swsync_client::Session;
use swsync_core::name::{DeviceId, Name};
use swsync_core::place::{Change, DevicePlace, PlaceChange, shared_places};

use crate::exit::{self, DeviceAway};
use crate::orders::{RigSnapshot, STATUS_TIMEOUT};
use crate::output::{self, warn};
use crate::rig::RigArgs;
use crate::table::{Align, Column, NOTHING, Table};

/// How long a device has to write its place to its disk.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Put a device into a group, and at a place in the order of devices; without a device, list all.
///
/// Each device keeps its own on its disk. `--to GROUP` means the devices of a group, `swsync status` sorts by them, and takes
/// have them, so that exports know the order of cameras.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct NameArgs {
    #[command(flatten)]
    rig: RigArgs,
    /// The device.
    device: Option<DeviceId>,
    /// Put it into this group. A device is in one group at most.
    #[arg(long, value_name = "GROUP", requires = "device")]
    group: Option<Name>,
    /// Take it out of its group.
    #[arg(long, requires = "device", conflicts_with = "group")]
    no_group: bool,
    /// Its place in the group, or in the rig if it is in no group: 0, 1, 2...
    #[arg(long, value_name = "NUMBER", requires = "device")]
    place: Option<u32>,
    /// It has no place any more.
    #[arg(long, requires = "device", conflicts_with = "place")]
    no_place: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  swsync name                                who is where
  swsync name pi3 --group left --place 2     pi3 is the third of group left
  swsync name pi3 --no-group                 it keeps its place, without a group
  swsync shoot --to left                     the devices of group left

Exit codes:
  0  the device has it on its disk; every device answered
  1  a device does not answer, or could not write it
  2  wrong arguments
  3  no rig or no devices";

/// A device and its place, in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NamedDevice {
    /// The device.
    pub device: DeviceId,
    /// Whether it answered. If not, its group and place are not known.
    pub answered: bool,
    /// Its group, if any.
    pub group: Option<Name>,
    /// Its place in the group, if any.
    pub place: Option<u32>,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What `swsync name --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NamedDevices {
    /// The devices, by group and place: all of them, or the one that was named.
    pub devices: Vec<NamedDevice>,
    /// What the operator should know: two devices at one place.
    pub warnings: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// There is no rig, or the device does not answer or cannot write its place.
pub fn run(args: &NameArgs) -> anyhow::Result<ExitCode> {
    let session = args.rig.visit()?;
    let snapshot = RigSnapshot::take(&session);
    match &args.device {
        Some(device) if args.changes() => change(args, &session, device, &snapshot),
        device => list(args, &session, device.as_ref(), &snapshot),
    }
}

impl NameArgs {
    fn changes(&self) -> bool {
        self.change() != PlaceChange::default()
    }

    fn change(&self) -> PlaceChange {
        fn of<T: Clone>(set: Option<&T>, clear: bool) -> Change<T> {
            match set {
                Some(value) => Change::Set(value.clone()),
                None if clear => Change::Clear,
                None => Change::Keep,
            }
        }
        PlaceChange {
            group: of(self.group.as_ref(), self.no_group),
            place: of(self.place.as_ref(), self.no_place),
        }
    }
}

fn change(
    args: &NameArgs,
    session: &Session,
    device: &DeviceId,
    snapshot: &RigSnapshot,
) -> anyhow::Result<ExitCode> {
    let reply = session
        .name_device(device, &args.change(), TIMEOUT)
        .map_err(|why| DeviceAway::new(device, &why, snapshot.devices()))?;
    let others = snapshot.reports.iter().map(|report| (&report.status.device, &report.status.place));
    let others = others.filter(|(other, _)| *other != device);
    let warnings = warnings(others.chain([(device, &reply.place)]), Some(device));
    warnings.iter().for_each(|warning| warn(warning));
    if args.json {
        let devices = vec![NamedDevice::answered(device, &reply.place)];
        output::json(&NamedDevices { devices, warnings });
    } else {
        output::line(&format!("{device} is {}", in_words(&reply.place)));
    }
    Ok(ExitCode::SUCCESS)
}

fn list(
    args: &NameArgs,
    session: &Session,
    only: Option<&DeviceId>,
    snapshot: &RigSnapshot,
) -> anyhow::Result<ExitCode> {
    let mut devices = named_devices(snapshot);
    if devices.is_empty() {
        return Err(session.nobody_there(STATUS_TIMEOUT).into());
    }
    if let Some(only) = only {
        devices.retain(|named| named.device == *only);
        if devices.is_empty() {
            return Err(DeviceAway::new(only, "is not in the rig", snapshot.devices()).into());
        }
    }
    let places = snapshot.reports.iter().map(|report| (&report.status.device, &report.status.place));
    let warnings = warnings(places, only);
    warnings.iter().for_each(|warning| warn(warning));
    let is_whole = devices.iter().all(|named| named.answered);
    if args.json {
        output::json(&NamedDevices { devices, warnings });
    } else {
        lines(&devices).iter().for_each(|line| output::line(line));
    }
    Ok(ExitCode::from(if is_whole { 0 } else { exit::INCOMPLETE }))
}

impl NamedDevice {
    fn answered(device: &DeviceId, place: &DevicePlace) -> Self {
        let DevicePlace { group, place } = place.clone();
        Self { device: device.clone(), answered: true, group, place, why: None }
    }
}

/// By group and place; those that did not answer come last.
fn named_devices(snapshot: &RigSnapshot) -> Vec<NamedDevice> {
    let mut statuses: Vec<_> = snapshot.reports.iter().map(|report| &report.status).collect();
    statuses.sort_by(|a, b| a.place.order(&b.place).then_with(|| a.device.cmp(&b.device)));
    let answered = statuses.into_iter().map(|status| NamedDevice::answered(&status.device, &status.place));
    let missed = snapshot.missed.iter().map(|(device, why)| NamedDevice {
        device: device.clone(),
        answered: false,
        group: None,
        place: None,
        why: Some(why.clone()),
    });
    answered.chain(missed).collect()
}

/// A line for each place that several devices have; only those of device `only`, if there is one.
fn warnings<'a>(
    places: impl IntoIterator<Item = (&'a DeviceId, &'a DevicePlace)>,
    only: Option<&DeviceId>,
) -> Vec<String> {
    let shared = shared_places(places).into_iter();
    let meant = shared.filter(|(_, devices)| only.is_none_or(|only| devices.contains(only)));
    meant
        .map(|(place, devices)| {
            let devices: Vec<_> = devices.iter().map(Name::as_str).collect();
            format!("{} are both {}: they are sorted by their ids", devices.join(" and "), in_words(&place))
        })
        .collect()
}

fn in_words(place: &DevicePlace) -> String {
    match (&place.group, place.place) {
        (Some(group), Some(place)) => format!("at place {place} of group {group}"),
        (Some(group), None) => format!("in group {group}, without a place"),
        (None, Some(place)) => format!("at place {place}, in no group"),
        (None, None) => "in no group, without a place".to_owned(),
    }
}

fn lines(devices: &[NamedDevice]) -> Vec<String> {
    let longest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
    let groups = longest(&mut devices.iter().filter_map(|named| Some(named.group.as_ref()?.as_str().len())));
    let ids = longest(&mut devices.iter().map(|named| named.device.as_str().len()));
    let table = Table::new([
        Column { heading: "group", width: groups.max(5), align: Align::Left },
        Column { heading: "place", width: 5, align: Align::Right },
        Column { heading: "device", width: ids.max(6), align: Align::Left },
        Column { heading: "", width: 0, align: Align::Left },
    ]);
    let row = |named: &NamedDevice| {
        table.row(&[
            named.group.as_ref().map_or(NOTHING.to_owned(), ToString::to_string),
            named.place.map_or(NOTHING.to_owned(), |place| place.to_string()),
            named.device.to_string(),
            named.why.as_ref().map(|why| format!("no answer: {why}")).unwrap_or_default(),
        ])
    };
    [table.headings()].into_iter().chain(devices.iter().map(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    fn named(device: &str, group: Option<&str>, place: Option<u32>) -> NamedDevice {
        NamedDevice::answered(&name(device), &DevicePlace { group: group.map(name), place })
    }

    #[test]
    fn groups_and_places_are_listed() {
        let away = NamedDevice {
            answered: false,
            why: Some("the hub does not see it".into()),
            ..named("pi9", None, None)
        };
        let devices = [named("pi3", Some("left"), Some(0)), named("camera-12", None, None), away];
        assert_eq!(
            lines(&devices),
            [
                "group  place  device",
                "left       0  pi3",
                "-          -  camera-12",
                "-          -  pi9        no answer: the hub does not see it"
            ]
        );
    }

    #[test]
    fn two_devices_at_one_place_are_named() {
        let place = |group: Option<&str>| DevicePlace { group: group.map(name), place: Some(3) };
        let (a, b, c) = (name("a"), name("b"), name("c"));
        let (left, none) = (place(Some("left")), place(None));
        let all = [(&a, &left), (&b, &left), (&c, &none)];
        let expected = ["a and b are both at place 3 of group left: they are sorted by their ids"];
        assert_eq!(warnings(all, None), expected);
        assert_eq!(warnings(all, Some(&b)), expected);
        assert!(warnings(all, Some(&c)).is_empty());
    }
}
