//! The takes of one device on its disk, and nothing else of that disk.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use swsync_core::manifest::{FRAMES_CSV, FRAMES_JSONL, FRAMES_PTS, FrameRecord, TAKE_JSON, Take, check_path};
use swsync_core::name::{DeviceId, OrderId};

use super::digest;
use super::message::{Chunk, Digest, FileEntry, MAX_CHUNK, TakeEntry, Unreadable};

/// How deep below the root takes are looked for: the default location keeps them at depth 2.
const DEPTH: usize = 4;

/// Folders that are looked into at most: the root may be somebody's home.
const MAX_FOLDERS: usize = 50_000;

/// Why something cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum CatalogError {
    #[error("there is no take {0} here")]
    NoTake(OrderId),
    #[error("take {order} has no file {path:?}")]
    NoFile { order: OrderId, path: String },
    #[error("take {0} is not finished")]
    Unfinished(OrderId),
    #[error("{path:?} is not what you have: its SHA-256 is {sha256}")]
    Differs { path: String, sha256: String },
    #[error("{path:?}: {error}")]
    Io { path: String, error: io::Error },
}

/// A take as it was last listed.
#[derive(Debug)]
struct Listed {
    folder: PathBuf,
    take: Take,
    /// Its files by name: the name is what it has there on the disk.
    files: HashMap<String, PathBuf>,
}

/// The takes below a folder.
#[derive(Debug)]
pub(super) struct Catalog {
    root: PathBuf,
    device: DeviceId,
    listed: HashMap<OrderId, Listed>,
    unreadable: Vec<Unreadable>,
    /// Sums that were counted already, of files of this size and age.
    digests: HashMap<PathBuf, Digest>,
    /// Set when nobody is served any more.
    stop: Arc<AtomicBool>,
}

impl Catalog {
    /// The takes of `device` below `root`. What takes long ends when `stop` is set.
    pub(super) fn new(root: PathBuf, device: DeviceId, stop: Arc<AtomicBool>) -> Self {
        Self { root, device, listed: HashMap::new(), unreadable: Vec::new(), digests: HashMap::new(), stop }
    }

    /// What seems to be of this device and is no take that can be read, as it was last listed.
    pub(super) fn unreadable(&self) -> Vec<Unreadable> {
        self.unreadable.clone()
    }

    /// All takes, by name.
    pub(super) fn takes(&mut self) -> Vec<TakeEntry> {
        self.listed.clear();
        self.unreadable.clear();
        let mut folders = VecDeque::from([(self.root.clone(), 0)]);
        let mut left = MAX_FOLDERS;
        while let Some((folder, depth)) = folders.pop_front() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    self.blame(&folder, "", "", &error.to_string());
                    continue;
                }
            };
            let mut manifests = Vec::new();
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let Ok(kind) = entry.file_type() else { continue };
                if name.starts_with('.') {
                    continue;
                }
                if kind.is_dir() && depth < DEPTH {
                    folders.push_back((entry.path(), depth + 1));
                } else if kind.is_file()
                    && let Some(prefix) = prefix_of(&name, TAKE_JSON)
                {
                    self.list(&folder, prefix);
                } else if kind.is_file()
                    && let Some(prefix) = prefix_of(&name, FRAMES_JSONL)
                {
                    manifests.push(prefix.to_owned());
                }
            }
            for prefix in manifests {
                if !folder.join(format!("{prefix}{TAKE_JSON}")).exists() {
                    self.blame(&folder, &prefix, FRAMES_JSONL, "there is no take.json beside it");
                }
            }
            left -= 1;
            if left == 0 {
                let why = format!(
                    "it holds more than {MAX_FOLDERS} folders, and takes in the others are not listed"
                );
                self.unreadable.push(Unreadable { path: ".".into(), why });
                break;
            }
        }
        let mut takes: Vec<_> = self
            .listed
            .values()
            .map(|Listed { take, .. }| TakeEntry {
                order: take.order.clone(),
                started_ns: take.started_ns,
                complete: take.complete,
            })
            .collect();
        takes.sort_by(|a, b| a.order.cmp(&b.order));
        takes
    }

    /// Notes the take in `folder` whose side files have `prefix` before their names, if it is this device's.
    fn list(&mut self, folder: &Path, prefix: &str) {
        let path = folder.join(format!("{prefix}{TAKE_JSON}"));
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return, // it was deleted just now
            Err(error) => return self.blame(folder, prefix, TAKE_JSON, &error.to_string()),
        };
        match Take::from_json(&text) {
            Ok(take) if take.device != self.device => (),
            Ok(take) => {
                if let Some(other) = self.listed.get(&take.order) {
                    let why = format!("{} holds take {} already", self.below(&other.folder), take.order);
                    self.blame(folder, prefix, TAKE_JSON, &why);
                    return;
                }
                let files = files_of(folder, prefix, &take);
                self.listed.insert(take.order.clone(), Listed { folder: folder.to_owned(), take, files });
            }
            Err(why) => {
                // It may be another device's, or nothing of swsync's.
                let json = serde_json::from_slice::<serde_json::Value>(&text).unwrap_or_default();
                match json["device"].as_str() {
                    Some(device) if device != self.device.as_str() => (),
                    _ => self.blame(folder, prefix, TAKE_JSON, &why.to_string()),
                }
            }
        }
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

    /// `path` from the root on.
    fn below(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    fn listed(&mut self, order: &OrderId) -> Result<&Listed, CatalogError> {
        if !self.listed.contains_key(order) {
            self.takes();
        }
        self.listed.get(order).ok_or_else(|| CatalogError::NoTake(order.clone()))
    }

    /// The files of a take, by name.
    pub(super) fn files(&mut self, order: &OrderId) -> Result<Vec<FileEntry>, CatalogError> {
        let listed = self.listed(order)?;
        let mut files: Vec<_> = listed
            .files
            .iter()
            .filter_map(|(path, on_disk)| {
                let about = fs::symlink_metadata(on_disk).ok().filter(Metadata::is_file)?;
                Some(FileEntry { path: path.clone(), bytes: about.len(), modified_ns: modified(&about) })
            })
            .collect();
        files.sort();
        Ok(files)
    }

    /// Where a file that was listed is, provided that it is below the root still, whatever links say.
    fn locate(&mut self, order: &OrderId, path: &str) -> Result<PathBuf, CatalogError> {
        let no_file = || CatalogError::NoFile { order: order.clone(), path: path.to_owned() };
        let on_disk = self.listed(order)?.files.get(path).ok_or_else(no_file)?.clone();
        let io = |error| CatalogError::Io { path: path.to_owned(), error };
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
        self.digests.insert(real, digest.clone());
        Ok(digest)
    }

    /// Deletes a file whose SHA-256 is `sha256`; with the last one of a take its folders too, where nothing
    /// else is in them.
    pub(super) fn delete(&mut self, order: &OrderId, path: &str, sha256: &str) -> Result<(), CatalogError> {
        let listed = self.listed(order)?;
        if !listed.take.complete {
            return Err(CatalogError::Unfinished(order.clone()));
        }
        let folder = listed.folder.clone();
        let real = self.locate(order, path)?;
        let io = |error| CatalogError::Io { path: path.to_owned(), error };
        let (_, now) = digest::of_file_unless(&real, &self.stop).map_err(io)?;
        if now != sha256 {
            self.digests.remove(&real); // it may be of before
            return Err(CatalogError::Differs { path: path.to_owned(), sha256: now });
        }
        fs::remove_file(&real).map_err(io)?;
        tracing::info!(%order, path, "deleted a file that has been collected");
        self.digests.remove(&real);
        let Some(listed) = self.listed.get_mut(order) else { return Ok(()) };
        listed.files.remove(path);
        if listed.files.values().all(|file| !file.exists()) {
            self.listed.remove(order);
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

/// The files of `take` in `folder`: their names, and where they are. Side files go by their plain names,
/// whatever stands before them here.
fn files_of(folder: &Path, prefix: &str, take: &Take) -> HashMap<String, PathBuf> {
    let mut files: HashMap<_, _> = [TAKE_JSON, FRAMES_JSONL, FRAMES_CSV, FRAMES_PTS]
        .into_iter()
        .map(|name| (name.to_owned(), folder.join(format!("{prefix}{name}"))))
        .collect();
    let mut add = |name: &str| {
        if check_path(name).is_ok() {
            files.entry(name.to_owned()).or_insert_with(|| folder.join(name));
        }
    };
    for segment in &take.segments {
        add(&segment.file);
        add(&Path::new(&segment.file).with_extension("pts").to_string_lossy());
    }
    if take.segments.is_empty()
        && let Ok(manifest) = File::open(folder.join(format!("{prefix}{FRAMES_JSONL}")))
    {
        // A line that cannot be read names no file.
        for line in BufReader::new(manifest).lines().map_while(Result::ok) {
            if let Ok(record) = FrameRecord::from_line(&line) {
                add(&record.file);
            }
        }
    }
    files.retain(|_, path| path.exists());
    files
}

/// What stands before `side`, a side file's plain name, in `name`: nothing, or what ends with a dot.
fn prefix_of<'n>(name: &'n str, side: &str) -> Option<&'n str> {
    name.strip_suffix(side).filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
}

/// When a file was last changed, or its age was set, in nanoseconds since the Unix epoch: with mtime alone, what was
/// changed and given its age again would pass for the same.
fn modified(about: &Metadata) -> i64 {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    nanos(about.mtime(), about.mtime_nsec()).max(nanos(about.ctime(), about.ctime_nsec()))
}
