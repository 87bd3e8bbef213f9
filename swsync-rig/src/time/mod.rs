//! The time service: UDP sockets with the kernel's timestamps around [`swsync_core::sync`].

mod client;
mod event;
mod hardware;
mod leader;
mod reference;
mod socket;
mod source;
mod stats;

use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;

use swsync_core::ntp::rig_id;
use swsync_core::sync::Identity;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use client::{TimeClient, TimeClientConfig};
pub use event::ClockEvent;
pub use leader::{Authority, TimeLeader, TimeLeaderConfig};
pub use reference::{
    Reading, Reference, ReferenceConfig, ReferenceFollower, ReferenceState, ReferenceStats, SystemReference,
};
pub use source::{FindTime, LeaderSource};
pub use stats::{Progress, StampKind, StampKinds, TimeClientStats, TimeLeaderStats, Waiting};

/// The port where a leader serves time, unless told otherwise.
pub const DEFAULT_PORT: u16 = 11_123;

/// A new identity of this device in the rig called `rig`. Its client and its server must have the
/// same one, so that it never follows itself.
#[must_use]
pub fn new_identity(rig: &str) -> Identity {
    Identity { rig: rig_id(rig), device: rand::random(), timescale: rand::random() }
}

/// Why a time service could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimeError {
    /// The socket cannot be had.
    #[error("cannot open UDP socket {address}: {error}")]
    Socket {
        /// Where it should have been.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The executor's threads cannot be started.
    #[error("cannot start the time service's threads: {0}")]
    Runtime(#[from] io::Error),
}

/// The executor of the process's time services. Lives as long as the process: each task is ended by the
/// handle that started it.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime =
        Builder::new_multi_thread().worker_threads(2).thread_name("swsync-time").enable_all().build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// A task on the [`runtime`] that ends, and is waited for, when this is dropped.
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
            // Outside the executor's own threads this waits; the tasks look at `stop` at each turn.
            if tokio::runtime::Handle::try_current().is_err() {
                let _ended = runtime.block_on(handle);
            }
        }
    }
}
