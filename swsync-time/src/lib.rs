//! The clocks of a camera device, and the UDP time service that keeps them in rig time.
//!
//! - [`DeviceClock`]: the host's clocks, or simulated ones (feature `simulation`).
//! - [`RigClock`]: rig time as a function of the local clock. Any thread may read it.
//! - [`TimeNode`] is a device of the rig: it follows a server, serves time, and leads if it is elected.
//! - [`TimeLeader`] serves a rig clock by NTP, and [`ReferenceFollower`] follows a clock that can be read on this device
//!   ([`SystemReference`], PTP).
//!
//! [`swsync_core`] decides: protocol, estimators, servo. This crate does the I/O around it: sockets with the kernel's
//! timestamps, timers, clock reads. It knows nothing of Zenoh and sessions: its caller brings what other devices tell of their
//! time services, and passes on what this one tells ([`RigAdverts`]). It must never import `swsync-rig` or GStreamer, and imports `swsync-sim`
//! only with the feature `simulation`.
//!
//! Start reading at [`RigClock`], then `node/` and `leader.rs`.

// Denied rather than forbidden: one function, which reads adjtimex(2), has to be allowed it.
#![deny(unsafe_code)]

mod address;
mod card_stamps;
mod device_clock;
mod event;
mod executor;
mod kernel_clock;
mod leader;
mod node;
mod publisher;
mod recent;
mod reference;
mod resolver;
mod rig_clock;
#[cfg(feature = "simulation")]
mod simulation;
mod socket;
mod stats;
mod wall_map;

use swsync_core::ntp::rig_id;
use swsync_core::time_service::Identity;

pub use address::socket_addr;
pub use device_clock::{
    AwakeReading, DeviceClock, DeviceClockError, SIMULATED_CLOCK, SimulatedClock, arrival_on_host, host_now,
    wall_clock,
};
pub use event::ClockEvent;
pub use executor::TimeError;
pub use leader::{Authority, TimeLeader, TimeLeaderConfig};
pub use node::{
    AdvertInbox, AdvertSink, Announcements, Announcer, RigAdverts, ServingConfig, TimeNode, TimeNodeConfig,
    advert_queue,
};
pub use reference::{
    Reference, ReferenceConfig, ReferenceFollower, ReferenceReading, ReferenceStats, SystemReference,
};
pub use rig_clock::{FrozenClock, RigClock};
pub use stats::{ClientProgress, StampKind, StampKinds, TimeClientStats, TimeLeaderStats, Waiting};

use swsync_core::time::Host;

/// The default port of the time service.
pub const DEFAULT_PORT: u16 = 11_123;

/// Whether the kernel says that some program keeps this device's wall clock in time: see adjtimex(2).
#[must_use]
pub fn wall_clock_is_kept() -> bool {
    kernel_clock::wall_status().is_ok_and(|status| !status.unsynced)
}

/// A new identity of this device in the rig called `rig`. Its client and its server must share one, so that the device never
/// follows itself.
#[must_use]
pub fn new_identity(rig: &str) -> Identity {
    Identity { rig: rig_id(rig), device: rand::random(), timescale: rand::random() }
}
