//! After a crash: what was begun in an order's folder is finished, or goes.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use swsync_core::manifest::{FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, FrameRecord, Segment, TAKE_JSON, Take};

use super::lines::read_lines;
use super::segment::{SegmentFile, log_of};
use super::storage::{folder_of, read};
use super::take::{TakeFolder, extent};
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
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let (mut records, spoilt) = manifest(take)?;
    let recorded: HashSet<_> = records.iter().map(|record| record.file.clone()).collect();
    let partials = partials(take, &recorded)?;
    let mut unfinished = Vec::new();
    for path in partials {
        let partial = partial_of(&path);
        let has_name = storage.len(&path).is_ok();
        if !has_name && storage.len(&log_of(&path)).is_ok() {
            unfinished.push(path);
            continue;
        }
        if !has_name && recorded.contains(&take.relative(&path)) {
            // A picture with its line is whole, and lacks but its name.
            storage.rename(&partial, &path)?;
            storage.sync_folder(folder_of(&path))?;
        } else {
            storage.remove(&partial)?;
        }
        remove_log(take, &path);
    }
    take.finish_removal(&mut records)?;
    let before = records.len();
    // An unfinished video may have some of its lines, if the power was cut right then. They come again.
    records.retain(|record| is_there(take, record));
    if spoilt || records.len() < before {
        tracing::warn!(folder = %take.folder.display(), lost = before - records.len(), "the manifest is mended");
        take.rewrite_manifest(&records)?;
    }
    relist_segments(take, &records)?;
    take.keep(records.iter());
    for path in unfinished {
        records.extend(finish(take, &path)?);
    }
    remove_orphaned_logs(take)?;
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
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok((records, spoilt)),
    }
}

/// Final names of this order's files that are unfinished.
fn partials(take: &TakeFolder, recorded: &HashSet<String>) -> io::Result<Vec<PathBuf>> {
    let storage = take.shelf.storage.as_ref();
    let sides = [FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, TAKE_JSON].map(|name| take.side(name));
    let ours = |path: &Path| {
        let timed = path.extension().is_some_and(|extension| extension == "pts");
        sides.iter().any(|side| side == path)
            || recorded.contains(&take.relative(path))
            || take.shelf.location.may_name(&take.take.order, &take.shelf.device, path)
            || timed && take.prefix.is_empty()
    };
    let mut found: Vec<_> = storage.files(&take.folder)?;
    // Where the pattern has frames in folders of their own, those that the manifest knows.
    let others: HashSet<_> =
        recorded.iter().map(|file| folder_of(&take.folder.join(file)).to_owned()).collect();
    for folder in others.iter().filter(|folder| **folder != take.folder && storage.is_folder(folder)) {
        found.extend(storage.files(folder)?);
    }
    let is_log = |path: &Path| path.extension().is_some_and(|extension| extension == "frames");
    Ok(found.iter().filter_map(|path| final_of(path)).filter(|path| !is_log(path) && ours(path)).collect())
}

/// Whether a record's file is there as the record says.
fn is_there(take: &TakeFolder, record: &FrameRecord) -> bool {
    let length = take.shelf.storage.len(&take.folder.join(&record.file));
    // A video is larger than its frames.
    let is_video = take.take.segments.iter().any(|segment| segment.file == record.file);
    length
        .is_ok_and(|length| length == record.bytes || is_video || record.offset > 0 || length > record.bytes)
}

/// A crash can come between a video's records and its entry in `take.json`.
fn relist_segments(take: &mut TakeFolder, records: &[FrameRecord]) -> io::Result<()> {
    let storage = take.shelf.storage.clone();
    let folder = take.folder.clone();
    let mut segments = take.take.segments.clone();
    segments.retain(|segment| storage.len(&folder.join(&segment.file)).is_ok());
    for record in records {
        let length = storage.len(&folder.join(&record.file))?;
        let is_video = record.offset > 0 || length > record.bytes;
        let listed = segments.iter().any(|segment| segment.file == record.file);
        if is_video && !listed {
            let (first, count) = extent(records.iter().filter(|r| r.file == record.file));
            // Records come in the order in which they are shown.
            let (file, lead_in) = (record.file.clone(), Some(record.offset));
            segments.push(Segment { file, first, count, lead_in, bytes: length, sha256: None });
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
    let segment = match SegmentFile::reopen(&take.shelf, path.to_owned()) {
        Ok(segment) => segment,
        Err(error) => {
            tracing::warn!(%name, %error, "an unfinished video is lost");
            return Ok(Vec::new());
        }
    };
    match take.finish_segment(segment, None) {
        Ok(saved) => {
            tracing::info!(%name, frames = saved.frames.len(), "an unfinished video is finished");
            Ok(saved.frames)
        }
        Err(error) => {
            tracing::warn!(%name, %error, "an unfinished video is lost");
            Ok(Vec::new())
        }
    }
}

fn remove_log(take: &TakeFolder, path: &Path) {
    // It may not be there.
    let _ = take.shelf.storage.remove(&log_of(path));
}

/// Logs of videos that are finished, or that never began.
fn remove_orphaned_logs(take: &TakeFolder) -> io::Result<()> {
    let storage = take.shelf.storage.as_ref();
    for log in storage.files(&take.folder)? {
        let Some(named) = final_of(&log).filter(|path| path.extension().is_some_and(|e| e == "frames"))
        else {
            continue;
        };
        let video = named.with_extension("");
        let location = &take.shelf.location;
        let ours = take.prefix.is_empty() || location.may_name(&take.take.order, &take.shelf.device, &video);
        if ours && storage.len(&partial_of(&video)).is_err() {
            storage.remove(&log)?;
        }
    }
    Ok(())
}
