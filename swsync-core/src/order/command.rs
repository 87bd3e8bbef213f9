//! Commands for an order that was given: stop and cancel.

use serde::{Deserialize, Serialize};

use super::Order;
use crate::name::{DeviceId, OrderId};
use crate::time::{Rig, Timestamp};

/// A change to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum OrderCommand {
    /// The order ends before this instant. Of several stops the earliest counts.
    Stop {
        /// The order.
        order: OrderId,
        /// The instant. Devices end at the same frame only if it lies ahead of the frames that are being taken.
        at_ns: Timestamp<Rig>,
    },
    /// Frames that are not on disk yet are not saved any more. Saved ones stay.
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

/// What a device knows about the orders of the rig, for devices that join late or come back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRoster {
    /// Orders that it has not answered yet, with their stops.
    pub orders: Vec<Order>,
    /// The last commands that it received. Another device may have missed them.
    pub commands: Vec<OrderCommand>,
}

/// A device's reply to an [`OrderCommand`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The order.
    pub order: OrderId,
    /// The device that replies.
    pub device: DeviceId,
    /// What the command did there.
    #[serde(flatten)]
    pub outcome: CommandOutcome,
}

/// What a command did on a device. JSON calls it `standing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum CommandOutcome {
    /// The order is open, and the command was carried out.
    Open,
    /// The order is open, but the stop came too late: frames after it were with the writer already.
    Late {
        /// How many frames after the stop are in the files.
        surplus: u64,
    },
    /// The order was answered before.
    Answered,
    /// The order is not known here. The command is kept for when it arrives.
    Unknown,
}
