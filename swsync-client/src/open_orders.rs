//! Finds an order that is open in the rig, whoever gave it.

use std::time::Duration;

use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::{Order, OrderKind};
use swsync_core::time::Span;

use crate::Rig;

/// How long devices have to say which orders are open.
const TIMEOUT: Duration = Duration::from_millis(2_500);

/// No order is open that could be meant, or several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoOrder {
    /// None is open, or none of this name. The text for a person.
    #[error("{0}; {SEE_OPEN}")]
    None(String),
    /// Several are open. Their names.
    #[error("several orders are open: {NAME_ONE} {0}")]
    Several(String),
    /// No device has anything of it. The text for a person.
    #[error("{0}: {SEE_TAKES}")]
    Unknown(String),
}

const SEE_OPEN: &str = "`swsync status` counts the open orders of each device";
const SEE_TAKES: &str = "`swsync takes` lists what there is";
const NAME_ONE: &str = "name one of";

impl NoOrder {
    /// What to do about it, as its text says too.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::None(_) => SEE_OPEN.into(),
            Self::Unknown(_) => SEE_TAKES.into(),
            Self::Several(names) => format!("{NAME_ONE} {names}"),
        }
    }
}

/// The orders that are open in a rig.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenOrders {
    /// The orders, the earliest first, each with its earliest stop.
    pub orders: Vec<Order>,
    /// Devices that do not say which orders they have open.
    pub silent: Vec<DeviceId>,
}

/// Whether `order` goes on until it is stopped, or could be stopped early with sense: a take, or a time lapse without an end.
#[must_use]
pub fn is_stoppable(order: &Order) -> bool {
    matches!(order.kind(), OrderKind::Take { .. }) || order.ends_at(Span::ZERO).is_none()
}

impl Rig {
    /// The orders that any device has open.
    #[must_use]
    pub fn open_orders(&self) -> OpenOrders {
        let known = self.session().known(TIMEOUT);
        OpenOrders { orders: known.registry.orders, silent: known.silent }
    }
}

impl OpenOrders {
    /// The order with the given name; without a name, the only one that is `likely` meant.
    ///
    /// # Errors
    /// [`NoOrder`].
    pub fn pick(self, name: Option<&OrderId>, likely: impl Fn(&Order) -> bool) -> Result<Order, NoOrder> {
        let open = self.orders;
        let ids = |orders: &[Order]| {
            orders.iter().map(|order| order.id().to_string()).collect::<Vec<_>>().join(", ")
        };
        let (some, what): (Vec<_>, _) = match name {
            Some(name) => {
                let missing = match &open[..] {
                    [] => format!("no order {name} is open, nor any other"),
                    open => format!("no order {name} is open; open are {}", ids(open)),
                };
                (open.into_iter().filter(|order| order.id() == name).collect(), missing)
            }
            None => {
                (open.into_iter().filter(|order| likely(order)).collect(), "no such order is open".to_owned())
            }
        };
        match <[Order; 1]>::try_from(some) {
            Ok([order]) => Ok(order),
            Err(none) if none.is_empty() => Err(NoOrder::None(what)),
            Err(several) => Err(NoOrder::Several(ids(&several))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;
    use swsync_core::time::Timestamp;

    fn take(id: &str) -> Order {
        let kind = OrderKind::Take { segment: None, fill: Default::default() };
        Order::new(name(id), Timestamp::from_nanos(5), None, kind).unwrap()
    }

    #[test]
    fn a_name_is_needed_only_if_several_orders_are_open() {
        let still = Order::still(name("s"), Timestamp::from_nanos(5)).unwrap();
        let pick = |orders: Vec<Order>, name: Option<&OrderId>, likely: fn(&Order) -> bool| {
            OpenOrders { orders, silent: Vec::new() }.pick(name, likely)
        };
        let open = vec![still, take("t")];
        assert_eq!(pick(open.clone(), None, is_stoppable).unwrap().id(), &name("t"));
        assert_eq!(pick(open.clone(), Some(&name("s")), is_stoppable).unwrap().id(), &name("s"));
        let error = pick(open.clone(), None, |_| true).unwrap_err().to_string();
        assert_eq!(error, "several orders are open: name one of s, t");
        let error = pick(open, Some(&name("x")), |_| true).unwrap_err().to_string();
        assert!(error.starts_with("no order x is open; open are s, t; `swsync status`"), "{error}");
        let error = pick(Vec::new(), None, |_| true).unwrap_err().to_string();
        assert!(error.starts_with("no such order is open; `swsync status`"), "{error}");
    }
}
