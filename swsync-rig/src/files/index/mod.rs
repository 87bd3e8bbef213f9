//! What makes an ordinary file of one that is written such that a power cut costs but its end: an index of its pictures.
//!
//! It is made of what the file itself says, so that what a crash left gets one too.

mod mp4;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use super::salvage::Source;
use super::storage::Storage;

/// What is to be written to make a file an ordinary one.
#[derive(Debug)]
pub(super) struct Plan {
    /// Goes behind all that is there.
    pub index: Vec<u8>,
    /// Then these few bytes go there, once the index is on the disk.
    pub header: (u64, Vec<u8>),
}

/// What makes the file at `path` an ordinary one; `None`: it is one already, or of a kind that nothing is done about.
///
/// # Errors
/// What the system said; [`io::ErrorKind::InvalidData`]: it is not as it should be.
pub(super) fn plan(storage: &dyn Storage, path: &Path) -> io::Result<Option<Plan>> {
    let source = Source::of(storage, path, u64::MAX)?;
    match &source.bytes(0, 8)?[..] {
        [_, _, _, _, b'f', b't', b'y', b'p'] => mp4::plan(&source),
        _ => Ok(None),
    }
}

/// How many pictures the file of `source` has by its index; `None`: it has none, or is not whole.
///
/// # Errors
/// What the system said.
pub(super) fn pictures(source: &Source<'_>) -> io::Result<Option<u64>> {
    match &source.bytes(0, 8)?[..] {
        [_, _, _, _, b'f', b't', b'y', b'p'] => mp4::pictures(source),
        _ => Ok(None),
    }
}
