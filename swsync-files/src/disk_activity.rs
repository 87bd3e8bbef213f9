//! Tells whether a file system still answers. A call may hang for ever, and its thread with it: a server is gone, a stick was
//! pulled, a card is dying.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::storage::{Storage, StorageFile};

/// The calls to a file system that are under way, and the number of those answered. For threads other than the callers.
#[derive(Debug, Default)]
pub struct DiskActivity {
    answered: AtomicU64,
    underway: Mutex<Vec<Call>>,
}

#[derive(Debug)]
struct Call {
    number: u64,
    what: &'static str,
    path: PathBuf,
    since: Instant,
}

/// A call under way. It ends when this is dropped.
struct Underway<'a>(&'a DiskActivity, u64);

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let Self(activity, number) = self;
        activity.underway.lock().retain(|call| call.number != *number);
        activity.answered.fetch_add(1, Ordering::Relaxed);
    }
}

impl DiskActivity {
    /// The number of calls answered so far. If it does not rise, the disk hangs.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The call that has been under way longest, in words, and since when.
    #[must_use]
    pub fn longest(&self) -> Option<(String, Duration)> {
        let underway = self.underway.lock();
        let oldest = underway.iter().min_by_key(|call| call.since)?;
        Some((format!("{} {}", oldest.what, oldest.path.display()), oldest.since.elapsed()))
    }

    /// Runs `call`, which does `what` to `path`, and counts it.
    pub fn during<T>(&self, what: &'static str, path: &Path, call: impl FnOnce() -> T) -> T {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.underway.lock().push(Call { number, what, path: path.to_owned(), since: Instant::now() });
        let _over = Underway(self, number);
        call()
    }
}

/// A file system whose calls are recorded in a [`DiskActivity`].
#[derive(Debug)]
pub struct MonitoredStorage<S> {
    storage: S,
    activity: Arc<DiskActivity>,
}

#[derive(Debug)]
struct MonitoredFile {
    file: Box<dyn StorageFile>,
    path: PathBuf,
    activity: Arc<DiskActivity>,
}

impl<S: Storage> MonitoredStorage<S> {
    /// Records the calls to `storage` in `activity`.
    #[must_use]
    pub const fn new(storage: S, activity: Arc<DiskActivity>) -> Self {
        Self { storage, activity }
    }

    fn file(&self, path: &Path, file: Box<dyn StorageFile>) -> Box<dyn StorageFile> {
        Box::new(MonitoredFile { file, path: path.to_owned(), activity: self.activity.clone() })
    }
}

impl StorageFile for MonitoredFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Self { file, path, activity } = self;
        activity.during("writing", path, || file.write_at(offset, bytes))
    }

    fn reserve(&mut self, offset: u64, bytes: u64) {
        let Self { file, path, activity } = self;
        activity.during("reserving room for", path, || file.reserve(offset, bytes));
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let Self { file, path, activity } = self;
        activity.during("cutting", path, || file.set_len(length))
    }

    fn sync(&mut self) -> io::Result<()> {
        let Self { file, path, activity } = self;
        activity.during("flushing", path, || file.sync())
    }
}

impl<S: Storage> Storage for MonitoredStorage<S> {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        self.activity.during("making", folder, || self.storage.create_folder(folder))
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.activity.during("looking at", path, || self.storage.is_folder(path))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = self.activity.during("making", path, || self.storage.create(path))?;
        Ok(self.file(path, file))
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = self.activity.during("making", path, || self.storage.create_new(path))?;
        Ok(self.file(path, file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        let file = self.activity.during("opening", path, || self.storage.open(path))?;
        Ok(self.file(path, file))
    }

    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.activity.during("reading", path, || self.storage.read_at(path, offset, length))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.activity.during("looking at", path, || self.storage.len(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.activity.during("naming", to, || self.storage.rename(from, to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.activity.during("naming", to, || self.storage.rename_new(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.activity.during("removing", path, || self.storage.remove(path))
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.activity.during("listing", folder, || self.storage.files(folder))
    }

    fn partials(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.activity.during("listing", folder, || self.storage.partials(folder))
    }

    fn max_file_bytes(&self, folder: &Path) -> Option<u64> {
        self.activity.during("looking at", folder, || self.storage.max_file_bytes(folder))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.activity.during("flushing", folder, || self.storage.sync_folder(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disk;

    #[test]
    fn calls_are_counted_and_the_longest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let activity = Arc::new(DiskActivity::default());
        let storage: Arc<dyn Storage> = Arc::new(MonitoredStorage::new(Disk, activity.clone()));
        let (path, part) = (folder.path().join("a"), folder.path().join(".a.part"));
        let mut file = storage.create(&part).unwrap();
        file.write_at(0, b"text").unwrap();
        file.sync().unwrap();
        storage.rename(&part, &path).unwrap();
        assert_eq!(storage.read_at(&path, 0, 9).unwrap(), b"text");
        let answered = activity.answered();
        assert!(answered == 5 && activity.longest().is_none(), "{answered}");
        activity.during("writing", &path, || {
            activity.during("reading", folder.path(), || {
                let (what, _) = activity.longest().unwrap();
                assert_eq!(what, format!("writing {}", path.display()));
            });
            assert_eq!(activity.answered(), answered + 1);
        });
        assert_eq!((activity.answered(), activity.longest().is_some()), (answered + 2, false));
    }
}
