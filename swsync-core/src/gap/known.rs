//! Looks up why frames are missing, by what the frames that arrived tell.

use std::collections::VecDeque;
use std::ops::Range;

use super::{FrameGap, GapCause};
use crate::grid::FrameNumber;

/// Most gaps that are remembered. Beyond it the oldest are forgotten.
const MAX_GAPS: usize = 256;

/// No frame that arrived tells.
pub const UNKNOWN: &str = "no frame of that instant arrived, and it is not known why";
/// The source delivered the frame.
pub const LOST_DOWNSTREAM: &str = "the camera delivered this frame, and it was lost on the way: an element in between (a queue, an encoder, \
                                videorate) dropped it";
/// Later frames show that a frame was lost after the encoder.
pub const LOST_AFTER_ENCODER: &str =
    "lost behind the encoder: an element there (a leaky queue, a network) dropped this frame";

/// What frames that arrived tell about frames that did not.
#[derive(Debug, Clone, Default)]
pub struct KnownGaps {
    gaps: VecDeque<(Range<FrameNumber>, &'static str)>,
    /// Serial number of the last gap that a frame told of.
    serial: u32,
    /// The highest number that arrived.
    last: Option<FrameNumber>,
    /// Whether frames carry gaps.
    told: bool,
    /// The number from which on frames were lost after the encoder. `None` again after a frame that can be decoded.
    lost_from: Option<FrameNumber>,
}

impl KnownGaps {
    /// Frame `number` has arrived. `gap`: the last gap of its source, if the source reports gaps. `is_undecodable`: it may depend on
    /// a frame that was lost after the encoder.
    pub fn note(&mut self, number: FrameNumber, gap: Option<FrameGap>, is_undecodable: bool) {
        let between = self.last.map_or(0, |last| last.saturating_add(1))..number;
        match self.lost_from {
            None if is_undecodable => self.lost_from = Some(between.start.min(number)),
            Some(from) if !is_undecodable => {
                self.push(from..number, LOST_AFTER_ENCODER);
                self.lost_from = None;
            }
            None | Some(_) => {}
        }
        self.last = self.last.max(Some(number));
        let Some(gap) = gap else {
            self.told = false;
            self.push(between, UNKNOWN);
            return;
        };
        let is_new_gap = !self.told || gap.serial != self.serial;
        let (told, before) = (std::mem::replace(&mut self.told, true), self.serial);
        // Encoded frames arrive out of order: an earlier frame may carry an earlier gap.
        self.serial = gap.serial.max(before);
        if !is_new_gap {
            return;
        }
        if !told || gap.serial > before.saturating_add(1) {
            // Gaps before this one are not known.
            self.push(between.start..gap.first.min(between.end), UNKNOWN);
        }
        if gap.serial < before && gap.cause == GapCause::Started {
            self.serial = gap.serial; // the source was restarted and counts from 1 again
        }
        self.push(gap.first..gap.first.saturating_add(gap.count), gap.cause.why());
    }

    fn push(&mut self, numbers: Range<FrameNumber>, why: &'static str) {
        if numbers.start >= numbers.end || self.gaps.back() == Some(&(numbers.clone(), why)) {
            return;
        }
        self.gaps.push_back((numbers, why));
        if self.gaps.len() > MAX_GAPS {
            self.gaps.pop_front();
        }
    }

    /// Forgets gaps that end before `number`.
    pub fn forget_before(&mut self, number: FrameNumber) {
        self.gaps.retain(|(numbers, _)| numbers.end > number);
    }

    /// Why the frames in `numbers` are missing, as consecutive ranges with one reason each.
    #[must_use]
    pub fn why(&self, numbers: Range<FrameNumber>) -> Vec<(Range<FrameNumber>, &'static str)> {
        let mut parts: Vec<(Range<FrameNumber>, &'static str)> = Vec::new();
        let mut from = numbers.start;
        while from < numbers.end {
            // The most certain reason counts.
            let here = |(gap, _): &&(Range<FrameNumber>, &'static str)| gap.contains(&from);
            let known = self.gaps.iter().filter(here).max_by_key(|(_, why)| certainty(why));
            let next = self.gaps.iter().map(|(gap, _)| gap.start).filter(|start| *start > from).min();
            let (end, why) = match known {
                Some((gap, why)) if certainty(why) > certainty(LOST_AFTER_ENCODER) => (gap.end, *why),
                Some((gap, why)) => {
                    let why = if *why == UNKNOWN && self.is_lost(from) { LOST_AFTER_ENCODER } else { *why };
                    (gap.end.min(next.unwrap_or(gap.end)), why)
                }
                None => (next.unwrap_or(numbers.end), self.without_gap(from)),
            };
            let end = end.min(numbers.end);
            match parts.last_mut() {
                Some((before, reason)) if *reason == why => before.end = end,
                _ => parts.push((from..end, why)),
            }
            from = end;
        }
        parts
    }

    /// Why a frame is missing that is in no known gap.
    fn without_gap(&self, number: FrameNumber) -> &'static str {
        match self.told {
            _ if self.is_lost(number) => LOST_AFTER_ENCODER,
            true => LOST_DOWNSTREAM,
            false => UNKNOWN,
        }
    }

    fn is_lost(&self, number: FrameNumber) -> bool {
        self.lost_from.is_some_and(|from| number >= from)
    }
}

/// How certain a reason is: what the source reports is more certain than what is concluded after the encoder.
fn certainty(why: &str) -> u8 {
    match why {
        UNKNOWN => 0,
        LOST_AFTER_ENCODER => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(serial: u32, first: FrameNumber, count: u64, cause: GapCause) -> Option<FrameGap> {
        Some(FrameGap { serial, first, count, cause })
    }

    #[test]
    fn a_missing_frame_in_no_gap_was_lost_downstream() {
        let mut known = KnownGaps::default();
        let started = gap(1, 0, 100, GapCause::Started);
        known.note(100, started, false);
        known.note(101, started, false);
        known.note(105, gap(2, 103, 2, GapCause::Clock), false);
        let clock = GapCause::Clock.why();
        assert_eq!(known.why(102..105), [(102..103, LOST_DOWNSTREAM), (103..105, clock)]);
        // The first frame after the gap is lost itself.
        known.note(111, gap(3, 107, 2, GapCause::Camera), false);
        let camera = GapCause::Camera.why();
        assert_eq!(
            known.why(106..111),
            [(106..107, LOST_DOWNSTREAM), (107..109, camera), (109..111, LOST_DOWNSTREAM)]
        );
        // All frames that carry the first of two gaps are lost.
        known.note(130, gap(5, 125, 3, GapCause::Paused), false);
        let paused = GapCause::Paused.why();
        assert_eq!(
            known.why(112..130),
            [(112..125, UNKNOWN), (125..128, paused), (128..130, LOST_DOWNSTREAM)]
        );
        known.forget_before(128);
        assert!(known.gaps.is_empty());
    }

    #[test]
    fn gaps_are_known_if_frames_arrive_out_of_order() {
        let (one, two, three) = (
            gap(1, 0, 100, GapCause::Started),
            gap(2, 103, 2, GapCause::Clock),
            gap(3, 107, 1, GapCause::Camera),
        );
        let mut known = KnownGaps::default();
        for (number, gap) in
            [(100, one), (108, three), (105, two), (106, two), (101, one), (102, one), (109, three)]
        {
            known.note(number, gap, false);
        }
        assert_eq!(known.why(103..105), [(103..105, GapCause::Clock.why())]);
        assert_eq!(known.why(107..108), [(107..108, GapCause::Camera.why())]);
    }

    #[test]
    fn without_gaps_from_the_source_the_reason_is_unknown() {
        let mut known = KnownGaps::default();
        known.note(100, None, false);
        known.note(105, None, false);
        assert_eq!(known.why(101..105), [(101..105, UNKNOWN)]);
        assert_eq!(KnownGaps::default().why(3..4), [(3..4, UNKNOWN)]);
    }

    #[test]
    fn a_frame_lost_after_the_encoder_is_told_from_one_of_the_camera() {
        let started = gap(1, 0, 100, GapCause::Started);
        for told in [None, started] {
            let mut known = KnownGaps::default();
            known.note(100, told, false);
            // Frame 101 is missing, and 102 depends on it.
            known.note(102, told, true);
            assert_eq!(known.why(101..102), [(101..102, LOST_AFTER_ENCODER)]);
            known.note(104, told, true);
            assert_eq!(known.why(103..104), [(103..104, LOST_AFTER_ENCODER)]);
            // A gap of the camera itself keeps its cause.
            let camera = told.map(|_| FrameGap { serial: 2, first: 106, count: 2, cause: GapCause::Camera });
            known.note(110, camera, false);
            let parts = known.why(101..110);
            match told {
                None => assert_eq!(parts, [(101..110, LOST_AFTER_ENCODER)]),
                Some(_) => assert_eq!(
                    parts,
                    [
                        (101..106, LOST_AFTER_ENCODER),
                        (106..108, GapCause::Camera.why()),
                        (108..110, LOST_AFTER_ENCODER)
                    ]
                ),
            }
            known.note(112, camera, false);
            assert_eq!(
                known.why(111..112),
                [(111..112, if told.is_some() { LOST_DOWNSTREAM } else { UNKNOWN })]
            );
        }
    }
}
