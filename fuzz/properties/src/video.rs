//! Videos that a crash has left unfinished.

use std::io;
use std::path::{Path, PathBuf};

use swsync_files::{Storage, StorageFile, playable};

/// A disk with one file, which can only be read.
#[derive(Debug)]
struct OneFile<'a>(&'a [u8]);

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Storage for OneFile<'_> {
    fn read_at(&self, _: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        Ok(self.0[from..from.saturating_add(length).min(self.0.len())].to_vec())
    }
    fn len(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn is_folder(&self, _: &Path) -> bool {
        false
    }
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        unsupported()
    }
    fn create(&self, _: &Path) -> io::Result<Box<dyn StorageFile>> {
        unsupported()
    }
    fn create_new(&self, _: &Path) -> io::Result<Box<dyn StorageFile>> {
        unsupported()
    }
    fn open(&self, _: &Path) -> io::Result<Box<dyn StorageFile>> {
        unsupported()
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        unsupported()
    }
    fn rename_new(&self, _: &Path, _: &Path) -> io::Result<()> {
        unsupported()
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        unsupported()
    }
    fn files(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        unsupported()
    }
    fn max_file_bytes(&self, _: &Path) -> Option<u64> {
        None
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        unsupported()
    }
}

/// The first byte is how many pictures the muxer got; the rest is the file. The playable part lies within the file and has no more
/// pictures than that; cut there, it stays as it is.
pub fn salvage(bytes: &[u8]) {
    let Some((count, video)) = bytes.split_first() else { return };
    let sizes = vec![100; usize::from(*count)];
    let look =
        |video: &[u8]| playable(&OneFile(video), Path::new("/v"), &sizes).expect("a disk without errors");
    let found = look(video);
    assert!(found.length <= video.len() as u64 && found.pictures <= u64::from(*count), "{found:?}");
    let kept = usize::try_from(found.length).expect("it is within the file");
    let again = look(&video[..kept]);
    assert!(again.length <= found.length && again.pictures <= found.pictures, "{again:?} of {found:?}");
}
