//! The keys of a rig in Zenoh's key space.
//!
//! | key | what is there |
//! | --- | --- |
//! | `swsync/<rig>/device/<device>/<instance>` | liveliness token: this device is present |
//! | `swsync/<rig>/device/<device>/<instance>/*` | queryable of the device, by its last part: |
//! | `.../order` | an order in, its answer out |
//! | `.../offer` | an order in, whether it is accepted out |
//! | `.../command` | a stop or cancellation in, `Acknowledgement` out |
//! | `.../registry` | open orders out |
//! | `.../status` | `Status` out |
//! | `.../name` | a `PlaceChange` in, `PlaceReply` out |
//! | `.../centre` | a `CentreRequest` in, `CentreReply` out |
//! | `.../thumbnail` | a `ThumbnailRequest` in, `ThumbnailReply` and a JPEG out |
//! | `.../exchanges` | the recent exchanges of its clock (`ExchangesReply`) out |
//! | `.../identify` | an `IdentifyRequest` in, `IdentifyReply` out |
//! | `.../doctor` | `Diagnosis` out, after some seconds |
//! | `.../claim` | an `IdClaim` of another device with this id in, `IdVerdict` out |
//! | `.../serve` | a request to run a hub in; whether it does out |
//! | `.../date` | a `RigDate` in, `RigDateReply` out |
//! | `.../settings` | a `SettingsRequest` for its camera in, `SettingsReply` out |
//! | `swsync/<rig>/id/<folder>/<device>/<instance>` | liveliness token: this device has this id; `folder` is the id in lower case |
//! | `swsync/<rig>/leaving/<device>/<instance>` | liveliness token: this device is about to leave in good order |
//! | `swsync/<rig>/hub/<hub>/<kind>/<instance>/<place>/<addresses>` | liveliness token: a hub runs there ([`crate::hub`]) |
//! | `swsync/<rig>/keep/<hub>/roster` | queryable of a hub: the devices that it sees and misses out |
//! | `swsync/<rig>/keep/<hub>/orders` | queryable of a hub: the open orders, camera settings and dates that it knows out |
//! | `swsync/<rig>/keep/<hub>/note` | queryable of a hub: an order, command, change of settings or date for others to keep in |
//! | `swsync/<rig>/files/<device>/<instance>` | queryable: the device's files ([`crate::share`]) |
//! | `swsync/<rig>/time/<instance>` | put and queryable: the `TimeAdvert` of a device that serves time |
//!
//! The instance is a random number of the session that the device joined with. It distinguishes a restarted device from its
//! earlier instance (a device that lost power stays "alive" until its lease ends), and two devices with one id.
//!
//! In a star, each token costs a packet for everyone who follows it. So devices follow the tokens of hubs and of their own id
//! only. Whoever needs to know all devices (hubs, and those who give orders) follows them.

use std::fmt;

use serde::{Deserialize, Serialize};
use swsync_core::name::{DeviceId, Name};

use crate::hub::HubToken;

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
    Name,
    Identify,
    Centre,
    Thumbnail,
    Exchanges,
    Doctor,
    Claim,
    Serve,
    Settings,
    Date,
}

impl QueryKind {
    const ALL: [Self; 15] = [
        Self::Order,
        Self::Offer,
        Self::Command,
        Self::Registry,
        Self::Status,
        Self::Name,
        Self::Identify,
        Self::Centre,
        Self::Thumbnail,
        Self::Exchanges,
        Self::Doctor,
        Self::Claim,
        Self::Serve,
        Self::Settings,
        Self::Date,
    ];
}

impl fmt::Display for QueryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Order => "order",
            Self::Offer => "offer",
            Self::Command => "command",
            Self::Registry => "registry",
            Self::Status => "status",
            Self::Name => "name",
            Self::Identify => "identify",
            Self::Centre => "centre",
            Self::Thumbnail => "thumbnail",
            Self::Exchanges => "exchanges",
            Self::Doctor => "doctor",
            Self::Claim => "claim",
            Self::Serve => "serve",
            Self::Settings => "settings",
            Self::Date => "date",
        })
    }
}

/// What a hub can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeepKind {
    Roster,
    Orders,
    Note,
    /// Whether the hub reaches the member that asks.
    Reach,
}

impl fmt::Display for KeepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Roster => "roster",
            Self::Orders => "orders",
            Self::Note => "note",
            Self::Reach => "reach",
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

    /// Everything that a member is asked for.
    pub(crate) fn queries(&self, member: &Member) -> String {
        format!("{}/*", self.member(member))
    }

    /// What a query to a member asks for. A stranger's query may have any pattern as its key: it asks for one thing only if its key
    /// ends with that.
    pub(crate) fn kind_of(key: &str) -> Option<QueryKind> {
        let last = key.rsplit('/').next()?;
        QueryKind::ALL.into_iter().find(|kind| kind.to_string() == last)
    }

    /// The token that a member has its id.
    pub(crate) fn id(&self, member: &Member) -> String {
        format!("{}/{}/{}", self.ids_alike(&member.device), member.device, member.instance)
    }

    /// The tokens of all members whose id is, or has the same folder as, `device`.
    pub(crate) fn ids_like(&self, device: &DeviceId) -> String {
        format!("{}/*/*", self.ids_alike(device))
    }

    fn ids_alike(&self, device: &DeviceId) -> String {
        format!("{}/id/{}", self.root, device.as_str().to_ascii_lowercase())
    }

    /// The token of a hub.
    pub(crate) fn hub(&self, hub: &HubToken) -> String {
        format!("{}/hub/{}", self.root, hub)
    }

    /// The tokens of all hubs.
    pub(crate) fn hubs(&self) -> String {
        format!("{}/hub/*/*/*/*/*", self.root)
    }

    /// A query to one hub.
    pub(crate) fn keep(&self, hub: &Name, kind: KeepKind) -> String {
        format!("{}/keep/{hub}/{kind}", self.root)
    }

    /// A query to all hubs.
    pub(crate) fn keep_all(&self, kind: KeepKind) -> String {
        format!("{}/keep/*/{kind}", self.root)
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

    /// The member of the token of an id.
    pub(crate) fn parse_id(&self, key: &str) -> Option<Member> {
        let (_, rest) = key.strip_prefix(&self.root)?.strip_prefix("/id/")?.split_once('/')?;
        member_of(rest)
    }

    /// The hub of a token.
    pub(crate) fn parse_hub(&self, key: &str) -> Option<HubToken> {
        HubToken::parse(key.strip_prefix(&self.root)?.strip_prefix("/hub/")?)
    }

    /// The member of a leaving token.
    pub(crate) fn parse_leaving(&self, key: &str) -> Option<Member> {
        self.parse(key, "/leaving/")
    }

    fn parse(&self, key: &str, kind: &str) -> Option<Member> {
        member_of(key.strip_prefix(&self.root)?.strip_prefix(kind)?)
    }
}

/// The member of `<device>/<instance>`, whatever follows.
fn member_of(rest: &str) -> Option<Member> {
    let mut parts = rest.split('/');
    let device = Name::new(parts.next()?).ok()?;
    let instance = Name::new(parts.next()?).ok()?;
    Some(Member { device, instance })
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
        let upper = Member { device: name("Pi-3"), instance: name("b1") };
        assert_eq!(keys.id(&upper), "swsync/rig.1/id/pi-3/Pi-3/b1");
        assert_eq!(keys.parse_id(&keys.id(&upper)), Some(upper));
    }

    #[test]
    fn a_query_is_for_one_thing() {
        let keys = Keys::new(&name("rig"));
        let member = Member { device: name("a"), instance: name("b") };
        for kind in QueryKind::ALL {
            assert_eq!(Keys::kind_of(&keys.query(&member, kind)), Some(kind));
            assert_eq!(Keys::kind_of(&keys.query_all(kind)), Some(kind));
        }
        for key in ["", "swsync/rig/**", "swsync/rig/device/a/b/*", "swsync/rig/device/a/b/orders"] {
            assert_eq!(Keys::kind_of(key), None, "{key}");
        }
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
