//! Messages between sessions that only this crate uses, in the envelope of [`swsync_core::control`].

use serde::{Deserialize, Serialize};
use swsync_core::bounded;
use swsync_core::message::decode;
use swsync_core::name::{DeviceId, Name};

use crate::keys::Member;

/// Most devices of a rig: more tokens are not followed, and a longer roster is refused. Chosen: the paper's largest rig, a thousand.
pub(crate) const MAX_MEMBERS: usize = 1_024;

/// The devices that a hub sees, and those that are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Roster {
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_MEMBERS>")]
    pub members: Vec<Member>,
    /// Devices that were in the rig.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, MAX_MEMBERS>"
    )]
    pub gone: Vec<GoneDevice>,
}

/// A device that was in the rig.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GoneDevice {
    pub device: DeviceId,
    /// How long it has been gone.
    pub ago_ms: u64,
    pub how: Departure,
}

/// How a device has left the rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Departure {
    /// Lost without notice: it still belongs to the rig.
    Lost,
    /// Stopped in good order.
    Left,
    /// Forgotten by command: it is not missed any more.
    Forgotten,
}

/// Part of a query for the roster: a device to forget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forget {
    pub forget: DeviceId,
}

/// A claim to an id, sent to another device that has the same id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdClaim {
    /// The claiming instance.
    pub instance: Name,
    /// How long it has been in the rig, or has tried to join.
    pub age_ms: u64,
    /// Where it runs, for a person.
    #[serde(deserialize_with = "bounded::text")]
    pub place: String,
    /// Whether it is not in the rig yet, and asks before it joins.
    #[serde(default)]
    pub joining: bool,
}

/// Which of two devices of one id stays in the rig.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdVerdict {
    /// The instance that stays.
    pub stays: Name,
    /// Where the deciding device runs, for a person.
    #[serde(deserialize_with = "bounded::text")]
    pub place: String,
}

/// Whether a device runs a hub, as it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Serves {
    pub serves: bool,
}

/// Why a device refuses a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    #[serde(deserialize_with = "bounded::text")]
    pub why: String,
}

/// Longest reason that is passed on, in characters.
const MAX_WHY: usize = 300;

/// The reason in an error reply, which may come from swsync or from Zenoh itself.
pub(crate) fn reason(bytes: &[u8]) -> String {
    let why = match decode::<Refusal>(bytes) {
        Ok(refusal) => refusal.why,
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    };
    why.chars().take(MAX_WHY).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use swsync_core::message::encode;

    use super::*;

    #[test]
    fn a_roster_of_more_devices_than_any_rig_has_is_refused() {
        let member = |index: usize| json!({ "device": format!("d{index}"), "instance": format!("i{index}") });
        for (members, fits) in [(MAX_MEMBERS, true), (MAX_MEMBERS + 1, false)] {
            let members: Vec<_> = (0..members).map(member).collect();
            let roster = decode::<Roster>(&encode(&json!({ "members": members })));
            assert_eq!(roster.is_ok(), fits, "{roster:?}");
        }
    }

    #[test]
    fn a_reason_comes_from_a_device_or_from_zenoh() {
        let why = "the device was stopped first";
        assert_eq!(reason(&encode(&Refusal { why: why.into() })), why);
        assert_eq!(reason(b"Timeout"), "Timeout");
        assert_eq!(reason(&[b'x'; 10_000]).len(), MAX_WHY);
        assert_eq!(reason(b"\xff"), "\u{fffd}");
    }
}
