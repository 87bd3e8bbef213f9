//! The leader's task: answers every request with rig time.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use swsync_core::sync::{Identity, ResponseToken, Server, ServerConfig};
use tokio::sync::watch;

use super::socket::{Event, Received, StampedSocket};
use super::{Task, TimeError, TimeLeaderStats, runtime};
use crate::clock::RigClock;
use crate::lock;
use crate::net::socket_addr;

/// Who asked longer ago is no client any more.
const LATELY: Duration = Duration::from_secs(60);
/// Clients that are counted at most: a stranger can invent addresses.
const MAX_CLIENTS: usize = 1024;
/// A persistent error of the socket must not spin.
const PAUSE: Duration = Duration::from_millis(10);

/// Whose time is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// This device's own: it defines rig time from now on. Where its clock was synced it goes on from what
    /// it knows, so that leadership moves without a step; or else from its wall clock.
    Own,
    /// What the clock follows (another leader, or a reference), one stratum further. While it is not
    /// synced, whoever asks is told so.
    Borrowed,
}

/// Where and how to serve time.
#[derive(Debug, Clone)]
pub struct TimeLeaderConfig {
    /// Where to listen; port 0 is any free one. `[::]` serves IPv4 as well, and is `0.0.0.0` where this
    /// device has no IPv6.
    pub address: SocketAddr,
    /// Whose time is served.
    pub authority: Authority,
    /// Who serves.
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
    /// Who asked, and when last.
    clients: Mutex<HashMap<IpAddr, Instant>>,
}

impl TimeLeader {
    /// Serves `clock`, and makes it lead where its own time is served.
    ///
    /// # Errors
    /// [`TimeError::Socket`] where the address cannot be had.
    pub fn start(config: TimeLeaderConfig, clock: Arc<RigClock>) -> Result<Self, TimeError> {
        let _context = runtime()?.enter();
        let socket = open(config.address, &clock)
            .map_err(|error| TimeError::Socket { address: config.address, error })?;
        let address =
            socket.local_addr().map_err(|error| TimeError::Socket { address: config.address, error })?;
        match config.authority {
            Authority::Own => clock.lead_as(&config.identity),
            Authority::Borrowed => clock.serve_others(),
        }
        clock.serve_as(&config.identity);
        let shared = Arc::new(Shared::default());
        let service = Service {
            server: Server::new(config.server),
            identity: config.identity,
            socket,
            clock,
            shared: shared.clone(),
        };
        let task = Task::spawn(|stopped| service.run(stopped))?;
        Ok(Self { address, shared, _task: task })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where others can reach it, the likeliest first: to be announced. Where it listens at every address
    /// of this device these are the present ones of all networks; loopback's only if there is no other.
    ///
    /// # Errors
    /// Where the system does not tell its addresses.
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

    /// Everything that an operator may ask.
    #[must_use]
    pub fn stats(&self) -> TimeLeaderStats {
        let mut clients = lock(&self.shared.clients);
        clients.retain(|_, asked| asked.elapsed() < LATELY);
        TimeLeaderStats { clients: clients.len(), ..*lock(&self.shared.stats) }
    }
}

/// Of a device's addresses those that mean something to others, IPv4 first: it is what rigs
/// are set up with. A link-local address means nothing without the name of an interface of theirs.
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
            tracing::info!("this device has no IPv6: serving time over IPv4 only");
            let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            StampedSocket::bind(address, clock.device().clone())
        }
        bound => bound,
    }
}

/// What the leader's task owns.
struct Service {
    server: Server,
    identity: Identity,
    socket: StampedSocket<Option<ResponseToken>>,
    clock: Arc<RigClock>,
    shared: Arc<Shared>,
}

impl Service {
    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut buffer = [0; 1024];
        loop {
            let event = tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => return,
                event = self.socket.next(&mut buffer) => event,
            };
            match event {
                Ok(Event::Received(received)) => self.respond(&buffer[..received.length], &received),
                Ok(Event::Sent { token: Some(token), stamp }) => {
                    self.server.handle_sent(token, self.clock.served_at(stamp.at));
                }
                Ok(Event::Sent { token: None, .. }) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot receive");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn respond(&mut self, request: &[u8], received: &Received) {
        let Received { from, asked, stamp, .. } = *received;
        // An IPv4 client of an IPv6 socket is the same client as ever.
        let client = from.ip().to_canonical();
        let (at, now, status) = self.clock.serve(&self.identity, stamp.at);
        let response = self.server.handle_request(request, client, at, now, &status);
        let mut responses = 0;
        if let Some(response) = response {
            responses = 1;
            if let Err(error) = self.socket.send_to(&response.datagram, from, asked, response.token) {
                tracing::debug!(%from, %error, "cannot respond");
                responses = 0;
            }
        }
        self.count_client(client);
        let mut stats = lock(&self.shared.stats);
        stats.requests += 1;
        stats.responses += responses;
        stats.protocol = self.server.stats();
        stats.stamps = self.socket.kinds();
    }

    fn count_client(&self, client: IpAddr) {
        let mut clients = lock(&self.shared.clients);
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&client) {
            clients.retain(|_, asked| asked.elapsed() < LATELY);
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
    fn what_is_announced_can_be_reached_from_elsewhere() {
        let all = ips(&["127.0.0.1", "fd00::7", "192.168.1.7", "10.0.0.7", "::1", "fe80::7"]);
        assert_eq!(reachable(all), ips(&["192.168.1.7", "10.0.0.7", "fd00::7"]));
        assert_eq!(reachable(ips(&["::1", "127.0.0.1"])), ips(&["127.0.0.1", "::1"]));
        assert_eq!(reachable(Vec::new()), ips(&[]));
    }
}
