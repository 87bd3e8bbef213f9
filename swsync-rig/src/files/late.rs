//! From what is recorded to what is saved: pictures and videos get their names and their lines in the manifest.
//!
//! What fails on the way is kept as it is, and goes on from there later: nothing that was recorded is removed because
//! something else cannot be written.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{FrameRecord, Segment, Take, exif};

use super::segment::SegmentFile;
use super::storage::{Durability, folder_of};
use super::take::{NotSaved, Picture, SavedFile, SavedVideo, Shelf, TakeFolder, again, extent};
use super::{FileOf, WholeFile, partial_of};

/// Pictures of an order that may wait; more fail.
const MAX_PICTURES: usize = 1000;

/// What is on the disk, and is not saved yet.
#[derive(Debug, Default)]
pub(super) struct Late {
    pictures: Vec<LatePicture>,
    videos: Vec<LateVideo>,
}

/// What became of something that was late.
#[derive(Debug)]
pub enum Settled {
    /// The picture is saved.
    Picture(Box<FrameRecord>),
    /// The video is saved, as far as it can be played.
    Video(SavedVideo),
    /// Nothing of it can be saved, and why.
    Lost(io::Error),
}

/// A picture whose bytes are on the disk.
#[derive(Debug)]
struct LatePicture {
    /// What it is called until it is saved.
    key: PathBuf,
    partial: PathBuf,
    path: PathBuf,
    record: FrameRecord,
    is_listed: bool,
    is_named: bool,
    /// Why it is not saved.
    error: Option<io::Error>,
}

/// A video that is to be closed.
#[derive(Debug)]
struct LateVideo {
    key: PathBuf,
    segment: SegmentFile,
    covers: Option<(FrameNumber, u64)>,
    is_flushed: bool,
    /// Whether the manifest has its lines.
    is_listed: bool,
    /// Whether it is saved, and `take.json` was to say so.
    is_saved: bool,
    /// Whether its timecodes are written.
    is_timed: bool,
    error: Option<io::Error>,
}

impl Late {
    /// # Errors
    /// Why the first of them is not saved.
    pub(super) fn check(&self) -> io::Result<()> {
        let pictures = self.pictures.iter().map(|picture| (&picture.path, &picture.error));
        let videos = self.videos.iter().map(|video| (&video.key, &video.error));
        match pictures.chain(videos).next() {
            None => Ok(()),
            Some((path, error)) => {
                let error = error.as_ref().map_or_else(|| io::ErrorKind::Other.into(), again);
                Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
            }
        }
    }
}

impl TakeFolder {
    /// Saves pictures: each is there whole and in the manifest, or says why not. Together they cost hardly more
    /// flushes than one.
    pub fn save_pictures(&mut self, pictures: &[Picture<'_>]) -> Vec<Result<SavedFile, NotSaved>> {
        self.mend();
        let mut written = Vec::with_capacity(pictures.len());
        let mut results = Vec::with_capacity(pictures.len());
        for picture in pictures {
            results.push(self.write_picture(picture).map(|late| {
                let saved = SavedFile { path: late.path.clone(), bytes: late.record.bytes };
                written.push(late);
                saved
            }));
        }
        self.settle_pictures(&mut written);
        let mut written = written.into_iter();
        for result in results.iter_mut().filter(|result| result.is_ok()) {
            let Some(picture) = written.next() else { break };
            *result = match &picture.error {
                None => Ok(SavedFile { path: picture.path, bytes: picture.record.bytes }),
                Some(error) => {
                    let failed = NotSaved { error: again(error), late: Some(picture.key.clone()) };
                    self.late.pictures.push(picture);
                    Err(failed)
                }
            };
        }
        results
    }

    /// Goes on with what could not be finished: names them as [`NotSaved::late`] did. Call now and then; with
    /// `is_last` where nothing more comes for the order: then what vanished with its folder is given up.
    pub fn retry(&mut self, is_last: bool) -> Vec<(PathBuf, Settled)> {
        let mut settled = Vec::new();
        for mut video in std::mem::take(&mut self.late.videos) {
            let was_told = video.is_saved;
            match self.close(&mut video) {
                Ok(saved) if !was_told => settled.push((video.key.clone(), Settled::Video(saved))),
                Err(NotSaved { error, late: None }) => {
                    settled.push((video.key.clone(), Settled::Lost(error)))
                }
                Err(NotSaved { error, .. }) if is_last && self.is_gone(video.segment.on_disk()) => {
                    settled.push((video.key, Settled::Lost(error)));
                    continue;
                }
                Ok(_) | Err(_) => {}
            }
            self.keep_late(video);
        }
        let mut pictures = std::mem::take(&mut self.late.pictures);
        self.settle_pictures(&mut pictures);
        for picture in pictures {
            let LatePicture { key, partial, is_named, .. } = &picture;
            match &picture.error {
                None => settled.push((key.clone(), Settled::Picture(Box::new(picture.record)))),
                Some(error) if is_last && !is_named && self.is_gone(partial) => {
                    settled.push((key.clone(), Settled::Lost(again(error))));
                }
                Some(_) => self.late.pictures.push(picture),
            }
        }
        if let Err(error) = self.catch_up() {
            tracing::debug!(%error, folder = %self.folder.display(), "take.json is behind");
        }
        settled
    }

    fn is_gone(&self, path: &Path) -> bool {
        self.shelf.storage.len(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Writes a picture under its temporary name.
    fn write_picture(&self, picture: &Picture<'_>) -> Result<LatePicture, NotSaved> {
        if let Some(error) = self.late.pictures.get(MAX_PICTURES).and_then(|late| late.error.as_ref()) {
            return Err(again(error).into());
        }
        let Shelf { storage, durability, location, device, software, max_files: _ } = &self.shelf;
        let of = FileOf::Picture(picture.info.number);
        let wanted = location.path(&self.take.order, device, of, picture.extension);
        let is_free = |path: &Path| storage.len(path).is_err() && storage.len(&partial_of(path)).is_err();
        let (path, mut file) = loop {
            let path = self.free_name(wanted.clone(), is_free);
            match WholeFile::create_new(storage, &path, *durability) {
                // Somebody was faster.
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
            // What is no JPEG after all is saved as it is.
            None => file.write_all(picture.bytes)?,
        }
        file.flush()?;
        let synced = file.sync();
        let partial = file.partial().to_owned();
        file.leave();
        if let Err(error) = synced {
            // It may be whole: it gets its name, and nobody is told that it is saved.
            let named = storage.rename_new(&partial, &path);
            let at = if named.is_ok() { &path } else { &partial };
            let why = format!("{error}; it is kept as {}, but may not survive a power cut", at.display());
            return Err(io::Error::new(error.kind(), why).into());
        }
        let key = path.clone();
        Ok(LatePicture { key, partial, path, record, is_listed: false, is_named: false, error: None })
    }

    /// Goes on with `pictures`; what fails says why.
    ///
    /// The manifest comes first: from its lines a crash in between can be told from a file of somebody else.
    fn settle_pictures(&mut self, pictures: &mut [LatePicture]) {
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
                picture.error = listed.as_ref().err().filter(|_| !picture.is_listed).map(again);
                picture.is_listed |= listed.is_ok();
            }
            let collided = pictures.iter_mut().filter(|picture| !picture.is_named);
            let collided = collided.filter_map(|picture| self.name(picture).then_some(())).count();
            let Ok(before) = listed else { break };
            if collided == 0 || self.manifest().and_then(|manifest| manifest.take_back(before)).is_err() {
                break;
            }
            // Once more, with other names.
            pictures.iter_mut().zip(&fresh).for_each(|(picture, fresh)| picture.is_listed &= !fresh);
        }
        self.flush_folders(pictures);
        let saved = pictures.iter().filter(|picture| picture.error.is_none());
        self.keep(saved.map(|picture| &picture.record));
    }

    /// Gives a picture its name. Whether somebody took it meanwhile, and it is to have another.
    fn name(&self, picture: &mut LatePicture) -> bool {
        let storage = &self.shelf.storage;
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

    /// Has the names of `pictures` reach the disk.
    fn flush_folders(&self, pictures: &mut [LatePicture]) {
        if self.shelf.durability == Durability::Fast {
            return;
        }
        let named = |picture: &&mut LatePicture| picture.is_named && picture.error.is_none();
        let mut folders = BTreeMap::new();
        for picture in pictures.iter_mut().filter(named) {
            let folder = folder_of(&picture.path).to_owned();
            let flushed =
                folders.entry(folder).or_insert_with_key(|folder| self.shelf.storage.sync_folder(folder));
            picture.error = flushed.as_ref().err().map(again);
        }
    }

    /// Closes a video file: it, its frames in the manifest, and its timecodes. `covers`: the first frame number that it
    /// stands for, and how many of those that the order names; `None`: those that are in it, and between them.
    ///
    /// # Errors
    /// Why it is not saved, or not yet: see [`retry`](Self::retry).
    pub fn finish_segment(
        &mut self,
        segment: SegmentFile,
        covers: Option<(FrameNumber, u64)>,
    ) -> Result<SavedVideo, NotSaved> {
        let key = segment.path().to_owned();
        let mut video = LateVideo {
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
        self.keep_late(video);
        result
    }

    /// The first frame number that no video stands for, those included that are to be closed yet.
    #[must_use]
    pub fn covered(&self) -> FrameNumber {
        let listed = self.take.segments.iter().map(|segment| segment.first + segment.count);
        let late = self.late.videos.iter().filter_map(|video| video.covers);
        listed.chain(late.map(|(first, count)| first + count)).max().unwrap_or(0)
    }

    fn keep_late(&mut self, video: LateVideo) {
        if !video.segment.is_done() {
            self.late.videos.push(video);
        }
    }

    fn close(&mut self, video: &mut LateVideo) -> Result<SavedVideo, NotSaved> {
        let result = self.try_close(video);
        if result.is_ok() && !video.is_timed {
            match self
                .write_pts(&video.segment.path().with_extension("pts"), video.segment.times().into_iter())
            {
                Ok(()) => {
                    video.is_timed = true;
                    video.segment.forget();
                }
                // The video does not depend on it; the take is not complete without it.
                Err(error) => {
                    tracing::warn!(path = %video.key.display(), %error, "its timecodes cannot be written");
                    video.error = Some(error);
                }
            }
        }
        result.map_err(|error| {
            video.error = Some(again(&error));
            let late = (!video.segment.is_done()).then(|| video.key.clone());
            NotSaved { error, late }
        })
    }

    fn try_close(&mut self, video: &mut LateVideo) -> io::Result<SavedVideo> {
        let LateVideo { segment, covers, is_flushed, is_listed, is_saved, .. } = video;
        if !segment.finish()? {
            let lost = segment.why_broken().map_or_else(String::new, |why| format!("{why}; "));
            let aside = segment.set_aside()?;
            let aside =
                aside.map_or_else(String::new, |aside| format!(": it is kept as {}", aside.display()));
            return Err(io::Error::other(format!("{lost}nothing of the video can be played{aside}")));
        }
        self.mend();
        while !segment.is_named() {
            let is_free = |path: &Path| !self.is_taken(path) && !self.is_taken(&path.with_extension("pts"));
            let path = self.free_name(segment.path().to_owned(), is_free);
            // Where the log cannot be written the manifest comes first: after a crash something has to tell what is in a video.
            let before = self.manifest().map(|manifest| manifest.length());
            if !segment.is_logged() {
                let records = segment.records(&self.take.order, &self.shelf.device, &self.relative(&path));
                self.append(records.iter())?;
                *is_listed = true;
            }
            if let Err(error) = segment.appear(path) {
                if std::mem::take(is_listed) {
                    // What cannot be cut off now is before the next line.
                    let _ = self.manifest()?.take_back(before?);
                }
                if error.kind() != io::ErrorKind::AlreadyExists {
                    return Err(error);
                }
            }
        }
        let path = segment.path().to_owned();
        if !*is_flushed && self.shelf.durability == Durability::Safe {
            self.shelf.storage.sync_folder(folder_of(&path))?;
        }
        *is_flushed = true;
        let file = self.relative(&path);
        let records = segment.records(&self.take.order, &self.shelf.device, &file);
        let bytes = segment.length();
        if !*is_listed {
            self.append(records.iter())?;
            *is_listed = true;
        }
        if !*is_saved {
            *is_saved = true;
            let (first, count) = covers.unwrap_or_else(|| extent(records.iter()));
            let lead_in = Some(segment.lead_in());
            self.list_segment(Segment { file, first, count, lead_in, bytes, sha256: None });
            self.keep(records.iter());
        }
        Ok(SavedVideo { file: SavedFile { path, bytes }, frames: records, lost: segment.why_broken() })
    }

    /// Tells of a video in `take.json`. It is there and in the manifest: where that fails it can be told again.
    fn list_segment(&mut self, entry: Segment) {
        let described = self.describe(|take| {
            let at = take.segments.partition_point(|other| other.first < entry.first);
            if at == 0 {
                take.lead_in = entry.lead_in.unwrap_or_default();
            }
            take.segments.insert(at, entry);
        });
        if let Err(error) = described {
            tracing::warn!(%error, folder = %self.folder.display(), "take.json is behind");
        }
    }
}
