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

mod card_stamps;
mod client;
mod device_clock;
mod event;
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

use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;

use swsync_core::ntp::rig_id;
use swsync_core::time_service::Identity;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use client::{TimeClient, TimeClientConfig};
pub use device_clock::{
    DeviceClock, DeviceClockError, SIMULATED_CLOCK, SimulatedClock, arrival_on_host, host_now, wall_clock,
};
pub use event::ClockEvent;
pub use leader::{Authority, TimeLeader, TimeLeaderConfig};
pub use leader_source::LeaderSource;
pub use reference::{
    Reference, ReferenceConfig, ReferenceFollower, ReferenceReading, ReferenceState, ReferenceStats,
    SystemReference,
};
pub use rig_clock::{FrozenClock, RigClock};
pub use socket::socket_addr;
pub use stats::{ClientProgress, StampKind, StampKinds, TimeClientStats, TimeLeaderStats, Waiting};

use swsync_core::time::Host;

/// The port where a leader serves time, unless told otherwise.
pub const DEFAULT_PORT: u16 = 11_123;

/// A new identity of this device in the rig called `rig`. Its client and its server must share one, so that the device never
/// follows itself.
#[must_use]
pub fn new_identity(rig: &str) -> Identity {
    Identity { rig: rig_id(rig), device: rand::random(), timescale: rand::random() }
}

/// Why a time service could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// The socket cannot be opened.
    #[error("cannot open UDP socket {address}: {error}")]
    Socket {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        error: io::Error,
    },
    /// The executor's threads cannot be started.
    #[error("cannot start the time service's threads: {0}")]
    Runtime(#[from] io::Error),
}

/// The executor of the process's time services. It lives as long as the process; the owner of each [`Task`] ends it.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime =
        Builder::new_multi_thread().worker_threads(2).thread_name("swsync-time").enable_all().build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// A task on the [`runtime`]. Dropping this ends the task and waits for it.
#[derive(Debug)]
struct Task {
    stop: watch::Sender<bool>,
    handle: Option<JoinHandle<()>>,
}

impl Task {
    fn spawn<F>(task: impl FnOnce(watch::Receiver<bool>) -> F) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let handle = runtime()?.spawn(task(stopped));
        Ok(Self { stop, handle: Some(handle) })
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let (Some(handle), Ok(runtime)) = (self.handle.take(), runtime()) {
            // The executor's own threads cannot wait. The tasks check `stop` at each turn.
            if tokio::runtime::Handle::try_current().is_err() {
                let _ended = runtime.block_on(handle);
            }
        }
    }
}
