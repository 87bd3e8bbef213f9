//! Takes of a camera device on its disk: files that appear whole or not at all, the manifest beside them, and recovery after a
//! crash or a power cut.
//!
//! A [`TakeFolder`] writes one take: pictures ([`TakeFolder::save_pictures`]) and videos ([`SegmentFile`]). A [`JournalFile`]
//! keeps the device's open orders over a restart. [`Storage`] is the file system below, so that tests can make it run full,
//! fail at any call, or lose power. `swsync_core::manifest` defines what the files contain. [`profiles`] reads camera profiles
//! from files.
//!
//! This crate imports `swsync-core` alone. It must never import sockets, Zenoh, `swsync-time`, `swsync-rig` or GStreamer.
//!
//! Start reading at `take.rs`, then `save.rs` (how a frame becomes saved), `segment.rs` (videos) and `recover.rs` (after a
//! crash).

#![forbid(unsafe_code)]

mod bounded_read;
pub mod digest;
mod disk_activity;
mod journal;
mod line_file;
mod location;
mod loop_recording;
mod mp4_index;
pub mod profiles;
mod recorded_file;
mod recover;
mod remove_take;
mod reorder;
mod salvage;
mod save;
mod segment;
mod segment_log;
#[cfg(test)]
mod simulated_disk;
mod storage;
mod take;
mod take_manifest;
mod take_store;
#[cfg(test)]
mod tests;
mod unsaved;
mod video_file;
mod whole_file;

pub use bounded_read::{read_small_json, read_take_json};
pub use disk_activity::{DiskActivity, MonitoredStorage};
pub use journal::JournalFile;
pub use location::{FileId, Location, LocationError};
pub use loop_recording::Removal;
pub use remove_take::{
    RemovedTake, collected_mark_path, hidden_prefix, hide_take, read_hidden, remove_hidden,
};
pub use salvage::playable;
pub use save::{NotSaved, Picture, RetryResult, SavedFile, SavedVideo};
pub use segment::{BROKEN, SegmentFile};
pub use segment_log::MuxedPicture;
pub use storage::{
    Disk, Durability, Storage, StorageFile, final_of, make_folders, partial_of, survive_size_limit,
};
pub use take::TakeFolder;
pub use take_store::TakeStore;
pub use video_file::Playable;
pub use whole_file::{WholeFile, write_whole};
