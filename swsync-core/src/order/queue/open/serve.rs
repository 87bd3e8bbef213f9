//! Handing out the frames of an order to the writer, and asking for the key frames that it needs.

use std::ops::Range;

use super::{CANCELLED, MAX_REORDER, OpenOrder, Stage};
use crate::coded::Coding;
use crate::grid::FrameNumber;
use crate::order::queue::action::{FramePurpose, OrderAction};
use crate::order::queue::backlog::Backlog;
use crate::order::queue::decode_path::{DecodePath, FileTail};
use crate::order::{FrameOutcome, FrameRun, NamedFrames};
use crate::ring::{FrameRing, RingFrame};
use crate::time::Span;

/// How long before its frame a key frame is requested: longer than frames take to the encoder.
const KEY_LEAD: Span = Span::from_secs(1);

const TOO_SLOW: &str = "the disk could not keep up: the frame left the ring before it could be written";

impl OpenOrder {
    /// Hands out new frames of `ring` as far as `backlog` has room, and decides frames that cannot arrive any more.
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
        self.next = self.next.max(ring.start());
        while let Some(frame) = ring.at(self.next) {
            let is_wanted = named.contains(frame.number) && !self.is_accounted(frame.number);
            if is_wanted && !backlog.has_room(frame.bytes) {
                break;
            }
            if self.unavailable_before.is_none() {
                let before_first = self.before_first.take();
                let why = || self.absent.unwrap_or("before the device's first frame").to_owned();
                self.unavailable_before = Some((frame.number, before_first.unwrap_or_else(why)));
            }
            self.known_gaps.note(frame.number, frame.gap, frame.coding == Coding::Undecodable);
            if is_wanted {
                self.begin(&named, actions);
                self.hand_out(&named, ring, frame, backlog, actions);
            }
            self.seen = self.seen.max(Some(frame.number));
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
            self.frontier = self.frontier.max(end); // no frame is left that could still arrive
        }
        self.close_if_done(&named, actions);
    }

    fn is_accounted(&self, number: FrameNumber) -> bool {
        self.writing.contains(&number) || self.account.contains(number)
    }

    /// Hands out the frame at `self.next`, after the frames that it depends on.
    fn hand_out<T: Clone>(
        &mut self,
        named: &NamedFrames,
        ring: &FrameRing<T>,
        frame: &RingFrame<T>,
        backlog: &mut Backlog,
        actions: &mut Vec<OrderAction<T>>,
    ) {
        let position = self.next;
        let segment = named.segment_of(frame.number);
        let more = self.awaits_before(named, frame.number);
        let path = match DecodePath::find(self.tail, ring, position, segment, more) {
            Ok(path) => path,
            Err(why) => {
                let is_broken = self.tail.is_some_and(|tail| tail.is_broken_in(segment));
                if !frame.coding.is_leading() && !is_broken {
                    let number = frame.number + 1;
                    actions.push(OrderAction::RequestKey { number, at: named.grid().instant(number) });
                }
                let outcome = FrameOutcome::Missed { why: why.into() };
                self.decide(named, FrameRun::one(frame.number, outcome), actions);
                self.tail = FileTail::after_failure(self.tail, frame.coding, segment, position);
                return;
            }
        };
        let mut save = |purpose, frame: &RingFrame<T>| {
            actions.push(OrderAction::Save {
                order: self.order.id().clone(),
                ticket: backlog.issue(frame.bytes),
                number: frame.number,
                segment,
                purpose,
                payload: frame.payload.clone(),
            });
        };
        for before in path.lead_in(ring, position).filter_map(|position| ring.at(position)) {
            save(FramePurpose::LeadIn, before);
        }
        save(FramePurpose::Named, frame);
        self.writing.insert(frame.number);
        self.tail = Some(FileTail::after(segment, path, position));
    }

    /// Whether earlier frames of the same file as `number` may still arrive.
    fn awaits_before(&self, named: &NamedFrames, number: FrameNumber) -> bool {
        let from = number.saturating_sub(MAX_REORDER).max(named.first());
        let is_of_file = |gap: Range<FrameNumber>| {
            let last = named.last_before(gap.end).filter(|last| *last >= gap.start);
            last.is_some_and(|last| named.segment_of(last) == named.segment_of(number))
        };
        from < number && self.account.gaps(from..number, &self.writing).into_iter().any(is_of_file)
    }

    /// The frame at `position` has left the ring.
    pub fn handle_dropped<T, U>(
        &mut self,
        position: u64,
        frame: &RingFrame<U>,
        actions: &mut Vec<OrderAction<T>>,
    ) {
        if position < self.next {
            return;
        }
        self.next = position + 1;
        if let Some(tail) = &mut self.tail {
            tail.break_off();
        }
        let (Stage::Waiting(named) | Stage::Serving(named)) = self.stage else { return };
        if named.contains(frame.number) && !self.is_accounted(frame.number) {
            self.begin(&named, actions);
            let outcome = FrameOutcome::Failed { why: TOO_SLOW.into() };
            self.decide(&named, FrameRun::one(frame.number, outcome), actions);
        }
        self.seen = self.seen.max(Some(frame.number));
        self.known_gaps.note(frame.number, frame.gap, frame.coding == Coding::Undecodable);
    }

    /// Requests the key frames at the start of the order's files, once they are near.
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
                // It has passed, and so have all cuts up to the newest frame.
                self.next_key = named.next_cut(newest.max(number));
            }
        }
    }
}
