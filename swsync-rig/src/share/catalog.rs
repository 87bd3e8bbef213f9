//! The takes of one device on its disk, and nothing else of that disk.
//!
//! What is asked costs what it takes to say it, and a take that nobody asks for costs nothing: which takes there are is
//! known from their `take.json`, of which those are read that changed; a manifest is read for the files of its own take
//! alone, in pieces, and memory does not grow with it.

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

use super::digest;
use super::message::{Chunk, Digest, FileEntry, MAX_CHUNK, TakeEntry, Unreadable};
use super::names::Names;

/// How deep below the root takes are looked for: the default location keeps them at depth 2.
const DEPTH: usize = 4;

/// Folders that are looked into at most: the root may be somebody's home.
const MAX_FOLDERS: usize = 50_000;

/// A folder that changed so lately may have changed again within what its time tells apart.
const SETTLED: Duration = Duration::from_secs(2);

/// Sums that are remembered, at most.
const MAX_DIGESTS: usize = 1_000;

/// Takes whose files are asked for at once, at most; of others the next question costs more.
const MAX_NAMES: usize = 4;

/// Why something cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum CatalogError {
    #[error("there is no take {0} here")]
    NoTake(OrderId),
    #[error("take {order} has no file {path:?}")]
    NoFile { order: OrderId, path: String },
    #[error("take {0} is not finished")]
    Unfinished(OrderId),
    #[error("{path:?} tells of files that are still here: delete them first")]
    StillNeeded { path: String },
    #[error("{path:?} is not what you have: its SHA-256 is {sha256}")]
    Differs { path: String, sha256: String },
    #[error("{path:?}: {error}")]
    Io { path: String, error: io::Error },
}

/// A folder as it was last looked into.
#[derive(Debug)]
struct Folder {
    changed: (i64, u64),
    /// Whether it had not changed for so long, when it was looked into, that what changes it later changes its time too.
    is_settled: bool,
    folders: Vec<PathBuf>,
    /// What stands before [`TAKE_JSON`], of each there is.
    takes: Vec<String>,
    /// What stands before [`FRAMES_JSONL`], of each there is.
    manifests: Vec<String>,
}

/// What was read of a `take.json`.
#[derive(Debug)]
struct Known {
    changed: (i64, u64),
    /// As of a [`Folder`].
    is_settled: bool,
    take: Result<TakeEntry, NoTake>,
}

/// Why a `take.json` is not one of this device's takes.
#[derive(Debug)]
enum NoTake {
    /// It is another device's, or gone by now.
    Foreign,
    /// It cannot be read.
    Bad(String),
}

/// The takes below a folder.
#[derive(Debug)]
pub(super) struct Catalog {
    root: PathBuf,
    device: DeviceId,
    folders: HashMap<PathBuf, Folder>,
    /// By the folder, and what stands before `take.json` there.
    known: BTreeMap<(PathBuf, String), Known>,
    /// What seems to be of this device and is no take that can be read.
    unreadable: Vec<Unreadable>,
    /// The files of those takes that were asked for last.
    names: VecDeque<Names>,
    /// Sums that were counted already, of files of this size and age.
    digests: HashMap<PathBuf, Digest>,
    /// Set when nobody is served any more.
    stop: Arc<AtomicBool>,
}

impl Catalog {
    /// The takes of `device` below `root`. What takes long ends when `stop` is set.
    pub(super) fn new(root: PathBuf, device: DeviceId, stop: Arc<AtomicBool>) -> Self {
        Self {
            root,
            device,
            folders: HashMap::new(),
            known: BTreeMap::new(),
            unreadable: Vec::new(),
            names: VecDeque::new(),
            digests: HashMap::new(),
            stop,
        }
    }

    /// What seems to be of this device and is no take that can be read, as it was last listed.
    pub(super) fn unreadable(&self) -> Vec<Unreadable> {
        self.unreadable.clone()
    }

    /// All takes, by name.
    pub(super) fn takes(&mut self) -> Vec<TakeEntry> {
        let (folders, known) = (std::mem::take(&mut self.folders), std::mem::take(&mut self.known));
        let (mut folders_before, mut known_before) = (folders, known);
        self.unreadable.clear();
        let mut queue = VecDeque::from([(self.root.clone(), 0)]);
        while let Some((path, depth)) = queue.pop_front() {
            // One of an order's own holds nothing but it, and perhaps a million pictures.
            if depth > 0 && self.note(&mut known_before, &path, "") {
                continue;
            }
            let folder = match look_into(&path, folders_before.remove(&path)) {
                Ok(folder) => folder,
                Err(error) => {
                    self.blame_folder(&path, depth, &error);
                    continue;
                }
            };
            for prefix in &folder.takes {
                self.note(&mut known_before, &path, prefix);
            }
            for prefix in folder.manifests.iter().filter(|prefix| !folder.takes.contains(prefix)) {
                self.blame(&path, prefix, FRAMES_JSONL, "there is no take.json beside it");
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
        self.list()
    }

    /// The takes among what is known, by name.
    fn list(&mut self) -> Vec<TakeEntry> {
        let mut takes: BTreeMap<&OrderId, (&Path, &TakeEntry)> = BTreeMap::new();
        let mut bad = Vec::new();
        for ((folder, prefix), known) in &self.known {
            match &known.take {
                Ok(take) => match takes.get(&take.order) {
                    Some((other, _)) => {
                        let why = format!("{} holds take {} already", self.below(other), take.order);
                        bad.push((folder.clone(), prefix.clone(), why));
                    }
                    None => _ = takes.insert(&take.order, (folder.as_path(), take)),
                },
                Err(NoTake::Bad(why)) => bad.push((folder.clone(), prefix.clone(), why.clone())),
                Err(NoTake::Foreign) => {}
            }
        }
        let takes = takes.into_values().map(|(_, take)| take.clone()).collect();
        bad.iter().for_each(|(folder, prefix, why)| self.blame(folder, prefix, TAKE_JSON, why));
        takes
    }

    /// Notes that something in `folder` cannot be read, provided that its place is one of this device's takes: it is in a
    /// folder of the device's name, or has that before its own.
    fn blame(&mut self, folder: &Path, prefix: &str, name: &str, why: &str) {
        let device = self.device.as_str();
        let is_ours = folder.file_name().is_some_and(|folder| folder == device)
            || prefix.strip_suffix('.').is_some_and(|prefix| {
                prefix.strip_suffix(device).is_some_and(|order| order.is_empty() || order.ends_with('.'))
            });
        if is_ours {
            let path = self.below(&folder.join(format!("{prefix}{name}")));
            tracing::debug!(path, why, "no take");
            self.unreadable.push(Unreadable { path, why: why.to_owned() });
        }
    }

    /// Notes that a folder cannot be looked into, unless it is gone by now, or somebody's whose files are not for this
    /// device: it has no takes there. That of all takes is always noted; its disk may be gone.
    fn blame_folder(&mut self, folder: &Path, depth: usize, error: &io::Error) {
        let is_none_of_ours =
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
        if depth == 0 || !is_none_of_ours {
            let path = if depth == 0 { self.root.display().to_string() } else { self.below(folder) };
            self.unreadable.push(Unreadable { path, why: error.to_string() });
        } else {
            self.blame(folder, "", "", &error.to_string());
        }
    }

    /// `path` from the root on.
    fn below(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    /// Notes the take in `folder` whose side files have `prefix` before their names. Whether there is one.
    fn note(&mut self, before: &mut BTreeMap<(PathBuf, String), Known>, folder: &Path, prefix: &str) -> bool {
        let path = folder.join(format!("{prefix}{TAKE_JSON}"));
        let about = match fs::symlink_metadata(&path) {
            Ok(about) if about.is_file() => about,
            Ok(_) => return false,
            Err(error) => {
                // In a folder that is not to be looked into there is nothing; that is said by whoever looks.
                if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) {
                    self.unreadable.push(Unreadable { path: self.below(&path), why: error.to_string() });
                }
                return false;
            }
        };
        let changed = changed(&about);
        let key = (folder.to_owned(), prefix.to_owned());
        let known = before.remove(&key).filter(|known| known.changed == changed && known.is_settled);
        let known = known.unwrap_or_else(|| {
            let is_settled = is_settled(changed.0);
            Known { changed, is_settled, take: self.read_take(&path).map(|take| entry(&take)) }
        });
        self.known.insert(key, known);
        true
    }

    /// The take that the file at `path` describes, if it is this device's.
    fn read_take(&self, path: &Path) -> Result<Take, NoTake> {
        let text = fs::read(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NoTake::Foreign, // it was deleted just now
            _ => NoTake::Bad(error.to_string()),
        })?;
        match Take::from_json(&text) {
            Ok(take) if take.device == self.device => Ok(take),
            Ok(_) => Err(NoTake::Foreign),
            Err(why) => {
                // It may be another device's, or nothing of swsync's.
                let json = serde_json::from_slice::<serde_json::Value>(&text).unwrap_or_default();
                let is_other = json["device"].as_str().is_some_and(|device| device != self.device.as_str());
                Err(if is_other { NoTake::Foreign } else { NoTake::Bad(why.to_string()) })
            }
        }
    }

    /// The names of a take's files, where it was found before.
    fn find(&self, order: &OrderId) -> Option<Names> {
        let is_it = |known: &Known| known.take.as_ref().is_ok_and(|take| take.order == *order);
        let ((folder, prefix), _) = self.known.iter().find(|(_, known)| is_it(known))?;
        let take = self.read_take(&folder.join(format!("{prefix}{TAKE_JSON}"))).ok()?;
        (take.order == *order).then(|| Names::new(folder.clone(), prefix, take))
    }

    /// The names of a take's files. With `anew` as they are now; else as they were listed last.
    fn names(&mut self, order: &OrderId, anew: bool) -> Result<&mut Names, CatalogError> {
        let at = self.names.iter().position(|names| names.take.order == *order);
        let listed = at.and_then(|at| self.names.remove(at)).filter(|_| !anew);
        let names = listed.or_else(|| self.find(order)).or_else(|| {
            self.takes(); // it may be new, or elsewhere
            self.find(order)
        });
        let names = names.ok_or_else(|| CatalogError::NoTake(order.clone()))?;
        self.names.truncate(MAX_NAMES - 1);
        self.names.push_front(names);
        Ok(&mut self.names[0])
    }

    /// Files of a take, from the `skip`th on and so many at most; and whether there are more.
    pub(super) fn files(
        &mut self,
        order: &OrderId,
        skip: usize,
        most: usize,
    ) -> Result<(Vec<FileEntry>, bool), CatalogError> {
        let names = self.names(order, skip == 0)?;
        names.page(skip, most).map_err(|error| CatalogError::Io { path: FRAMES_JSONL.to_owned(), error })
    }

    /// Where a file that was listed is, provided that it is below the root still, whatever links say.
    fn locate(&mut self, order: &OrderId, path: &str) -> Result<PathBuf, CatalogError> {
        let no_file = || CatalogError::NoFile { order: order.clone(), path: path.to_owned() };
        let io = |error| CatalogError::Io { path: path.to_owned(), error };
        let on_disk = self.names(order, false)?.on_disk(path).map_err(io)?.ok_or_else(no_file)?;
        let (root, real) = (self.root.canonicalize().map_err(io)?, on_disk.canonicalize().map_err(io)?);
        if real.starts_with(root) && real.is_file() { Ok(real) } else { Err(no_file()) }
    }

    /// Bytes of a file from `offset` on, `length` at most and as far as it reaches.
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

    /// A file's SHA-256.
    pub(super) fn digest(&mut self, order: &OrderId, path: &str) -> Result<Digest, CatalogError> {
        let real = self.locate(order, path)?;
        let io = |error| CatalogError::Io { path: path.to_owned(), error };
        let about = fs::metadata(&real).map_err(io)?;
        let same = |known: &&Digest| known.bytes == about.len() && known.modified_ns == modified(&about);
        if let Some(known) = self.digests.get(&real).filter(same) {
            return Ok(known.clone());
        }
        let (bytes, sha256) = digest::of_file_unless(&real, &self.stop).map_err(io)?;
        // Of before: a file that grew meanwhile is noticed by its age.
        let digest = Digest { bytes, modified_ns: modified(&about), sha256 };
        if self.digests.len() >= MAX_DIGESTS {
            self.digests.clear();
        }
        self.digests.insert(real, digest.clone());
        Ok(digest)
    }

    /// Deletes a file whose SHA-256 is `sha256`; with the last one of a take its folders too, where nothing
    /// else is in them.
    pub(super) fn delete(&mut self, order: &OrderId, path: &str, sha256: &str) -> Result<(), CatalogError> {
        let io = |error| CatalogError::Io { path: path.to_owned(), error };
        let names = self.names(order, false)?;
        if !names.take.complete {
            return Err(CatalogError::Unfinished(order.clone()));
        }
        if [FRAMES_JSONL, TAKE_JSON].contains(&path) && names.has_media().map_err(io)? {
            return Err(CatalogError::StillNeeded { path: path.to_owned() });
        }
        let folder = names.folder().to_owned();
        let real = self.locate(order, path)?;
        let (_, now) = digest::of_file_unless(&real, &self.stop).map_err(io)?;
        if now != sha256 {
            self.digests.remove(&real); // it may be of before
            return Err(CatalogError::Differs { path: path.to_owned(), sha256: now });
        }
        fs::remove_file(&real).map_err(io)?;
        tracing::info!(%order, path, "deleted a file that has been collected");
        self.digests.remove(&real);
        if path == TAKE_JSON {
            self.names.retain(|names| names.take.order != *order);
            self.known.retain(|_, known| !known.take.as_ref().is_ok_and(|take| take.order == *order));
            // As far as they are empty, and never the root itself.
            for folder in folder.ancestors().take_while(|folder| *folder != self.root) {
                if fs::remove_dir(folder).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// What is in a folder, if it can be looked into; `before`: as it was the last time.
fn look_into(path: &Path, before: Option<Folder>) -> io::Result<Folder> {
    let about = fs::metadata(path)?;
    let changed = changed(&about);
    if let Some(before) = before.filter(|before| before.changed == changed && before.is_settled) {
        return Ok(before);
    }
    let is_settled = is_settled(changed.0);
    let mut folder =
        Folder { changed, is_settled, folders: Vec::new(), takes: Vec::new(), manifests: Vec::new() };
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let kind = match entry.file_type() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // it went just now
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

/// Whether what changed at this time cannot have changed again in the same tick of the file system's clock.
fn is_settled(modified_ns: i64) -> bool {
    let at = UNIX_EPOCH + Duration::from_nanos(u64::try_from(modified_ns).unwrap_or_default());
    SystemTime::now().duration_since(at).is_ok_and(|age| age > SETTLED)
}

/// What stands before `side`, a side file's plain name, in `name`: nothing, or what ends with a dot.
fn prefix_of(name: &str, side: &str) -> Option<String> {
    let prefix = name.strip_suffix(side)?;
    (prefix.is_empty() || prefix.ends_with('.')).then(|| prefix.to_owned())
}

/// What is said of a take.
fn entry(take: &Take) -> TakeEntry {
    let Take { order, started_ns, accepted_ns, complete, .. } = take;
    TakeEntry {
        order: order.clone(),
        started_ns: *started_ns,
        accepted_ns: *accepted_ns,
        complete: *complete,
    }
}

/// What tells whether a file or folder is still as it was.
fn changed(about: &Metadata) -> (i64, u64) {
    (modified(about), about.ino())
}

/// When a file was last changed, or its age was set, in nanoseconds since the Unix epoch: with mtime alone, what was
/// changed and given its age again would pass for the same.
pub(super) fn modified(about: &Metadata) -> i64 {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    nanos(about.mtime(), about.mtime_nsec()).max(nanos(about.ctime(), about.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_changed_in_the_instant_it_was_looked_into_is_looked_into_again() {
        let root = tempfile::tempdir().unwrap();
        let first = look_into(root.path(), None).unwrap();
        assert!(!first.is_settled && first.folders.is_empty());
        fs::create_dir(root.path().join("o1")).unwrap();
        // In the same tick of the file system's clock, the folder's time stays.
        let changed = changed(&fs::metadata(root.path()).unwrap());
        let again = look_into(root.path(), Some(Folder { changed, ..first })).unwrap();
        assert_eq!(again.folders, [root.path().join("o1")]);
        // What had settled is as it was.
        let settled = Folder { is_settled: true, folders: Vec::new(), ..again };
        assert!(look_into(root.path(), Some(settled)).unwrap().folders.is_empty());
    }
}
