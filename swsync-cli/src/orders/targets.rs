//! `--to`: the devices that an order is for, by their ids or their groups, and a warning of each that is not ready.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use swsync_client::{RigSnapshot, Session};
use swsync_core::name::{DeviceId, Name};
use swsync_core::order::Targets;

use crate::exit::UnknownTarget;
use crate::output::warn;

/// The devices that an order is for.
#[derive(Debug, Clone, Default, Args)]
pub struct TargetArgs {
    /// Only these devices, or the devices of these groups (`swsync name`), separated by commas; without it all, also those that
    /// join later.
    #[arg(long, value_name = "DEVICE|GROUP", value_delimiter = ',')]
    to: Vec<Name>,
}

/// What the names after `--to` mean in a rig.
#[derive(Debug, Default, PartialEq, Eq)]
struct Meaning {
    devices: BTreeSet<DeviceId>,
    /// Names of neither a device nor a group.
    unknown: Vec<Name>,
    /// What the operator should know although it is no error.
    warnings: Vec<String>,
}

impl TargetArgs {
    /// The devices, or the devices of groups, of these names; none: all.
    #[must_use]
    pub const fn new(to: Vec<Name>) -> Self {
        Self { to }
    }

    /// The devices meant, in the rig as it is now.
    ///
    /// # Errors
    /// [`UnknownTarget`]: a name is that of no device and no group.
    pub fn resolve(&self, snapshot: &RigSnapshot) -> Result<Targets, UnknownTarget> {
        let (targets, unknown) = self.resolve_early(snapshot);
        self.warn_of_doubts(snapshot);
        if unknown.is_empty() { Ok(targets) } else { Err(unknown_target(&unknown, snapshot)) }
    }

    /// As [`resolve`](Self::resolve), in the rig as it is now. Asks nobody if all are meant.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn resolve_in(&self, session: &Session) -> Result<Targets, UnknownTarget> {
        if self.to.is_empty() { Ok(Targets::All) } else { self.resolve(&RigSnapshot::take(session)) }
    }

    /// As [`resolve`](Self::resolve), where devices may still join: a name that is not known yet is taken for a device's id.
    /// These names are returned too.
    pub fn resolve_early(&self, snapshot: &RigSnapshot) -> (Targets, Vec<Name>) {
        if self.to.is_empty() {
            return (Targets::All, Vec::new());
        }
        let Meaning { mut devices, unknown, .. } = meaning(&self.to, snapshot);
        devices.extend(unknown.iter().cloned());
        (Targets::Devices(devices), unknown)
    }

    /// Warns if a name means a device and not the group of this name, or if it is not known whether a group is whole.
    pub fn warn_of_doubts(&self, snapshot: &RigSnapshot) {
        meaning(&self.to, snapshot).warnings.iter().for_each(|warning| warn(warning));
    }
}

/// Warns of each of the `targets` that is not ready.
pub fn warn_of_unready(snapshot: &RigSnapshot, targets: &Targets) {
    for report in snapshot.reports.iter().filter(|report| targets.include(&report.status.device)) {
        let problems = snapshot.objections(&report.status);
        if !problems.is_empty() {
            warn(&format!("{} is not ready: {}", report.status.device, problems.join("; ")));
        }
    }
    for (device, why) in snapshot.missed.iter().filter(|(device, _)| targets.include(device)) {
        warn(&format!("{device} is not ready: {why}"));
    }
}

/// The groups of the devices that answered, with these devices in the order of their places.
pub fn groups(snapshot: &RigSnapshot) -> BTreeMap<&Name, Vec<&DeviceId>> {
    let mut statuses: Vec<_> = snapshot.reports.iter().map(|report| &report.status).collect();
    statuses.sort_by(|a, b| a.place.order(&b.place).then_with(|| a.device.cmp(&b.device)));
    let mut groups: BTreeMap<&Name, Vec<&DeviceId>> = BTreeMap::new();
    for status in statuses {
        if let Some(group) = &status.place.group {
            groups.entry(group).or_default().push(&status.device);
        }
    }
    groups
}

fn meaning(names: &[Name], snapshot: &RigSnapshot) -> Meaning {
    let groups = groups(snapshot);
    let mut meaning = Meaning::default();
    for name in names {
        let group = groups.get(name);
        if snapshot.devices().any(|device| device == name) {
            if group.is_some_and(|members| members[..] != [name]) {
                meaning.warnings.push(format!(
                    "{name} is a device and also a group: the device is meant; name the devices of the group to mean those"
                ));
            }
            meaning.devices.insert(name.clone());
        } else if let Some(members) = group {
            meaning.devices.extend(members.iter().copied().cloned());
            // A device keeps its group on its own disk: nobody knows that of one that does not answer.
            let silent: Vec<_> = snapshot.missed.keys().map(Name::as_str).collect();
            if !silent.is_empty() {
                meaning.warnings.push(format!(
                    "whether group {name} includes {} is not known: no answer; name them with `--to` to mean them, or \
                     `swsync forget` what is gone for good",
                    silent.join(", ")
                ));
            }
        } else {
            meaning.unknown.push(name.clone());
        }
    }
    meaning
}

/// The error that lists what could be meant.
pub fn unknown_target(unknown: &[Name], snapshot: &RigSnapshot) -> UnknownTarget {
    let list = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let devices: BTreeSet<_> = snapshot.devices().map(Name::as_str).collect();
    UnknownTarget {
        names: list(unknown.iter().map(Name::as_str).collect()),
        devices: list(devices.into_iter().collect()),
        groups: list(groups(snapshot).into_keys().map(Name::as_str).collect()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use swsync_client::{Presence, StatusReport};
    use swsync_core::place::DevicePlace;

    use super::*;
    use crate::testing::{name, status};

    fn snapshot(devices: &[(&str, &str, u32)], missed: &[&str]) -> RigSnapshot {
        let now = Instant::now();
        let report = |(device, group, place): &(&str, &str, u32)| {
            let mut status = status(device);
            let group = (!group.is_empty()).then(|| name(group));
            status.place = DevicePlace { group, place: Some(*place) };
            StatusReport { status, asked: now, heard: now }
        };
        let missed = missed.iter().map(|device| (name(device), "it is gone".to_owned())).collect();
        let presence = Presence { missed, ..Presence::default() };
        RigSnapshot::of(presence, devices.iter().map(report).collect())
    }

    fn to(names: &[&str]) -> TargetArgs {
        TargetArgs { to: names.iter().map(|text| name(text)).collect() }
    }

    fn devices(names: &[&str]) -> Targets {
        Targets::Devices(names.iter().map(|text| name(text)).collect())
    }

    #[test]
    fn a_group_stands_for_its_devices() {
        let snapshot =
            snapshot(&[("a", "left", 2), ("b", "left", 1), ("c", "right", 1), ("d", "", 1)], &["e"]);
        assert_eq!(groups(&snapshot)[&name("left")], [&name("b"), &name("a")]);
        let of = |names: &[&str]| to(names).resolve(&snapshot).unwrap();
        assert_eq!(of(&[]), Targets::All);
        assert_eq!(of(&["left", "d"]), devices(&["a", "b", "d"]));
        assert_eq!(of(&["e"]), devices(&["e"]), "a device that does not answer is known");
        let warnings = meaning(&to(&["left"]).to, &snapshot).warnings;
        assert!(warnings[0].contains("group left includes e is not known"), "{warnings:?}");
        let why = to(&["left", "lift"]).resolve(&snapshot).unwrap_err().to_string();
        assert_eq!(
            why,
            "lift is no device and no group of the rig; devices: a, b, c, d, e; groups: left, right (`swsync name` gives a \
             device its group; a device that is away must join first)"
        );
        let early = to(&["left", "late"]).resolve_early(&snapshot);
        assert_eq!(early, (devices(&["a", "b", "late"]), vec![name("late")]));
    }

    #[test]
    fn a_device_wins_over_a_group_of_its_name() {
        let snapshot = snapshot(&[("left", "right", 1), ("a", "left", 1)], &[]);
        let meaning = meaning(&to(&["left"]).to, &snapshot);
        assert_eq!(meaning.devices, BTreeSet::from([name("left")]));
        assert!(meaning.warnings[0].starts_with("left is a device and also a group"), "{meaning:?}");
    }
}
