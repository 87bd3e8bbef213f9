//! Requests for a device's files, and replies: a line of JSON in the control plane's envelope, followed by the bytes of a file if
//! the request was for these.

mod summary;

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::bounded;
use crate::manifest::MAX_PATH;
use crate::message::{self, MessageError};
use crate::name::OrderId;
use crate::order::MAX_STILLS;
use crate::time::{Realtime, Rig, Timestamp};

pub use summary::{CollectedMark, MAX_NOTE, MAX_SUMMARIES, NoteError, TakeNote, TakeSummary};

/// Most bytes of a file in one reply: what `swsync collect` asks for, a tenth of a second on good WiFi.
pub const MAX_CHUNK: u64 = 1 << 20;

/// Most files in one reply.
pub const MAX_FILES: usize = 2000;

/// Most takes in one reply: as many orders as a device remembers.
pub const MAX_TAKES: usize = 10_000;

/// Most things in one reply that may be takes.
pub const MAX_UNREADABLE: usize = 1_000;

/// Most files of one take that a client believes: four times the most stills of an order with a count.
pub const MAX_TAKE_FILES: usize = 4 * MAX_STILLS as usize;

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
        #[serde(deserialize_with = "file_path")]
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
        #[serde(deserialize_with = "file_path")]
        path: String,
    },
    /// What there is to list of the takes, a page of [`MAX_SUMMARIES`] by name. Older devices refuse this.
    Summaries {
        /// The last take of the page before; `None`: the first page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<OrderId>,
    },
    /// A person's note on a take. A later one that the device has already stays. Older devices refuse this.
    Note {
        /// The take.
        order: OrderId,
        /// The note.
        note: TakeNote,
    },
    /// The client has collected a take, and verified it. Older devices refuse this.
    Collected {
        /// The take.
        order: OrderId,
        /// By whom, and what.
        mark: CollectedMark,
    },
    /// Removal of a whole take. Older devices refuse this.
    Remove {
        /// The take.
        order: OrderId,
        /// The [`sha256`](CollectedMark::sha256) of its files that the client has verified to be collected; `None`: remove it
        /// even if nobody has collected it.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_hexadecimal")]
        sha256: Option<String>,
    },
    /// Deletion of a file, by a client that has a copy.
    Delete {
        /// The take.
        order: OrderId,
        /// The file.
        #[serde(deserialize_with = "file_path")]
        path: String,
        /// SHA-256 of the copy.
        #[serde(deserialize_with = "hexadecimal")]
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
        #[serde(deserialize_with = "bounded::list::<_, _, MAX_TAKES>")]
        takes: Vec<TakeEntry>,
        /// Other things that may be takes.
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            deserialize_with = "bounded::list::<_, _, MAX_UNREADABLE>"
        )]
        unreadable: Vec<Unreadable>,
    },
    /// Files of a take.
    Files {
        /// A part of them.
        #[serde(deserialize_with = "bounded::list::<_, _, MAX_FILES>")]
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
    /// What there is to list of the takes.
    Summaries {
        /// A page of them, by name.
        #[serde(deserialize_with = "bounded::list::<_, _, MAX_SUMMARIES>")]
        takes: Vec<TakeSummary>,
        /// Whether there are more after these.
        more: bool,
        /// Other things that may be takes; on the first page only.
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            deserialize_with = "bounded::list::<_, _, MAX_UNREADABLE>"
        )]
        unreadable: Vec<Unreadable>,
    },
    /// The note that the take has now.
    Noted {
        /// The given one, or a later one.
        note: TakeNote,
    },
    /// It is kept with the take that it has been collected.
    Marked,
    /// The take is removed.
    Removed {
        /// Number of its files; 0 if there was no such take (any more).
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The file is deleted.
    Deleted,
    /// The file is not deleted, since it differs from the client's copy.
    Differs {
        /// SHA-256 of the device's file.
        #[serde(deserialize_with = "hexadecimal")]
        sha256: String,
    },
    /// Not now: the device is recording.
    Busy {
        /// Why, for a person.
        #[serde(deserialize_with = "bounded::text")]
        why: String,
    },
    /// The request is refused.
    Refused {
        /// Why, for a person.
        #[serde(deserialize_with = "bounded::text")]
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
    #[serde(deserialize_with = "bounded::path")]
    pub path: String,
    /// What is wrong with it, for a person.
    #[serde(deserialize_with = "bounded::text")]
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
    #[serde(deserialize_with = "file_path")]
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
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_hexadecimal")]
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
    #[serde(deserialize_with = "hexadecimal")]
    pub sha256: String,
}

/// A reply as it is sent.
#[must_use]
pub fn frame(reply: &FileReply, bytes: &[u8]) -> Vec<u8> {
    message::frame(reply, bytes)
}

/// The reply and the bytes that follow it.
///
/// # Errors
/// [`MessageError`]: bytes from a network can be anything.
pub fn unframe(framed: &[u8]) -> Result<(FileReply, &[u8]), MessageError> {
    message::unframe(framed, usize::try_from(MAX_CHUNK).unwrap_or(usize::MAX))
}

/// The name of a file of a take. Whether it stays in the folder is checked by whoever opens it.
fn file_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = Cow::<str>::deserialize(deserializer)?;
    match path.len() {
        length if length > MAX_PATH => {
            Err(D::Error::custom(format_args!("a path of {length} bytes is too long")))
        }
        _ => Ok(path.into_owned()),
    }
}

fn hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let sum = Cow::<str>::deserialize(deserializer)?;
    match sum.len() == 64 && sum.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        true => Ok(sum.into_owned()),
        false => Err(D::Error::custom("a SHA-256 has 64 hexadecimal digits")),
    }
}

fn optional_hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Sum(#[serde(deserialize_with = "hexadecimal")] String);

    Ok(Option::<Sum>::deserialize(deserializer)?.map(|sum| sum.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{decode, encode};

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

    #[test]
    fn requests_and_replies_are_bounded() {
        let parse = |json: serde_json::Value| serde_json::from_value::<FileReply>(json);
        let file = |path: &str| serde_json::json!({"path": path, "bytes": u64::MAX, "modified_ns": 0});
        let files = |path: &str, count| serde_json::json!({"is": "files", "files": vec![file(path); count], "total": 1});
        assert!(parse(files(&"x".repeat(MAX_PATH), MAX_FILES)).is_ok());
        assert!(parse(files("x", MAX_FILES + 1)).is_err());
        assert!(parse(files(&"x".repeat(MAX_PATH + 1), 1)).is_err());
        let differs = |sha256: &str| parse(serde_json::json!({"is": "differs", "sha256": sha256}));
        assert!(differs(&"0a".repeat(32)).is_ok());
        assert!(
            differs("").is_err() && differs(&"0g".repeat(32)).is_err() && differs(&"0a".repeat(33)).is_err()
        );
        let chunk = Chunk { bytes: 9, modified_ns: 5, sha256: None };
        let most = usize::try_from(MAX_CHUNK).unwrap();
        let framed = frame(&FileReply::Chunk { chunk }, &vec![0; most + 1]);
        assert!(matches!(unframe(&framed), Err(MessageError::TooLong(..))));
        assert_eq!(unframe(&framed[..framed.len() - 1]).unwrap().1.len(), most);
    }

    #[test]
    fn the_largest_lists_fit_into_a_message() {
        let order = |index: usize| OrderId::new(format!("{index:0>64}")).unwrap();
        let (at, wall) = (Timestamp::from_nanos(i64::MAX), Some(Timestamp::from_nanos(i64::MAX)));
        let take =
            |index| TakeEntry { order: order(index), started_ns: at, accepted_ns: wall, complete: false };
        let takes = FileReply::Takes { takes: (0..MAX_TAKES).map(take).collect(), unreadable: Vec::new() };
        assert_eq!(decode::<FileReply>(&encode(&takes)).unwrap(), takes);
        let file = FileEntry { path: "x".repeat(MAX_PATH), bytes: u64::MAX, modified_ns: i64::MAX };
        let files = FileReply::Files { files: vec![file; MAX_FILES], total: usize::MAX };
        assert_eq!(decode::<FileReply>(&encode(&files)).unwrap(), files);
    }
}
