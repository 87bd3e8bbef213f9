//! Notes on takes that are not completely collected. A note stays beside the take until it is complete, or until the user gives
//! it up: a device that is gone cannot tell what it still has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use swsync_core::manifest::{TAKE_JSON, Take};
use swsync_core::name::{DeviceId, Name, OrderId};
use swsync_files::read_take_json;

/// Name of the note, in the folder of a device's part of a take.
pub(crate) const NOTE: &str = ".incomplete.json";

/// Why a device's part of a take is incomplete here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// For a person.
    pub why: String,
    /// Whether the user has given it up.
    #[serde(default)]
    pub given_up: bool,
}

/// The folder of a device's part of a take.
pub(crate) fn folder(out: &Path, order: &OrderId, device: &DeviceId) -> PathBuf {
    out.join(order.as_str()).join(device.as_str())
}

impl Pending {
    /// Writes the note for `device`'s part of `order` below `out`.
    ///
    /// # Errors
    /// The error of the system.
    pub fn remember(&self, out: &Path, order: &OrderId, device: &DeviceId) -> io::Result<()> {
        let folder = folder(out, order, device);
        fs::create_dir_all(&folder)?;
        let text = serde_json::to_string(self).expect("a struct of a text and a flag");
        // A torn note says enough: that the part is incomplete.
        fs::write(folder.join(NOTE), text)
    }

    /// Reads the note for `device`'s part of `order` below `out`.
    #[must_use]
    pub fn recall(out: &Path, order: &OrderId, device: &DeviceId) -> Option<Self> {
        let text = fs::read(folder(out, order, device).join(NOTE)).ok()?;
        let torn = || Self { why: "collecting it was begun".into(), given_up: false };
        Some(serde_json::from_slice(&text).unwrap_or_else(|_| torn()))
    }

    /// Removes the note: the part is complete, or there is none. Its folder goes too if it is empty.
    ///
    /// # Errors
    /// The error of the system.
    pub fn forget(out: &Path, order: &OrderId, device: &DeviceId) -> io::Result<()> {
        let folder = folder(out, order, device);
        match fs::remove_file(folder.join(NOTE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Fails if the folder is not empty, as it should.
        let _ = fs::remove_dir(folder);
        let _ = fs::remove_dir(out.join(order.as_str()));
        Ok(())
    }

    /// The notes for the take in `folder`, by device.
    #[must_use]
    pub fn of_take(folder: &Path) -> Vec<(DeviceId, Self)> {
        let (Some(out), Some(order)) = (folder.parent(), folder.file_name().and_then(|name| name.to_str()))
        else {
            return Vec::new();
        };
        let Ok(order) = Name::new(order) else { return Vec::new() };
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| Name::new(entry.file_name().into_string().ok()?).ok());
        let mut all: Vec<_> =
            names.filter_map(|device| Some((device.clone(), Self::recall(out, &order, &device)?))).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

/// Whether `device`'s part of `order` is complete in `out`. `take.json` comes last.
#[must_use]
pub fn is_here(out: &Path, order: &OrderId, device: &DeviceId) -> bool {
    Pending::recall(out, order, device).is_none() && is_done(&folder(out, order, device))
}

/// Whether the take.json in `folder` says that the device has completed the take.
pub(crate) fn is_done(folder: &Path) -> bool {
    let text = read_take_json(&folder.join(TAKE_JSON));
    text.is_ok_and(|text| Take::from_json(&text).is_ok_and(|take| take.complete))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_stays_until_it_is_removed() {
        let out = tempfile::tempdir().unwrap();
        let name = |name| Name::new(name).unwrap();
        let (order, a, b) = (name("o1"), name("a"), name("b"));
        let pending = Pending { why: "it was switched off".into(), given_up: false };
        pending.remember(out.path(), &order, &b).unwrap();
        fs::create_dir(out.path().join("o1/a")).unwrap();
        assert_eq!(Pending::of_take(&out.path().join("o1")), [(b.clone(), pending.clone())]);
        assert!(!is_here(out.path(), &order, &a) && !is_here(out.path(), &order, &b));
        fs::write(out.path().join("o1/a").join(NOTE), "{").unwrap();
        assert!(!Pending::recall(out.path(), &order, &a).unwrap().given_up, "a torn note is one");
        fs::write(out.path().join("o1/a/0.jpg"), "").unwrap();
        Pending::forget(out.path(), &order, &a).unwrap();
        Pending::forget(out.path(), &order, &b).unwrap();
        assert!(Pending::of_take(&out.path().join("o1")).is_empty());
        assert!(out.path().join("o1/a/0.jpg").exists() && !out.path().join("o1/b").exists());
    }
}
