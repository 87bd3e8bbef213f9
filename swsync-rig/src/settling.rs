//! Decides when a session sees all devices of the rig. Sans-IO.
//!
//! A session that has just connected does not know all devices yet. So it asks the hubs for their rosters. Its view is settled once
//! each of them has answered, or is gone, and none has named a device that this session does not see.

use std::collections::{BTreeMap, BTreeSet};

use swsync_core::name::{DeviceId, Name};

use crate::keys::Member;
use crate::message::Roster;

/// Number of hubs that are asked for their rosters. A rig has two, or a few more while parts of it meet.
const ROSTERS: usize = 3;

/// A view of the rig that settles.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// Devices that this session has seen, even if they have left since.
    seen: BTreeSet<DeviceId>,
    /// Devices in the rosters of hubs, and whose roster named each first.
    named: BTreeMap<DeviceId, Name>,
    /// Devices that are not waited for: an earlier wait was in vain.
    given_up: BTreeSet<DeviceId>,
    asked: usize,
    answered: usize,
    closed: usize,
}

impl Settling {
    /// A view that does not wait to see `given_up`.
    pub(crate) fn without(given_up: BTreeSet<DeviceId>) -> Self {
        Self { given_up, ..Self::default() }
    }

    /// Handles that `member` was seen.
    pub(crate) fn handle_seen(&mut self, member: &Member) {
        self.seen.insert(member.device.clone());
    }

    /// Handles that another hub was seen. `true`: ask it for its roster, call [`handle_roster`](Self::handle_roster) with that, and
    /// [`handle_closed`](Self::handle_closed) when the query ends.
    #[must_use]
    pub(crate) const fn handle_hub(&mut self) -> bool {
        let ask = self.asked < ROSTERS;
        self.asked += ask as usize;
        ask
    }

    /// Handles the roster of the hub at `by`.
    pub(crate) fn handle_roster(&mut self, by: &Name, roster: &Roster) {
        self.answered += 1;
        for member in &roster.members {
            self.named.entry(member.device.clone()).or_insert_with(|| by.clone());
        }
    }

    /// Handles the end of a query for a roster. Its reply, if any, came before.
    pub(crate) const fn handle_closed(&mut self) {
        self.closed += 1;
    }

    /// Devices that hubs see but this session does not, and which hub named each first.
    pub(crate) fn unseen(&self) -> impl Iterator<Item = (&DeviceId, &Name)> {
        self.named.iter().filter(|(device, _)| !self.seen.contains(*device))
    }

    /// Whether the view is settled.
    pub(crate) fn is_settled(&self) -> bool {
        let mut awaited = self.unseen().filter(|(device, _)| !self.given_up.contains(*device));
        self.answered > 0 && self.closed == self.asked && awaited.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(device: &str) -> Member {
        Member { device: Name::new(device).unwrap(), instance: Name::new("1").unwrap() }
    }

    fn roster(devices: &[&str]) -> Roster {
        Roster { members: devices.iter().map(|device| member(device)).collect(), ..Roster::default() }
    }

    fn name(name: &str) -> Name {
        Name::new(name).unwrap()
    }

    #[test]
    fn a_view_settles_when_no_roster_names_an_unseen_device() {
        let mut settling = Settling::default();
        assert!(!settling.is_settled(), "no hub was seen");
        assert!(settling.handle_hub());
        settling.handle_seen(&member("a"));
        settling.handle_roster(&name("hub"), &roster(&["a", "b"]));
        assert!(!settling.is_settled(), "the query goes on");
        settling.handle_closed();
        assert!(!settling.is_settled(), "b is unseen");
        assert_eq!(settling.unseen().collect::<Vec<_>>(), [(&name("b"), &name("hub"))]);
        settling.handle_seen(&member("b"));
        assert!(settling.is_settled());
        assert!(settling.handle_hub());
        assert!(!settling.is_settled(), "another hub may see more");
        settling.handle_closed(); // but is gone
        assert!(settling.is_settled());
    }

    #[test]
    fn a_view_needs_one_roster_at_least() {
        let mut settling = Settling::default();
        settling.handle_seen(&member("a"));
        assert!(settling.handle_hub());
        settling.handle_closed();
        assert!(!settling.is_settled());
    }

    #[test]
    fn devices_that_were_waited_for_in_vain_are_not_waited_for_again() {
        let mut settling = Settling::without(["far", "hung"].map(|id| member(id).device).into());
        assert!(settling.handle_hub());
        settling.handle_seen(&member("a"));
        settling.handle_roster(&name("hub"), &roster(&["a", "far", "hung"]));
        settling.handle_closed();
        assert!(settling.is_settled());
        assert_eq!(settling.unseen().count(), 2, "they are named all the same");
    }

    #[test]
    fn a_few_hubs_are_asked() {
        let mut settling = Settling::default();
        assert_eq!((0..100).filter(|_| settling.handle_hub()).count(), ROSTERS);
    }
}
