//! The time scale of the device's clock: what ends, and what begins, when it becomes another one.
//!
//! Instants and frame numbers of two time scales are never compared. So the ring begins anew, and every open order ends with
//! the frames that it has. An order that names no time scale is of the one that the device knew when it got the order.

use super::open::{OpenOrder, missed_run};
use super::{OrderAction, OrderQueue};
use crate::message::TimeScale;
use crate::order::{Answer, JournalRecord, Order};
use crate::ring::FrameRing;

/// Why frames of orders that were open are missed when rig time begins anew.
const NEW_TIME: &str =
    "rig time began anew: the leader came back with another wall clock, or its source was stepped";

/// The time scale of the device's clock.
#[derive(Debug, Default)]
pub(super) struct OwnTimeScale {
    /// Now. `None`: the clock states none.
    pub(super) now: Option<TimeScale>,
    /// The last one that it stated.
    pub(super) last: Option<TimeScale>,
}

/// Why frames from before a position of the ring are not there, although they were taken.
#[derive(Debug, Default)]
pub(super) struct RingBeginning(Option<(u64, String)>);

impl RingBeginning {
    /// Why the frame before the oldest one in `ring` is not there. `None`: it was too old, or there was none.
    pub(super) fn why<T>(&self, ring: &FrameRing<T>) -> Option<&str> {
        let (position, why) = self.0.as_ref()?;
        (*position == ring.start()).then_some(why)
    }
}

impl<T: Clone> OrderQueue<T> {
    /// The device's clock is on `timescale` now. `None`: it states none, for instance because it is not synced yet.
    ///
    /// If that is another one than before, open orders end: their files are finished, and the frames that were not taken are
    /// missed. Frames of the earlier time scale leave the ring.
    pub fn set_timescale(&mut self, timescale: Option<TimeScale>) -> Vec<OrderAction<T>> {
        if self.timescale.now == timescale {
            return Vec::new();
        }
        self.timescale.now = timescale;
        self.now = None;
        let mut actions = Vec::new();
        if let Some(own) = timescale {
            let before = self.timescale.last.replace(own);
            if before != timescale {
                if let Some(before) = before {
                    let why = format!(
                        "another time scale: frames of then are of {before}, and this device is on {own} now"
                    );
                    self.begin_ring_anew(why);
                }
                self.open.iter_mut().for_each(|open| open.order.settle_timescale(before.or(timescale)));
                actions.push(OrderAction::Journal(JournalRecord::TimeScale { timescale: own }));
            }
        }
        for open in &mut self.open {
            open.handle_timescale(timescale, &mut actions);
        }
        actions.extend(self.answer_unnumbered());
        actions
    }

    /// Rig time begins anew: earlier numbers and later ones do not mix. Open orders end.
    pub fn handle_new_time(&mut self) -> Vec<OrderAction<T>> {
        self.begin_ring_anew(NEW_TIME.into());
        self.now = None;
        let mut actions = Vec::new();
        for open in &mut self.open {
            open.give_up(NEW_TIME, &mut actions);
        }
        actions.extend(self.answer_unnumbered());
        actions
    }

    fn begin_ring_anew(&mut self, why: String) {
        self.ring.clear();
        self.ring_beginning = RingBeginning(Some((self.ring.end(), why)));
    }

    /// Answers orders that have ended before a frame could be numbered.
    pub(super) fn answer_unnumbered(&mut self) -> Vec<OrderAction<T>> {
        let over: Vec<_> = self.open.extract_if(.., |open| !open.is_numbered() && open.has_ended()).collect();
        over.into_iter().flat_map(|open| self.answer(open)).collect()
    }

    /// Whether a frame whose time is of `timescale` is of the device's present one. A frame that was taken before the clock
    /// changed may arrive after that.
    pub(super) fn is_present(&self, timescale: Option<TimeScale>) -> bool {
        timescale.is_none_or(|timescale| self.timescale.last.is_none_or(|last| last == timescale))
    }

    /// The answer to an order of another time scale. It is not remembered: the order can be given again once the clock is on
    /// its time scale.
    pub(super) fn foreign_answer(&self, order: &Order, why: String) -> Answer {
        let missed = self.grid.and_then(|grid| {
            let named = order.named(grid);
            missed_run(&named, named.first()..named.end()?, why.clone())
        });
        Answer {
            order: order.id().clone(),
            device: self.device.clone(),
            unnumbered: missed.is_none().then_some(why),
            frames: missed.into_iter().collect(),
            unfinished: None,
            basis: self.basis(),
        }
    }
}

impl OpenOrder {
    /// The device's clock is on `timescale` now.
    pub(super) fn handle_timescale<T>(
        &mut self,
        timescale: Option<TimeScale>,
        actions: &mut Vec<OrderAction<T>>,
    ) {
        // The frames of an order whose files are being finished are decided.
        if self.is_ending() {
            return;
        }
        // A clock that is gone for a while, or for good, changes nothing for frames that were taken before.
        if self.is_idle() || timescale.is_some() {
            self.timescale = timescale;
        }
        if let Some(why) = self.order.foreign_to(timescale) {
            self.give_up(&why, actions);
        }
    }
}
