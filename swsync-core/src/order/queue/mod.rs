//! The order queue of a device: which frames to save, when to ask for key frames, what to answer.
//!
//! One state machine serves pictures and encoded video, from the frame ring and from frames to come. It accounts for every
//! frame that an order names exactly once: either it hands the frame to the writer, which reports the outcome, or it
//! declares a hole with the reason, as soon as it is known that the frame will not come.
//!
//! Memory is bounded: the ring by its limits, the writer's backlog by half of them, accounts by merging runs. While the
//! writer is too slow, frames wait in the ring. Frames that leave the ring unwritten are lost and accounted for. Frames that
//! arrive never wait.

mod account;
mod action;
mod backlog;
mod decode_path;
mod intake;
mod latency;
mod limits;
mod open;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod timescale;

use std::collections::VecDeque;
use std::ops::RangeInclusive;

pub use action::{FramePurpose, OrderAction};
pub use backlog::SaveTicket;
pub use intake::OrderRefused;
pub use limits::{Ahead, MAX_AHEAD, MAX_OPEN, MAX_WAITING, Occupants, SOON};

use super::journal::{Answers, JournalParts};
use super::{FrameOutcome, FrameRun, Journal, JournalRecord, Order, OrderCommand, OrderProgress, TimeBasis};
use crate::coded::Coding;
use crate::grid::{FrameGrid, FrameNumber};
use crate::name::{DeviceId, OrderId};
use crate::ring::{FrameRing, RingFrame, RingLimits};
use crate::servo::LONGEST_HOLD;
use crate::time::{Rig, Span, Timestamp};
use backlog::Backlog;
use latency::Latency;
use open::{MAX_REORDER, OpenOrder};
use timescale::{OwnTimeScale, RingBeginning};

/// How often a key frame is requested while frames arrive that cannot be decoded.
const KEY_REQUEST_INTERVAL: Span = Span::from_secs(1);

/// Serves orders. Every order gets exactly one [`OrderAction::Answer`] that is not unfinished, and the same answer again when
/// the order arrives again.
#[derive(Debug)]
pub struct OrderQueue<T> {
    device: DeviceId,
    grid: Option<FrameGrid>,
    timescale: OwnTimeScale,
    /// Rig time when it was last told. `None`: it is not known.
    now: Option<Timestamp<Rig>>,
    latency: Latency,
    ring: FrameRing<T>,
    ring_beginning: RingBeginning,
    backlog: Backlog,
    open: Vec<OpenOrder>,
    answers: Answers,
    /// Commands for orders that have not arrived yet.
    early_commands: VecDeque<OrderCommand>,
    /// Commands that were carried out.
    recent_commands: VecDeque<OrderCommand>,
    saved: u64,
    missed: u64,
    /// Whether frames of different files are accounted for separately.
    separate_files: bool,
    /// When a key frame was last requested because of undecodable frames, while these arrive.
    key_requested: Option<Timestamp<Rig>>,
}

impl<T: Clone> OrderQueue<T> {
    /// A queue with an empty ring.
    #[must_use]
    pub fn new(device: DeviceId, limits: RingLimits) -> Self {
        Self {
            device,
            grid: None,
            timescale: OwnTimeScale::default(),
            now: None,
            latency: Latency::default(),
            ring: FrameRing::new(limits),
            ring_beginning: RingBeginning::default(),
            backlog: Backlog::new(limits.bytes / 2),
            open: Vec::new(),
            answers: Answers::default(),
            early_commands: VecDeque::new(),
            recent_commands: VecDeque::new(),
            saved: 0,
            missed: 0,
            separate_files: false,
            key_requested: None,
        }
    }

    /// Accounts for frames of different files separately. Needed if [`handle_removed`](Self::handle_removed) may be called:
    /// the account stays right for the files that remain. Costs one run per file.
    #[must_use]
    pub fn with_separate_files(self, separate_files: bool) -> Self {
        Self { separate_files, ..self }
    }

    /// Resumes the orders that were open before a restart. `on_disk` returns the frames of an order that are complete on disk,
    /// and those that were removed again.
    pub fn restore(
        &mut self,
        journal: Journal,
        mut on_disk: impl FnMut(&Order) -> Vec<FrameRun>,
    ) -> Vec<OrderAction<T>> {
        let JournalParts { open, answers, grid, timescale } = journal.into_parts();
        self.answers = answers;
        // Frames are numbered as before until the camera runs, which can take long.
        self.grid = self.grid.or(grid);
        self.timescale.last = self.timescale.last.or(timescale);
        for pending in open {
            let decided = on_disk(&pending.order);
            self.open.push(OpenOrder::restored(pending, decided, self.separate_files, &self.ring));
        }
        self.serve(Vec::new())
    }

    /// Numbers frames on `grid` from now on. If the grid differs from the one before, the ring is emptied and orders that are
    /// being served end: numbers of two grids do not mix.
    pub fn set_grid(&mut self, grid: FrameGrid) -> Vec<OrderAction<T>> {
        let mut actions = Vec::new();
        if self.grid != Some(grid) {
            self.ring.clear();
            self.grid = Some(grid);
            actions.push(OrderAction::Journal(JournalRecord::Grid { grid }));
        }
        for open in &mut self.open {
            open.set_grid(grid, &mut actions);
        }
        self.serve(actions)
    }

    /// Sets the latency of frames by what the elements upstream state.
    pub const fn set_latency(&mut self, stated: Span) {
        self.latency.set_stated(stated);
    }

    /// A frame of this age arrives.
    pub fn handle_age(&mut self, age: Span) {
        self.latency.handle_age(age);
    }

    /// The longest time from a frame's instant to its arrival.
    #[must_use]
    pub fn latency(&self) -> Span {
        self.latency.max_on(self.grid.map_or(Span::ZERO, FrameGrid::period))
    }

    /// A frame arrives. Call [`set_timescale`](Self::set_timescale) first: a frame of an earlier time scale is dropped.
    pub fn handle_frame(&mut self, frame: RingFrame<T>) -> Vec<OrderAction<T>> {
        let mut actions = Vec::new();
        if !self.is_present(frame.timescale) {
            return actions;
        }
        // A clock that is held, or frames in coding order, go back by less.
        if self.ring.newest().is_some_and(|newest| {
            frame.number + MAX_REORDER < newest.number && frame.time < newest.time - LONGEST_HOLD
        }) {
            actions = self.handle_new_time();
        }
        self.request_key_after_loss(&frame, &mut actions);
        let open = &mut self.open;
        self.ring.push(frame, |position, dropped| {
            for open in open.iter_mut() {
                open.handle_dropped(position, &dropped, &mut actions);
            }
        });
        self.serve(actions)
    }

    /// Requests a key frame at once when frames cannot be decoded any more, and again while that lasts.
    fn request_key_after_loss(&mut self, frame: &RingFrame<T>, actions: &mut Vec<OrderAction<T>>) {
        if frame.coding != Coding::Undecodable {
            self.key_requested = None;
            return;
        }
        if self.key_requested.is_none_or(|at| (frame.time - at).abs() >= KEY_REQUEST_INTERVAL) {
            self.key_requested = Some(frame.time);
            actions.push(OrderAction::RequestKey { number: frame.number, at: frame.time });
        }
    }

    /// The writer has released the payload of `ticket`.
    pub fn handle_released(&mut self, ticket: SaveTicket) -> Vec<OrderAction<T>> {
        self.backlog.release(ticket);
        self.serve(Vec::new())
    }

    /// The writer reports the outcome of those named frames of `order` that it holds in `frames`.
    pub fn handle_written(
        &mut self,
        order: &OrderId,
        frames: RangeInclusive<FrameNumber>,
        outcome: FrameOutcome,
    ) {
        if let Some(open) = self.open.iter_mut().find(|open| open.order.id() == order) {
            open.handle_written(frames, outcome);
        }
    }

    /// The writer has removed the oldest files of `order`, with so many frames and bytes: no frame before number `before` is
    /// saved any more. Call it after [`handle_written`](Self::handle_written) has reported these frames.
    pub fn handle_removed(
        &mut self,
        order: &OrderId,
        before: FrameNumber,
        (frames, bytes): (u64, u64),
        why: &str,
    ) {
        if let Some(open) = self.open.iter_mut().find(|open| open.order.id() == order) {
            open.handle_removed(before, (frames, bytes), why);
        }
    }

    /// The writer has finished the files of an order, after [`OrderAction::Close`] or [`OrderAction::Suspend`].
    pub fn handle_closed(&mut self, order: &OrderId) -> Vec<OrderAction<T>> {
        let Some(index) = self.open.iter().position(|open| open.order.id() == order && open.is_ending())
        else {
            return Vec::new();
        };
        let mut open = self.open.remove(index);
        open.handle_closed();
        if !open.is_suspended() {
            return self.answer(open);
        }
        let so_far = OrderAction::Answer(open.answer(&self.device, self.grid));
        let mut resumed = open.resumed(&self.ring);
        resumed.timescale = self.timescale.now;
        self.open.insert(index, resumed);
        self.serve(vec![so_far])
    }

    /// Gives up on frames that are overdue. Call it regularly.
    pub fn handle_timeout(&mut self, now: Timestamp<Rig>) -> Vec<OrderAction<T>> {
        let (mut actions, latency) = (Vec::new(), self.latency());
        let ring = &self.ring;
        let is_over = |open: &mut OpenOrder| open.handle_timeout(now, latency, ring, &mut actions);
        let over: Vec<_> = self.open.extract_if(.., is_over).collect();
        for open in over {
            actions.extend(self.answer(open));
        }
        self.serve(actions)
    }

    /// The device stops: files are finished, and every open order is answered with its account so far. The orders stay open,
    /// and are resumed when frames arrive again, or by [`restore`](Self::restore).
    pub fn handle_stop(&mut self) -> Vec<OrderAction<T>> {
        let (mut actions, ring_end) = (Vec::new(), self.ring.end());
        for open in &mut self.open {
            if open.suspend(ring_end, &mut actions) {
                actions.push(OrderAction::Answer(open.answer(&self.device, self.grid)));
            }
        }
        actions
    }

    /// Whether the writer has nothing to do for any open order.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open.iter().all(OpenOrder::is_idle)
    }

    /// Advances every open order.
    fn serve(&mut self, mut actions: Vec<OrderAction<T>>) -> Vec<OrderAction<T>> {
        for open in &mut self.open {
            if let (Some(grid), false) = (self.grid, open.is_numbered()) {
                open.set_grid(grid, &mut actions);
            }
            open.advance(&self.ring, &mut self.backlog, &mut actions);
            if let (Some((_, newest)), true) = (self.ring.range(), self.ring.is_coded()) {
                open.request_keys(newest, &mut actions);
            }
        }
        actions
    }

    fn answer(&mut self, open: OpenOrder) -> Vec<OrderAction<T>> {
        let answer = open.final_answer(&self.device, self.grid);
        self.saved += answer.saved();
        self.missed += answer.named() - answer.saved();
        self.answers.keep(Some(open.order), answer.clone());
        vec![
            OrderAction::Journal(JournalRecord::Answered { answer: answer.clone() }),
            OrderAction::Answer(answer),
        ]
    }

    const fn basis(&self) -> TimeBasis {
        TimeBasis { timescale: self.timescale.now, rate: self.grid }
    }

    /// The grid that frames are numbered on, once it is known.
    #[must_use]
    pub const fn grid(&self) -> Option<FrameGrid> {
        self.grid
    }

    /// The frame ring.
    #[must_use]
    pub const fn ring(&self) -> &FrameRing<T> {
        &self.ring
    }

    /// Bytes that wait for the writer, and how many may.
    #[must_use]
    pub const fn backlog(&self) -> (usize, usize) {
        (self.backlog.bytes(), self.backlog.limit())
    }

    /// Orders that are not answered yet.
    pub fn open_orders(&self) -> impl Iterator<Item = &Order> {
        self.open.iter().map(|open| &open.order)
    }

    /// The progress of each open order.
    #[must_use]
    pub fn progress(&self) -> Vec<OrderProgress> {
        self.open.iter().map(OpenOrder::progress).collect()
    }

    /// Frames saved, and frames missed or failed, in all answered orders.
    #[must_use]
    pub const fn totals(&self) -> (u64, u64) {
        (self.saved, self.missed)
    }
}
