//! When the picture of who is in the rig is complete. Sans-IO.
//!
//! A session that has just connected knows only those that it reached first. So a few of them are asked
//! whom they see: the picture is complete once each has said so, or is gone, and named nobody unseen.

use std::collections::{BTreeMap, BTreeSet};

use swsync_core::name::DeviceId;

use super::keys::Member;
use super::message::Roster;

/// How many devices are asked whom they see. Each sees everyone unless the network is being set up or
/// is broken somewhere, so a few views complete one's own; more would cost a large rig's network.
const ROSTERS: usize = 3;

/// How far the picture has settled.
#[derive(Debug, Default)]
pub(super) struct Settling {
    /// Everyone that was seen, be it that they left since.
    seen: BTreeSet<DeviceId>,
    /// Everyone that others see, and who does.
    told: BTreeMap<DeviceId, DeviceId>,
    /// Those that need not be waited for: it was tried before.
    given_up: BTreeSet<DeviceId>,
    asked: usize,
    heard: usize,
    closed: usize,
}

impl Settling {
    /// One that does not wait for `given_up` to come into view.
    pub(super) fn without(given_up: BTreeSet<DeviceId>) -> Self {
        Self { given_up, ..Self::default() }
    }

    /// `member` was seen. Whether to ask it whom it sees: then [`handle_roster`](Self::handle_roster)
    /// with what it says, and [`handle_closed`](Self::handle_closed) when that query ends.
    #[must_use]
    pub(super) fn handle_seen(&mut self, member: &Member) -> bool {
        self.seen.insert(member.device.clone());
        let ask = self.asked < ROSTERS && !self.given_up.contains(&member.device);
        self.asked += usize::from(ask);
        ask
    }

    /// `by` has said whom it sees.
    pub(super) fn handle_roster(&mut self, by: &DeviceId, roster: &Roster) {
        self.heard += 1;
        for member in &roster.members {
            self.told.entry(member.device.clone()).or_insert_with(|| by.clone());
        }
    }

    /// A query for a roster has ended. Its reply, if there was one, came before.
    pub(super) const fn handle_closed(&mut self) {
        self.closed += 1;
    }

    /// Those that others see but this session does not, and who sees them.
    pub(super) fn unseen(&self) -> impl Iterator<Item = (&DeviceId, &DeviceId)> {
        self.told.iter().filter(|(device, _)| !self.seen.contains(*device))
    }

    /// Whether the picture is complete.
    pub(super) fn is_settled(&self) -> bool {
        let mut awaited = self.unseen().filter(|(device, _)| !self.given_up.contains(*device));
        self.heard > 0 && self.closed == self.asked && awaited.next().is_none()
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
    fn it_settles_when_nobody_names_anyone_unseen() {
        let mut settling = Settling::default();
        assert!(!settling.is_settled(), "nobody was seen");
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
    fn it_needs_one_view_at_least() {
        let mut settling = Settling::default();
        let _ = settling.handle_seen(&member("a"));
        settling.handle_closed();
        assert!(!settling.is_settled());
    }

    #[test]
    fn those_that_were_waited_for_in_vain_are_not_waited_for_again() {
        let mut settling = Settling::without(["far", "hung"].map(|id| member(id).device).into());
        assert!(!settling.handle_seen(&member("hung")));
        assert!(settling.handle_seen(&member("a")));
        settling.handle_roster(&member("a").device, &roster(&["a", "far", "hung"]));
        settling.handle_closed();
        assert!(settling.is_settled());
        assert_eq!(settling.unseen().count(), 1, "it is named all the same");
    }

    #[test]
    fn a_large_rig_is_not_flooded() {
        let mut settling = Settling::default();
        let asked = (0..100).filter(|n| settling.handle_seen(&member(&format!("d{n}")))).count();
        assert_eq!(asked, ROSTERS);
    }
}
