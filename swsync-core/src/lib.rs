//! Everything that swsync computes and decides, sans-IO: time types, the NTP codec and time service, estimators, the clock
//! servo, the frame aligner, the frame ring, orders and manifests.
//!
//! Time comes in as an argument, packets come in as bytes, and decisions go out as values. So a socket, a simulation, a
//! recorded trace or a test can drive the same code, and a test runs an hour of synchronization in milliseconds.
//!
//! **Never in this crate:** clock reads, sockets, threads, files, the environment, GStreamer. `clippy.toml` beside
//! `Cargo.toml` lists the types and functions that break the build.
//!
//! **Where to begin:** [`time`] for the clocks and their types, [`time_service`] for how a device learns the time,
//! [`align`] for how frames come onto the grid, [`order`] for how an order becomes saved frames.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

pub mod align;
pub mod bounded;
pub mod bridge;
pub mod camera_settings;
pub mod centre;
pub mod certificate;
pub mod coded;
pub mod doctor;
pub mod estimate;
pub mod exchanges;
pub mod frame;
pub mod frame_number;
pub mod gap;
pub mod grid;
pub mod identify;
pub mod key;
pub mod leap;
pub mod log;
pub mod manifest;
pub mod message;
pub mod mp4;
pub mod name;
pub mod ntp;
pub mod order;
pub mod panel;
pub mod path_offset;
pub mod place;
pub mod profile;
pub mod rig_date;
pub mod ring;
pub mod servo;
pub mod share;
pub mod stamps;
pub mod status;
#[cfg(test)]
mod testing;
pub mod thumbnail;
pub mod time;
pub mod time_service;
