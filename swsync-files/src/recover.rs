//! Recovery after a crash: unfinished files in an order's folder are finished or removed.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use swsync_core::manifest::{FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, TAKE_JSON, Take, TakeSegment};

use crate::save::NotSaved;
use crate::segment::{SegmentFile, set_aside};
use crate::segment_log::{log_of, read_log, video_of};
use crate::storage::{Storage, final_of, folder_of, is_no_file, partial_of, read};
use crate::take::TakeFolder;

impl TakeFolder {
    /// Finishes or removes unfinished files. Reads the manifest a few times, file by file.
    ///
    /// # Errors
    /// The error of the system.
    pub(crate) fn recover(&mut self) -> io::Result<()> {
        recover(self)
    }
}

fn recover(take: &mut TakeFolder) -> io::Result<()> {
    let storage = take.store.storage.clone();
    if !storage.is_folder(&take.folder) {
        return Ok(());
    }
    let mut begun = false;
    match read(storage.as_ref(), &take.side(TAKE_JSON)).map(|text| Take::from_json(&text)) {
        Ok(Ok(before)) if before.order == take.take.order => (take.take, begun) = (before, true),
        // It is written first: so there are no other files, or it is of another version or order.
        Ok(_) => swsync_core::log::warn!(folder = %take.folder.display(), "take.json is not this order's"),
        Err(error) if is_no_file(&error) => {}
        Err(error) => return Err(error),
    }
    let (partials, recorded) = partials(take)?;
    let unfinished = unfinished(take, &partials, &recorded)?;
    finish_pictures(take, &partials, &recorded, &unfinished)?;
    take.finish_removal()?;
    let has_lines = repair_manifest(take)?;
    for path in unfinished {
        finish_video(take, &path)?;
    }
    // A folder without a saved frame gets a take.json too, so that it can be marked as complete.
    if begun || has_lines {
        take.manifest()?;
    }
    // Recovery may have finished one file more than `max-files`.
    if !take.take.complete
        && let Err(error) = take.remove_surplus()
    {
        swsync_core::log::warn!(folder = %take.folder.display(), %error, "more files are kept than max-files");
    }
    Ok(())
}

/// Number of manifest lines by file name.
type Recorded = HashMap<String, u64>;

/// Files in this order's folders with a temporary name, and those that the manifest lists under their final name, or whose
/// video it lists.
fn partials(take: &TakeFolder) -> io::Result<(Vec<PathBuf>, Recorded)> {
    let storage = take.store.storage.as_ref();
    let mut found = storage.partials(&take.folder)?;
    // If the location pattern has folders for frames, those in the manifest.
    let mut folders = HashSet::new();
    take.each_file(|file| {
        let folder = folder_of(Path::new(&file.name));
        if folder != Path::new(".") && !folders.contains(folder) {
            folders.insert(folder.to_owned());
        }
        Ok(())
    })?;
    for folder in folders.iter().map(|folder| take.folder.join(folder)) {
        if storage.is_folder(&folder) {
            found.extend(storage.partials(&folder)?);
        }
    }
    let finals = found.iter().filter_map(|path| video_of(path).or_else(|| final_of(path)));
    let mut recorded: Recorded = finals.map(|path| (take.relative(&path), 0)).collect();
    take.each_file(|file| {
        if let Some(lines) = recorded.get_mut(&file.name) {
            *lines += file.lines;
        }
        Ok(())
    })?;
    recorded.retain(|_, lines| *lines > 0);
    Ok((found, recorded))
}

/// This order's unfinished videos, each of which has a log. Removes the logs of finished ones.
fn unfinished(take: &TakeFolder, partials: &[PathBuf], recorded: &Recorded) -> io::Result<Vec<PathBuf>> {
    let storage = take.store.storage.as_ref();
    let mut unfinished = Vec::new();
    for log in partials {
        let Some(video) = video_of(log) else { continue };
        let logged = read_log(storage, log)?;
        let is_ours = match &logged.owner {
            Some(owner) => owner.order == take.take.order && owner.device == take.store.device,
            None => is_ours_alone(take, &video),
        };
        if !is_ours {
            continue;
        }
        let name = take.relative(&video);
        let listed = recorded.get(&name).copied().unwrap_or(0);
        let logged_names = logged.named().count() as u64;
        if exists(storage, &partial_of(&video))? {
            match listed > logged_names {
                // Its log could not be written, so its manifest lines came first. `finish_pictures` renames it.
                true => storage.remove(log)?,
                false => unfinished.push(video),
            }
            continue;
        }
        let is_timed = exists(storage, &video.with_extension("pts"))?;
        if exists(storage, &video)?
            // On a full disk the log may be incomplete.
            && logged.flushed.unwrap_or(0) <= storage.len(&video)?
            && !(listed == logged_names && is_timed)
            && logged.named().any(|number| !take.take.is_removed(number))
        {
            // It has its final name, but lacks a later step: finish it like one without.
            storage.rename(&video, &partial_of(&video))?;
            unfinished.push(video);
        } else {
            storage.remove(log)?;
        }
    }
    Ok(unfinished)
}

/// Renames pictures that are listed in the manifest to their final names. Removes other unfinished files.
fn finish_pictures(
    take: &TakeFolder,
    partials: &[PathBuf],
    recorded: &Recorded,
    unfinished: &[PathBuf],
) -> io::Result<()> {
    let storage = take.store.storage.as_ref();
    let sides = [FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, TAKE_JSON].map(|name| take.side(name));
    let is_side = |path: &PathBuf| {
        let is_timecodes = path.extension().is_some_and(|extension| extension == "pts");
        sides.contains(path) || is_timecodes && take.prefix.is_empty()
    };
    for partial in partials {
        let Some(path) = final_of(partial) else { continue };
        let is_log = path.extension().is_some_and(|extension| extension == "frames");
        if is_log || unfinished.contains(&path) {
            continue;
        }
        if recorded.contains_key(&take.relative(&path)) {
            match storage.rename_new(partial, &path) {
                // A stranger's file has the name: this one stays as it is.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            storage.sync_folder(folder_of(&path))?;
        } else if is_side(&path) || is_ours_alone(take, &path) && !exists(storage, &log_of(&path))? {
            // The frames of a video without a log are unknown: set it aside. A picture may be incomplete: remove it.
            let is_kept = !is_side(&path) && !is_picture(&path) && storage.len(partial)? > 0;
            match is_kept {
                true => drop(set_aside(storage, partial, &path)?),
                false => storage.remove(partial)?,
            }
        }
    }
    Ok(())
}

/// Whether a file of this name holds one picture.
fn is_picture(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    ["jpg", "jpeg", "png", "tif", "tiff", "webp", "bayer", "raw"].contains(&&*extension)
}

/// Whether a file of this name can belong to no other order or device.
fn is_ours_alone(take: &TakeFolder, path: &Path) -> bool {
    let location = &take.store.location;
    location.is_unambiguous() && location.may_name(&take.take.order, &take.store.device, path)
}

fn exists(storage: &dyn Storage, path: &Path) -> io::Result<bool> {
    match storage.len(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the manifest and `take.json` agree with the files that exist. Returns whether there are any.
fn repair_manifest(take: &mut TakeFolder) -> io::Result<bool> {
    let storage = take.store.storage.clone();
    let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut segments = take.take.segments.clone();
    segments.retain(|segment| !storage.len(&take.folder.join(&segment.file)).is_err_and(is_gone));
    let (mut lost, mut has_lines) = (0, false);
    let mut retained = Vec::new();
    let malformed = take.each_file(|file| {
        let Some(length) = take.recorded_length(&file)? else {
            // Lines of an unfinished video, if the power was cut just then. Finishing it appends them again.
            lost += file.lines;
            return Ok(());
        };
        has_lines = true;
        // A crash can come between a video's lines and its entry in take.json. A video is larger than its frames.
        let is_video = file.last_offset > 0 || length > file.last_bytes;
        if is_video && !segments.iter().any(|segment| segment.file == file.name) {
            let (first, count) = (file.first, file.last - file.first + 1);
            let lead_in = Some(file.lead_in);
            segments.push(TakeSegment {
                file: file.name.clone(),
                first,
                count,
                lead_in,
                bytes: length,
                sha256: None,
            });
        }
        if take.store.max_files.is_some() {
            retained.push(file);
        }
        Ok(())
    })?;
    if malformed || lost > 0 {
        swsync_core::log::warn!(folder = %take.folder.display(), lost, "the manifest is repaired");
        take.drop_lines_of_lost_files()?;
    }
    segments.sort_by_key(|segment| segment.first);
    if segments != take.take.segments {
        take.manifest()?;
        take.describe(|take| take.segments = segments)?;
    }
    retained.into_iter().for_each(|file| take.retained.add(file));
    Ok(has_lines)
}

/// Finishes the video file `path` with its playable part. It covers the frames in it alone: frames that it lost may be saved
/// in the next file.
fn finish_video(take: &mut TakeFolder, path: &Path) -> io::Result<()> {
    let name = path.display();
    let segment = SegmentFile::reopen(&take.store, path.to_owned())?;
    match take.finish_segment(segment, None) {
        Ok(saved) => {
            swsync_core::log::info!(%name, frames = saved.frames.len(), "an unfinished video is finished");
        }
        Err(NotSaved { error, retry_as }) => {
            let later = retry_as.is_some();
            swsync_core::log::warn!(%name, %error, later, "an unfinished video cannot be finished");
        }
    }
    Ok(())
}
