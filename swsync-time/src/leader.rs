//! The NTP server: answers every request with rig time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use parking_lot::Mutex;
use swsync_core::ntp::LEAP_UNSYNCHRONIZED;
use swsync_core::time_service::{Identity, ResponseToken, Server, ServerConfig};
use tokio::sync::{mpsc, watch};

use crate::address::socket_addr;
use crate::executor::{Task, runtime};
use crate::node::Request;
use crate::socket::{Received, SocketEvent, StampedSocket};
use crate::{RigClock, TimeError, TimeLeaderStats};

/// The pause after an error of the socket, so that a persistent one does not spin.
const PAUSE: Duration = Duration::from_millis(10);

/// Whose time is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// This device's own: it defines rig time from now on. A clock that was synced goes on from what it knows, so that
    /// leadership moves without a step. Any other begins at its wall clock.
    Own,
    /// The time that the clock follows (another leader, or a reference), one stratum further. While the clock is not
    /// synced, responses say so.
    Borrowed,
}

/// Where and how to serve time.
#[derive(Debug, Clone)]
pub struct TimeLeaderConfig {
    /// The address to listen at; port 0 is any free one. `[::]` serves IPv4 as well, and means `0.0.0.0` on a device
    /// without IPv6.
    pub address: SocketAddr,
    /// Whose time is served.
    pub authority: Authority,
    /// The identity of the server.
    pub identity: Identity,
    /// Keys and limits.
    pub server: ServerConfig,
}

/// Serves rig time until dropped.
#[derive(Debug)]
pub struct TimeLeader {
    address: ServerAddress,
    _task: Task,
}

/// Where a server is, and how much room it has.
#[derive(Debug, Clone)]
pub(crate) struct ServerAddress {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: Mutex<Server>,
    stats: Mutex<TimeLeaderStats>,
    clock: Arc<RigClock>,
    /// Most clients that it takes.
    max_clients: usize,
}

impl Shared {
    fn clients(&self) -> usize {
        let now = self.clock.served_now();
        self.server.lock().clients_of_last_minute(now)
    }
}

impl ServerAddress {
    /// The addresses to announce: see [`TimeLeader::addresses`].
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        if !self.address.ip().is_unspecified() {
            return Ok(vec![self.address]);
        }
        let all: Vec<IpAddr> = getifaddrs()?
            .filter_map(|interface| interface.address.as_ref().and_then(socket_addr))
            .map(|address| address.ip())
            .filter(|ip| ip.is_ipv4() || self.address.is_ipv6())
            .collect();
        Ok(reachable(all).into_iter().map(|ip| SocketAddr::new(ip, self.address.port())).collect())
    }

    /// Whether anybody has asked it in the last minute.
    pub(crate) fn has_clients(&self) -> bool {
        self.shared.clients() > 0
    }

    /// How many more clients it takes.
    pub(crate) fn room(&self) -> u32 {
        u32::try_from(self.shared.max_clients.saturating_sub(self.shared.clients())).unwrap_or(u32::MAX)
    }
}

impl TimeLeader {
    /// Serves `clock`, and makes it lead if it serves its own time.
    ///
    /// # Errors
    /// [`TimeError::Socket`] if the address cannot be bound.
    pub fn start(config: TimeLeaderConfig, clock: Arc<RigClock>) -> Result<Self, TimeError> {
        Self::start_telling(config, clock, None)
    }

    /// As [`TimeLeader::start`]. While the clock does not know the time, `node` hears what clients tell of themselves.
    pub(crate) fn start_telling(
        config: TimeLeaderConfig,
        clock: Arc<RigClock>,
        node: Option<mpsc::Sender<Request>>,
    ) -> Result<Self, TimeError> {
        let _context = runtime()?.enter();
        let socket = open(config.address, &clock)
            .map_err(|error| TimeError::Socket { address: config.address, error })?;
        let address =
            socket.local_addr().map_err(|error| TimeError::Socket { address: config.address, error })?;
        clock.serve_as(config.identity);
        if config.authority == Authority::Own {
            clock.lead(config.identity.timescale);
        }
        let shared = Arc::new(Shared {
            max_clients: config.server.max_clients,
            server: Mutex::new(Server::new(config.server)),
            stats: Mutex::default(),
            clock: clock.clone(),
        });
        let task = LeaderTask { identity: config.identity, socket, clock, shared: shared.clone(), node };
        let task = Task::spawn(|stopped| task.run(stopped))?;
        Ok(Self { address: ServerAddress { address, shared }, _task: task })
    }

    /// The address that it listens at.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address.address
    }

    /// The addresses to announce, the likeliest first. A server that listens at every address of this device announces the
    /// present ones of all networks, and loopback's only if there is no other.
    ///
    /// # Errors
    /// If the system does not list its addresses.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.address.addresses()
    }

    pub(crate) fn address(&self) -> ServerAddress {
        self.address.clone()
    }

    /// Statistics.
    #[must_use]
    pub fn stats(&self) -> TimeLeaderStats {
        let shared = &self.address.shared;
        let clients = shared.clients();
        TimeLeaderStats { clients, ..*shared.stats.lock() }
    }
}

/// The addresses that other devices can use, IPv4 first, since rigs are set up with it. A link-local address is of no use to
/// a device that does not know its own interface for it.
fn reachable(all: Vec<IpAddr>) -> Vec<IpAddr> {
    let link_local = |ip: &IpAddr| match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let (mut loopback, mut others): (Vec<_>, Vec<_>) =
        all.into_iter().filter(|ip| !link_local(ip)).partition(IpAddr::is_loopback);
    let addresses = if others.is_empty() { &mut loopback } else { &mut others };
    addresses.sort_by_key(IpAddr::is_ipv6);
    std::mem::take(addresses)
}

fn open(address: SocketAddr, clock: &RigClock) -> io::Result<StampedSocket<Option<ResponseToken>>> {
    let bound = StampedSocket::bind(address, clock.device().clone());
    let no_ipv6 = |error: &io::Error| {
        let code = error.raw_os_error();
        code == Some(nix::libc::EAFNOSUPPORT) || code == Some(nix::libc::EADDRNOTAVAIL)
    };
    match bound {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && no_ipv6(&error) => {
            swsync_core::log::info!("this device has no IPv6: serving time over IPv4 only");
            let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            StampedSocket::bind(address, clock.device().clone())
        }
        bound => bound,
    }
}

/// What the leader's task owns.
struct LeaderTask {
    identity: Identity,
    socket: StampedSocket<Option<ResponseToken>>,
    clock: Arc<RigClock>,
    shared: Arc<Shared>,
    node: Option<mpsc::Sender<Request>>,
}

impl LeaderTask {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut buffer = [0; 1024];
        loop {
            let event = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                event = self.socket.next(&mut buffer) => event,
            };
            match event {
                Ok(SocketEvent::Received(received)) => self.respond(&buffer[..received.length], &received),
                Ok(SocketEvent::Sent { token: Some(token), stamp }) => {
                    let sent = self.clock.served_at(stamp.at);
                    self.shared.server.lock().handle_sent(token, sent);
                }
                Ok(SocketEvent::Sent { token: None, .. }) => {}
                Err(error) => {
                    swsync_core::log::debug!(%error, "cannot receive");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn respond(&mut self, request: &[u8], received: &Received) {
        let Received { from, destination, stamp, .. } = *received;
        // An IPv4 client of an IPv6 socket counts as an IPv4 client.
        let client = from.ip().to_canonical();
        let (at, now, status) = self.clock.serve(&self.identity, stamp.at);
        let response = self.shared.server.lock().handle_request(request, client, at, now, &status);
        let mut responses = 0;
        if let Some(response) = response {
            responses = 1;
            if let Err(error) = self.socket.send_to(&response.datagram, from, destination, response.token) {
                swsync_core::log::debug!(%from, %error, "cannot respond");
                responses = 0;
            }
            if let (Some(node), Some(field), LEAP_UNSYNCHRONIZED) = (&self.node, response.client, status.leap)
            {
                let _ = node.try_send((client, field)); // there are more requests where this one came from
            }
        }
        let protocol = self.shared.server.lock().stats();
        let mut stats = self.shared.stats.lock();
        stats.requests += 1;
        stats.responses += responses;
        stats.protocol = protocol;
        stats.stamps = self.socket.kinds();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn announced_addresses_can_be_reached_from_other_devices() {
        let all = ips(&["127.0.0.1", "fd00::7", "192.168.1.7", "10.0.0.7", "::1", "fe80::7"]);
        assert_eq!(reachable(all), ips(&["192.168.1.7", "10.0.0.7", "fd00::7"]));
        assert_eq!(reachable(ips(&["::1", "127.0.0.1"])), ips(&["127.0.0.1", "::1"]));
        assert_eq!(reachable(Vec::new()), ips(&[]));
    }
}
