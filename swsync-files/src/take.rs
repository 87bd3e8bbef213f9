//! The folder of a take on this device while it is written.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{
    FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, FrameRecord, Hole, TAKE_JSON, Take, csv, pts,
};
use swsync_core::name::OrderId;
use swsync_core::time::{Rig, Timestamp};

use crate::line_file::{LineFile, read_lines};
use crate::recorded_file::RetainedFiles;
use crate::reorder::ReorderBuffer;
use crate::segment::SegmentFile;
use crate::storage::{partial_of, read};
use crate::unsaved::Unsaved;
use crate::{FileId, TakeStore, WholeFile};

/// The folder of an order's take on this device.
#[derive(Debug)]
pub struct TakeFolder {
    pub(crate) store: TakeStore,
    pub(crate) folder: PathBuf,
    pub(crate) prefix: String,
    pub(crate) take: Take,
    /// Opened with the first file.
    manifest: Option<LineFile>,
    /// Whether `take.json` on the disk is out of date.
    is_stale: bool,
    pub(crate) retained: RetainedFiles,
    pub(crate) unsaved: Unsaved,
}

impl TakeFolder {
    /// Opens the folder of `take`, and finishes or removes what a crash left there. [`saved`](Self::saved) reads the saved
    /// frames.
    ///
    /// Makes no folder before the first file.
    ///
    /// # Errors
    /// The error of the system.
    pub fn open(store: TakeStore, take: Take) -> io::Result<Self> {
        let (folder, prefix) = store.location.side(&take.order, &store.device);
        let mut this = Self {
            store,
            folder,
            prefix,
            take,
            manifest: None,
            is_stale: false,
            retained: RetainedFiles::default(),
            unsaved: Unsaved::default(),
        };
        this.recover()?;
        Ok(this)
    }

    /// Reads the `take.json` of `order` on this device; `None`: there is none.
    ///
    /// # Errors
    /// The error of the system; [`io::ErrorKind::InvalidData`]: the file is malformed.
    pub fn described(store: &TakeStore, order: &OrderId) -> io::Result<Option<Take>> {
        let (folder, prefix) = store.location.side(order, &store.device);
        match read(store.storage.as_ref(), &folder.join(format!("{prefix}{TAKE_JSON}"))) {
            Ok(text) => {
                let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
                Take::from_json(&text).map(Some).map_err(invalid)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The content of `take.json`.
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

    /// The path of a side file, such as `take.json`.
    pub(crate) fn side(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}{name}", self.prefix))
    }

    /// The name of the file `path` in the manifest.
    pub(crate) fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.folder).unwrap_or(path).display().to_string()
    }

    /// Changes `take.json`.
    ///
    /// # Errors
    /// The error of the system.
    pub fn describe(&mut self, change: impl FnOnce(&mut Take)) -> io::Result<()> {
        change(&mut self.take);
        self.take.settle();
        match self.manifest {
            Some(_) => self.write_take(),
            // There are no files yet.
            None => Ok(()),
        }
    }

    fn write_take(&mut self) -> io::Result<()> {
        self.is_stale = true;
        self.write_side(TAKE_JSON, self.take.to_json().as_bytes())?;
        self.is_stale = false;
        Ok(())
    }

    /// Writes `take.json` if it is out of date on the disk.
    pub(crate) fn update_take_json(&mut self) -> io::Result<()> {
        if self.is_stale { self.write_take() } else { Ok(()) }
    }

    fn write_side(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = WholeFile::create_on(&self.store.storage, &self.side(name), self.store.durability)?;
        file.write_all(bytes)?;
        file.commit()
    }

    /// The manifest. The first call opens it, and writes `take.json` if it can.
    pub(crate) fn manifest(&mut self) -> io::Result<&mut LineFile> {
        if self.manifest.is_none() {
            if let Err(error) = self.write_take() {
                swsync_core::log::warn!(%error, folder = %self.folder.display(), "take.json cannot be written");
            }
            let path = self.side(FRAMES_JSONL);
            self.manifest = Some(LineFile::open(&self.store.storage, &path, self.store.durability)?);
        }
        Ok(self.manifest.as_mut().expect("opened above"))
    }

    /// Begins another manifest if the folder was removed, or the stick pulled: lines that are appended to a deleted file are
    /// lost.
    pub(crate) fn begin_anew_if_removed(&mut self) {
        let Self { store: TakeStore { storage, .. }, folder, take, manifest, .. } = self;
        let path = folder.join(format!("{}{FRAMES_JSONL}", self.prefix));
        let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if manifest.is_some() && storage.len(&path).is_err_and(is_gone) {
            swsync_core::log::warn!(folder = %folder.display(), "the folder of a take was removed while it was written to");
            *manifest = None;
            take.segments.retain(|segment| !storage.len(&folder.join(&segment.file)).is_err_and(is_gone));
        }
    }

    pub(crate) fn append<'a>(&mut self, records: impl Iterator<Item = &'a FrameRecord>) -> io::Result<()> {
        let lines: String = records.map(FrameRecord::to_line).collect();
        self.manifest()?.append(&lines)
    }

    /// A free name for the file `path`: with `-2` and so on at its end if the name is taken by another order, by a file of
    /// before a restart or a change of format, or by a stranger.
    pub(crate) fn free_name(&self, path: PathBuf, is_free: impl Fn(&Path) -> bool) -> PathBuf {
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

    /// Begins the video file of segment `index`, whose first frame is `first`. It replaces no file, but gets another name.
    ///
    /// # Errors
    /// The error of the system.
    pub fn begin_segment(
        &mut self,
        index: u32,
        first: FrameNumber,
        extension: &str,
    ) -> io::Result<SegmentFile> {
        self.begin_anew_if_removed();
        if let Err(error) = self.manifest() {
            // The manifest can be written later. Frames that are not recorded now are lost.
            swsync_core::log::warn!(%error, folder = %self.folder.display(), "the manifest cannot be written");
        }
        let of = FileId::Segment { index, first };
        let wanted = self.store.location.path(&self.take.order, &self.store.device, of, extension);
        loop {
            let is_free = |path: &Path| {
                let is_begun = self.store.storage.len(&partial_of(path)).is_ok();
                !is_begun && !self.is_taken(path) && !self.is_taken(&path.with_extension("pts"))
            };
            let path = self.free_name(wanted.clone(), is_free);
            match SegmentFile::create(&self.store, &self.take.order, path) {
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => return other,
            }
        }
    }

    pub(crate) fn write_pts(
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
        let mut file = WholeFile::create_on(&self.store.storage, path, self.store.durability)?;
        file.write_all(pts::HEADER.as_bytes())?;
        Ok(Timecodes { file, first: None })
    }

    /// Writes the tables and `take.json` for a pause of the recording. `count` is the number of frame numbers that the order
    /// has named so far.
    ///
    /// # Errors
    /// The error of the system. Saved frames stay saved.
    pub fn suspend(&mut self, count: u64, holes: Vec<Hole>) -> io::Result<()> {
        if self.manifest.is_none() {
            return Ok(()); // no frame was saved, so there is no folder
        }
        self.write_tables()?;
        self.describe(|take| {
            take.count = take.count.max(count);
            take.holes = holes;
        })
    }

    /// Completes the take. `count` is the number of frame numbers that the order named.
    ///
    /// # Errors
    /// The error of the system, or of a file that is to be [retried](Self::retry). Saved frames stay saved. Call it again
    /// later.
    pub fn finish(&mut self, count: u64, holes: Vec<Hole>, now: Timestamp<Rig>) -> io::Result<()> {
        self.unsaved.check()?;
        if self.manifest.is_none() {
            return Ok(()); // no frame was saved, so there is no folder
        }
        self.drop_stale_lines()?;
        let bytes = self.write_tables()?;
        self.describe(|take| {
            take.picture_bytes = take.segments.is_empty().then_some(bytes);
            take.finish(count, holes, now);
        })
    }

    /// Writes the manifest as a table for spreadsheets, and the timecodes of pictures. Returns the sum of the frames' sizes.
    pub(crate) fn write_tables(&self) -> io::Result<u64> {
        let TakeStore { storage, durability, .. } = &self.store;
        let mut table = WholeFile::create_on(storage, &self.side(FRAMES_CSV), *durability)?;
        table.write_all(csv::header().as_bytes())?;
        // Each video has timecodes of its own.
        let has_pictures = self.take.segments.is_empty();
        let mut timecodes = has_pictures.then(|| self.begin_pts(&self.side(FRAMES_PTS))).transpose()?;
        let mut times = ReorderBuffer::default();
        let (mut result, mut bytes) = (Ok(()), 0_u64);
        read_lines(storage.as_ref(), &self.side(FRAMES_JSONL), |line| {
            // Malformed lines were reported when the folder was opened.
            let Some(line) = csv::of_line(line) else { return };
            bytes = bytes.saturating_add(line.bytes);
            if result.is_ok() {
                result = table.write_all(line.text.as_bytes());
            }
            if let (Ok(()), Some(timecodes)) = (&result, &mut timecodes) {
                result = times.push(line.rig_time, line.rig_time).map_or(Ok(()), |at| timecodes.push(at));
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
        Ok(bytes)
    }

    /// Replaces the manifest by `new`.
    pub(crate) fn replace_manifest(&mut self, new: WholeFile) -> io::Result<()> {
        self.manifest = None; // the open file is replaced
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
    /// Adds the picture that is shown next.
    fn push(&mut self, at: Timestamp<Rig>) -> io::Result<()> {
        let since = at - *self.first.get_or_insert(at);
        self.file.write_all(pts::line(since).as_bytes())
    }
}
