//! What a device must not forget: the orders that it has taken, and what it has answered.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swsync_core::control;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::{Journal, Record};
use swsync_core::time::{Realtime, Span, Timestamp};

use super::lines::{LineFile, rewrite_lines};
use super::storage::read;
use super::{Durability, Location, Storage};

/// Longer than this, it is written anew when it is opened, without what need not be remembered.
const LONG: usize = 1 << 20;

/// A device's journal, on the disk: each record is there after a crash, or was not noted.
#[derive(Debug)]
pub struct JournalFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    durability: Durability,
    /// Opened with the first record.
    file: Option<LineFile>,
    accepted: Accepted,
}

/// A line: a record, and when it was noted where it opens an order.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    record: Record,
    /// See [`swsync_core::manifest::Take::accepted_ns`]. In a journal that was written anew any record may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted_ns: Option<Timestamp<Realtime>>,
}

/// When orders were accepted.
#[derive(Debug, Default)]
struct Accepted {
    last: Option<Timestamp<Realtime>>,
    /// Those that are not answered.
    open: HashMap<OrderId, Timestamp<Realtime>>,
}

impl JournalFile {
    /// The journal of `device`, beside the takes at `location`, and what is in it.
    ///
    /// Nothing is made before the first record.
    ///
    /// # Errors
    /// What the system said.
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
            tracing::warn!(path = %path.display(), unread, "lines of the journal cannot be read");
        }
        let accepted = Accepted::parse(&text);
        if text.len() > LONG {
            let mut lines: Vec<_> = journal.records().map(|record| accepted.line(record)).collect();
            if let Some(first) = lines.first_mut().filter(|first| first.accepted_ns.is_none()) {
                first.accepted_ns = accepted.last;
            }
            let lines: Vec<_> = lines.iter().map(Line::to_text).collect();
            // A device that has had many orders remembers many: not each time for the sake of a few.
            if lines.iter().map(String::len).sum::<usize>() < text.len() / 2 {
                rewrite_lines(storage, &path, durability, lines.iter().map(String::as_str))?;
            }
        }
        Ok((Self { storage: Arc::clone(storage), path, durability, file: None, accepted }, journal))
    }

    /// Notes a record, at this time of the wall clock.
    ///
    /// # Errors
    /// What the system said.
    pub fn append(&mut self, record: &Record, now: Timestamp<Realtime>) -> io::Result<()> {
        self.accepted.apply(record, now);
        // The folder may have been removed, or the stick pulled.
        let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if self.file.is_none() || self.storage.len(&self.path).is_err_and(is_gone) {
            self.file = Some(LineFile::open(&self.storage, &self.path, self.durability)?);
        }
        let line = self.accepted.line(record.clone()).to_text();
        self.file.as_mut().expect("opened above").append(&line)
    }

    /// When an order was accepted that is not answered yet: see [`swsync_core::manifest::Take::accepted_ns`].
    #[must_use]
    pub fn accepted(&self, order: &OrderId) -> Option<Timestamp<Realtime>> {
        self.accepted.open.get(order).copied()
    }
}

impl Accepted {
    fn parse(text: &[u8]) -> Self {
        let mut this = Self::default();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // What cannot be read was counted elsewhere.
            let Ok(Line { record, accepted_ns }) = control::decode(line) else { continue };
            this.last = this.last.max(accepted_ns);
            match (record, accepted_ns) {
                (Record::Opened { opened }, Some(at)) => drop(this.open.insert(opened.id().clone(), at)),
                (Record::Answered { answer }, _) => drop(this.open.remove(&answer.order)),
                _ => {}
            }
        }
        this
    }

    fn apply(&mut self, record: &Record, now: Timestamp<Realtime>) {
        match record {
            Record::Opened { opened } => {
                let at = self.last.map_or(now, |last| now.max(last + Span::from_nanos(1)));
                self.last = Some(at);
                self.open.insert(opened.id().clone(), at);
            }
            Record::Answered { answer } => drop(self.open.remove(&answer.order)),
            _ => {}
        }
    }

    fn line(&self, record: Record) -> Line {
        let accepted_ns = match &record {
            Record::Opened { opened } => self.open.get(opened.id()).copied(),
            _ => None,
        };
        Line { record, accepted_ns }
    }
}

impl Line {
    fn to_text(&self) -> String {
        let mut line = String::from_utf8(control::encode(self)).expect("JSON is UTF-8");
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulated::SimulatedDisk;
    use super::*;
    use swsync_core::name::Name;
    use swsync_core::order::{Answer, Order};

    fn open(storage: &Arc<dyn Storage>) -> (JournalFile, Vec<String>) {
        let location = Location::parse("/shots").unwrap();
        let device = Name::new("pi").unwrap();
        let (file, journal) = JournalFile::open(storage, &location, &device, Durability::Safe).unwrap();
        (file, journal.open().iter().map(|pending| pending.order.id().to_string()).collect())
    }

    fn opened(id: &str) -> Record {
        Record::Opened { opened: Order::still(Name::new(id).unwrap(), Timestamp::from_nanos(5)).unwrap() }
    }

    #[test]
    fn records_outlive_a_power_cut() {
        let disk = SimulatedDisk::new();
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let (mut file, pending) = open(&storage);
        assert!(pending.is_empty() && !storage.is_folder("/shots".as_ref()), "nothing is made");
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
        file.append(&Record::Answered { answer }, at(1)).unwrap();
        disk.cut_power(&mut |_| 0);
        assert_eq!(open(&storage).1, ["two"]);
    }

    fn at(nanos: i64) -> Timestamp<Realtime> {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn orders_are_numbered_in_the_order_of_their_arrival_whatever_the_clock_does() {
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
            Record::Answered { answer }
        };
        for (id, now) in [("one", 1000), ("two", 7)] {
            file.append(&opened(id), at(now)).unwrap();
        }
        let before = ["one", "two"].map(|id| file.accepted(&name(id)));
        assert_eq!(before, [Some(at(1000)), Some(at(1001))]);
        file.append(&answered("two"), at(8)).unwrap();
        assert_eq!(file.accepted(&name("two")), None);
        // Over a restart, and over one at which the journal is written anew.
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
    fn a_long_journal_is_written_anew() {
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
