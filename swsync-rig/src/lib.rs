//! The running rig: what [`swsync_core`] decides, carried out on sockets, timers and this device's
//! clocks.

#![forbid(unsafe_code)]

pub mod clock;
pub mod control;
pub mod files;
pub mod relay;
pub mod time;

/// The host's name, as far as a name may go: what devices are called where nobody chose an id.
#[must_use]
pub fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}
