//! The executor of the process's time services, and the tasks on it.

use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

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
pub(crate) fn runtime() -> io::Result<&'static Runtime> {
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
pub(crate) struct Task {
    stop: watch::Sender<bool>,
    handle: Option<JoinHandle<()>>,
}

impl Task {
    pub(crate) fn spawn<F>(task: impl FnOnce(watch::Receiver<bool>) -> F) -> io::Result<Self>
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
