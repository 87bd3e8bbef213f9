//! Gives Zenoh threads enough that a lost device does not hang the connections to the others.
//!
//! Zenoh closes a connection 10 s after it last heard anything through it. If the other device has lost its network, what was sent to it
//! is not acknowledged. Zenoh's sockets have SO_LINGER set, so that close() then blocks its thread for another 10 s, or 1 s as built
//! here (`.cargo/config.toml`). By default Zenoh receives with two threads, and sends with one. Two devices that are lost at once, each of which
//! blocks one, hang the control plane of all others for so long: no status, no answers to orders, no adverts of who leads. `swsync lab
//! chaos --faults partition` shows it. So does a command that watches a take when the hub loses its power to which it is connected.

use std::ffi::OsStr;

/// The environment variable that Zenoh reads when it starts its threads. There is no other way to set their number.
pub const VARIABLE: &str = "ZENOH_RUNTIME";

/// Threads that receive, that send, and that look after the network. Chosen: more than the devices that a rig may lose at once and go
/// on. They are idle otherwise.
pub const THREADS: &str = "(rx: (worker_threads: 16), tx: (worker_threads: 16), net: (worker_threads: 8))";

/// Sets the number of threads, unless the user has. To be called before the first session, and while the process has one thread, or a
/// few that do not read the environment.
#[expect(unsafe_code, reason = "Zenoh reads its environment only")]
pub fn set() {
    if std::env::var_os(VARIABLE).as_deref().is_none_or(OsStr::is_empty) {
        // SAFETY: other threads of the application may read the environment at the same time. Rust's own functions share a lock with
        // this one. C's getenv() does not; but glibc never frees the list, nor the strings, that it may be reading. Programs call this
        // first of all, and plugins are loaded early, as a rule before there are other threads.
        unsafe { std::env::set_var(VARIABLE, THREADS) };
    }
}
