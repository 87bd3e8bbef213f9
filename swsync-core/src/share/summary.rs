//! What a list says of a take: its counts, a person's note, and who has collected it. A device tells it without a look at the
//! take's frames.

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::manifest::Take;
use crate::message::TimeScale;
use crate::name::OrderId;
use crate::order::{Order, Targets};
use crate::rig_date::RigDate;
use crate::time::{Realtime, Rig, Timestamp};

/// Most takes in one reply: with the longest notes they are half of [`MAX_MESSAGE`](crate::message::MAX_MESSAGE).
pub const MAX_SUMMARIES: usize = 200;

/// Longest note, in bytes.
pub const MAX_NOTE: usize = 1_000;

/// What there is to list of a device's part of a take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeSummary {
    /// The order.
    pub order: OrderId,
    /// When its first file was begun.
    pub started_ns: Timestamp<Rig>,
    /// When the device accepted the order: greater for each order than for the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_ns: Option<Timestamp<Realtime>>,
    /// Whether nothing of it will change any more.
    pub complete: bool,
    /// How many frames the order names. `None`: not known yet, or by this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<u64>,
    /// How many of them are missing.
    #[serde(default)]
    pub missing: u64,
    /// Size of its pictures or videos. `None`: not known yet, or an older version wrote the take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many devices the order names. `None`: all of the rig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<u64>,
    /// A person's note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<TakeNote>,
    /// Who has collected it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collected: Option<CollectedMark>,
    /// The time scale of its times, if the order states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timescale: Option<TimeScale>,
    /// What date that stands for, if the take says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<RigDate>,
}

impl TakeSummary {
    /// The summary of a take without note and mark.
    #[must_use]
    pub fn of(take: &Take) -> Self {
        let order = serde_json::from_value::<Order>(take.ordered.clone()).ok();
        let targets = order.as_ref().and_then(|order| match order.targets() {
            Targets::All => None,
            Targets::Devices(devices) => Some(devices.len() as u64),
        });
        Self {
            order: take.order.clone(),
            started_ns: take.started_ns,
            accepted_ns: take.accepted_ns,
            complete: take.complete,
            // Pictures of a take that goes on are not counted in take.json.
            named: take.complete.then_some(take.count),
            missing: take.missing(),
            bytes: take.bytes(),
            targets,
            note: None,
            collected: None,
            timescale: order.as_ref().and_then(Order::timescale),
            // A file of this device's disk: whatever it says is checked like what comes from elsewhere.
            date: take.date.clone().filter(|date| date.check().is_ok()),
        }
    }

    /// Whether what was collected is still all there is: a note that came later has to be collected too. `None`: nobody has
    /// collected it.
    #[must_use]
    pub fn is_collected(&self) -> Option<bool> {
        let mark = self.collected.as_ref()?;
        Some(mark.note_at_ns == self.note.as_ref().map(|note| note.at_ns))
    }
}

/// A person's note on a take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeNote {
    /// The text, on one line.
    #[serde(deserialize_with = "bounded::text")]
    pub text: String,
    /// When it was written, by the clock of the host where it was. The latest note on a take wins.
    pub at_ns: Timestamp<Realtime>,
    /// That host.
    #[serde(deserialize_with = "bounded::text")]
    pub by: String,
}

/// Why a text is no note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// It is too long.
    #[error("a note has at most {MAX_NOTE} bytes, and this one has {0}: shorten it")]
    TooLong(usize),
    /// It has line breaks or other control characters.
    #[error(
        "a note is one line of text, and this one has line breaks or other control characters: remove them"
    )]
    Control,
}

impl TakeNote {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn new(text: &str, at: Timestamp<Realtime>, by: &str) -> Result<Self, NoteError> {
        let note = Self { text: text.trim().to_owned(), at_ns: at, by: by.to_owned() };
        note.check().map(|()| note)
    }

    /// Checks a note that came from the network.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn check(&self) -> Result<(), NoteError> {
        match self.text.len().max(self.by.len()) {
            length if length > MAX_NOTE => Err(NoteError::TooLong(length)),
            _ if self.text.contains(char::is_control) => Err(NoteError::Control),
            _ => Ok(()),
        }
    }

    /// The content of [`NOTE_JSON`](crate::manifest::NOTE_JSON).
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a struct of texts and a number");
        text.push('\n');
        text
    }
}

/// That a take was collected. The device keeps it with the take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedMark {
    /// The host that it was collected to.
    #[serde(deserialize_with = "bounded::text")]
    pub by: String,
    /// The folder there with all takes.
    #[serde(deserialize_with = "bounded::text")]
    pub folder: String,
    /// When, by that host's clock.
    pub at_ns: Timestamp<Realtime>,
    /// Number of files.
    pub files: u64,
    /// SHA-256, in hexadecimal, of the list of files: a line with path, size and SHA-256 of each, sorted by path, separated by
    /// tabs.
    #[serde(deserialize_with = "super::hexadecimal")]
    pub sha256: String,
    /// [`TakeNote::at_ns`] of the note that was collected; `None`: there was none. Set by the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note_at_ns: Option<Timestamp<Realtime>>,
    /// Whether the rig had a key: in a rig without one anybody may have said this. Set by the device.
    #[serde(default)]
    pub keyed: bool,
}

impl CollectedMark {
    /// Whether both say that the same files are at the same place.
    #[must_use]
    pub fn is_same_copy(&self, other: &Self) -> bool {
        let copy = |mark: &Self| (mark.by.clone(), mark.folder.clone(), mark.sha256.clone());
        copy(self) == copy(other) && (self.keyed, self.note_at_ns) == (other.keyed, other.note_at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MAX_MESSAGE, MAX_REQUEST, decode, encode};
    use crate::name::Name;
    use crate::share::{FileReply, FileRequest};

    fn at(nanos: i64) -> Timestamp<Realtime> {
        Timestamp::from_nanos(nanos)
    }

    fn summary(index: usize) -> TakeSummary {
        let long = "\"".repeat(MAX_NOTE);
        let note = TakeNote::new(&long, at(i64::MAX), &long).unwrap();
        let mark = CollectedMark {
            by: "\"".repeat(64),
            folder: long,
            at_ns: at(i64::MAX),
            files: u64::MAX,
            sha256: "0a".repeat(32),
            note_at_ns: Some(at(i64::MAX)),
            keyed: true,
        };
        TakeSummary {
            order: Name::new(format!("{index:0>64}")).unwrap(),
            started_ns: Timestamp::from_nanos(i64::MAX),
            accepted_ns: Some(at(i64::MAX)),
            complete: true,
            named: Some(u64::MAX),
            missing: u64::MAX,
            bytes: Some(u64::MAX),
            targets: Some(512),
            note: Some(note),
            collected: Some(mark),
            timescale: Some(TimeScale(u64::MAX)),
            date: Some(RigDate {
                timescale: TimeScale(u64::MAX),
                rig_time_ns: Timestamp::from_nanos(i64::MAX),
                utc_ns: at(i64::MAX),
                uncertainty_ns: crate::time::Span::from_nanos(i64::MAX),
                by: "\"".repeat(100),
            }),
        }
    }

    #[test]
    fn the_largest_page_and_request_fit_into_messages() {
        let takes = (0..MAX_SUMMARIES).map(summary).collect();
        let page = FileReply::Summaries { takes, more: true, unreadable: Vec::new() };
        let encoded = encode(&page);
        assert!(encoded.len() < MAX_MESSAGE / 2, "{}", encoded.len());
        assert_eq!(decode::<FileReply>(&encoded).unwrap(), page);
        let one = summary(0);
        let request = FileRequest::Note { order: one.order.clone(), note: one.note.unwrap() };
        assert!(encode(&request).len() < MAX_REQUEST);
        let request = FileRequest::Collected { order: one.order, mark: one.collected.unwrap() };
        assert!(encode(&request).len() < MAX_REQUEST);
    }

    #[test]
    fn an_older_summary_and_a_later_one_are_read() {
        let json = serde_json::json!({"order": "o1", "started_ns": 5, "complete": false, "of_later": [1]});
        let summary: TakeSummary = serde_json::from_value(json).unwrap();
        assert_eq!((summary.named, summary.bytes, summary.is_collected()), (None, None, None));
    }

    #[test]
    fn a_note_is_one_bounded_line() {
        let note = |text: &str| TakeNote::new(text, at(1), "laptop");
        assert_eq!(note(" walk, second try \n").unwrap().text, "walk, second try");
        assert_eq!(note("a\u{1b}[2J").unwrap_err(), NoteError::Control);
        assert_eq!(note(&"ä".repeat(501)).unwrap_err(), NoteError::TooLong(1002));
        assert_eq!(note("").unwrap().text, "", "which removes it");
        let json = note("x").unwrap().to_json();
        assert_eq!(serde_json::from_str::<TakeNote>(&json).unwrap(), note("x").unwrap());
    }

    #[test]
    fn a_note_that_came_after_the_collection_is_not_collected() {
        let mut one = summary(1);
        assert_eq!(one.is_collected(), Some(true));
        one.note.as_mut().unwrap().at_ns = at(7);
        assert_eq!(one.is_collected(), Some(false));
        one.collected.as_mut().unwrap().note_at_ns = Some(at(7));
        assert_eq!(one.is_collected(), Some(true));
        one.collected = None;
        assert_eq!(one.is_collected(), None);
    }
}
