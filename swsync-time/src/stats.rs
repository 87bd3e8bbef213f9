//! Statistics of the time services.

use std::fmt;
use std::net::SocketAddr;

use swsync_core::time_service::{ClientStats, ServerStats};

/// What took the time stamp of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StampKind {
    /// The network card, by its own clock.
    Hardware,
    /// The kernel, when the driver took the packet or handed it up.
    Kernel,
    /// The kernel, when a packet to send entered the interface's queue: the driver does not stamp. Early by the rest of the way.
    KernelQueue,
    /// This program, when it sent or read the packet: late by what scheduling costs.
    UserSpace,
}

impl StampKind {
    /// Its name: `hardware`, `kernel`, `kernel-queue`, `user-space`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Kernel => "kernel",
            Self::KernelQueue => "kernel-queue",
            Self::UserSpace => "user-space",
        }
    }
}

/// What stamped the last packets; `None` before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StampKinds {
    /// The last packet sent.
    pub sent: Option<StampKind>,
    /// The last packet received.
    pub received: Option<StampKind>,
}

/// How far a client has come on its way to a synced clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientProgress {
    /// The server: as it was named, as it advertises itself, or what is looked for.
    pub leader: String,
    /// Whether the user has named the server.
    pub named: bool,
    /// The address in use, once the name is resolved.
    pub address: Option<SocketAddr>,
    /// What the client waits for.
    pub waiting: Waiting,
    /// Requests sent.
    pub sent: u64,
    /// Valid responses received.
    pub received: u64,
    /// Exchanges of the initial burst: those done, and all.
    pub burst: (u32, u32),
    /// The last error.
    pub error: Option<String>,
}

/// What stands between a client and rig time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// The address of a server: a name is not resolved, or no device tells that it knows the time.
    #[default]
    Leader,
    /// A response from the address.
    Response,
    /// Synchronization: the leader answers, but the clock is not in sync yet.
    Sync,
    /// The leader's return: the clock was in sync, but the leader is silent.
    LeaderAgain,
    /// Nothing: the clock is in sync.
    Nothing,
}

impl Waiting {
    /// Its name, as in `stats`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Response => "response",
            Self::Sync => "sync",
            Self::LeaderAgain => "leader-again",
            Self::Nothing => "nothing",
        }
    }
}

impl fmt::Display for ClientProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.named { "leader" } else { "server" };
        match self.address {
            Some(address) if address.to_string() != self.leader => {
                write!(f, "{what} {} ({address})", self.leader)?
            }
            Some(address) => write!(f, "{what} {address}")?,
            None if self.named => write!(f, "{what} {} (not resolved)", self.leader)?,
            None => write!(f, "looking for the time of {}", self.leader)?,
        }
        write!(f, ": {} requests sent, {} answered", self.sent, self.received)?;
        match &self.error {
            Some(error) => write!(f, "; last error: {error}"),
            None => Ok(()),
        }
    }
}

/// Statistics of a client.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TimeClientStats {
    /// How far it has come.
    pub progress: ClientProgress,
    /// This device's address towards the leader.
    pub local: Option<SocketAddr>,
    /// The network interface that has it.
    pub interface: Option<String>,
    /// What stamps the packets.
    pub stamps: StampKinds,
    /// How often another address began to answer.
    pub leader_changes: u64,
    /// The address that answered last.
    pub answering: Option<SocketAddr>,
    /// Statistics of the protocol, once there is an address.
    pub protocol: Option<ClientStats>,
}

/// Statistics of a leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeLeaderStats {
    /// Datagrams received.
    pub requests: u64,
    /// Responses sent, refusals included.
    pub responses: u64,
    /// Addresses that asked in the last minute.
    pub clients: usize,
    /// Statistics of the protocol: interleaved, refused and malformed requests.
    pub protocol: ServerStats,
    /// What stamps the packets.
    pub stamps: StampKinds,
}
