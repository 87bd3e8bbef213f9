//! Collects a device's part of a take into `<out>/<order>/<device>/`.
//!
//! A file gets its name only when it is whole and has the SHA-256 of the device's file. Until then it is `.NAME.part`. After an
//! interruption (a lost connection, a full disk) the next collection goes on where this one stopped. A file that is here
//! already is not fetched again: it is read, and its SHA-256 decides, not its size and age. A file that is here and differs
//! from the device's is kept under another name.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use swsync_core::manifest::{
    FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, NOTE_JSON, PathError, TAKE_JSON, check_path,
};
use swsync_core::name::{DeviceId, Name, OrderId};
use swsync_files::digest::{Sha256, of_file};
use swsync_files::{Disk, Storage as _, partial_of};
use swsync_rig::share::{FileDigest, FileEntry};

use crate::pending::{self, Pending};
use crate::removal::sha256_of_list;
use crate::{RemoteError, RemoteTakes};

/// Bytes of one request: a tenth of a second on good WiFi.
const CHUNK: u64 = 1 << 20;

/// How often a file is fetched that changes meanwhile, or comes with a wrong SHA-256.
const TRIES: usize = 3;

/// Name of the list of collected files, in the folder of a device's part of a take.
const LIST: &str = ".collected.jsonl";

/// Why a take is not collected, or not completely. Collected files stay, and are not fetched again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// The device fails.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The device cannot be reached.
    #[error("{device} cannot be asked for its files: {why}")]
    Absent {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
    /// This host's disk fails.
    #[error("cannot write {}: {error}{}", path.display(), remedy(error))]
    Local {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// Another process collects the same take.
    #[error("{} is being collected by another process", folder.display())]
    Locked {
        /// The take's folder.
        folder: PathBuf,
    },
    /// Two names that are one on disks without upper and lower case.
    #[error(
        "{} is here already, and is the folder of {name} too where upper and lower case are one: collect one of the two into \
         another folder, and name them differently",
        there.display()
    )]
    Alike {
        /// The folder that exists.
        there: PathBuf,
        /// The device or order that is not collected.
        name: Name,
    },
    /// The fetched bytes differ from the device's file.
    #[error(
        "{device}: {path} came broken {TRIES} times: its SHA-256 is {here} here and {there} there; is the \
         device's disk failing?"
    )]
    Corrupt {
        /// The device.
        device: DeviceId,
        /// The file.
        path: String,
        /// SHA-256 of the fetched bytes.
        here: String,
        /// SHA-256 by the device.
        there: String,
    },
    /// The file is being written.
    #[error("{device}: {path} keeps changing while it is fetched")]
    Changing {
        /// The device.
        device: DeviceId,
        /// The file.
        path: String,
    },
    /// A name that leads out of the folder.
    #[error("the device lists a file that cannot be meant: {0}")]
    Path(#[from] PathError),
    /// The take cannot be deleted, since not all of it is here.
    #[error(
        "{device}: nothing is deleted, since {path} here differs from the file on the device; collect again"
    )]
    NotHere {
        /// The device.
        device: DeviceId,
        /// The file.
        path: String,
    },
}

/// What to do about an error.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room and collect again: it goes on where it stopped"
        }
        _ => "",
    }
}

/// Progress of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectEvent {
    /// The files to fetch are known.
    Planned {
        /// Number of files to fetch.
        files: usize,
        /// Their bytes, without those fetched before.
        bytes: u64,
        /// Number of files that are here already.
        here: usize,
    },
    /// This many more bytes were fetched.
    Bytes(u64),
    /// A file is whole and verified.
    Verified,
    /// A file must be fetched again: this many bytes are lost.
    Again(u64),
}

/// A collected take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// Its folder.
    pub folder: PathBuf,
    /// Number of its files.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them were fetched this time.
    pub fetched: usize,
    /// Number of files that the device removed after it had listed them.
    pub gone: usize,
    /// New names of files that were here and differed from the device's.
    pub kept: Vec<String>,
    /// Whether the device has completed the take.
    pub complete: bool,
    /// SHA-256 of the list of files, for [`CollectedMark`](swsync_core::share::CollectedMark). `None`: not all of them are here.
    pub sha256: Option<String>,
}

/// A take that was deleted on its device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Number of files.
    pub files: usize,
    /// As in [`Collected`]: the device found other sums for some files than it had sent.
    pub kept: Vec<String>,
}

/// A verified file in the list of collected files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CollectedFile {
    path: String,
    #[serde(flatten)]
    digest: FileDigest,
}

/// The folder of a device's part of a take on this host.
struct CollectedFolder {
    path: PathBuf,
    list: File,
    collected: HashMap<String, FileDigest>,
    /// Names of files here that differ from the device's, and must be kept under other names.
    differing: HashSet<String>,
    /// New names of such files.
    kept: Vec<String>,
}

/// Collects the take of `order` from `remote` into `<out>/<order>/<device>/`.
///
/// # Errors
/// [`CollectError`]. Files and parts that were fetched until then stay for the next time.
pub fn collect(
    remote: &RemoteTakes<'_>,
    order: &OrderId,
    out: &Path,
    mut on_event: impl FnMut(CollectEvent),
) -> Result<Collected, CollectError> {
    let files = remote.files(order)?;
    for file in &files {
        check_path(&file.path)?;
    }
    let mut folder = CollectedFolder::open(out, order, remote.device())?;
    let mut wanted = Vec::new();
    for file in &files {
        if !folder.has(remote, order, file)? {
            wanted.push(file);
        }
    }
    // Side files come last: they know which other files are gone by then.
    wanted.sort_by_key(|file| (is_side(&file.path), file.path == TAKE_JSON));
    let begun = |file: &&FileEntry| fs::metadata(folder.part(&file.path)).map_or(0, |part| part.len());
    let bytes = wanted.iter().map(|file| file.bytes.saturating_sub(begun(file))).fold(0, u64::saturating_add);
    on_event(CollectEvent::Planned { files: wanted.len(), bytes, here: files.len() - wanted.len() });
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
                on_event(CollectEvent::Verified);
            }
            Err(CollectError::Remote(RemoteError::Refused { .. }))
                if is_gone(remote, order, &file.path, &mut left)? =>
            {
                folder.remove_part(&file.path)?;
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
    let known = |file: &'_ FileEntry| folder.collected.get_key_value(&file.path);
    let digests: Option<Vec<_>> = here().map(known).collect();
    let sha256 = digests
        .filter(|_| complete && gone.is_empty())
        .map(|all| sha256_of_list(all.into_iter().map(|(path, digest)| (path.as_str(), digest))));
    Ok(Collected {
        folder: folder.path.clone(),
        files: here().count(),
        bytes: here().map(|file| file.bytes).fold(0, u64::saturating_add),
        fetched: wanted.len() - gone.len(),
        gone: gone.len(),
        kept: folder.kept,
        complete,
        sha256,
    })
}

/// Whether `path` is a side file, which the device rewrites.
fn is_side(path: &str) -> bool {
    [FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, NOTE_JSON, TAKE_JSON].contains(&path)
}

/// Whether a file that the device refuses has been removed since it was listed. `left` caches the files that remain; the device
/// is asked again only if that may be out of date.
fn is_gone(
    remote: &RemoteTakes<'_>,
    order: &OrderId,
    path: &str,
    left: &mut Option<HashSet<String>>,
) -> Result<bool, CollectError> {
    if left.as_ref().is_none_or(|left| left.contains(path)) {
        *left = Some(remote.files(order)?.into_iter().map(|file| file.path).collect());
    }
    Ok(left.as_ref().is_some_and(|left| !left.contains(path)))
}

/// Deletes the take of `order` on the device, once all of it is here: each file is read again on both sides first. If the device
/// then finds another sum than it had sent (its disk may be failing), the file is fetched again, and the earlier one is kept.
///
/// # Errors
/// [`CollectError::NotHere`] before anything is deleted.
pub fn delete(remote: &RemoteTakes<'_>, order: &OrderId, out: &Path) -> Result<Deleted, CollectError> {
    let mut files = remote.files(order)?;
    let mut folder = CollectedFolder::open(out, order, remote.device())?;
    for file in &files {
        let not_here = || CollectError::NotHere { device: remote.device().clone(), path: file.path.clone() };
        check_path(&file.path)?;
        let digest = folder.collected.get(&file.path).ok_or_else(not_here)?;
        let now = of_file(&folder.path.join(&file.path)).map_err(|_| not_here())?;
        if !matches(digest, file) || now != (digest.bytes, digest.sha256.clone()) {
            return Err(not_here());
        }
    }
    // take.json goes last: the other files are found by it.
    files.sort_by_key(|file| (is_side(&file.path), file.path == TAKE_JSON));
    for file in &files {
        folder.delete_on_device(remote, order, file)?;
    }
    Ok(Deleted { files: files.len(), kept: folder.kept })
}

/// Whether `digest` is of the listed `file`, by size and age.
fn matches(digest: &FileDigest, file: &FileEntry) -> bool {
    (digest.bytes, digest.modified_ns) == (file.bytes, file.modified_ns)
}

impl CollectedFolder {
    /// Opens or makes the folder, and locks it for this process.
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
        // The file of a line that a power cut left torn is fetched again.
        let lines = BufReader::new(&list).lines().map_while(Result::ok);
        let collected = lines.filter_map(|line| serde_json::from_str::<CollectedFile>(&line).ok());
        let collected = collected.map(|file| (file.path, file.digest)).collect();
        Ok(Self { path, list, collected, differing: HashSet::new(), kept: Vec::new() })
    }

    /// Whether the file here is the device's, by its sum. The file here is read. The device reads its own only if it may have
    /// changed since it was fetched. A file here that differs is marked to be kept.
    fn has(
        &mut self,
        remote: &RemoteTakes<'_>,
        order: &OrderId,
        file: &FileEntry,
    ) -> Result<bool, CollectError> {
        let path = self.path.join(&file.path);
        let (bytes, here) = match of_file(&path) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(CollectError::Local { path, error }),
        };
        let known = self.collected.get(&file.path).cloned();
        let is_unchanged = known.as_ref().is_some_and(|known| known.sha256 == here);
        let there = match known.filter(|known| matches(known, file)) {
            Some(known) => Some(known.sha256),
            None if bytes != file.bytes => None, // they differ
            None => match remote.digest(order, &file.path, file.bytes) {
                Ok(digest) if digest.sha256 == here => {
                    self.note(&file.path, digest)?;
                    return Ok(true);
                }
                Ok(digest) => Some(digest.sha256),
                Err(RemoteError::Refused { .. }) => None, // it is gone, which fetching it will show
                Err(error) => return Err(error.into()),
            },
        };
        if there.is_some_and(|there| there == here) {
            return Ok(true);
        }
        if !(is_unchanged && is_side(&file.path)) {
            self.differing.insert(file.path.clone());
        }
        Ok(false)
    }

    /// Deletes `file` on the device, which must be here. If it has changed there, it is fetched again first.
    fn delete_on_device(
        &mut self,
        remote: &RemoteTakes<'_>,
        order: &OrderId,
        file: &FileEntry,
    ) -> Result<(), CollectError> {
        for _ in 0..TRIES {
            let Some(digest) = self.collected.get(&file.path) else { break };
            if remote.delete(order, &file.path, file.bytes, &digest.sha256)? {
                return Ok(());
            }
            self.differing.insert(file.path.clone());
            let digest = self.fetch(remote, order, file, &mut |_| ())?;
            self.note(&file.path, digest)?;
        }
        Err(CollectError::Changing { device: remote.device().clone(), path: file.path.clone() })
    }

    /// Renames the file here if it differs from the device's `path`.
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
        swsync_core::log::info!(old = %old.display(), new = %new.display(), "kept a file that differs from the device's");
        self.kept.push(new.strip_prefix(&self.path).unwrap_or(&new).display().to_string());
        Ok(())
    }

    /// The temporary name of `path` until it is whole.
    fn part(&self, path: &str) -> PathBuf {
        partial_of(&self.path.join(path))
    }

    /// Adds `path` to the list of collected files.
    fn note(&mut self, path: &str, digest: FileDigest) -> Result<(), CollectError> {
        let file = CollectedFile { path: path.to_owned(), digest };
        // The newline in front ends a torn line.
        let line = serde_json::to_string(&file).expect("a struct of strings and numbers");
        let written = self.list.write_all(format!("\n{line}\n").as_bytes());
        written.map_err(|error| CollectError::Local { path: self.path.join(LIST), error })?;
        self.collected.insert(file.path, file.digest);
        Ok(())
    }

    /// Removes the fetched part of a file that is gone.
    fn remove_part(&self, path: &str) -> Result<(), CollectError> {
        let part = self.part(path);
        match fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CollectError::Local { path: part, error })
            }
            _ => Ok(()),
        }
    }

    /// Fetches a file whole and verified.
    fn fetch(
        &mut self,
        remote: &RemoteTakes<'_>,
        order: &OrderId,
        file: &FileEntry,
        on_event: &mut impl FnMut(CollectEvent),
    ) -> Result<FileDigest, CollectError> {
        let (path, part) = (self.path.join(&file.path), self.part(&file.path));
        let local = |error| CollectError::Local { path: part.clone(), error };
        let mut file = file.clone();
        let mut problem = None;
        for _ in 0..TRIES {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(local)?;
            }
            match fetch_part(remote, order, &file, &part, on_event)? {
                FetchResult::Whole(digest) => {
                    self.set_aside(&file.path).map_err(local)?;
                    fs::rename(&part, &path).map_err(local)?;
                    // The new name must survive a power cut.
                    Disk.sync_folder(path.parent().unwrap_or(&self.path)).map_err(local)?;
                    return Ok(digest);
                }
                FetchResult::Again(why) => {
                    let lost = fs::metadata(&part).map_or(0, |part| part.len());
                    fs::remove_file(&part).map_err(local)?;
                    on_event(CollectEvent::Again(lost));
                    if let FetchProblem::Changed { bytes, modified_ns } = why {
                        file = FileEntry { bytes, modified_ns, ..file };
                    }
                    problem = Some(why);
                }
            }
        }
        let (device, path) = (remote.device().clone(), file.path);
        Err(match problem {
            Some(FetchProblem::WrongSum { here, there }) => {
                CollectError::Corrupt { device, path, here, there }
            }
            Some(FetchProblem::Changed { .. }) | None => CollectError::Changing { device, path },
        })
    }
}

/// Result of fetching a file.
enum FetchResult {
    /// It is whole under its temporary name, on the disk.
    Whole(FileDigest),
    /// The fetched bytes are of no use.
    Again(FetchProblem),
}

/// Why a file must be fetched again.
enum FetchProblem {
    /// It has changed, and has this size and age now.
    Changed { bytes: u64, modified_ns: i64 },
    /// It is the same, but the SHA-256 differs.
    WrongSum { here: String, there: String },
}

/// Fetches the rest of `file` into `part`, and verifies it.
fn fetch_part(
    remote: &RemoteTakes<'_>,
    order: &OrderId,
    file: &FileEntry,
    part: &Path,
    on_event: &mut impl FnMut(CollectEvent),
) -> Result<FetchResult, CollectError> {
    let local = |error| CollectError::Local { path: part.to_owned(), error };
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part);
    let mut on_disk = open.map_err(local)?;
    let mut sum = Sha256::default();
    let mut have = sum.read(&mut on_disk).map_err(local)?;
    let changed = |bytes, modified_ns| Ok(FetchResult::Again(FetchProblem::Changed { bytes, modified_ns }));
    if have > file.bytes {
        return changed(file.bytes, file.modified_ns); // the part is of an earlier file
    }
    on_disk.seek(SeekFrom::Start(have)).map_err(local)?;
    let mut there = None;
    // At least one request, to get the sum of an empty file.
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
        on_event(CollectEvent::Bytes(bytes.len() as u64));
    }
    let digest = match there {
        Some(sha256) => FileDigest { bytes: file.bytes, modified_ns: file.modified_ns, sha256 },
        None => remote.digest(order, &file.path, file.bytes)?,
    };
    if !matches(&digest, file) {
        return changed(digest.bytes, digest.modified_ns);
    }
    let here = sum.finish();
    if here != digest.sha256 {
        return Ok(FetchResult::Again(FetchProblem::WrongSum { here, there: digest.sha256 }));
    }
    on_disk.sync_all().map_err(local)?;
    Ok(FetchResult::Whole(digest))
}

/// Checks that the folder `name` in `parent` is no other name's folder.
///
/// # Errors
/// [`CollectError::Alike`] if there is a folder whose name differs in case only: on many disks they are one.
pub fn check_case(parent: &Path, name: &Name) -> Result<(), CollectError> {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let other = entry.file_name().into_string().ok().and_then(|other| Name::new(other).ok());
        if other.is_some_and(|other| other != *name && other.is_folder_of(name)) {
            return Err(CollectError::Alike { there: entry.path(), name: name.clone() });
        }
    }
    Ok(())
}
