//! A video file while it is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use swsync_core::manifest::FrameRecord;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::time::{Rig, Timestamp};

use crate::line_file::LineFile;
use crate::mp4_index::{self, IndexPlan};
use crate::salvage::playable;
use crate::segment_log::{LogContent, LogLine, LogOwner, MuxedPicture, SegmentLog, log_of, read_log};
use crate::storage::{Durability, Storage, StorageFile, copy_error, folder_of, make_folders, partial_of};
use crate::take_store::TakeStore;
use crate::video_file::VideoFile;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// A video file while it is written, and the log of its pictures beside it: so all but the last second survives a power cut.
///
/// After an error the bytes written so far stay on the disk, to be closed later.
#[derive(Debug)]
pub struct SegmentFile {
    storage: Arc<dyn Storage>,
    durability: Durability,
    path: PathBuf,
    partial: PathBuf,
    file: Box<dyn StorageFile>,
    length: u64,
    /// How many bytes are on the disk for certain.
    flushed: u64,
    /// Whether a flush failed: then unflushed bytes must be written again before the next one.
    flush_failed: bool,
    /// In the order of the muxer.
    pictures: Vec<MuxedPicture>,
    log: SegmentLog,
    /// The first write that failed.
    broken: Option<io::Error>,
    stage: Stage,
}

/// How far a video is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Writing,
    /// All is written, and on the disk under the temporary name.
    Finished,
    /// It has its final name.
    Named,
    /// There is nothing left to do.
    Done,
}

impl SegmentFile {
    /// Begins the file `path`, which must neither exist nor be in writing.
    pub(crate) fn create(store: &TakeStore, order: &OrderId, path: PathBuf) -> io::Result<Self> {
        let storage = Arc::clone(&store.storage);
        make_folders(storage.as_ref(), folder_of(&path), store.durability)?;
        let partial = partial_of(&path);
        let file = storage.create_new(&partial)?;
        let owner = LogOwner { order: order.clone(), device: store.device.clone() };
        let mut begin = LogLine::Owner(owner).to_text();
        if store.durability == Durability::Safe {
            begin.push_str(&LogLine::Flushed { flushed: 0 }.to_text());
        }
        let mut log = SegmentLog { path: log_of(&path), file: None, begin, pictures: 0 };
        if let Err(error) = log.append(&storage, store.durability, "") {
            if is_no_room(&error) {
                let _ = storage.remove(&partial); // it is empty
                return Err(error);
            }
            swsync_core::log::warn!(path = %log.path.display(), %error, "a video is recorded without its log for now");
        }
        Ok(Self {
            storage,
            durability: store.durability,
            path,
            partial,
            file,
            length: 0,
            flushed: 0,
            flush_failed: false,
            pictures: Vec::new(),
            log,
            broken: None,
            stage: Stage::Writing,
        })
    }

    /// Opens a file that a crash left, and cuts off bytes that may not have reached the disk.
    pub(crate) fn reopen(store: &TakeStore, path: PathBuf) -> io::Result<Self> {
        let storage = Arc::clone(&store.storage);
        let (partial, log_path) = (partial_of(&path), log_of(&path));
        let LogContent { pictures, flushed, owner: _ } = read_log(storage.as_ref(), &log_path)?;
        let mut file = storage.open(&partial)?;
        let mut length = storage.len(&partial)?;
        // A file with an index is whole, and of no use without its end.
        let video = VideoFile::open(storage.as_ref(), &partial, u64::MAX)?;
        let is_whole = mp4_index::pictures(&video)?.is_some();
        // A video without any picture in its log is set aside as it is.
        let may_cut = |flushed: &u64| *flushed < length && !pictures.is_empty() && !is_whole;
        if let Some(flushed) = flushed.filter(may_cut) {
            file.set_len(flushed)?;
            length = flushed;
        }
        let log = LineFile::open(&storage, &log_path, store.durability)?;
        let logged = pictures.len();
        Ok(Self {
            file,
            log: SegmentLog { path: log_path, file: Some(log), begin: String::new(), pictures: logged },
            storage,
            durability: store.durability,
            path,
            partial,
            length,
            flushed: length,
            flush_failed: false,
            pictures,
            broken: Some(io::Error::other("the device was stopped while it recorded")),
            stage: Stage::Writing,
        })
    }

    /// The final name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The largest size that it can have, if that is known.
    #[must_use]
    pub fn max_bytes(&self) -> Option<u64> {
        self.storage.max_file_bytes(folder_of(&self.path))
    }

    /// Its size so far, in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Number of pictures at its beginning that the order does not name.
    #[must_use]
    pub fn lead_in(&self) -> u64 {
        let mut shown: Vec<_> = self.pictures.iter().collect();
        shown.sort_by_key(|picture| picture.rig_time_ns);
        shown.iter().take_while(|picture| picture.info.is_none()).count() as u64
    }

    /// Notes a picture that was handed to the muxer. Call this before the muxer's output of it is written.
    pub fn note(&mut self, picture: MuxedPicture) {
        self.pictures.push(picture);
    }

    /// Writes output of the muxer.
    ///
    /// # Errors
    /// The error of the system, now or earlier: nothing is written after a gap.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(error) = &self.broken {
            return Err(copy_error(error));
        }
        self.file.write_at(offset, bytes).map_err(|error| self.fail(error))?;
        self.length = self.length.max(offset + bytes.len() as u64);
        Ok(())
    }

    /// Makes the bytes written so far survive a power cut. Call this about once a second.
    ///
    /// # Errors
    /// The error of the system for the video, now or earlier.
    pub fn sync(&mut self) -> io::Result<()> {
        if let Some(error) = &self.broken {
            return Err(copy_error(error));
        }
        self.flush().map_err(|error| self.fail(error))?;
        self.write_log();
        Ok(())
    }

    /// Flushes the file to the disk.
    fn flush(&mut self) -> io::Result<()> {
        if self.durability == Durability::Fast {
            self.flushed = self.length;
            return Ok(());
        }
        if self.flush_failed {
            // The system reports a failed flush only once, and then takes the bytes for flushed.
            let mut at = self.flushed;
            while at < self.length {
                let bytes = self.storage.read_at(&self.partial, at, CHUNK)?;
                if bytes.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.file.write_at(at, &bytes)?;
                at += bytes.len() as u64;
            }
        }
        self.flush_failed = true;
        self.file.sync()?;
        self.flush_failed = false;
        self.flushed = self.length;
        Ok(())
    }

    /// Brings the log up to date. If that fails, the next call tries again.
    fn write_log(&mut self) {
        let new = &self.pictures[self.log.pictures.min(self.pictures.len())..];
        let mut lines: String =
            new.iter().map(|picture| LogLine::Picture(Box::new(*picture)).to_text()).collect();
        if self.durability == Durability::Safe || self.stage != Stage::Writing {
            lines.push_str(&LogLine::Flushed { flushed: self.flushed }.to_text());
        }
        match self.log.append(&self.storage, self.durability, &lines) {
            Ok(()) => self.log.pictures = self.pictures.len(),
            Err(error) => {
                swsync_core::log::warn!(path = %self.log.path.display(), %error, "the log of a video is behind");
            }
        }
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.broken.get_or_insert_with(|| copy_error(&error));
        error
    }

    /// Tells that the muxer cannot finish the file: closing will cut it to its playable part.
    pub fn break_off(&mut self) {
        self.fail(io::Error::other("the video broke off"));
    }

    /// Finishes the file: cuts off what cannot be played, adds an index, and flushes it. Returns whether anything can be
    /// played. Call it again after an error.
    pub(crate) fn finish(&mut self) -> io::Result<bool> {
        if self.stage == Stage::Writing {
            if self.broken.is_some() && !self.cut()? {
                return Ok(false);
            }
            self.flush()?;
            self.write_index()?;
            self.stage = Stage::Finished;
            self.write_log();
        } else if !self.is_named() && !self.is_logged() {
            self.write_log();
        }
        Ok(true)
    }

    /// Adds an index, which makes it an ordinary file. If there is no room for that, it stays fragmented, which can be played
    /// too.
    fn write_index(&mut self) -> io::Result<()> {
        let IndexPlan { index, header: (at, header) } = match mp4_index::plan(
            self.storage.as_ref(),
            &self.partial,
        ) {
            Ok(Some(plan)) => plan,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                swsync_core::log::warn!(path = %self.path.display(), %error, "a video stays without an index");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let before = self.length;
        let written = self.file.write_at(before, &index).and_then(|()| {
            self.length = before + index.len() as u64;
            self.flush()
        });
        if let Err(error) = written {
            swsync_core::log::warn!(path = %self.path.display(), %error, "a video stays without an index");
            self.file.set_len(before)?;
            (self.length, self.flushed) = (before, self.flushed.min(before));
            return self.flush();
        }
        self.file.write_at(at, &header)?;
        self.flush()
    }

    /// Whether its log is complete, so that it can be finished after a crash.
    pub(crate) fn is_logged(&self) -> bool {
        self.log.pictures == self.pictures.len()
    }

    /// Why pictures are missing at its end, if any are.
    pub(crate) fn why_broken(&self) -> Option<io::Error> {
        self.broken.as_ref().map(copy_error)
    }

    /// Cuts the file to its playable part. `false`: there is none, and the file is unchanged.
    fn cut(&mut self) -> io::Result<bool> {
        let sizes: Vec<_> = self.pictures.iter().map(|picture| picture.bytes).collect();
        let found = playable(self.storage.as_ref(), &self.partial, &sizes)?;
        let kept = usize::try_from(found.pictures).unwrap_or(usize::MAX).min(self.pictures.len());
        // With B-frames the kept pictures may lack one that is shown in between. Pictures shown after it do not count.
        let lost_from = self.pictures[kept..].iter().map(|picture| picture.rig_time_ns).min();
        let is_shown = |picture: &MuxedPicture| lost_from.is_none_or(|lost| picture.rig_time_ns <= lost);
        if !self.pictures[..kept].iter().any(|picture| picture.info.is_some() && is_shown(picture)) {
            return Ok(false);
        }
        self.file.set_len(found.length)?;
        self.pictures.truncate(kept);
        for picture in self.pictures.iter_mut().filter(|picture| !is_shown(picture)) {
            picture.info = None;
        }
        self.length = found.length;
        self.flushed = self.flushed.min(found.length);
        self.log.pictures = self.log.pictures.min(kept);
        Ok(true)
    }

    /// Times of its pictures, in the order in which they are shown.
    pub(crate) fn times(&self) -> Vec<Timestamp<Rig>> {
        let mut times: Vec<_> = self.pictures.iter().map(|picture| picture.rig_time_ns).collect();
        times.sort();
        times
    }

    /// Records of the pictures that the order names, in the order in which they are shown.
    pub(crate) fn records(&self, order: &OrderId, device: &DeviceId, file: &str) -> Vec<FrameRecord> {
        let mut shown: Vec<_> = self.pictures.iter().collect();
        shown.sort_by_key(|picture| picture.rig_time_ns);
        let records = shown.iter().zip(0..).filter_map(|(picture, offset)| {
            Some(FrameRecord {
                order: order.clone(),
                device: device.clone(),
                file: file.to_owned(),
                offset,
                bytes: picture.bytes,
                info: picture.info?,
            })
        });
        records.collect()
    }

    /// Its present name.
    pub(crate) fn on_disk(&self) -> &Path {
        if self.is_named() { &self.path } else { &self.partial }
    }

    /// Whether there is nothing left to do.
    pub(crate) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Whether it has its final name.
    pub(crate) const fn is_named(&self) -> bool {
        matches!(self.stage, Stage::Named | Stage::Done)
    }

    /// Gives it the name `path`, without flushing the folder.
    pub(crate) fn rename(&mut self, path: PathBuf) -> io::Result<()> {
        self.storage.rename_new(&self.partial, &path)?;
        self.stage = Stage::Named;
        if path != self.path {
            // After a crash its log is found by its name.
            let log = log_of(&path);
            match self.storage.rename(&self.log.path, &log) {
                Ok(()) => self.log.path = log,
                Err(error) => {
                    swsync_core::log::warn!(path = %log.display(), %error, "the log of a video cannot be renamed with it")
                }
            }
            self.path = path;
        }
        Ok(())
    }

    /// Removes the log, which is not needed any more.
    pub(crate) fn remove_log(&mut self) {
        self.stage = Stage::Done;
        // If it stays, the next start removes it.
        let _ = self.storage.remove(&self.log.path);
    }

    /// Gives a file that cannot be played a [broken](BROKEN) name: it may be repaired by hand. `None`: it was empty, and is
    /// removed.
    ///
    /// # Errors
    /// The error of the system; then the file keeps its name.
    pub(crate) fn set_aside(&mut self) -> io::Result<Option<PathBuf>> {
        if self.is_empty() {
            self.remove();
            return Ok(None);
        }
        let aside = set_aside(self.storage.as_ref(), &self.partial, &self.path)?;
        self.remove_log();
        Ok(Some(aside))
    }

    /// Whether it holds no picture, though perhaps a header.
    fn is_empty(&self) -> bool {
        self.length < self.pictures.first().map_or(1, |first| first.bytes)
    }

    /// Removes it.
    pub fn discard(mut self) {
        self.remove();
    }

    fn remove(&mut self) {
        self.stage = Stage::Done;
        // They may be gone already. There is no one to report an error to.
        let _ = self.storage.remove(&self.partial);
        let _ = self.storage.remove(&self.log.path);
    }
}

impl Drop for SegmentFile {
    /// Keeps an unfinished file, to be closed when the order's folder is opened again.
    fn drop(&mut self) {
        match self.stage {
            Stage::Writing if self.pictures.is_empty() => self.remove(),
            Stage::Writing | Stage::Finished | Stage::Named => self.write_log(),
            Stage::Done => {}
        }
    }
}

/// End of the name of a file whose content is unknown.
pub const BROKEN: &str = ".broken";

/// Renames `partial` to a [broken](BROKEN) name made from `path`.
///
/// # Errors
/// The error of the system; then the file keeps its name.
pub(crate) fn set_aside(storage: &dyn Storage, partial: &Path, path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut names = (1..).map(|part| if part == 1 { String::new() } else { format!("-{part}") });
    loop {
        let part = names.next().expect("there are endless names");
        let aside = path.with_file_name(format!("{name}{part}{BROKEN}"));
        match storage.rename_new(partial, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| aside),
        }
    }
}

fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
