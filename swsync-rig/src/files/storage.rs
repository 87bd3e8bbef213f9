//! What files are written to: a file system, or in tests one that runs full, is unplugged or loses power.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::whole::final_of;
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{CWD, FallocateFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

/// What a file that has its final name has been through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Written under another name and renamed: whole after `kill -9`. A power cut may leave it empty, or take
    /// it and its order away.
    Fast,
    /// The same, and on the disk before it gets its name and is answered for: whole after a power cut.
    #[default]
    Safe,
}

impl Durability {
    /// The name that users give it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Safe => "safe",
        }
    }
}

impl FromStr for Durability {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Fast, Self::Safe]
            .into_iter()
            .find(|durability| durability.as_str() == name)
            .ok_or_else(|| format!("durability is fast or safe, not {name:?}"))
    }
}

/// An open file.
pub trait StorageFile: Send + fmt::Debug {
    /// Writes all of `bytes` from `offset` bytes on.
    ///
    /// # Errors
    /// What the system said; some of `bytes` may be written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Has the disk keep room for the file's `bytes` from `offset` on, so that they can be written when it is full. Where it
    /// cannot, or does not know how, they are written all the same if there is room then.
    fn reserve(&mut self, _offset: u64, _bytes: u64) {}

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// What the system said.
    fn set_len(&mut self, length: u64) -> io::Result<()>;

    /// Has what was written reach the disk: not the file's name, see [`Storage::sync_folder`].
    ///
    /// # Errors
    /// What the system said; then nobody knows what is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file system, as far as the writers of takes need one.
///
/// # Errors
/// All methods return what the system said.
#[expect(clippy::missing_errors_doc, reason = "the trait's own documentation has them")]
pub trait Storage: Send + Sync + fmt::Debug {
    /// Makes a folder in one that exists.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Whether there is a folder of that name.
    fn is_folder(&self, path: &Path) -> bool;
    /// An empty file of that name, whatever was there before.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// An empty file of that name, where there is none: else [`io::ErrorKind::AlreadyExists`].
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// The file of that name, to be written to; made where it is missing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// What is in a file from `offset` bytes on: `length` bytes, or fewer where it ends.
    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// A file's length in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// Gives a file another name, in the same folder; what had that name is gone.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name, in the same folder, that nothing has: else [`io::ErrorKind::AlreadyExists`].
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The files in a folder, without its folders.
    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// Those of them that have a temporary name: few, where there may be a million files.
    fn partials(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.files(folder)?.into_iter().filter(|path| final_of(path).is_some()).collect())
    }
    /// The most bytes that a file in `folder` can have, as far as that is known.
    fn max_file_bytes(&self, folder: &Path) -> Option<u64>;
    /// Has the names in a folder reach the disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// Has the calling thread outlive a write beyond the largest size of files (setrlimit(2)): it fails with an error instead.
///
/// # Errors
/// What the system said.
pub fn survive_size_limit() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    Ok(signals.thread_block()?)
}

/// The folder that `path` is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// All that is in a file.
///
/// # Errors
/// What the system said.
pub fn read(storage: &dyn Storage, path: &Path) -> io::Result<Vec<u8>> {
    storage.read_at(path, 0, usize::MAX)
}

/// Makes `folder` and those it is in, as far as they are missing.
///
/// # Errors
/// What the system said.
pub fn make_folders(storage: &dyn Storage, folder: &Path, durability: Durability) -> io::Result<()> {
    if storage.is_folder(folder) {
        return Ok(());
    }
    let parent = folder_of(folder);
    make_folders(storage, parent, durability)?;
    match storage.create_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && storage.is_folder(folder) => {}
        other => other?,
    }
    match durability {
        Durability::Safe => storage.sync_folder(parent),
        Durability::Fast => Ok(()),
    }
}

/// The system's own files.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

#[derive(Debug)]
struct DiskFile(File);

impl StorageFile for DiskFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn reserve(&mut self, offset: u64, bytes: u64) {
        // Not every file system can.
        let _ = rustix::fs::fallocate(&self.0, FallocateFlags::KEEP_SIZE, offset, bytes);
    }
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// The files in `folder` that `are_wanted`, sorted.
fn files_that(folder: &Path, are_wanted: impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if are_wanted(&path) && !entry.file_type()?.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Storage for Disk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir(folder)
    }
    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(DiskFile(File::create(path)?)))
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(DiskFile(File::create_new(path)?)))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        Ok(Box::new(DiskFile(file)))
    }
    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let renamed = renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
        match renamed {
            // Not every file system knows how: NFS does not, and it has hard links.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            other => return Ok(other?),
        }
        match fs::hard_link(from, to) {
            Ok(()) => fs::remove_file(from),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // Nor does it have those: what another process does at this very moment cannot be helped.
            Err(_) if fs::symlink_metadata(to).is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(from, to),
        }
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        files_that(folder, |_| true)
    }
    fn partials(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        files_that(folder, |path| final_of(path).is_some())
    }
    fn max_file_bytes(&self, folder: &Path) -> Option<u64> {
        // Sizes of 32 bits: FAT's limit.
        const MSDOS_SUPER_MAGIC: u64 = 0x4d44;
        let is_fat = rustix::fs::statfs(folder)
            .is_ok_and(|about| u64::try_from(about.f_type).is_ok_and(|kind| kind == MSDOS_SUPER_MAGIC));
        let by_system = is_fat.then_some(u64::from(u32::MAX));
        let by_limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        by_system.into_iter().chain(by_limit).min()
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}
