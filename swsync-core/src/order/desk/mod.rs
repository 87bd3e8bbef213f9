//! The desk at which a device serves orders: which frames to save, and what to answer.

use std::collections::VecDeque;

use super::{Answer, Fate, FrameRun, Order};
use crate::grid::{FrameGrid, FrameNumber};
use crate::name::{DeviceId, OrderId};
use crate::ring::{Entry, Limits, Ring};
use crate::time::{Rig, Span, Timestamp};

/// Answers kept for orders that arrive again.
const REMEMBERED: usize = 256;

/// Frames may come out of an encoder in another order than they went in, by at most so many.
const MAX_REORDER: u64 = 4;

/// What the desk wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action<T> {
    /// Write this frame, then call [`Desk::handle_written`].
    Save {
        /// The order that names it.
        order: OrderId,
        /// Its number.
        number: FrameNumber,
        /// The frame.
        payload: T,
    },
    /// Tell whoever ordered.
    Answer(Answer),
}

/// A frame of an open order.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "each frame of an order is accounted for in the end")]
enum Slot {
    /// Not captured yet.
    Awaited,
    /// With the writer.
    Writing,
    /// Accounted for.
    Done(Fate),
}

/// An order whose frames are not all accounted for.
#[derive(Debug)]
struct OpenOrder {
    order: Order,
    /// Its frames; empty as long as the grid is unknown.
    named: Option<Vec<(FrameNumber, Slot)>>,
}

impl OpenOrder {
    fn answer(self, device: &DeviceId) -> Answer {
        let unnumbered = self.named.is_none().then(|| "the device has not seen a frame yet".into());
        let frames = self.named.into_iter().flatten().map(|(number, slot)| {
            let fate = match slot {
                Slot::Done(fate) => fate,
                Slot::Awaited | Slot::Writing => Fate::Failed { why: "the device was stopped first".into() },
            };
            FrameRun::one(number, fate)
        });
        let frames = frames.collect();
        Answer { order: self.order.id, device: device.clone(), frames, unnumbered }
    }

    fn is_done(&self) -> bool {
        self.named.as_ref().is_some_and(|slots| slots.iter().all(|(_, slot)| matches!(slot, Slot::Done(_))))
    }
}

/// Serves orders from a ring of recent frames and from frames yet to come.
///
/// Every order gets exactly one [`Action::Answer`] that accounts for every frame it named.
#[derive(Debug)]
pub struct Desk<T> {
    device: DeviceId,
    grid: Option<FrameGrid>,
    ring: Ring<T>,
    open: Vec<OpenOrder>,
    answered: VecDeque<Answer>,
    saved: u64,
    missed: u64,
}

impl<T: Clone> Desk<T> {
    /// A desk with an empty ring.
    #[must_use]
    pub const fn new(device: DeviceId, limits: Limits) -> Self {
        Self {
            device,
            grid: None,
            ring: Ring::new(limits),
            open: Vec::new(),
            answered: VecDeque::new(),
            saved: 0,
            missed: 0,
        }
    }

    /// The grid that frames are numbered on from now on. The ring is emptied if it differs from the
    /// one before: numbers of two grids do not mix.
    pub fn set_grid(&mut self, grid: FrameGrid) {
        if self.grid.replace(grid).is_some_and(|before| before != grid) {
            self.ring.clear();
        }
    }

    /// An order has arrived.
    pub fn handle_order(&mut self, order: Order) -> Vec<Action<T>> {
        if let Some(answer) = self.answered.iter().find(|answer| answer.order == order.id) {
            return vec![Action::Answer(answer.clone())];
        }
        if self.open.iter().any(|open| open.order.id == order.id) {
            return Vec::new();
        }
        self.open.push(OpenOrder { order, named: None });
        self.serve()
    }

    /// A frame has arrived.
    pub fn handle_frame(&mut self, entry: Entry<T>) -> Vec<Action<T>> {
        self.ring.push(entry);
        self.serve()
    }

    /// The writer is done with a frame; `result` says what it wrote or why it could not.
    pub fn handle_written(&mut self, order: &OrderId, number: FrameNumber, fate: Fate) -> Vec<Action<T>> {
        for open in self.open.iter_mut().filter(|open| open.order.id == *order) {
            for (_, slot) in open.named.iter_mut().flatten().filter(|(named, _)| *named == number) {
                *slot = Slot::Done(fate.clone());
            }
        }
        self.serve()
    }

    /// Gives up on frames whose time has long passed. Call now and then.
    pub fn handle_timeout(&mut self, now: Timestamp<Rig>) -> Vec<Action<T>> {
        let period = self.grid.map_or(Span::ZERO, FrameGrid::period);
        let mut actions = Vec::new();
        for index in (0..self.open.len()).rev() {
            let open = &mut self.open[index];
            if open.order.settled_at(period).is_none_or(|settled| settled > now) {
                continue;
            }
            match &mut open.named {
                Some(slots) => {
                    for (_, slot) in slots.iter_mut().filter(|(_, slot)| matches!(slot, Slot::Awaited)) {
                        *slot = Slot::Done(Fate::Missed { why: "no frame arrived for that instant".into() });
                    }
                }
                None => {
                    let open = self.open.remove(index);
                    actions.push(self.close(open));
                }
            }
        }
        actions.extend(self.serve());
        actions
    }

    /// The device stops: every open order is answered with what became of it so far.
    pub fn handle_stop(&mut self) -> Vec<Action<T>> {
        let open = std::mem::take(&mut self.open);
        open.into_iter().map(|order| self.close(order)).collect()
    }

    /// Names frames, hands those that are there to the writer, and answers what is complete.
    fn serve(&mut self) -> Vec<Action<T>> {
        let mut actions = Vec::new();
        for open in &mut self.open {
            if open.named.is_none() && !self.ring.is_empty() {
                let named = self.grid.map(|grid| open.order.named(grid));
                open.named = named
                    .and_then(|named| named.iter())
                    .map(|numbers| numbers.map(|number| (number, Slot::Awaited)).collect());
            }
            let (Some(slots), Some((oldest, newest))) = (&mut open.named, self.ring.range()) else {
                continue;
            };
            for (number, slot) in slots.iter_mut() {
                let number = *number;
                if !matches!(slot, Slot::Awaited) {
                    continue;
                }
                if let Some(entry) = self.ring.get(number) {
                    *slot = Slot::Writing;
                    actions.push(Action::Save {
                        order: open.order.id.clone(),
                        number,
                        payload: entry.payload.clone(),
                    });
                } else if number < oldest {
                    let why = format!("older than the ring, which holds frames {oldest} to {newest}");
                    *slot = Slot::Done(Fate::Missed { why });
                } else if number + MAX_REORDER < newest {
                    *slot = Slot::Done(Fate::Missed { why: "the camera dropped this frame".into() });
                }
            }
        }
        let done: Vec<_> = self.open.extract_if(.., |open| open.is_done()).collect();
        actions.extend(done.into_iter().map(|open| self.close(open)));
        actions
    }

    fn close(&mut self, open: OpenOrder) -> Action<T> {
        let answer = open.answer(&self.device);
        for frame in &answer.frames {
            self.saved += frame.saved();
            self.missed += frame.count - frame.saved();
        }
        self.answered.push_back(answer.clone());
        if self.answered.len() > REMEMBERED {
            self.answered.pop_front();
        }
        Action::Answer(answer)
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

    /// Orders not yet answered.
    #[must_use]
    pub const fn open_orders(&self) -> usize {
        self.open.len()
    }

    /// Frames saved, and frames missed or failed, in all orders answered so far.
    #[must_use]
    pub const fn totals(&self) -> (u64, u64) {
        (self.saved, self.missed)
    }
}

#[cfg(test)]
mod tests;
