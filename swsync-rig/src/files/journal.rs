//! What a device must not forget: the orders that it has taken, and what it has answered.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use swsync_core::name::DeviceId;
use swsync_core::order::{Journal, Record};

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
        if text.len() > LONG
            && let lines = journal.records().map(|record| line(&record)).collect::<Vec<_>>()
            // A device that has had many orders remembers many: not each time for the sake of a few.
            && lines.iter().map(String::len).sum::<usize>() < text.len() / 2
        {
            rewrite_lines(storage, &path, durability, lines.iter().map(String::as_str))?;
        }
        Ok((Self { storage: Arc::clone(storage), path, durability, file: None }, journal))
    }

    /// Notes a record.
    ///
    /// # Errors
    /// What the system said.
    pub fn append(&mut self, record: &Record) -> io::Result<()> {
        // The folder may have been removed, or the stick pulled.
        let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if self.file.is_none() || self.storage.len(&self.path).is_err_and(is_gone) {
            self.file = Some(LineFile::open(&self.storage, &self.path, self.durability)?);
        }
        self.file.as_mut().expect("opened above").append(&line(record))
    }
}

fn line(record: &Record) -> String {
    String::from_utf8(record.to_line()).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::super::simulated::SimulatedDisk;
    use super::*;
    use swsync_core::name::Name;
    use swsync_core::order::{Answer, Order};
    use swsync_core::time::Timestamp;

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
        file.append(&opened("one")).unwrap();
        file.append(&opened("two")).unwrap();
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
        file.append(&Record::Answered { answer }).unwrap();
        disk.cut_power(&mut |_| 0);
        assert_eq!(open(&storage).1, ["two"]);
    }

    #[test]
    fn a_long_journal_is_written_anew() {
        let storage: Arc<dyn Storage> = Arc::new(SimulatedDisk::new());
        let mut file = open(&storage).0;
        file.append(&opened("one")).unwrap();
        let path = "/shots/.swsync/pi.journal".as_ref();
        let length = storage.len(path).unwrap();
        let other = "{\"later\":1}\n".repeat(LONG / 10);
        storage.open(path).unwrap().write_at(length, other.as_bytes()).unwrap();
        assert_eq!(open(&storage).1, ["one"]);
        assert_eq!(storage.len(path).unwrap(), length);
    }
}
