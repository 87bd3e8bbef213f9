//! The ring of recent frames that past orders are served from: bounded in bytes and in time.

use std::collections::VecDeque;

use crate::gap::FrameGap;
use crate::grid::FrameNumber;
use crate::time::{Rig, Span, Timestamp};

/// How much a ring may hold: whichever bound is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLimits {
    /// Most bytes of payload.
    pub bytes: usize,
    /// The span into the past that is kept. What is older stays only where a frame within the span builds on it.
    pub time: Span,
}

/// What a frame builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Nothing, nor does what comes after it build on what was before: every picture, key frames of encoded video.
    Key,
    /// Nothing; but what comes after it and is shown before it may build on what was before: the key frames of open groups of
    /// pictures.
    OpenKey,
    /// Frames since the last key frame.
    Delta,
    /// Frames before the last key frame, before which it is shown.
    Leading,
    /// Such a frame, of which one is lost that it builds on.
    UndecodableLeading,
    /// A frame that did not arrive, as what comes after it does until a key frame comes.
    Undecodable,
}

impl Coding {
    /// Whether it can be decoded without others.
    #[must_use]
    pub const fn is_key(self) -> bool {
        matches!(self, Self::Key | Self::OpenKey)
    }

    /// Whether nothing that is shown after the last key frame builds on it.
    #[must_use]
    pub const fn is_leading(self) -> bool {
        matches!(self, Self::Leading | Self::UndecodableLeading)
    }
}

/// A frame in the ring.
#[derive(Debug, Clone)]
pub struct RingFrame<T> {
    /// Its frame number.
    pub number: FrameNumber,
    /// Its frame time.
    pub time: Timestamp<Rig>,
    /// Size of its payload.
    pub bytes: usize,
    /// What it builds on.
    pub coding: Coding,
    /// The last gap of its source; `None`: the source does not tell of gaps.
    pub gap: Option<FrameGap>,
    /// The frame itself.
    pub payload: T,
}

/// The most recent frames in the order of their arrival, oldest first.
///
/// Encoded video is kept by groups of pictures: the first frame held is a key frame, or else the only one.
#[derive(Debug)]
pub struct FrameRing<T> {
    entries: VecDeque<RingFrame<T>>,
    /// Place of the first entry in the order of arrival, counted since the ring was made.
    base: u64,
    /// Places of the key frames among them.
    keys: VecDeque<u64>,
    limits: RingLimits,
    bytes: usize,
    /// Whether a frame that builds on others was seen since the ring was last cleared.
    coded: bool,
}

impl<T> FrameRing<T> {
    /// An empty ring.
    #[must_use]
    pub const fn new(limits: RingLimits) -> Self {
        Self { entries: VecDeque::new(), base: 0, keys: VecDeque::new(), limits, bytes: 0, coded: false }
    }

    /// Adds a frame, and tells `on_drop` of each that no longer fits, with its place. The newest frame always
    /// stays, even if it alone exceeds the bounds: an order for "now" must not fail for a picture's size.
    pub fn push(&mut self, entry: RingFrame<T>, mut on_drop: impl FnMut(u64, RingFrame<T>)) {
        self.bytes += entry.bytes;
        let since = entry.time - self.limits.time;
        if entry.coding.is_key() {
            self.keys.push_back(self.end());
        } else {
            self.coded = true;
        }
        self.entries.push_back(entry);
        while self.entries.len() > 1
            && (self.bytes > self.limits.bytes
                || self.is_first_useless()
                || self.is_first_group_before(since))
        {
            let place = self.base;
            let Some(dropped) = self.entries.pop_front() else { return };
            self.bytes -= dropped.bytes;
            self.base += 1;
            if self.keys.front() == Some(&place) {
                self.keys.pop_front();
            }
            on_drop(place, dropped);
        }
    }

    /// Whether the key frame that the first entry builds on is gone.
    fn is_first_useless(&self) -> bool {
        self.entries.front().is_some_and(|first| !first.coding.is_key())
    }

    /// Whether everything from `since` on can be had without the first group of pictures.
    fn is_first_group_before(&self, since: Timestamp<Rig>) -> bool {
        let second = self.keys.iter().find(|place| **place > self.base);
        second.and_then(|place| self.at(*place)).is_some_and(|second| second.time <= since)
    }

    /// The frame with this number, if it is still here.
    #[must_use]
    pub fn get(&self, number: FrameNumber) -> Option<&RingFrame<T>> {
        self.entries.iter().find(|entry| entry.number == number)
    }

    /// Place of the first entry in the order of arrival.
    #[must_use]
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Place that the next entry will have.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// The entry at `place` in the order of arrival, if it is still here.
    #[must_use]
    pub fn at(&self, place: u64) -> Option<&RingFrame<T>> {
        self.entries.get(usize::try_from(place.checked_sub(self.base)?).ok()?)
    }

    /// Place of the last key frame that is at `place` or before.
    #[must_use]
    pub fn key_until(&self, place: u64) -> Option<u64> {
        let after = self.keys.partition_point(|key| *key <= place);
        self.keys.get(after.checked_sub(1)?).copied()
    }

    /// Whether the frames are encoded such that some build on others.
    #[must_use]
    pub const fn is_coded(&self) -> bool {
        self.coded
    }

    /// Numbers of the oldest and the newest frame.
    #[must_use]
    pub fn range(&self) -> Option<(FrameNumber, FrameNumber)> {
        Some((self.entries.front()?.number, self.entries.back()?.number))
    }

    /// The frame that came last.
    #[must_use]
    pub fn newest(&self) -> Option<&RingFrame<T>> {
        self.entries.back()
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
        self.base = self.end();
        self.entries.clear();
        self.keys.clear();
        self.bytes = 0;
        self.coded = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: FrameNumber, bytes: usize) -> RingFrame<()> {
        let time = Timestamp::from_nanos(i64::try_from(number).unwrap() * 10_000_000);
        RingFrame { number, time, bytes, coding: Coding::Key, gap: None, payload: () }
    }

    fn push(ring: &mut FrameRing<()>, entry: RingFrame<()>) -> Vec<FrameNumber> {
        let mut dropped = Vec::new();
        ring.push(entry, |_, entry| dropped.push(entry.number));
        dropped
    }

    #[test]
    fn bytes_bound_it() {
        let mut ring = FrameRing::new(RingLimits { bytes: 300, time: Span::MAX });
        for number in 0..10 {
            let dropped = push(&mut ring, entry(number, 100));
            assert_eq!(dropped, number.checked_sub(3).into_iter().collect::<Vec<_>>());
        }
        assert_eq!(ring.range(), Some((7, 9)));
        assert_eq!(ring.bytes(), 300);
        assert_eq!(ring.bytes_per_second(), 10_000); // 100 bytes every 10 ms
        assert_eq!((ring.base(), ring.end()), (7, 10));
        assert_eq!(ring.at(8).unwrap().number, 8);
        assert!(ring.at(6).is_none() && ring.at(10).is_none());
    }

    #[test]
    fn time_bounds_it() {
        let mut ring = FrameRing::new(RingLimits { bytes: usize::MAX, time: Span::from_millis(50) });
        for number in 0..100 {
            push(&mut ring, entry(number, 1));
        }
        assert_eq!(ring.range(), Some((94, 99))); // 50 ms from first to last
        assert_eq!(ring.len(), 6);
    }

    #[test]
    fn the_newest_frame_stays_however_large() {
        let mut ring = FrameRing::new(RingLimits { bytes: 10, time: Span::ZERO });
        push(&mut ring, entry(1, 100));
        push(&mut ring, entry(2, 200));
        assert_eq!(ring.range(), Some((2, 2)));
        assert!(ring.get(1).is_none() && ring.get(2).is_some());
        ring.clear();
        assert!(ring.is_empty() && ring.bytes() == 0 && ring.range().is_none());
        push(&mut ring, entry(3, 1));
        assert_eq!(ring.base(), 2, "places go on");
    }

    /// Frame `number` of a video with a key frame every 10.
    fn coded(number: FrameNumber) -> RingFrame<()> {
        let coding = if number.is_multiple_of(10) { Coding::Key } else { Coding::Delta };
        RingFrame { coding, ..entry(number, 1) }
    }

    #[test]
    fn video_is_kept_by_groups_that_cover_the_span() {
        let mut ring = FrameRing::new(RingLimits { bytes: usize::MAX, time: Span::from_millis(250) });
        for number in 0..=45 {
            push(&mut ring, coded(number));
            let (oldest, newest) = ring.range().unwrap();
            assert!(oldest.is_multiple_of(10) && (newest < 25 || newest - oldest >= 25), "{oldest}-{newest}");
            assert!(newest - oldest < 35);
        }
        assert!(ring.is_coded());
        assert_eq!(ring.range(), Some((20, 45)));
        assert_eq!(ring.key_until(39), Some(30));
        assert_eq!(ring.key_until(19), None);
    }

    #[test]
    fn bytes_bound_video_too() {
        let mut ring = FrameRing::new(RingLimits { bytes: 15, time: Span::MAX });
        for number in 0..=25 {
            push(&mut ring, coded(number));
            assert!(ring.bytes() <= 15);
        }
        assert_eq!(ring.range(), Some((20, 25)));
        let mut tight = FrameRing::new(RingLimits { bytes: 5, time: Span::MAX });
        for number in 0..=8 {
            push(&mut tight, coded(number));
        }
        assert_eq!(tight.range(), Some((8, 8)), "without their key frame they are of no use");
    }
}
