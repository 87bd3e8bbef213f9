//! What the network's parts of this crate share.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::socket::SockaddrStorage;

/// The address as the standard library has it. `None`: it is of another family.
pub(crate) fn socket_addr(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|&v4| SocketAddr::V4(v4.into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|&v6| SocketAddr::V6(v6.into())))
}

/// Ports below those that Linux gives to outgoing connections (`ip_local_port_range`, from 32768).
const FIRST_PORT: u16 = 16_384;
const PORTS: u16 = 16_000;

/// A TCP address on loopback where nobody listens, for rigs on one machine.
///
/// Not one that the system chooses: it could give the same port to a device that tries to connect there before the
/// leader listens. TCP then connects the device to itself, and the leader finds its address in use.
///
/// # Errors
/// Where all ports are taken, or the system has none to give.
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
