//! Files that appear whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::storage::{Disk, Durability, Storage, StorageFile, folder_of, make_folders, partial_of};

/// Bytes are gathered up to this size before they are written.
const BUFFER: usize = 128 << 10;

/// Writes `bytes` to `path`: the file is there whole, on the disk, or not at all.
///
/// # Errors
/// The error of the system; then no temporary file is left, and a file that was there is as it was.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// A file that appears whole or not at all.
///
/// It is written under a temporary name, flushed to the disk and renamed; then the folder is flushed. If it is dropped before
/// the commit, it is removed.
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
    /// Begins the file `path` on the host's file system. Makes its folder if that is missing.
    ///
    /// # Errors
    /// The error of the system.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::create_on(&(Arc::new(Disk) as Arc<dyn Storage>), path, Durability::Safe)
    }

    /// Begins the file `path` on `storage`.
    ///
    /// # Errors
    /// The error of the system.
    pub fn create_on(storage: &Arc<dyn Storage>, path: &Path, durability: Durability) -> io::Result<Self> {
        Self::begin(storage, path, durability, |partial| storage.create(partial))
    }

    /// Begins the file `path` on `storage`; [`io::ErrorKind::AlreadyExists`] if it is being written already.
    pub(crate) fn create_new(
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

    /// The temporary name: the file to remove if the process ends without dropping this.
    #[must_use]
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// The final name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its final name.
    ///
    /// # Errors
    /// The error of the system; then the temporary file is removed.
    pub fn commit(mut self) -> io::Result<()> {
        self.finish()?;
        self.rename()?;
        match self.durability {
            Durability::Safe => self.storage.sync_folder(folder_of(&self.path)),
            Durability::Fast => Ok(()),
        }
    }

    /// Flushes all that was written to the disk, under the temporary name.
    fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.sync()
    }

    /// Flushes to the disk what [`flush`](Write::flush) has written.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        match self.durability {
            Durability::Safe => self.file.sync(),
            Durability::Fast => Ok(()),
        }
    }

    /// Renames the finished file, without flushing the folder.
    fn rename(&mut self) -> io::Result<()> {
        self.storage.rename(&self.partial, &self.path)?;
        self.committed = true;
        Ok(())
    }

    /// Keeps the file under its temporary name.
    pub(crate) fn keep_partial(mut self) {
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
            // It may be gone already. There is no one to report an error to.
            let _ = self.storage.remove(&self.partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_written_file_is_whole_and_no_other_file_is_left() {
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
}
