//! Saves recorded pictures and videos: gives them their names and their lines in the manifest.
//!
//! If a step fails, the file stays as it is, and [`TakeFolder::retry`] goes on from there later: no recorded frame is removed
//! because something else cannot be written.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use swsync_core::frame::FrameInfo;
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{FrameRecord, Take, TakeSegment, exif};

use crate::segment::SegmentFile;
use crate::storage::{Durability, copy_error, folder_of, partial_of};
use crate::take::TakeFolder;
use crate::unsaved::{UnsavedPicture, UnsavedVideo};
use crate::{FileId, TakeStore, WholeFile};

/// Most unsaved pictures of an order. Further pictures fail.
const MAX_UNSAVED: usize = 1000;

/// A picture to be saved.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Its frame.
    pub info: &'a FrameInfo,
    /// Extension of its file.
    pub extension: &'a str,
    /// Content of its file.
    pub bytes: &'a [u8],
}

/// A file that is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedFile {
    /// Its path.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// A video file that is saved.
#[derive(Debug)]
pub struct SavedVideo {
    /// The file.
    pub file: SavedFile,
    /// The frames in it that the order names, in the order in which they are shown.
    pub frames: Vec<FrameRecord>,
    /// Why other frames that were handed to the muxer are missing in it, if any are.
    pub lost: Option<io::Error>,
}

/// Why a picture or a video is not saved, or not yet.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct NotSaved {
    /// The error of the system.
    pub error: io::Error,
    /// The key under which [`TakeFolder::retry`] reports it later. `None`: it is lost.
    pub retry_as: Option<PathBuf>,
}

impl From<io::Error> for NotSaved {
    fn from(error: io::Error) -> Self {
        Self { error, retry_as: None }
    }
}

/// Result of retrying an unsaved file.
#[derive(Debug)]
pub enum RetryResult {
    /// The picture is saved.
    Picture(Box<FrameRecord>),
    /// The video is saved, as far as it can be played.
    Video(SavedVideo),
    /// None of it can be saved, and why.
    Lost(io::Error),
}

/// The first of the records' frame numbers, and the number of frames up to the last.
fn extent<'r>(records: impl Iterator<Item = &'r FrameRecord>) -> (FrameNumber, u64) {
    let numbers = records.map(|record| record.info.number);
    let (first, last) = numbers.fold((FrameNumber::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
    (first, last.saturating_sub(first).saturating_add(1))
}

impl TakeFolder {
    /// Saves pictures, and returns a result for each. Several in one call cost hardly more flushes than one.
    pub fn save_pictures(&mut self, pictures: &[Picture<'_>]) -> Vec<Result<SavedFile, NotSaved>> {
        self.begin_anew_if_removed();
        let mut written = Vec::with_capacity(pictures.len());
        let mut results = Vec::with_capacity(pictures.len());
        for picture in pictures {
            results.push(self.write_picture(picture).map(|unsaved| {
                let saved = SavedFile { path: unsaved.path.clone(), bytes: unsaved.record.bytes };
                written.push(unsaved);
                saved
            }));
        }
        self.finish_pictures(&mut written);
        let mut written = written.into_iter();
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            let Some(picture) = written.next() else { break };
            *result = match &picture.error {
                None => Ok(SavedFile { path: picture.path, bytes: picture.record.bytes }),
                Some(error) => {
                    let failed = NotSaved { error: copy_error(error), retry_as: Some(picture.key.clone()) };
                    self.unsaved.pictures.push(picture);
                    Err(failed)
                }
            };
        }
        results
    }

    /// Retries unsaved files, and returns results by [`NotSaved::retry_as`]. Call this now and then; with `is_last` once no
    /// more frames come for the order: then files that vanished with their folder are lost.
    pub fn retry(&mut self, is_last: bool) -> Vec<(PathBuf, RetryResult)> {
        let mut results = Vec::new();
        for mut video in std::mem::take(&mut self.unsaved.videos) {
            let was_reported = video.is_saved;
            match self.close(&mut video) {
                Ok(saved) if !was_reported => results.push((video.key.clone(), RetryResult::Video(saved))),
                Err(NotSaved { error, retry_as: None }) => {
                    results.push((video.key.clone(), RetryResult::Lost(error)))
                }
                Err(NotSaved { error, .. }) if is_last && self.is_gone(video.segment.on_disk()) => {
                    results.push((video.key, RetryResult::Lost(error)));
                    continue;
                }
                Ok(_) | Err(_) => {}
            }
            self.keep_unsaved(video);
        }
        let mut pictures = std::mem::take(&mut self.unsaved.pictures);
        self.finish_pictures(&mut pictures);
        for picture in pictures {
            let UnsavedPicture { key, partial, is_named, .. } = &picture;
            match &picture.error {
                None => results.push((key.clone(), RetryResult::Picture(Box::new(picture.record)))),
                Some(error) if is_last && !is_named && self.is_gone(partial) => {
                    results.push((key.clone(), RetryResult::Lost(copy_error(error))));
                }
                Some(_) => self.unsaved.pictures.push(picture),
            }
        }
        if let Err(error) = self.update_take_json() {
            swsync_core::log::debug!(%error, folder = %self.folder.display(), "take.json is out of date");
        }
        results
    }

    fn is_gone(&self, path: &Path) -> bool {
        self.store.storage.len(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Writes a picture under its temporary name.
    fn write_picture(&self, picture: &Picture<'_>) -> Result<UnsavedPicture, NotSaved> {
        if let Some(error) = self.unsaved.pictures.get(MAX_UNSAVED).and_then(|picture| picture.error.as_ref())
        {
            return Err(copy_error(error).into());
        }
        let TakeStore { storage, durability, location, device, software, max_files: _ } = &self.store;
        let of = FileId::Picture(picture.info.number);
        let wanted = location.path(&self.take.order, device, of, picture.extension);
        let is_free = |path: &Path| storage.len(path).is_err() && storage.len(&partial_of(path)).is_err();
        let (path, mut file) = loop {
            let path = self.free_name(wanted.clone(), is_free);
            match WholeFile::create_new(storage, &path, *durability) {
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => break (path, other?),
            }
        };
        let mut record = FrameRecord {
            order: self.take.order.clone(),
            device: device.clone(),
            file: self.relative(&path),
            offset: 0,
            bytes: picture.bytes.len() as u64,
            info: *picture.info,
        };
        let Take { maker, camera, .. } = &self.take;
        let origin = exif::Origin {
            make: maker.as_deref().unwrap_or_default(),
            model: camera.as_deref().unwrap_or_default(),
            software,
            orientation: self.take.orientation,
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
            // A file that is no JPEG after all is saved without EXIF.
            None => file.write_all(picture.bytes)?,
        }
        file.flush()?;
        let synced = file.sync();
        let partial = file.partial().to_owned();
        file.keep_partial();
        if let Err(error) = synced {
            // It may be whole: it gets its name, but does not count as saved.
            let named = storage.rename_new(&partial, &path);
            let at = if named.is_ok() { &path } else { &partial };
            let why = format!("{error}; it is kept as {}, but may not survive a power cut", at.display());
            return Err(io::Error::new(error.kind(), why).into());
        }
        let key = path.clone();
        Ok(UnsavedPicture { key, partial, path, record, is_listed: false, is_named: false, error: None })
    }

    /// Lists, names and flushes `pictures`. If that fails, the picture has the error.
    ///
    /// The manifest comes first: by its lines the next start tells a picture that a crash left from a stranger's file.
    fn finish_pictures(&mut self, pictures: &mut [UnsavedPicture]) {
        if pictures.is_empty() {
            return;
        }
        let fresh: Vec<_> = pictures.iter().map(|picture| !picture.is_listed).collect();
        loop {
            let before = self.manifest().map(|manifest| manifest.length());
            let unlisted =
                pictures.iter().filter(|picture| !picture.is_listed).map(|picture| &picture.record);
            let listed = before.and_then(|before| self.append(unlisted).map(|()| before));
            for picture in pictures.iter_mut() {
                picture.error = listed.as_ref().err().filter(|_| !picture.is_listed).map(copy_error);
                picture.is_listed |= listed.is_ok();
            }
            let collided = pictures.iter_mut().filter(|picture| !picture.is_named);
            let collided = collided.filter_map(|picture| self.rename_picture(picture).then_some(())).count();
            let Ok(before) = listed else { break };
            if collided == 0 || self.manifest().and_then(|manifest| manifest.truncate(before)).is_err() {
                break;
            }
            // Try again with other names.
            pictures.iter_mut().zip(&fresh).for_each(|(picture, fresh)| picture.is_listed &= !fresh);
        }
        self.flush_folders(pictures);
        let saved = pictures.iter().filter(|picture| picture.error.is_none());
        self.retain_files(saved.map(|picture| &picture.record));
    }

    /// Gives a picture its final name. Returns whether the name was taken meanwhile, and another one was chosen.
    fn rename_picture(&self, picture: &mut UnsavedPicture) -> bool {
        let storage = &self.store.storage;
        match storage.rename_new(&picture.partial, &picture.path) {
            Ok(()) => picture.is_named = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                picture.path = self.free_name(picture.path.clone(), |path| storage.len(path).is_err());
                picture.record.file = self.relative(&picture.path);
                picture.error = Some(error);
                return true;
            }
            Err(error) => picture.error = Some(error),
        }
        false
    }

    /// Flushes the names of `pictures` to the disk.
    fn flush_folders(&self, pictures: &mut [UnsavedPicture]) {
        if self.store.durability == Durability::Fast {
            return;
        }
        let named = |picture: &&mut UnsavedPicture| picture.is_named && picture.error.is_none();
        let mut folders = BTreeMap::new();
        for picture in pictures.iter_mut().filter(named) {
            let folder = folder_of(&picture.path).to_owned();
            let flushed =
                folders.entry(folder).or_insert_with_key(|folder| self.store.storage.sync_folder(folder));
            picture.error = flushed.as_ref().err().map(copy_error);
        }
    }

    /// Closes a video file: the file, its frames in the manifest, and its timecodes. `covers` is the first frame number that
    /// it covers, and the number of frames; `None`: from its first frame to its last.
    ///
    /// # Errors
    /// Why it is not saved, or not yet: see [`retry`](Self::retry).
    pub fn finish_segment(
        &mut self,
        segment: SegmentFile,
        covers: Option<(FrameNumber, u64)>,
    ) -> Result<SavedVideo, NotSaved> {
        let key = segment.path().to_owned();
        let mut video = UnsavedVideo {
            key,
            segment,
            covers,
            is_flushed: false,
            is_listed: false,
            is_saved: false,
            is_timed: false,
            error: None,
        };
        let result = self.close(&mut video);
        self.keep_unsaved(video);
        result
    }

    /// The first frame number that no video covers, neither a saved nor an unsaved one.
    #[must_use]
    pub fn covered(&self) -> FrameNumber {
        let listed = self.take.segments.iter().map(|segment| segment.first + segment.count);
        let unsaved = self.unsaved.videos.iter().filter_map(|video| video.covers);
        listed.chain(unsaved.map(|(first, count)| first + count)).max().unwrap_or(0)
    }

    fn keep_unsaved(&mut self, video: UnsavedVideo) {
        if !video.segment.is_done() {
            self.unsaved.videos.push(video);
        }
    }

    fn close(&mut self, video: &mut UnsavedVideo) -> Result<SavedVideo, NotSaved> {
        let result = self.try_close(video);
        if result.is_ok() && !video.is_timed {
            match self
                .write_pts(&video.segment.path().with_extension("pts"), video.segment.times().into_iter())
            {
                Ok(()) => {
                    video.is_timed = true;
                    video.segment.remove_log();
                }
                // The video is saved without them, but the take is not complete.
                Err(error) => {
                    swsync_core::log::warn!(path = %video.key.display(), %error, "the timecodes of a video cannot be written");
                    video.error = Some(error);
                }
            }
        }
        result.map_err(|error| {
            video.error = Some(copy_error(&error));
            let retry_as = (!video.segment.is_done()).then(|| video.key.clone());
            NotSaved { error, retry_as }
        })
    }

    fn try_close(&mut self, video: &mut UnsavedVideo) -> io::Result<SavedVideo> {
        let UnsavedVideo { segment, covers, is_flushed, is_listed, is_saved, .. } = video;
        if !segment.finish()? {
            let lost = segment.why_broken().map_or_else(String::new, |why| format!("{why}; "));
            let aside = segment.set_aside()?;
            let aside =
                aside.map_or_else(String::new, |aside| format!(": it is kept as {}", aside.display()));
            return Err(io::Error::other(format!("{lost}nothing of the video can be played{aside}")));
        }
        self.begin_anew_if_removed();
        while !segment.is_named() {
            let is_free = |path: &Path| !self.is_taken(path) && !self.is_taken(&path.with_extension("pts"));
            let path = self.free_name(segment.path().to_owned(), is_free);
            // Without a log the manifest comes first: after a crash one of them must tell which frames are in the video.
            let before = self.manifest().map(|manifest| manifest.length());
            if !segment.is_logged() {
                let records = segment.records(&self.take.order, &self.store.device, &self.relative(&path));
                self.append(records.iter())?;
                *is_listed = true;
            }
            if let Err(error) = segment.rename(path) {
                if std::mem::take(is_listed) {
                    // If it fails, the next append removes the lines.
                    let _ = self.manifest()?.truncate(before?);
                }
                if error.kind() != io::ErrorKind::AlreadyExists {
                    return Err(error);
                }
            }
        }
        let path = segment.path().to_owned();
        if !*is_flushed && self.store.durability == Durability::Safe {
            self.store.storage.sync_folder(folder_of(&path))?;
        }
        *is_flushed = true;
        let file = self.relative(&path);
        let records = segment.records(&self.take.order, &self.store.device, &file);
        let bytes = segment.length();
        if !*is_listed {
            self.append(records.iter())?;
            *is_listed = true;
        }
        if !*is_saved {
            *is_saved = true;
            let (first, count) = covers.unwrap_or_else(|| extent(records.iter()));
            let lead_in = Some(segment.lead_in());
            self.list_segment(TakeSegment { file, first, count, lead_in, bytes, sha256: None });
            self.retain_files(records.iter());
        }
        Ok(SavedVideo { file: SavedFile { path, bytes }, frames: records, lost: segment.why_broken() })
    }

    /// Lists a saved video in `take.json`. If that fails, it is written again later.
    fn list_segment(&mut self, entry: TakeSegment) {
        let described = self.describe(|take| {
            let at = take.segments.partition_point(|other| other.first < entry.first);
            if at == 0 {
                take.lead_in = entry.lead_in.unwrap_or_default();
            }
            take.segments.insert(at, entry);
        });
        if let Err(error) = described {
            swsync_core::log::warn!(%error, folder = %self.folder.display(), "take.json is out of date");
        }
    }
}
