//! Takes on disk: files that appear whole or not at all, what stands beside them, and what is left to do after
//! a crash.

mod journal;
mod lines;
mod location;
mod recover;
mod salvage;
mod segment;
#[cfg(test)]
mod simulated;
mod storage;
mod take;
#[cfg(test)]
mod tests;
mod whole;

pub use journal::Journal;
pub use location::{FileOf, Location, LocationError};
pub use segment::{Cut, Noted, SegmentFile};
pub use storage::{Disk, Durability, Storage, StorageFile, make_folders};
pub use take::{Picture, SavedFile, Shelf, TakeFolder};
pub use whole::{WholeFile, final_of, partial_of, write_whole};

/// Appends `record` to the manifest in `folder`.
///
/// # Errors
/// What the system said.
pub fn append_to_manifest(
    folder: &std::path::Path,
    record: &swsync_core::manifest::FrameRecord,
) -> std::io::Result<()> {
    let storage: std::sync::Arc<dyn Storage> = std::sync::Arc::new(Disk);
    let path = folder.join("manifest.jsonl");
    lines::LineFile::open(&storage, &path, Durability::Safe)?.append(&record.to_line())
}
