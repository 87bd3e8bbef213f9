//! Messages that only the control plane itself exchanges, in the envelope of [`swsync_core::control`].

use serde::{Deserialize, Serialize};
use swsync_core::control::decode;

use super::keys::Member;

/// Whom a device sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roster {
    pub members: Vec<Member>,
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
