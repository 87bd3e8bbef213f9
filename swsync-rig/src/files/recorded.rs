//! The manifest while its take is written, read file by file and never held: it may be of days.

use std::collections::BTreeMap;
use std::io::{self, Write};

use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{FRAMES_JSONL, FrameRecord, Runs};

use super::WholeFile;
use super::lines::read_lines;
use super::take::TakeFolder;

/// The lines of the manifest that follow each other and name one file.
#[derive(Debug)]
pub(super) struct RecordedFile {
    pub name: String,
    pub lines: u64,
    pub first: FrameNumber,
    pub last: FrameNumber,
    /// Its frames, where that is to be known: in a loop recording.
    pub numbers: Runs,
    /// Bytes of its frames.
    pub bytes: u64,
    /// Pictures before the first that the order names.
    pub lead_in: u64,
    /// Of its last frame.
    pub last_offset: u64,
    /// Of its last frame.
    pub last_bytes: u64,
}

impl RecordedFile {
    /// The file of this record and of those that [`add`](Self::add) adds.
    pub(super) fn of(record: &FrameRecord) -> Self {
        Self {
            name: record.file.clone(),
            lines: 1,
            first: record.info.number,
            last: record.info.number,
            numbers: Runs::from_iter([record.info.number]),
            bytes: record.bytes,
            lead_in: record.offset,
            last_offset: record.offset,
            last_bytes: record.bytes,
        }
    }

    pub(super) fn add(&mut self, record: &FrameRecord) {
        let number = record.info.number;
        self.lines += 1;
        self.first = self.first.min(number);
        self.last = self.last.max(number);
        self.numbers.add(number);
        self.bytes = self.bytes.saturating_add(record.bytes);
        (self.last_offset, self.last_bytes) = (record.offset, record.bytes);
    }

    /// The file's length, where it is there as its records say.
    pub(super) fn length(&self, take: &TakeFolder) -> io::Result<Option<u64>> {
        let length = match take.shelf.storage.len(&take.folder.join(&self.name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        // A video is larger than its frames.
        let is_there = length >= self.last_bytes || take.is_video(&self.name) || self.last_offset > 0;
        Ok(is_there.then_some(length))
    }
}

/// Whether there is no file of that name, be it that a folder is in its place.
pub(super) fn is_no_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory)
}

impl TakeFolder {
    /// Hands the records of frames that are saved to `visit`, as they stand in the manifest.
    ///
    /// # Errors
    /// What the system said, or `visit`.
    pub fn saved(&self, mut visit: impl FnMut(FrameRecord) -> io::Result<()>) -> io::Result<()> {
        self.each_record(|record| match self.take.is_removed(record.info.number) {
            true => Ok(()),
            false => visit(record),
        })?;
        Ok(())
    }

    /// Hands the manifest's records to `visit`. Whether there are lines that are none.
    fn each_record(&self, mut visit: impl FnMut(FrameRecord) -> io::Result<()>) -> io::Result<bool> {
        let (mut spoilt, mut result) = (false, Ok(()));
        let read = read_lines(self.shelf.storage.as_ref(), &self.side(FRAMES_JSONL), |line| {
            match FrameRecord::from_line(line) {
                Ok(record) if result.is_ok() => result = visit(record),
                Ok(_) => {}
                Err(_) => spoilt = true,
            }
        });
        match read {
            Err(error) if !is_no_file(&error) => Err(error),
            _ => result.map(|()| spoilt),
        }
    }

    /// Hands the files that the manifest names to `visit`, without frames that are removed. Whether there are lines that
    /// are no records.
    pub(super) fn each_file(
        &self,
        mut visit: impl FnMut(RecordedFile) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut file: Option<RecordedFile> = None;
        let spoilt = self.each_record(|record| {
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
        Ok(spoilt)
    }

    /// Of frames that are removed: their files' names, with their lines.
    pub(super) fn removed_files(&self) -> io::Result<BTreeMap<String, u64>> {
        let mut stale = BTreeMap::new();
        self.each_record(|record| {
            if self.take.is_removed(record.info.number) {
                *stale.entry(record.file).or_insert(0) += 1;
            }
            Ok(())
        })?;
        Ok(stale)
    }

    /// Writes the manifest anew, without lines that are no records, and without those whose files are not there.
    pub(super) fn drop_lines_of_lost_files(&mut self) -> io::Result<()> {
        let (path, durability) = (self.side(FRAMES_JSONL), self.shelf.durability);
        let mut new = WholeFile::create_on(&self.shelf.storage, &path, durability)?;
        let mut last: Option<(String, bool)> = None;
        self.each_record(|record| {
            let known = last.as_ref().filter(|(name, _)| *name == record.file).map(|(_, is_there)| *is_there);
            // What is removed is still to be found by its lines.
            let is_there = self.take.is_removed(record.info.number)
                || match known {
                    Some(is_there) => is_there,
                    None => RecordedFile::of(&record).length(self)?.is_some(),
                };
            let line = is_there.then(|| record.to_line());
            last = Some((record.file, is_there));
            line.map_or(Ok(()), |line| new.write_all(line.as_bytes()))
        })?;
        self.replace_manifest(new)
    }
}
