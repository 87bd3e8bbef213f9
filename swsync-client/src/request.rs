//! What an operator wants saved, in the operator's terms: relative to now. [`OrderRequest::make`] turns it into an order in rig
//! time.

use swsync_core::name::{NameError, OrderId};
use swsync_core::order::{DEFAULT_SEGMENT, Fill, Order, OrderError, OrderKind, Targets};
use swsync_core::time::Span;

use crate::snapshot::{NoRigTime, RigSnapshot, default_id};

/// When stills begin by default: late enough for the order to reach every device, on WiFi too.
pub const STILL_LEAD: Span = Span::from_millis(500);

/// When a take begins by default: late enough for the order to reach every device, and for a key frame.
pub const TAKE_LEAD: Span = Span::from_secs(1);

/// An order that is not in rig time yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRequest {
    kind: OrderKind,
    after: Span,
    length: Option<Span>,
    id: Option<OrderId>,
    targets: Targets,
}

/// Why a request is no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No device knows rig time.
    #[error(transparent)]
    NoRigTime(#[from] NoRigTime),
    /// No device could serve it.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// No id could be made.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl OrderRequest {
    const fn new(kind: OrderKind, after: Span) -> Self {
        Self { kind, after, length: None, id: None, targets: Targets::All }
    }

    /// One frame of every camera, half a second from now.
    #[must_use]
    pub const fn still() -> Self {
        Self::new(OrderKind::Still { every: None, count: Some(1) }, STILL_LEAD)
    }

    /// `count` consecutive frames, from half a second from now on.
    #[must_use]
    pub const fn burst(count: u32) -> Self {
        Self::new(OrderKind::Burst { count }, STILL_LEAD)
    }

    /// Stills so far apart, `count` of them; `None`: until the order is stopped.
    #[must_use]
    pub const fn time_lapse(every: Span, count: Option<u32>) -> Self {
        Self::new(OrderKind::Still { every: Some(every), count }, STILL_LEAD)
    }

    /// Every frame, from one second from now on, for `length`; `None`: until the order is stopped.
    #[must_use]
    pub fn take(length: Option<Span>) -> Self {
        let kind = OrderKind::Take { segment: Some(DEFAULT_SEGMENT), fill: Fill::Hold };
        Self { length, ..Self::new(kind, TAKE_LEAD) }
    }

    /// From `after` from now on; negative: out of the devices' ring buffers.
    #[must_use]
    pub fn after(self, after: Span) -> Self {
        Self { after, ..self }
    }

    /// With this id instead of one that is made of date and time.
    #[must_use]
    pub fn named(self, id: OrderId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// For these devices only.
    #[must_use]
    pub fn to(self, targets: Targets) -> Self {
        Self { targets, ..self }
    }

    /// The devices that it is for.
    #[must_use]
    pub const fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The order, with instants of the rig time that `snapshot` tells.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn make(&self, snapshot: &RigSnapshot) -> Result<Order, RequestError> {
        let at = snapshot.time().ok_or(NoRigTime)? + self.after;
        let is_take = matches!(self.kind, OrderKind::Take { .. });
        let at = if is_take { snapshot.snap_to_grid(at) } else { at };
        let id = match &self.id {
            Some(id) => id.clone(),
            None => default_id(if is_take { "take" } else { "shot" }, at, rand::random())?,
        };
        let stop = self.length.map(|length| at + length);
        let order = Order::new(id, at, stop, self.kind)?.with_targets(self.targets.clone())?;
        Ok(order.on_timescale(snapshot.common.timescale()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use swsync_rig::{Presence, StatusReport};

    use super::*;
    use crate::testing::{name, status};

    fn snapshot() -> RigSnapshot {
        let now = Instant::now();
        let report = StatusReport { status: status("a"), asked: now, heard: now };
        RigSnapshot::of(Presence::default(), vec![report])
    }

    #[test]
    fn instants_are_those_of_the_rig() {
        let snapshot = snapshot();
        let before = snapshot.now();
        let still = OrderRequest::still().after(Span::from_secs(-2)).make(&snapshot).unwrap();
        let late = still.at() + Span::from_secs(2) - before;
        assert!(!late.is_negative() && late < Span::from_secs(1), "{late:?}");
        assert_eq!(still.kind(), OrderKind::Still { every: None, count: Some(1) });
        assert!(still.id().as_str().starts_with("shot-"));

        let take = OrderRequest::take(Some(Span::from_secs(3))).named(name("t1")).make(&snapshot).unwrap();
        assert_eq!((take.id(), take.stop()), (&name("t1"), Some(take.at() + Span::from_secs(3))));
        assert_eq!(snapshot.snap_to_grid(take.at()), take.at(), "takes begin at a frame");
    }

    #[test]
    fn without_rig_time_there_is_no_order() {
        let empty = RigSnapshot::of(Presence::default(), Vec::new());
        assert_eq!(OrderRequest::still().make(&empty), Err(RequestError::NoRigTime(NoRigTime)));
        let burst = OrderRequest::burst(0).make(&snapshot());
        assert_eq!(burst, Err(RequestError::Order(OrderError::Burst(0))));
    }
}
