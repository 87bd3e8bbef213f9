//! After a crash: what was begun in an order's folder is finished, or goes.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use swsync_core::manifest::{FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, Segment, TAKE_JSON, Take};

use super::recorded::is_no_file;
use super::segment::{SegmentFile, log_of, read_log, set_aside, video_of};
use super::storage::{Storage, folder_of, read};
use super::take::{NotSaved, TakeFolder};
use super::{final_of, partial_of};

/// Finishes or removes what is unfinished in the folder of `take`. The manifest is read a few times, file by file, and never
/// held: it may be of days.
///
/// # Errors
/// What the system said.
pub(super) fn recover(take: &mut TakeFolder) -> io::Result<()> {
    let storage = take.shelf.storage.clone();
    if !storage.is_folder(&take.folder) {
        return Ok(());
    }
    let mut begun = false;
    match read(storage.as_ref(), &take.side(TAKE_JSON)).map(|text| Take::from_json(&text)) {
        Ok(Ok(before)) if before.order == take.take.order => (take.take, begun) = (before, true),
        // It is written before anything else: so there is nothing else, or it is of another version or order.
        Ok(_) => tracing::warn!(folder = %take.folder.display(), "take.json is not this order's"),
        Err(error) if is_no_file(&error) => {}
        Err(error) => return Err(error),
    }
    let (partials, recorded) = partials(take)?;
    let unfinished = unfinished(take, &partials, &recorded)?;
    finish_pictures(take, &partials, &recorded, &unfinished)?;
    take.finish_removal()?;
    let has_lines = mend_manifest(take)?;
    for path in unfinished {
        finish(take, &path)?;
    }
    // Of a folder where nothing can be saved any more it is to be said, too, that it is done with.
    if begun || has_lines {
        take.manifest()?;
    }
    // What a crash finished may be one more than are kept.
    if !take.take.complete
        && let Err(error) = take.remove_surplus()
    {
        tracing::warn!(folder = %take.folder.display(), %error, "more files are kept than are to be");
    }
    Ok(())
}

/// How many lines of the manifest name each of the files that were looked for.
type Recorded = HashMap<String, u64>;

/// Files in this order's folders that have a temporary name, and those of them that the manifest names, or whose video it
/// does.
fn partials(take: &TakeFolder) -> io::Result<(Vec<PathBuf>, Recorded)> {
    let storage = take.shelf.storage.as_ref();
    let mut found = storage.partials(&take.folder)?;
    // Where the pattern has frames in folders of their own, those that the manifest knows.
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

/// This order's videos that are unfinished: each has a log. The logs of those that are finished go.
fn unfinished(take: &TakeFolder, partials: &[PathBuf], recorded: &Recorded) -> io::Result<Vec<PathBuf>> {
    let storage = take.shelf.storage.as_ref();
    let mut unfinished = Vec::new();
    for log in partials {
        let Some(video) = video_of(log) else { continue };
        let logged = read_log(storage, log)?;
        let is_ours = match &logged.owner {
            Some(owner) => owner.order == take.take.order && owner.device == take.shelf.device,
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
                // Its log could not be written: its lines came before its name, which it gets with the pictures.
                true => storage.remove(log)?,
                false => unfinished.push(video),
            }
            continue;
        }
        let is_timed = exists(storage, &video.with_extension("pts"))?;
        if exists(storage, &video)?
            // The log of a full disk may be behind.
            && logged.flushed.unwrap_or(0) <= storage.len(&video)?
            && !(listed == logged_names && is_timed)
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
    partials: &[PathBuf],
    recorded: &Recorded,
    unfinished: &[PathBuf],
) -> io::Result<()> {
    let storage = take.shelf.storage.as_ref();
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
                // Somebody else's is there: this one stays as it is.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            storage.sync_folder(folder_of(&path))?;
        } else if is_side(&path) || is_ours_alone(take, &path) && !exists(storage, &log_of(&path))? {
            // A video that has no log: nobody knows which frames it has. A picture may be half a one.
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

/// Brings manifest and `take.json` in line with the files that are there. Whether there are any.
fn mend_manifest(take: &mut TakeFolder) -> io::Result<bool> {
    let storage = take.shelf.storage.clone();
    let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut segments = take.take.segments.clone();
    segments.retain(|segment| !storage.len(&take.folder.join(&segment.file)).is_err_and(is_gone));
    let (mut lost, mut has_lines) = (0, false);
    let mut kept = Vec::new();
    let spoilt = take.each_file(|file| {
        let Some(length) = file.length(take)? else {
            // An unfinished video may have some of its lines, if the power was cut right then. They come again.
            lost += file.lines;
            return Ok(());
        };
        has_lines = true;
        // A crash can come between a video's records and its entry in take.json. A video is larger than its frames.
        let is_video = file.last_offset > 0 || length > file.last_bytes;
        if is_video && !segments.iter().any(|segment| segment.file == file.name) {
            let (first, count) = (file.first, file.last - file.first + 1);
            let lead_in = Some(file.lead_in);
            segments.push(Segment {
                file: file.name.clone(),
                first,
                count,
                lead_in,
                bytes: length,
                sha256: None,
            });
        }
        if take.shelf.max_files.is_some() {
            kept.push(file);
        }
        Ok(())
    })?;
    if spoilt || lost > 0 {
        tracing::warn!(folder = %take.folder.display(), lost, "the manifest is mended");
        take.drop_lines_of_lost_files()?;
    }
    segments.sort_by_key(|segment| segment.first);
    if segments != take.take.segments {
        take.manifest()?;
        take.describe(|take| take.segments = segments)?;
    }
    kept.into_iter().for_each(|file| take.kept.add(file));
    Ok(has_lines)
}

/// Finishes the video file at `path`, as far as it can be played. It covers what can be: what was under way to it
/// may yet come again, in the next file.
fn finish(take: &mut TakeFolder, path: &Path) -> io::Result<()> {
    let name = path.display();
    let segment = SegmentFile::reopen(&take.shelf, path.to_owned())?;
    match take.finish_segment(segment, None) {
        Ok(saved) => {
            tracing::info!(%name, frames = saved.frames.len(), "an unfinished video is finished");
        }
        Err(NotSaved { error, late }) => {
            let later = late.is_some();
            tracing::warn!(%name, %error, later, "an unfinished video cannot be finished");
        }
    }
    Ok(())
}
