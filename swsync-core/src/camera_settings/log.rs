//! The changes of settings that a device knows of: for itself, and for others that may ask.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::change::{Assignments, MAX_CHANGES, SettingsChange};
use super::control::CameraControl;
use super::value::ControlValue;
use crate::bounded;
use crate::name::{DeviceId, Name};
use crate::order::Targets;
use crate::time::{Rig, Timestamp};

/// Most devices that all changes of a log name together: bounds what a stranger can make a device keep.
const MAX_NAMED: usize = 4_096;

/// Most withdrawn changes that are remembered: a device that was away may still have one of them.
const MAX_WITHDRAWN: usize = 64;

/// The changes of a rig's settings that have an effect, now or later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsLog {
    /// By their instants, then by their ids.
    #[serde(default, deserialize_with = "bounded::list::<_, _, MAX_CHANGES>")]
    changes: Vec<SettingsChange>,
    /// Changes that were taken back before they took effect.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, MAX_WITHDRAWN>"
    )]
    withdrawn: Vec<Name>,
}

/// What a control is set to, and by which change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// The value; `None`: what the pipeline's properties say.
    pub value: Option<ControlValue>,
    /// The change.
    pub change: Name,
}

/// There are too many changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rig keeps at most {MAX_CHANGES} changes of settings, for {MAX_NAMED} named devices: set back what is no longer needed \
     (swsync set --reset)"
)]
pub struct LogFull;

impl SettingsLog {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.withdrawn.is_empty()
    }

    /// All changes, by their instants.
    #[must_use]
    pub fn changes(&self) -> &[SettingsChange] {
        &self.changes
    }

    /// Whether `change` was taken back.
    #[must_use]
    pub fn is_withdrawn(&self, change: &Name) -> bool {
        self.withdrawn.contains(change)
    }

    /// Adds a change at `now`. Whether it is new, and has an effect somewhere.
    ///
    /// # Errors
    /// [`LogFull`]. Then nothing changes.
    pub fn add(&mut self, change: SettingsChange, now: Timestamp<Rig>) -> Result<bool, LogFull> {
        let is_known = self.changes.iter().any(|known| known.change == change.change);
        if is_known || self.is_withdrawn(&change.change) {
            return Ok(false);
        }
        let mut added = self.clone();
        let (id, key) = (change.change.clone(), change.key());
        let at = added.changes.partition_point(|known| known.key() < key);
        added.changes.insert(at, change);
        added.compact(now);
        let named: usize = added.changes.iter().map(SettingsChange::named_devices).sum();
        if added.changes.len() > MAX_CHANGES || named > MAX_NAMED {
            return Err(LogFull);
        }
        let is_new = added.changes.iter().any(|known| known.change == id);
        *self = added;
        Ok(is_new)
    }

    /// Takes a change back, and remembers that.
    pub fn withdraw(&mut self, change: &Name) {
        self.changes.retain(|known| known.change != *change);
        if !self.is_withdrawn(change) {
            self.withdrawn.push(change.clone());
        }
        let surplus = self.withdrawn.len().saturating_sub(MAX_WITHDRAWN);
        self.withdrawn.drain(..surplus);
    }

    /// Adds what another device knows, at `now`. Whether anything was new.
    pub fn merge(&mut self, other: &Self, now: Timestamp<Rig>) -> bool {
        let before = self.clone();
        for change in &other.withdrawn {
            if !self.is_withdrawn(change) {
                self.withdraw(change);
            }
        }
        for change in &other.changes {
            if self.add(change.clone(), now).is_err() {
                crate::log::warn!(change = %change.change, "{LogFull}: this one is left out");
            }
        }
        *self != before
    }

    /// What holds on `device` at `at`, by control.
    #[must_use]
    pub fn effective(
        &self,
        device: &DeviceId,
        at: Timestamp<Rig>,
    ) -> BTreeMap<CameraControl, EffectiveSetting> {
        let mut all = BTreeMap::new();
        for change in self.changes.iter().take_while(|change| change.at() <= at) {
            let assign = change.for_device(device);
            all.extend(assign.iter().map(|(control, value)| {
                let (value, change) = (value.clone(), change.change.clone());
                (*control, EffectiveSetting { value, change })
            }));
        }
        all
    }

    /// What holds on `device` at `at`, without where it comes from.
    #[must_use]
    pub fn assignments(&self, device: &DeviceId, at: Timestamp<Rig>) -> Assignments {
        let mut all = Assignments::default();
        all.extend(self.effective(device, at).into_iter().map(|(control, setting)| (control, setting.value)));
        all
    }

    /// Changes that concern `device` and hold only after `at`.
    pub fn later<'a>(
        &'a self,
        device: &'a DeviceId,
        at: Timestamp<Rig>,
    ) -> impl Iterator<Item = &'a SettingsChange> {
        let concerns = |change: &&SettingsChange| !change.for_device(device).is_empty();
        self.changes.iter().filter(move |change| change.at() > at).filter(concerns)
    }

    /// Leaves out what later changes have replaced at `now`. A change that lies ahead replaces nothing yet.
    fn compact(&mut self, now: Timestamp<Rig>) {
        // By control: for whom a later change sets it.
        let mut replaced: BTreeMap<CameraControl, Vec<Targets>> = BTreeMap::new();
        for change in self.changes.iter_mut().rev() {
            let holds = change.at() <= now;
            for part in change.parts.iter_mut().rev() {
                let targets = part.targets.clone();
                part.assign.retain(|control| {
                    let later = replaced.get(&control).into_iter().flatten();
                    !later.into_iter().any(|later| covers(later, &targets))
                });
                for (control, _) in part.assign.iter().filter(|_| holds) {
                    replaced.entry(*control).or_default().push(targets.clone());
                }
            }
            change.parts.retain(|part| !part.assign.is_empty());
        }
        self.changes.retain(|change| !change.parts.is_empty());
    }
}

/// Whether `targets` are all among `later`.
fn covers(later: &Targets, targets: &Targets) -> bool {
    match (later, targets) {
        (Targets::All, _) => true,
        (Targets::Devices(_), Targets::All) => false,
        (Targets::Devices(later), Targets::Devices(targets)) => targets.is_subset(later),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera_settings::{ChangePart, ControlValues};
    use crate::grid::FrameGrid;
    use crate::message::{MAX_MESSAGE, decode, encode};
    use crate::order::MAX_TARGETS;

    const NEVER: Timestamp<Rig> = Timestamp::ZERO;
    const ALWAYS: Timestamp<Rig> = Timestamp::MAX;

    fn name(name: &str) -> Name {
        Name::new(name).unwrap()
    }

    fn grid() -> FrameGrid {
        FrameGrid::new(30, 1).unwrap()
    }

    fn to(devices: &str) -> Targets {
        match devices {
            "" => Targets::All,
            devices => Targets::Devices(devices.split(',').map(name).collect()),
        }
    }

    fn change(id: &str, frame: u64, devices: &str, values: &str) -> SettingsChange {
        let assign = match values {
            "reset" => Assignments::reset(CameraControl::ALL.iter().copied()),
            values => ControlValues::parse(values.split(' ')).unwrap().into(),
        };
        let parts = vec![ChangePart { targets: to(devices), assign }];
        SettingsChange { change: name(id), frame, rate: grid(), timescale: None, parts }
    }

    /// What holds on `device` in the end, in words.
    fn on(log: &SettingsLog, device: &str) -> String {
        log.assignments(&name(device), ALWAYS).to_string()
    }

    fn log(changes: &[SettingsChange]) -> SettingsLog {
        let mut log = SettingsLog::default();
        for change in changes {
            log.add(change.clone(), ALWAYS).unwrap();
        }
        log
    }

    #[test]
    fn the_later_one_holds_per_control_for_one_device_and_for_all() {
        let changes = [
            change("a", 100, "", "exposure-time=5000 analogue-gain=2"),
            change("b", 200, "left", "exposure-time=8000"),
            change("c", 300, "", "analogue-gain=4"),
        ];
        let log = log(&changes);
        assert_eq!(on(&log, "left"), "analogue-gain=4 exposure-time=8000");
        assert_eq!(on(&log, "right"), "analogue-gain=4 exposure-time=5000");
        // In whatever order a device learns of them.
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert_eq!(self::log(&order.map(|index| changes[index].clone())), log);
        }
        let mut all = log.clone();
        assert!(all.add(change("d", 400, "", "exposure-time=100"), ALWAYS).unwrap());
        assert_eq!(on(&all, "left"), "analogue-gain=4 exposure-time=100");
        assert_eq!(all.changes().len(), 2, "what is replaced everywhere is not kept: {all:?}");
    }

    #[test]
    fn of_two_changes_at_one_instant_the_greater_id_holds() {
        let (a, b) = (change("a", 100, "", "gamma=1"), change("b", 100, "", "gamma=2"));
        for changes in [[a.clone(), b.clone()], [b, a]] {
            assert_eq!(on(&log(&changes), "x"), "gamma=2");
        }
    }

    #[test]
    fn a_reset_goes_back_to_the_pipeline_and_replaces_all() {
        let log = log(&[
            change("a", 100, "", "exposure-time=5000"),
            change("b", 200, "left", "gamma=2"),
            change("c", 300, "", "reset"),
        ]);
        assert_eq!((log.changes().len(), log.changes()[0].change.as_str()), (1, "c"));
        assert!(log.assignments(&name("left"), ALWAYS).values().is_empty());
        assert_eq!(log.assignments(&name("left"), ALWAYS).get(CameraControl::Gamma), Some(None));
        let reset = change("d", 10, "left", "gamma=1");
        let mut older = log.clone();
        assert!(!older.add(reset, ALWAYS).unwrap(), "one that is older than the reset has no effect");
        assert_eq!(older, log);
    }

    #[test]
    fn a_change_that_lies_ahead_replaces_nothing_yet() {
        let mut log = SettingsLog::default();
        let instant = |frame| grid().instant(frame);
        log.add(change("a", 100, "", "gamma=1"), instant(90)).unwrap();
        log.add(change("b", 500, "", "gamma=2"), instant(110)).unwrap();
        let device = name("x");
        assert_eq!(log.assignments(&device, instant(499)).to_string(), "gamma=1");
        let later = |at| log.later(&device, instant(at)).map(|change| change.frame).collect::<Vec<_>>();
        assert_eq!((later(499), later(500)), (vec![500], Vec::new()));
        assert_eq!(log.assignments(&device, instant(500)).to_string(), "gamma=2");
        // An earlier one that comes late changes nothing of what is ahead.
        let mut late = log.clone();
        assert!(late.add(change("c", 400, "", "gamma=3"), instant(450)).unwrap());
        assert_eq!(late.assignments(&device, instant(450)).to_string(), "gamma=3");
        assert_eq!(on(&late, "x"), "gamma=2");
    }

    #[test]
    fn what_was_taken_back_does_not_come_back() {
        let a = change("a", 100, "", "gamma=1");
        let mut log = log(std::slice::from_ref(&a));
        let other = log.clone();
        log.withdraw(&a.change);
        assert!(log.changes().is_empty() && !log.add(a, ALWAYS).unwrap());
        assert!(!log.merge(&other, NEVER), "a device that has missed it brings it up again");
        let mut away = other;
        assert!(away.merge(&log, NEVER) && away == log);
        for index in 0..100 {
            away.withdraw(&name(&format!("w{index}")));
        }
        assert_eq!(away.withdrawn.len(), MAX_WITHDRAWN);
    }

    #[test]
    fn the_largest_log_fits_into_a_message() {
        let mut log = SettingsLog::default();
        let device = |index: usize| format!("d{index:0>63}");
        for index in 0..MAX_CHANGES {
            let id = format!("c{index:0>63}");
            log.add(change(&id, 7, &device(index), "exposure-time=5000 awb-mode=incandescent"), NEVER)
                .unwrap();
        }
        let full = log.clone();
        assert_eq!(log.add(change("more", 7, "one", "gamma=1"), NEVER), Err(LogFull));
        assert_eq!(log, full);
        assert_eq!(log.add(change("a0", 7, "one", "gamma=1"), NEVER), Err(LogFull), "wherever it belongs");
        assert!(encode(&log).len() < MAX_MESSAGE / 4, "{}", encode(&log).len());
        assert_eq!(decode::<SettingsLog>(&encode(&log)).unwrap(), log);
        let devices: Vec<_> = (0..MAX_TARGETS).map(device).collect();
        let mut wide = SettingsLog::default();
        let added = (0..20).filter(|index| {
            let gains = format!("gamma={index}");
            let mut one = change(&format!("w{index}"), *index, "", &gains);
            one.parts[0].targets = to(&devices[..MAX_TARGETS - usize::try_from(*index).unwrap()].join(","));
            wide.add(one, NEVER).is_ok()
        });
        assert_eq!(added.count(), MAX_NAMED / MAX_TARGETS, "{}", wide.changes().len());
    }
}
