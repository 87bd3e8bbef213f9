//! The parts of a simulated rig: oscillators, links, cameras, and what the cameras look at.
//!
//! Nobody owns every rig, so simulation is part of the product: the demo, the tests and the
//! benchmarks are the same parts with other numbers. Everything here is a function of its
//! arguments and a seed. Nothing reads a clock, opens a socket or starts a thread, so an hour of a
//! rig passes in milliseconds in a test, and in an hour when a pipeline drives the same code live.
//!
//! | module | what it stands for |
//! | --- | --- |
//! | [`oscillator`] | a device's clock: offset, skew, wander, warm-up |
//! | [`link`] | one-way delays of the network, both ways, with loss |
//! | [`sensor`] | a rolling-shutter sensor behind libcamera's delayed controls |
//! | [`scene`] | the picture: the paper's LED panel beside a ball on a one-second orbit |
//! | [`panel`] | the panel's light as a function of time, and where it is in a picture |
//! | [`trace`] | recordings of exchanges over such a link with such a clock, and their truth |
//! | [`decode`] | the true time read back out of a picture |
//!
//! "The paper" is Ansari, Wadhwa, Garg and Chen, "Wireless Software Synchronization of Multiple
//! Distributed Cameras", 2019.

#![forbid(unsafe_code)]

pub mod decode;
pub mod link;
mod noise;
mod num;
pub mod oscillator;
pub mod panel;
pub mod scene;
pub mod sensor;
pub mod shutter;
pub mod trace;

use swsync_core::time::Clock;

/// True time of the simulation: the host's `CLOCK_MONOTONIC` when it is run live.
///
/// Simulated devices have clocks of their own, which an [`oscillator::Oscillator`] derives from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum True {}

impl Clock for True {
    const NAME: &'static str = "True";
}
