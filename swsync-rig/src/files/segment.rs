//! A video file while it is written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swsync_core::frame::FrameInfo;
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::FrameRecord;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::time::{Rig, Timestamp};

use super::index::{self, Plan};
use super::lines::{LineFile, read_lines};
use super::salvage::{Source, playable};
use super::storage::{Durability, Storage, StorageFile, folder_of, make_folders};
use super::take::{Shelf, again};
use super::{final_of, partial_of};

/// What is read at once.
const CHUNK: usize = 1 << 20;

/// Room on the disk that is kept for what comes in the log, in bytes: more than a second of pictures.
const LOG_ROOM: u64 = 32 << 10;

/// A picture that was handed to the muxer, in that order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Noted {
    /// Its time.
    pub rig_time_ns: Timestamp<Rig>,
    /// Its size, as it came from the encoder.
    pub bytes: u64,
    /// What is known of it; `None`: the order does not name it, but a picture that it names needs it.
    pub info: Option<FrameInfo>,
}

/// A line of the log beside an unfinished video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    /// A picture was handed to the muxer.
    Noted(Box<Noted>),
    /// So many bytes of the video are on the disk. What lies behind may be anything after a power cut, zeros too,
    /// in a file that looks whole. Where nothing is flushed it is written at the end alone.
    Flushed { flushed: u64 },
    /// Whose video it is. The first line.
    Owner(Owner),
}

/// Whose video a log belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    pub order: OrderId,
    pub device: DeviceId,
}

/// A video file while it is written, and beside it what its pictures are: so that all but the last second of it
/// survives a power cut.
///
/// Whatever fails, what was written of it stays on the disk, to be closed later.
#[derive(Debug)]
pub struct SegmentFile {
    storage: Arc<dyn Storage>,
    durability: Durability,
    path: PathBuf,
    partial: PathBuf,
    file: Box<dyn StorageFile>,
    length: u64,
    /// How much of it is on the disk for certain.
    flushed: u64,
    /// Whether a flush failed: then only what is written anew can be flushed.
    unsure: bool,
    noted: Vec<Noted>,
    log: Log,
    /// The first write that failed.
    broken: Option<io::Error>,
    stage: Stage,
}

/// What the disk has of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Writing,
    /// Nothing more is written, and it is on the disk under its temporary name.
    Finished,
    /// It has its name.
    Named,
    /// There is nothing to do any more.
    Done,
}

/// The log of the pictures in a video. Where it cannot be written the video goes on without it, and it is tried again.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Option<LineFile>,
    /// The first lines.
    begin: String,
    /// How many pictures it has.
    pictures: usize,
}

impl Log {
    fn append(&mut self, storage: &Arc<dyn Storage>, durability: Durability, lines: &str) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.append(lines)?;
            file.reserve(LOG_ROOM);
            return Ok(());
        }
        let mut file = LineFile::open(storage, &self.path, durability)?;
        file.take_back(0)?; // of one that could not be finished
        file.append(&format!("{}{lines}", self.begin))?;
        file.reserve(LOG_ROOM);
        self.file = Some(file);
        Ok(())
    }
}

/// Name of the log of the pictures in the video file `path`.
pub(super) fn log_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder_of(path).join(format!(".{name}.frames.part"))
}

/// The video whose log is at `path`; `None`: it is no log.
pub(super) fn video_of(log: &Path) -> Option<PathBuf> {
    let named = final_of(log)?;
    (named.extension()? == "frames").then(|| named.with_extension(""))
}

/// What a log says.
#[derive(Debug, Default)]
pub(super) struct Logged {
    /// Whose video it is, where it says so.
    pub owner: Option<Owner>,
    noted: Vec<Noted>,
    /// How much of the video was on the disk, where it says so.
    pub flushed: Option<u64>,
}

impl Logged {
    /// Pictures that the order names.
    pub fn named(&self) -> impl Iterator<Item = FrameNumber> {
        self.noted.iter().filter_map(|noted| Some(noted.info?.number))
    }
}

/// Reads a log, as far as it is whole.
///
/// # Errors
/// What the system said.
pub(super) fn read_log(storage: &dyn Storage, log: &Path) -> io::Result<Logged> {
    let (mut logged, mut whole) = (Logged::default(), true);
    read_lines(storage, log, |line| match serde_json::from_str(line) {
        Ok(Line::Noted(note)) if whole => logged.noted.push(*note),
        Ok(Line::Flushed { flushed }) if whole => logged.flushed = Some(flushed),
        Ok(Line::Owner(owner)) if whole => logged.owner = Some(owner),
        _ => whole = false, // what follows has no place
    })?;
    Ok(logged)
}

impl SegmentFile {
    /// Begins the file that shall be at `path`, where there is none, nor one being written.
    pub(super) fn create(shelf: &Shelf, order: &OrderId, path: PathBuf) -> io::Result<Self> {
        let storage = Arc::clone(&shelf.storage);
        make_folders(storage.as_ref(), folder_of(&path), shelf.durability)?;
        let partial = partial_of(&path);
        let file = storage.create_new(&partial)?;
        let owner = Owner { order: order.clone(), device: shelf.device.clone() };
        let mut begin = line(&Line::Owner(owner));
        if shelf.durability == Durability::Safe {
            begin.push_str(&line(&Line::Flushed { flushed: 0 }));
        }
        let mut log = Log { path: log_of(&path), file: None, begin, pictures: 0 };
        if let Err(error) = log.append(&storage, shelf.durability, "") {
            if is_no_room(&error) {
                let _ = storage.remove(&partial); // nothing is in it
                return Err(error);
            }
            tracing::warn!(path = %log.path.display(), %error, "a video is recorded without its log for now");
        }
        Ok(Self {
            storage,
            durability: shelf.durability,
            path,
            partial,
            file,
            length: 0,
            flushed: 0,
            unsure: false,
            noted: Vec::new(),
            log,
            broken: None,
            stage: Stage::Writing,
        })
    }

    /// One that a crash left behind, without what may not have reached the disk.
    pub(super) fn reopen(shelf: &Shelf, path: PathBuf) -> io::Result<Self> {
        let storage = Arc::clone(&shelf.storage);
        let (partial, log_path) = (partial_of(&path), log_of(&path));
        let Logged { noted, flushed, owner: _ } = read_log(storage.as_ref(), &log_path)?;
        let mut file = storage.open(&partial)?;
        let mut length = storage.len(&partial)?;
        // Of what has no line nobody knows what it is: it is set aside as it is.
        let source = Source::of(storage.as_ref(), &partial, u64::MAX)?;
        // One with an index is whole, and of no use without its end.
        let is_whole = index::pictures(&source)?.is_some();
        if let Some(flushed) = flushed.filter(|flushed| *flushed < length && !noted.is_empty() && !is_whole) {
            file.set_len(flushed)?;
            length = flushed;
        }
        let log = LineFile::open(&storage, &log_path, shelf.durability)?;
        let pictures = noted.len();
        Ok(Self {
            file,
            log: Log { path: log_path, file: Some(log), begin: String::new(), pictures },
            storage,
            durability: shelf.durability,
            path,
            partial,
            length,
            flushed: length,
            unsure: false,
            noted,
            broken: Some(io::Error::other("the device was stopped while it recorded")),
            stage: Stage::Writing,
        })
    }

    /// What will be its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The most bytes that it can have, as far as that is known.
    #[must_use]
    pub fn max_bytes(&self) -> Option<u64> {
        self.storage.max_file_bytes(folder_of(&self.path))
    }

    /// Its size so far, in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Pictures at its beginning that the order does not name.
    #[must_use]
    pub fn lead_in(&self) -> u64 {
        let mut shown: Vec<_> = self.noted.iter().collect();
        shown.sort_by_key(|noted| noted.rig_time_ns);
        shown.iter().take_while(|noted| noted.info.is_none()).count() as u64
    }

    /// The muxer was handed this picture. Call before what it makes of it is written.
    pub fn note(&mut self, picture: Noted) {
        self.noted.push(picture);
    }

    /// Writes what the muxer made.
    ///
    /// # Errors
    /// What the system said, now or earlier: nothing is written behind a gap.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(error) = &self.broken {
            return Err(again(error));
        }
        self.file.write_at(offset, bytes).map_err(|error| self.fail(error))?;
        self.length = self.length.max(offset + bytes.len() as u64);
        Ok(())
    }

    /// Has what is written so far survive a power cut. Call once a second or so.
    ///
    /// # Errors
    /// What the system said of the video, now or earlier.
    pub fn sync(&mut self) -> io::Result<()> {
        if let Some(error) = &self.broken {
            return Err(again(error));
        }
        self.reach_disk().map_err(|error| self.fail(error))?;
        self.write_log();
        Ok(())
    }

    /// Has all that was written reach the disk.
    fn reach_disk(&mut self) -> io::Result<()> {
        if self.durability == Durability::Fast {
            self.flushed = self.length;
            return Ok(());
        }
        if self.unsure {
            // The system says only once that something did not reach the disk, and takes it for done then.
            let mut at = self.flushed;
            while at < self.length {
                let bytes = self.storage.read_at(&self.partial, at, CHUNK)?;
                if bytes.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.file.write_at(at, &bytes)?;
                at += bytes.len() as u64;
            }
        }
        self.unsure = true;
        self.file.sync()?;
        self.unsure = false;
        self.flushed = self.length;
        Ok(())
    }

    /// Brings the log up to what is on the disk. Where that fails, it is tried again the next time.
    fn write_log(&mut self) {
        // All that is in the file was noted before.
        let new = &self.noted[self.log.pictures.min(self.noted.len())..];
        let mut lines: String = new.iter().map(|noted| line(&Line::Noted(Box::new(*noted)))).collect();
        if self.durability == Durability::Safe || self.stage != Stage::Writing {
            lines.push_str(&line(&Line::Flushed { flushed: self.flushed }));
        }
        match self.log.append(&self.storage, self.durability, &lines) {
            Ok(()) => self.log.pictures = self.noted.len(),
            Err(error) => {
                tracing::warn!(path = %self.log.path.display(), %error, "the log of a video is behind");
            }
        }
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.broken.get_or_insert_with(|| again(&error));
        error
    }

    /// The muxer cannot finish the file: it is finished with what can be played of it.
    pub fn break_off(&mut self) {
        self.fail(io::Error::other("the video broke off"));
    }

    /// Nothing more is written: what cannot be played is cut off, and the rest gets an index and reaches the disk. Whether there is
    /// anything that can be played. Call again where it failed.
    pub(super) fn finish(&mut self) -> io::Result<bool> {
        if self.stage == Stage::Writing {
            if self.broken.is_some() && !self.cut()? {
                return Ok(false);
            }
            self.reach_disk()?;
            self.write_index()?;
            self.stage = Stage::Finished;
            self.write_log();
        } else if !self.is_named() && !self.is_logged() {
            self.write_log();
        }
        Ok(true)
    }

    /// Makes an ordinary file of it, with an index. Where there is no room for that it stays as it is, which can be played
    /// too.
    fn write_index(&mut self) -> io::Result<()> {
        let Plan { index, header: (at, header) } = match index::plan(self.storage.as_ref(), &self.partial) {
            Ok(Some(plan)) => plan,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(path = %self.path.display(), %error, "a video stays without an index");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let before = self.length;
        let written = self.file.write_at(before, &index).and_then(|()| {
            self.length = before + index.len() as u64;
            self.reach_disk()
        });
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "a video stays without an index");
            self.file.set_len(before)?;
            (self.length, self.flushed) = (before, self.flushed.min(before));
            return self.reach_disk();
        }
        self.file.write_at(at, &header)?;
        self.reach_disk()
    }

    /// Whether its log says all of what is in it: then it can be gone on with after a crash.
    pub(super) fn is_logged(&self) -> bool {
        self.log.pictures == self.noted.len()
    }

    /// Why it is not all that was recorded, if it is not.
    pub(super) fn why_broken(&self) -> Option<io::Error> {
        self.broken.as_ref().map(again)
    }

    /// Cuts the file to what can be played. `false`: nothing can be, and it is as it was.
    fn cut(&mut self) -> io::Result<bool> {
        let sizes: Vec<_> = self.noted.iter().map(|noted| noted.bytes).collect();
        let found = playable(self.storage.as_ref(), &self.partial, &sizes)?;
        let kept = usize::try_from(found.pictures).unwrap_or(usize::MAX).min(self.noted.len());
        // Of pictures in another order than they are shown, the last ones may lack one between them: none of
        // those shown after it count.
        let lost_from = self.noted[kept..].iter().map(|noted| noted.rig_time_ns).min();
        let is_shown = |noted: &Noted| lost_from.is_none_or(|lost| noted.rig_time_ns <= lost);
        if !self.noted[..kept].iter().any(|noted| noted.info.is_some() && is_shown(noted)) {
            return Ok(false);
        }
        self.file.set_len(found.length)?;
        self.noted.truncate(kept);
        for noted in self.noted.iter_mut().filter(|noted| !is_shown(noted)) {
            noted.info = None;
        }
        self.length = found.length;
        self.flushed = self.flushed.min(found.length);
        self.log.pictures = self.log.pictures.min(kept);
        Ok(true)
    }

    /// When its pictures were taken, in the order in which they are shown.
    pub(super) fn times(&self) -> Vec<Timestamp<Rig>> {
        let mut times: Vec<_> = self.noted.iter().map(|noted| noted.rig_time_ns).collect();
        times.sort();
        times
    }

    /// Records of the pictures that the order names, in the order in which they are shown.
    pub(super) fn records(&self, order: &OrderId, device: &DeviceId, file: &str) -> Vec<FrameRecord> {
        let mut shown: Vec<_> = self.noted.iter().collect();
        shown.sort_by_key(|noted| noted.rig_time_ns);
        let records = shown.iter().zip(0..).filter_map(|(noted, offset)| {
            Some(FrameRecord {
                order: order.clone(),
                device: device.clone(),
                file: file.to_owned(),
                offset,
                bytes: noted.bytes,
                info: noted.info?,
            })
        });
        records.collect()
    }

    /// Where it is now.
    pub(super) fn on_disk(&self) -> &Path {
        if self.is_named() { &self.path } else { &self.partial }
    }

    /// Whether there is nothing left to do.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Whether it has its name.
    pub(super) const fn is_named(&self) -> bool {
        matches!(self.stage, Stage::Named | Stage::Done)
    }

    /// Gives it its name, or `path` where that is taken by now; the folder is not flushed.
    pub(super) fn appear(&mut self, path: PathBuf) -> io::Result<()> {
        self.storage.rename_new(&self.partial, &path)?;
        self.stage = Stage::Named;
        if path != self.path {
            // After a crash it is known by its log, which goes by its name.
            let log = log_of(&path);
            match self.storage.rename(&self.log.path, &log) {
                Ok(()) => self.log.path = log,
                Err(error) => {
                    tracing::warn!(path = %log.display(), %error, "the log of a video has another name")
                }
            }
            self.path = path;
        }
        Ok(())
    }

    /// All is written that the log could tell.
    pub(super) fn forget(&mut self) {
        self.stage = Stage::Done;
        // One that stays is removed at the next start.
        let _ = self.storage.remove(&self.log.path);
    }

    /// Nothing of it can be played, but it may be mended by hand: it goes out of the way, under a name of its own.
    /// `None`: there was nothing in it.
    ///
    /// # Errors
    /// What the system said; then it is where it was.
    pub(super) fn set_aside(&mut self) -> io::Result<Option<PathBuf>> {
        if self.is_empty() {
            self.remove();
            return Ok(None);
        }
        let aside = set_aside(self.storage.as_ref(), &self.partial, &self.path)?;
        self.forget();
        Ok(Some(aside))
    }

    /// Whether no picture can be in it, be it that the muxer wrote its header.
    fn is_empty(&self) -> bool {
        self.length < self.noted.first().map_or(1, |first| first.bytes)
    }

    /// What was recorded is not wanted: it is removed.
    pub fn discard(mut self) {
        self.remove();
    }

    fn remove(&mut self) {
        self.stage = Stage::Done;
        // They may be gone already, and nobody is there to be told.
        let _ = self.storage.remove(&self.partial);
        let _ = self.storage.remove(&self.log.path);
    }
}

impl Drop for SegmentFile {
    /// Leaves it as it is, to be closed when the order's folder is opened again.
    fn drop(&mut self) {
        match self.stage {
            Stage::Writing if self.noted.is_empty() => self.remove(),
            Stage::Writing | Stage::Finished | Stage::Named => self.write_log(),
            Stage::Done => {}
        }
    }
}

/// What the name of a file ends with of which nobody knows what is in it.
pub const BROKEN: &str = ".broken";

/// Gives `partial` a name that says that it is [broken](BROKEN): that of `path` with that behind it.
///
/// # Errors
/// What the system said; then it is where it was.
pub(super) fn set_aside(storage: &dyn Storage, partial: &Path, path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut names = (1..).map(|part| if part == 1 { String::new() } else { format!("-{part}") });
    loop {
        let part = names.next().expect("there are endless names");
        let aside = path.with_file_name(format!("{name}{part}{BROKEN}"));
        match storage.rename_new(partial, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| aside),
        }
    }
}

fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn line(line: &Line) -> String {
    let mut line =
        serde_json::to_string(line).expect("a line is a plain struct with string keys, which JSON can hold");
    line.push('\n');
    line
}
