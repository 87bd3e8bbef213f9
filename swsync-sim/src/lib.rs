//! Simulated rigs: device clocks, network links, camera sensors, and the LED panel that the cameras look at.
//!
//! The demo, the tests and the benchmarks use the same parts with other numbers. Everything is a function of its arguments
//! and a seed, so a test runs an hour of a rig in milliseconds, and a pipeline runs the same code live.
//!
//! **Never in this crate:** clock reads, sockets, threads, files, random numbers without a seed. `clippy.toml` beside
//! `Cargo.toml` lists what breaks the build. Examples and tests are exempt where they read arguments and print.
//!
//! **Where to begin:** [`scene`] and [`panel`] for the picture, [`sensor`] for the camera, [`oscillator`] and [`link`] for
//! time, [`trace`] for whole traces of exchanges.
//!
//! | module | what it simulates |
//! | --- | --- |
//! | [`oscillator`] | a device's clock: offset, skew, wander, warm-up |
//! | [`link`] | one-way delays of the network in both directions, with loss |
//! | [`sensor`] | a rolling-shutter sensor behind libcamera's delayed controls |
//! | [`scene`] | the picture: the paper's LED panel beside a ball on a one-second orbit |
//! | [`panel`] | the panel's light as a function of time, and its place in the picture |
//! | [`photograph`] | photographs of a real panel, with what goes wrong in them |
//! | [`trace`] | exchanges over such a link with such a clock, and their truth |
//! | [`rig`] | whole rigs: elections, reboots, partitions |
//! | [`decode`] | reads the true time back out of a picture |
//!
//! True time is [`Host`](swsync_core::time::Host): the host's `CLOCK_MONOTONIC` when the simulation runs live. "The paper" is
//! Ansari, Wadhwa, Garg and Chen, "Wireless Software Synchronization of Multiple Distributed Cameras", 2019.

#![forbid(unsafe_code)]
#![deny(clippy::disallowed_macros, clippy::disallowed_methods, clippy::disallowed_types)]

pub mod decode;
pub mod link;
mod noise;
mod num;
pub mod oscillator;
pub mod panel;
pub mod photograph;
pub mod rig;
pub mod scene;
pub mod sensor;
pub mod shutter;
pub mod trace;
