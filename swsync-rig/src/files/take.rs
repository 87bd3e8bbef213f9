//! The folder of an order on this device while it is written.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use swsync_core::frame::FrameInfo;
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{
    FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, FrameRecord, Hole, Segment, TAKE_JSON, Take, csv, exif, pts,
};
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::Order;
use swsync_core::time::{Rig, Timestamp};

use super::kept::Kept;
use super::lines::{LineFile, read_lines, rewrite_lines};
use super::recover;
use super::segment::SegmentFile;
use super::storage::{Durability, Storage, folder_of};
use super::{FileOf, Location, WholeFile};

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
    pub(super) kept: Kept,
}

impl TakeFolder {
    /// The folder of `take`. What a crash left there is finished or removed; returned is what is saved.
    ///
    /// Nothing is made before the first file.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(shelf: Shelf, take: Take) -> io::Result<(Self, Vec<FrameRecord>)> {
        let (folder, prefix) = shelf.location.side(&take.order, &shelf.device);
        let mut this = Self { shelf, folder, prefix, take, manifest: None, kept: Kept::default() };
        let saved = recover::recover(&mut this)?;
        Ok((this, saved))
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
        match self.manifest {
            Some(_) => self.write_side(TAKE_JSON, self.take.to_json().as_bytes()),
            // Nothing is there yet that it could describe.
            None => Ok(()),
        }
    }

    fn write_side(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = WholeFile::create_on(&self.shelf.storage, &self.side(name), self.shelf.durability)?;
        file.write_all(bytes)?;
        file.commit()
    }

    /// The manifest; with the first call, what describes the take is there too.
    pub(super) fn manifest(&mut self) -> io::Result<&mut LineFile> {
        if self.manifest.is_none() {
            self.write_side(TAKE_JSON, self.take.to_json().as_bytes())?;
            let path = self.side(FRAMES_JSONL);
            self.manifest = Some(LineFile::open(&self.shelf.storage, &path, self.shelf.durability)?);
        }
        Ok(self.manifest.as_mut().expect("opened above"))
    }

    /// Begins anew where somebody removed the folder, or pulled the stick: nobody would see what is written on to a
    /// manifest that has no name any more.
    fn mend(&mut self) {
        let Self { shelf: Shelf { storage, .. }, folder, take, manifest, .. } = self;
        let path = folder.join(format!("{}{FRAMES_JSONL}", self.prefix));
        let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if manifest.is_some() && storage.len(&path).is_err_and(is_gone) {
            tracing::warn!(folder = %folder.display(), "it was removed while it was written to");
            *manifest = None;
            take.segments.retain(|segment| storage.len(&folder.join(&segment.file)).is_ok());
        }
    }

    /// Saves pictures: each is there whole and in the manifest, or not at all. Together they cost hardly more
    /// flushes than one.
    pub fn save_pictures(&mut self, pictures: &[Picture<'_>]) -> Vec<io::Result<SavedFile>> {
        let mut written = Vec::with_capacity(pictures.len());
        let mut results = Vec::with_capacity(pictures.len());
        self.mend();
        if let Err(error) = self.manifest() {
            return pictures.iter().map(|_| Err(again(&error))).collect();
        }
        for picture in pictures {
            match self.write_picture(picture) {
                Ok((file, record)) => {
                    let path = file.path().to_owned();
                    results.push(Ok(SavedFile { path, bytes: record.bytes }));
                    written.push((results.len() - 1, file, record));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        if written.is_empty() {
            return results;
        }
        // The manifest comes first: from its lines a crash in between can be told from a file of somebody else.
        let before = self.manifest.as_ref().map_or(0, LineFile::length);
        if let Err(error) = self.append(written.iter().map(|(_, _, record)| record)) {
            for (index, _, _) in written {
                results[index] = Err(again(&error));
            }
            return results;
        }
        let mut appeared = Vec::new();
        for (index, mut file, record) in written {
            match file.appear() {
                Ok(()) => appeared.push((index, record)),
                Err(error) => results[index] = Err(error),
            }
        }
        if let Err(error) = self.settle(before, &appeared, &mut results) {
            tracing::warn!(%error, folder = %self.folder.display(), "the manifest is behind");
        }
        let there = appeared.iter().filter(|(index, _)| results[*index].is_ok());
        self.keep(there.map(|(_, record)| record));
        results
    }

    /// Flushes the folders of files that `appeared`, and takes back the lines of those that did not.
    fn settle(
        &mut self,
        before: u64,
        appeared: &[(usize, FrameRecord)],
        results: &mut [io::Result<SavedFile>],
    ) -> io::Result<()> {
        if self.shelf.durability == Durability::Safe {
            let mut folders: Vec<_> =
                results.iter().flatten().map(|saved| folder_of(&saved.path).to_owned()).collect();
            folders.dedup();
            for folder in folders {
                let Err(error) = self.shelf.storage.sync_folder(&folder) else { continue };
                for result in results.iter_mut() {
                    if matches!(result, Ok(saved) if folder_of(&saved.path) == folder) {
                        *result = Err(again(&error));
                    }
                }
            }
        }
        let lost = |(index, _): &&(usize, FrameRecord)| results[*index].is_err();
        for (_, record) in appeared.iter().filter(lost) {
            self.shelf.storage.remove(&self.folder.join(&record.file))?;
        }
        let kept: Vec<_> =
            appeared.iter().filter(|(index, _)| results[*index].is_ok()).map(|(_, r)| r).collect();
        let all_kept = results.iter().all(Result::is_ok);
        if !all_kept && let Some(manifest) = &mut self.manifest {
            manifest.take_back(before)?;
            self.append(kept.into_iter())?;
        }
        Ok(())
    }

    /// Writes a picture under its temporary name.
    fn write_picture(&self, picture: &Picture<'_>) -> io::Result<(WholeFile, FrameRecord)> {
        let Shelf { storage, durability, location, device, software, max_files: _ } = &self.shelf;
        let of = FileOf::Picture(picture.info.number);
        let path = location.path(&self.take.order, device, of, picture.extension);
        let mut record = FrameRecord {
            order: self.take.order.clone(),
            device: device.clone(),
            file: self.relative(&path),
            offset: 0,
            bytes: picture.bytes.len() as u64,
            info: *picture.info,
        };
        let mut file = WholeFile::create_on(storage, &path, *durability)?;
        let Take { maker, camera, .. } = &self.take;
        let origin = exif::Origin {
            make: maker.as_deref().unwrap_or_default(),
            model: camera.as_deref().unwrap_or_default(),
            software,
        };
        let with_exif = match picture.extension {
            "jpg" | "jpeg" => exif::with_exif(picture.bytes, &record, &origin).ok(),
            _ => None,
        };
        match with_exif {
            Some(pieces) => {
                record.bytes = pieces.size() as u64;
                pieces.slices().try_for_each(|piece| file.write_all(piece))?;
            }
            // What is no JPEG after all is saved as it is.
            None => file.write_all(picture.bytes)?,
        }
        file.finish()?;
        Ok((file, record))
    }

    fn append<'a>(&mut self, records: impl Iterator<Item = &'a FrameRecord>) -> io::Result<()> {
        let lines: String = records.map(FrameRecord::to_line).collect();
        self.manifest()?.append(&lines)
    }

    /// Begins the video file of segment `index`, whose first frame is `first`. Where there is one already, of
    /// before a restart or a change of format, its name gets `-2` behind it, and so on.
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
        self.manifest()?;
        let of = FileOf::Segment { index, first };
        let path = self.shelf.location.path(&self.take.order, &self.shelf.device, of, extension);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let path = std::iter::once(path.clone())
            .chain((2..).map(|part| path.with_file_name(format!("{stem}-{part}.{extension}"))))
            .find(|path| !self.is_taken(path))
            .expect("there are endless names");
        SegmentFile::create(&self.shelf, path)
    }

    /// Closes a video file: it, its timecodes, and its frames in the manifest. Where the disk is full, the end
    /// of the video makes room for what tells of its beginning. `covers`: the first frame number that it stands for,
    /// and how many of those that the order names; `None`: those that are in it, and between them.
    ///
    /// # Errors
    /// What the system said; then nothing of it is left.
    pub fn finish_segment(
        &mut self,
        mut segment: SegmentFile,
        covers: Option<(FrameNumber, u64)>,
    ) -> io::Result<SavedVideo> {
        let mut lost = segment.finish()?;
        loop {
            match self.try_finish_segment(&mut segment, covers) {
                Ok((file, frames)) => return Ok(SavedVideo { file, frames, lost }),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    segment.make_room(&error)?;
                    lost = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn try_finish_segment(
        &mut self,
        segment: &mut SegmentFile,
        covers: Option<(FrameNumber, u64)>,
    ) -> io::Result<(SavedFile, Vec<FrameRecord>)> {
        let path = segment.path().to_owned();
        let file = self.relative(&path);
        self.mend();
        let records = segment.records(&self.take.order, &self.shelf.device, &file);
        self.write_pts(&path.with_extension("pts"), segment.times().into_iter())?;
        let before = self.manifest()?.length();
        self.append(records.iter())?;
        if let Err(error) = segment.appear() {
            self.manifest()?.take_back(before)?;
            return Err(error);
        }
        let bytes = segment.length();
        let (first, count) = covers.unwrap_or_else(|| extent(records.iter()));
        let lead_in = segment.lead_in();
        let entry = Segment { file, first, count, lead_in: Some(lead_in), bytes, sha256: None };
        let is_first = self.take.segments.is_empty();
        let named = self.named_before(first.saturating_add(count));
        // The video is there and in the manifest: what is told of it elsewhere can be told again.
        let described = self.describe(|take| {
            take.segments.push(entry);
            // Of a take that goes on: those named so far.
            take.count = take.count.max(named);
            if is_first {
                take.lead_in = lead_in;
            }
        });
        if let Err(error) = described {
            tracing::warn!(%error, folder = %self.folder.display(), "take.json is behind");
        }
        self.keep(records.iter());
        Ok((SavedFile { path, bytes }, records))
    }

    /// How many frame numbers before `end` the order names.
    fn named_before(&self, end: FrameNumber) -> u64 {
        let Take { ordered, grid, first, .. } = &self.take;
        match serde_json::from_value::<Order>(ordered.clone()) {
            Ok(order) => order.named(*grid).count_in(*first..end),
            // Of a version that orders other things: as if it had no pauses.
            Err(_) => end.saturating_sub(*first),
        }
    }

    pub(super) fn write_pts(
        &self,
        path: &Path,
        times: impl Iterator<Item = Timestamp<Rig>>,
    ) -> io::Result<()> {
        let mut file = WholeFile::create_on(&self.shelf.storage, path, self.shelf.durability)?;
        file.write_all(pts::HEADER.as_bytes())?;
        let mut first = None;
        for time in times {
            let since = time - *first.get_or_insert(time);
            file.write_all(pts::line(since).as_bytes())?;
        }
        file.commit()
    }

    /// The order is done: writes what can only be written then. `count` is how many frame numbers it named.
    ///
    /// # Errors
    /// What the system said. What is saved stays saved.
    pub fn finish(&mut self, count: u64, holes: Vec<Hole>, now: Timestamp<Rig>) -> io::Result<()> {
        if self.manifest.is_none() {
            return Ok(()); // nothing was saved, so there is no folder
        }
        self.drop_stale_lines()?;
        self.write_tables()?;
        self.describe(|take| {
            take.count = count;
            take.holes = holes;
            take.finished_ns = Some(now);
            take.complete = true;
        })
    }

    /// Writes the manifest's copy for spreadsheets, and the timecodes of pictures.
    pub(super) fn write_tables(&self) -> io::Result<()> {
        let Shelf { storage, durability, .. } = &self.shelf;
        let mut table = WholeFile::create_on(storage, &self.side(FRAMES_CSV), *durability)?;
        table.write_all(csv::header().as_bytes())?;
        let mut times = Vec::new();
        let mut result = Ok(());
        read_lines(storage.as_ref(), &self.side(FRAMES_JSONL), |line| {
            // What is no record was said to be dropped when the folder was opened.
            let Ok(record) = FrameRecord::from_line(line) else { return };
            times.push(record.info.rig_time_ns);
            if result.is_ok() {
                result = table.write_all(csv::line(&record).as_bytes());
            }
        })?;
        result?;
        table.commit()?;
        if self.take.segments.is_empty() {
            times.sort();
            self.write_pts(&self.side(FRAMES_PTS), times.into_iter())?;
        }
        Ok(())
    }

    /// Replaces the manifest by these records.
    pub(super) fn rewrite_manifest(&mut self, records: &[FrameRecord]) -> io::Result<()> {
        self.manifest = None;
        let lines: Vec<_> = records.iter().map(FrameRecord::to_line).collect();
        let path = self.side(FRAMES_JSONL);
        rewrite_lines(&self.shelf.storage, &path, self.shelf.durability, lines.iter().map(String::as_str))
    }

    /// Replaces the manifest by this one.
    pub(super) fn replace_manifest(&mut self, new: WholeFile) -> io::Result<()> {
        self.manifest = None; // it is another file from now on
        new.commit()?;
        self.manifest().map(|_| ())
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
