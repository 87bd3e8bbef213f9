//! The clocks of a camera device, and the UDP time service that keeps them in rig time.
//!
//! - [`DeviceClock`]: the host's clocks, or simulated ones (feature `simulation`).
//! - [`RigClock`]: rig time as a function of the local clock. Any thread may read it.
//! - [`TimeLeader`] serves a rig clock by NTP, [`TimeClient`] follows a leader, and [`ReferenceFollower`] follows a clock that
//!   can be read on this device ([`SystemReference`], PTP).
//!
//! [`swsync_core`] decides: protocol, estimators, servo. This crate does the I/O around it: sockets with the kernel's
//! timestamps, timers, clock reads. It knows nothing of Zenoh and sessions: its caller hands in the leader's addresses, or a
//! function that looks them up ([`LeaderSource`]). It must never import `swsync-rig` or GStreamer, and imports `swsync-sim`
//! only with the feature `simulation`.
//!
//! Start reading at [`RigClock`], then `client.rs` and `leader.rs`.

// Denied rather than forbidden: one function, which reads adjtimex(2), has to be allowed it.
#![deny(unsafe_code)]

mod address;
mod card_stamps;
mod client;
mod device_clock;
mod event;
mod executor;
mod kernel_clock;
mod leader;
mod leader_source;
mod reference;
mod rig_clock;
#[cfg(feature = "simulation")]
mod simulation;
mod socket;
mod stats;
mod wall_map;

use swsync_core::ntp::rig_id;
use swsync_core::time_service::Identity;

pub use address::socket_addr;
pub use client::{TimeClient, TimeClientConfig};
pub use device_clock::{
    AwakeReading, DeviceClock, DeviceClockError, SIMULATED_CLOCK, SimulatedClock, arrival_on_host, host_now,
    wall_clock,
};
pub use event::ClockEvent;
pub use executor::TimeError;
pub use leader::{Authority, TimeLeader, TimeLeaderConfig};
pub use leader_source::LeaderSource;
pub use reference::{
    Reference, ReferenceConfig, ReferenceFollower, ReferenceReading, ReferenceStats, SystemReference,
};
pub use rig_clock::{FrozenClock, RigClock};
pub use stats::{ClientProgress, StampKind, StampKinds, TimeClientStats, TimeLeaderStats, Waiting};

use swsync_core::time::Host;

/// The default port of the time service.
pub const DEFAULT_PORT: u16 = 11_123;

/// A new identity of this device in the rig called `rig`. Its client and its server must share one, so that the device never
/// follows itself.
#[must_use]
pub fn new_identity(rig: &str) -> Identity {
    Identity { rig: rig_id(rig), device: rand::random(), timescale: rand::random() }
}
