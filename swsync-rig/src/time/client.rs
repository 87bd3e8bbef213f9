//! The client's task: asks one leader, and keeps a [`RigClock`] in its time.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use swsync_core::frame::SyncQuality;
use swsync_core::sync::{Action, Client, ClientConfig, ClockUpdate};
use swsync_core::time::{Span, Timestamp};
use tokio::sync::watch;

use super::socket::StampedSocket;
use super::{Task, TimeError};
use crate::clock::{RigClock, wall_clock};

/// How long an address may stay silent before the next one is tried.
const ADDRESS_PATIENCE: Span = Span::from_secs(2);
/// Pause before a name is looked up again.
const LOOKUP_PAUSE: Duration = Duration::from_millis(500);

/// Whom to follow, and how.
#[derive(Debug, Clone)]
pub struct TimeClientConfig {
    /// Where the leader is: `host:port`, candidates to be tried in turn.
    pub leaders: Vec<String>,
    /// How the client behaves.
    pub client: ClientConfig,
}

/// What a client has tried so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The leader as it was named, and the address in use.
    pub leader: String,
    /// The address in use, once the name is resolved.
    pub address: Option<SocketAddr>,
    /// Requests sent.
    pub sent: u64,
    /// Valid responses received.
    pub received: u64,
    /// Exchanges of the initial burst that are done, and all that it has.
    pub burst: (u32, u32),
    /// What went wrong last.
    pub error: Option<String>,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leader {}", self.leader)?;
        match self.address {
            Some(address) if address.to_string() != self.leader => write!(f, " ({address})")?,
            Some(_) => {}
            None => write!(f, " (not resolved)")?,
        }
        write!(f, ": {} requests sent, {} answered", self.sent, self.received)?;
        match &self.error {
            Some(error) => write!(f, "; last error: {error}"),
            None => Ok(()),
        }
    }
}

type OnChange = Box<dyn Fn(SyncQuality) + Send + Sync>;

/// Follows a leader until dropped.
#[derive(Debug)]
pub struct TimeClient {
    progress: Arc<Mutex<Progress>>,
    _task: Task,
}

impl TimeClient {
    /// Keeps `clock` in the leader's time. `on_change` is called from the client's task whenever the
    /// quality of synchronization changes.
    ///
    /// # Errors
    /// [`TimeError::Runtime`]. A leader that is not there (yet) is no error: see
    /// [`TimeClient::progress`].
    pub fn start(
        config: TimeClientConfig,
        clock: Arc<RigClock>,
        on_change: impl Fn(SyncQuality) + Send + Sync + 'static,
    ) -> Result<Self, TimeError> {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let follower = Follower { config, clock, progress: progress.clone(), on_change: Box::new(on_change) };
        let task = Task::spawn(|stopped| follower.run(stopped))?;
        Ok(Self { progress, _task: task })
    }

    /// What it has tried so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Follower {
    config: TimeClientConfig,
    clock: Arc<RigClock>,
    progress: Arc<Mutex<Progress>>,
    on_change: OnChange,
}

impl Follower {
    fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn run(self, mut stopped: watch::Receiver<bool>) {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => {}
            () = self.follow() => {}
        }
    }

    /// Tries the leader's addresses in turn, for ever; one that answers is kept as long as it does.
    async fn follow(&self) {
        let now = self.clock.device().now();
        let pivot = Timestamp::from_nanos(wall_clock().as_nanos());
        let mut client = Client::new(self.config.client.clone(), now, pivot, rand::random());
        loop {
            for leader in &self.config.leaders {
                self.note(|progress| {
                    (progress.leader, progress.address) = (leader.clone(), None);
                });
                match tokio::net::lookup_host(leader).await {
                    Ok(addresses) => {
                        for address in addresses {
                            self.ask(&mut client, address).await;
                        }
                    }
                    Err(error) => self.note(|progress| {
                        progress.error = Some(format!("cannot resolve {leader}: {error}"));
                    }),
                }
            }
            tokio::time::sleep(LOOKUP_PAUSE).await;
        }
    }

    /// Asks `address` until it stays silent for long.
    async fn ask(&self, client: &mut Client, address: SocketAddr) {
        self.note(|progress| progress.address = Some(address));
        client.handle_new_server(self.clock.device().now());
        let any = match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let device = self.clock.device().clone();
        let mut socket = match StampedSocket::open(SocketAddr::new(any, 0), device.clone()) {
            Ok(socket) => socket,
            Err(error) => return self.note(|progress| progress.error = Some(error.to_string())),
        };
        let begun = device.now();
        let mut buffer = [0; 1024];
        while device.now() - client.last_heard().unwrap_or(begun).max(begun) < ADDRESS_PATIENCE {
            let pause = (client.wake_at() - device.now()).to_duration();
            tokio::select! {
                received = socket.receive(&mut buffer) => match received {
                    Ok(received) if received.from == address => {
                        client.handle_datagram(&buffer[..received.length], received.at);
                    }
                    Ok(received) => {
                        tracing::debug!(from = %received.from, "datagram from a stranger");
                        continue;
                    }
                    Err(error) => {
                        self.note(|progress| progress.error = Some(error.to_string()));
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        continue;
                    }
                },
                () = tokio::time::sleep(pause) => client.handle_timeout(device.now()),
            };
            self.carry_out(client, &mut socket, address).await;
        }
    }

    async fn carry_out(&self, client: &mut Client, socket: &mut StampedSocket, address: SocketAddr) {
        let total = self.config.client.burst;
        let stats = client.stats(self.clock.device().now());
        self.note(|progress| {
            progress.burst = (client.burst_done(), total);
            progress.received = stats.responses;
        });
        while let Some(action) = client.poll_action() {
            match action {
                Action::Send { datagram, token } => match socket.send_to(&datagram, address).await {
                    Ok(sent) => {
                        client.handle_sent(token, sent);
                        self.note(|progress| progress.sent += 1);
                    }
                    Err(error) => {
                        self.note(|progress| progress.error = Some(format!("cannot send: {error}")));
                    }
                },
                Action::Publish(update) => self.publish(update),
                Action::Refused(refusal) => {
                    self.note(|progress| progress.error = Some(refusal.to_string()));
                }
            }
        }
    }

    fn publish(&self, update: ClockUpdate) {
        let before = self.clock.quality();
        self.clock.follow(update);
        if before != update.quality {
            tracing::info!(from = before.as_str(), to = update.quality.as_str(), "clock");
            (self.on_change)(update.quality);
        }
    }
}
