//! The takes of one device on its disk, and no other files of that disk.
//!
//! A request costs no more than its reply needs. Takes are found by their `take.json`, which is read only when it has changed.
//! A manifest is read only for requests of its own take, in parts, in bounded memory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use swsync_core::manifest::{FRAMES_JSONL, TAKE_JSON, Take};
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::share::{
    Chunk, FileDigest, FileEntry, MAX_CHUNK, NoteError, TakeEntry, TakeSummary, Unreadable,
};
use swsync_files::{collected_mark_path, digest, hidden_prefix, read_take_json};

use super::file_list::FileList;
use super::modified::modified;
use super::summaries::SmallFiles;

/// Depth of folders below the root that is searched for takes: the default location has them at depth 2.
const DEPTH: usize = 4;

/// Most folders that are searched: the root may be somebody's home.
const MAX_FOLDERS: usize = 50_000;

/// A folder that changed this recently may change again without a change of its time stamp.
const SETTLED: Duration = Duration::from_secs(2);

/// Most sums that are remembered.
const MAX_DIGESTS: usize = 1_000;

/// Most takes whose file lists are remembered. Other lists are made again.
const MAX_LISTS: usize = 4;

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum CatalogError {
    #[error("there is no take {0} here")]
    NoTake(OrderId),
    #[error("take {order} has no file {path:?}")]
    NoFile { order: OrderId, path: String },
    #[error("take {0} is not finished")]
    Unfinished(OrderId),
    #[error("take {0} is not what was verified to be collected; collect it again")]
    NotCollected(OrderId),
    #[error(transparent)]
    Note(NoteError),
    #[error("{path:?} tells of files that are still here: delete them first")]
    StillNeeded { path: String },
    #[error("{path:?} is not what you have: its SHA-256 is {sha256}")]
    Differs { path: String, sha256: String },
    #[error("{path:?}: {error}")]
    Io { path: String, error: io::Error },
}

/// A folder as it was last read.
#[derive(Debug)]
struct ScannedFolder {
    changed: (i64, u64),
    /// Whether its last change was old enough when it was read, so that any later change changes its time stamp.
    is_settled: bool,
    folders: Vec<PathBuf>,
    /// Prefixes of the [`TAKE_JSON`] files in it.
    takes: Vec<String>,
    /// Prefixes of the [`FRAMES_JSONL`] files in it.
    manifests: Vec<String>,
    /// Prefixes of takes in it that are being removed.
    hidden: Vec<String>,
}

/// A `take.json` as it was last read.
#[derive(Debug)]
pub(super) struct ScannedTake {
    changed: (i64, u64),
    /// As in [`ScannedFolder`].
    is_settled: bool,
    /// Without note and mark.
    pub(super) take: Result<TakeSummary, NotOurTake>,
}

/// Why a `take.json` is none of this device's takes.
#[derive(Debug)]
pub(super) enum NotOurTake {
    /// It is another device's, or is gone.
    Foreign,
    /// It cannot be read.
    Bad(String),
}

/// The takes of a device below a folder.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) root: PathBuf,
    pub(super) device: DeviceId,
    folders: HashMap<PathBuf, ScannedFolder>,
    /// By the folder and the prefix of `take.json`.
    pub(super) known: BTreeMap<(PathBuf, String), ScannedTake>,
    /// What seems to belong to this device, but is no readable take.
    unreadable: Vec<Unreadable>,
    /// Takes that are being removed, by folder and prefix, when [`takes`](Self::takes) was last called.
    pub(super) hidden: Vec<(PathBuf, String)>,
    /// Notes, and who has collected takes.
    pub(super) small: SmallFiles,
    /// File lists of the takes that were requested last.
    pub(super) lists: VecDeque<FileList>,
    /// Known sums, each of a file of this size and age.
    digests: HashMap<PathBuf, FileDigest>,
    /// Set when the device stops sharing.
    stop: Arc<AtomicBool>,
}

impl Catalog {
    /// The takes of `device` below `root`. Long work ends once `stop` is set.
    pub(super) fn new(root: PathBuf, device: DeviceId, stop: Arc<AtomicBool>) -> Self {
        Self {
            root,
            device,
            folders: HashMap::new(),
            known: BTreeMap::new(),
            unreadable: Vec::new(),
            hidden: Vec::new(),
            small: SmallFiles::default(),
            lists: VecDeque::new(),
            digests: HashMap::new(),
            stop,
        }
    }

    /// What seemed to belong to this device but was no readable take, when [`takes`](Self::takes) was last called.
    pub(super) fn unreadable(&self) -> Vec<Unreadable> {
        self.unreadable.clone()
    }

    /// All takes, by name.
    pub(super) fn takes(&mut self) -> Vec<TakeEntry> {
        let (folders, known) = (std::mem::take(&mut self.folders), std::mem::take(&mut self.known));
        let (mut folders_before, mut known_before) = (folders, known);
        self.unreadable.clear();
        self.hidden.clear();
        let mut queue = VecDeque::from([(self.root.clone(), 0)]);
        while let Some((path, depth)) = queue.pop_front() {
            // The folder of a take holds no other takes, and perhaps a million pictures.
            if depth > 0 && self.note_take(&mut known_before, &path, "") {
                continue;
            }
            let folder = match scan(&path, folders_before.remove(&path)) {
                Ok(folder) => folder,
                Err(error) => {
                    self.note_unreadable_folder(&path, depth, &error);
                    continue;
                }
            };
            for prefix in &folder.takes {
                self.note_take(&mut known_before, &path, prefix);
            }
            self.hidden.extend(folder.hidden.iter().map(|prefix| (path.clone(), prefix.clone())));
            let is_alone =
                |prefix: &&String| !folder.takes.contains(*prefix) && !folder.hidden.contains(*prefix);
            for prefix in folder.manifests.iter().filter(is_alone) {
                self.note_unreadable(&path, prefix, FRAMES_JSONL, "there is no take.json beside it");
            }
            if depth < DEPTH {
                queue.extend(folder.folders.iter().map(|path| (path.clone(), depth + 1)));
            }
            self.folders.insert(path, folder);
            if self.folders.len() >= MAX_FOLDERS {
                let why = format!(
                    "it holds more than {MAX_FOLDERS} folders, and takes in the others are not listed"
                );
                self.unreadable.push(Unreadable { path: ".".into(), why });
                break;
            }
        }
        self.listed().into_iter().map(|(take, ..)| entry(take)).collect()
    }

    /// The known takes, by name, each with its folder and the prefix of its side files.
    pub(super) fn listed(&mut self) -> Vec<(TakeSummary, PathBuf, String)> {
        let mut takes: BTreeMap<&OrderId, (&Path, &str, &TakeSummary)> = BTreeMap::new();
        let mut bad = Vec::new();
        for ((folder, prefix), known) in &self.known {
            match &known.take {
                Ok(take) => match takes.get(&take.order) {
                    Some((other, ..)) => {
                        let why = format!("{} holds take {} already", self.relative(other), take.order);
                        bad.push((folder.clone(), prefix.clone(), why));
                    }
                    None => _ = takes.insert(&take.order, (folder.as_path(), prefix, take)),
                },
                Err(NotOurTake::Bad(why)) => bad.push((folder.clone(), prefix.clone(), why.clone())),
                Err(NotOurTake::Foreign) => {}
            }
        }
        let takes = takes
            .into_values()
            .map(|(folder, prefix, take)| (take.clone(), folder.to_owned(), prefix.to_owned()));
        let takes = takes.collect();
        bad.iter().for_each(|(folder, prefix, why)| self.note_unreadable(folder, prefix, TAKE_JSON, why));
        takes
    }

    /// Notes that a file in `folder` cannot be read, if it seems to belong to this device: it is in a folder of the device's
    /// name, or has that name as a prefix.
    fn note_unreadable(&mut self, folder: &Path, prefix: &str, name: &str, why: &str) {
        let device = self.device.as_str();
        let is_ours = folder.file_name().is_some_and(|folder| folder == device)
            || prefix.strip_suffix('.').is_some_and(|prefix| {
                prefix.strip_suffix(device).is_some_and(|order| order.is_empty() || order.ends_with('.'))
            });
        if is_ours {
            let path = self.relative(&folder.join(format!("{prefix}{name}")));
            swsync_core::log::debug!(path, why, "no take");
            self.unreadable.push(Unreadable { path, why: why.to_owned() });
        }
    }

    /// Notes that a folder cannot be read. One that is gone by now, or that this device may not read, holds no takes of it and
    /// is not noted, unless it has the device's name. The root is always noted: its disk may be gone.
    fn note_unreadable_folder(&mut self, folder: &Path, depth: usize, error: &io::Error) {
        let is_none_of_ours =
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
        if depth == 0 || !is_none_of_ours {
            let path = if depth == 0 { self.root.display().to_string() } else { self.relative(folder) };
            self.unreadable.push(Unreadable { path, why: error.to_string() });
        } else {
            self.note_unreadable(folder, "", "", &error.to_string());
        }
    }

    /// `path` relative to the root.
    fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    /// Notes the take in `folder` whose side files have the prefix `prefix`. Returns whether there is one.
    fn note_take(
        &mut self,
        before: &mut BTreeMap<(PathBuf, String), ScannedTake>,
        folder: &Path,
        prefix: &str,
    ) -> bool {
        let path = folder.join(format!("{prefix}{TAKE_JSON}"));
        let about = match fs::symlink_metadata(&path) {
            Ok(about) if about.is_file() => about,
            Ok(_) => return false,
            Err(error) => {
                // A folder that cannot be read is noted when it is searched.
                if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) {
                    self.unreadable.push(Unreadable { path: self.relative(&path), why: error.to_string() });
                }
                return false;
            }
        };
        let changed = changed(&about);
        let key = (folder.to_owned(), prefix.to_owned());
        let known = before.remove(&key).filter(|known| known.changed == changed && known.is_settled);
        let known = known.unwrap_or_else(|| {
            let is_settled = is_settled(changed.0);
            ScannedTake {
                changed,
                is_settled,
                take: self.read_take(&path).map(|take| TakeSummary::of(&take)),
            }
        });
        self.known.insert(key, known);
        true
    }

    /// The take in the file `path`, if it is this device's.
    fn read_take(&self, path: &Path) -> Result<Take, NotOurTake> {
        let text = read_take_json(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NotOurTake::Foreign, // it was deleted just now
            _ => NotOurTake::Bad(error.to_string()),
        })?;
        match Take::from_json(&text) {
            Ok(take) if take.device == self.device => Ok(take),
            Ok(_) => Err(NotOurTake::Foreign),
            Err(why) => {
                // It may be another device's, or not swsync's at all.
                let json = serde_json::from_slice::<serde_json::Value>(&text).unwrap_or_default();
                let is_other = json["device"].as_str().is_some_and(|device| device != self.device.as_str());
                Err(if is_other { NotOurTake::Foreign } else { NotOurTake::Bad(why.to_string()) })
            }
        }
    }

    /// The file list of a take at its known place.
    fn find(&self, order: &OrderId) -> Option<FileList> {
        let is_it = |known: &ScannedTake| known.take.as_ref().is_ok_and(|take| take.order == *order);
        let ((folder, prefix), _) = self.known.iter().find(|(_, known)| is_it(known))?;
        let take = self.read_take(&folder.join(format!("{prefix}{TAKE_JSON}"))).ok()?;
        (take.order == *order).then(|| FileList::new(folder.clone(), prefix, take))
    }

    /// Whether a known take is finished, by its `take.json` as it is now.
    pub(super) fn is_complete(&self, order: &OrderId) -> bool {
        self.read_known(order).is_ok_and(|take| take.complete)
    }

    /// The `take.json` of a known take as it is now.
    pub(super) fn read_known(&self, order: &OrderId) -> Result<Take, CatalogError> {
        let no_take = || CatalogError::NoTake(order.clone());
        let (folder, prefix) = self.place_of_known(order).ok_or_else(no_take)?;
        let take = self.read_take(&folder.join(format!("{prefix}{TAKE_JSON}"))).map_err(|_| no_take())?;
        (take.order == *order).then_some(take).ok_or_else(no_take)
    }

    /// The file list of a take: a new one if `anew`, else the last one.
    fn list_of(&mut self, order: &OrderId, anew: bool) -> Result<&mut FileList, CatalogError> {
        let at = self.lists.iter().position(|list| list.take.order == *order);
        let listed = at.and_then(|at| self.lists.remove(at)).filter(|_| !anew);
        let list = listed.or_else(|| self.find(order)).or_else(|| {
            self.takes(); // the take may be new, or was moved
            self.find(order)
        });
        let list = list.ok_or_else(|| CatalogError::NoTake(order.clone()))?;
        self.lists.truncate(MAX_LISTS - 1);
        self.lists.push_front(list);
        Ok(&mut self.lists[0])
    }

    /// Up to `most` files of a take from the `skip`th on, and whether there are more.
    pub(super) fn files(
        &mut self,
        order: &OrderId,
        skip: usize,
        most: usize,
    ) -> Result<(Vec<FileEntry>, bool), CatalogError> {
        let list = self.list_of(order, skip == 0)?;
        list.page(skip, most).map_err(|error| CatalogError::Io { path: FRAMES_JSONL.to_owned(), error })
    }

    /// The path of a listed file, if it is below the root even after resolving symbolic links.
    fn locate(&mut self, order: &OrderId, path: &str) -> Result<PathBuf, CatalogError> {
        let no_file = || CatalogError::NoFile { order: order.clone(), path: path.to_owned() };
        let io = |error| CatalogError::Io { path: path.to_owned(), error };
        let on_disk = self.list_of(order, false)?.on_disk(path).map_err(io)?.ok_or_else(no_file)?;
        let (root, real) = (self.root.canonicalize().map_err(io)?, on_disk.canonicalize().map_err(io)?);
        if real.starts_with(root) && real.is_file() { Ok(real) } else { Err(no_file()) }
    }

    /// Up to `length` bytes of a file from `offset` on.
    pub(super) fn read(
        &mut self,
        order: &OrderId,
        path: &str,
        offset: u64,
        length: u64,
    ) -> Result<(Chunk, Vec<u8>), CatalogError> {
        let real = self.locate(order, path)?;
        let read = || -> io::Result<_> {
            let mut file = File::open(&real)?;
            let about = file.metadata()?;
            let offset = offset.min(about.len());
            let length = length.min(MAX_CHUNK).min(about.len() - offset);
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            file.seek(SeekFrom::Start(offset))?;
            file.take(length).read_to_end(&mut bytes)?;
            let sha256 = (bytes.len() as u64 == about.len()).then(|| digest::of_bytes(&bytes));
            Ok((Chunk { bytes: about.len(), modified_ns: modified(&about), sha256 }, bytes))
        };
        read().map_err(|error| CatalogError::Io { path: path.to_owned(), error })
    }

    /// The SHA-256 of a file.
    pub(super) fn digest(&mut self, order: &OrderId, path: &str) -> Result<FileDigest, CatalogError> {
        let real = self.locate(order, path)?;
        let io = |error| CatalogError::Io { path: path.to_owned(), error };
        let about = fs::metadata(&real).map_err(io)?;
        let same = |known: &&FileDigest| known.bytes == about.len() && known.modified_ns == modified(&about);
        if let Some(known) = self.digests.get(&real).filter(same) {
            return Ok(known.clone());
        }
        let (bytes, sha256) = digest::of_file_unless(&real, &self.stop).map_err(io)?;
        // The age from before the reading: if the file grew meanwhile, its age will differ.
        let digest = FileDigest { bytes, modified_ns: modified(&about), sha256 };
        if self.digests.len() >= MAX_DIGESTS {
            self.digests.clear();
        }
        self.digests.insert(real, digest.clone());
        Ok(digest)
    }

    /// Deletes a file if its SHA-256 is `sha256`. With the last file of a take its empty folders go too.
    pub(super) fn delete(&mut self, order: &OrderId, path: &str, sha256: &str) -> Result<(), CatalogError> {
        let io = |error| CatalogError::Io { path: path.to_owned(), error };
        let list = self.list_of(order, false)?;
        if !list.take.complete {
            return Err(CatalogError::Unfinished(order.clone()));
        }
        if [FRAMES_JSONL, TAKE_JSON].contains(&path) && list.has_media().map_err(io)? {
            return Err(CatalogError::StillNeeded { path: path.to_owned() });
        }
        let mark = collected_mark_path(list.folder(), list.prefix());
        let folder = list.folder().to_owned();
        let real = self.locate(order, path)?;
        let (_, now) = digest::of_file_unless(&real, &self.stop).map_err(io)?;
        if now != sha256 {
            self.digests.remove(&real); // it may be out of date
            return Err(CatalogError::Differs { path: path.to_owned(), sha256: now });
        }
        fs::remove_file(&real).map_err(io)?;
        swsync_core::log::info!(%order, path, "deleted a file that has been collected");
        self.digests.remove(&real);
        if path == TAKE_JSON {
            self.forget(order);
            let _ = fs::remove_file(mark); // most takes have been collected by `swsync collect`, which leaves one
            self.remove_empty_folders(&folder);
        }
        Ok(())
    }
}

/// Reads a folder, or returns `before`, the last reading, if the folder has not changed.
fn scan(path: &Path, before: Option<ScannedFolder>) -> io::Result<ScannedFolder> {
    let about = fs::metadata(path)?;
    let changed = changed(&about);
    if let Some(before) = before.filter(|before| before.changed == changed && before.is_settled) {
        return Ok(before);
    }
    let is_settled = is_settled(changed.0);
    let mut folder = ScannedFolder {
        changed,
        is_settled,
        folders: Vec::new(),
        takes: Vec::new(),
        manifests: Vec::new(),
        hidden: Vec::new(),
    };
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            folder.hidden.extend(hidden_prefix(&name).map(str::to_owned));
            continue;
        }
        let kind = match entry.file_type() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // it was deleted just now
            other => other?,
        };
        if kind.is_dir() {
            folder.folders.push(entry.path());
        } else if kind.is_file() {
            folder.takes.extend(prefix_of(&name, TAKE_JSON));
            folder.manifests.extend(prefix_of(&name, FRAMES_JSONL));
        }
    }
    folder.folders.sort();
    Ok(folder)
}

/// Whether a change at this time is so old that a later one has another time stamp of the file system.
pub(super) fn is_settled(modified_ns: i64) -> bool {
    let at = UNIX_EPOCH + Duration::from_nanos(u64::try_from(modified_ns).unwrap_or_default());
    SystemTime::now().duration_since(at).is_ok_and(|age| age > SETTLED)
}

/// The prefix of `name` before the plain name `side` of a side file: empty, or ending with a dot.
fn prefix_of(name: &str, side: &str) -> Option<String> {
    let prefix = name.strip_suffix(side)?;
    (prefix.is_empty() || prefix.ends_with('.')).then(|| prefix.to_owned())
}

/// The entry of a take in the list.
fn entry(take: TakeSummary) -> TakeEntry {
    let TakeSummary { order, started_ns, accepted_ns, complete, .. } = take;
    TakeEntry { order, started_ns, accepted_ns, complete }
}

/// The time stamp and inode of a file or folder, which show whether it has changed.
pub(super) fn changed(about: &Metadata) -> (i64, u64) {
    (modified(about), about.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_changed_while_it_was_read_is_read_again() {
        let root = tempfile::tempdir().unwrap();
        let first = scan(root.path(), None).unwrap();
        assert!(!first.is_settled && first.folders.is_empty());
        fs::create_dir(root.path().join("o1")).unwrap();
        // Within the resolution of the file system's clock the folder's time stamp stays.
        let changed = changed(&fs::metadata(root.path()).unwrap());
        let again = scan(root.path(), Some(ScannedFolder { changed, ..first })).unwrap();
        assert_eq!(again.folders, [root.path().join("o1")]);
        // A settled folder is not read again.
        let settled = ScannedFolder { is_settled: true, folders: Vec::new(), ..again };
        assert!(scan(root.path(), Some(settled)).unwrap().folders.is_empty());
    }
}
