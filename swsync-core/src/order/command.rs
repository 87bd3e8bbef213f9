//! What can be asked of an order that was given.

use serde::{Deserialize, Serialize};

use super::Order;
use crate::name::{DeviceId, OrderId};
use crate::time::{Rig, Timestamp};

/// A change of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum OrderCommand {
    /// Its last frame is before this instant. Of several stops the earliest counts.
    Stop {
        /// The order.
        order: OrderId,
        /// The instant: to be the same on all devices it must be ahead of the frames that are being taken.
        at_ns: Timestamp<Rig>,
    },
    /// What of it is not on disk need not be. What is there stays.
    Cancel {
        /// The order.
        order: OrderId,
    },
}

impl OrderCommand {
    /// The order.
    #[must_use]
    pub const fn order(&self) -> &OrderId {
        match self {
            Self::Stop { order, .. } | Self::Cancel { order } => order,
        }
    }
}

/// What a device knows of the rig's orders: for those that join later, come back, or lost their issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRoster {
    /// Orders that it has not answered yet, with their stops.
    pub orders: Vec<Order>,
    /// The last commands that it heard: an order that was stopped elsewhere may still be open here.
    pub commands: Vec<OrderCommand>,
}

/// A device has heard a [`OrderCommand`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The order.
    pub order: OrderId,
    /// Who speaks.
    pub device: DeviceId,
    /// How it stands with the order there.
    #[serde(flatten)]
    pub outcome: CommandOutcome,
}

/// How it stands with an order on a device that hears a command for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum CommandOutcome {
    /// It is open, and does as told.
    Open,
    /// It is open, but a stop came too late: so many frames after the stop were handed to the writer already.
    Late {
        /// Frames in the files after the last one that the order names.
        surplus: u64,
    },
    /// It was answered before.
    Answered,
    /// It is not known here. Should it arrive, it will be as told.
    Unknown,
}
