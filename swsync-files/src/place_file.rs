//! The group and the place of a device, on its disk.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use swsync_core::name::DeviceId;
use swsync_core::place::DevicePlace;

use crate::{Durability, Location, Storage, WholeFile};

/// Longest file that is read, in bytes: twice the longest that is written.
const MAX_BYTES: usize = 512;

/// The file with a device's [`DevicePlace`], beside its journal. A person can read and edit it while the device is stopped.
#[derive(Debug)]
pub struct PlaceFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
}

impl PlaceFile {
    /// The file of `device`, beside the takes at `location`.
    #[must_use]
    pub fn new(storage: &Arc<dyn Storage>, location: &Location, device: &DeviceId) -> Self {
        let path = location.root().join(format!(".swsync/{device}.place.json"));
        Self { storage: Arc::clone(storage), path }
    }

    /// What the file says; nothing is set if there is no file.
    ///
    /// # Errors
    /// The error of the system, or the file is not one of a place. The error names the file.
    pub fn read(&self) -> io::Result<DevicePlace> {
        let named = |error: &dyn std::fmt::Display, kind| {
            io::Error::new(kind, format!("{}: {error}", self.path.display()))
        };
        match self.storage.read_at(&self.path, 0, MAX_BYTES) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|error| named(&error, io::ErrorKind::InvalidData))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(DevicePlace::default()),
            Err(error) => Err(named(&error, error.kind())),
        }
    }

    /// Writes `place`: it is there after a loss of power, or else what was there before is.
    ///
    /// # Errors
    /// The error of the system, with the name of the file.
    pub fn write(&self, place: &DevicePlace) -> io::Result<()> {
        let mut text = serde_json::to_vec(place).expect("a place is a plain struct, which JSON can hold");
        text.push(b'\n');
        let written = WholeFile::create_on(&self.storage, &self.path, Durability::Safe)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.commit()));
        written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}

#[cfg(test)]
mod tests {
    use swsync_core::name::Name;

    use super::*;
    use crate::simulated_disk::SimulatedDisk;

    fn place(group: &str, place: u32) -> DevicePlace {
        DevicePlace { group: Some(Name::new(group).unwrap()), place: Some(place) }
    }

    fn file(disk: &SimulatedDisk) -> PlaceFile {
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        PlaceFile::new(&storage, &Location::parse("/shots").unwrap(), &Name::new("pi1").unwrap())
    }

    #[test]
    fn a_place_survives_a_loss_of_power() {
        let disk = SimulatedDisk::new();
        assert_eq!(file(&disk).read().unwrap(), DevicePlace::default());
        file(&disk).write(&place("left", 1)).unwrap();
        file(&disk).write(&place(&"x".repeat(64), u32::MAX)).unwrap();
        disk.cut_power(&mut |_| 0); // nothing that was not flushed remains
        assert_eq!(file(&disk).read().unwrap(), place(&"x".repeat(64), u32::MAX));
    }

    #[test]
    fn what_is_no_place_is_an_error_that_names_the_file() {
        let disk = SimulatedDisk::new();
        let mut other = WholeFile::create_on(
            &(Arc::new(disk.clone()) as Arc<dyn Storage>),
            &file(&disk).path,
            Durability::Safe,
        )
        .unwrap();
        other.write_all(b"{\"group\":\"../etc\"}").unwrap();
        other.commit().unwrap();
        let why = file(&disk).read().unwrap_err().to_string();
        assert!(why.contains("/shots/.swsync/pi1.place.json: ") && why.contains("is not a name"), "{why}");
    }
}
