//! The exchanges of the window as means and samples: what the lowest bounds do not show.

use std::collections::VecDeque;

use super::window::Bound;

/// Most slots. At high rates a slot holds more exchanges, so that cost and memory are bounded.
pub(super) const CAPACITY: usize = 512;
/// Length of the window, in s.
const LENGTH: f64 = 60.0;

/// Some successive exchanges: their mean offset, and the bounds of the first of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// Mean time, in s since the window's origin.
    pub t: f64,
    /// Mean of the middles between the two bounds, in ns from the reference.
    pub middle: f64,
    /// Exchanges in it.
    pub count: f64,
    /// One of its exchanges: a sample of the delays.
    pub sample: [Bound; 2],
}

/// The slots of the last minute.
#[derive(Debug)]
pub(super) struct Samples {
    slots: VecDeque<Slot>,
    /// Exchanges in a full slot.
    per_slot: f64,
}

impl Samples {
    pub fn new() -> Self {
        Self { slots: VecDeque::with_capacity(CAPACITY), per_slot: 1.0 }
    }

    pub fn clear(&mut self) {
        self.slots.clear();
        self.per_slot = 1.0;
    }

    pub const fn slots(&self) -> &VecDeque<Slot> {
        &self.slots
    }

    /// Discards what was measured before `t`, in s since the window's origin.
    pub fn forget_before(&mut self, t: f64) {
        self.slots.retain(|slot| slot.t >= t);
    }

    /// Inserts the bounds of an exchange. Returns whether it began a slot.
    pub fn insert(&mut self, bounds: [Bound; 2]) -> bool {
        let t = f64::midpoint(bounds[0].t, bounds[1].t);
        let one = Slot { t, middle: (bounds[0].height - bounds[1].height) / 2.0, count: 1.0, sample: bounds };
        while self.slots.front().is_some_and(|slot| slot.t < t - LENGTH) {
            self.slots.pop_front();
        }
        if let Some(newest) = self.slots.back_mut()
            && newest.count < self.per_slot
        {
            newest.join(&one);
            return false;
        }
        if self.slots.len() == CAPACITY {
            self.halve();
        }
        self.slots.push_back(one);
        true
    }

    /// Joins neighbouring slots, and doubles the size of new ones.
    fn halve(&mut self) {
        for i in 0..self.slots.len() / 2 {
            let mut slot = self.slots[2 * i];
            slot.join(&self.slots[2 * i + 1]);
            self.slots[i] = slot;
        }
        self.slots.truncate(self.slots.len() / 2);
        self.per_slot *= 2.0;
    }
}

impl Slot {
    fn join(&mut self, other: &Self) {
        let count = self.count + other.count;
        self.t += (other.t - self.t) * other.count / count;
        self.middle += (other.middle - self.middle) * other.count / count;
        self.count = count;
    }
}
