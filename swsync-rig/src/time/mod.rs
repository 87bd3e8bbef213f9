//! The time service: UDP sockets with the kernel's timestamps around [`swsync_core::sync`].

mod client;
mod leader;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use client::{Progress, TimeClient, TimeClientConfig};
pub use leader::TimeLeader;

/// The port where a leader serves time, unless told otherwise.
pub const DEFAULT_PORT: u16 = 11_123;

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
