//! Removal of a whole take, so that a crash at any moment leaves it whole or, once the device is back, not there at all.
//!
//! First [`hide_take`] renames `take.json`: from then on the take is in no list. Then [`remove_hidden`] removes its files, the
//! manifest after those that it names, and the renamed `take.json` last. After a crash the renamed file is still there, and
//! [`remove_hidden`] is called again for it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use swsync_core::manifest::{
    FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, FrameRecord, NOTE_JSON, TAKE_JSON, Take, check_path,
};

use crate::Storage;
use crate::line_file::read_lines;
use crate::segment::BROKEN;
use crate::storage::{folder_of, is_no_file, read};

/// The end of the hidden `take.json`'s name.
const REMOVED: &str = ".removed";

/// Name of the file that says who has collected a take. It is the device's own, and is not collected.
const COLLECTED: &str = "collected.json";

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemovedTake {
    /// Number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The path of the `take.json` of a take that is being removed, whose side files have `prefix`.
fn hidden_take(folder: &Path, prefix: &str) -> PathBuf {
    folder.join(format!(".{prefix}{TAKE_JSON}{REMOVED}"))
}

/// The prefix of the take's side files, if `name` is that of the hidden `take.json` of a take that is being removed.
#[must_use]
pub fn hidden_prefix(name: &str) -> Option<&str> {
    let prefix = name.strip_prefix('.')?.strip_suffix(REMOVED)?.strip_suffix(TAKE_JSON)?;
    (prefix.is_empty() || prefix.ends_with('.')).then_some(prefix)
}

/// The path of the file that says who has collected the take in `folder` whose side files have `prefix`.
#[must_use]
pub fn collected_mark_path(folder: &Path, prefix: &str) -> PathBuf {
    folder.join(format!(".{prefix}{COLLECTED}"))
}

/// Takes a take out of all lists, for good.
///
/// # Errors
/// The error of the system.
pub fn hide_take(storage: &dyn Storage, folder: &Path, prefix: &str) -> io::Result<()> {
    storage.rename(&folder.join(format!("{prefix}{TAKE_JSON}")), &hidden_take(folder, prefix))?;
    storage.sync_folder(folder)
}

/// The `take.json` of a hidden take.
///
/// # Errors
/// The error of the system; [`io::ErrorKind::InvalidData`]: the file is malformed.
pub fn read_hidden(storage: &dyn Storage, folder: &Path, prefix: &str) -> io::Result<Take> {
    let text = read(storage, &hidden_take(folder, prefix))?;
    Take::from_json(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Removes the files of a hidden take, as far as they are still there. `is_ours` says of a file's folder whether files may be
/// removed in it: a symbolic link may lead elsewhere.
///
/// # Errors
/// The error of the system. The take stays hidden. Call it again later.
pub fn remove_hidden(
    storage: &dyn Storage,
    folder: &Path,
    prefix: &str,
    is_ours: impl Fn(&Path) -> bool,
) -> io::Result<RemovedTake> {
    let take = read_hidden(storage, folder, prefix)?;
    let mut remover = Remover { storage, is_ours, folders: BTreeSet::new(), removed: RemovedTake::default() };
    let side = |name: &str| folder.join(format!("{prefix}{name}"));
    let manifest = side(FRAMES_JSONL);
    let mut result = Ok(());
    let read = read_lines(storage, &manifest, |line| {
        // Malformed lines were reported when the take was finished.
        let Ok(FrameRecord { file, .. }) = FrameRecord::from_line(line) else { return };
        if result.is_ok() && check_path(&file).is_ok() {
            result = remover.remove(&folder.join(file));
        }
    });
    match read {
        Err(error) if !is_no_file(&error) => return Err(error),
        _ => result?,
    }
    for segment in take.segments.iter().filter(|segment| check_path(&segment.file).is_ok()) {
        let video = folder.join(&segment.file);
        remover.remove(&video.with_extension("pts"))?;
        remover.remove(&video)?;
    }
    if prefix.is_empty() {
        // What is broken is in no manifest. The folder is the take's own.
        for path in storage.files(folder)? {
            if path.to_str().is_some_and(|path| path.ends_with(BROKEN)) {
                remover.remove(&path)?;
            }
        }
    }
    for name in [FRAMES_PTS, FRAMES_CSV, NOTE_JSON] {
        remover.remove(&side(name))?;
    }
    remover.sync()?;
    remover.remove(&manifest)?;
    // Not counted: it is no file of the take.
    remove_if_there(storage, &collected_mark_path(folder, prefix))?;
    storage.sync_folder(folder)?;
    remover.remove(&hidden_take(folder, prefix))?;
    storage.sync_folder(folder)?;
    Ok(remover.removed)
}

/// Removes a file; returns whether there was one.
fn remove_if_there(storage: &dyn Storage, path: &Path) -> io::Result<bool> {
    match storage.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

struct Remover<'a, F> {
    storage: &'a dyn Storage,
    is_ours: F,
    /// Folders in which files were removed.
    folders: BTreeSet<PathBuf>,
    removed: RemovedTake,
}

impl<F: Fn(&Path) -> bool> Remover<'_, F> {
    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let folder = folder_of(path);
        if !self.folders.contains(folder) {
            if !(self.is_ours)(folder) {
                return Ok(());
            }
            self.folders.insert(folder.to_owned());
        }
        let bytes = self.storage.len(path).unwrap_or_default();
        if remove_if_there(self.storage, path)? {
            self.removed.files += 1;
            self.removed.bytes += bytes;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.folders.iter().try_for_each(|folder| self.storage.sync_folder(folder))
    }
}
