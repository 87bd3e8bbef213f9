//! Files that grow by whole lines: the manifest, the journal and the logs of videos.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use crate::WholeFile;
use crate::storage::{Durability, Storage, StorageFile, folder_of, make_folders};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// A file of whole lines. A line that a crash cut short is dropped at the next start, and a line that cannot be written whole
/// is not written at all.
#[derive(Debug)]
pub struct LineFile {
    file: Box<dyn StorageFile>,
    durability: Durability,
    /// Length of the valid lines.
    length: u64,
    /// Whether the file holds more bytes than that.
    torn: bool,
}

impl LineFile {
    /// Opens the file `path`. Makes it and its folder if they are missing.
    ///
    /// # Errors
    /// The error of the system.
    pub fn open(storage: &Arc<dyn Storage>, path: &Path, durability: Durability) -> io::Result<Self> {
        make_folders(storage.as_ref(), folder_of(path), durability)?;
        let (all, is_new) = match storage.len(path) {
            Ok(all) => (all, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (0, true),
            Err(error) => return Err(error),
        };
        let length = whole_lines(storage.as_ref(), path, all)?;
        let file = storage.open(path)?;
        if is_new && durability == Durability::Safe {
            storage.sync_folder(folder_of(path))?;
        }
        Ok(Self { file, durability, length, torn: all != length })
    }

    /// Length of all lines, in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Appends `lines`, each with its newline: all of them or none. Flushes them if the file is [`Durability::Safe`].
    ///
    /// # Errors
    /// The error of the system.
    pub fn append(&mut self, lines: &str) -> io::Result<()> {
        self.append_each(|append| append(lines))
    }

    /// Reserves room on the disk for `bytes` bytes of later lines, if the disk can.
    pub fn reserve(&mut self, bytes: u64) {
        self.file.reserve(self.length, bytes);
    }

    /// As [`append`](Self::append), for more lines than should be in memory at once: `each` hands them over a few at a time.
    ///
    /// # Errors
    /// The error of the system, or of `each`.
    pub fn append_each(
        &mut self,
        each: impl FnOnce(&mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<()> {
        let written = self.try_append(each).inspect_err(|_| {
            // If it cannot be cut now, it is cut before the next line.
            self.torn = self.file.set_len(self.length).is_err();
        })?;
        self.length += written;
        Ok(())
    }

    fn try_append(
        &mut self,
        each: impl FnOnce(&mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()>,
    ) -> io::Result<u64> {
        self.cut()?;
        self.torn = true;
        let (mut at, mut waiting) = (self.length, String::new());
        let file = &mut self.file;
        each(&mut |lines| {
            waiting.push_str(lines);
            if waiting.len() >= CHUNK {
                file.write_at(at, waiting.as_bytes())?;
                at += waiting.len() as u64;
                waiting.clear();
            }
            Ok(())
        })?;
        self.file.write_at(at, waiting.as_bytes())?;
        self.sync()?;
        self.torn = false;
        Ok(at + waiting.len() as u64 - self.length)
    }

    /// Removes what was appended since the file had `length` bytes.
    ///
    /// # Errors
    /// The error of the system; then it is tried again before the next line.
    pub fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.length = self.length.min(length);
        self.torn = true;
        self.cut()?;
        self.sync()
    }

    fn cut(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.durability {
            Durability::Safe => self.file.sync(),
            Durability::Fast => Ok(()),
        }
    }
}

/// Hands each whole line, without its newline, to `take`. A line that is not UTF-8 is handed over as control characters of
/// the same length. Returns the file's length.
///
/// # Errors
/// The error of the system.
pub fn read_lines(storage: &dyn Storage, path: &Path, mut take: impl FnMut(&str)) -> io::Result<u64> {
    let (mut offset, mut rest) = (0, Vec::new());
    loop {
        let chunk = storage.read_at(path, offset, CHUNK)?;
        if chunk.is_empty() {
            return Ok(offset);
        }
        offset += chunk.len() as u64;
        let end = chunk.iter().rposition(|byte| *byte == b'\n').map(|end| rest.len() + end);
        rest.extend_from_slice(&chunk);
        let Some(end) = end else { continue };
        for line in rest[..end].split(|byte| *byte == b'\n') {
            match std::str::from_utf8(line) {
                Ok(line) => take(line),
                // Callers count lengths.
                Err(_) => take(&"\u{1}".repeat(line.len())),
            }
        }
        rest.drain(..=end);
    }
}

/// Length of the whole lines among the first `all` bytes of a file. Reads the file from its end.
fn whole_lines(storage: &dyn Storage, path: &Path, all: u64) -> io::Result<u64> {
    let mut end = all;
    while end > 0 {
        let from = end.saturating_sub(CHUNK as u64);
        let chunk = storage.read_at(path, from, usize::try_from(end - from).unwrap_or(CHUNK))?;
        if let Some(last) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + last as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

/// Replaces the lines of a file by others, all or none.
///
/// # Errors
/// The error of the system; then the lines are as they were.
pub fn rewrite_lines<'a>(
    storage: &Arc<dyn Storage>,
    path: &Path,
    durability: Durability,
    lines: impl Iterator<Item = &'a str>,
) -> io::Result<()> {
    let mut file = WholeFile::create_on(storage, path, durability)?;
    for line in lines {
        file.write_all(line.trim_end_matches('\n').as_bytes())?;
        file.write_all(b"\n")?;
    }
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated_disk::SimulatedDisk;

    fn disk() -> (SimulatedDisk, Arc<dyn Storage>) {
        let disk = SimulatedDisk::new();
        (disk.clone(), Arc::new(disk))
    }

    fn lines(storage: &Arc<dyn Storage>) -> Vec<String> {
        let mut lines = Vec::new();
        read_lines(storage.as_ref(), Path::new("/a/log"), |line| lines.push(line.to_owned())).unwrap();
        lines
    }

    fn open(storage: &Arc<dyn Storage>) -> LineFile {
        LineFile::open(storage, Path::new("/a/log"), Durability::Safe).unwrap()
    }

    #[test]
    fn a_torn_line_is_dropped() {
        let (_, storage) = disk();
        open(&storage).append("one\ntwo\n").unwrap();
        let mut file = storage.open(Path::new("/a/log")).unwrap();
        file.write_at(8, b"thr").unwrap();
        open(&storage).append("four\n").unwrap();
        assert_eq!(lines(&storage), ["one", "two", "four"]);
    }

    #[test]
    fn lines_that_do_not_fit_are_not_written() {
        let (disk, storage) = disk();
        let mut log = open(&storage);
        log.append("one\n").unwrap();
        disk.set_capacity(Some(6));
        assert!(log.append("two\n").is_err());
        assert_eq!(lines(&storage), ["one"]);
        disk.set_capacity(None);
        log.append("three\n").unwrap();
        let length = log.length();
        log.append("four\n").unwrap();
        log.truncate(length).unwrap();
        log.append("five\n").unwrap();
        assert_eq!(lines(&storage), ["one", "three", "five"]);
    }

    #[test]
    fn lines_longer_than_a_chunk_are_read() {
        let (_, storage) = disk();
        let long = "x".repeat(CHUNK * 2 + 5);
        open(&storage).append(&format!("a\n{long}\nb\n")).unwrap();
        assert_eq!(lines(&storage), ["a", &long, "b"]);
    }

    #[test]
    fn many_lines_are_appended_as_one() {
        let (disk, storage) = disk();
        let mut log = open(&storage);
        log.append("one\n").unwrap();
        let long = format!("{}\n", "x".repeat(CHUNK / 3));
        let many = |append: &mut dyn FnMut(&str) -> io::Result<()>| (0..7).try_for_each(|_| append(&long));
        disk.set_capacity(Some(CHUNK * 2));
        assert!(log.append_each(many).is_err());
        assert_eq!(lines(&storage), ["one"], "none of them, if one does not fit");
        disk.set_capacity(None);
        log.append_each(many).unwrap();
        log.append("two\n").unwrap();
        assert_eq!((lines(&storage).len(), log.length()), (9, 8 + 7 * long.len() as u64));
        assert_eq!(open(&storage).length(), log.length());
    }

    #[test]
    fn a_power_cut_keeps_appended_lines() {
        for seed in 0..50_usize {
            let (disk, storage) = disk();
            let mut log = open(&storage);
            log.append("one\ntwo\n").unwrap();
            disk.die_after(Some(1)); // written, but not flushed
            assert!(log.append("three\n").is_err());
            let mut state = seed;
            disk.cut_power(&mut |below| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            });
            open(&storage).append("four\n").unwrap();
            let lines = lines(&storage);
            assert_eq!(lines[..2], ["one", "two"]);
            assert_eq!(lines.last().unwrap(), "four");
        }
    }
}
