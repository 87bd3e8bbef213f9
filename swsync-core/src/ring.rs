//! The frame ring: the most recent frames, bounded in bytes and in time. Past orders are served from it.

use std::collections::VecDeque;

use crate::coded::Coding;
use crate::gap::FrameGap;
use crate::grid::FrameNumber;
use crate::message::TimeScale;
use crate::time::{Rig, Span, Timestamp};

/// The bounds of a ring; the one that is reached first counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLimits {
    /// Most bytes of payload.
    pub bytes: usize,
    /// How far back frames are kept. Older frames stay only if a frame within this span depends on them.
    pub time: Span,
}

/// A frame in the ring.
#[derive(Debug, Clone)]
pub struct RingFrame<T> {
    /// Its frame number.
    pub number: FrameNumber,
    /// Its frame time.
    pub time: Timestamp<Rig>,
    /// Size of the payload.
    pub bytes: usize,
    /// Which frames it depends on.
    pub coding: Coding,
    /// The last gap of its source. `None`: the source does not report gaps.
    pub gap: Option<FrameGap>,
    /// The time scale of its time. `None`: its source does not state one.
    pub timescale: Option<TimeScale>,
    /// The frame itself.
    pub payload: T,
}

/// Why no frame of a ring can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotShown {
    /// It has no frame at all.
    #[error("it has no frame yet")]
    Empty,
    /// It does not have this one.
    #[error("it has frames {oldest} to {newest} in memory, and not {number}")]
    Elsewhere {
        /// The frame that was asked for.
        number: FrameNumber,
        /// The oldest that it has.
        oldest: FrameNumber,
        /// The newest that it has.
        newest: FrameNumber,
    },
    /// The key frame that it depends on is gone.
    #[error("its frames are encoded video, and it has no key frame in memory")]
    NoKey,
}

/// The most recent frames in order of arrival.
///
/// Frames are addressed by their *position*: a count of arrivals since the ring was made. Encoded video is kept by groups of
/// pictures: the oldest frame is a key frame, unless it is the only frame.
#[derive(Debug)]
pub struct FrameRing<T> {
    frames: VecDeque<RingFrame<T>>,
    /// Position of the oldest frame.
    start: u64,
    /// Positions of the key frames.
    keys: VecDeque<u64>,
    limits: RingLimits,
    bytes: usize,
    /// Whether a frame that depends on others has arrived since the ring was last cleared.
    coded: bool,
}

impl<T> FrameRing<T> {
    /// An empty ring.
    #[must_use]
    pub const fn new(limits: RingLimits) -> Self {
        Self { frames: VecDeque::new(), start: 0, keys: VecDeque::new(), limits, bytes: 0, coded: false }
    }

    /// Adds a frame, and passes each frame that does not fit any more to `on_drop`, with its position. The newest frame always
    /// stays, even if it alone exceeds the bounds: an order for "now" must not fail because a picture is large.
    pub fn push(&mut self, frame: RingFrame<T>, mut on_drop: impl FnMut(u64, RingFrame<T>)) {
        self.bytes += frame.bytes;
        let since = frame.time - self.limits.time;
        if frame.coding.is_key() {
            self.keys.push_back(self.end());
        } else {
            self.coded = true;
        }
        self.frames.push_back(frame);
        while self.frames.len() > 1
            && (self.bytes > self.limits.bytes
                || self.is_oldest_undecodable()
                || self.is_first_group_before(since))
        {
            let position = self.start;
            let Some(dropped) = self.frames.pop_front() else { return };
            self.bytes -= dropped.bytes;
            self.start += 1;
            if self.keys.front() == Some(&position) {
                self.keys.pop_front();
            }
            on_drop(position, dropped);
        }
    }

    /// Whether the key frame that the oldest frame depends on is gone.
    fn is_oldest_undecodable(&self) -> bool {
        self.frames.front().is_some_and(|first| !first.coding.is_key())
    }

    /// Whether everything from `since` on can be decoded without the first group of pictures.
    fn is_first_group_before(&self, since: Timestamp<Rig>) -> bool {
        let second = self.keys.iter().find(|position| **position > self.start);
        second.and_then(|position| self.at(*position)).is_some_and(|second| second.time <= since)
    }

    /// The frame with this number, if it is still here.
    #[must_use]
    pub fn get(&self, number: FrameNumber) -> Option<&RingFrame<T>> {
        self.frames.iter().find(|frame| frame.number == number)
    }

    /// The frame that shows what `number` shows, or the newest: the last until it that can be decoded without others.
    ///
    /// # Errors
    /// [`NotShown`]: why there is none.
    pub fn shown(&self, number: Option<FrameNumber>) -> Result<&RingFrame<T>, NotShown> {
        let (oldest, newest) = self.range().ok_or(NotShown::Empty)?;
        let wanted = match number {
            // Frames arrive nearly in order; the last one with the number is meant.
            Some(number) => self.frames.iter().rposition(|frame| frame.number == number),
            None => self.frames.len().checked_sub(1),
        };
        let wanted =
            wanted.ok_or(NotShown::Elsewhere { number: number.unwrap_or_default(), oldest, newest })?;
        let key = self.key_until(self.start + wanted as u64).ok_or(NotShown::NoKey)?;
        self.at(key).ok_or(NotShown::NoKey)
    }

    /// Position of the oldest frame.
    #[must_use]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// Position that the next frame will have.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + self.frames.len() as u64
    }

    /// The frame at `position`, if it is still here.
    #[must_use]
    pub fn at(&self, position: u64) -> Option<&RingFrame<T>> {
        self.frames.get(usize::try_from(position.checked_sub(self.start)?).ok()?)
    }

    /// Position of the last key frame at or before `position`.
    #[must_use]
    pub fn key_until(&self, position: u64) -> Option<u64> {
        let after = self.keys.partition_point(|key| *key <= position);
        self.keys.get(after.checked_sub(1)?).copied()
    }

    /// Whether some frames depend on others.
    #[must_use]
    pub const fn is_coded(&self) -> bool {
        self.coded
    }

    /// Numbers of the oldest and the newest frame.
    #[must_use]
    pub fn range(&self) -> Option<(FrameNumber, FrameNumber)> {
        Some((self.frames.front()?.number, self.frames.back()?.number))
    }

    /// The frame that arrived last.
    #[must_use]
    pub fn newest(&self) -> Option<&RingFrame<T>> {
        self.frames.back()
    }

    /// How many frames it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether it holds no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes of payload that it holds.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of payload per second of the frames that it holds; 0 if there are too few.
    #[must_use]
    pub fn bytes_per_second(&self) -> u64 {
        let (Some(oldest), Some(newest)) = (self.frames.front(), self.frames.back()) else { return 0 };
        let nanos = i128::from((newest.time - oldest.time).as_nanos());
        // The newest frame belongs to the time after it.
        let bytes = i128::try_from(self.bytes - newest.bytes).unwrap_or(i128::MAX);
        if nanos > 0 { u64::try_from(bytes.saturating_mul(1_000_000_000) / nanos).unwrap_or(0) } else { 0 }
    }

    /// Drops all frames.
    pub fn clear(&mut self) {
        self.start = self.end();
        self.frames.clear();
        self.keys.clear();
        self.bytes = 0;
        self.coded = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: FrameNumber, bytes: usize) -> RingFrame<()> {
        let time = Timestamp::from_nanos(i64::try_from(number).unwrap() * 10_000_000);
        RingFrame { number, time, bytes, coding: Coding::Key, gap: None, timescale: None, payload: () }
    }

    fn push(ring: &mut FrameRing<()>, added: RingFrame<()>) -> Vec<FrameNumber> {
        let mut dropped = Vec::new();
        ring.push(added, |_, frame| dropped.push(frame.number));
        dropped
    }

    #[test]
    fn it_is_bounded_in_bytes() {
        let mut ring = FrameRing::new(RingLimits { bytes: 300, time: Span::MAX });
        for number in 0..10 {
            let dropped = push(&mut ring, frame(number, 100));
            assert_eq!(dropped, number.checked_sub(3).into_iter().collect::<Vec<_>>());
        }
        assert_eq!(ring.range(), Some((7, 9)));
        assert_eq!(ring.bytes(), 300);
        assert_eq!(ring.bytes_per_second(), 10_000); // 100 bytes every 10 ms
        assert_eq!((ring.start(), ring.end()), (7, 10));
        assert_eq!(ring.at(8).unwrap().number, 8);
        assert!(ring.at(6).is_none() && ring.at(10).is_none());
    }

    #[test]
    fn it_is_bounded_in_time() {
        let mut ring = FrameRing::new(RingLimits { bytes: usize::MAX, time: Span::from_millis(50) });
        for number in 0..100 {
            push(&mut ring, frame(number, 1));
        }
        assert_eq!(ring.range(), Some((94, 99))); // 50 ms from first to last
        assert_eq!(ring.len(), 6);
    }

    #[test]
    fn the_newest_frame_stays_even_if_it_exceeds_the_bounds() {
        let mut ring = FrameRing::new(RingLimits { bytes: 10, time: Span::ZERO });
        push(&mut ring, frame(1, 100));
        push(&mut ring, frame(2, 200));
        assert_eq!(ring.range(), Some((2, 2)));
        assert!(ring.get(1).is_none() && ring.get(2).is_some());
        ring.clear();
        assert!(ring.is_empty() && ring.bytes() == 0 && ring.range().is_none());
        push(&mut ring, frame(3, 1));
        assert_eq!(ring.start(), 2, "positions go on");
    }

    /// Frame `number` of a video with a key frame every 10.
    fn coded(number: FrameNumber) -> RingFrame<()> {
        let coding = if number.is_multiple_of(10) { Coding::Key } else { Coding::Delta };
        RingFrame { coding, ..frame(number, 1) }
    }

    #[test]
    fn video_is_kept_by_groups_of_pictures_that_cover_the_span() {
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
    fn of_video_a_key_frame_is_shown() {
        let mut ring = FrameRing::new(RingLimits { bytes: usize::MAX, time: Span::MAX });
        let shown = |ring: &FrameRing<()>, number| ring.shown(number).map(|frame| frame.number);
        assert_eq!(shown(&ring, None), Err(NotShown::Empty));
        (10..=25).for_each(|number| drop(push(&mut ring, coded(number))));
        assert_eq!([None, Some(20), Some(19)].map(|number| shown(&ring, number)), [Ok(20), Ok(20), Ok(10)]);
        let elsewhere = NotShown::Elsewhere { number: 9, oldest: 10, newest: 25 };
        assert_eq!(shown(&ring, Some(9)), Err(elsewhere));
        let mut pictures = FrameRing::new(RingLimits { bytes: usize::MAX, time: Span::MAX });
        (1..=3).for_each(|number| drop(push(&mut pictures, frame(number, 1))));
        assert_eq!([None, Some(2)].map(|number| shown(&pictures, number)), [Ok(3), Ok(2)]);
    }

    #[test]
    fn video_is_bounded_in_bytes() {
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
        assert_eq!(tight.range(), Some((8, 8)), "without their key frame the others cannot be decoded");
    }
}
