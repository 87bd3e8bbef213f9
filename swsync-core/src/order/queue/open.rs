//! One open order at a desk: what of it was handed to the writer, what is decided, what is still to come.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use super::account::OrderAccount;
use super::decode_path::{self, FileTail};
use super::{Backlog, FramePurpose, OrderAction};
use crate::gap::KnownGaps;
use crate::grid::{FrameGrid, FrameNumber};
use crate::name::DeviceId;
use crate::order::{
    Answer, FrameOutcome, FrameRun, GRACE, MAX_DETAILED, NamedFrames, Order, OrderProgress, PendingOrder,
    TimeBasis,
};
use crate::ring::{Coding, FrameRing, RingFrame};
use crate::time::{Rig, Span, Timestamp};

/// Encoded frames may arrive in another order than they were taken, by at most so many: H.264 and H.265 decoders
/// hold 16 pictures.
pub(super) const MAX_REORDER: u64 = 16;

/// How long ahead of its frame a key frame is asked for: longer than frames are on their way to the encoder.
const KEY_LEAD: Span = Span::from_secs(1);

const TOO_SLOW: &str = "the disk could not keep up: the frame left the ring before it could be written";
const NO_FRAME: &str = "no frame has arrived since, of that instant or a later one";
const RESTARTED: &str = "lost in the restart of the device";
const STOPPED: &str = "the device was stopped";
const BEFORE_RESTART: &str = "not saved before the device was restarted, and it is no longer known why";
const CANCELLED: &str = "cancelled";

/// How long nothing is said of frames that did not come while the order goes on: the next frame tells why.
const SILENCE: Span = Span::from_secs(30);

/// An order whose frames are not all accounted for.
#[derive(Debug)]
pub(super) struct OpenOrder {
    pub order: Order,
    stage: Stage,
    account: OrderAccount,
    /// Frames that the writer has.
    writing: BTreeSet<FrameNumber>,
    /// Place in the ring of the next entry to look at.
    next: u64,
    /// Highest number looked at.
    seen: Option<FrameNumber>,
    /// What frames that were looked at say of others.
    known: KnownGaps,
    /// NamedFrames frames below are decided or with the writer.
    frontier: FrameNumber,
    /// Frames below this number were never to be had, and why.
    before: Option<(FrameNumber, String)>,
    /// One past the last frame that was decided before a restart.
    decided_before: FrameNumber,
    piece: Option<FileTail>,
    /// The next frame that has to be a key frame.
    next_key: Option<FrameNumber>,
    cancelled: bool,
    /// Where it was open before: why frames are missing that came since.
    absent: Option<&'static str>,
    /// Since when nothing more than is told came of it: the device was stopped.
    told: bool,
    /// Why it ended without its end.
    ended: Option<String>,
    /// Whether frames of different files are accounted for apart.
    apart: bool,
}

/// How far an order is.
#[derive(Debug)]
enum Stage {
    /// The grid is not known. What was decided before a restart.
    Unnumbered(Vec<FrameRun>),
    /// Nothing was decided or handed out.
    Waiting(NamedFrames),
    /// The writer knows of it.
    Serving(NamedFrames),
    /// The writer finishes its files.
    Closing(NamedFrames),
    /// The writer finishes its files, and the order goes on when the device is back.
    Suspending(NamedFrames),
}

impl OpenOrder {
    /// `order`, to be served from `ring` and from what comes after.
    pub fn new<T>(order: Order, apart: bool, ring: &FrameRing<T>) -> Self {
        let before = ring.range().map(|(oldest, newest)| {
            (oldest, format!("older than the ring, which holds frames {oldest} to {newest}"))
        });
        Self { apart, ..Self::with(order, ring.base(), before, Vec::new()) }
    }

    /// `pending`, of which `on_disk` was decided before the device was restarted.
    pub fn restored<T>(
        pending: PendingOrder,
        on_disk: Vec<FrameRun>,
        apart: bool,
        ring: &FrameRing<T>,
    ) -> Self {
        let PendingOrder { order, cancelled } = pending;
        Self { cancelled, absent: Some(RESTARTED), apart, ..Self::with(order, ring.end(), None, on_disk) }
    }

    /// A suspended order, to be taken up again with what comes after what is in `ring`.
    pub fn resumed<T>(self, ring: &FrameRing<T>) -> Self {
        let Self { order, account, cancelled, apart, .. } = self;
        let this = Self::with(order, ring.end(), None, account.into_runs());
        Self { cancelled, absent: Some(STOPPED), told: true, apart, ..this }
    }

    fn with(order: Order, next: u64, before: Option<(FrameNumber, String)>, on_disk: Vec<FrameRun>) -> Self {
        Self {
            order,
            stage: Stage::Unnumbered(on_disk),
            account: OrderAccount::default(),
            writing: BTreeSet::new(),
            next,
            seen: None,
            known: KnownGaps::default(),
            frontier: 0,
            before,
            decided_before: 0,
            piece: None,
            next_key: None,
            cancelled: false,
            absent: None,
            told: false,
            ended: None,
            apart: false,
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

    /// Frames are numbered on `grid` from now on.
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
        // A stop may have come when later frames were on disk already.
        let last = on_disk.iter().map(|run| run.last).max();
        self.decided_before = last.map_or(0, |last| last + 1);
        named = last.map_or(named, |last| named.until_after(last));
        self.account =
            OrderAccount::new(named.count().is_some_and(|count| count <= MAX_DETAILED), self.apart);
        for run in on_disk {
            // Of another rate, where the camera was set up anew: not this order's.
            if named.count_in(run.first..run.last + 1) == run.count {
                self.account.note(&named, run);
            }
        }
        self.frontier = named.first();
        self.next_key = Some(named.first());
        self.stage = Stage::Waiting(named);
    }

    /// Hands out what is in `ring` and was not looked at, as far as `backlog` has room, and decides what cannot
    /// come any more.
    pub fn advance<T: Clone>(
        &mut self,
        ring: &FrameRing<T>,
        backlog: &mut Backlog,
        actions: &mut Vec<OrderAction<T>>,
    ) {
        let (Stage::Waiting(named) | Stage::Serving(named)) = self.stage else { return };
        if self.cancelled {
            self.give_up(CANCELLED, actions);
            return;
        }
        self.next = self.next.max(ring.base());
        while let Some(entry) = ring.at(self.next) {
            let wanted = named.contains(entry.number) && !self.is_accounted(entry.number);
            if wanted && !backlog.has_room(entry.bytes) {
                break;
            }
            if self.before.is_none() {
                let why = self.absent.unwrap_or("before the device's first frame");
                self.before = Some((entry.number, why.into()));
            }
            self.known.note(entry.number, entry.gap, entry.coding == Coding::Undecodable);
            if wanted {
                self.begin(&named, actions);
                self.hand_out(&named, ring, entry, backlog, actions);
            }
            self.seen = self.seen.max(Some(entry.number));
            self.next += 1;
        }
        if let Some(seen) = self.seen {
            let reorder = if ring.is_coded() { MAX_REORDER } else { 0 };
            self.settle(&named, (seen + 1).saturating_sub(reorder), None, actions);
        }
        if let Some(end) = named.end().filter(|end| *end <= self.frontier + MAX_REORDER)
            && let gaps = self.account.gaps(self.frontier.min(end)..end, &self.writing)
            && gaps.into_iter().all(|gap| named.count_in(gap) == 0)
        {
            self.frontier = self.frontier.max(end); // nothing is left that could still arrive
        }
        self.close_if_done(&named, actions);
    }

    fn is_accounted(&self, number: FrameNumber) -> bool {
        self.writing.contains(&number) || self.account.contains(number)
    }

    /// Has the writer know of the order, before anything else does.
    fn begin<T>(&mut self, named: &NamedFrames, actions: &mut Vec<OrderAction<T>>) {
        if matches!(self.stage, Stage::Waiting(_)) {
            actions.push(OrderAction::Begin { order: self.order.clone(), named: *named });
            self.stage = Stage::Serving(*named);
            self.told = false;
        }
    }

    /// Hands out the entry at `self.next`, with what it takes to decode it.
    fn hand_out<T: Clone>(
        &mut self,
        named: &NamedFrames,
        ring: &FrameRing<T>,
        entry: &RingFrame<T>,
        backlog: &mut Backlog,
        actions: &mut Vec<OrderAction<T>>,
    ) {
        let place = self.next;
        let segment = named.segment_of(entry.number);
        let way =
            match decode_path::way(self.piece, ring, place, segment, self.awaits_before(named, entry.number))
            {
                Ok(way) => way,
                Err(why) => {
                    let run = FrameRun::one(entry.number, FrameOutcome::Missed { why: why.into() });
                    if !entry.coding.is_leading() && !decode_path::is_broken(self.piece, segment) {
                        let number = entry.number + 1;
                        actions.push(OrderAction::RequestKey { number, at: named.grid().instant(number) });
                    }
                    self.decide(named, run, actions);
                    self.piece = decode_path::without(self.piece, entry.coding, segment, place);
                    return;
                }
            };
        let mut save = |purpose, entry: &RingFrame<T>| {
            actions.push(OrderAction::Save {
                order: self.order.id().clone(),
                ticket: backlog.issue(entry.bytes),
                number: entry.number,
                segment,
                purpose,
                payload: entry.payload.clone(),
            });
        };
        for support in way.supports(ring, place).filter_map(|place| ring.at(place)) {
            save(FramePurpose::LeadIn, support);
        }
        save(FramePurpose::Named, entry);
        self.writing.insert(entry.number);
        self.piece = Some(FileTail::with(segment, way, place));
    }

    /// Whether frames of the same file as `number`, and from before it, may come yet.
    fn awaits_before(&self, named: &NamedFrames, number: FrameNumber) -> bool {
        let from = number.saturating_sub(MAX_REORDER).max(named.first());
        let of_file = |gap: Range<FrameNumber>| {
            named
                .last_before(gap.end)
                .filter(|last| *last >= gap.start && named.segment_of(*last) == named.segment_of(number))
        };
        from < number
            && self.account.gaps(from..number, &self.writing).into_iter().any(|gap| of_file(gap).is_some())
    }

    /// The entry at `place` has left the ring.
    pub fn handle_dropped<T, U>(
        &mut self,
        place: u64,
        entry: &RingFrame<U>,
        actions: &mut Vec<OrderAction<T>>,
    ) {
        if place < self.next {
            return;
        }
        self.next = place + 1;
        if let Some(piece) = &mut self.piece {
            piece.break_off();
        }
        let (Stage::Waiting(named) | Stage::Serving(named)) = self.stage else { return };
        if named.contains(entry.number) && !self.is_accounted(entry.number) {
            self.begin(&named, actions);
            self.decide(
                &named,
                FrameRun::one(entry.number, FrameOutcome::Failed { why: TOO_SLOW.into() }),
                actions,
            );
        }
        self.seen = self.seen.max(Some(entry.number));
        self.known.note(entry.number, entry.gap, entry.coding == Coding::Undecodable);
    }

    /// Asks for the key frames that the order needs, once they are near.
    pub fn request_keys<T>(&mut self, newest: FrameNumber, actions: &mut Vec<OrderAction<T>>) {
        let (Stage::Waiting(named) | Stage::Serving(named)) = self.stage else { return };
        let grid = named.grid();
        let ahead = grid.nearest(grid.instant(newest) + KEY_LEAD);
        while let Some(number) = self.next_key.filter(|number| *number <= ahead) {
            if !named.contains(number) {
                self.next_key = None; // the order was stopped before
            } else if number > newest {
                actions.push(OrderAction::RequestKey { number, at: grid.instant(number) });
                self.next_key = named.next_cut(number);
            } else {
                // Past already. What lies between is of no use either.
                self.next_key = named.next_cut(newest.max(number));
            }
        }
    }

    /// Everything named below `number` that has not come will not, because of `why`; `None`: of what later frames say.
    fn settle<T>(
        &mut self,
        named: &NamedFrames,
        number: FrameNumber,
        why: Option<&str>,
        actions: &mut Vec<OrderAction<T>>,
    ) {
        let number = named.end().map_or(number, |end| number.min(end));
        if number <= self.frontier {
            return;
        }
        let range = self.frontier..number;
        self.frontier = number;
        for gap in self.account.gaps(range, &self.writing) {
            for (part, why) in self.reasons(gap, why) {
                let count = named.count_in(part.clone());
                if let (Some(first), Some(last), 1..) =
                    (named.next_from(part.start), named.last_before(part.end), count)
                {
                    self.begin(named, actions);
                    self.decide(
                        named,
                        FrameRun { first, last, count, outcome: FrameOutcome::Missed { why } },
                        actions,
                    );
                }
            }
        }
        self.known.forget_before(number);
    }

    /// Why the frames of `gap` are missing, part by part.
    fn reasons(&self, gap: Range<FrameNumber>, why: Option<&str>) -> Vec<(Range<FrameNumber>, String)> {
        // What was decided last before a restart tells when that was.
        let restart = self.decided_before.clamp(gap.start, gap.end);
        let mut parts = vec![(gap.start..restart, BEFORE_RESTART.to_owned())];
        let bound = self.before.as_ref().map_or(0, |(bound, _)| *bound).clamp(restart, gap.end);
        parts.extend(self.before.as_ref().map(|(_, never)| (restart..bound, never.clone())));
        match why {
            Some(why) => parts.push((bound..gap.end, why.to_owned())),
            None => {
                let known = self.known.why(bound..gap.end);
                parts.extend(known.into_iter().map(|(part, why)| (part, why.to_owned())));
            }
        }
        parts.retain(|(part, _)| !part.is_empty());
        parts
    }

    /// Notes that frames will not come, and tells the writer.
    fn decide<T>(&mut self, named: &NamedFrames, run: FrameRun, actions: &mut Vec<OrderAction<T>>) {
        self.account.note(named, run.clone());
        actions.push(OrderAction::Hole { order: self.order.id().clone(), run });
    }

    /// Has the writer finish, once everything is handed out or decided.
    fn close_if_done<T>(&mut self, named: &NamedFrames, actions: &mut Vec<OrderAction<T>>) {
        if named.end().is_some_and(|end| self.frontier >= end) {
            self.begin(named, actions);
            actions.push(OrderAction::Close { order: self.order.id().clone() });
            self.stage = Stage::Closing(*named);
        }
    }

    /// Those of `named` that are decided or handed out, and what is before them.
    fn so_far(&self, named: NamedFrames) -> NamedFrames {
        let last = [self.account.last(), self.writing.last().copied()].into_iter().flatten().max();
        named.until(last.map_or(named.first(), |last| last + 1))
    }

    /// The device stops for a while; `ring_end` is the place after the newest frame. Whether the order is to be answered at
    /// once, with what became of it so far.
    pub fn suspend<T>(&mut self, ring_end: u64, actions: &mut Vec<OrderAction<T>>) -> bool {
        if let (Stage::Waiting(named) | Stage::Serving(named), Some(seen)) = (&self.stage, self.seen) {
            let named = *named;
            // No more of an encoder's frames come: what has not come by now will not.
            self.settle(&named, seen + 1, None, actions);
            self.close_if_done(&named, actions);
        }
        match self.stage {
            Stage::Closing(_) | Stage::Suspending(_) => false,
            Stage::Unnumbered(_) | Stage::Waiting(_) => {
                // Nothing is handed out any more when the writer has room again: it would not be told to finish it.
                if self.next < ring_end {
                    (self.next, self.before, self.absent) = (ring_end, None, Some(STOPPED));
                }
                !std::mem::replace(&mut self.told, true)
            }
            Stage::Serving(named) => {
                let so_far = self.so_far(named);
                actions.push(OrderAction::Suspend { order: self.order.id().clone(), named: so_far });
                self.stage = Stage::Suspending(named);
                false
            }
        }
    }

    /// Ends the order: what has not been handed out is missed. One without an end ends with what it has.
    pub fn give_up<T>(&mut self, why: &str, actions: &mut Vec<OrderAction<T>>) {
        let (Stage::Waiting(named) | Stage::Serving(named)) = self.stage else { return };
        let seen = self.seen.map_or(0, |seen| seen + 1);
        let named = match named.end() {
            Some(end) => {
                self.settle(&named, seen, None, actions);
                self.before = None;
                self.settle(&named, end, Some(why), actions);
                named
            }
            None => {
                self.ended = (!self.cancelled).then(|| why.to_owned());
                let named = self.so_far(named);
                // A hole before the last of them is one for its own reason.
                self.settle(&named, named.end().unwrap_or(self.frontier), None, actions);
                named
            }
        };
        self.frontier = named.end().unwrap_or(self.frontier);
        self.close_if_done(&named, actions);
    }

    /// Frames whose time has passed for longer than their `latency` explains will not come. Whether the order is to be answered though no frame
    /// could be numbered.
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
            overdue = named.grid().nearest(now - latency - SILENCE);
        }
        if let Some(waiting) = ring.at(self.next) {
            // It has come, and waits for the writer.
            let reorder = if ring.is_coded() { MAX_REORDER } else { 0 };
            overdue = overdue.min(waiting.number.saturating_sub(reorder));
        }
        let why = self.absent.filter(|_| self.before.is_none()).unwrap_or(NO_FRAME);
        self.settle(&named, overdue, Some(why), actions);
        self.close_if_done(&named, actions);
        false
    }

    /// Has the order end at `at`. How many frames after that were handed out or decided already.
    pub fn stop(&mut self, at: Timestamp<Rig>) -> u64 {
        self.order.stop_at(at);
        let Some(before) = self.named() else { return 0 };
        let mut named = self.order.named(before.grid());
        let last = [self.account.last(), self.writing.last().copied()].into_iter().flatten().max();
        let wished = named.end().unwrap_or(FrameNumber::MAX);
        named = last.map_or(named, |last| named.until_after(last));
        match &mut self.stage {
            // What the writer finishes is decided.
            Stage::Closing(known) => named = *known,
            Stage::Waiting(known) | Stage::Serving(known) | Stage::Suspending(known) => *known = named,
            Stage::Unnumbered(_) => {}
        }
        named.end().map_or(0, |end| named.count_in(wished.min(end)..end))
    }

    pub const fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// Frames in `range` that the writer has are as `outcome` says.
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
            // What is said of all of them is counted once.
            if let (1.., FrameOutcome::RecordedFrames(recorded)) = (index, &mut run.outcome) {
                recorded.bytes = 0;
                recorded.unlocked = 0;
            }
            self.account.note(&named, run);
        }
    }

    /// Files with so many frames and bytes are gone again, and with them all that was saved before `before`.
    pub fn handle_removed(&mut self, before: FrameNumber, size: (u64, u64), why: &str) {
        if let Some(named) = self.named() {
            self.account.remove(&named, before, size, why);
        }
    }

    /// The writer has finished. What it did not account for it does not have.
    pub fn handle_closed(&mut self) {
        let why = "the writer ended without it".into();
        self.handle_written(0..=FrameNumber::MAX, FrameOutcome::Failed { why });
    }

    /// Nothing more comes of it.
    pub fn over(self) -> Self {
        Self { told: false, ..self }
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

    /// What became of it, so far where the device was stopped.
    pub fn answer(&self, device: &DeviceId, basis: TimeBasis) -> Answer {
        let rate = self.named().map(|named| named.grid()).or(basis.rate);
        let (unnumbered, frames) = match &self.stage {
            Stage::Unnumbered(on_disk) => {
                let why = if self.cancelled { CANCELLED } else { "the device has not seen a frame yet" };
                (Some(why.into()), on_disk.clone())
            }
            Stage::Closing(_) => (None, self.account.runs()),
            Stage::Waiting(named) | Stage::Serving(named) | Stage::Suspending(named) => {
                (None, self.runs_so_far(named))
            }
        };
        let stopped = self.told || self.is_suspended();
        let unfinished = match &self.ended {
            None => stopped.then(|| {
                "the device was stopped before the order ended, which goes on when it is back".into()
            }),
            Some(why) => Some(format!("it ended before the order did: {why}")),
        };
        let order = self.order.id().clone();
        let basis = TimeBasis { rate, ..basis };
        Answer { order, device: device.clone(), frames, unnumbered, unfinished, basis }
    }

    /// The account so far; of an order that ends, what is still to come is missing.
    fn runs_so_far(&self, named: &NamedFrames) -> Vec<FrameRun> {
        let mut runs = self.account.runs();
        let end = named.end().unwrap_or(named.first());
        for gap in self.account.gaps(named.first()..end, &self.writing) {
            if let (Some(first), Some(last), count @ 1..) =
                (named.next_from(gap.start), named.last_before(gap.end), named.count_in(gap))
            {
                runs.push(FrameRun {
                    first,
                    last,
                    count,
                    outcome: FrameOutcome::Missed { why: STOPPED.into() },
                });
            }
        }
        runs.sort_by_key(|run| run.first);
        runs
    }

    pub fn progress(&self) -> OrderProgress {
        OrderProgress {
            order: self.order.id().clone(),
            at_ns: self.order.at(),
            stop_ns: self.order.stop(),
            named: self.named().and_then(|named| named.count()),
            saved: self.account.saved() + self.writing.len() as u64,
            lost: self.account.lost(),
            bytes: self.account.bytes(),
            why: self.account.why().cloned(),
        }
    }
}
