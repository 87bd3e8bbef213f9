//! The running rig: what [`swsync_core`] decides, carried out on sockets, timers and this device's
//! clocks.

// Denied rather than forbidden: one function, which reads adjtimex(2), has to be allowed it.
#![deny(unsafe_code)]

pub mod clock;
pub mod control;
pub mod files;
mod net;
pub mod profiles;
pub mod relay;
pub mod share;
pub mod time;

pub use net::free_loopback;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, though another thread may have panicked while it held it: only for what is whole
/// after every statement under its lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The host's name, as far as a name may go: what devices are called where nobody chose an id.
#[must_use]
pub fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}
