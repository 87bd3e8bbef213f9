//! The devices of a rig as time goes on: who is there, how each is, who came, who left, and who is silent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use swsync_core::name::DeviceId;

use crate::Rig;
use crate::snapshot::RigSnapshot;

/// The rig, again and again: an iterator without an end, from [`Rig::statuses`]. `next` blocks until it is time.
pub struct Statuses {
    rig: Rig,
    interval: Duration,
    next: Option<Instant>,
    changes: StatusChanges,
}

/// The rig at one moment, and what has changed since the moment before.
#[derive(Debug, Clone)]
pub struct StatusUpdate {
    /// The devices, and what they said.
    pub snapshot: RigSnapshot,
    /// When that was.
    pub at: Instant,
    /// Devices that were not there before; at first all that are.
    pub came: BTreeSet<DeviceId>,
    /// Devices that are in the rig no more: stopped in good order, or forgotten.
    pub left: BTreeSet<DeviceId>,
    /// Devices of the rig that do not answer, and for how long; since the first question, if they never did.
    pub silent_for: BTreeMap<DeviceId, Duration>,
}

impl Statuses {
    pub(crate) fn new(rig: Rig, interval: Duration) -> Self {
        Self { rig, interval, next: None, changes: StatusChanges::default() }
    }
}

impl Iterator for Statuses {
    type Item = StatusUpdate;

    fn next(&mut self) -> Option<StatusUpdate> {
        let now = Instant::now();
        if let Some(next) = self.next {
            std::thread::sleep(next.saturating_duration_since(now));
        }
        // A device that does not answer makes the others wait: the time lost is not caught up with.
        self.next = Some(self.next.map_or(now, |next| next.max(now)) + self.interval);
        let snapshot = self.rig.snapshot();
        Some(self.changes.update(snapshot, Instant::now()))
    }
}

/// Compares each snapshot with the one before.
#[derive(Default)]
struct StatusChanges {
    known: BTreeSet<DeviceId>,
    /// When each device last answered, or was first asked.
    heard: BTreeMap<DeviceId, Instant>,
}

impl StatusChanges {
    fn update(&mut self, snapshot: RigSnapshot, at: Instant) -> StatusUpdate {
        let now: BTreeSet<_> = snapshot.devices().cloned().collect();
        let came: BTreeSet<_> = now.difference(&self.known).cloned().collect();
        let left: BTreeSet<_> = self.known.difference(&now).cloned().collect();
        self.heard.retain(|device, _| now.contains(device));
        for report in &snapshot.reports {
            self.heard.insert(report.status.device.clone(), report.heard);
        }
        let silent = snapshot.missed.keys().map(|device| {
            let since = *self.heard.entry(device.clone()).or_insert(at);
            (device.clone(), at.saturating_duration_since(since))
        });
        let silent_for = silent.collect();
        self.known = now;
        StatusUpdate { snapshot, at, came, left, silent_for }
    }
}

#[cfg(test)]
mod tests {
    use swsync_rig::{Presence, StatusReport};

    use super::*;
    use crate::testing::{name, status};

    #[test]
    fn devices_come_go_and_fall_silent() {
        let begin = Instant::now();
        let mut changes = StatusChanges::default();
        let mut at = |secs: u64, here: &[&str], missed: &[&str]| {
            let at = begin + Duration::from_secs(secs);
            let report = |device: &&str| StatusReport { status: status(device), asked: at, heard: at };
            let missed = missed.iter().map(|device| (name(device), "lost".to_owned())).collect();
            let presence = Presence { missed, ..Presence::default() };
            changes.update(RigSnapshot::of(presence, here.iter().map(report).collect()), at)
        };
        let names = |names: &[&str]| names.iter().map(|device| name(device)).collect::<BTreeSet<_>>();
        let first = at(0, &["a", "b"], &["c"]);
        assert_eq!((first.came, first.left), (names(&["a", "b", "c"]), names(&[])));
        assert_eq!(first.silent_for, [(name("c"), Duration::ZERO)].into(), "it was never heard");
        let second = at(3, &["a"], &["b", "c"]);
        assert_eq!((second.came, second.left), (names(&[]), names(&[])));
        let silent = [(name("b"), Duration::from_secs(3)), (name("c"), Duration::from_secs(3))];
        assert_eq!(second.silent_for, silent.into());
        let third = at(4, &["a", "c"], &[]);
        assert_eq!((third.came, third.left), (names(&[]), names(&["b"])));
        assert!(third.silent_for.is_empty());
        let fourth = at(5, &["a", "c"], &["b"]);
        assert_eq!(fourth.came, names(&["b"]), "it is another one, or back");
        assert_eq!(fourth.silent_for[&name("b")], Duration::ZERO);
    }
}
