//! Files that appear whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::storage::{Disk, Durability, Storage, StorageFile, folder_of, make_folders};

/// What is gathered before it is written.
const BUFFER: usize = 128 << 10;

/// Writes `bytes` to `path` such that the file is there whole, on disk, or not at all.
///
/// # Errors
/// What the system said; then nothing is left behind under either name.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// The name that the file `path` has while it is written.
#[must_use]
pub fn partial_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder_of(path).join(format!(".{name}.part"))
}

/// The final name of a file that [`partial_of`] named so.
#[must_use]
pub fn final_of(partial: &Path) -> Option<PathBuf> {
    let name = partial.file_name()?.to_str()?.strip_prefix('.')?.strip_suffix(".part")?;
    (!name.is_empty()).then(|| folder_of(partial).join(name))
}

/// A file that is there whole or not at all.
///
/// Written under a temporary name, flushed to the disk, renamed, and the folder flushed too. Dropped
/// before it is committed, nothing of it stays.
#[derive(Debug)]
pub struct WholeFile {
    storage: Arc<dyn Storage>,
    durability: Durability,
    file: Box<dyn StorageFile>,
    buffer: Vec<u8>,
    written: u64,
    path: PathBuf,
    partial: PathBuf,
    committed: bool,
}

impl WholeFile {
    /// Begins a file that shall be at `path`, on the disk; the folder is made where it is missing.
    ///
    /// # Errors
    /// What the system said.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::create_on(&(Arc::new(Disk) as Arc<dyn Storage>), path, Durability::Safe)
    }

    /// Begins a file that shall be at `path` of `storage`.
    ///
    /// # Errors
    /// What the system said.
    pub fn create_on(storage: &Arc<dyn Storage>, path: &Path, durability: Durability) -> io::Result<Self> {
        Self::begin(storage, path, durability, |partial| storage.create(partial))
    }

    /// Begins a file that shall be at `path` of `storage`, where none is, nor one begun: else
    /// [`io::ErrorKind::AlreadyExists`].
    pub(super) fn create_new(
        storage: &Arc<dyn Storage>,
        path: &Path,
        durability: Durability,
    ) -> io::Result<Self> {
        Self::begin(storage, path, durability, |partial| storage.create_new(partial))
    }

    fn begin(
        storage: &Arc<dyn Storage>,
        path: &Path,
        durability: Durability,
        create: impl FnOnce(&Path) -> io::Result<Box<dyn StorageFile>>,
    ) -> io::Result<Self> {
        path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        make_folders(storage.as_ref(), folder_of(path), durability)?;
        let partial = partial_of(path);
        Ok(Self {
            file: create(&partial)?,
            storage: Arc::clone(storage),
            durability,
            buffer: Vec::new(),
            written: 0,
            path: path.to_owned(),
            partial,
            committed: false,
        })
    }

    /// The temporary name: what to remove where the process ends without dropping this.
    #[must_use]
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// What will be its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has the file appear.
    ///
    /// # Errors
    /// What the system said; then nothing is left behind.
    pub fn commit(mut self) -> io::Result<()> {
        self.finish()?;
        self.appear()?;
        match self.durability {
            Durability::Safe => self.storage.sync_folder(folder_of(&self.path)),
            Durability::Fast => Ok(()),
        }
    }

    /// Has all that was written reach the disk, under the temporary name.
    fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.sync()
    }

    /// Has what was flushed reach the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        match self.durability {
            Durability::Safe => self.file.sync(),
            Durability::Fast => Ok(()),
        }
    }

    /// Gives what [`finish`](Self::finish) wrote its name; the folder is not flushed.
    fn appear(&mut self) -> io::Result<()> {
        self.storage.rename(&self.partial, &self.path)?;
        self.committed = true;
        Ok(())
    }

    /// Leaves it under its temporary name.
    pub(super) fn leave(mut self) {
        self.committed = true;
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() >= BUFFER {
            self.file.write_at(self.written, bytes)?;
            self.written += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(self.written, &self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.committed {
            // It may be gone already, and nobody is there to be told.
            let _ = self.storage.remove(&self.partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_are_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/1.jpg");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn small_and_large_writes_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut file = WholeFile::create(&path).unwrap();
        let mut expected = Vec::new();
        for (length, byte) in [(3, b'a'), (BUFFER - 1, b'b'), (BUFFER + 1, b'c'), (0, b'd'), (5, b'e')] {
            let bytes = vec![byte; length];
            file.write_all(&bytes).unwrap();
            expected.extend(bytes);
        }
        file.commit().unwrap();
        assert!(fs::read(&path).unwrap() == expected);
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir_all(path.join("by a folder")).unwrap();
        assert!(write_whole(&path, b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_of_unfinished_files_lead_back() {
        let partial = partial_of(Path::new("a/0001.mp4"));
        assert_eq!(partial, Path::new("a/.0001.mp4.part"));
        assert_eq!(final_of(&partial).unwrap(), Path::new("a/0001.mp4"));
        for other in ["a/0001.mp4", "a/.part", "a/.0001.mp4", "a/0001.part", ".."] {
            assert_eq!(final_of(Path::new(other)), None, "{other}");
        }
    }
}
