//! Requests for a device's files, and replies: a line of JSON in the control plane's envelope, followed by the bytes of a file if
//! the request was for these.

use serde::{Deserialize, Serialize};

use crate::message::{MessageError, decode, encode};
use crate::name::OrderId;
use crate::time::{Realtime, Rig, Timestamp};

/// Most bytes of a file in one reply.
pub const MAX_CHUNK: u64 = 4 << 20;

/// Most files in one reply.
pub const MAX_FILES: usize = 2000;

/// A request for files of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum FileRequest {
    /// The list of takes.
    Takes,
    /// The list of files of a take, from the `skip`th on.
    Files {
        /// The take.
        order: OrderId,
        /// Number of files to skip.
        skip: usize,
    },
    /// Bytes of a file.
    Read {
        /// The take.
        order: OrderId,
        /// The file.
        path: String,
        /// The first byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
    /// The SHA-256 of a file.
    Digest {
        /// The take.
        order: OrderId,
        /// The file.
        path: String,
    },
    /// Deletion of a file, by a client that has a copy.
    Delete {
        /// The take.
        order: OrderId,
        /// The file.
        path: String,
        /// SHA-256 of the copy.
        sha256: String,
    },
}

/// A reply of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum FileReply {
    /// The takes.
    Takes {
        /// By name.
        takes: Vec<TakeEntry>,
        /// Other things that may be takes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unreadable: Vec<Unreadable>,
    },
    /// Files of a take.
    Files {
        /// A part of them.
        files: Vec<FileEntry>,
        /// A lower bound of their number. If it is the number listed so far, these are all.
        total: usize,
    },
    /// Bytes of a file, which follow the line of JSON.
    Chunk {
        /// What is known of the file.
        #[serde(flatten)]
        chunk: Chunk,
    },
    /// The SHA-256 of a file.
    Digest {
        /// With size and age.
        #[serde(flatten)]
        digest: FileDigest,
    },
    /// The file is deleted.
    Deleted,
    /// The file is not deleted, since it differs from the client's copy.
    Differs {
        /// SHA-256 of the device's file.
        sha256: String,
    },
    /// Not now: the device is recording.
    Busy {
        /// Why, for a person.
        why: String,
    },
    /// The request is refused.
    Refused {
        /// Why, for a person.
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
    /// When the device accepted the order: greater for each order than for the one before. `None` from older devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_ns: Option<Timestamp<Realtime>>,
    /// Whether nothing of it will change any more.
    pub complete: bool,
}

/// Something among the takes of a device that cannot be fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unreadable {
    /// Its path on the device, relative to the folder of all takes.
    pub path: String,
    /// What is wrong with it, for a person.
    pub why: String,
}

/// The takes of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its takes, by name.
    pub takes: Vec<TakeEntry>,
    /// Other things that may be takes.
    pub unreadable: Vec<Unreadable>,
}

/// A file of a take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its name, relative to the take's folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// When the file, or its name, age or owner, was last changed, in nanoseconds of the device's wall clock since the Unix
    /// epoch. If this is the same, the file is the same. If not, its SHA-256 tells.
    pub modified_ns: i64,
}

/// What is known of a file when a part of it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Size of the whole file.
    pub bytes: u64,
    /// When it was last changed, as in [`FileEntry`].
    pub modified_ns: i64,
    /// SHA-256 of the file in hexadecimal, if the part is the whole file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The SHA-256 of a file, with size and age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Its size.
    pub bytes: u64,
    /// When it was last changed, as in [`FileEntry`].
    pub modified_ns: i64,
    /// SHA-256 of it in hexadecimal.
    pub sha256: String,
}

/// A reply as it is sent.
#[must_use]
pub fn frame(reply: &FileReply, bytes: &[u8]) -> Vec<u8> {
    let mut framed = encode(reply);
    framed.reserve_exact(1 + bytes.len());
    framed.push(b'\n'); // JSON on one line holds none
    framed.extend_from_slice(bytes);
    framed
}

/// The reply and the bytes that follow it.
///
/// # Errors
/// [`MessageError`]: bytes from a network can be anything.
pub fn unframe(framed: &[u8]) -> Result<(FileReply, &[u8]), MessageError> {
    let end = framed.iter().position(|byte| *byte == b'\n').unwrap_or(framed.len());
    Ok((decode(&framed[..end])?, framed.get(end + 1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_may_follow_a_reply() {
        let chunk = Chunk { bytes: 9, modified_ns: 5, sha256: None };
        let reply = FileReply::Chunk { chunk };
        for bytes in [&b""[..], b"\n\n", b"\0{}\n"] {
            assert_eq!(unframe(&frame(&reply, bytes)).unwrap(), (reply.clone(), bytes));
        }
        assert!(unframe(b"").is_err());
        assert!(unframe(b"\n{}").is_err());
        assert_eq!(unframe(&encode(&FileReply::Deleted)).unwrap(), (FileReply::Deleted, &b""[..]));
    }
}
