//! A device in a world: order queue, writer, disk and journal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::picture::Picture;
use super::{World, grid, saved};
use crate::grid::FrameNumber;
use crate::message;
use crate::name::OrderId;
use crate::order::queue::{FramePurpose, OrderAction, OrderQueue};
use crate::order::testing::name;
use crate::order::{Answer, CommandOutcome, FrameOutcome, FrameRun, Journal, Order, OrderCommand};
use crate::ring::RingLimits;
use crate::time::Span;

const REMOVED: &str = "removed";

/// Order, segment, and how often the device was restarted before.
type File = (OrderId, u64, usize);

/// A frame in a file.
type Written = (Picture, FrameNumber, FramePurpose);

pub struct Device<'a> {
    pub world: &'a World,
    pub queue: OrderQueue<Picture>,
    /// Actions that the writer has not carried out yet.
    work: VecDeque<OrderAction<Picture>>,
    /// Key frame requests that the encoder has not come to yet.
    pub key_requests: BTreeSet<FrameNumber>,
    journal: Journal,
    /// The frames of each file in the order in which they were written.
    pub disk: BTreeMap<File, Vec<Written>>,
    /// For each order the number before which its frames were removed from the disk.
    removed: BTreeMap<OrderId, FrameNumber>,
    pub answers: BTreeMap<OrderId, Answer>,
    /// How many frames of an order came after its stop.
    pub late: BTreeMap<OrderId, u64>,
    /// Orders that had no end when they were cancelled: they end with the frames that they had.
    pub cut_short: BTreeSet<OrderId>,
    /// How often it was restarted.
    pub run: usize,
}

impl<'a> Device<'a> {
    pub fn new(world: &'a World) -> Self {
        Self {
            world,
            queue: new_queue(world),
            work: VecDeque::new(),
            key_requests: BTreeSet::new(),
            journal: Journal::default(),
            disk: BTreeMap::new(),
            removed: BTreeMap::new(),
            answers: BTreeMap::new(),
            late: BTreeMap::new(),
            cut_short: BTreeSet::new(),
            run: 0,
        }
    }

    /// A power cut: disk and journal survive.
    pub fn restart(&mut self) {
        self.queue = new_queue(self.world);
        self.work.clear();
        self.key_requests.clear();
        self.run += 1;
        let (journal, disk, removed) = (self.journal.clone(), &self.disk, &self.removed);
        let actions = self.queue.restore(journal, |order| {
            let frames = disk.iter().filter(|((id, ..), _)| id == order.id()).flat_map(|(_, frames)| frames);
            let named = named_numbers(frames).map(|number| FrameRun::one(number, saved(number)));
            removed_run(order, removed).into_iter().chain(named).collect()
        });
        self.carry_out(actions);
        let actions = self.queue.set_grid(grid());
        self.carry_out(actions);
    }

    pub fn carry_out(&mut self, actions: Vec<OrderAction<Picture>>) {
        for action in actions {
            if let OrderAction::Answer(answer) = &action {
                let parsed = message::decode::<Answer>(&message::encode(answer));
                assert_eq!(parsed.as_ref().ok(), Some(answer), "who asked can read it: {parsed:?}");
            }
            match action {
                OrderAction::Journal(record) => self.journal.apply(record),
                OrderAction::RequestKey { number, .. } => {
                    self.key_requests.insert(number);
                }
                // Another answer follows.
                OrderAction::Answer(answer) if answer.unfinished.is_some() => assert!(!answer.is_complete()),
                OrderAction::Answer(answer) => {
                    let before = self.answers.insert(answer.order.clone(), answer.clone());
                    assert!(before.is_none_or(|before| before == answer), "two answers: {answer:?}");
                }
                work => self.work.push_back(work),
            }
        }
        let (waiting, limit) = self.queue.backlog();
        assert!(waiting <= limit.max(100) + self.world.ring_bytes, "{waiting} bytes wait");
        assert!(self.queue.ring().bytes() <= self.world.ring_bytes.max(100));
    }

    /// The writer writes at most `frames` frames.
    pub fn write(&mut self, mut frames: usize) {
        while frames > 0
            && let Some(work) = self.work.pop_front()
        {
            match work {
                OrderAction::Save { order, ticket, number, segment, purpose, payload } => {
                    frames -= 1;
                    self.disk
                        .entry((order.clone(), segment, self.run))
                        .or_default()
                        .push((payload, number, purpose));
                    if purpose == FramePurpose::Named {
                        self.queue.handle_written(&order, number..=number, saved(number));
                    }
                    self.remove_oldest_files(&order);
                    let more = self.queue.handle_released(ticket);
                    self.carry_out(more);
                }
                OrderAction::Close { order } | OrderAction::Suspend { order, .. } => {
                    let more = self.queue.handle_closed(&order);
                    self.carry_out(more);
                }
                OrderAction::Begin { .. } | OrderAction::Hole { .. } => {}
                OrderAction::Journal(_) | OrderAction::RequestKey { .. } | OrderAction::Answer(_) => {
                    unreachable!()
                }
            }
        }
    }

    /// Removes the oldest files of an order beyond those that are kept.
    fn remove_oldest_files(&mut self, order: &OrderId) {
        let Some(max) = self.world.max_files else { return };
        loop {
            let files = self.disk.iter().filter(|((id, ..), _)| id == order);
            let files: BTreeMap<_, _> = files
                .filter_map(|(file, frames)| Some((named_numbers(frames).max()?, file.clone())))
                .collect();
            let before = self.removed.entry(order.clone()).or_default();
            let Some((last, oldest)) =
                files.first_key_value().filter(|(last, _)| files.len() > max || *last < before)
            else {
                return;
            };
            *before = (*before).max(last + 1);
            let removed = self.disk.remove(oldest).expect("just found");
            let removed = named_numbers(&removed).count() as u64;
            self.queue.handle_removed(order, *before, (removed, removed), REMOVED);
        }
    }

    pub fn command(&mut self, command: &OrderCommand) -> CommandOutcome {
        let (outcome, actions) = self.queue.handle_command(command);
        if let CommandOutcome::Late { surplus } = outcome {
            self.late.insert(command.order().clone(), surplus);
        }
        self.carry_out(actions);
        outcome
    }

    /// How often each frame number of an order is on disk.
    pub fn copies_on_disk(&self, order: &OrderId) -> BTreeMap<FrameNumber, usize> {
        let mut copies = BTreeMap::new();
        for (_, frames) in self.disk.iter().filter(|((id, ..), _)| id == order) {
            for number in named_numbers(frames) {
                *copies.entry(number).or_default() += 1;
            }
        }
        copies
    }
}

fn new_queue(world: &World) -> OrderQueue<Picture> {
    let queue = OrderQueue::new(name("pi"), RingLimits { bytes: world.ring_bytes, time: Span::MAX });
    queue.with_separate_files(world.max_files.is_some())
}

fn named_numbers<'a>(frames: impl IntoIterator<Item = &'a Written>) -> impl Iterator<Item = FrameNumber> {
    let named = frames.into_iter().filter(|(.., purpose)| *purpose == FramePurpose::Named);
    named.map(|(_, number, _)| *number)
}

/// What a restarted device knows about frames that were removed.
fn removed_run(order: &Order, removed: &BTreeMap<OrderId, FrameNumber>) -> Option<FrameRun> {
    let before = *removed.get(order.id())?;
    let named = order.unstopped().named(grid());
    let (first, last) = (named.first(), named.last_before(before)?);
    let count = named.count_in(first..before);
    Some(FrameRun { first, last, count, outcome: FrameOutcome::Missed { why: REMOVED.into() } })
}
