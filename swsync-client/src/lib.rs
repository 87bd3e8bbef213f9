//! Collects the takes of a camera rig, for the `swsync` command and other programs of an operator.
//!
//! [`RemoteTakes`] lists the takes of one device and reads its files. [`collect`](collect::collect) fetches a take: whole,
//! verified, and from where it stopped after an interruption. [`delete`](collect::delete) deletes it on the device once it is
//! collected. [`pending`] notes what is not complete yet. Orders are placed with [`swsync_rig::Session`].
//!
//! This crate imports `swsync-core`, `swsync-files` and `swsync-rig`. It must never import GStreamer, `swsync-time`,
//! `swsync-sim` or a terminal: programs other than the command use it too.
//!
//! Start reading at `collect.rs`.

#![forbid(unsafe_code)]

pub mod collect;
pub mod leaders;
pub mod pending;
mod remote;
pub mod rig_time;
pub mod snapshot;
pub mod takes;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use remote::{RemoteError, RemoteTakes};
pub use snapshot::{NoRigTime, RigSnapshot};
