//! Bringing a device's take home: `<out>/<order>/<device>/`, as it is there.
//!
//! A file appears under its name only when it is whole and its SHA-256 is that of the device's. Until then it
//! is `.NAME.part`, and what came in between (an interruption, a lost connection, a full disk) costs nothing
//! but the time: whoever collects again goes on where it stopped. What is here already is not fetched again: it is read, and
//! its sum decides, not its size and age. What is here under a file's name and is not what the device has is kept under
//! another name.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use swsync_core::manifest::{FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, PathError, TAKE_JSON, check_path};
use swsync_core::name::{DeviceId, Name, OrderId};

use super::digest::{Sha256, of_file};
use super::message::{Digest, FileEntry};
use super::pending::{self, Pending};
use super::remote::{Remote, RemoteError};

/// Bytes that are fetched at once: a tenth of a second on good WiFi.
const CHUNK: u64 = 1 << 20;

/// How often a file is fetched anew that changed meanwhile, or came broken.
const TRIES: usize = 3;

/// Name of the list of what is here, in each take's folder of a device.
const LIST: &str = ".collected.jsonl";

/// Why a take is not here, or not all of it. What is here stays, and is not fetched again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The device.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// This host's disk.
    #[error("cannot write {}: {error}{}", path.display(), remedy(error))]
    Local {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another process collects the same.
    #[error("{} is being collected by another process", folder.display())]
    Locked {
        /// The take's folder.
        folder: PathBuf,
    },
    /// Two names that are one on many disks.
    #[error(
        "{} is here already, and is the folder of {name} too where upper and lower case are one: collect one of the two into \
         another folder, and name them differently",
        there.display()
    )]
    Alike {
        /// What is there.
        there: PathBuf,
        /// Of the device or the order that is not collected.
        name: Name,
    },
    /// What came is not what the device has.
    #[error(
        "{device}: {path} came broken {TRIES} times: its SHA-256 is {here} here and {there} there; is the \
         device's disk failing?"
    )]
    Corrupt {
        /// The device.
        device: DeviceId,
        /// The file.
        path: String,
        /// The sum of what came.
        here: String,
        /// The sum that the device counted.
        there: String,
    },
    /// It is being written.
    #[error("{device}: {path} keeps changing while it is fetched")]
    Changing {
        /// The device.
        device: DeviceId,
        /// The file.
        path: String,
    },
    /// A name that leads elsewhere.
    #[error("the device lists a file that cannot be meant: {0}")]
    Path(#[from] PathError),
    /// Deleting was asked for, but not everything is here.
    #[error("{device}: nothing is deleted, since {path} is not here as it is there; collect again")]
    NotHere {
        /// The device.
        device: DeviceId,
        /// The file.
        path: String,
    },
}

/// What to do about it.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room and collect again: it goes on where it stopped"
        }
        _ => "",
    }
}

/// How a collection gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// So many files are there, and so many of them are here already.
    Planned {
        /// Files to be fetched.
        files: usize,
        /// Their bytes, less those of a file that was begun before.
        bytes: u64,
        /// Files that are here.
        here: usize,
    },
    /// So many bytes more have come.
    Bytes(u64),
    /// A file is whole and right.
    Verified,
    /// A file has to be fetched anew: so many bytes were for nothing.
    Again(u64),
}

/// A take that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// Its folder.
    pub folder: PathBuf,
    /// Its files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them came this time.
    pub fetched: usize,
    /// Files that were removed there after they were listed.
    pub gone: usize,
    /// Names under which is kept what was here and was not what the device has.
    pub kept: Vec<String>,
    /// Whether the device is done with the take.
    pub complete: bool,
}

/// What was deleted on a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// How many files.
    pub files: usize,
    /// As in [`Collected`]: the device read some of its files anew, and they were not what it had sent.
    pub kept: Vec<String>,
}

/// A file that was verified, as it stands in the list of what is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Here {
    path: String,
    #[serde(flatten)]
    digest: Digest,
}

/// A take's folder on this host.
struct Folder {
    path: PathBuf,
    list: File,
    here: HashMap<String, Digest>,
    /// What is here under these names is to be kept under others.
    differing: HashSet<String>,
    /// Names under which that was done.
    kept: Vec<String>,
}

/// Brings the take of `order` on `remote`'s device to `<out>/<order>/<device>/`.
///
/// # Errors
/// [`CollectError`]. What came until then stays for the next time.
pub fn collect(
    remote: &Remote<'_>,
    order: &OrderId,
    out: &Path,
    mut on_event: impl FnMut(Event),
) -> Result<Collected, CollectError> {
    let files = remote.files(order)?;
    for file in &files {
        check_path(&file.path)?;
    }
    let mut folder = Folder::open(out, order, remote.device())?;
    let mut wanted = Vec::new();
    for file in &files {
        if !folder.has(remote, order, file)? {
            wanted.push(file);
        }
    }
    // What tells of the files comes last: it knows what became of those that are gone by then.
    wanted.sort_by_key(|file| (is_side(&file.path), file.path == TAKE_JSON));
    let begun = |file: &&FileEntry| fs::metadata(folder.part(&file.path)).map_or(0, |part| part.len());
    let bytes = wanted.iter().map(|file| file.bytes.saturating_sub(begun(file))).sum();
    on_event(Event::Planned { files: wanted.len(), bytes, here: files.len() - wanted.len() });
    let note = |why: &str| {
        let remembered = Pending { why: why.into(), given_up: false }.remember(out, order, remote.device());
        remembered.map_err(|error| CollectError::Local { path: folder.path.join(pending::NOTE), error })
    };
    if !wanted.is_empty() {
        note("not all of it has come")?;
    }
    let (mut gone, mut left) = (HashSet::new(), None);
    for file in &wanted {
        match folder.fetch(remote, order, file, &mut on_event) {
            Ok(digest) => {
                folder.note(&file.path, digest)?;
                on_event(Event::Verified);
            }
            Err(CollectError::Remote(RemoteError::Refused { .. }))
                if is_gone(remote, order, &file.path, &mut left)? =>
            {
                folder.forget(&file.path)?;
                gone.insert(&file.path);
            }
            Err(error) => return Err(error),
        }
    }
    let complete = pending::is_done(&folder.path);
    if complete {
        Pending::forget(out, order, remote.device())
            .map_err(|error| CollectError::Local { path: folder.path.join(pending::NOTE), error })?;
    }
    let here = || files.iter().filter(|file| !gone.contains(&file.path));
    Ok(Collected {
        folder: folder.path.clone(),
        files: here().count(),
        bytes: here().map(|file| file.bytes).sum(),
        fetched: wanted.len() - gone.len(),
        gone: gone.len(),
        kept: folder.kept,
        complete,
    })
}

/// Whether `path` is one of the files that stand beside pictures and videos: the device writes those anew.
fn is_side(path: &str) -> bool {
    [FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, TAKE_JSON].contains(&path)
}

/// Whether the device, which refuses a file that it has listed, has it no more. `left`: the files that it had when that was
/// asked last; it is asked again only where it may have changed its mind since.
fn is_gone(
    remote: &Remote<'_>,
    order: &OrderId,
    path: &str,
    left: &mut Option<HashSet<String>>,
) -> Result<bool, CollectError> {
    if left.as_ref().is_none_or(|left| left.contains(path)) {
        *left = Some(remote.files(order)?.into_iter().map(|file| file.path).collect());
    }
    Ok(left.as_ref().is_some_and(|left| !left.contains(path)))
}

/// Has the device delete the take of `order`, once all of it is here: each file is read again on both sides first. Where the
/// device then finds another sum than it had sent (its disk may be failing), the file comes once more, and what came before
/// is kept.
///
/// # Errors
/// [`CollectError::NotHere`] before anything is deleted.
pub fn delete(remote: &Remote<'_>, order: &OrderId, out: &Path) -> Result<Deleted, CollectError> {
    let mut files = remote.files(order)?;
    let mut folder = Folder::open(out, order, remote.device())?;
    for file in &files {
        let not_here = || CollectError::NotHere { device: remote.device().clone(), path: file.path.clone() };
        check_path(&file.path)?;
        let digest = folder.here.get(&file.path).ok_or_else(not_here)?;
        let now = of_file(&folder.path.join(&file.path)).map_err(|_| not_here())?;
        if !matches(digest, file) || now != (digest.bytes, digest.sha256.clone()) {
            return Err(not_here());
        }
    }
    // What describes the take goes last: until then the rest can be found.
    files.sort_by_key(|file| (is_side(&file.path), file.path == TAKE_JSON));
    for file in &files {
        folder.delete_there(remote, order, file)?;
    }
    Ok(Deleted { files: files.len(), kept: folder.kept })
}

/// Whether `digest` is of the file that is listed as `file`, as far as that can be told without reading it.
fn matches(digest: &Digest, file: &FileEntry) -> bool {
    (digest.bytes, digest.modified_ns) == (file.bytes, file.modified_ns)
}

impl Folder {
    /// Opens or makes it, for this process alone.
    fn open(out: &Path, order: &OrderId, device: &DeviceId) -> Result<Self, CollectError> {
        check_case(out, order)?;
        check_case(&out.join(order.as_str()), device)?;
        let path = pending::folder(out, order, device);
        let list_path = path.join(LIST);
        let local = |error| CollectError::Local { path: list_path.clone(), error };
        fs::create_dir_all(&path).map_err(local)?;
        let list = OpenOptions::new().read(true).append(true).create(true).open(&list_path).map_err(local)?;
        match list.try_lock() {
            Ok(()) => (),
            Err(fs::TryLockError::WouldBlock) => return Err(CollectError::Locked { folder: path }),
            Err(fs::TryLockError::Error(error)) => return Err(local(error)),
        }
        // A line that a power cut left torn is of a file that is fetched again.
        let lines = BufReader::new(&list).lines().map_while(Result::ok);
        let here = lines.filter_map(|line| serde_json::from_str::<Here>(&line).ok());
        let here = here.map(|here| (here.path, here.digest)).collect();
        Ok(Self { path, list, here, differing: HashSet::new(), kept: Vec::new() })
    }

    /// Whether `file` is here as it is there, by its sum. What is here is read; the device reads its own only where it may
    /// have changed since it came. Where it is another one, it is to be kept.
    fn has(&mut self, remote: &Remote<'_>, order: &OrderId, file: &FileEntry) -> Result<bool, CollectError> {
        let path = self.path.join(&file.path);
        let (bytes, here) = match of_file(&path) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(CollectError::Local { path, error }),
        };
        let known = self.here.get(&file.path).cloned();
        let is_as_it_came = known.as_ref().is_some_and(|known| known.sha256 == here);
        let there = match known.filter(|known| matches(known, file)) {
            Some(known) => Some(known.sha256),
            None if bytes != file.bytes => None, // it cannot be the same
            None => match remote.digest(order, &file.path, file.bytes) {
                Ok(digest) if digest.sha256 == here => {
                    self.note(&file.path, digest)?;
                    return Ok(true);
                }
                Ok(digest) => Some(digest.sha256),
                Err(RemoteError::Refused { .. }) => None, // it is gone, which fetching it finds out
                Err(error) => return Err(error.into()),
            },
        };
        if there.is_some_and(|there| there == here) {
            return Ok(true);
        }
        if !(is_as_it_came && is_side(&file.path)) {
            self.differing.insert(file.path.clone());
        }
        Ok(false)
    }

    /// Has the device delete `file`, of which the same is here; or another one by now, if that is what the device has.
    fn delete_there(
        &mut self,
        remote: &Remote<'_>,
        order: &OrderId,
        file: &FileEntry,
    ) -> Result<(), CollectError> {
        for _ in 0..TRIES {
            let Some(digest) = self.here.get(&file.path) else { break };
            if remote.delete(order, &file.path, file.bytes, &digest.sha256)? {
                return Ok(());
            }
            self.differing.insert(file.path.clone());
            let digest = self.fetch(remote, order, file, &mut |_| ())?;
            self.note(&file.path, digest)?;
        }
        Err(CollectError::Changing { device: remote.device().clone(), path: file.path.clone() })
    }

    /// Makes room for what comes under the name `path`, if something else has it.
    fn set_aside(&mut self, path: &str) -> io::Result<()> {
        if !self.differing.remove(path) {
            return Ok(());
        }
        let old = self.path.join(path);
        let (stem, extension) = (
            old.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            old.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default(),
        );
        let names = (1..).map(|count| old.with_file_name(format!("{stem}.kept{count}{extension}")));
        let new = names.into_iter().find(|new| !new.exists()).expect("there are endless names");
        fs::rename(&old, &new)?;
        tracing::info!(old = %old.display(), new = %new.display(), "kept what is not what the device has");
        self.kept.push(new.strip_prefix(&self.path).unwrap_or(&new).display().to_string());
        Ok(())
    }

    /// Where `path` is until it is whole.
    fn part(&self, path: &str) -> PathBuf {
        let path = self.path.join(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        path.with_file_name(format!(".{name}.part"))
    }

    /// Notes that `path` is here.
    fn note(&mut self, path: &str, digest: Digest) -> Result<(), CollectError> {
        let here = Here { path: path.to_owned(), digest };
        // The newline in front ends a line that was torn.
        let line = serde_json::to_string(&here).expect("a struct of strings and numbers");
        let written = self.list.write_all(format!("\n{line}\n").as_bytes());
        written.map_err(|error| CollectError::Local { path: self.path.join(LIST), error })?;
        self.here.insert(here.path, here.digest);
        Ok(())
    }

    /// Removes what came of a file that is not to be had any more.
    fn forget(&self, path: &str) -> Result<(), CollectError> {
        let part = self.part(path);
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CollectError::Local { path: part, error })
            }
            _ => Ok(()),
        }
    }

    /// Brings one file here, whole and right.
    fn fetch(
        &mut self,
        remote: &Remote<'_>,
        order: &OrderId,
        file: &FileEntry,
        on_event: &mut impl FnMut(Event),
    ) -> Result<Digest, CollectError> {
        let (path, part) = (self.path.join(&file.path), self.part(&file.path));
        let local = |error| CollectError::Local { path: part.clone(), error };
        let mut file = file.clone();
        let mut trouble = None;
        for _ in 0..TRIES {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(local)?;
            }
            match fetch_part(remote, order, &file, &part, on_event)? {
                Outcome::Whole(digest) => {
                    self.set_aside(&file.path).map_err(local)?;
                    fs::rename(&part, &path).map_err(local)?;
                    sync_folder(&path).map_err(local)?;
                    return Ok(digest);
                }
                Outcome::Again(why) => {
                    let lost = fs::metadata(&part).map_or(0, |part| part.len());
                    fs::remove_file(&part).map_err(local)?;
                    on_event(Event::Again(lost));
                    if let Trouble::Changed { bytes, modified_ns } = why {
                        file = FileEntry { bytes, modified_ns, ..file };
                    }
                    trouble = Some(why);
                }
            }
        }
        let (device, path) = (remote.device().clone(), file.path);
        Err(match trouble {
            Some(Trouble::Broken { here, there }) => CollectError::Corrupt { device, path, here, there },
            Some(Trouble::Changed { .. }) | None => CollectError::Changing { device, path },
        })
    }
}

/// What came of fetching a file.
enum Outcome {
    /// It is there under its temporary name, on the disk.
    Whole(Digest),
    /// What is there is of no use.
    Again(Trouble),
}

enum Trouble {
    /// It is another one now, of this size and age.
    Changed { bytes: u64, modified_ns: i64 },
    /// It is the same, but its sum differs.
    Broken { here: String, there: String },
}

/// Fetches what of `file` is not in `part` yet, and compares.
fn fetch_part(
    remote: &Remote<'_>,
    order: &OrderId,
    file: &FileEntry,
    part: &Path,
    on_event: &mut impl FnMut(Event),
) -> Result<Outcome, CollectError> {
    let local = |error| CollectError::Local { path: part.to_owned(), error };
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part);
    let mut on_disk = open.map_err(local)?;
    let mut sum = Sha256::default();
    let mut have = sum.read(&mut on_disk).map_err(local)?;
    let changed = |bytes, modified_ns| Ok(Outcome::Again(Trouble::Changed { bytes, modified_ns }));
    if have > file.bytes {
        return changed(file.bytes, file.modified_ns); // it was another one when it was begun
    }
    on_disk.seek(SeekFrom::Start(have)).map_err(local)?;
    let mut there = None;
    // Once at least, for an empty file's sum too.
    while have < file.bytes || (have == 0 && there.is_none()) {
        let (chunk, bytes) = remote.read(order, &file.path, have, CHUNK)?;
        let same = (chunk.bytes, chunk.modified_ns) == (file.bytes, file.modified_ns);
        let fits = have + bytes.len() as u64 <= file.bytes && (!bytes.is_empty() || file.bytes == 0);
        if !same || !fits {
            return changed(chunk.bytes, chunk.modified_ns);
        }
        on_disk.write_all(&bytes).map_err(local)?;
        sum.update(&bytes);
        have += bytes.len() as u64;
        there = chunk.sha256;
        on_event(Event::Bytes(bytes.len() as u64));
    }
    let digest = match there {
        Some(sha256) => Digest { bytes: file.bytes, modified_ns: file.modified_ns, sha256 },
        None => remote.digest(order, &file.path, file.bytes)?,
    };
    if !matches(&digest, file) {
        return changed(digest.bytes, digest.modified_ns);
    }
    let here = sum.finish();
    if here != digest.sha256 {
        return Ok(Outcome::Again(Trouble::Broken { here, there: digest.sha256 }));
    }
    on_disk.sync_all().map_err(local)?;
    Ok(Outcome::Whole(digest))
}

/// Whether `name` can be a folder in `parent` that is none of another name's.
///
/// # Errors
/// [`CollectError::Alike`] where there is one whose name differs in case only: on many disks they are one.
pub fn check_case(parent: &Path, name: &Name) -> Result<(), CollectError> {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let other = entry.file_name().into_string().ok().and_then(|other| Name::new(other).ok());
        if other.is_some_and(|other| other != *name && other.is_folder_of(name)) {
            return Err(CollectError::Alike { there: entry.path(), name: name.clone() });
        }
    }
    Ok(())
}

/// Makes sure that the new name of `path` outlives a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
