//! Where a device stands in the rig: its group and its place in the order of devices. Names that an operator gives.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{DeviceId, Name};

/// The group and the place of a device. Both may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DevicePlace {
    /// The group, for example one side of the rig. A device is in one group at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
    /// The place within the group, or within the rig if there is no group: devices are sorted by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u32>,
}

impl DevicePlace {
    /// Whether neither a group nor a place is set.
    #[must_use]
    pub const fn is_unset(&self) -> bool {
        self.group.is_none() && self.place.is_none()
    }

    /// The order of devices: by group, then by place. Whoever has no group comes after those who have one, and whoever has no
    /// place after the others of its group.
    ///
    /// Devices that are equal in this are sorted by their ids.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let key = |this: &Self| {
            (this.group.is_none(), this.group.clone(), this.place.is_none(), this.place.unwrap_or_default())
        };
        key(self).cmp(&key(other))
    }
}

/// `left 3`, `left`, `3`, or `-` if neither is set.
impl fmt::Display for DevicePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match (&self.group, self.place) {
            (Some(group), Some(place)) => format!("{group} {place}"),
            (Some(group), None) => group.to_string(),
            (None, Some(place)) => place.to_string(),
            (None, None) => "-".to_owned(),
        })
    }
}

/// What becomes of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is removed.
    Clear,
    /// It becomes this one.
    Set(T),
}

impl<T> Change<T> {
    /// The value after the change, from the one before it.
    pub fn apply(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Keep => before,
            Self::Clear => None,
            Self::Set(value) => Some(value),
        }
    }
}

/// A request to a device: to change its place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceChange {
    /// What becomes of its group.
    #[serde(default)]
    pub group: Change<Name>,
    /// What becomes of its place in the group.
    #[serde(default)]
    pub place: Change<u32>,
}

impl PlaceChange {
    /// The place after the change, from the one before it.
    #[must_use]
    pub fn apply(self, before: DevicePlace) -> DevicePlace {
        DevicePlace { group: self.group.apply(before.group), place: self.place.apply(before.place) }
    }
}

/// A device's reply to a [`PlaceChange`]: what it is called from now on, and keeps on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceReply {
    /// The device.
    pub device: DeviceId,
    /// Its place after the change.
    pub place: DevicePlace,
}

/// The places that several devices have, with these devices. Places of different groups differ.
#[must_use]
pub fn shared_places<'a>(
    devices: impl IntoIterator<Item = (&'a DeviceId, &'a DevicePlace)>,
) -> Vec<(DevicePlace, Vec<DeviceId>)> {
    let mut all: BTreeMap<(Option<Name>, u32), Vec<DeviceId>> = BTreeMap::new();
    for (device, at) in devices {
        if let Some(place) = at.place {
            all.entry((at.group.clone(), place)).or_default().push(device.clone());
        }
    }
    let shared = all.into_iter().filter(|(_, devices)| devices.len() > 1);
    shared.map(|((group, place), devices)| (DevicePlace { group, place: Some(place) }, devices)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{decode_request, encode};

    fn name(name: &str) -> Name {
        Name::new(name).unwrap()
    }

    fn at(group: &str, place: impl Into<Option<u32>>) -> DevicePlace {
        DevicePlace { group: (!group.is_empty()).then(|| name(group)), place: place.into() }
    }

    #[test]
    fn devices_are_sorted_by_group_and_then_by_place() {
        let sorted =
            [at("left", 1), at("left", 10), at("left", None), at("right", 2), at("", 0), at("", None)];
        let mut all = sorted.clone();
        all.reverse();
        all.sort_by(DevicePlace::order);
        assert_eq!(all, sorted);
        let shown = sorted.map(|place| place.to_string());
        assert_eq!(shown, ["left 1", "left 10", "left", "right 2", "0", "-"]);
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let change = |json: &str| serde_json::from_str::<PlaceChange>(json).unwrap();
        let moved = change(r#"{"place":{"set":3}}"#);
        assert_eq!(moved.clone().apply(at("left", 1)), at("left", 3));
        assert_eq!(change(r#"{"group":"clear"}"#).apply(at("left", 1)), at("", 1));
        assert_eq!(change("{}").apply(at("left", 1)), at("left", 1));
        assert_eq!(decode_request::<PlaceChange>(&encode(&moved)).unwrap(), moved);
        for bad in [r#"{"place":{"set":-1}}"#, r#"{"group":{"set":"../x"}}"#, r#"{"group":"left"}"#] {
            assert!(serde_json::from_str::<PlaceChange>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_devices_at_one_place_are_found() {
        let (a, b, c, d) = (name("a"), name("b"), name("c"), name("d"));
        let places = [at("left", 1), at("left", 1), at("right", 1), at("left", None)];
        let shared = shared_places([&a, &b, &c, &d].into_iter().zip(&places));
        assert_eq!(shared, [(at("left", 1), vec![a, b])]);
        assert_eq!(shared_places([(&c, &places[3]), (&d, &places[3])]), []);
    }
}
