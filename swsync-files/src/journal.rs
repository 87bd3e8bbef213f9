//! The journal of a device on its disk: the orders that it has accepted, and its answers. It survives a restart.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swsync_core::message;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::{Journal, JournalRecord};
use swsync_core::time::{Realtime, Span, Timestamp};

use crate::line_file::{LineFile, rewrite_lines};
use crate::storage::read;
use crate::{Durability, Location, Storage};

/// Length in bytes above which the journal is rewritten when it is opened, without records that are not needed any more.
const LONG: usize = 1 << 20;

/// A device's journal file. A record that was appended is there after a crash.
#[derive(Debug)]
pub struct JournalFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    durability: Durability,
    /// Opened by the first append.
    file: Option<LineFile>,
    accepted: AcceptanceTimes,
}

/// A line: a record, and the time of acceptance if the record opens an order.
#[derive(Serialize, Deserialize)]
struct JournalLine {
    #[serde(flatten)]
    record: JournalRecord,
    /// See [`swsync_core::manifest::Take::accepted_ns`]. In a rewritten journal any record may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted_ns: Option<Timestamp<Realtime>>,
}

/// When orders were accepted: strictly rising, whatever the wall clock does.
#[derive(Debug, Default)]
struct AcceptanceTimes {
    last: Option<Timestamp<Realtime>>,
    /// Of orders that are not answered yet.
    open: HashMap<OrderId, Timestamp<Realtime>>,
}

impl JournalFile {
    /// Opens the journal of `device`, beside the takes at `location`, and reads it.
    ///
    /// Makes no file before the first record.
    ///
    /// # Errors
    /// The error of the system.
    pub fn open(
        storage: &Arc<dyn Storage>,
        location: &Location,
        device: &DeviceId,
        durability: Durability,
    ) -> io::Result<(Self, Journal)> {
        let path = location.root().join(format!(".swsync/{device}.journal"));
        let text = match read(storage.as_ref(), &path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let (journal, unread) = Journal::parse(&text);
        if unread > 0 {
            swsync_core::log::warn!(path = %path.display(), unread, "lines of the journal cannot be read");
        }
        let accepted = AcceptanceTimes::parse(&text);
        if text.len() > LONG {
            let mut lines: Vec<_> = journal.records().map(|record| accepted.line(record)).collect();
            if let Some(first) = lines.first_mut().filter(|first| first.accepted_ns.is_none()) {
                first.accepted_ns = accepted.last;
            }
            let lines: Vec<_> = lines.iter().map(JournalLine::to_text).collect();
            // A journal that is long with needed records is not rewritten each time for a few others.
            if lines.iter().map(String::len).sum::<usize>() < text.len() / 2 {
                rewrite_lines(storage, &path, durability, lines.iter().map(String::as_str))?;
            }
        }
        Ok((Self { storage: Arc::clone(storage), path, durability, file: None, accepted }, journal))
    }

    /// Appends a record, at the time `now` of the wall clock.
    ///
    /// # Errors
    /// The error of the system.
    pub fn append(&mut self, record: &JournalRecord, now: Timestamp<Realtime>) -> io::Result<()> {
        self.accepted.apply(record, now);
        // The folder may have been removed, or the stick pulled: begin another file.
        let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if self.file.is_none() || self.storage.len(&self.path).is_err_and(is_gone) {
            self.file = Some(LineFile::open(&self.storage, &self.path, self.durability)?);
        }
        let line = self.accepted.line(record.clone()).to_text();
        self.file.as_mut().expect("opened above").append(&line)
    }

    /// When an open order was accepted: see [`swsync_core::manifest::Take::accepted_ns`].
    #[must_use]
    pub fn accepted(&self, order: &OrderId) -> Option<Timestamp<Realtime>> {
        self.accepted.open.get(order).copied()
    }
}

impl AcceptanceTimes {
    fn parse(text: &[u8]) -> Self {
        let mut this = Self::default();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // `Journal::parse` counts lines that cannot be read.
            let Ok(JournalLine { record, accepted_ns }) = message::decode(line) else { continue };
            this.last = this.last.max(accepted_ns);
            match (record, accepted_ns) {
                (JournalRecord::Opened { opened }, Some(at)) => {
                    this.open.insert(opened.id().clone(), at);
                }
                (JournalRecord::Answered { answer }, _) => {
                    this.open.remove(&answer.order);
                }
                _ => {}
            }
        }
        this
    }

    fn apply(&mut self, record: &JournalRecord, now: Timestamp<Realtime>) {
        match record {
            JournalRecord::Opened { opened } => {
                let at = self.last.map_or(now, |last| now.max(last + Span::from_nanos(1)));
                self.last = Some(at);
                self.open.insert(opened.id().clone(), at);
            }
            JournalRecord::Answered { answer } => drop(self.open.remove(&answer.order)),
            _ => {}
        }
    }

    fn line(&self, record: JournalRecord) -> JournalLine {
        let accepted_ns = match &record {
            JournalRecord::Opened { opened } => self.open.get(opened.id()).copied(),
            _ => None,
        };
        JournalLine { record, accepted_ns }
    }
}

impl JournalLine {
    fn to_text(&self) -> String {
        let mut line = String::from_utf8(message::encode(self)).expect("JSON is UTF-8");
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated_disk::SimulatedDisk;
    use swsync_core::name::Name;
    use swsync_core::order::{Answer, Order};

    fn open(storage: &Arc<dyn Storage>) -> (JournalFile, Vec<String>) {
        let location = Location::parse("/shots").unwrap();
        let device = Name::new("pi").unwrap();
        let (file, journal) = JournalFile::open(storage, &location, &device, Durability::Safe).unwrap();
        (file, journal.open().iter().map(|pending| pending.order.id().to_string()).collect())
    }

    fn opened(id: &str) -> JournalRecord {
        JournalRecord::Opened {
            opened: Order::still(Name::new(id).unwrap(), Timestamp::from_nanos(5)).unwrap(),
        }
    }

    #[test]
    fn records_survive_a_power_cut() {
        let disk = SimulatedDisk::new();
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let (mut file, pending) = open(&storage);
        assert!(pending.is_empty() && !storage.is_folder("/shots".as_ref()), "no file is made");
        file.append(&opened("one"), at(1)).unwrap();
        file.append(&opened("two"), at(1)).unwrap();
        disk.cut_power(&mut |_| 0);
        let (mut file, pending) = open(&storage);
        assert_eq!(pending, ["one", "two"]);
        let order = Name::new("one").unwrap();
        let answer = Answer {
            order,
            device: Name::new("pi").unwrap(),
            frames: Vec::new(),
            unnumbered: None,
            unfinished: None,
            basis: Default::default(),
        };
        file.append(&JournalRecord::Answered { answer }, at(1)).unwrap();
        disk.cut_power(&mut |_| 0);
        assert_eq!(open(&storage).1, ["two"]);
    }

    fn at(nanos: i64) -> Timestamp<Realtime> {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn times_of_acceptance_rise_with_each_order_whatever_the_clock_does() {
        let storage: Arc<dyn Storage> = Arc::new(SimulatedDisk::new());
        let mut file = open(&storage).0;
        let name = |id: &str| Name::new(id).unwrap();
        let answered = |id: &str| {
            let answer = Answer {
                order: name(id),
                device: name("pi"),
                frames: Vec::new(),
                unnumbered: None,
                unfinished: None,
                basis: Default::default(),
            };
            JournalRecord::Answered { answer }
        };
        for (id, now) in [("one", 1000), ("two", 7)] {
            file.append(&opened(id), at(now)).unwrap();
        }
        let before = ["one", "two"].map(|id| file.accepted(&name(id)));
        assert_eq!(before, [Some(at(1000)), Some(at(1001))]);
        file.append(&answered("two"), at(8)).unwrap();
        assert_eq!(file.accepted(&name("two")), None);
        // After a restart, and after one that rewrites the journal.
        for (id, is_long) in [("three", false), ("four", true)] {
            if is_long {
                let other = "{\"later\":1}\n".repeat(LONG / 10);
                let path = "/shots/.swsync/pi.journal".as_ref();
                let length = storage.len(path).unwrap();
                storage.open(path).unwrap().write_at(length, other.as_bytes()).unwrap();
            }
            file = open(&storage).0;
            assert_eq!(file.accepted(&name("one")), Some(at(1000)));
            file.append(&opened(id), at(9)).unwrap();
            file.append(&answered(id), at(9)).unwrap();
        }
        assert_eq!(open(&storage).0.accepted.last, Some(at(1003)));
        file.append(&opened("five"), at(2000)).unwrap();
        assert_eq!(file.accepted(&name("five")), Some(at(2000)));
    }

    #[test]
    fn a_long_journal_is_rewritten() {
        let storage: Arc<dyn Storage> = Arc::new(SimulatedDisk::new());
        let mut file = open(&storage).0;
        file.append(&opened("one"), at(1)).unwrap();
        let path = "/shots/.swsync/pi.journal".as_ref();
        let length = storage.len(path).unwrap();
        let other = "{\"later\":1}\n".repeat(LONG / 10);
        storage.open(path).unwrap().write_at(length, other.as_bytes()).unwrap();
        assert_eq!(open(&storage).1, ["one"]);
        assert_eq!(storage.len(path).unwrap(), length);
    }
}
