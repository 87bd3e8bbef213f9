//! What the host of a camera device says of itself.
//!
//! Everything is read below a [`HostRoot`], so that tests can show it a host that they made.
//!
//! This crate imports `swsync-core` only.

pub mod doctor;
mod root;

pub use root::HostRoot;
