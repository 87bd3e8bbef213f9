//! The desk at which a device serves orders: which frames to save, when to ask for key frames, what to answer.
//!
//! One state machine for single pictures and for encoded video, from the ring and from frames yet to come. Every
//! frame that an order names is accounted for once: handed to the writer, which says what became of it, or
//! declared a hole with its reason as soon as it is known that it will not come.
//!
//! Memory is bounded: the ring by its limits, what waits for the writer by a share of them, accounts by runs. A
//! writer that is too slow leaves frames waiting in the ring; those that fall out of it are lost, and named. The camera is
//! never held up.

mod ledger;
mod open;
mod piece;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use super::journal::{Answered, Answers};
use super::{
    Answer, Basis, Command, Fate, FrameRun, Journal, Named, Order, Pending, Progress, Record, Registry,
    Standing,
};
use crate::control::TimeScale;
use crate::grid::{FrameGrid, FrameNumber};
use crate::name::{DeviceId, OrderId};
use crate::ring::{Entry, Limits, Ring};
use crate::servo::LONGEST_HOLD;
use crate::time::{Rig, Span, Timestamp};
use open::{MAX_REORDER, OpenOrder};

/// Orders that can be open at once.
pub const MAX_OPEN: usize = 64;

/// Commands kept for orders that have not arrived yet, and for devices that have not heard them.
const MAX_COMMANDS: usize = 64;

/// What the desk wants done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action<T> {
    /// Make this line of the journal durable, before anything that comes after it.
    Journal(Record),
    /// The writer's work on an order begins: once before everything else of it.
    Begin {
        /// The order.
        order: Order,
        /// Its frames. A stop that is still to come changes their end.
        named: Named,
    },
    /// Write this frame. Call [`Desk::handle_taken`] when its memory is free again, and for a named one
    /// [`Desk::handle_written`] when it is durable or known not to become so.
    Save {
        /// The order.
        order: OrderId,
        /// What to tell the desk when the payload is let go.
        ticket: Ticket,
        /// The frame's number.
        number: FrameNumber,
        /// The file it belongs to, counted from 0: [`Named::segment_of`] of the named frame that it is for.
        segment: u64,
        /// Whether the order names it.
        role: Role,
        /// The frame.
        payload: T,
    },
    /// These frames will not come: for what fills gaps, and for the side files.
    Hole {
        /// The order.
        order: OrderId,
        /// The frames, and why.
        run: FrameRun,
    },
    /// Ask the encoder for a key frame at this very frame.
    RequestKey {
        /// The frame.
        number: FrameNumber,
        /// Its instant.
        at: Timestamp<Rig>,
    },
    /// Nothing more comes for an order: finish its files, say what became of each frame, then call
    /// [`Desk::handle_closed`].
    Close {
        /// The order.
        order: OrderId,
    },
    /// Nothing more comes for an order until the device is back: finish its files, which have frames of `named` only, but
    /// not the account. Then call [`Desk::handle_closed`].
    Suspend {
        /// The order.
        order: OrderId,
        /// What it named so far.
        named: Named,
    },
    /// Tell whoever ordered. An unfinished one is followed by another.
    Answer(Answer),
}

/// Why a frame is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The order names it.
    Named,
    /// The order does not name it, but the named frame that follows in its file builds on it: the lead-in from the
    /// last key frame. How many there are at the beginning of a file is its in-point.
    Support,
}

/// A frame that the writer holds.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
pub struct Ticket(u64);

/// Why a desk does not take an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It would answer for another order.
    #[error(
        "order {0} is known here, and it asked for something else: give this one another id, or repeat the first \
         as it was"
    )]
    Id(OrderId),
    /// Too many.
    #[error("{MAX_OPEN} orders are open already: wait for them, stop or cancel some")]
    TooMany,
}

/// What is later has no exposure or encoder for a cause, but another clock.
const MAX_LATENCY: Span = Span::from_secs(600);

/// Why frames of an order are missed that was open when rig time began anew.
const NEW_TIME: &str =
    "rig time began anew: the leader came back with another wall clock, or its source was stepped";

/// Serves orders. Every order gets exactly one [`Action::Answer`] that is not unfinished, and another when it arrives again.
#[derive(Debug)]
pub struct Desk<T> {
    device: DeviceId,
    grid: Option<FrameGrid>,
    timescale: Option<TimeScale>,
    lateness: Lateness,
    ring: Ring<T>,
    backlog: Backlog,
    open: Vec<OpenOrder>,
    answers: Answers,
    foretold: VecDeque<Command>,
    heard: VecDeque<Command>,
    saved: u64,
    missed: u64,
    /// Whether files may go again.
    apart: bool,
}

/// How late frames arrive.
#[derive(Debug, Clone, Copy, Default)]
struct Lateness {
    stated: Span,
    /// Of late: what happened once is forgotten after some hundred frames.
    seen: Span,
}

impl Lateness {
    fn see(&mut self, age: Span) {
        if age < MAX_LATENCY {
            self.seen = age.max(self.seen - self.seen / 64);
        }
    }
}

/// Frames that wait for the writer.
#[derive(Debug)]
pub(in crate::order) struct Backlog {
    limit: usize,
    bytes: usize,
    next: u64,
    out: BTreeMap<Ticket, usize>,
}

impl Backlog {
    /// Whether a frame of `bytes` can be handed out. One always can.
    pub const fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(bytes) <= self.limit
    }

    pub fn issue(&mut self, bytes: usize) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.bytes += bytes;
        self.out.insert(ticket, bytes);
        ticket
    }

    fn take_back(&mut self, ticket: Ticket) {
        self.bytes -= self.out.remove(&ticket).unwrap_or(0);
    }
}

/// Adds `command` to `list` once; its oldest go.
fn keep(list: &mut VecDeque<Command>, command: &Command) {
    if list.contains(command) {
        return;
    }
    list.push_back(command.clone());
    if list.len() > MAX_COMMANDS {
        list.pop_front();
    }
}

impl<T: Clone> Desk<T> {
    /// A desk with an empty ring.
    #[must_use]
    pub fn new(device: DeviceId, limits: Limits) -> Self {
        Self {
            device,
            grid: None,
            timescale: None,
            lateness: Lateness::default(),
            ring: Ring::new(limits),
            backlog: Backlog { limit: limits.bytes / 2, bytes: 0, next: 0, out: BTreeMap::new() },
            open: Vec::new(),
            answers: Answers::default(),
            foretold: VecDeque::new(),
            heard: VecDeque::new(),
            saved: 0,
            missed: 0,
            apart: false,
        }
    }

    /// Accounts for frames of different files apart, since [`handle_removed`](Self::handle_removed) may be called:
    /// then what is said of a run is true of what is left. Costs a run for each file.
    #[must_use]
    pub fn with_files_apart(self, apart: bool) -> Self {
        Self { apart, ..self }
    }

    /// Takes up what was open before a restart. `on_disk` tells which frames of an order are there, whole, and which
    /// were and are gone again.
    pub fn restore(
        &mut self,
        journal: Journal,
        mut on_disk: impl FnMut(&Order) -> Vec<FrameRun>,
    ) -> Vec<Action<T>> {
        let (open, answers, grid) = journal.into_parts();
        self.answers = answers;
        // Until a camera that takes long to start has frames, they are numbered as before.
        self.grid = self.grid.or(grid);
        for pending in open {
            let decided = on_disk(&pending.order);
            self.open.push(OpenOrder::restored(pending, decided, self.apart, &self.ring));
        }
        self.serve(Vec::new())
    }

    /// The grid that frames are numbered on from now on. The ring is emptied if it differs from the one before, and
    /// orders that are under way end: numbers of two grids do not mix.
    pub fn set_grid(&mut self, grid: FrameGrid) -> Vec<Action<T>> {
        let mut actions = Vec::new();
        if self.grid != Some(grid) {
            self.ring.clear();
            self.grid = Some(grid);
            actions.push(Action::Journal(Record::Grid { grid }));
        }
        for open in &mut self.open {
            open.set_grid(grid, &mut actions);
        }
        self.serve(actions)
    }

    /// The device's clock is on this time scale from now on; `None`: it does not say. Open orders go on: as long as rig time
    /// does not [begin anew](Self::handle_new_time), as when a leader is back that was restarted, their instants are as good
    /// as those of before. Their answers say the scale that they end on, so that nobody takes it for the one that was asked.
    pub const fn set_timescale(&mut self, timescale: Option<TimeScale>) {
        self.timescale = timescale;
    }

    /// An order has arrived.
    ///
    /// # Errors
    /// [`Refused`]; then nothing else comes of it.
    pub fn handle_order(&mut self, order: Order) -> Result<Vec<Action<T>>, Refused> {
        self.take_order(order, None)
    }

    /// An order has arrived that is not [known](Self::knows), but whose take is there: `on_disk` tells which frames are
    /// saved, and which are missing.
    ///
    /// # Errors
    /// As [`handle_order`](Self::handle_order).
    pub fn handle_order_on_disk(
        &mut self,
        order: Order,
        on_disk: Vec<FrameRun>,
    ) -> Result<Vec<Action<T>>, Refused> {
        self.take_order(order, Some(on_disk))
    }

    /// Whether an order of this id is open, or its answer is remembered.
    #[must_use]
    pub fn knows(&self, order: &OrderId) -> bool {
        self.answers.get(order).is_some() || self.open_orders().any(|open| open.id() == order)
    }

    fn take_order(
        &mut self,
        order: Order,
        on_disk: Option<Vec<FrameRun>>,
    ) -> Result<Vec<Action<T>>, Refused> {
        if let Some(Answered { order: before, answer }) = self.answers.get(order.id()) {
            return match before.as_ref().is_some_and(|before| before.is_same(&order)) {
                true => Ok(vec![Action::Answer(answer.clone())]),
                false => Err(Refused::Id(order.id().clone())),
            };
        }
        if let Some(open) = self.open.iter().find(|open| open.order.id() == order.id()) {
            if !open.order.is_same(&order) {
                return Err(Refused::Id(order.id().clone()));
            }
            // It may have been stopped since it was first here.
            let stop = order.stop().filter(|stop| open.order.stop().is_none_or(|known| *stop < known));
            let stop = stop.map(|at_ns| Command::Stop { order: order.id().clone(), at_ns });
            return Ok(stop.map_or_else(Vec::new, |stop| self.handle_command(&stop).1));
        }
        if let Some(why) = order.foreign_to(self.timescale) {
            // Not kept: once the clock is on the other time scale, the order can be given again.
            let (order, device) = (order.id().clone(), self.device.clone());
            let basis = self.basis();
            let answer =
                Answer { order, device, frames: Vec::new(), unnumbered: Some(why), unfinished: None, basis };
            return Ok(vec![Action::Answer(answer)]);
        }
        if self.open.len() >= MAX_OPEN {
            return Err(Refused::TooMany);
        }
        let mut actions = vec![Action::Journal(Record::Opened { opened: order.clone() })];
        let id = order.id().clone();
        let mut open = match on_disk {
            None => OpenOrder::new(order, self.apart, &self.ring),
            Some(decided) => {
                let pending = Pending { order, cancelled: false };
                OpenOrder::restored(pending, decided, self.apart, &self.ring)
            }
        };
        if let Some(grid) = self.grid {
            open.set_grid(grid, &mut actions);
        }
        self.open.push(open);
        for command in std::mem::take(&mut self.foretold) {
            if command.order() == &id {
                actions.extend(self.obey(&command).1);
            } else {
                self.foretold.push_back(command);
            }
        }
        Ok(self.serve(actions))
    }

    /// An order is to be stopped or cancelled. How it stands with it here.
    pub fn handle_command(&mut self, command: &Command) -> (Standing, Vec<Action<T>>) {
        let (standing, actions) = self.obey(command);
        (standing, self.serve(actions))
    }

    fn obey(&mut self, command: &Command) -> (Standing, Vec<Action<T>>) {
        let Some(open) = self.open.iter_mut().find(|open| open.order.id() == command.order()) else {
            if self.answers.get(command.order()).is_some() {
                return (Standing::Answered, Vec::new());
            }
            keep(&mut self.foretold, command);
            return (Standing::Unknown, Vec::new());
        };
        keep(&mut self.heard, command);
        let (surplus, record) = match command {
            Command::Stop { order, at_ns } => {
                (open.stop(*at_ns), Record::Stopped { order: order.clone(), at_ns: *at_ns })
            }
            Command::Cancel { order } => {
                open.cancel();
                (0, Record::Cancelled { order: order.clone() })
            }
        };
        let standing = if surplus > 0 { Standing::Late { surplus } } else { Standing::Open };
        (standing, vec![Action::Journal(record)])
    }

    /// How late frames arrive by what the elements that they come through state.
    pub const fn set_latency(&mut self, stated: Span) {
        self.lateness.stated = stated;
    }

    /// A frame arrives that was taken so long ago.
    pub fn handle_age(&mut self, age: Span) {
        self.lateness.see(age);
    }

    /// How long after their instants frames arrive, at most: a period for the exposure at least.
    #[must_use]
    pub fn latency(&self) -> Span {
        let period = self.grid.map_or(Span::ZERO, FrameGrid::period);
        self.lateness.stated.max(self.lateness.seen).max(period)
    }

    /// A frame has arrived.
    pub fn handle_frame(&mut self, entry: Entry<T>) -> Vec<Action<T>> {
        let mut actions = Vec::new();
        // A clock that is held, or frames in the order of an encoder, go back by less.
        if self.ring.newest().is_some_and(|newest| {
            entry.number + MAX_REORDER < newest.number && entry.time < newest.time - LONGEST_HOLD
        }) {
            actions = self.handle_new_time();
        }
        let open = &mut self.open;
        self.ring.push(entry, |place, dropped| {
            for open in open.iter_mut() {
                open.handle_dropped(place, &dropped, &mut actions);
            }
        });
        self.serve(actions)
    }

    /// The payload that was handed out under `ticket` needs no memory any more.
    pub fn handle_taken(&mut self, ticket: Ticket) -> Vec<Action<T>> {
        self.backlog.take_back(ticket);
        self.serve(Vec::new())
    }

    /// The writer is done with those named frames of `order` that it has in `frames`; `fate` says what it wrote, or why
    /// it could not.
    pub fn handle_written(&mut self, order: &OrderId, frames: RangeInclusive<FrameNumber>, fate: Fate) {
        if let Some(open) = self.open.iter_mut().find(|open| open.order.id() == order) {
            open.handle_written(frames, fate);
        }
    }

    /// The writer has removed the oldest files of `order` again, which had `frames` frames of `bytes` bytes: nothing
    /// before number `before` is saved any more. Call after [`handle_written`](Self::handle_written) told of them.
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

    /// The writer has finished an order's files, as [`Action::Close`] or [`Action::Suspend`] asked.
    pub fn handle_closed(&mut self, order: &OrderId) -> Vec<Action<T>> {
        let Some(index) = self.open.iter().position(|open| open.order.id() == order && open.is_ending())
        else {
            return Vec::new();
        };
        let mut open = self.open.remove(index);
        open.handle_closed();
        if !open.is_suspended() {
            return self.answer(open);
        }
        let so_far = Action::Answer(open.answer(&self.device, self.basis()));
        self.open.insert(index, open.resumed(&self.ring));
        self.serve(vec![so_far])
    }

    /// Gives up on frames whose time has long passed. Call now and then.
    pub fn handle_timeout(&mut self, now: Timestamp<Rig>) -> Vec<Action<T>> {
        let (mut actions, latency) = (Vec::new(), self.latency());
        let ring = &self.ring;
        let is_unnumbered = |open: &mut OpenOrder| open.handle_timeout(now, latency, ring, &mut actions);
        let unnumbered: Vec<_> = self.open.extract_if(.., is_unnumbered).collect();
        for open in unnumbered {
            actions.extend(self.answer(open));
        }
        self.serve(actions)
    }

    /// The device stops in good order: files are finished, and every open order is answered with what became of it so
    /// far. It stays open, as after a crash: it is taken up again when frames come again, or by
    /// [`restore`](Self::restore).
    pub fn handle_stop(&mut self) -> Vec<Action<T>> {
        let (mut actions, basis, ring_end) = (Vec::new(), self.basis(), self.ring.end());
        for open in &mut self.open {
            if open.suspend(ring_end, &mut actions) {
                actions.push(Action::Answer(open.answer(&self.device, basis)));
            }
        }
        actions
    }

    /// Rig time has begun anew: what was numbered before is not to be combined with what comes. Open orders end.
    pub fn handle_new_time(&mut self) -> Vec<Action<T>> {
        self.ring.clear();
        let mut actions = Vec::new();
        for open in &mut self.open {
            open.give_up(NEW_TIME, &mut actions);
        }
        let unnumbered: Vec<_> = self.open.extract_if(.., |open| !open.is_numbered()).collect();
        for open in unnumbered {
            actions.extend(self.answer(open));
        }
        actions
    }

    /// Whether the writer has nothing to do for any open order.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.open.iter().all(OpenOrder::is_at_rest)
    }

    /// Does for every open order what can be done now.
    fn serve(&mut self, mut actions: Vec<Action<T>>) -> Vec<Action<T>> {
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

    fn answer(&mut self, open: OpenOrder) -> Vec<Action<T>> {
        let open = open.over();
        let answer = open.answer(&self.device, self.basis());
        self.saved += answer.saved();
        self.missed += answer.named() - answer.saved();
        self.answers.keep(Some(open.order), answer.clone());
        vec![Action::Journal(Record::Answered { answer: answer.clone() }), Action::Answer(answer)]
    }

    const fn basis(&self) -> Basis {
        Basis { timescale: self.timescale, rate: self.grid }
    }

    /// The grid that frames are numbered on, once it is known.
    #[must_use]
    pub const fn grid(&self) -> Option<FrameGrid> {
        self.grid
    }

    /// The ring.
    #[must_use]
    pub const fn ring(&self) -> &Ring<T> {
        &self.ring
    }

    /// Bytes that wait for the writer, and how many may.
    #[must_use]
    pub const fn backlog(&self) -> (usize, usize) {
        (self.backlog.bytes, self.backlog.limit)
    }

    /// Orders not yet answered.
    pub fn open_orders(&self) -> impl Iterator<Item = &Order> {
        self.open.iter().map(|open| &open.order)
    }

    /// What others that missed something should know of orders.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry {
            orders: self.open_orders().cloned().collect(),
            commands: self.heard.iter().cloned().collect(),
        }
    }

    /// How far each of them is.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        self.open.iter().map(OpenOrder::progress).collect()
    }

    /// Frames saved, and frames missed or failed, in all orders answered so far.
    #[must_use]
    pub const fn totals(&self) -> (u64, u64) {
        (self.saved, self.missed)
    }
}
