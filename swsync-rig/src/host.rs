//! The host: its name, its addresses, and free ports.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::net::if_::InterfaceFlags;

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
    free_port(Ipv4Addr::LOCALHOST.into())
}

/// As [`free_loopback`], at any address of this host.
pub(crate) fn free_port(ip: IpAddr) -> io::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u64::from(std::process::id()) * 37;
    let mut refused = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PORTS {
        let step = (begin + u64::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u64::from(PORTS);
        let port = FIRST_PORT + u16::try_from(step).expect("less than PORTS");
        match TcpListener::bind((ip, port)) {
            Ok(listener) => return listener.local_addr(),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// The address that stands for all addresses of this host: of IPv6, which serves IPv4 as well, unless the kernel has none.
pub(crate) fn any_address() -> IpAddr {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// Random bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::from)?;
    Ok(bytes)
}

/// The addresses at which other hosts may reach this one, IPv4 first. Without those of link-local IPv6, which mean something on one link
/// only.
pub(crate) fn addresses() -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = interface_addresses().into_iter().map(|(_, ip)| ip).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// Number of interfaces with an address.
pub(crate) fn networks() -> usize {
    interface_addresses().into_iter().map(|(interface, _)| interface).collect::<BTreeSet<_>>().len()
}

fn interface_addresses() -> Vec<(String, IpAddr)> {
    let interfaces = match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            swsync_core::log::warn!(%error, "the addresses of this host are not known");
            return Vec::new();
        }
    };
    interfaces
        .filter(|interface| {
            interface.flags.contains(InterfaceFlags::IFF_UP)
                && !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        })
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            let ip = v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
            Some((interface.interface_name, ip))
        })
        .filter(|(_, ip)| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect()
}
