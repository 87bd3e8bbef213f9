//! The folder of an order on this device while it is written.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use swsync_core::frame::FrameInfo;
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{
    FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, FrameRecord, Hole, TAKE_JSON, Take, csv, pts,
};
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::time::{Rig, Timestamp};

use super::kept::Kept;
use super::late::Late;
use super::lines::{LineFile, read_lines};
use super::recover;
use super::segment::SegmentFile;
use super::sorted::Sorted;
use super::storage::{Durability, Storage, read};
use super::{FileOf, Location, WholeFile, partial_of};

/// What all takes of a device have in common.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// Where they are kept.
    pub storage: Arc<dyn Storage>,
    /// What their files go through before they are answered for.
    pub durability: Durability,
    /// How they are named.
    pub location: Location,
    /// The device.
    pub device: DeviceId,
    /// What writes them, as `swsync 0.1.0`.
    pub software: String,
    /// How many files of an order are kept, if not all: see [`TakeFolder::remove_surplus`].
    pub max_files: Option<u32>,
}

/// A picture to be saved.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// What is known of its frame.
    pub info: &'a FrameInfo,
    /// Extension of its file.
    pub extension: &'a str,
    /// What its file holds.
    pub bytes: &'a [u8],
}

/// A file that is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedFile {
    /// Its path.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Why a picture or a video is not saved, or not yet.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct NotSaved {
    /// What the system said.
    pub error: io::Error,
    /// What was recorded is on the disk, and is still to be closed: what [`TakeFolder::retry`] calls it.
    pub late: Option<PathBuf>,
}

impl From<io::Error> for NotSaved {
    fn from(error: io::Error) -> Self {
        Self { error, late: None }
    }
}

/// A video file that is on the disk.
#[derive(Debug)]
pub struct SavedVideo {
    /// The file.
    pub file: SavedFile,
    /// The frames in it that the order names, in the order in which they are shown.
    pub frames: Vec<FrameRecord>,
    /// Why others that were handed to the muxer are not in it, if there are any.
    pub lost: Option<io::Error>,
}

/// An order's folder on this device.
#[derive(Debug)]
pub struct TakeFolder {
    pub(super) shelf: Shelf,
    pub(super) folder: PathBuf,
    pub(super) prefix: String,
    pub(super) take: Take,
    /// Opened with the first file.
    manifest: Option<LineFile>,
    /// Whether `take.json` does not say what is known.
    is_behind: bool,
    pub(super) kept: Kept,
    pub(super) late: Late,
}

impl TakeFolder {
    /// The folder of `take`. What a crash left there is finished or removed; [`saved`](Self::saved) tells what is there.
    ///
    /// Nothing is made before the first file.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(shelf: Shelf, take: Take) -> io::Result<Self> {
        let (folder, prefix) = shelf.location.side(&take.order, &shelf.device);
        let mut this = Self {
            shelf,
            folder,
            prefix,
            take,
            manifest: None,
            is_behind: false,
            kept: Kept::default(),
            late: Late::default(),
        };
        recover::recover(&mut this)?;
        Ok(this)
    }

    /// What `take.json` says of `order` on this device; `None`: there is none.
    ///
    /// # Errors
    /// What the system said; [`io::ErrorKind::InvalidData`]: it is no such file.
    pub fn described(shelf: &Shelf, order: &OrderId) -> io::Result<Option<Take>> {
        let (folder, prefix) = shelf.location.side(order, &shelf.device);
        match read(shelf.storage.as_ref(), &folder.join(format!("{prefix}{TAKE_JSON}"))) {
            Ok(text) => {
                let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
                Take::from_json(&text).map(Some).map_err(invalid)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What `take.json` says.
    #[must_use]
    pub const fn take(&self) -> &Take {
        &self.take
    }

    /// The order.
    #[must_use]
    pub const fn order(&self) -> &OrderId {
        &self.take.order
    }

    /// The path of a file of the manifest.
    #[must_use]
    pub fn path_of(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Whether a file of the manifest is a video.
    #[must_use]
    pub fn is_video(&self, file: &str) -> bool {
        self.take.segments.iter().any(|segment| segment.file == file)
    }

    /// A file that is kept beside the others.
    pub(super) fn side(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}{name}", self.prefix))
    }

    /// What the manifest calls the file at `path`.
    pub(super) fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.folder).unwrap_or(path).display().to_string()
    }

    /// Says in `take.json` what is known by now.
    ///
    /// # Errors
    /// What the system said.
    pub fn describe(&mut self, change: impl FnOnce(&mut Take)) -> io::Result<()> {
        change(&mut self.take);
        self.take.settle();
        match self.manifest {
            Some(_) => self.write_take(),
            // Nothing is there yet that it could describe.
            None => Ok(()),
        }
    }

    fn write_take(&mut self) -> io::Result<()> {
        self.is_behind = true;
        self.write_side(TAKE_JSON, self.take.to_json().as_bytes())?;
        self.is_behind = false;
        Ok(())
    }

    /// Brings `take.json` up to what is known, where it is behind.
    pub(super) fn catch_up(&mut self) -> io::Result<()> {
        if self.is_behind { self.write_take() } else { Ok(()) }
    }

    fn write_side(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = WholeFile::create_on(&self.shelf.storage, &self.side(name), self.shelf.durability)?;
        file.write_all(bytes)?;
        file.commit()
    }

    /// The manifest; with the first call, what describes the take is there too, if it can be.
    pub(super) fn manifest(&mut self) -> io::Result<&mut LineFile> {
        if self.manifest.is_none() {
            if let Err(error) = self.write_take() {
                tracing::warn!(%error, folder = %self.folder.display(), "take.json cannot be written");
            }
            let path = self.side(FRAMES_JSONL);
            self.manifest = Some(LineFile::open(&self.shelf.storage, &path, self.shelf.durability)?);
        }
        Ok(self.manifest.as_mut().expect("opened above"))
    }

    /// Begins anew where somebody removed the folder, or pulled the stick: nobody would see what is written on to a
    /// manifest that has no name any more.
    pub(super) fn mend(&mut self) {
        let Self { shelf: Shelf { storage, .. }, folder, take, manifest, .. } = self;
        let path = folder.join(format!("{}{FRAMES_JSONL}", self.prefix));
        let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if manifest.is_some() && storage.len(&path).is_err_and(is_gone) {
            tracing::warn!(folder = %folder.display(), "it was removed while it was written to");
            *manifest = None;
            take.segments.retain(|segment| !storage.len(&folder.join(&segment.file)).is_err_and(is_gone));
        }
    }

    pub(super) fn append<'a>(&mut self, records: impl Iterator<Item = &'a FrameRecord>) -> io::Result<()> {
        let lines: String = records.map(FrameRecord::to_line).collect();
        self.manifest()?.append(&lines)
    }

    /// The name for a file that is to be at `path`, which nothing has, nor is it being written: where something has it, of
    /// another order, of before a restart, of a change of format or of somebody else, it gets `-2` behind it, and so on.
    pub(super) fn free_name(&self, path: PathBuf, is_free: impl Fn(&Path) -> bool) -> PathBuf {
        if is_free(&path) {
            return path;
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
        (2..)
            .map(|part| path.with_file_name(format!("{stem}-{part}{extension}")))
            .find(|path| is_free(path))
            .expect("there are endless names")
    }

    /// Begins the video file of segment `index`, whose first frame is `first`. It replaces no file: where there is one
    /// of its name, it gets another.
    ///
    /// # Errors
    /// What the system said.
    pub fn begin_segment(
        &mut self,
        index: u32,
        first: FrameNumber,
        extension: &str,
    ) -> io::Result<SegmentFile> {
        self.mend();
        if let Err(error) = self.manifest() {
            // It can be written later; what is not recorded now cannot.
            tracing::warn!(%error, folder = %self.folder.display(), "the manifest cannot be written");
        }
        let of = FileOf::Segment { index, first };
        let wanted = self.shelf.location.path(&self.take.order, &self.shelf.device, of, extension);
        loop {
            let is_free = |path: &Path| {
                let is_begun = self.shelf.storage.len(&partial_of(path)).is_ok();
                !is_begun && !self.is_taken(path) && !self.is_taken(&path.with_extension("pts"))
            };
            let path = self.free_name(wanted.clone(), is_free);
            match SegmentFile::create(&self.shelf, &self.take.order, path) {
                // Somebody was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other,
            }
        }
    }

    pub(super) fn write_pts(
        &self,
        path: &Path,
        times: impl Iterator<Item = Timestamp<Rig>>,
    ) -> io::Result<()> {
        let mut timecodes = self.begin_pts(path)?;
        for time in times {
            timecodes.push(time)?;
        }
        timecodes.file.commit()
    }

    fn begin_pts(&self, path: &Path) -> io::Result<Timecodes> {
        let mut file = WholeFile::create_on(&self.shelf.storage, path, self.shelf.durability)?;
        file.write_all(pts::HEADER.as_bytes())?;
        Ok(Timecodes { file, first: None })
    }

    /// Nothing more comes for a while: writes what is known so far. `count` is how many frame numbers the order named by
    /// now.
    ///
    /// # Errors
    /// What the system said. What is saved stays saved.
    pub fn suspend(&mut self, count: u64, holes: Vec<Hole>) -> io::Result<()> {
        if self.manifest.is_none() {
            return Ok(()); // nothing was saved, so there is no folder
        }
        self.write_tables()?;
        self.describe(|take| {
            take.count = take.count.max(count);
            take.holes = holes;
        })
    }

    /// The order is done: writes what can only be written then. `count` is how many frame numbers it named.
    ///
    /// # Errors
    /// What the system said, or what is [late](Self::retry) still. What is saved stays saved; call again later.
    pub fn finish(&mut self, count: u64, holes: Vec<Hole>, now: Timestamp<Rig>) -> io::Result<()> {
        self.late.check()?;
        if self.manifest.is_none() {
            return Ok(()); // nothing was saved, so there is no folder
        }
        self.drop_stale_lines()?;
        self.write_tables()?;
        self.describe(|take| take.finish(count, holes, now))
    }

    /// Writes the manifest's copy for spreadsheets, and the timecodes of pictures.
    pub(super) fn write_tables(&self) -> io::Result<()> {
        let Shelf { storage, durability, .. } = &self.shelf;
        let mut table = WholeFile::create_on(storage, &self.side(FRAMES_CSV), *durability)?;
        table.write_all(csv::header().as_bytes())?;
        // A video has its own.
        let has_pictures = self.take.segments.is_empty();
        let mut timecodes = has_pictures.then(|| self.begin_pts(&self.side(FRAMES_PTS))).transpose()?;
        let mut times = Sorted::default();
        let mut result = Ok(());
        read_lines(storage.as_ref(), &self.side(FRAMES_JSONL), |line| {
            // What is no record was said to be dropped when the folder was opened.
            let Some((line, at)) = csv::of_line(line) else { return };
            if result.is_ok() {
                result = table.write_all(line.as_bytes());
            }
            if let (Ok(()), Some(timecodes)) = (&result, &mut timecodes) {
                result = times.push(at, at).map_or(Ok(()), |at| timecodes.push(at));
            }
        })?;
        result?;
        table.commit()?;
        if let Some(mut timecodes) = timecodes {
            while let Some(at) = times.pop() {
                timecodes.push(at)?;
            }
            timecodes.file.commit()?;
        }
        Ok(())
    }

    /// Replaces the manifest by this one.
    pub(super) fn replace_manifest(&mut self, new: WholeFile) -> io::Result<()> {
        self.manifest = None; // it is another file from now on
        new.commit()?;
        self.manifest().map(|_| ())
    }
}

/// A file of timecodes while it is written.
struct Timecodes {
    file: WholeFile,
    first: Option<Timestamp<Rig>>,
}

impl Timecodes {
    /// Adds the next picture that is shown.
    fn push(&mut self, at: Timestamp<Rig>) -> io::Result<()> {
        let since = at - *self.first.get_or_insert(at);
        self.file.write_all(pts::line(since).as_bytes())
    }
}

/// From the first of `records`' frame numbers to the last: the first, and how many.
pub(super) fn extent<'r>(records: impl Iterator<Item = &'r FrameRecord>) -> (FrameNumber, u64) {
    let numbers = records.map(|record| record.info.number);
    let (first, last) = numbers.fold((FrameNumber::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
    (first, last.saturating_sub(first).saturating_add(1))
}

/// The same error for another frame.
pub(super) fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}
