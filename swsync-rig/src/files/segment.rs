//! A video file while it is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swsync_core::frame::FrameInfo;
use swsync_core::manifest::FrameRecord;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::time::{Rig, Timestamp};

use super::lines::{LineFile, read_lines};
use super::partial_of;
use super::salvage::playable;
use super::storage::{Durability, Storage, StorageFile, folder_of, make_folders};
use super::take::{Shelf, again};

/// A picture that was handed to the muxer, in that order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Noted {
    /// Its time.
    pub rig_time_ns: Timestamp<Rig>,
    /// Its size, as it came from the encoder.
    pub bytes: u64,
    /// What is known of it; `None`: the order does not name it, but a picture that it names needs it.
    pub info: Option<FrameInfo>,
}

/// A line of the log beside an unfinished video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    /// A picture was handed to the muxer.
    Noted(Box<Noted>),
    /// So many bytes of the video are on the disk. What lies behind may be anything after a power cut, zeros too,
    /// in a file that looks whole. Not written where nothing is flushed.
    Flushed { flushed: u64 },
}

/// A video file while it is written, and beside it what its pictures are: so that all but the last second of it
/// survives a power cut.
#[derive(Debug)]
pub struct SegmentFile {
    storage: Arc<dyn Storage>,
    durability: Durability,
    path: PathBuf,
    partial: PathBuf,
    file: Box<dyn StorageFile>,
    length: u64,
    noted: Vec<Noted>,
    log: LineFile,
    log_path: PathBuf,
    /// How many of `noted` the log has.
    logged: usize,
    /// The first write that failed.
    broken: Option<io::Error>,
    appeared: bool,
}

/// Name of the log of the pictures in the video file `path`.
pub(super) fn log_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder_of(path).join(format!(".{name}.frames.part"))
}

impl SegmentFile {
    pub(super) fn create(shelf: &Shelf, path: PathBuf) -> io::Result<Self> {
        let storage = Arc::clone(&shelf.storage);
        make_folders(storage.as_ref(), folder_of(&path), shelf.durability)?;
        let (partial, log_path) = (partial_of(&path), log_of(&path));
        let file = storage.create(&partial)?;
        let begin = || -> io::Result<LineFile> {
            let mut log = LineFile::open(&storage, &log_path, shelf.durability)?;
            log.take_back(0)?; // of one that could not be finished
            if shelf.durability == Durability::Safe {
                log.append(&line(&Line::Flushed { flushed: 0 }))?;
            }
            Ok(log)
        };
        let log = begin().inspect_err(|_| {
            // The first error is what matters.
            let _ = storage.remove(&partial);
            let _ = storage.remove(&log_path);
        })?;
        Ok(Self {
            storage,
            durability: shelf.durability,
            path,
            partial,
            file,
            length: 0,
            noted: Vec::new(),
            log,
            log_path,
            logged: 0,
            broken: None,
            appeared: false,
        })
    }

    /// One that a crash left behind, without what may not have reached the disk.
    pub(super) fn reopen(shelf: &Shelf, path: PathBuf) -> io::Result<Self> {
        let storage = Arc::clone(&shelf.storage);
        let (partial, log_path) = (partial_of(&path), log_of(&path));
        let (mut noted, mut flushed, mut whole) = (Vec::new(), None, true);
        read_lines(storage.as_ref(), &log_path, |line| match serde_json::from_str(line) {
            Ok(Line::Noted(note)) if whole => noted.push(*note),
            Ok(Line::Flushed { flushed: length }) if whole => flushed = Some(length),
            _ => whole = false, // what follows has no place
        })?;
        let mut file = storage.open(&partial)?;
        let mut length = storage.len(&partial)?;
        if let Some(flushed) = flushed.filter(|flushed| *flushed < length) {
            file.set_len(flushed)?;
            length = flushed;
        }
        Ok(Self {
            file,
            log: LineFile::open(&storage, &log_path, shelf.durability)?,
            storage,
            durability: shelf.durability,
            path,
            partial,
            length,
            logged: noted.len(),
            noted,
            log_path,
            broken: Some(io::Error::other("the device was stopped while it recorded")),
            appeared: false,
        })
    }

    /// What will be its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its size so far, in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Pictures at its beginning that the order does not name.
    #[must_use]
    pub fn lead_in(&self) -> u64 {
        let mut shown: Vec<_> = self.noted.iter().collect();
        shown.sort_by_key(|noted| noted.rig_time_ns);
        shown.iter().take_while(|noted| noted.info.is_none()).count() as u64
    }

    /// The muxer was handed this picture. Call before what it makes of it is written.
    pub fn note(&mut self, picture: Noted) {
        self.noted.push(picture);
    }

    /// Writes what the muxer made.
    ///
    /// # Errors
    /// What the system said, now or earlier: nothing is written behind a gap.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(error) = &self.broken {
            return Err(again(error));
        }
        self.file.write_at(offset, bytes).map_err(|error| self.fail(error))?;
        self.length = self.length.max(offset + bytes.len() as u64);
        Ok(())
    }

    /// Has what is written so far survive a power cut. Call once a second or so.
    ///
    /// # Errors
    /// What the system said, now or earlier.
    pub fn sync(&mut self) -> io::Result<()> {
        if let Some(error) = &self.broken {
            return Err(again(error));
        }
        let mut lines: String =
            self.noted[self.logged..].iter().map(|n| line(&Line::Noted(Box::new(*n)))).collect();
        if self.durability == Durability::Safe {
            self.file.sync().map_err(|error| self.fail(error))?;
            lines.push_str(&line(&Line::Flushed { flushed: self.length }));
        }
        // All that is in the file was noted before.
        self.log.append(&lines).map_err(|error| self.fail(error))?;
        self.logged = self.noted.len();
        Ok(())
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.broken.get_or_insert_with(|| again(&error));
        error
    }

    /// The muxer cannot finish the file: it is finished with what can be played of it.
    pub fn break_off(&mut self) {
        self.fail(io::Error::other("the video broke off"));
    }

    /// Nothing more is written: what cannot be played is cut off, and the rest reaches the disk.
    /// Returns why that is not all of it.
    pub(super) fn finish(&mut self) -> io::Result<Option<io::Error>> {
        let why = self.broken.take();
        if why.is_some() {
            self.cut_to(u64::MAX)?;
        }
        if self.durability == Durability::Safe {
            self.file.sync()?;
        }
        Ok(why)
    }

    /// Gives up the end of the video for what has to be written beside it.
    pub(super) fn make_room(&mut self, full: &io::Error) -> io::Result<()> {
        let told = 1024 * self.noted.len() as u64; // its lines in manifest and timecodes, with room to spare
        let target = self.length.saturating_sub(told.max(256 << 10));
        self.cut_to(target)?;
        if self.noted.is_empty() {
            return Err(again(full));
        }
        match self.durability {
            Durability::Safe => self.file.sync(),
            Durability::Fast => Ok(()),
        }
    }

    /// Cuts the file to what is playable of its first `limit` bytes.
    fn cut_to(&mut self, limit: u64) -> io::Result<()> {
        if limit < self.length {
            self.file.set_len(limit)?;
        }
        let sizes: Vec<_> = self.noted.iter().map(|noted| noted.bytes).collect();
        let found = playable(self.storage.as_ref(), &self.partial, &sizes)?;
        let kept = usize::try_from(found.pictures).unwrap_or(usize::MAX).min(self.noted.len());
        // Of pictures in another order than they are shown, the last ones may lack one between them: none of
        // those shown after it count.
        let lost_from = self.noted[kept..].iter().map(|noted| noted.rig_time_ns).min();
        self.noted.truncate(kept);
        for noted in &mut self.noted {
            if lost_from.is_some_and(|lost| noted.rig_time_ns > lost) {
                noted.info = None;
            }
        }
        self.file.set_len(found.length)?;
        self.length = found.length;
        self.logged = self.logged.min(kept);
        match self.noted.iter().any(|noted| noted.info.is_some()) {
            true => Ok(()),
            false => Err(io::Error::other("nothing of the video can be played")),
        }
    }

    /// When its pictures were taken, in the order in which they are shown.
    pub(super) fn times(&self) -> Vec<Timestamp<Rig>> {
        let mut times: Vec<_> = self.noted.iter().map(|noted| noted.rig_time_ns).collect();
        times.sort();
        times
    }

    /// Records of the pictures that the order names, in the order in which they are shown.
    pub(super) fn records(&self, order: &OrderId, device: &DeviceId, file: &str) -> Vec<FrameRecord> {
        let mut shown: Vec<_> = self.noted.iter().collect();
        shown.sort_by_key(|noted| noted.rig_time_ns);
        let records = shown.iter().zip(0..).filter_map(|(noted, offset)| {
            Some(FrameRecord {
                order: order.clone(),
                device: device.clone(),
                file: file.to_owned(),
                offset,
                bytes: noted.bytes,
                info: noted.info?,
            })
        });
        records.collect()
    }

    pub(super) fn appear(&mut self) -> io::Result<()> {
        self.storage.rename(&self.partial, &self.path)?;
        self.appeared = true;
        if self.durability == Durability::Safe {
            self.storage.sync_folder(folder_of(&self.path))?;
        }
        // One that stays is removed at the next start.
        let _ = self.storage.remove(&self.log_path);
        Ok(())
    }

    /// Leaves it as it is, to be finished when the order's folder is opened again.
    pub fn leave(mut self) {
        self.appeared = true;
    }
}

impl Drop for SegmentFile {
    fn drop(&mut self) {
        if !self.appeared {
            // They may be gone already, and nobody is there to be told.
            let _ = self.storage.remove(&self.partial);
            let _ = self.storage.remove(&self.log_path);
        }
    }
}

fn line(line: &Line) -> String {
    let mut line =
        serde_json::to_string(line).expect("a line is a plain struct with string keys, which JSON can hold");
    line.push('\n');
    line
}
