//! After a crash: what was begun in an order's folder is finished, or goes.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use swsync_core::manifest::{FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, FrameRecord, Segment, TAKE_JSON, Take};

use super::lines::read_lines;
use super::segment::{SegmentFile, log_of, read_log, video_of};
use super::storage::{Storage, folder_of, read};
use super::take::{NotSaved, TakeFolder, extent};
use super::{final_of, partial_of};

/// Finishes or removes what is unfinished in the folder of `take`. Returns what is saved there.
///
/// # Errors
/// What the system said.
pub(super) fn recover(take: &mut TakeFolder) -> io::Result<Vec<FrameRecord>> {
    let storage = take.shelf.storage.clone();
    if !storage.is_folder(&take.folder) {
        return Ok(Vec::new());
    }
    let mut begun = false;
    match read(storage.as_ref(), &take.side(TAKE_JSON)).map(|text| Take::from_json(&text)) {
        Ok(Ok(before)) if before.order == take.take.order => (take.take, begun) = (before, true),
        // It is written before anything else: so there is nothing else, or it is of another version or order.
        Ok(_) => tracing::warn!(folder = %take.folder.display(), "take.json is not this order's"),
        Err(error) if is_no_file(&error) => {}
        Err(error) => return Err(error),
    }
    let (mut records, spoilt) = manifest(take)?;
    let recorded: HashSet<_> = records.iter().map(|record| record.file.clone()).collect();
    let files = files(take, &recorded)?;
    let unfinished = unfinished(take, &files, &records)?;
    finish_pictures(take, &files, &recorded, &unfinished)?;
    take.finish_removal(&mut records)?;
    let before = records.len();
    // An unfinished video may have some of its lines, if the power was cut right then. They come again.
    let mut result = Ok(());
    records.retain(|record| match is_there(take, record) {
        Ok(is_there) => is_there,
        Err(error) => {
            result = Err(error);
            true
        }
    });
    result?;
    if spoilt || records.len() < before {
        tracing::warn!(folder = %take.folder.display(), lost = before - records.len(), "the manifest is mended");
        take.rewrite_manifest(&records)?;
    }
    relist_segments(take, &records)?;
    take.keep(records.iter());
    for path in unfinished {
        records.extend(finish(take, &path)?);
    }
    // Of a folder where nothing can be saved any more it is to be said, too, that it is done with.
    if begun || !records.is_empty() {
        take.manifest()?;
    }
    if !take.take.complete {
        // What a crash finished may be one more than are kept.
        if let Err(error) = take.remove_surplus() {
            tracing::warn!(folder = %take.folder.display(), %error, "more files are kept than are to be");
        }
        records.retain(|record| !take.take.is_removed(record.info.number));
    }
    Ok(records)
}

/// The manifest's records, and whether there are lines that are none.
fn manifest(take: &TakeFolder) -> io::Result<(Vec<FrameRecord>, bool)> {
    let (mut records, mut spoilt) = (Vec::new(), false);
    let read =
        read_lines(
            take.shelf.storage.as_ref(),
            &take.side(FRAMES_JSONL),
            |line| match FrameRecord::from_line(line) {
                Ok(record) => records.push(record),
                Err(_) => spoilt = true,
            },
        );
    match read {
        Err(error) if !is_no_file(&error) => Err(error),
        _ => Ok((records, spoilt)),
    }
}

/// Whether there is no file of that name, be it that a folder is in its place.
fn is_no_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory)
}

/// The files in this order's folders.
fn files(take: &TakeFolder, recorded: &HashSet<String>) -> io::Result<Vec<PathBuf>> {
    let storage = take.shelf.storage.as_ref();
    let mut found = storage.files(&take.folder)?;
    // Where the pattern has frames in folders of their own, those that the manifest knows.
    let others: HashSet<_> =
        recorded.iter().map(|file| folder_of(&take.folder.join(file)).to_owned()).collect();
    for folder in others.iter().filter(|folder| **folder != take.folder && storage.is_folder(folder)) {
        found.extend(storage.files(folder)?);
    }
    Ok(found)
}

/// This order's videos that are unfinished: each has a log. The logs of those that are finished go.
fn unfinished(take: &TakeFolder, files: &[PathBuf], records: &[FrameRecord]) -> io::Result<Vec<PathBuf>> {
    let storage = take.shelf.storage.as_ref();
    let mut unfinished = Vec::new();
    for log in files {
        let Some(video) = video_of(log) else { continue };
        let logged = read_log(storage, log)?;
        let is_ours = match &logged.owner {
            Some(owner) => owner.order == take.take.order && owner.device == take.shelf.device,
            None => is_ours_alone(take, &video),
        };
        if !is_ours {
            continue;
        }
        if exists(storage, &partial_of(&video))? {
            unfinished.push(video);
            continue;
        }
        let name = take.relative(&video);
        let listed = records.iter().filter(|record| record.file == name).count();
        let is_timed = exists(storage, &video.with_extension("pts"))?;
        if exists(storage, &video)?
            // The log of a full disk may be behind.
            && logged.flushed.unwrap_or(0) <= storage.len(&video)?
            && !(listed == logged.named().count() && is_timed)
            && logged.named().any(|number| !take.take.is_removed(number))
        {
            // It has its name, and lacks something else yet: that is done as for one without.
            storage.rename(&video, &partial_of(&video))?;
            unfinished.push(video);
        } else {
            storage.remove(log)?;
        }
    }
    Ok(unfinished)
}

/// Gives pictures their names that have a line and lack but that; what else was begun goes.
fn finish_pictures(
    take: &TakeFolder,
    files: &[PathBuf],
    recorded: &HashSet<String>,
    unfinished: &[PathBuf],
) -> io::Result<()> {
    let storage = take.shelf.storage.as_ref();
    let sides = [FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, TAKE_JSON].map(|name| take.side(name));
    for partial in files {
        let Some(path) = final_of(partial) else { continue };
        let is_log = path.extension().is_some_and(|extension| extension == "frames");
        if is_log || unfinished.contains(&path) {
            continue;
        }
        let is_timecodes = path.extension().is_some_and(|extension| extension == "pts");
        if recorded.contains(&take.relative(&path)) {
            match storage.rename_new(partial, &path) {
                // Somebody else's is there: this one stays as it is.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            storage.sync_folder(folder_of(&path))?;
        } else if sides.contains(&path)
            || is_timecodes && take.prefix.is_empty()
            || is_ours_alone(take, &path) && !exists(storage, &log_of(&path))?
        {
            storage.remove(partial)?;
        }
    }
    Ok(())
}

/// Whether a file of this name can be of no other order or device.
fn is_ours_alone(take: &TakeFolder, path: &Path) -> bool {
    let location = &take.shelf.location;
    location.is_apart() && location.may_name(&take.take.order, &take.shelf.device, path)
}

fn exists(storage: &dyn Storage, path: &Path) -> io::Result<bool> {
    match storage.len(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a record's file is there as the record says.
fn is_there(take: &TakeFolder, record: &FrameRecord) -> io::Result<bool> {
    let length = match take.shelf.storage.len(&take.folder.join(&record.file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    // A video is larger than its frames.
    let is_video = take.take.segments.iter().any(|segment| segment.file == record.file);
    Ok(length == record.bytes || is_video || record.offset > 0 || length > record.bytes)
}

/// A crash can come between a video's records and its entry in `take.json`.
fn relist_segments(take: &mut TakeFolder, records: &[FrameRecord]) -> io::Result<()> {
    let storage = take.shelf.storage.clone();
    let folder = take.folder.clone();
    let mut segments = take.take.segments.clone();
    let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    segments.retain(|segment| !storage.len(&folder.join(&segment.file)).is_err_and(is_gone));
    for record in records {
        let length = storage.len(&folder.join(&record.file))?;
        let is_video = record.offset > 0 || length > record.bytes;
        let listed = segments.iter().any(|segment| segment.file == record.file);
        if is_video && !listed {
            let (first, count) = extent(records.iter().filter(|r| r.file == record.file));
            segments.push(Segment { file: record.file.clone(), first, count, bytes: length, sha256: None });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    if segments != take.take.segments {
        take.manifest()?;
        take.describe(|take| take.segments = segments)?;
    }
    Ok(())
}

/// Finishes the video file at `path`, as far as it can be played. It covers what can be: what was under way to it
/// may yet come again, in the next file.
fn finish(take: &mut TakeFolder, path: &Path) -> io::Result<Vec<FrameRecord>> {
    let name = path.display();
    let segment = SegmentFile::reopen(&take.shelf, path.to_owned())?;
    match take.finish_segment(segment, None) {
        Ok(saved) => {
            tracing::info!(%name, frames = saved.frames.len(), "an unfinished video is finished");
            Ok(saved.frames)
        }
        Err(NotSaved { error, late }) => {
            let later = late.is_some();
            tracing::warn!(%name, %error, later, "an unfinished video cannot be finished");
            Ok(Vec::new())
        }
    }
}
