//! Why a server that answers cannot be followed.

use std::fmt;

use crate::key::is_rig_key;

/// Why a server that answers cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerRefusal {
    /// It refuses service with this kiss code (RFC 5905 section 7.4).
    Kiss([u8; 4]),
    /// It does not know the key with this id, or has another secret for it.
    Key(u32),
    /// Its responses carry no valid MAC of the key with this id.
    Unauthenticated(u32),
    /// It belongs to another rig, with this id.
    OtherRig(u64),
    /// It follows this device.
    Loop,
    /// It does not know the time.
    Unsynchronized,
    /// It passes on another time than that of the time scale that it names.
    Disagrees,
    /// It has as many clients as it takes.
    Full,
}

impl fmt::Display for ServerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disagrees => {
                write!(
                    f,
                    "the server's time is not that of the time scale which it names: it is not followed"
                )
            }
            Self::Full => write!(f, "the server has as many clients as it takes"),
            Self::Kiss([b'D', b'E', b'N', b'Y']) => {
                write!(
                    f,
                    "the server denies access (DENY): has it a key that this client lacks? Then this one takes the same key-file="
                )
            }
            Self::Kiss(code) => write!(f, "the server refuses with {}", code.escape_ascii()),
            Self::Key(id) if is_rig_key(*id) => write!(
                f,
                "the server has another key than this device's, or none: compare them by `swsync key check FILE` on both"
            ),
            Self::Key(id) => {
                write!(f, "the server does not accept key {id}: both need the same line in their key files")
            }
            Self::Unauthenticated(id) if is_rig_key(*id) => write!(
                f,
                "the responses are not authenticated with the rig's key: is it a device of this rig, and has it the key \
                 (key-file=)?"
            ),
            Self::Unauthenticated(id) => write!(
                f,
                "the responses are not authenticated with key {id}: is it the right server, and has it the key?"
            ),
            Self::OtherRig(id) => write!(
                f,
                "the server belongs to another rig ({id:016x}): give both the same rig name, or this client \
                 another leader"
            ),
            Self::Loop => write!(f, "the server follows this device itself: let it follow the leader"),
            Self::Unsynchronized => write!(f, "the server does not know the time itself yet"),
        }
    }
}
