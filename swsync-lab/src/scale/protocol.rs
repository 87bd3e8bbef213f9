//! What the lab and its processes tell one another: lines of JSON, the lab's on their standard input, theirs on their output.

use serde::{Deserialize, Serialize};
use swsync_core::name::Name;
use swsync_core::time::Span;
use swsync_core::time_service::SyncState;

/// What a process of the lab is to be. It is an argument of the command.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A device without a camera.
    Device {
        /// The rig.
        rig: Name,
        /// Its id.
        id: Name,
        /// Most time clients that it serves; `None`: as many as by default.
        max_clients: Option<usize>,
    },
    /// One that gives orders, as `swsync shoot` does.
    Visitor {
        /// The rig.
        rig: Name,
    },
    /// Many clients of one time server.
    Load {
        /// The rig.
        rig: Name,
        /// The server, `address:port`.
        server: std::net::SocketAddrV4,
        /// How many.
        clients: u16,
        /// They come one after the other in this time.
        over_ms: u32,
    },
}

/// What the lab asks of a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// A device: tell how the clock is, as [`Told::Sample`].
    Sample,
    /// A visitor: wait until it sees so many devices, then give so many orders, one after the other.
    Order {
        /// Devices that have to be seen first.
        devices: usize,
        /// How many orders.
        orders: u32,
    },
}

/// What a process tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// The device is in the rig.
    Joined,
    /// How a device's clock is.
    Sample(Sample),
    /// The visitor sees all devices, so long after it was asked to.
    Sees {
        /// From its start.
        after_ns: Span,
    },
    /// An order has all its outcomes.
    Placed(Placed),
    /// So many orders have been given as were asked for.
    Done,
    /// How the clients of a time server are.
    Clients(Clients),
}

/// The clock of a device.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sample {
    /// How well it knows the time.
    pub quality: SyncState,
    /// Rig time minus the host's monotonic clock, which all devices share.
    pub offset_ns: Span,
    /// What it says that its error may be, 1 sigma.
    pub uncertainty_ns: Option<Span>,
    /// Servers between it and the time's origin: 0 for the leader, 1 for its clients.
    pub depth: u8,
    /// Its interval between requests.
    pub poll_ns: Option<Span>,
    /// Requests that its server has got.
    pub served: u64,
}

/// An order that was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Placed {
    /// From giving it to the last answer; `None`: there was none.
    pub last_answer_ns: Option<Span>,
    /// Devices that answered.
    pub answered: usize,
    /// The first reason of those that did not.
    pub why: Option<String>,
}

/// The clients of a time server.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Clients {
    /// How many have begun.
    pub begun: usize,
    /// How many are synced.
    pub synced: usize,
    /// Requests sent.
    pub sent: u64,
    /// Responses.
    pub responses: u64,
}
