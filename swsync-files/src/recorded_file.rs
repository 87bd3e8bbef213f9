//! The files of a take as its manifest lists them, and those that a loop recording retains.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;

use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{FrameRecord, NumberSet};

/// A file of a take: consecutive lines of the manifest that name it.
#[derive(Debug)]
pub(crate) struct RecordedFile {
    pub name: String,
    pub lines: u64,
    pub first: FrameNumber,
    pub last: FrameNumber,
    /// Numbers of its frames.
    pub numbers: NumberSet,
    /// Bytes of its frames.
    pub bytes: u64,
    /// Number of pictures before the first that the order names.
    pub lead_in: u64,
    /// Offset of its last frame.
    pub last_offset: u64,
    /// Bytes of its last frame.
    pub last_bytes: u64,
}

impl RecordedFile {
    /// The file of `record`; [`add`](Self::add) adds its other records.
    pub(crate) fn of(record: &FrameRecord) -> Self {
        Self {
            name: record.file.clone(),
            lines: 1,
            first: record.info.number,
            last: record.info.number,
            numbers: NumberSet::from_iter([record.info.number]),
            bytes: record.bytes,
            lead_in: record.offset,
            last_offset: record.offset,
            last_bytes: record.bytes,
        }
    }

    pub(crate) fn add(&mut self, record: &FrameRecord) {
        let number = record.info.number;
        self.lines += 1;
        self.first = self.first.min(number);
        self.last = self.last.max(number);
        self.numbers.add(number);
        self.bytes = self.bytes.saturating_add(record.bytes);
        (self.last_offset, self.last_bytes) = (record.offset, record.bytes);
    }
}

/// The files of an order that a loop recording retains, and removed files that are not forgotten yet.
#[derive(Debug, Default)]
pub(crate) struct RetainedFiles {
    /// The oldest first.
    pub files: VecDeque<RecordedFile>,
    /// Files still to be removed.
    pub to_remove: HashSet<PathBuf>,
    /// Folders from which files were removed since their last flush.
    pub unflushed: HashSet<PathBuf>,
    /// Number of manifest lines whose files are removed.
    pub stale_lines: u64,
}

impl RetainedFiles {
    /// Adds a file.
    pub(crate) fn add(&mut self, file: RecordedFile) {
        let at = self.files.partition_point(|other| other.last <= file.last);
        self.files.insert(at, file);
    }
}
