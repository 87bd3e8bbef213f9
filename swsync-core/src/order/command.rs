//! Commands for an order that was given: stop and cancel.

use serde::{Deserialize, Serialize};

use super::{MAX_OPEN, Order};
use crate::bounded;
use crate::camera_settings::SettingsLog;
use crate::name::{DeviceId, OrderId};
use crate::rig_date::RigDates;
use crate::time::{Rig, Timestamp};

/// Most commands that a device keeps: for orders that have not arrived yet, and for devices that missed the command.
pub(super) const MAX_COMMANDS: usize = 64;

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
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_OPEN>")]
    pub orders: Vec<Order>,
    /// The last commands that it received. Another device may have missed them.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_COMMANDS>")]
    pub commands: Vec<OrderCommand>,
    /// What cameras of the rig were set to.
    #[serde(default, skip_serializing_if = "SettingsLog::is_empty")]
    pub settings: SettingsLog,
    /// What dates the rig's last time scales stand for.
    #[serde(default, skip_serializing_if = "RigDates::is_empty")]
    pub dates: RigDates,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MAX_MESSAGE, MAX_REQUEST, decode, decode_request, encode};
    use crate::order::{MAX_TARGETS, Order, Targets};

    /// Names of the greatest length.
    fn longest(kind: &str, index: usize) -> crate::name::Name {
        format!("{kind}{index:0>63}").parse().unwrap()
    }

    fn largest_order(index: usize) -> Order {
        let devices = (0..MAX_TARGETS).map(|index| longest("d", index)).collect();
        let order = Order::burst(longest("o", index), Timestamp::from_nanos(i64::MAX), 10_000).unwrap();
        order.with_targets(Targets::Devices(devices)).unwrap()
    }

    #[test]
    fn the_largest_orders_and_rosters_fit_into_messages() {
        let order = largest_order(0);
        assert!(encode(&order).len() <= MAX_REQUEST);
        assert_eq!(decode_request::<Order>(&encode(&order)).unwrap(), order);
        let stop = |index| OrderCommand::Stop { order: longest("o", index), at_ns: Timestamp::MAX };
        let roster = OrderRoster {
            orders: (0..MAX_OPEN).map(largest_order).collect(),
            commands: (0..MAX_COMMANDS).map(stop).collect(),
            settings: SettingsLog::default(),
            dates: RigDates::default(),
        };
        assert!(encode(&roster).len() <= MAX_MESSAGE, "{}", encode(&roster).len());
        assert_eq!(decode::<OrderRoster>(&encode(&roster)).unwrap(), roster);
        let longer = OrderRoster { commands: (0..=MAX_COMMANDS).map(stop).collect(), ..roster };
        assert!(decode::<OrderRoster>(&encode(&longer)).is_err());
    }

    #[test]
    fn an_order_names_few_devices() {
        let devices = (0..=MAX_TARGETS).map(|index| longest("d", index)).collect();
        let order = Order::still(longest("o", 0), Timestamp::ZERO).unwrap();
        let why = order.clone().with_targets(Targets::Devices(devices)).unwrap_err().to_string();
        assert!(why.contains("512 devices at most, not 513"), "{why}");
        let mut json = serde_json::to_value(&order).unwrap();
        json["targets"] = (0..=MAX_TARGETS).map(|index| longest("d", index).to_string()).collect();
        let why = serde_json::from_value::<Order>(json.clone()).unwrap_err().to_string();
        assert!(why.contains("more than the 512"), "{why}");
        json["targets"] = ["a"; MAX_TARGETS].to_vec().into();
        assert!(serde_json::from_value::<Order>(json.clone()).is_ok());
        json["targets"] = serde_json::Value::Array(Vec::new());
        assert!(serde_json::from_value::<Order>(json).is_err());
    }
}
