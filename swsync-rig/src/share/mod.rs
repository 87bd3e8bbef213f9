//! Sharing of a device's takes over Zenoh, beside the control plane.
//!
//! A device serves the files of its takes with a [`Share`]. [`Session::request_files`](crate::Session::request_files) asks for
//! them; the crate `swsync-client` fetches whole takes with it.
//!
//! | key | what is there |
//! | --- | --- |
//! | `swsync/<rig>/files/<device>/<instance>` | queryable: a [`FileRequest`] in, a [`FileReply`] out |
//!
//! Only the files of this device's takes are shared: a file is named by its order and by a name that this device has listed,
//! never by a path. A client can delete a file only by its SHA-256, which proves that the client has it,
//! and only in a rig with a key. There it can also remove a whole take: one that was collected, as the device knows from whoever
//! did, or any that is finished if the operator insists.

mod catalog;
mod client;
mod file_list;
mod modified;
mod removal;
mod server;
mod summaries;

pub use server::{Busy, Share};
pub use swsync_core::share::{
    Chunk, CollectedMark, FileDigest, FileEntry, FileReply, FileRequest, Listing, TakeEntry, TakeNote,
    TakeSummary, Unreadable,
};
