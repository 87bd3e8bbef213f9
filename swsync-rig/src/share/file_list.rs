//! The list of one take's files, read in parts: a time lapse has a million of them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use swsync_core::manifest::{FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, NOTE_JSON, TAKE_JSON, Take, check_path};
use swsync_core::share::FileEntry;
use swsync_files::BROKEN;

use super::modified::modified;

/// Most names that are held in memory.
const WINDOW: usize = 4_000;

/// A known place in the list, where a page began.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Number of files before it.
    skip: usize,
    at: Place,
}

/// A place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The picture whose line in the manifest begins at this byte.
    Picture(u64),
    /// A file that is not in the manifest, by its index.
    Other(usize),
}

/// The names in the part of the manifest that was read last.
#[derive(Debug, Default)]
struct Window {
    names: HashSet<String>,
    /// Offset of the first line after it.
    end: u64,
}

/// The file name in a line of the manifest.
#[derive(Deserialize)]
struct ManifestLine<'a> {
    #[serde(borrow)]
    file: Cow<'a, str>,
}

/// The files of a take. Files that describe others come last, and so are deleted last.
#[derive(Debug)]
pub(super) struct FileList {
    pub take: Take,
    folder: PathBuf,
    prefix: String,
    manifest: PathBuf,
    /// The inode of the manifest: another one after it was rewritten.
    identity: u64,
    /// Videos, broken videos and side files: their names in the list, and their paths on the disk.
    others: Vec<(String, PathBuf)>,
    /// How many of them are videos and their timecodes.
    videos: usize,
    marks: Vec<Mark>,
    window: Window,
}

impl FileList {
    /// The files of `take` in `folder`. Side files are listed without `prefix`.
    pub(super) fn new(folder: PathBuf, prefix: &str, mut take: Take) -> Self {
        let mut others = Vec::new();
        for segment in std::mem::take(&mut take.segments) {
            let timecodes = Path::new(&segment.file).with_extension("pts").to_string_lossy().into_owned();
            for name in [segment.file, timecodes] {
                if check_path(&name).is_ok() {
                    others.push((name.clone(), folder.join(name)));
                }
            }
        }
        let videos = others.len();
        let manifest = folder.join(format!("{prefix}{FRAMES_JSONL}"));
        // Folders of pictures are not searched for broken videos: they may hold a million files.
        let is_of_videos = videos > 0 || fs::metadata(&manifest).is_ok_and(|about| about.len() == 0);
        if is_of_videos && prefix.is_empty() {
            others.extend(broken(&folder));
        }
        for name in [FRAMES_PTS, FRAMES_CSV, NOTE_JSON, FRAMES_JSONL, TAKE_JSON] {
            others.push((name.to_owned(), folder.join(format!("{prefix}{name}"))));
        }
        let marks = Vec::new();
        let mut this = Self {
            take,
            folder,
            prefix: prefix.to_owned(),
            manifest,
            identity: 0,
            others,
            videos,
            marks,
            window: Window::default(),
        };
        this.identity = this.inode();
        this
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn inode(&self) -> u64 {
        fs::metadata(&self.manifest).map_or(0, |about| about.ino())
    }

    /// Forgets what is known of the manifest if it was rewritten.
    fn refresh(&mut self) {
        let now = self.inode();
        if now != self.identity {
            self.identity = now;
            self.marks.clear();
            self.window = Window::default();
        }
    }

    /// Up to `most` files from the `skip`th on, and whether there are more.
    pub(super) fn page(&mut self, skip: usize, most: usize) -> io::Result<(Vec<FileEntry>, bool)> {
        self.refresh();
        let begin = Mark { skip: 0, at: Place::Picture(0) };
        let known = self.marks.partition_point(|mark| mark.skip <= skip);
        let mark = known.checked_sub(1).map_or(begin, |last| self.marks[last]);
        let mut passed = mark.skip;
        let mut files = Vec::new();
        let mut next = None;
        self.walk(mark.at, |place, name, path| {
            if files.len() >= most {
                next = Some(place);
                return false;
            }
            if let Some(file) = entry(name, path) {
                if passed >= skip {
                    files.push(file);
                }
                passed += 1;
            }
            true
        })?;
        if let Some(at) = next {
            let skip = skip + files.len();
            let index = self.marks.partition_point(|mark| mark.skip < skip);
            if self.marks.get(index).is_none_or(|mark| mark.skip != skip) {
                self.marks.insert(index, Mark { skip, at });
            }
        }
        Ok((files, next.is_some()))
    }

    /// Hands names from `from` on to `visit`, each with its place and its path on the disk, until that returns `false`.
    fn walk(&self, from: Place, mut visit: impl FnMut(Place, &str, &Path) -> bool) -> io::Result<()> {
        let others = match from {
            Place::Other(index) => index,
            Place::Picture(at) => {
                let mut last = String::new();
                let goes_on = self.pictures(at, |at, name| {
                    if name == last {
                        return true;
                    }
                    name.clone_into(&mut last);
                    visit(Place::Picture(at), name, &self.folder.join(name))
                })?;
                if !goes_on {
                    return Ok(());
                }
                0
            }
        };
        for (index, (name, path)) in self.others.iter().enumerate().skip(others) {
            if !visit(Place::Other(index), name, path) {
                break;
            }
        }
        Ok(())
    }

    /// Hands the names in the manifest to `visit`, each with the offset of its line, from the line at `from` on, until that
    /// returns `false`. Returns whether it never did. Malformed lines are skipped.
    fn pictures(&self, from: u64, mut visit: impl FnMut(u64, &str) -> bool) -> io::Result<bool> {
        if self.videos > 0 {
            return Ok(true); // its lines name the videos
        }
        let mut file = match File::open(&self.manifest) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            other => other?,
        };
        file.seek(SeekFrom::Start(from))?;
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let (mut at, mut line) = (from, Vec::new());
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                return Ok(true); // the last line is incomplete
            }
            if let Ok(ManifestLine { file }) = serde_json::from_slice(&line)
                && check_path(&file).is_ok()
                && !visit(at, &file)
            {
                return Ok(false);
            }
            at += length as u64;
        }
    }

    /// The path of the file `name` on the disk; `None`: the take has no such file. Cheapest if names are looked up in the order
    /// of [`page`](Self::page).
    pub(super) fn on_disk(&mut self, name: &str) -> io::Result<Option<PathBuf>> {
        if let Some((_, path)) = self.others.iter().find(|(other, _)| other == name) {
            return Ok(Some(path.clone()));
        }
        if check_path(name).is_err() || !self.folder.join(name).exists() {
            return Ok(None);
        }
        self.refresh();
        let is_known = self.window.names.contains(name) || {
            let from = self.window.end;
            // First to the end, then from the beginning.
            self.look_for(name, from, u64::MAX)? || self.look_for(name, 0, from)?
        };
        Ok(is_known.then(|| self.folder.join(name)))
    }

    /// Moves the window from the line at `from` towards `until`, or until it contains `name`.
    fn look_for(&mut self, name: &str, from: u64, until: u64) -> io::Result<bool> {
        let mut from = from;
        while from < until {
            let mut window = Window { names: HashSet::new(), end: from };
            let is_end = self.pictures(from, |at, name| {
                window.end = at;
                let has_room = at < until && window.names.len() < WINDOW;
                if has_room {
                    window.names.insert(name.to_owned());
                }
                has_room
            })?;
            let found = window.names.contains(name);
            if is_end {
                window.end = fs::metadata(&self.manifest).map_or(0, |about| about.len());
            }
            let is_last = is_end || window.end >= until || window.end == from;
            from = window.end;
            if found || !window.names.is_empty() {
                self.window = window;
            }
            if found || is_last {
                return Ok(found);
            }
        }
        Ok(false)
    }

    /// Whether a picture or a video still exists.
    pub(super) fn has_media(&self) -> io::Result<bool> {
        let videos = self.others[..self.videos].iter();
        if videos.filter(|(name, _)| !name.ends_with(".pts")).any(|(_, path)| path.exists()) {
            return Ok(true);
        }
        let all_gone = self.pictures(0, |_, name| !self.folder.join(name).exists())?;
        Ok(!all_gone)
    }
}

/// Broken videos in `folder`: they cannot be played, but may be repaired by hand.
fn broken(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut broken: Vec<_> =
        names.filter(|name| name.ends_with(BROKEN) && check_path(name).is_ok()).collect();
    broken.sort();
    broken.into_iter().map(|name| (name.clone(), folder.join(name))).collect()
}

fn entry(name: &str, path: &Path) -> Option<FileEntry> {
    let about = fs::symlink_metadata(path).ok().filter(Metadata::is_file)?;
    Some(FileEntry { path: name.to_owned(), bytes: about.len(), modified_ns: modified(&about) })
}
