//! Recorded pictures and videos that are on the disk, and not saved yet: they lack their name, their manifest lines or a flush.

use std::io;
use std::path::PathBuf;

use swsync_core::grid::FrameNumber;
use swsync_core::manifest::FrameRecord;

use crate::segment::SegmentFile;
use crate::storage::copy_error;

/// All unsaved files of a take.
#[derive(Debug, Default)]
pub(crate) struct Unsaved {
    pub pictures: Vec<UnsavedPicture>,
    pub videos: Vec<UnsavedVideo>,
}

/// A picture whose bytes are on the disk.
#[derive(Debug)]
pub(crate) struct UnsavedPicture {
    /// Its key until it is saved: see [`NotSaved::retry_as`](crate::NotSaved::retry_as).
    pub key: PathBuf,
    pub partial: PathBuf,
    pub path: PathBuf,
    pub record: FrameRecord,
    pub is_listed: bool,
    pub is_named: bool,
    /// Why it is not saved.
    pub error: Option<io::Error>,
}

/// A video to be closed.
#[derive(Debug)]
pub(crate) struct UnsavedVideo {
    pub key: PathBuf,
    pub segment: SegmentFile,
    pub covers: Option<(FrameNumber, u64)>,
    pub is_flushed: bool,
    /// Whether the manifest lists its frames.
    pub is_listed: bool,
    /// Whether it is saved. `take.json` may still lack it.
    pub is_saved: bool,
    /// Whether its timecodes are written.
    pub is_timed: bool,
    pub error: Option<io::Error>,
}

impl Unsaved {
    /// Fails if there is any.
    ///
    /// # Errors
    /// Why the first of them is not saved.
    pub(crate) fn check(&self) -> io::Result<()> {
        let pictures = self.pictures.iter().map(|picture| (&picture.path, &picture.error));
        let videos = self.videos.iter().map(|video| (&video.key, &video.error));
        match pictures.chain(videos).next() {
            None => Ok(()),
            Some((path, error)) => {
                let error = error.as_ref().map_or_else(|| io::ErrorKind::Other.into(), copy_error);
                Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
            }
        }
    }
}
