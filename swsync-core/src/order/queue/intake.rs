//! Orders and commands as they arrive at a queue.

use std::collections::VecDeque;

use super::limits::{Ahead, Occupants, SOON};
use super::open::OpenOrder;
use super::{OrderAction, OrderQueue};
use crate::name::OrderId;
use crate::order::command::MAX_COMMANDS;
use crate::order::journal::Answered;
use crate::order::{CommandOutcome, FrameRun, JournalRecord, Order, OrderCommand, OrderRoster, PendingOrder};

/// Why an order is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderRefused {
    /// Another order has this id.
    #[error(
        "order {0} is known here, and it asked for something else: give this one another id, or repeat the first \
         as it was"
    )]
    Id(OrderId),
    /// Too many orders are open.
    #[error(
        "{count} orders are open already, which is the most: {orders}. Wait for them, or end some with `swsync stop ORDER` or \
         `swsync cancel ORDER`",
        count = .0.count, orders = .0
    )]
    TooMany(Occupants),
    /// Too many orders are open that begin later.
    #[error(
        "{count} orders wait already for an instant more than {} s ahead, which is the most: {orders}. Give this one later, or \
         drop some with `swsync cancel ORDER`",
        SOON.as_secs_f64(), count = .0.count, orders = .0
    )]
    TooManyWaiting(Occupants),
    /// It begins too far ahead.
    #[error("the order {0}: give it later")]
    TooFarAhead(Ahead),
}

/// Adds `command` to `list` once, and drops the oldest beyond the limit.
fn keep(list: &mut VecDeque<OrderCommand>, command: &OrderCommand) {
    if list.contains(command) {
        return;
    }
    list.push_back(command.clone());
    if list.len() > MAX_COMMANDS {
        list.pop_front();
    }
}

impl<T: Clone> OrderQueue<T> {
    /// An order arrives.
    ///
    /// # Errors
    /// [`OrderRefused`]; the queue is unchanged then.
    pub fn handle_order(&mut self, order: Order) -> Result<Vec<OrderAction<T>>, OrderRefused> {
        self.accept(order, None)
    }

    /// An order arrives that is not [known](Self::knows), but whose take is on disk. `on_disk`: its saved and missing frames.
    ///
    /// # Errors
    /// As [`handle_order`](Self::handle_order).
    pub fn handle_order_on_disk(
        &mut self,
        order: Order,
        on_disk: Vec<FrameRun>,
    ) -> Result<Vec<OrderAction<T>>, OrderRefused> {
        self.accept(order, Some(on_disk))
    }

    /// Whether an order with this id is open, or its answer is remembered.
    #[must_use]
    pub fn knows(&self, order: &OrderId) -> bool {
        self.answers.get(order).is_some() || self.open_orders().any(|open| open.id() == order)
    }

    fn accept(
        &mut self,
        order: Order,
        on_disk: Option<Vec<FrameRun>>,
    ) -> Result<Vec<OrderAction<T>>, OrderRefused> {
        if let Some(Answered { order: known, answer }) = self.answers.get(order.id()) {
            return match known.as_ref().is_some_and(|known| known.is_same(&order)) {
                true => Ok(vec![OrderAction::Answer(answer.clone())]),
                false => Err(OrderRefused::Id(order.id().clone())),
            };
        }
        if let Some(open) = self.open.iter().find(|open| open.order.id() == order.id()) {
            if !open.order.is_same(&order) {
                return Err(OrderRefused::Id(order.id().clone()));
            }
            // It may have been stopped since it arrived first.
            let stop = order.stop().filter(|stop| open.order.stop().is_none_or(|known| *stop < known));
            let stop = stop.map(|at_ns| OrderCommand::Stop { order: order.id().clone(), at_ns });
            return Ok(stop.map_or_else(Vec::new, |stop| self.handle_command(&stop).1));
        }
        // What is on disk was saved before the clock changed to another time scale.
        if let (Some(why), None) = (order.foreign_to(self.timescale.now), &on_disk) {
            return Ok(vec![OrderAction::Answer(self.foreign_answer(&order, why))]);
        }
        self.check_room(&order)?;
        Ok(self.open(order, on_disk))
    }

    fn open(&mut self, mut order: Order, on_disk: Option<Vec<FrameRun>>) -> Vec<OrderAction<T>> {
        order.settle_timescale(self.timescale.now.or(self.timescale.last));
        let mut actions = vec![OrderAction::Journal(JournalRecord::Opened { opened: order.clone() })];
        let id = order.id().clone();
        let mut open = match on_disk {
            None => {
                OpenOrder::new(order, self.separate_files, &self.ring, self.ring_beginning.why(&self.ring))
            }
            Some(decided) => {
                let pending = PendingOrder { order, cancelled: false };
                OpenOrder::restored(pending, decided, self.separate_files, &self.ring)
            }
        };
        if let Some(grid) = self.grid {
            open.set_grid(grid, &mut actions);
        }
        open.handle_timescale(self.timescale.now, &mut actions);
        self.open.push(open);
        for command in std::mem::take(&mut self.early_commands) {
            if command.order() == &id {
                actions.extend(self.obey(&command).1);
            } else {
                self.early_commands.push_back(command);
            }
        }
        self.serve(actions)
    }

    /// A command arrives. Also returns what it did to the order.
    pub fn handle_command(&mut self, command: &OrderCommand) -> (CommandOutcome, Vec<OrderAction<T>>) {
        let (outcome, actions) = self.obey(command);
        (outcome, self.serve(actions))
    }

    fn obey(&mut self, command: &OrderCommand) -> (CommandOutcome, Vec<OrderAction<T>>) {
        let Some(open) = self.open.iter_mut().find(|open| open.order.id() == command.order()) else {
            if self.answers.get(command.order()).is_some() {
                return (CommandOutcome::Answered, Vec::new());
            }
            keep(&mut self.early_commands, command);
            return (CommandOutcome::Unknown, Vec::new());
        };
        keep(&mut self.recent_commands, command);
        let (surplus, record) = match command {
            OrderCommand::Stop { order, at_ns } => {
                (open.stop(*at_ns), JournalRecord::Stopped { order: order.clone(), at_ns: *at_ns })
            }
            OrderCommand::Cancel { order } => {
                open.cancel();
                (0, JournalRecord::Cancelled { order: order.clone() })
            }
        };
        let outcome = if surplus > 0 { CommandOutcome::Late { surplus } } else { CommandOutcome::Open };
        (outcome, vec![OrderAction::Journal(record)])
    }

    /// What this device knows about the orders of the rig, for devices that missed something.
    #[must_use]
    pub fn roster(&self) -> OrderRoster {
        OrderRoster {
            orders: self.open_orders().cloned().collect(),
            commands: self.recent_commands.iter().cloned().collect(),
            ..OrderRoster::default()
        }
    }
}
