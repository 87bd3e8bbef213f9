//! Takes on disk: files that appear whole or not at all, what stands beside them, and what is left to do after
//! a crash.

mod index;
mod journal;
mod kept;
mod late;
mod lines;
mod location;
mod recorded;
mod recover;
mod salvage;
mod segment;
#[cfg(test)]
mod simulated;
mod sorted;
mod storage;
mod take;
#[cfg(test)]
mod tests;
mod watched;
mod whole;

pub use journal::JournalFile;
pub use kept::Removal;
pub use late::Settled;
pub use location::{FileOf, Location, LocationError};
pub(crate) use segment::BROKEN;
pub use segment::{Noted, SegmentFile};
pub use storage::{Disk, Durability, Storage, StorageFile, make_folders, survive_size_limit};
pub use take::{NotSaved, Picture, SavedFile, SavedVideo, Shelf, TakeFolder};
pub use watched::{Activity, Watched};
pub use whole::{WholeFile, final_of, partial_of, write_whole};
