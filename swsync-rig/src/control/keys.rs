//! Where everything lives in Zenoh's key space.
//!
//! | key | what is there |
//! | --- | --- |
//! | `swsync/<rig>/device/<device>/<instance>` | liveliness token: this device is present |
//! | `swsync/<rig>/device/<device>/<instance>/order` | queryable: an order in, its answer out |
//! | `swsync/<rig>/device/<device>/<instance>/offer` | queryable: an order in, whether it is taken out |
//! | `swsync/<rig>/device/<device>/<instance>/command` | queryable: a stop or cancellation in, `Acknowledgement` out |
//! | `swsync/<rig>/device/<device>/<instance>/registry` | queryable: open orders out |
//! | `swsync/<rig>/device/<device>/<instance>/status` | queryable: `Status` out |
//! | `swsync/<rig>/device/<device>/<instance>/roster` | queryable: whom this device sees, and misses |
//! | `swsync/<rig>/device/<device>/<instance>/claim` | queryable: a `Claim` of another with this id in, `Verdict` out |
//! | `swsync/<rig>/leaving/<device>/<instance>` | liveliness token: this device is about to leave in good order |
//! | `swsync/<rig>/files/<device>/<instance>` | queryable: the device's files ([`crate::share`]) |
//! | `swsync/<rig>/time/<instance>` | liveliness token and queryable: `TimeService` out |
//!
//! The instance is the Zenoh id of the session that the device joined with. It tells a device that
//! was restarted from its own ghost (a peer that lost power stays "alive" until its lease ends), and
//! two devices that were given one name from each other.

use std::fmt;

use serde::{Deserialize, Serialize};
use swsync_core::name::{DeviceId, Name};

/// One device as it stands in the rig: its id, and the session it joined with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Member {
    pub device: DeviceId,
    pub instance: Name,
}

/// What a device can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aspect {
    Order,
    Offer,
    Command,
    Registry,
    Status,
    Roster,
    Claim,
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Order => "order",
            Self::Offer => "offer",
            Self::Command => "command",
            Self::Registry => "registry",
            Self::Status => "status",
            Self::Roster => "roster",
            Self::Claim => "claim",
        })
    }
}

/// The keys of one rig. A [`Name`] holds no character that means something in a key.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    root: String,
}

impl Keys {
    pub(super) fn new(rig: &Name) -> Self {
        Self { root: format!("swsync/{rig}") }
    }

    /// A member's presence.
    pub(super) fn member(&self, member: &Member) -> String {
        format!("{}/device/{}/{}", self.root, member.device, member.instance)
    }

    /// Everyone's presence.
    pub(super) fn members(&self) -> String {
        format!("{}/device/*/*", self.root)
    }

    /// That a member leaves.
    pub(super) fn leaving(&self, member: &Member) -> String {
        format!("{}/leaving/{}/{}", self.root, member.device, member.instance)
    }

    /// That anyone leaves.
    pub(super) fn all_leaving(&self) -> String {
        format!("{}/leaving/*/*", self.root)
    }

    /// What to ask of one member.
    pub(super) fn aspect(&self, member: &Member, aspect: Aspect) -> String {
        format!("{}/{aspect}", self.member(member))
    }

    /// What to ask of everyone.
    pub(super) fn everyones(&self, aspect: Aspect) -> String {
        format!("{}/{aspect}", self.members())
    }

    /// A member's files.
    pub(super) fn files(&self, member: &Member) -> String {
        format!("{}/files/{}/{}", self.root, member.device, member.instance)
    }

    /// Files of everyone who goes by `device`.
    pub(super) fn files_named(&self, device: &DeviceId) -> String {
        format!("{}/files/{device}/*", self.root)
    }

    /// A time service.
    pub(super) fn time(&self, instance: &Name) -> String {
        format!("{}/time/{instance}", self.root)
    }

    /// All time services.
    pub(super) fn times(&self) -> String {
        format!("{}/time/*", self.root)
    }

    /// The member whose presence, or whose aspect, has the key `key`; `None` for keys that no swsync
    /// device declares.
    pub(super) fn parse_member(&self, key: &str) -> Option<Member> {
        self.parse(key, "/device/")
    }

    /// The member that leaves by the token `key`.
    pub(super) fn parse_leaving(&self, key: &str) -> Option<Member> {
        self.parse(key, "/leaving/")
    }

    fn parse(&self, key: &str, kind: &str) -> Option<Member> {
        let rest = key.strip_prefix(&self.root)?.strip_prefix(kind)?;
        let mut parts = rest.split('/');
        let device = Name::new(parts.next()?).ok()?;
        let instance = Name::new(parts.next()?).ok()?;
        Some(Member { device, instance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Name {
        Name::new(name).unwrap()
    }

    #[test]
    fn a_member_is_read_back_from_its_keys() {
        let keys = Keys::new(&name("rig.1"));
        let member = Member { device: name("pi-3"), instance: name("a0f") };
        assert_eq!(keys.member(&member), "swsync/rig.1/device/pi-3/a0f");
        assert_eq!(keys.parse_member(&keys.member(&member)), Some(member.clone()));
        let order = keys.aspect(&member, Aspect::Order);
        assert_eq!(keys.parse_member(&order), Some(member));
    }

    #[test]
    fn keys_of_others_are_nobodys() {
        let keys = Keys::new(&name("rig"));
        for key in [
            "swsync/rig2/device/a/b",
            "swsync/rig/device/a",
            "swsync/rig/device/*/b",
            "swsync/rig/time/b",
            "x/swsync/rig/device/a/b",
            "",
        ] {
            assert_eq!(keys.parse_member(key), None, "{key}");
        }
    }
}
