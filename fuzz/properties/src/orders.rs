//! Orders and commands as they arrive at a device, and the journal that it writes of them.

use std::collections::VecDeque;

use swsync_core::coded::Coding;
use swsync_core::frame::FrameInfo;
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::message::{MAX_REQUEST, decode, decode_request, encode};
use swsync_core::name::Name;
use swsync_core::order::{
    Answer, FrameOutcome, Journal, JournalRecord, MAX_OPEN, Order, OrderAction, OrderCommand, OrderQueue,
    OrderRoster,
};
use swsync_core::ring::{RingFrame, RingLimits};
use swsync_core::time::{Rig, Span, Timestamp};

use crate::memory::within;
use crate::messages::FACTOR;

const NOW: Timestamp<Rig> = Timestamp::from_nanos(1_800_000_000_000_000_000);

/// Most messages of one input: a queue remembers orders, so time grows with their number.
const MOST: usize = 200;

/// Each line is a request. Whatever comes, few orders are open, what the device tells can be parsed, and it serves its own
/// operator afterwards.
pub fn queue(bytes: &[u8]) {
    let mut device = Device::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').take(MOST).enumerate() {
        if let Ok(order) = within(line, FACTOR, decode_request::<Order>)
            && let Ok(actions) = device.queue.handle_order(order)
        {
            device.carry_out(actions);
        }
        if let Ok(command) = within(line, FACTOR, decode_request::<OrderCommand>) {
            let (_, actions) = device.queue.handle_command(&command);
            device.carry_out(actions);
        }
        if index % 3 == 2 {
            device.frame();
        }
        assert!(device.queue.open_orders().count() <= MAX_OPEN);
    }
    device.check();
}

struct Device {
    queue: OrderQueue<FrameNumber>,
    grid: FrameGrid,
    next: FrameNumber,
    answers: Vec<Answer>,
    journal: Vec<u8>,
}

impl Device {
    fn new() -> Self {
        let grid = FrameGrid::new(30, 1).expect("a camera's rate");
        let limits = RingLimits { bytes: 1_000, time: Span::from_secs(1) };
        let mut queue = OrderQueue::new(Name::new("pi").expect("a name"), limits);
        queue.set_grid(grid);
        let next = grid.nearest(NOW);
        let mut device = Self { queue, grid, next, answers: Vec::new(), journal: Vec::new() };
        device.frame();
        device
    }

    fn frame(&mut self) {
        let (number, time) = (self.next, self.grid.instant(self.next));
        self.next += 1;
        let frame = RingFrame {
            number,
            time,
            bytes: 100,
            coding: Coding::Key,
            gap: None,
            timescale: None,
            payload: number,
        };
        let mut actions = self.queue.set_now(time);
        actions.extend(self.queue.handle_frame(frame));
        actions.extend(self.queue.handle_timeout(time));
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<OrderAction<FrameNumber>>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                OrderAction::Save { order, number, ticket, .. } => {
                    let info = FrameInfo::new(number, self.grid.instant(number), Span::ZERO);
                    let outcome = FrameOutcome::Saved { file: format!("{number}.jpg"), bytes: 1, info };
                    self.queue.handle_written(&order, number..=number, outcome);
                    actions.extend(self.queue.handle_released(ticket));
                }
                OrderAction::Close { order } | OrderAction::Suspend { order, .. } => {
                    actions.extend(self.queue.handle_closed(&order));
                }
                OrderAction::Answer(answer) => {
                    let read = decode::<Answer>(&encode(&answer)).expect("an answer can be parsed");
                    assert_eq!(read, answer);
                    self.answers.push(answer);
                }
                OrderAction::Journal(record) => self.journal.extend(record.to_line()),
                OrderAction::Begin { .. } | OrderAction::Hole { .. } | OrderAction::RequestKey { .. } => {}
            }
        }
    }

    fn check(mut self) {
        let roster = self.queue.roster();
        assert_eq!(decode::<OrderRoster>(&encode(&roster)).expect("a roster can be parsed"), roster);
        assert!(roster.orders.iter().all(|order| encode(order).len() <= MAX_REQUEST));
        let (journal, unread) = Journal::parse(&self.journal);
        assert_eq!((unread, journal.open().len()), (0, roster.orders.len()), "it can be restarted");
        // The operator ends what is open, and takes a picture.
        for order in roster.orders {
            let command = OrderCommand::Cancel { order: order.id().clone() };
            let (_, actions) = self.queue.handle_command(&command);
            self.carry_out(actions);
        }
        let (id, at) = (Name::new("operators-own").expect("a name"), self.grid.instant(self.next));
        match self.queue.handle_order(Order::still(id.clone(), at).expect("after 1970")) {
            Ok(actions) => self.carry_out(actions),
            Err(why) => {
                assert!(self.queue.open_orders().count() == MAX_OPEN || self.queue.knows(&id), "{why}")
            }
        }
        self.frame();
        let last = self.answers.iter().any(|answer| answer.order == id && answer.saved() == 1);
        assert!(last || self.queue.open_orders().count() == MAX_OPEN || self.queue.knows(&id));
    }
}

/// A journal is read line by line. Written anew from its state, it has the same state.
pub fn journal(bytes: &[u8]) {
    let (journal, unread) = within(bytes, FACTOR, Journal::parse);
    assert!(unread <= bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count());
    let rewritten: Vec<u8> = journal.records().flat_map(|record| JournalRecord::to_line(&record)).collect();
    let (again, unread) = Journal::parse(&rewritten);
    assert_eq!(unread, 0);
    let thrice: Vec<u8> = again.records().flat_map(|record| JournalRecord::to_line(&record)).collect();
    assert_eq!(Journal::parse(&thrice), (again, 0));
}
