//! Messages that only the control plane itself exchanges, in the envelope of [`swsync_core::control`].

use serde::{Deserialize, Serialize};
use swsync_core::control::decode;
use swsync_core::name::{DeviceId, Name};

use super::keys::Member;

/// Whom a device sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roster {
    pub members: Vec<Member>,
    /// Devices that were there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone>,
}

/// A device that was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gone {
    pub device: DeviceId,
    /// For so long.
    pub ago_ms: u64,
    pub how: How,
}

/// How a device went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum How {
    /// Without a word: it still belongs to the rig.
    Lost,
    /// It was stopped in good order.
    Left,
    /// Somebody said that it is not to be missed.
    Forgotten,
}

/// A device that no longer is to be missed: in a question for a roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Forget {
    pub forget: DeviceId,
}

/// What a device says to another one that has its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// Who speaks.
    pub instance: Name,
    /// For how long it has been in the rig, or has wanted to be.
    pub age_ms: u64,
    /// Where it runs, for a person.
    pub place: String,
    /// It is not in the rig yet, and asks before it joins.
    #[serde(default)]
    pub joining: bool,
}

/// Which of two devices of one id stays in the rig.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verdict {
    /// The instance that stays.
    pub stays: Name,
    /// Where the one that decides runs, for a person.
    pub place: String,
}

/// Why a device does not answer what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub why: String,
}

/// Longest reason that is passed on, in characters.
const MAX_WHY: usize = 300;

/// The reason in an error reply, which may come from swsync or from Zenoh itself.
pub(super) fn reason(bytes: &[u8]) -> String {
    let why = match decode::<Refusal>(bytes) {
        Ok(refusal) => refusal.why,
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    };
    why.chars().take(MAX_WHY).collect()
}

#[cfg(test)]
mod tests {
    use swsync_core::control::encode;

    use super::*;

    #[test]
    fn reasons_are_ours_or_zenohs() {
        let why = "the device was stopped first";
        assert_eq!(reason(&encode(&Refusal { why: why.into() })), why);
        assert_eq!(reason(b"Timeout"), "Timeout");
        assert_eq!(reason(&[b'x'; 10_000]).len(), MAX_WHY);
        assert_eq!(reason(b"\xff"), "\u{fffd}");
    }
}
