//! The file system that takes are written to, behind a trait: tests put one there that runs full, is unplugged or loses power.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{CWD, FallocateFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

/// What a file that has its final name survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Written under another name and renamed: whole after `kill -9`. A power cut may leave the file empty, or lose the file
    /// and the order.
    Fast,
    /// Also flushed to the disk before the rename, and before the answer says saved: whole after a power cut.
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
    /// The error of the system; some of `bytes` may be written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reserves room for `bytes` bytes of the file from `offset` on, so that they can be written when the disk is full. Does
    /// nothing if the disk cannot: then they are written if there is room at that time.
    fn reserve(&mut self, _offset: u64, _bytes: u64) {}

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// The error of the system.
    fn set_len(&mut self, length: u64) -> io::Result<()>;

    /// Flushes the contents to the disk, but not the name: see [`Storage::sync_folder`].
    ///
    /// # Errors
    /// The error of the system; then the state of the disk is unknown.
    fn sync(&mut self) -> io::Result<()>;
}

/// The part of a file system that the writers of takes need.
///
/// # Errors
/// All methods return the error of the system.
#[expect(clippy::missing_errors_doc, reason = "the trait's own documentation has them")]
pub trait Storage: Send + Sync + fmt::Debug {
    /// Makes a folder inside an existing one.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Whether `path` is a folder.
    fn is_folder(&self, path: &Path) -> bool;
    /// Makes an empty file, or empties the existing one.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Makes an empty file; [`io::ErrorKind::AlreadyExists`] if there is one.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Opens a file for writing, and makes it if it is missing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Reads `length` bytes of a file from `offset` on, or fewer at its end.
    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// A file's length in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// Renames a file within its folder, and replaces a file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file within its folder; [`io::ErrorKind::AlreadyExists`] if the new name is taken.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The files in a folder, without its folders.
    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// The files in a folder that have a temporary name: few, even among a million files.
    fn partials(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.files(folder)?.into_iter().filter(|path| final_of(path).is_some()).collect())
    }
    /// The largest size of a file in `folder`, if it is known to be limited.
    fn max_file_bytes(&self, folder: &Path) -> Option<u64>;
    /// Flushes the names in a folder to the disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// Makes a write beyond the file size limit (setrlimit(2)) an error on the calling thread, rather than the end of the process.
///
/// # Errors
/// The error of the system.
pub fn survive_size_limit() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    Ok(signals.thread_block()?)
}

/// Whether the error says that there is no such file, or a folder in its place.
pub(crate) fn is_no_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory)
}

/// The same error once more, for another frame or file.
pub(crate) fn copy_error(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// The temporary name of the file `path` while it is written.
#[must_use]
pub fn partial_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder_of(path).join(format!(".{name}.part"))
}

/// The final name of the file with the temporary name `partial`; `None`: it is no such name.
#[must_use]
pub fn final_of(partial: &Path) -> Option<PathBuf> {
    let name = partial.file_name()?.to_str()?.strip_prefix('.')?.strip_suffix(".part")?;
    (!name.is_empty()).then(|| folder_of(partial).join(name))
}

/// The folder of `path`.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Reads a whole file.
///
/// # Errors
/// The error of the system.
pub fn read(storage: &dyn Storage, path: &Path) -> io::Result<Vec<u8>> {
    storage.read_at(path, 0, usize::MAX)
}

/// Makes `folder` and its parents, as far as they are missing.
///
/// # Errors
/// The error of the system.
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

/// The file system of the host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

#[derive(Debug)]
struct DiskFile(File);

impl StorageFile for DiskFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn reserve(&mut self, offset: u64, bytes: u64) {
        // Not every file system can do it.
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
            // Some file systems cannot do it. NFS is one, but it has hard links.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            other => return Ok(other?),
        }
        match fs::hard_link(from, to) {
            Ok(()) => fs::remove_file(from),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // No hard links either. A race with another process remains possible.
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
        // FAT has file sizes of 32 bits.
        let by_system = rustix::fs::statfs(folder).is_ok_and(is_fat).then_some(u64::from(u32::MAX));
        let by_limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
        by_system.into_iter().chain(by_limit).min()
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let folder = File::open(folder)?;
        // Linux renames a file on FAT by making an entry of size zero. The size comes with the file's inode, which a flush of the folder
        // does not write: after a power cut the file would be empty, though it was flushed under its old name.
        if rustix::fs::fstatfs(&folder).is_ok_and(is_fat) {
            rustix::fs::syncfs(&folder)?;
        }
        // Last, as it also has the disk write what it holds.
        folder.sync_all()
    }
}

/// Whether a file system is FAT, but not exFAT.
fn is_fat(about: rustix::fs::StatFs) -> bool {
    const MSDOS_SUPER_MAGIC: u64 = 0x4d44;
    u64::try_from(about.f_type).is_ok_and(|kind| kind == MSDOS_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_leads_back_to_the_final_one() {
        let partial = partial_of(Path::new("a/0001.mp4"));
        assert_eq!(partial, Path::new("a/.0001.mp4.part"));
        assert_eq!(final_of(&partial).unwrap(), Path::new("a/0001.mp4"));
        for other in ["a/0001.mp4", "a/.part", "a/.0001.mp4", "a/0001.part", ".."] {
            assert_eq!(final_of(Path::new(other)), None, "{other}");
        }
    }
}
