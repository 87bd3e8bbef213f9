//! The NTP server: answers every request with rig time.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use parking_lot::Mutex;
use swsync_core::time_service::{Identity, ResponseToken, Server, ServerConfig};
use tokio::sync::watch;

use crate::address::socket_addr;
use crate::executor::{Task, runtime};
use crate::socket::{Received, SocketEvent, StampedSocket};
use crate::{RigClock, TimeError, TimeLeaderStats};

/// An address counts as a client for this long after its last request.
const CLIENT_LIFETIME: Duration = Duration::from_secs(60);
/// Most clients that are counted: a stranger can invent addresses.
const MAX_CLIENTS: usize = 1024;
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
    address: SocketAddr,
    shared: Arc<Shared>,
    _task: Task,
}

#[derive(Debug, Default)]
struct Shared {
    stats: Mutex<TimeLeaderStats>,
    /// When each client last asked.
    clients: Mutex<HashMap<IpAddr, Instant>>,
}

impl TimeLeader {
    /// Serves `clock`, and makes it lead if it serves its own time.
    ///
    /// # Errors
    /// [`TimeError::Socket`] if the address cannot be bound.
    pub fn start(config: TimeLeaderConfig, clock: Arc<RigClock>) -> Result<Self, TimeError> {
        let _context = runtime()?.enter();
        let socket = open(config.address, &clock)
            .map_err(|error| TimeError::Socket { address: config.address, error })?;
        let address =
            socket.local_addr().map_err(|error| TimeError::Socket { address: config.address, error })?;
        clock.serve_as(config.identity);
        if config.authority == Authority::Own {
            clock.lead(config.identity.timescale);
        }
        let shared = Arc::new(Shared::default());
        let task = LeaderTask {
            server: Server::new(config.server),
            identity: config.identity,
            socket,
            clock,
            shared: shared.clone(),
        };
        let task = Task::spawn(|stopped| task.run(stopped))?;
        Ok(Self { address, shared, _task: task })
    }

    /// The address that it listens at.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The addresses to announce, the likeliest first. A server that listens at every address of this device announces the
    /// present ones of all networks, and loopback's only if there is no other.
    ///
    /// # Errors
    /// If the system does not list its addresses.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
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

    /// Statistics.
    #[must_use]
    pub fn stats(&self) -> TimeLeaderStats {
        let mut clients = self.shared.clients.lock();
        clients.retain(|_, asked| asked.elapsed() < CLIENT_LIFETIME);
        TimeLeaderStats { clients: clients.len(), ..*self.shared.stats.lock() }
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
    server: Server,
    identity: Identity,
    socket: StampedSocket<Option<ResponseToken>>,
    clock: Arc<RigClock>,
    shared: Arc<Shared>,
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
                    self.server.handle_sent(token, self.clock.served_at(stamp.at));
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
        let response = self.server.handle_request(request, client, at, now, &status);
        let mut responses = 0;
        if let Some(response) = response {
            responses = 1;
            if let Err(error) = self.socket.send_to(&response.datagram, from, destination, response.token) {
                swsync_core::log::debug!(%from, %error, "cannot respond");
                responses = 0;
            }
        }
        self.count_client(client);
        let mut stats = self.shared.stats.lock();
        stats.requests += 1;
        stats.responses += responses;
        stats.protocol = self.server.stats();
        stats.stamps = self.socket.kinds();
    }

    fn count_client(&self, client: IpAddr) {
        let mut clients = self.shared.clients.lock();
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&client) {
            clients.retain(|_, asked| asked.elapsed() < CLIENT_LIFETIME);
            if clients.len() >= MAX_CLIENTS {
                return;
            }
        }
        clients.insert(client, Instant::now());
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
