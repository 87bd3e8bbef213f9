//! The ring of recent frames that past orders are served from: bounded in bytes and in time.

use std::collections::VecDeque;

use crate::grid::FrameNumber;
use crate::time::{Rig, Span, Timestamp};

/// How much a ring may hold: whichever bound is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of payload.
    pub bytes: usize,
    /// Longest span between the oldest and the newest frame.
    pub time: Span,
}

/// A frame in the ring.
#[derive(Debug, Clone)]
pub struct Entry<T> {
    /// Its frame number.
    pub number: FrameNumber,
    /// Its frame time.
    pub time: Timestamp<Rig>,
    /// Size of its payload.
    pub bytes: usize,
    /// The frame itself.
    pub payload: T,
}

/// The most recent frames, oldest first.
#[derive(Debug)]
pub struct Ring<T> {
    entries: VecDeque<Entry<T>>,
    limits: Limits,
    bytes: usize,
}

impl<T> Ring<T> {
    /// An empty ring.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { entries: VecDeque::new(), limits, bytes: 0 }
    }

    /// Adds a frame and drops what no longer fits. The newest frame always stays, even if it alone
    /// exceeds the bounds: an order for "now" must not fail for a picture's size.
    pub fn push(&mut self, entry: Entry<T>) {
        self.bytes += entry.bytes;
        let newest = entry.time;
        self.entries.push_back(entry);
        while self.entries.len() > 1
            && (self.bytes > self.limits.bytes || newest - self.entries[0].time > self.limits.time)
        {
            self.bytes -= self.entries.pop_front().map_or(0, |dropped| dropped.bytes);
        }
    }

    /// The frame with this number, if it is still here.
    #[must_use]
    pub fn get(&self, number: FrameNumber) -> Option<&Entry<T>> {
        self.entries.iter().find(|entry| entry.number == number)
    }

    /// Numbers of the oldest and the newest frame.
    #[must_use]
    pub fn range(&self) -> Option<(FrameNumber, FrameNumber)> {
        Some((self.entries.front()?.number, self.entries.back()?.number))
    }

    /// Frames held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no frame is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of payload held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of payload a second, as the frames held have it; 0 where there are too few to tell.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        let (Some(oldest), Some(newest)) = (self.entries.front(), self.entries.back()) else { return 0 };
        let nanos = i128::from((newest.time - oldest.time).as_nanos());
        // The newest frame's own time is not over yet.
        let bytes = i128::try_from(self.bytes - newest.bytes).unwrap_or(i128::MAX);
        if nanos > 0 { u64::try_from(bytes.saturating_mul(1_000_000_000) / nanos).unwrap_or(0) } else { 0 }
    }

    /// Drops all frames.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: FrameNumber, bytes: usize) -> Entry<()> {
        Entry {
            number,
            time: Timestamp::from_nanos(i64::try_from(number).unwrap() * 10_000_000),
            bytes,
            payload: (),
        }
    }

    #[test]
    fn bytes_bound_it() {
        let mut ring = Ring::new(Limits { bytes: 300, time: Span::MAX });
        for number in 0..10 {
            ring.push(entry(number, 100));
        }
        assert_eq!(ring.range(), Some((7, 9)));
        assert_eq!(ring.bytes(), 300);
        assert_eq!(ring.bytes_per_second(), 10_000); // 100 bytes every 10 ms
    }

    #[test]
    fn time_bounds_it() {
        let mut ring = Ring::new(Limits { bytes: usize::MAX, time: Span::from_millis(50) });
        for number in 0..100 {
            ring.push(entry(number, 1));
        }
        assert_eq!(ring.range(), Some((94, 99))); // 50 ms from first to last
        assert_eq!(ring.len(), 6);
    }

    #[test]
    fn the_newest_frame_stays_however_large() {
        let mut ring = Ring::new(Limits { bytes: 10, time: Span::ZERO });
        ring.push(entry(1, 100));
        ring.push(entry(2, 200));
        assert_eq!(ring.range(), Some((2, 2)));
        assert!(ring.get(1).is_none() && ring.get(2).is_some());
        ring.clear();
        assert!(ring.is_empty() && ring.bytes() == 0 && ring.range().is_none());
    }
}
