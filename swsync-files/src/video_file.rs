//! A video file that is read in pieces, and its playable part.

use std::io;
use std::path::Path;

use crate::storage::Storage;

/// The part of a video file that players can play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Playable {
    /// Its length from the beginning of the file, in bytes.
    pub length: u64,
    /// Number of pictures in it.
    pub pictures: u64,
}

/// A video file that is read.
pub(crate) struct VideoFile<'a> {
    storage: &'a dyn Storage,
    path: &'a Path,
    /// How many pictures were handed to the muxer, if that is known. Later ones in the file do not count.
    pub max_pictures: u64,
    /// Its length in bytes.
    pub length: u64,
}

impl<'a> VideoFile<'a> {
    /// The file `path`, of which the first `max_pictures` pictures count.
    pub(crate) fn open(storage: &'a dyn Storage, path: &'a Path, max_pictures: u64) -> io::Result<Self> {
        Ok(Self { storage, path, max_pictures, length: storage.len(path)? })
    }

    /// Up to `length` bytes from `at` on.
    pub(crate) fn bytes(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        self.storage.read_at(self.path, at, length)
    }
}
