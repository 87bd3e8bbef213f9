//! The rig as all pages see it, and what has changed from one moment to the next.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};
use swsync_client::{RigSnapshot, StatusUpdate};
use swsync_core::name::DeviceId;

use crate::date::DateRow;
use crate::history::History;
use crate::orders::OrderState;
use crate::row::{DeviceRow, rows};

/// The rig as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RigRow {
    /// Its name.
    pub rig: String,
    /// Why nothing is known of it: it was not found. Null: it was.
    pub not_found: Option<String>,
    /// Devices that could serve an order.
    pub ready: usize,
    /// All devices of the rig.
    pub devices: usize,
    /// In what devices differ.
    pub differences: Vec<String>,
    /// What the operator should know although it is no difference.
    pub notices: Vec<String>,
    /// Everybody on the network is part of the rig: it has no key.
    pub open: bool,
    /// Rig time minus the clock of the dashboard's host, in milliseconds. Null: no device knows rig time.
    pub rig_ahead_ms: Option<i64>,
    /// What date rig time stands for. Null: nobody has said that it is another than its own.
    pub date: Option<DateRow>,
    /// Frames per second of most devices.
    pub fps: Option<f64>,
}

/// All that is known, for a page that has just been opened.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StateEvent {
    /// Number of the moment that this is of.
    pub moment: u64,
    /// When, in milliseconds since 1970 by the clock of the dashboard's host.
    pub at_ms: i64,
    /// Version of the dashboard: a page of another one loads itself anew.
    pub version: &'static str,
    /// Nothing can be changed here.
    pub read_only: bool,
    /// The rig.
    pub rig: RigRow,
    /// The devices.
    pub devices: BTreeMap<DeviceId, DeviceRow>,
    /// Orders that were given here, the newest last.
    pub orders: Vec<OrderState>,
}

/// What has changed since the moment before.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangeEvent {
    /// Number of the moment: one more than that of the moment before.
    pub moment: u64,
    /// When, in milliseconds since 1970 by the clock of the dashboard's host.
    pub at_ms: i64,
    /// The rig's values that are others now.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub rig: Map<String, Value>,
    /// The values of devices that are others now, by device. A device that was not there before has all.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub devices: Map<String, Value>,
    /// Devices that are in the rig no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<DeviceId>,
}

/// The rig now.
#[derive(Debug, Default)]
pub struct Live {
    moment: u64,
    at_ms: i64,
    rig: RigRow,
    devices: BTreeMap<DeviceId, DeviceRow>,
    /// The last minutes.
    pub history: History,
    /// What devices said last.
    pub snapshot: Option<RigSnapshot>,
}

/// The fields of `now` that `before` does not have so.
fn difference(before: Option<&impl Serialize>, now: &impl Serialize) -> Map<String, Value> {
    let fields = |value: Value| match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let now = fields(serde_json::to_value(now).unwrap_or_default());
    let Some(before) = before.map(|before| fields(serde_json::to_value(before).unwrap_or_default())) else {
        return now;
    };
    now.into_iter().filter(|(name, value)| before.get(name) != Some(value)).collect()
}

impl Live {
    /// Nothing is known yet of the rig with this name.
    pub fn new(rig: &str) -> Self {
        let not_found = Some("looking for it".to_owned());
        Self { rig: RigRow { rig: rig.to_owned(), not_found, ..RigRow::default() }, ..Self::default() }
    }

    /// The rig was not found, for this reason.
    pub fn not_found(&mut self, why: String, at_ms: i64) -> ChangeEvent {
        let rig = RigRow { not_found: Some(why), ..self.rig.clone() };
        self.advance(rig, self.devices.clone(), at_ms)
    }

    /// Takes in what the devices said. `is_open`: the rig has no key.
    pub fn update(&mut self, update: StatusUpdate, is_open: bool, at_ms: i64) -> ChangeEvent {
        let StatusUpdate { snapshot, silent_for, .. } = update;
        let mut devices: BTreeMap<_, _> = rows(&snapshot).collect();
        for (device, why) in &snapshot.missed {
            let seconds = silent_for.get(device).map_or(0, |silent| silent.as_secs());
            let row = match self.devices.get(device) {
                Some(row) => row.clone().fallen_silent(why.clone(), seconds),
                None => DeviceRow::silent(why.clone(), seconds),
            };
            devices.insert(device.clone(), row);
        }
        for (device, row) in &devices {
            self.history.add(device, at_ms, row);
        }
        self.history.retain(|device| devices.contains_key(device));
        let rig = self.rig_row(&snapshot, &devices, is_open, at_ms);
        self.snapshot = Some(snapshot);
        self.advance(rig, devices, at_ms)
    }

    fn rig_row(
        &self,
        snapshot: &RigSnapshot,
        devices: &BTreeMap<DeviceId, DeviceRow>,
        is_open: bool,
        at_ms: i64,
    ) -> RigRow {
        let common = &snapshot.common;
        let split = common.split().map(|split| {
            format!("{}; if one device is taking over from another, that is over within seconds", split.what)
        });
        let ready = devices.values().filter(|row| row.problems.is_empty()).count();
        let ahead = snapshot.time().map(|now| now.as_nanos() / 1_000_000 - at_ms);
        RigRow {
            rig: self.rig.rig.clone(),
            not_found: None,
            ready,
            devices: devices.len(),
            differences: common.disagreements(),
            notices: common.notice().into_iter().chain(split).collect(),
            open: is_open,
            // Some milliseconds of rounding and of the network are no news.
            rig_ahead_ms: ahead.map(|ahead| match self.rig.rig_ahead_ms {
                Some(before) if (before - ahead).abs() < 20 => before,
                _ => ahead,
            }),
            date: snapshot.date().map(Into::into),
            fps: common.rate().map(|rate| 1e9 / rate.period_ns()).map(|fps| (fps * 1e3).round() / 1e3),
        }
    }

    fn advance(&mut self, rig: RigRow, devices: BTreeMap<DeviceId, DeviceRow>, at_ms: i64) -> ChangeEvent {
        self.moment += 1;
        self.at_ms = at_ms;
        let changed = devices.iter().filter(|(device, row)| self.devices.get(device) != Some(row));
        let changed = changed.map(|(device, row)| {
            (device.to_string(), Value::Object(difference(self.devices.get(device), row)))
        });
        let changed = changed.collect();
        let known: BTreeSet<_> = self.devices.keys().cloned().collect();
        let gone = known.into_iter().filter(|device| !devices.contains_key(device)).collect();
        let rig_changes = difference(Some(&self.rig), &rig);
        (self.rig, self.devices) = (rig, devices);
        ChangeEvent { moment: self.moment, at_ms, rig: rig_changes, devices: changed, gone }
    }

    /// All that is known now.
    pub fn state(&self, is_read_only: bool, orders: Vec<OrderState>) -> StateEvent {
        StateEvent {
            moment: self.moment,
            at_ms: self.at_ms,
            version: env!("CARGO_PKG_VERSION"),
            read_only: is_read_only,
            rig: self.rig.clone(),
            devices: self.devices.clone(),
            orders,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use swsync_cli::testing::{name, status};
    use swsync_client::{Presence, StatusReport};

    use super::*;

    fn update(here: &[&str], missed: &[&str]) -> StatusUpdate {
        let at = Instant::now();
        let report = |device: &&str| StatusReport { status: status(device), asked: at, heard: at };
        let why = |device: &&str| (name(device), "it is lost".to_owned());
        let presence = Presence { missed: missed.iter().map(why).collect(), ..Presence::default() };
        let snapshot = RigSnapshot::of(presence, here.iter().map(report).collect());
        let silent_for = missed.iter().map(|device| (name(device), Duration::from_secs(4))).collect();
        StatusUpdate { snapshot, at, came: BTreeSet::new(), left: BTreeSet::new(), silent_for }
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let mut live = Live::new("stage");
        let first = live.update(update(&["a", "b"], &[]), false, 1_000);
        assert_eq!(first.devices.len(), 2);
        assert!(first.devices["a"]["clock"].is_string(), "a device that is new has all values");
        assert_eq!(first.rig["not_found"], Value::Null);
        let same = live.update(update(&["a", "b"], &[]), false, 2_000);
        assert!(same.devices.is_empty() && same.gone.is_empty(), "{same:?}");
        assert_eq!(same.moment, first.moment + 1);
        let lost = live.update(update(&["a"], &["b"]), false, 3_000);
        let lost = Value::from(lost.devices);
        assert_eq!(lost["b"]["condition"], "silent");
        assert_eq!((&lost["b"]["silent_s"], &lost["b"]["problems"][0]), (&4.into(), &"it is lost".into()));
        assert!(lost["b"].get("clock").is_none() && lost.get("a").is_none(), "{lost}");
        let left = live.update(update(&["a"], &[]), false, 4_000);
        assert_eq!(left.gone, [name("b")]);
    }

    #[test]
    fn changes_add_up_to_the_state() {
        let mut live = Live::new("stage");
        let mut page: Map<String, Value> = Map::new();
        for (here, missed) in [("a b", ""), ("a", "b"), ("a c", "")] {
            let [here, missed] = [here, missed].map(|names| names.split_whitespace().collect::<Vec<_>>());
            let change = live.update(update(&here, &missed), true, 0);
            for (device, fields) in change.devices {
                let row = page.entry(device).or_insert_with(|| Map::new().into());
                row.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            }
            change.gone.iter().for_each(|device| drop(page.remove(device.as_str())));
            assert_eq!(
                serde_json::to_value(live.state(false, Vec::new()).devices).unwrap(),
                Value::from(page.clone())
            );
        }
        assert!(live.state(false, Vec::new()).rig.open);
    }

    #[test]
    fn a_silent_device_leaves_a_gap_in_its_plot() {
        let mut live = Live::new("stage");
        for (at, missed) in [(0, false), (1_000, true), (2_000, false)] {
            let both = [vec![], vec!["a"]];
            let [here, missed] = [&both[usize::from(!missed)], &both[usize::from(missed)]];
            drop(live.update(update(here, missed), false, at));
        }
        let samples = &live.history.last(9, |_| true)[&name("a")];
        assert_eq!(samples.iter().map(|sample| sample.1.is_some()).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(live.history.last(1, |_| true)[&name("a")][0].0, 2_000);
    }
}
