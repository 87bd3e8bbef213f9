//! The host: its name, its addresses, and free ports.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::net::if_::InterfaceFlags;

/// Names that systems come with. A hundred boards fresh from the card have one of them.
const FRESH: [&str; 10] = [
    "raspberrypi",
    "raspberry",
    "debian",
    "ubuntu",
    "jetson",
    "orangepi",
    "rock",
    "armbian",
    "localhost",
    "linux",
];

/// The default id of a device: the host's name, or if that is what its system came with, the name and the end of the board's
/// serial number, so that no two are alike: `raspberrypi-9f3c01d2`.
#[must_use]
pub fn default_device_id() -> String {
    let serial = ["/proc/device-tree/serial-number", "/etc/machine-id"];
    let serial = serial.into_iter().find_map(|path| std::fs::read_to_string(path).ok());
    told_apart(&host_name(), serial.as_deref())
}

fn told_apart(host: &str, serial: Option<&str>) -> String {
    let digits: Vec<char> = serial.unwrap_or_default().chars().filter(char::is_ascii_hexdigit).collect();
    if !FRESH.contains(&host.to_ascii_lowercase().as_str()) || digits.len() < 8 {
        return host.to_owned();
    }
    let end: String = digits[digits.len() - 8..].iter().collect();
    format!("{host}-{}", end.to_ascii_lowercase())
}

/// The host's name up to the first dot.
#[must_use]
pub fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// The time since the host was started, in which it may have slept (`CLOCK_BOOTTIME`).
pub(crate) fn uptime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default()
}

/// Has the calling thread run when no other of the host wants to: `niceness` is 1 to 19. On Linux the priority belongs to a thread, and the
/// kernel derives from it that at the disk.
///
/// # Errors
/// The system does not allow it.
pub fn lower_priority(niceness: i32) -> io::Result<()> {
    Ok(rustix::process::setpriority_process(Some(rustix::thread::gettid()), niceness)?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_with_the_name_that_they_came_with_are_told_apart() {
        assert_eq!(told_apart("raspberrypi", Some("100000009F3C01D2\0")), "raspberrypi-9f3c01d2");
        assert_eq!(told_apart("raspberrypi", Some("10000000a1b2c3d4\0")), "raspberrypi-a1b2c3d4");
        assert_eq!(told_apart("Debian", Some("0123456789abcdef0123456789abcdef\n")), "Debian-89abcdef");
        assert_eq!(told_apart("cam07", Some("100000009f3c01d2\0")), "cam07", "named by someone");
        assert_eq!(told_apart("raspberrypi", None), "raspberrypi", "nothing tells it apart");
        assert_eq!(told_apart("raspberrypi", Some("0\n")), "raspberrypi");
    }
}
