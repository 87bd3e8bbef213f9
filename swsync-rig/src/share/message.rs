//! What is asked of a device's files, and what it says: a line of JSON in the control plane's envelope, and
//! behind it, where bytes of a file were asked for, these.

use serde::{Deserialize, Serialize};
use swsync_core::control::{MessageError, decode, encode};
use swsync_core::name::OrderId;
use swsync_core::time::{Realtime, Rig, Timestamp};

/// Most bytes of a file in one reply.
pub(super) const MAX_CHUNK: u64 = 4 << 20;

/// Most files in one reply.
pub(super) const MAX_FILES: usize = 2000;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub(super) enum Request {
    /// Which takes there are.
    Takes,
    /// The files of one, from the `skip`th on.
    Files { order: OrderId, skip: usize },
    /// Bytes of a file.
    Read { order: OrderId, path: String, offset: u64, length: u64 },
    /// A file's SHA-256.
    Digest { order: OrderId, path: String },
    /// To delete a file, by someone who has it.
    Delete { order: OrderId, path: String, sha256: String },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(super) enum Said {
    Takes {
        takes: Vec<TakeEntry>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unreadable: Vec<Unreadable>,
    },
    Files {
        files: Vec<FileEntry>,
        /// How many there are at least; if no more than were told by now: all.
        total: usize,
    },
    /// The bytes follow.
    Chunk {
        #[serde(flatten)]
        chunk: Chunk,
    },
    Digest {
        #[serde(flatten)]
        digest: Digest,
    },
    Deleted,
    /// Not deleted: it is not what whoever asks has.
    Differs {
        sha256: String,
    },
    /// Not now: the device is at work on a take.
    Busy {
        why: String,
    },
    /// Not at all.
    Refused {
        why: String,
    },
}

/// A take that a device has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeEntry {
    /// The order.
    pub order: OrderId,
    /// When its first file was begun.
    pub started_ns: Timestamp<Rig>,
    /// When the device accepted the order, by a count of its own: greater with each. `None`: an older device does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_ns: Option<Timestamp<Realtime>>,
    /// Whether nothing of it will change any more.
    pub complete: bool,
}

/// What lies where a device's takes are, and is none that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unreadable {
    /// Its path on the device, from the folder that the takes are below.
    pub path: String,
    /// What is wrong with it, for a person.
    pub why: String,
}

/// What a device has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its takes, by name.
    pub takes: Vec<TakeEntry>,
    /// What else there is that may be takes.
    pub unreadable: Vec<Unreadable>,
}

/// A file of a take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name, relative to the take's folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When it, or its name, age or owner, was last changed, by the device's wall clock, in nanoseconds since the Unix epoch.
    /// Where this is the same, it is the same file; where it is not, its sum tells.
    pub modified_ns: i64,
}

/// What is told of a piece of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Size of the whole file.
    pub bytes: u64,
    /// When it was last changed, as in [`FileEntry`].
    pub modified_ns: i64,
    /// SHA-256 of the whole file in hexadecimal, where this piece is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What identifies a file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Its size.
    pub bytes: u64,
    /// When it was last changed, as in [`FileEntry`].
    pub modified_ns: i64,
    /// SHA-256 of it in hexadecimal.
    pub sha256: String,
}

/// An answer as it travels.
pub(super) fn frame(said: &Said, bytes: &[u8]) -> Vec<u8> {
    let mut framed = encode(said);
    framed.reserve_exact(1 + bytes.len());
    framed.push(b'\n'); // JSON on one line holds none
    framed.extend_from_slice(bytes);
    framed
}

/// The answer and the bytes behind it.
pub(super) fn unframe(framed: &[u8]) -> Result<(Said, &[u8]), MessageError> {
    let end = framed.iter().position(|byte| *byte == b'\n').unwrap_or(framed.len());
    Ok((decode(&framed[..end])?, framed.get(end + 1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_all_kinds_travel_behind_their_answer() {
        let chunk = Chunk { bytes: 9, modified_ns: 5, sha256: None };
        let said = Said::Chunk { chunk };
        for bytes in [&b""[..], b"\n\n", b"\0{}\n"] {
            assert_eq!(unframe(&frame(&said, bytes)).unwrap(), (said.clone(), bytes));
        }
        assert!(unframe(b"").is_err());
        assert!(unframe(b"\n{}").is_err());
        assert_eq!(unframe(&encode(&Said::Deleted)).unwrap(), (Said::Deleted, &b""[..]));
    }
}
