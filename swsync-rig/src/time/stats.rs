//! What an operator asks of the time services.

use std::fmt;
use std::net::SocketAddr;

use swsync_core::sync::{ClientStats, ServerStats};

/// Who noted when a packet left or came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StampKind {
    /// The network card, by its own clock.
    Hardware,
    /// The kernel, as the driver took it or handed it up.
    Kernel,
    /// This program, as it sent or read it: late by what scheduling costs.
    UserSpace,
}

impl StampKind {
    /// Its name: `hardware`, `kernel`, `user-space`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Kernel => "kernel",
            Self::UserSpace => "user-space",
        }
    }
}

/// Who stamped the last packets; `None` before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StampKinds {
    /// The last one that was sent.
    pub sent: Option<StampKind>,
    /// The last one that came.
    pub received: Option<StampKind>,
}

/// What a client has tried so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// The leader as it was named.
    pub leader: String,
    /// The address in use, once the name is resolved.
    pub address: Option<SocketAddr>,
    /// What it waits for.
    pub waiting: Waiting,
    /// Requests sent.
    pub sent: u64,
    /// Valid responses received.
    pub received: u64,
    /// Exchanges of the initial burst that are done, and all that it has.
    pub burst: (u32, u32),
    /// What went wrong last.
    pub error: Option<String>,
}

/// What stands between a client and rig time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// It is looking for the leader: a name is not resolved, or nobody announces a time service.
    #[default]
    Leader,
    /// There is an address, and nothing comes from there.
    Response,
    /// The leader answers; the clock is not in sync yet.
    Sync,
    /// The clock is in sync, and the leader silent.
    LeaderAgain,
    /// Nothing.
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

/// What an operator asks of a client.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TimeClientStats {
    /// What it has tried so far.
    pub progress: Progress,
    /// This device's address towards the leader.
    pub local: Option<SocketAddr>,
    /// The network interface that has it.
    pub interface: Option<String>,
    /// Who stamps the packets.
    pub stamps: StampKinds,
    /// Times that another address began to answer.
    pub leader_changes: u64,
    /// What the protocol says, once there is an address.
    pub protocol: Option<ClientStats>,
}

/// What an operator asks of a leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeLeaderStats {
    /// Datagrams that came.
    pub requests: u64,
    /// Responses sent, refusals included.
    pub responses: u64,
    /// Addresses that asked in the last minute, up to 1024.
    pub clients: usize,
    /// What the protocol says: interleaved, refused and malformed requests.
    pub protocol: ServerStats,
    /// Who stamps the packets.
    pub stamps: StampKinds,
}
