//! A device's takes, for others to fetch: over Zenoh, beside the control plane.
//!
//! A device serves what it has saved with a [`Share`]; [`Remote`] is that device's files as seen from
//! elsewhere, and [`collect`] brings a take home: whole, verified, and from where it left off when
//! something came in between.
//!
//! | key | what is there |
//! | --- | --- |
//! | `swsync/<rig>/files/<device>/<instance>` | queryable: a request in, what it asked for out |
//!
//! Nothing but the files of this device's takes can be had: not by any path, only by an order's name and a
//! name that this device itself listed. A file can be deleted by whoever proves to have it, with its
//! SHA-256.

mod catalog;
pub mod collect;
mod digest;
mod message;
mod names;
pub mod pending;
mod remote;
mod serve;

pub(crate) use digest::of_bytes as sha256_of;
pub use message::{Chunk, Digest, FileEntry, Listing, TakeEntry, Unreadable};
pub use remote::{Remote, RemoteError};
pub use serve::{Busy, Share};
