//! Sorts frames by time that come almost in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use swsync_core::time::{Rig, Timestamp};

/// How many places a frame may be out of order. Decoders of H.264 and H.265 hold 16 pictures. The rest is for past frames
/// that were saved in between present ones.
const WINDOW: usize = 1_024;

/// Sorts items by time, within a window of [`WINDOW`] items.
#[derive(Debug)]
pub(crate) struct ReorderBuffer<T> {
    waiting: BinaryHeap<Reverse<Item<T>>>,
    count: u64,
}

#[derive(Debug)]
struct Item<T> {
    at: Timestamp<Rig>,
    /// Items of one time stay in order.
    index: u64,
    item: T,
}

impl<T> Default for ReorderBuffer<T> {
    fn default() -> Self {
        Self { waiting: BinaryHeap::new(), count: 0 }
    }
}

impl<T> ReorderBuffer<T> {
    /// Adds an item. Returns the earliest one once the window is full.
    pub(crate) fn push(&mut self, at: Timestamp<Rig>, item: T) -> Option<T> {
        self.waiting.push(Reverse(Item { at, index: self.count, item }));
        self.count += 1;
        if self.waiting.len() > WINDOW { self.pop() } else { None }
    }

    /// Removes the earliest item left.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.waiting.pop().map(|Reverse(item)| item.item)
    }
}

impl<T> Item<T> {
    fn key(&self) -> (Timestamp<Rig>, u64) {
        (self.at, self.index)
    }
}

impl<T> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl<T> Eq for Item<T> {}
impl<T> PartialOrd for Item<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Item<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_a_little_out_of_order_are_sorted() {
        let mut buffer = ReorderBuffer::default();
        let mut out = Vec::new();
        for number in 0..10_000_i64 {
            let at = number ^ 7; // groups of eight in reverse
            out.extend(buffer.push(Timestamp::from_nanos(at), at));
        }
        assert!(buffer.waiting.len() <= WINDOW);
        out.extend(std::iter::from_fn(|| buffer.pop()));
        assert_eq!(out, (0..10_000).collect::<Vec<_>>());
    }
}
