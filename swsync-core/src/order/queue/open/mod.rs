//! One open order: which of its frames the writer has, which are decided, and which are still to come.

mod report;
mod serve;
mod settle;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

pub(super) use settle::missed_run;

use super::account::OrderAccount;
use super::action::OrderAction;
use super::decode_path::FileTail;
use crate::gap::KnownGaps;
use crate::grid::{FrameGrid, FrameNumber};
use crate::message::TimeScale;
use crate::order::{FrameOutcome, FrameRun, GRACE, MAX_DETAILED, NamedFrames, Order, PendingOrder};
use crate::ring::FrameRing;
use crate::time::{Rig, Span, Timestamp};

/// Encoded frames may arrive in another order than they were taken, by at most so many positions: decoders of H.264 and
/// H.265 hold 16 pictures.
pub const MAX_REORDER: u64 = 16;

/// How long an order that goes on waits before it gives up on frames that did not arrive. The next frame usually tells why
/// they are missing.
const MAX_WAIT: Span = Span::from_secs(30);

const NO_FRAME: &str = "no frame has arrived since, of that instant or a later one";
const RESTARTED: &str = "lost in the restart of the device";
const STOPPED: &str = "the device was stopped";
const CANCELLED: &str = "cancelled";

/// An order whose frames are not all accounted for.
#[derive(Debug)]
pub struct OpenOrder {
    pub order: Order,
    /// The time scale of its frames. `None`: the clock states none.
    pub timescale: Option<TimeScale>,
    stage: Stage,
    account: OrderAccount,
    /// Frames that the writer has.
    writing: BTreeSet<FrameNumber>,
    /// Position in the ring of the next frame to look at.
    next: u64,
    /// Highest number looked at.
    seen: Option<FrameNumber>,
    /// What the frames that were looked at tell about missing ones.
    known_gaps: KnownGaps,
    /// All named frames below are decided or with the writer.
    frontier: FrameNumber,
    /// Frames below this number could never be saved, and why.
    unavailable_before: Option<(FrameNumber, String)>,
    /// Why frames before the first one that arrives are missing, if the ring was empty.
    before_first: Option<String>,
    /// One past the last frame that was decided before a restart.
    decided_before: FrameNumber,
    tail: Option<FileTail>,
    /// The next frame that has to be a key frame.
    next_key: Option<FrameNumber>,
    cancelled: bool,
    /// Why frames are missing that came while the device was stopped. `None`: it was not.
    absent: Option<&'static str>,
    /// Whether the device was stopped, this was answered with an unfinished answer, and nothing has happened since.
    is_told: bool,
    /// Why the order was ended, if it has no end itself or no frame could be numbered.
    ended: Option<String>,
    /// Whether frames of different files are accounted for separately.
    separate_files: bool,
}

/// The stage of an open order.
#[derive(Debug)]
enum Stage {
    /// The grid is not known. Holds what was decided before a restart.
    Unnumbered(Vec<FrameRun>),
    /// Nothing was decided or handed out.
    Waiting(NamedFrames),
    /// The writer knows the order.
    Serving(NamedFrames),
    /// The writer finishes the order's files.
    Closing(NamedFrames),
    /// The writer finishes the order's files, and the order goes on when the device is back.
    Suspending(NamedFrames),
}

impl OpenOrder {
    /// An order to be served from `ring` and from later frames. `ring_began`: why the frame before the oldest one of the ring is
    /// not there, if it was not too old.
    pub fn new<T>(order: Order, separate_files: bool, ring: &FrameRing<T>, ring_began: Option<&str>) -> Self {
        let unavailable_before = ring.range().map(|(oldest, newest)| {
            let too_old = || format!("older than the ring, which holds frames {oldest} to {newest}");
            (oldest, ring_began.map_or_else(too_old, str::to_owned))
        });
        let before_first = ring_began.map(str::to_owned);
        let this = Self::unnumbered(order, ring.start(), Vec::new());
        Self { unavailable_before, before_first, separate_files, ..this }
    }

    /// An order from before a restart. `on_disk`: the frames that were decided then.
    pub fn restored<T>(
        pending: PendingOrder,
        on_disk: Vec<FrameRun>,
        separate_files: bool,
        ring: &FrameRing<T>,
    ) -> Self {
        let PendingOrder { order, cancelled } = pending;
        let absent = Some(RESTARTED);
        Self { cancelled, absent, separate_files, ..Self::unnumbered(order, ring.end(), on_disk) }
    }

    /// A suspended order, to be resumed with the frames after those in `ring`.
    pub fn resumed<T>(self, ring: &FrameRing<T>) -> Self {
        let Self { order, account, cancelled, separate_files, .. } = self;
        let this = Self::unnumbered(order, ring.end(), account.into_runs());
        Self { cancelled, absent: Some(STOPPED), is_told: true, separate_files, ..this }
    }

    fn unnumbered(order: Order, next: u64, on_disk: Vec<FrameRun>) -> Self {
        Self {
            order,
            timescale: None,
            stage: Stage::Unnumbered(on_disk),
            account: OrderAccount::default(),
            writing: BTreeSet::new(),
            next,
            seen: None,
            known_gaps: KnownGaps::default(),
            frontier: 0,
            unavailable_before: None,
            before_first: None,
            decided_before: 0,
            tail: None,
            next_key: None,
            cancelled: false,
            absent: None,
            is_told: false,
            ended: None,
            separate_files: false,
        }
    }

    fn named(&self) -> Option<NamedFrames> {
        match self.stage {
            Stage::Unnumbered(_) => None,
            Stage::Waiting(named)
            | Stage::Serving(named)
            | Stage::Closing(named)
            | Stage::Suspending(named) => Some(named),
        }
    }

    pub const fn is_numbered(&self) -> bool {
        !matches!(self.stage, Stage::Unnumbered(_))
    }

    /// Whether it was [given up](Self::give_up) before a frame could be numbered, or without an end of its own.
    pub const fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether the writer finishes its files.
    pub const fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Closing(_) | Stage::Suspending(_))
    }

    pub const fn is_suspended(&self) -> bool {
        matches!(self.stage, Stage::Suspending(_))
    }

    /// Whether the writer has nothing to do for it.
    pub const fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Unnumbered(_) | Stage::Waiting(_))
    }

    /// Numbers frames on `grid` from now on.
    pub fn set_grid<T>(&mut self, grid: FrameGrid, actions: &mut Vec<OrderAction<T>>) {
        match &mut self.stage {
            Stage::Unnumbered(on_disk) => {
                let on_disk = std::mem::take(on_disk);
                self.number(grid, on_disk);
            }
            Stage::Waiting(named) if named.grid() != grid && self.account.is_empty() => {
                self.number(grid, Vec::new());
            }
            Stage::Waiting(named) | Stage::Serving(named) if named.grid() != grid => {
                let ((a, b), (c, d)) = (named.grid().rate(), grid.rate());
                self.give_up(&format!("the frame rate changed from {a}/{b} to {c}/{d}"), actions);
            }
            Stage::Waiting(_) | Stage::Serving(_) | Stage::Closing(_) | Stage::Suspending(_) => {}
        }
    }

    fn number(&mut self, grid: FrameGrid, on_disk: Vec<FrameRun>) {
        let mut named = self.order.named(grid);
        // The stop may have come when later frames were on disk already.
        let last = on_disk.iter().map(|run| run.last).max();
        self.decided_before = last.map_or(0, |last| last + 1);
        named = last.map_or(named, |last| named.until_after(last));
        let detailed = named.count().is_some_and(|count| count <= MAX_DETAILED);
        self.account = OrderAccount::new(detailed, self.separate_files);
        for run in on_disk {
            // A run that does not fit was numbered at another rate, before the camera was set up anew.
            if named.count_in(run.first..run.last + 1) == run.count {
                self.account.note(&named, run);
            }
        }
        self.frontier = named.first();
        self.next_key = Some(named.first());
        self.stage = Stage::Waiting(named);
    }

    /// Makes the order known to the writer, before any other action of it.
    fn begin<T>(&mut self, named: &NamedFrames, actions: &mut Vec<OrderAction<T>>) {
        if matches!(self.stage, Stage::Waiting(_)) {
            actions.push(OrderAction::Begin { order: self.order.clone(), named: *named });
            self.stage = Stage::Serving(*named);
            self.is_told = false;
        }
    }

    /// Has the writer finish, once everything is handed out or decided.
    fn close_if_done<T>(&mut self, named: &NamedFrames, actions: &mut Vec<OrderAction<T>>) {
        if named.end().is_some_and(|end| self.frontier >= end) {
            self.begin(named, actions);
            actions.push(OrderAction::Close { order: self.order.id().clone() });
            self.stage = Stage::Closing(*named);
        }
    }

    /// The device stops for a while. `ring_end`: the position after the newest frame. Returns whether the order is to be
    /// answered at once with its account so far.
    pub fn suspend<T>(&mut self, ring_end: u64, actions: &mut Vec<OrderAction<T>>) -> bool {
        if let (Stage::Waiting(named) | Stage::Serving(named), Some(seen)) = (&self.stage, self.seen) {
            let named = *named;
            // The encoder delivers no more frames: what has not arrived by now will not.
            self.settle(&named, seen + 1, None, actions);
            self.close_if_done(&named, actions);
        }
        match self.stage {
            Stage::Closing(_) | Stage::Suspending(_) => false,
            Stage::Unnumbered(_) | Stage::Waiting(_) => {
                // Frames in the ring are not handed out any more: the writer would not be told to finish their files.
                if self.next < ring_end {
                    (self.next, self.unavailable_before, self.absent) = (ring_end, None, Some(STOPPED));
                }
                !std::mem::replace(&mut self.is_told, true)
            }
            Stage::Serving(named) => {
                let so_far = self.so_far(named);
                actions.push(OrderAction::Suspend { order: self.order.id().clone(), named: so_far });
                self.stage = Stage::Suspending(named);
                false
            }
        }
    }

    /// Ends the order: frames that were not handed out are missed because of `why`. An order without an end ends with the
    /// frames that it has.
    pub fn give_up<T>(&mut self, why: &str, actions: &mut Vec<OrderAction<T>>) {
        let (Stage::Waiting(named) | Stage::Serving(named)) = self.stage else {
            if !self.is_numbered() {
                self.ended = Some(why.to_owned());
            }
            return;
        };
        let seen = self.seen.map_or(0, |seen| seen + 1);
        let named = match named.end() {
            Some(end) => {
                self.settle(&named, seen, None, actions);
                self.unavailable_before = None;
                self.settle(&named, end, Some(why), actions);
                named
            }
            None => {
                self.ended = (!self.cancelled).then(|| why.to_owned());
                let named = self.so_far(named);
                // Holes before the last frame have their own reasons.
                self.settle(&named, named.end().unwrap_or(self.frontier), None, actions);
                named
            }
        };
        self.frontier = named.end().unwrap_or(self.frontier);
        self.close_if_done(&named, actions);
    }

    /// Gives up on frames that are overdue by more than `latency` explains. Returns whether the order is over although no
    /// frame could be numbered.
    pub fn handle_timeout<T: Clone>(
        &mut self,
        now: Timestamp<Rig>,
        latency: Span,
        ring: &FrameRing<T>,
        actions: &mut Vec<OrderAction<T>>,
    ) -> bool {
        let (Stage::Waiting(named) | Stage::Serving(named)) = self.stage else {
            let settled = self.order.settled_at(Span::ZERO, latency);
            return !self.is_numbered() && (self.cancelled || settled.is_some_and(|settled| settled <= now));
        };
        let mut overdue = named.grid().nearest(now - latency - GRACE);
        if named.end().is_none_or(|end| overdue < end) {
            overdue = named.grid().nearest(now - latency - MAX_WAIT);
        }
        if let Some(waiting) = ring.at(self.next) {
            // It has arrived, and waits for the writer.
            let reorder = if ring.is_coded() { MAX_REORDER } else { 0 };
            overdue = overdue.min(waiting.number.saturating_sub(reorder));
        }
        let why = self.absent.filter(|_| self.unavailable_before.is_none()).unwrap_or(NO_FRAME);
        self.settle(&named, overdue, Some(why), actions);
        self.close_if_done(&named, actions);
        false
    }

    /// Ends the order at `at`. Returns how many later frames were handed out or decided already.
    pub fn stop(&mut self, at: Timestamp<Rig>) -> u64 {
        self.order.stop_at(at);
        let Some(before) = self.named() else { return 0 };
        let mut named = self.order.named(before.grid());
        let stop = named.end().unwrap_or(FrameNumber::MAX);
        named = self.last_touched().map_or(named, |last| named.until_after(last));
        match &mut self.stage {
            // The writer finishes already: the frames are fixed.
            Stage::Closing(known) => named = *known,
            Stage::Waiting(known) | Stage::Serving(known) | Stage::Suspending(known) => *known = named,
            Stage::Unnumbered(_) => {}
        }
        named.end().map_or(0, |end| named.count_in(stop.min(end)..end))
    }

    pub const fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// The frames in `range` that the writer has are done.
    pub fn handle_written(&mut self, range: RangeInclusive<FrameNumber>, outcome: FrameOutcome) {
        let Some(named) = self.named() else { return };
        let written: Vec<_> = self.writing.range(range).copied().collect();
        let mut runs: Vec<FrameRun> = Vec::new();
        for number in written {
            self.writing.remove(&number);
            match runs.last_mut() {
                Some(run) if named.count_in(run.last + 1..number) == 0 => {
                    run.last = number;
                    run.count += 1;
                }
                _ => runs.push(FrameRun::one(number, outcome.clone())),
            }
        }
        for (index, mut run) in runs.into_iter().enumerate() {
            // The sums are over all runs, and count once.
            if let (1.., FrameOutcome::Recorded(recorded)) = (index, &mut run.outcome) {
                recorded.bytes = 0;
                recorded.unlocked = 0;
                recorded.unsynced = 0;
            }
            self.account.note(&named, run);
        }
    }

    /// Files with so many (frames, bytes) were removed, and with them everything saved before number `before`.
    pub fn handle_removed(&mut self, before: FrameNumber, size: (u64, u64), why: &str) {
        if let Some(named) = self.named() {
            self.account.remove(&named, before, size, why);
        }
    }

    /// The writer has finished. Frames that it did not report are not on disk.
    pub fn handle_closed(&mut self) {
        let why = "the writer ended without it".into();
        self.handle_written(0..=FrameNumber::MAX, FrameOutcome::Failed { why });
    }

    /// The highest number that is decided or with the writer.
    fn last_touched(&self) -> Option<FrameNumber> {
        self.account.last().max(self.writing.last().copied())
    }

    /// The frames of `named` up to the last one that is decided or with the writer.
    fn so_far(&self, named: NamedFrames) -> NamedFrames {
        named.until(self.last_touched().map_or(named.first(), |last| last + 1))
    }
}
