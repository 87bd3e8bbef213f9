//! Devices grouped by a value that they should have in common, for [`disagreements`](super::disagreements) and
//! [`RigAgreement`](crate::status::RigAgreement).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::grid::FrameGrid;
use crate::message::TimeScale;
use crate::name::DeviceId;
use crate::time::Span;

/// Devices by their value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups<K>(BTreeMap<K, BTreeSet<DeviceId>>);

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy> Groups<K> {
    pub fn add(&mut self, key: K, device: &DeviceId) {
        self.0.entry(key).or_default().insert(device.clone());
    }

    pub fn contains(&self, key: K, device: &DeviceId) -> bool {
        self.0.get(&key).is_some_and(|devices| devices.contains(device))
    }

    /// All devices.
    pub fn all(&self) -> impl Iterator<Item = &DeviceId> {
        self.0.values().flatten()
    }

    /// The values with their devices, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (K, &BTreeSet<DeviceId>)> {
        self.0.iter().map(|(key, devices)| (*key, devices))
    }

    /// The values, in ascending order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = K> {
        self.0.keys().copied()
    }

    /// The value of most devices among the values that are `known`, or else among all. Of several the least.
    pub fn majority(&self, known: impl Fn(&K) -> bool) -> Option<K> {
        let rank = |(key, devices): &(&K, &BTreeSet<DeviceId>)| (known(key), devices.len(), Reverse(**key));
        self.0.iter().max_by_key(rank).map(|(key, _)| *key)
    }

    /// The devices with another value than `key`.
    pub fn others(&self, key: &K) -> BTreeSet<DeviceId> {
        self.0.iter().filter(|(other, _)| *other != key).flat_map(|(_, devices)| devices.clone()).collect()
    }

    /// The devices with another value than the majority.
    pub fn minority(&self, known: impl Fn(&K) -> bool) -> BTreeSet<DeviceId> {
        self.majority(known).map_or_else(BTreeSet::new, |most| self.others(&most))
    }

    /// Which devices have which value, as text. `None`: all have the same.
    pub fn describe(&self, what: &str, name: impl Fn(&K) -> String) -> Option<String> {
        let groups: Vec<_> =
            self.0.iter().map(|(key, devices)| format!("{} on {}", name(key), list(devices))).collect();
        (groups.len() > 1).then(|| format!("{what}s differ: {}", groups.join("; ")))
    }
}

/// Devices as text.
pub fn list(devices: &BTreeSet<DeviceId>) -> String {
    devices.iter().map(DeviceId::as_str).collect::<Vec<_>>().join(", ")
}

/// The name of a time scale that may not be known.
pub fn timescale_name(timescale: &Option<TimeScale>) -> String {
    timescale.map_or_else(|| "unknown".to_owned(), |timescale| timescale.to_string())
}

/// A frame rate, ordered from the longest period to the shortest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub FrameGrid);

impl Rate {
    fn key(self) -> (Reverse<Span>, (u32, u32)) {
        (Reverse(self.0.period()), self.0.rate())
    }
}

impl Ord for Rate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Rate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.rate() {
            (frames, 1) => write!(f, "{frames}"),
            (frames, seconds) => write!(f, "{frames}/{seconds}"),
        }
    }
}
