//! What the host of a camera device says of itself.
//!
//! Everything is read below a [`HostRoot`], so that tests can show it a host that they made. What a host does not say is `None`.
//!
//! [`HostSampler`] puts all of it together for a device's status, while somebody asks.
//!
//! This crate imports `swsync-core` only.

#![forbid(unsafe_code)]

pub mod board;
pub mod cpu;
pub mod doctor;
pub mod led;
mod root;
mod sample;
pub mod temperature;
#[cfg(test)]
mod testing;
pub mod throttling;
pub mod wifi;

pub use root::{HOST_ROOT_VARIABLE, HostRoot};
pub use sample::HostSampler;
