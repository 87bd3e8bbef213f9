//! The keys of a rig in Zenoh's key space.
//!
//! | key | what is there |
//! | --- | --- |
//! | `swsync/<rig>/device/<device>/<instance>` | liveliness token: this device is present |
//! | `swsync/<rig>/device/<device>/<instance>/order` | queryable: an order in, its answer out |
//! | `swsync/<rig>/device/<device>/<instance>/offer` | queryable: an order in, whether it is accepted out |
//! | `swsync/<rig>/device/<device>/<instance>/command` | queryable: a stop or cancellation in, `Acknowledgement` out |
//! | `swsync/<rig>/device/<device>/<instance>/registry` | queryable: open orders out |
//! | `swsync/<rig>/device/<device>/<instance>/status` | queryable: `Status` out |
//! | `swsync/<rig>/device/<device>/<instance>/roster` | queryable: the devices that this device sees and misses out |
//! | `swsync/<rig>/device/<device>/<instance>/claim` | queryable: an `IdClaim` of another device with this id in, `IdVerdict` out |
//! | `swsync/<rig>/leaving/<device>/<instance>` | liveliness token: this device is about to leave in good order |
//! | `swsync/<rig>/files/<device>/<instance>` | queryable: the device's files ([`crate::share`]) |
//! | `swsync/<rig>/time/<instance>` | put and queryable: the `TimeAdvert` of a device that serves time |
//!
//! The instance is the Zenoh id of the session that the device joined with. It distinguishes a restarted device from its
//! earlier instance (a peer that lost power stays "alive" until its lease ends), and two devices with one id.

use std::fmt;

use serde::{Deserialize, Serialize};
use swsync_core::name::{DeviceId, Name};

/// A device in the rig: its id, and the session it joined with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Member {
    pub device: DeviceId,
    pub instance: Name,
}

/// What a device can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueryKind {
    Order,
    Offer,
    Command,
    Registry,
    Status,
    Roster,
    Claim,
}

impl fmt::Display for QueryKind {
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

/// The keys of one rig. No character of a [`Name`] has a meaning in keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    root: String,
}

impl Keys {
    pub(crate) fn new(rig: &Name) -> Self {
        Self { root: format!("swsync/{rig}") }
    }

    /// The liveliness token of a member.
    pub(crate) fn member(&self, member: &Member) -> String {
        format!("{}/device/{}/{}", self.root, member.device, member.instance)
    }

    /// The liveliness tokens of all members.
    pub(crate) fn members(&self) -> String {
        format!("{}/device/*/*", self.root)
    }

    /// The token that a member is leaving.
    pub(crate) fn leaving(&self, member: &Member) -> String {
        format!("{}/leaving/{}/{}", self.root, member.device, member.instance)
    }

    /// The tokens of all members that are leaving.
    pub(crate) fn all_leaving(&self) -> String {
        format!("{}/leaving/*/*", self.root)
    }

    /// A query to one member.
    pub(crate) fn query(&self, member: &Member, kind: QueryKind) -> String {
        format!("{}/{kind}", self.member(member))
    }

    /// A query to all members.
    pub(crate) fn query_all(&self, kind: QueryKind) -> String {
        format!("{}/{kind}", self.members())
    }

    /// The files of a member.
    pub(crate) fn files(&self, member: &Member) -> String {
        format!("{}/files/{}/{}", self.root, member.device, member.instance)
    }

    /// The files of `device`, whichever session it joined with.
    pub(crate) fn files_named(&self, device: &DeviceId) -> String {
        format!("{}/files/{device}/*", self.root)
    }

    /// A time service.
    pub(crate) fn time(&self, instance: &Name) -> String {
        format!("{}/time/{instance}", self.root)
    }

    /// All time services.
    pub(crate) fn times(&self) -> String {
        format!("{}/time/*", self.root)
    }

    /// The member of a token or query with this key; `None` for keys that no swsync device declares.
    pub(crate) fn parse_member(&self, key: &str) -> Option<Member> {
        self.parse(key, "/device/")
    }

    /// The member of a leaving token.
    pub(crate) fn parse_leaving(&self, key: &str) -> Option<Member> {
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
        let order = keys.query(&member, QueryKind::Order);
        assert_eq!(keys.parse_member(&order), Some(member));
    }

    #[test]
    fn other_keys_belong_to_no_member() {
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
