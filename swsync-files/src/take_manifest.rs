//! Reads and rewrites the manifest of a take. It is read file by file and never held in memory: a take may last for days.

use std::collections::BTreeMap;
use std::io::{self, Write};

use swsync_core::manifest::{FRAMES_JSONL, FrameRecord};

use crate::WholeFile;
use crate::line_file::read_lines;
use crate::recorded_file::RecordedFile;
use crate::storage::is_no_file;
use crate::take::TakeFolder;

impl TakeFolder {
    /// Hands the records of saved frames to `visit`, in the order of the manifest.
    ///
    /// # Errors
    /// The error of the system, or of `visit`.
    pub fn saved(&self, mut visit: impl FnMut(FrameRecord) -> io::Result<()>) -> io::Result<()> {
        self.each_record(|record| match self.take.is_removed(record.info.number) {
            true => Ok(()),
            false => visit(record),
        })?;
        Ok(())
    }

    /// Hands the manifest's records to `visit`. Returns whether there are malformed lines.
    fn each_record(&self, mut visit: impl FnMut(FrameRecord) -> io::Result<()>) -> io::Result<bool> {
        let (mut malformed, mut result) = (false, Ok(()));
        let read = read_lines(self.store.storage.as_ref(), &self.side(FRAMES_JSONL), |line| {
            match FrameRecord::from_line(line) {
                Ok(record) if result.is_ok() => result = visit(record),
                Ok(_) => {}
                Err(_) => malformed = true,
            }
        });
        match read {
            Err(error) if !is_no_file(&error) => Err(error),
            _ => result.map(|()| malformed),
        }
    }

    /// Hands the files in the manifest to `visit`, without removed frames. Returns whether there are malformed lines.
    pub(crate) fn each_file(
        &self,
        mut visit: impl FnMut(RecordedFile) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut file: Option<RecordedFile> = None;
        let malformed = self.each_record(|record| {
            if self.take.is_removed(record.info.number) {
                return Ok(());
            }
            match &mut file {
                Some(file) if file.name == record.file => file.add(&record),
                _ => {
                    if let Some(before) = file.replace(RecordedFile::of(&record)) {
                        visit(before)?;
                    }
                }
            }
            Ok(())
        })?;
        file.map_or(Ok(()), visit)?;
        Ok(malformed)
    }

    /// Names of the files of removed frames, each with the number of its lines.
    pub(crate) fn removed_files(&self) -> io::Result<BTreeMap<String, u64>> {
        let mut stale = BTreeMap::new();
        self.each_record(|record| {
            if self.take.is_removed(record.info.number) {
                *stale.entry(record.file).or_insert(0) += 1;
            }
            Ok(())
        })?;
        Ok(stale)
    }

    /// Rewrites the manifest without malformed lines, and without lines of files that do not exist.
    pub(crate) fn drop_lines_of_lost_files(&mut self) -> io::Result<()> {
        let (path, durability) = (self.side(FRAMES_JSONL), self.store.durability);
        let mut new = WholeFile::create_on(&self.store.storage, &path, durability)?;
        let mut last: Option<(String, bool)> = None;
        self.each_record(|record| {
            let known = last.as_ref().filter(|(name, _)| *name == record.file).map(|(_, is_there)| *is_there);
            // Lines of removed frames stay: their files are found by them.
            let is_there = self.take.is_removed(record.info.number)
                || match known {
                    Some(is_there) => is_there,
                    None => self.recorded_length(&RecordedFile::of(&record))?.is_some(),
                };
            let line = is_there.then(|| record.to_line());
            last = Some((record.file, is_there));
            line.map_or(Ok(()), |line| new.write_all(line.as_bytes()))
        })?;
        self.replace_manifest(new)
    }

    /// Length of a file; `None`: it does not exist as its records say.
    pub(crate) fn recorded_length(&self, file: &RecordedFile) -> io::Result<Option<u64>> {
        let length = match self.store.storage.len(&self.folder.join(&file.name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        // A video is larger than its frames.
        let is_whole = length >= file.last_bytes || self.is_video(&file.name) || file.last_offset > 0;
        Ok(is_whole.then_some(length))
    }
}
