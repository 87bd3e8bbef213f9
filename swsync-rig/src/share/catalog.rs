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
use super::message::{Chunk, Digest, FileEntry, MAX_CHUNK, TakeEntry};

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
    /// Sums that were counted already, of files of this size and age.
    digests: HashMap<PathBuf, Digest>,
    /// Set when nobody is served any more.
    stop: Arc<AtomicBool>,
}

impl Catalog {
    /// The takes of `device` below `root`. What takes long ends when `stop` is set.
    pub(super) fn new(root: PathBuf, device: DeviceId, stop: Arc<AtomicBool>) -> Self {
        Self { root, device, listed: HashMap::new(), digests: HashMap::new(), stop }
    }

    /// All takes, by name. What cannot be read is no take.
    pub(super) fn takes(&mut self) -> Vec<TakeEntry> {
        self.listed.clear();
        let mut folders = VecDeque::from([(self.root.clone(), 0)]);
        let mut left = MAX_FOLDERS;
        while let Some((folder, depth)) = folders.pop_front() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let Ok(kind) = entry.file_type() else { continue };
                if name.starts_with('.') {
                    continue;
                }
                if kind.is_dir() && depth < DEPTH && left > 0 {
                    left -= 1;
                    folders.push_back((entry.path(), depth + 1));
                } else if kind.is_file()
                    && let Some(prefix) = name.strip_suffix(TAKE_JSON)
                {
                    self.list(&folder, prefix);
                }
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
        let take = fs::read(&path).map_err(|error| error.to_string());
        let take = take.and_then(|text| Take::from_json(&text).map_err(|error| error.to_string()));
        match take {
            Ok(take) if take.device == self.device => {
                let files = files_of(folder, prefix, &take);
                self.listed.insert(take.order.clone(), Listed { folder: folder.to_owned(), take, files });
            }
            Ok(_) => (),
            Err(why) => tracing::debug!(path = %path.display(), why, "no take"),
        }
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

/// When a file was last changed, in nanoseconds since the Unix epoch.
fn modified(about: &Metadata) -> i64 {
    about.mtime().saturating_mul(1_000_000_000).saturating_add(about.mtime_nsec())
}
