//! The numbers and decisions of swsync, sans-IO.
//!
//! Time comes in as an argument, packets as bytes, decisions go out as values: the same code is
//! driven by a socket, a simulation, a recorded trace or a test. Nothing here reads a clock, opens
//! a socket, starts a thread or knows GStreamer.

#![forbid(unsafe_code)]

pub mod align;
pub mod bridge;
pub mod clock;
pub mod control;
pub mod estimate;
pub mod frame;
pub mod gap;
pub mod grid;
pub mod log;
pub mod manifest;
pub mod mp4;
pub mod name;
pub mod ntp;
pub mod order;
pub mod profile;
pub mod ring;
pub mod stamps;
pub mod sync;
pub mod time;
