//! What a device must not forget: the orders that it has taken, and what it has answered.

use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use swsync_core::name::DeviceId;

use super::lines::{LineFile, read_lines, rewrite_lines};
use super::{Durability, Location, Storage};

/// Events of type `E`, one a line of JSON, that are there again after a crash.
#[derive(Debug)]
pub struct Journal<E> {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    durability: Durability,
    /// Opened with the first event.
    file: Option<LineFile>,
    events: PhantomData<E>,
}

impl<E: Serialize + DeserializeOwned> Journal<E> {
    /// The journal of `device`, beside the takes at `location`, and the events in it. Lines that are no events,
    /// as of another version, are passed over.
    ///
    /// Nothing is made before the first event.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(
        storage: &Arc<dyn Storage>,
        location: &Location,
        device: &DeviceId,
        durability: Durability,
    ) -> io::Result<(Self, Vec<E>)> {
        let path = location.root().join(format!(".swsync/{device}.journal"));
        let mut events = Vec::new();
        let read = read_lines(storage.as_ref(), &path, |line| match serde_json::from_str(line) {
            Ok(event) => events.push(event),
            Err(error) => tracing::warn!(path = %path.display(), %error, "a line of the journal is no event"),
        });
        match read {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                let storage = Arc::clone(storage);
                Ok((Self { storage, path, durability, file: None, events: PhantomData }, events))
            }
        }
    }

    /// Notes an event. It is there after a crash, or was not noted.
    ///
    /// # Errors
    /// What the system said.
    pub fn append(&mut self, event: &E) -> io::Result<()> {
        let line = line(event);
        if self.file.is_none() {
            self.file = Some(LineFile::open(&self.storage, &self.path, self.durability)?);
        }
        self.file.as_mut().expect("opened above").append(&line)
    }

    /// Forgets all events but these.
    ///
    /// # Errors
    /// What the system said; then nothing is forgotten.
    pub fn rewrite<'a>(&mut self, events: impl Iterator<Item = &'a E>) -> io::Result<()>
    where
        E: 'a,
    {
        let lines: Vec<_> = events.map(line).collect();
        rewrite_lines(&self.storage, &self.path, self.durability, lines.iter().map(String::as_str))?;
        self.file = None;
        Ok(())
    }
}

fn line<E: Serialize>(event: &E) -> String {
    let mut line =
        serde_json::to_string(event).expect("events are plain structs with string keys, which JSON can hold");
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::super::simulated::SimulatedDisk;
    use super::*;
    use swsync_core::name::Name;

    type Event = (u8, String);

    fn open(storage: &Arc<dyn Storage>) -> (Journal<Event>, Vec<Event>) {
        let location = Location::parse("/shots").unwrap();
        Journal::open(storage, &location, &Name::new("pi").unwrap(), Durability::Safe).unwrap()
    }

    #[test]
    fn events_outlive_a_power_cut() {
        let disk = SimulatedDisk::new();
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let (mut journal, events) = open(&storage);
        assert!(events.is_empty() && !storage.is_folder("/shots".as_ref()), "nothing is made");
        let (one, two) = ((1, "a\nb".to_owned()), (2, "c".to_owned()));
        journal.append(&one).unwrap();
        journal.append(&two).unwrap();
        disk.cut_power(&mut |_| 0);
        let (mut journal, events) = open(&storage);
        assert_eq!(events, [one, two.clone()]);
        journal.rewrite(events[1..].iter()).unwrap();
        journal.append(&two).unwrap();
        disk.cut_power(&mut |_| 0);
        assert_eq!(open(&storage).1, [two.clone(), two]);
    }

    #[test]
    fn events_of_another_version_are_passed_over() {
        let storage: Arc<dyn Storage> = Arc::new(SimulatedDisk::new());
        let event = (1, "a".to_owned());
        open(&storage).0.append(&event).unwrap();
        let mut file = storage.open("/shots/.swsync/pi.journal".as_ref()).unwrap();
        file.write_at(8, b"{\"later\":1}\n\xff\n[2,\"b\"]\n").unwrap();
        assert_eq!(open(&storage).1, [event, (2, "b".to_owned())]);
    }
}
