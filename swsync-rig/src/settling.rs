//! Decides when a session sees all devices of the rig. Sans-IO.
//!
//! A session that has just connected knows only the devices that it reached first. So it asks a few of them for their rosters.
//! Its view is settled once each of them has answered, or is gone, and none has named a device that this session does not
//! see.

use std::collections::{BTreeMap, BTreeSet};

use swsync_core::name::DeviceId;

use crate::keys::Member;
use crate::message::Roster;

/// Number of devices that are asked for their rosters. Each sees all others unless the network is being set up or is broken
/// somewhere, so a few are enough. More would load the network of a large rig.
const ROSTERS: usize = 3;

/// A view of the rig that settles.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// Devices that this session has seen, even if they have left since.
    seen: BTreeSet<DeviceId>,
    /// Devices in the rosters of others, and whose roster named each first.
    named: BTreeMap<DeviceId, DeviceId>,
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

    /// Handles that `member` was seen. `true`: ask it for its roster, call [`handle_roster`](Self::handle_roster) with that, and
    /// [`handle_closed`](Self::handle_closed) when the query ends.
    #[must_use]
    pub(crate) fn handle_seen(&mut self, member: &Member) -> bool {
        self.seen.insert(member.device.clone());
        let ask = self.asked < ROSTERS && !self.given_up.contains(&member.device);
        self.asked += usize::from(ask);
        ask
    }

    /// Handles the roster of `by`.
    pub(crate) fn handle_roster(&mut self, by: &DeviceId, roster: &Roster) {
        self.answered += 1;
        for member in &roster.members {
            self.named.entry(member.device.clone()).or_insert_with(|| by.clone());
        }
    }

    /// Handles the end of a query for a roster. Its reply, if any, came before.
    pub(crate) const fn handle_closed(&mut self) {
        self.closed += 1;
    }

    /// Devices that others see but this session does not, and which other named each first.
    pub(crate) fn unseen(&self) -> impl Iterator<Item = (&DeviceId, &DeviceId)> {
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
    use swsync_core::name::Name;

    use super::*;

    fn member(device: &str) -> Member {
        Member { device: Name::new(device).unwrap(), instance: Name::new("1").unwrap() }
    }

    fn roster(devices: &[&str]) -> Roster {
        Roster { members: devices.iter().map(|device| member(device)).collect(), ..Roster::default() }
    }

    #[test]
    fn a_view_settles_when_no_roster_names_an_unseen_device() {
        let mut settling = Settling::default();
        assert!(!settling.is_settled(), "no device was seen");
        assert!(settling.handle_seen(&member("a")));
        settling.handle_roster(&member("a").device, &roster(&["a", "b"]));
        assert!(!settling.is_settled(), "the query goes on");
        settling.handle_closed();
        assert!(!settling.is_settled(), "b is unseen");
        assert_eq!(settling.unseen().collect::<Vec<_>>(), [(&member("b").device, &member("a").device)]);
        assert!(settling.handle_seen(&member("b")));
        assert!(!settling.is_settled(), "b may see more");
        settling.handle_closed(); // but is gone
        assert!(settling.is_settled());
    }

    #[test]
    fn a_view_needs_one_roster_at_least() {
        let mut settling = Settling::default();
        let _ = settling.handle_seen(&member("a"));
        settling.handle_closed();
        assert!(!settling.is_settled());
    }

    #[test]
    fn devices_that_were_waited_for_in_vain_are_not_waited_for_again() {
        let mut settling = Settling::without(["far", "hung"].map(|id| member(id).device).into());
        assert!(!settling.handle_seen(&member("hung")));
        assert!(settling.handle_seen(&member("a")));
        settling.handle_roster(&member("a").device, &roster(&["a", "far", "hung"]));
        settling.handle_closed();
        assert!(settling.is_settled());
        assert_eq!(settling.unseen().count(), 1, "it is named all the same");
    }

    #[test]
    fn few_devices_of_a_large_rig_are_asked() {
        let mut settling = Settling::default();
        let asked = (0..100).filter(|n| settling.handle_seen(&member(&format!("d{n}")))).count();
        assert_eq!(asked, ROSTERS);
    }
}
