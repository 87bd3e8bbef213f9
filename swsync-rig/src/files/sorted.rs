//! Frames in the order in which they were taken, out of one that is nearly that.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use swsync_core::time::{Rig, Timestamp};

/// How far from its place one may be. H.264 and H.265 decoders hold 16 pictures; and then some for pictures of the past that
/// were saved beside those of the present.
const WINDOW: usize = 1_024;

/// What came with a time, sorted by it as far as [`WINDOW`] reaches.
#[derive(Debug)]
pub(super) struct Sorted<T> {
    waiting: BinaryHeap<Reverse<Item<T>>>,
    count: u64,
}

#[derive(Debug)]
struct Item<T> {
    at: Timestamp<Rig>,
    /// Of those of one time the first comes first.
    index: u64,
    item: T,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self { waiting: BinaryHeap::new(), count: 0 }
    }
}

impl<T> Sorted<T> {
    /// Adds one. Returns the earliest, where no earlier one is to be expected.
    pub(super) fn push(&mut self, at: Timestamp<Rig>, item: T) -> Option<T> {
        self.waiting.push(Reverse(Item { at, index: self.count, item }));
        self.count += 1;
        if self.waiting.len() > WINDOW { self.pop() } else { None }
    }

    /// The earliest that is left: when no more come.
    pub(super) fn pop(&mut self) -> Option<T> {
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
    fn what_is_a_little_out_of_place_is_sorted() {
        let mut sorted = Sorted::default();
        let mut out = Vec::new();
        for number in 0..10_000_i64 {
            let at = number ^ 7; // eight and eight the other way round
            out.extend(sorted.push(Timestamp::from_nanos(at), at));
        }
        assert!(sorted.waiting.len() <= WINDOW);
        out.extend(std::iter::from_fn(|| sorted.pop()));
        assert_eq!(out, (0..10_000).collect::<Vec<_>>());
    }
}
