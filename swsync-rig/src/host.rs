//! The host: its name, and a free port for a rig on one machine.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// The host's name up to the first dot: the default id of a device.
#[must_use]
pub fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// The first port. All are below those of outgoing connections (`ip_local_port_range`, from 32768).
const FIRST_PORT: u16 = 16_384;
const PORTS: u16 = 16_000;

/// A free TCP address on loopback, for rigs on one machine.
///
/// The system must not choose the port: it could give the same one to a device that tries to connect there before the leader
/// listens. TCP then connects the device to itself, and the leader finds its address in use.
///
/// # Errors
/// If all ports are taken, or the system gives none.
pub fn free_loopback() -> io::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u64::from(std::process::id()) * 37;
    let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORTS {
        let step = (begin + u64::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u64::from(PORTS);
        let port = FIRST_PORT + u16::try_from(step).expect("less than PORTS");
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return listener.local_addr(),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}
