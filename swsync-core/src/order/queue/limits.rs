//! How many orders may be open, and how far ahead they may begin: strangers must not be able to block a rig with orders that
//! never end.

use std::fmt;

use super::{OrderAction, OrderQueue};
use crate::name::OrderId;
use crate::order::{Order, OrderRefused};
use crate::time::{Rig, Span, Timestamp};

/// Most orders that can be open at once.
pub const MAX_OPEN: usize = 64;

/// Most of these that may begin later than [`SOON`]: the other places stay free for orders of the moment.
pub const MAX_WAITING: usize = MAX_OPEN / 2;

/// An order that begins within this time is one of the moment. Chosen: a person who presses a shutter, or counts down to a
/// take, does so within a minute.
pub const SOON: Span = Span::from_secs(60);

/// How far ahead of now an order may begin. Chosen: a week covers what people plan with a rig that stays switched on; a time
/// scale seldom lives longer. An order may go on for as long as it likes.
pub const MAX_AHEAD: Span = Span::from_secs(7 * DAY);

const DAY: i64 = 24 * 3_600;

/// Most orders that a refusal names.
const MAX_NAMED: usize = 8;

/// The orders that occupy the places of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupants {
    /// The first of them.
    pub first: Vec<OrderId>,
    /// How many there are.
    pub count: usize,
}

impl Occupants {
    fn new<'a>(orders: impl Iterator<Item = &'a Order>) -> Self {
        let ids: Vec<_> = orders.map(Order::id).collect();
        Self { first: ids.iter().take(MAX_NAMED).map(|id| (*id).clone()).collect(), count: ids.len() }
    }
}

impl fmt::Display for Occupants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, id) in self.first.iter().enumerate() {
            write!(f, "{}{id}", if index == 0 { "" } else { ", " })?;
        }
        match self.count - self.first.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// How far ahead of now an order begins that is too far ahead, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead(pub Span);

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = Span::from_secs(DAY).as_nanos();
        let (most, ahead) = (MAX_AHEAD.as_nanos() / days, self.0.as_nanos() / days);
        write!(f, "begins more than {ahead} days from now, and orders may begin {most} days ahead at most")
    }
}

impl<T: Clone> OrderQueue<T> {
    /// Rig time is `now`; do not call this while rig time is not known. Ends orders that begin too far ahead: they were
    /// accepted while rig time was not known, or by an earlier version.
    pub fn set_now(&mut self, now: Timestamp<Rig>) -> Vec<OrderAction<T>> {
        self.now = Some(now);
        let mut actions = Vec::new();
        for open in self.open.iter_mut().filter(|open| open.is_idle() && !open.has_ended()) {
            if let Some(ahead) = too_far_ahead(&open.order, now) {
                open.give_up(&format!("it {ahead}"), &mut actions);
            }
        }
        actions.extend(self.answer_unnumbered());
        actions
    }

    /// Whether there is room for `order`.
    pub(super) fn check_room(&self, order: &Order) -> Result<(), OrderRefused> {
        if self.open.len() >= MAX_OPEN {
            return Err(OrderRefused::TooMany(Occupants::new(self.open_orders())));
        }
        let Some(now) = self.now else { return Ok(()) };
        if let Some(ahead) = too_far_ahead(order, now) {
            return Err(OrderRefused::TooFarAhead(ahead));
        }
        let waits = |order: &&Order| order.at() - now > SOON;
        if waits(&order) && self.open_orders().filter(waits).count() >= MAX_WAITING {
            return Err(OrderRefused::TooManyWaiting(Occupants::new(self.open_orders().filter(waits))));
        }
        Ok(())
    }
}

fn too_far_ahead(order: &Order, now: Timestamp<Rig>) -> Option<Ahead> {
    let ahead = order.at() - now;
    (ahead > MAX_AHEAD).then_some(Ahead(ahead))
}
