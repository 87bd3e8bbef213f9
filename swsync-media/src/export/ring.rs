//! The order of cameras around the rig: which one is next to which.

use std::cmp::Ordering;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use swsync_core::manifest::Take;
use swsync_core::name::{DeviceId, Name};
use swsync_core::place::shared_places;

use super::rig_take::RigTake;
use swsync_cli::takes::{self, DeviceTake};

/// What the order of cameras comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OrderSource {
    /// The user named the devices one after the other.
    Given,
    /// Places that devices have in the rig.
    Places,
    /// The devices' ids, since none has a place.
    Ids,
}

/// The devices that `names` name, one after the other: each is a device of the take in `folder`, or a group, which stands for its
/// devices in the order of their places.
///
/// # Errors
/// The take has no such device or group, or a device is named twice.
pub fn devices(folder: &Path, names: &[Name]) -> anyhow::Result<Vec<DeviceId>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let folder = folder.canonicalize()?;
    let order = Name::new(folder.file_name().unwrap_or_default().to_string_lossy())?;
    let there = takes::devices(folder.parent().context("it is no take's folder")?, &order);
    let parts = there.iter().map(|device| takes::read_take(&folder.join(device.as_str())));
    let mut parts = parts.collect::<Result<Vec<_>, _>>()?;
    parts.sort_by(in_ring);
    let mut devices: Vec<DeviceId> = Vec::new();
    for name in names {
        let is_device = there.contains(name);
        let meant = |part: &&Take| {
            if is_device { part.device == *name } else { part.place.group.as_ref() == Some(name) }
        };
        let meant: Vec<_> = parts.iter().filter(meant).map(|part| part.device.clone()).collect();
        ensure!(!meant.is_empty(), "--order: the take has no device or group {name}");
        for device in meant {
            ensure!(!devices.contains(&device), "--order names {device} twice");
            devices.push(device);
        }
    }
    Ok(devices)
}

/// Sorts the cameras of `take` around the rig: as `given`, which must name all of them, else by their places, else by their ids.
pub fn sort(take: &mut RigTake, given: &[DeviceId]) -> OrderSource {
    if !given.is_empty() {
        let at = |camera: &DeviceTake| given.iter().position(|device| *device == camera.take.device);
        take.cameras.sort_by_key(at);
        return OrderSource::Given;
    }
    take.cameras.sort_by(|a, b| in_ring(&a.take, &b.take));
    let is_unset = take.cameras.iter().all(|camera| camera.take.place.is_unset());
    if is_unset { OrderSource::Ids } else { OrderSource::Places }
}

/// The order of two devices: by group and place, then by id.
fn in_ring(a: &Take, b: &Take) -> Ordering {
    a.place.order(&b.place).then_with(|| natural(a.device.as_str(), b.device.as_str()))
}

/// What is doubtful about an order by places.
pub fn doubts(take: &RigTake, source: OrderSource) -> Vec<String> {
    if source != OrderSource::Places {
        return Vec::new();
    }
    let parts = || take.cameras.iter().map(|camera| &camera.take);
    let names =
        |devices: Vec<&DeviceId>| devices.into_iter().map(DeviceId::as_str).collect::<Vec<_>>().join(", ");
    let unplaced: Vec<_> =
        parts().filter(|part| part.place.place.is_none()).map(|part| &part.device).collect();
    let mut doubts = Vec::new();
    if !unplaced.is_empty() {
        doubts.push(format!(
            "{} had no place in this take: behind the others of the group, by id",
            names(unplaced)
        ));
    }
    for (place, devices) in shared_places(parts().map(|part| (&part.device, &part.place))) {
        doubts
            .push(format!("{} had one place in this take, {place}: by id", names(devices.iter().collect())));
    }
    doubts
}

/// Says which order `take`'s cameras are in, and why.
pub fn describe(take: &RigTake, source: OrderSource) -> String {
    let names: Vec<_> = take.cameras.iter().map(|camera| camera.take.device.as_str()).collect();
    let why = match source {
        OrderSource::Given => "as given",
        OrderSource::Places => "by their places",
        OrderSource::Ids => {
            "by their ids, since no device had a place in this take (`swsync name DEVICE --place N`, or --order a,b,c)"
        }
    };
    format!("order of cameras, {why}: {}", names.join(" "))
}

/// Compares names as people count: pi2 comes before pi10.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let ((one, rest), (other, others)) = (first_part(a), first_part(b));
        let order = match (one.parse::<u64>(), other.parse::<u64>()) {
            (Ok(m), Ok(n)) => m.cmp(&n).then(one.len().cmp(&other.len())),
            _ => one.cmp(other),
        };
        if order.is_ne() || (one.is_empty() && other.is_empty()) {
            return order;
        }
        (a, b) = (rest, others);
    }
}

/// The digits that `text` begins with, or all up to its first digit; and the rest.
fn first_part(text: &str) -> (&str, &str) {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != is_number).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_cli::testing::{TakeBuilder, name};
    use swsync_core::place::DevicePlace;

    /// A take of devices with their groups and places.
    fn ring(devices: &[(&str, &str, Option<u32>)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (device, group, place) in devices {
            let mut part = TakeBuilder::new("o1", device, 1).pictures(&[], |_| Vec::new());
            let group = (!group.is_empty()).then(|| name(group));
            part.take.place = DevicePlace { group, place: *place };
            part.write(root.path());
        }
        root
    }

    /// The devices in order, what that comes from, and what is doubtful.
    fn sorted(root: &tempfile::TempDir, given: &[&str]) -> anyhow::Result<(String, OrderSource, String)> {
        let folder = root.path().join("o1");
        let given = devices(&folder, &given.iter().map(|device| name(device)).collect::<Vec<_>>())?;
        let mut take = RigTake::read(&folder, &given)?;
        let source = sort(&mut take, &given);
        let names: Vec<_> = take.cameras.iter().map(|camera| camera.take.device.as_str()).collect();
        Ok((names.join(" "), source, doubts(&take, source).join("; ")))
    }

    #[test]
    fn ids_are_sorted_as_people_count() {
        let root = ring(&["pi10", "pi2", "pi1", "pi1b", "pi02", "left"].map(|device| (device, "", None)));
        let (order, source, doubts) = sorted(&root, &[]).unwrap();
        assert_eq!((order.as_str(), source), ("left pi1 pi1b pi2 pi02 pi10", OrderSource::Ids));
        assert_eq!(doubts, "");
    }

    #[test]
    fn places_come_before_ids() {
        let root = ring(&[("a", "", Some(3)), ("b", "", Some(1)), ("c", "", Some(2))]);
        let (order, source, doubts) = sorted(&root, &[]).unwrap();
        assert_eq!((order.as_str(), source, doubts.as_str()), ("b c a", OrderSource::Places, ""));
        let root = ring(&[
            ("a", "up", Some(2)),
            ("b", "up", Some(1)),
            ("c", "low", Some(1)),
            ("d", "", None),
            ("e", "low", Some(1)),
        ]);
        let (order, _, doubts) = sorted(&root, &[]).unwrap();
        assert_eq!(order, "c e b a d");
        assert_eq!(
            doubts,
            "d had no place in this take: behind the others of the group, by id; c, e had one place in this take, low 1: by id"
        );
    }

    #[test]
    fn a_given_order_is_followed_and_groups_stand_for_their_devices() {
        let root =
            ring(&[("a", "up", Some(2)), ("b", "up", Some(1)), ("c", "low", Some(1)), ("d", "", None)]);
        let of = |given: &[&str]| sorted(&root, given).unwrap();
        assert_eq!(of(&["c", "a"]), ("c a".into(), OrderSource::Given, String::new()));
        assert_eq!(of(&["d", "up"]).0, "d b a");
        let error = |given: &[&str]| sorted(&root, given).unwrap_err().to_string();
        assert!(error(&["up", "a"]).contains("--order names a twice"));
        assert!(error(&["c", "x"]).contains("the take has no device or group x"));
    }
}
