//! Unit tests of the order queue. Frames are numbers here, and the writer is a function.

mod commands;
mod frames;
mod limits;
mod restart;
mod time;
mod video;

use super::*;
use crate::frame::{FrameInfo, LockState, SyncState};
use crate::order::testing::{name, rate};
use crate::order::{Answer, CommandOutcome, GRACE, OrderError, OrderKind};

fn grid() -> FrameGrid {
    rate(30)
}

fn queue() -> OrderQueue<FrameNumber> {
    let mut queue = OrderQueue::new(name("pi"), RingLimits { bytes: 1_000, time: Span::MAX });
    queue.set_grid(grid());
    queue
}

fn frame(number: FrameNumber) -> RingFrame<FrameNumber> {
    RingFrame {
        number,
        time: grid().instant(number),
        bytes: 100,
        coding: Coding::Key,
        gap: None,
        timescale: None,
        payload: number,
    }
}

fn order(id: &str, first: FrameNumber, count: u32) -> Order {
    // Off the grid, as an order at any instant is.
    Order::burst(name(id), grid().instant(first) + Span::from_millis(7), count).unwrap()
}

fn saved(number: FrameNumber) -> FrameOutcome {
    FrameOutcome::Saved {
        file: format!("{number}.jpg"),
        bytes: 1,
        info: FrameInfo {
            sync: SyncState::Synced,
            lock: Some(LockState::Locked),
            ..FrameInfo::new(number, grid().instant(number), Span::ZERO)
        },
    }
}

/// Acts as a writer that saves every frame at once. Returns the answers.
fn write_all(queue: &mut OrderQueue<FrameNumber>, actions: Vec<OrderAction<FrameNumber>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut actions = VecDeque::from(actions);
    while let Some(action) = actions.pop_front() {
        match action {
            OrderAction::Save { order, number, payload, ticket, purpose, .. } => {
                assert_eq!((number, purpose), (payload, FramePurpose::Named));
                queue.handle_written(&order, number..=number, saved(number));
                actions.extend(queue.handle_released(ticket));
            }
            OrderAction::Close { order } | OrderAction::Suspend { order, .. } => {
                actions.extend(queue.handle_closed(&order));
            }
            OrderAction::Answer(answer) => answers.push(answer),
            OrderAction::Journal(_) | OrderAction::Begin { .. } | OrderAction::Hole { .. } => {}
            OrderAction::RequestKey { .. } => panic!("these are pictures"),
        }
    }
    answers
}

/// All actions but those for the journal.
fn visible(actions: Vec<OrderAction<FrameNumber>>) -> Vec<OrderAction<FrameNumber>> {
    actions.into_iter().filter(|action| !matches!(action, OrderAction::Journal(_))).collect()
}

fn numbers(answer: &Answer) -> Vec<FrameNumber> {
    answer.frames.iter().flat_map(|run| run.first..=run.last).collect()
}

fn take(id: &str, first: FrameNumber, segment: Option<Span>) -> Order {
    let kind = OrderKind::Take { segment, fill: Default::default() };
    Order::new(name(id), grid().instant(first), None, kind).unwrap()
}

fn stop(id: &str, end: FrameNumber) -> OrderCommand {
    OrderCommand::Stop { order: name(id), at_ns: grid().instant(end) }
}

/// Gives `order` to the queue, and acts as its writer and journal. Returns the answer, if it comes at once.
fn place(queue: &mut OrderQueue<FrameNumber>, journal: &mut Journal, order: Order) -> Option<Answer> {
    let mut actions = VecDeque::from(queue.handle_order(order).unwrap());
    let mut answer = None;
    while let Some(action) = actions.pop_front() {
        match action {
            OrderAction::Journal(record) => journal.apply(record),
            OrderAction::Answer(given) => answer = Some(given),
            other => {
                let OrderAction::Save { order, number, ticket, .. } = other else {
                    if let OrderAction::Close { order } = other {
                        actions.extend(queue.handle_closed(&order));
                    }
                    continue;
                };
                queue.handle_written(&order, number..=number, saved(number));
                actions.extend(queue.handle_released(ticket));
            }
        }
    }
    answer
}
