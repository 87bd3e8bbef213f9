//! Loop recordings: of an order's files the newest stay, and the oldest go.
//!
//! What goes is told before it goes, so that nothing on the disk ever names a file that may be gone:
//!
//! 1. the new files are there, whole, and in the manifest;
//! 2. `take.json` says before which number all is gone, and lists the old videos no more, on the disk;
//! 3. the old files are removed. A crash in between: the next start reads `take.json` and removes them then;
//! 4. once as many lines of the manifest are stale as are not, and when the order is done: the folders are flushed,
//!    so that no removed file comes back that no line names, and the manifest is written anew. So each line is
//!    copied once or twice, however long the loop runs.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{FRAMES_JSONL, FrameRecord, Removed, Runs};

use super::WholeFile;
use super::lines::read_lines;
use super::recorded::RecordedFile;
use super::storage::{Durability, folder_of};
use super::take::TakeFolder;

/// Fewer stale lines than this are not worth a new manifest.
const MIN_STALE: u64 = 256;

/// What is gone from an order's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The frames that went.
    pub frames: Runs,
    /// Their bytes, as the manifest had them.
    pub bytes: u64,
    /// No frame before this number is there any more.
    pub before: FrameNumber,
    /// Why, for a person.
    pub why: String,
}

/// The files of an order that are there, and what of older ones is left.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The oldest first.
    files: VecDeque<RecordedFile>,
    /// Files that are to be removed.
    doomed: HashSet<PathBuf>,
    /// Folders in which files were removed since they were last flushed.
    unflushed: HashSet<PathBuf>,
    /// Lines of the manifest whose files are gone.
    stale: u64,
}

impl Kept {
    /// A file is there.
    pub(super) fn add(&mut self, file: RecordedFile) {
        let at = self.files.partition_point(|other| other.last <= file.last);
        self.files.insert(at, file);
    }
}

impl TakeFolder {
    /// Files that have these records are there, the records of each in a row.
    pub(super) fn keep<'a>(&mut self, records: impl Iterator<Item = &'a FrameRecord>) {
        if self.shelf.max_files.is_some() {
            let mut file: Option<RecordedFile> = None;
            for record in records {
                match &mut file {
                    Some(file) if file.name == record.file => file.add(record),
                    _ => {
                        if let Some(before) = file.replace(RecordedFile::of(record)) {
                            self.kept.add(before);
                        }
                    }
                }
            }
            file.into_iter().for_each(|last| self.kept.add(last));
        }
    }

    /// Removes the oldest files of this order, as far as there are more than [`Shelf::max_files`]. Returns what went.
    ///
    /// [`Shelf::max_files`]: super::Shelf::max_files
    ///
    /// # Errors
    /// What the system said; then all is as before, and is tried again the next time.
    pub fn remove_surplus(&mut self) -> io::Result<Option<Removal>> {
        let Some(max) = self.shelf.max_files else { return Ok(None) };
        let known = self.take.removed.as_ref().map_or(0, |removed| removed.before);
        let surplus = self.kept.files.len().saturating_sub(max as usize);
        // What comes late, and is older than what went, is not to stay either.
        let going = surplus.max(self.kept.files.iter().take_while(|file| file.last < known).count());
        let Some(newest) = going.checked_sub(1).map(|index| &self.kept.files[index]) else { return Ok(None) };
        let (before, why) = (known.max(newest.last + 1), format!("removed: max-files={max}"));
        self.tell_of_removal(going, Removed { before, why: why.clone() })?;

        let gone: Vec<_> = self.kept.files.drain(..going).collect();
        let frames: Runs = gone.iter().flat_map(|file| file.numbers.iter()).collect();
        gone.iter().for_each(|file| self.doom(&file.name));
        self.kept.stale += frames.count();
        self.remove_doomed();
        let lines: u64 = self.kept.files.iter().map(|file| file.numbers.count()).sum();
        if self.kept.stale >= lines.max(MIN_STALE)
            && self.kept.doomed.is_empty()
            && let Err(error) = self.drop_stale_lines()
        {
            // Whoever reads take.json passes over them.
            tracing::warn!(%error, folder = %self.folder.display(), "the manifest keeps lines of what is gone");
        }
        let bytes = gone.iter().map(|file| file.bytes).sum();
        Ok(Some(Removal { frames, bytes, before, why }))
    }

    /// Has `take.json` say that the `going` oldest files go.
    fn tell_of_removal(&mut self, going: usize, removed: Removed) -> io::Result<()> {
        self.manifest()?; // or nothing is written
        let before = self.take().clone();
        let names: HashSet<_> = self.kept.files.iter().take(going).map(|file| file.name.as_str()).collect();
        let lead_in = self.kept.files.get(going).map(|file| file.lead_in);
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

    /// The file of this name is to be removed, and its timecodes.
    fn doom(&mut self, name: &str) {
        let path = self.folder.join(name);
        // An order has pictures or videos, not both, and one at least stays.
        if !self.take.segments.is_empty() {
            self.kept.doomed.insert(path.with_extension("pts"));
        }
        self.kept.doomed.insert(path);
    }

    /// Removes what is to be removed. What cannot be is tried again with the next file, and at the next start.
    fn remove_doomed(&mut self) {
        let Kept { doomed, unflushed, .. } = &mut self.kept;
        let storage = &self.shelf.storage;
        doomed.retain(|path| match storage.remove(path) {
            Ok(()) => {
                tracing::debug!(path = %path.display(), "removed");
                unflushed.insert(folder_of(path).to_owned());
                false
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a file that is no longer wanted cannot be removed");
                true
            }
        });
    }

    /// Whether a file at `path` is there, or should be, or is still to be removed.
    pub(super) fn is_taken(&self, path: &Path) -> bool {
        let is_listed = self.take.segments.iter().any(|segment| self.folder.join(&segment.file) == path);
        is_listed || self.kept.doomed.contains(path) || self.shelf.storage.len(path).is_ok()
    }

    /// Writes the manifest anew, without lines whose files are gone: by those the next start finds what could not be
    /// removed, so until the order is done only when nothing is left to be removed.
    pub(super) fn drop_stale_lines(&mut self) -> io::Result<()> {
        self.remove_doomed();
        if self.kept.stale == 0 {
            return Ok(());
        }
        self.flush_removals()?;
        let (path, durability) = (self.side(FRAMES_JSONL), self.shelf.durability);
        let mut new = WholeFile::create_on(&self.shelf.storage, &path, durability)?;
        let mut result = Ok(());
        read_lines(self.shelf.storage.as_ref(), &path, |line| {
            let is_stale = |record: FrameRecord| self.take.is_removed(record.info.number);
            if result.is_ok() && !FrameRecord::from_line(line).is_ok_and(is_stale) {
                result = new.write_all(line.as_bytes()).and_then(|()| new.write_all(b"\n"));
            }
        })?;
        result?;
        self.replace_manifest(new)?;
        self.kept.stale = 0;
        Ok(())
    }

    fn flush_removals(&mut self) -> io::Result<()> {
        for folder in std::mem::take(&mut self.kept.unflushed) {
            if self.shelf.durability == Durability::Safe {
                self.shelf.storage.sync_folder(&folder).inspect_err(|_| {
                    self.kept.unflushed.insert(folder.clone());
                })?;
            }
        }
        Ok(())
    }

    /// A crash may have come before files went that `take.json` says are gone: they go now.
    pub(super) fn finish_removal(&mut self) -> io::Result<()> {
        if self.take.removed.is_none() {
            return Ok(());
        }
        let mut stale = self.removed_files()?;
        self.kept.stale = stale.values().sum();
        self.each_file(|file| {
            stale.remove(&file.name); // some of it stays
            Ok(())
        })?;
        stale.keys().for_each(|name| self.doom(name));
        self.remove_doomed();
        if self.kept.doomed.is_empty() { self.drop_stale_lines() } else { Ok(()) }
    }
}
