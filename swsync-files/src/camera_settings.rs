//! The camera settings of a rig on a device's disk, beside its journal: they survive a restart.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use swsync_core::camera_settings::SettingsLog;
use swsync_core::message;
use swsync_core::name::DeviceId;

use crate::storage::read;
use crate::{Durability, Location, Storage, WholeFile};

/// A device's file of camera settings: JSON, replaced as a whole.
#[derive(Debug, Clone)]
pub struct CameraSettingsFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    durability: Durability,
}

impl CameraSettingsFile {
    /// The file of `device`, beside the takes at `location`.
    #[must_use]
    pub fn new(
        storage: &Arc<dyn Storage>,
        location: &Location,
        device: &DeviceId,
        durability: Durability,
    ) -> Self {
        let path = location.root().join(format!(".swsync/{device}.camera.json"));
        Self { storage: Arc::clone(storage), path, durability }
    }

    /// Reads it. Nothing if there is none. One that cannot be understood is left as it is, with a warning.
    ///
    /// # Errors
    /// The error of the system.
    pub fn read(&self) -> io::Result<SettingsLog> {
        let text = match read(self.storage.as_ref(), &self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SettingsLog::default()),
            other => other?,
        };
        Ok(message::decode(&text).unwrap_or_else(|error| {
            swsync_core::log::warn!(
                path = %self.path.display(),
                %error,
                "the camera settings of the rig cannot be read: the pipeline's own are used"
            );
            SettingsLog::default()
        }))
    }

    /// Replaces it.
    ///
    /// # Errors
    /// The error of the system; then the file is as it was.
    pub fn write(&self, log: &SettingsLog) -> io::Result<()> {
        let mut file = WholeFile::create_on(&self.storage, &self.path, self.durability)?;
        file.write_all(&message::encode(log))?;
        file.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated_disk::SimulatedDisk;
    use swsync_core::camera_settings::{ChangePart, ControlValues, SettingsChange};
    use swsync_core::grid::FrameGrid;
    use swsync_core::name::Name;
    use swsync_core::time::Timestamp;

    #[test]
    fn settings_survive_a_power_cut_and_a_file_of_another_version_is_no_error() {
        let disk = SimulatedDisk::new();
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let device = Name::new("pi").unwrap();
        let location = Location::parse("/shots").unwrap();
        let file = CameraSettingsFile::new(&storage, &location, &device, Durability::Safe);
        assert!(file.read().unwrap().is_empty());
        let mut log = SettingsLog::default();
        let assign = ControlValues::parse(["exposure-time=5000"]).unwrap().into();
        let parts = vec![ChangePart { assign, ..ChangePart::default() }];
        let rate = FrameGrid::new(30, 1).unwrap();
        let change =
            SettingsChange { change: Name::new("a").unwrap(), frame: 7, rate, timescale: None, parts };
        log.add(change, Timestamp::ZERO).unwrap();
        file.write(&log).unwrap();
        disk.cut_power(&mut |_| 0);
        assert_eq!(file.read().unwrap(), log);
        let path = "/shots/.swsync/pi.camera.json".as_ref();
        storage.open(path).unwrap().write_at(0, br#"{"v":9}"#).unwrap();
        assert!(file.read().unwrap().is_empty());
    }
}
