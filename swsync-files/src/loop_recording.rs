//! Loop recordings (`max-files`): the newest files of an order stay, and the oldest are removed.
//!
//! The steps come in this order, so that nothing on the disk ever names a file that may be gone:
//!
//! 1. The new files are written whole, and listed in the manifest.
//! 2. `take.json` is written: it says before which number all frames are gone, and does not list the old videos any more.
//! 3. The old files are removed. After a crash in between, the next start reads `take.json` and removes them then.
//! 4. Once half of the manifest's lines are stale, and when the order is done, the folders are flushed, so that no removed
//!    file comes back without a line, and the manifest is rewritten. So each line is copied once or twice, however long the
//!    loop runs.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{FRAMES_JSONL, FrameRecord, NumberSet, RemovedFrames};

use crate::WholeFile;
use crate::line_file::read_lines;
use crate::recorded_file::{RecordedFile, RetainedFiles};
use crate::storage::{Durability, folder_of};
use crate::take::TakeFolder;

/// The manifest is rewritten only with at least this many stale lines.
const MIN_STALE: u64 = 256;

/// Files that were removed from an order's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The removed frames.
    pub frames: NumberSet,
    /// Their bytes, by the manifest.
    pub bytes: u64,
    /// All frames before this number are gone.
    pub before: FrameNumber,
    /// Why, for a person.
    pub why: String,
}

impl TakeFolder {
    /// Adds files to a loop recording. Their records come in a row for each file.
    pub(crate) fn retain_files<'a>(&mut self, records: impl Iterator<Item = &'a FrameRecord>) {
        if self.store.max_files.is_some() {
            let mut file: Option<RecordedFile> = None;
            for record in records {
                match &mut file {
                    Some(file) if file.name == record.file => file.add(record),
                    _ => {
                        if let Some(before) = file.replace(RecordedFile::of(record)) {
                            self.retained.add(before);
                        }
                    }
                }
            }
            file.into_iter().for_each(|last| self.retained.add(last));
        }
    }

    /// Removes the oldest files of this order if there are more than [`TakeStore::max_files`](crate::TakeStore::max_files).
    ///
    /// # Errors
    /// The error of the system; then nothing has changed, and the next call tries again.
    pub fn remove_surplus(&mut self) -> io::Result<Option<Removal>> {
        let Some(max) = self.store.max_files else { return Ok(None) };
        let known = self.take.removed.as_ref().map_or(0, |removed| removed.before);
        let surplus = self.retained.files.len().saturating_sub(max as usize);
        // A file that is saved late, and is older than removed ones, must not stay either.
        let going = surplus.max(self.retained.files.iter().take_while(|file| file.last < known).count());
        let Some(newest) = going.checked_sub(1).map(|index| &self.retained.files[index]) else {
            return Ok(None);
        };
        let (before, why) = (known.max(newest.last + 1), format!("removed: max-files={max}"));
        self.announce_removal(going, RemovedFrames { before, why: why.clone() })?;

        let gone: Vec<_> = self.retained.files.drain(..going).collect();
        let frames: NumberSet = gone.iter().flat_map(|file| file.numbers.iter()).collect();
        gone.iter().for_each(|file| self.mark_for_removal(&file.name));
        self.retained.stale_lines += frames.count();
        self.remove_files();
        let lines: u64 = self.retained.files.iter().map(|file| file.numbers.count()).sum();
        if self.retained.stale_lines >= lines.max(MIN_STALE)
            && self.retained.to_remove.is_empty()
            && let Err(error) = self.drop_stale_lines()
        {
            // Readers skip stale lines by take.json.
            swsync_core::log::warn!(%error, folder = %self.folder.display(), "the manifest keeps lines of removed files");
        }
        let bytes = gone.iter().map(|file| file.bytes).sum();
        Ok(Some(Removal { frames, bytes, before, why }))
    }

    /// Writes to `take.json` that the `going` oldest files are gone.
    fn announce_removal(&mut self, going: usize, removed: RemovedFrames) -> io::Result<()> {
        self.manifest()?; // without it `describe` writes nothing
        let before = self.take().clone();
        let names: HashSet<_> =
            self.retained.files.iter().take(going).map(|file| file.name.as_str()).collect();
        let lead_in = self.retained.files.get(going).map(|file| file.lead_in);
        let mut segments = before.segments.clone();
        segments.retain(|segment| !names.contains(segment.file.as_str()));
        let lead_in = lead_in.filter(|_| segments.len() < before.segments.len());
        self.describe(|take| {
            take.removed = Some(removed);
            take.segments = segments;
            take.lead_in = lead_in.unwrap_or(take.lead_in);
        })
        .inspect_err(|_| self.take = before)
    }

    /// Marks the file `name` and its timecodes for removal.
    fn mark_for_removal(&mut self, name: &str) {
        let path = self.folder.join(name);
        // Only videos have timecodes each. An order has pictures or videos, and at least one of them stays.
        if !self.take.segments.is_empty() {
            self.retained.to_remove.insert(path.with_extension("pts"));
        }
        self.retained.to_remove.insert(path);
    }

    /// Removes the marked files. A file that cannot be removed is tried again with the next file, and at the next start.
    fn remove_files(&mut self) {
        let RetainedFiles { to_remove, unflushed, .. } = &mut self.retained;
        let storage = &self.store.storage;
        to_remove.retain(|path| match storage.remove(path) {
            Ok(()) => {
                swsync_core::log::debug!(path = %path.display(), "removed");
                unflushed.insert(folder_of(path).to_owned());
                false
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                swsync_core::log::warn!(path = %path.display(), %error, "an old file of a loop recording cannot be removed");
                true
            }
        });
    }

    /// Whether the name `path` is in use: by a file, by an entry in `take.json`, or by a file still to be removed.
    pub(crate) fn is_taken(&self, path: &Path) -> bool {
        let is_listed = self.take.segments.iter().any(|segment| self.folder.join(&segment.file) == path);
        is_listed || self.retained.to_remove.contains(path) || self.store.storage.len(path).is_ok()
    }

    /// Rewrites the manifest without stale lines. The next start finds files that could not be removed by these lines, so
    /// before the order is done this is called only when no file is left to be removed.
    pub(crate) fn drop_stale_lines(&mut self) -> io::Result<()> {
        self.remove_files();
        if self.retained.stale_lines == 0 {
            return Ok(());
        }
        self.flush_removals()?;
        let (path, durability) = (self.side(FRAMES_JSONL), self.store.durability);
        let mut new = WholeFile::create_on(&self.store.storage, &path, durability)?;
        let mut result = Ok(());
        read_lines(self.store.storage.as_ref(), &path, |line| {
            let is_stale = |record: FrameRecord| self.take.is_removed(record.info.number);
            if result.is_ok() && !FrameRecord::from_line(line).is_ok_and(is_stale) {
                result = new.write_all(line.as_bytes()).and_then(|()| new.write_all(b"\n"));
            }
        })?;
        result?;
        self.replace_manifest(new)?;
        self.retained.stale_lines = 0;
        Ok(())
    }

    fn flush_removals(&mut self) -> io::Result<()> {
        for folder in std::mem::take(&mut self.retained.unflushed) {
            if self.store.durability == Durability::Safe {
                self.store.storage.sync_folder(&folder).inspect_err(|_| {
                    self.retained.unflushed.insert(folder.clone());
                })?;
            }
        }
        Ok(())
    }

    /// Removes files that `take.json` says are gone, if a crash came before their removal.
    pub(crate) fn finish_removal(&mut self) -> io::Result<()> {
        if self.take.removed.is_none() {
            return Ok(());
        }
        let mut stale = self.removed_files()?;
        self.retained.stale_lines = stale.values().sum();
        self.each_file(|file| {
            stale.remove(&file.name); // it holds frames that stay
            Ok(())
        })?;
        stale.keys().for_each(|name| self.mark_for_removal(name));
        self.remove_files();
        if self.retained.to_remove.is_empty() { self.drop_stale_lines() } else { Ok(()) }
    }
}
