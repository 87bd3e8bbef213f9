//! Why frames are missing.
//!
//! A source numbers frames by their time, so a number that it leaves out is a [`FrameGap`]; [`GapFinder`] finds gaps and their
//! causes. Each frame carries the last gap of its source, so that the gap is known even if the first frame after it is lost.
//! Where a frame is missed, [`KnownGaps`] looks up the reason. A frame that is missing and in no gap has left the source and was
//! lost downstream.

use std::collections::VecDeque;
use std::ops::Range;

use crate::frame::LockState;
use crate::grid::FrameNumber;
use crate::time::{Boottime, Rig, Span, Timestamp};

/// Frames without a gap after which an earlier hold-up of the source is forgotten: as many as a camera can have in flight.
const IN_FLIGHT: u32 = 30;

/// Most gaps that are remembered. Beyond it the oldest are forgotten.
const MAX_GAPS: usize = 256;

macro_rules! causes {
    ($($(#[$doc:meta])* $cause:ident: $name:literal, $why:literal;)*) => {
        /// Why a source has no frame for some numbers.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum GapCause {
            $($(#[$doc])* $cause,)*
        }

        impl GapCause {
            const ALL: &[Self] = &[$(Self::$cause,)*];

            /// Its name in metas and messages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$cause => $name,)* }
            }

            /// The reason, as text for the operator.
            #[must_use]
            pub const fn why(self) -> &'static str {
                match self { $(Self::$cause => $why,)* }
            }
        }
    };
}

causes! {
    /// The source had not started.
    Started: "started", "the camera's element was started after that instant";
    /// The camera lost frames, by the driver's count or the frames' times.
    Camera: "camera", "the camera dropped this frame";
    /// The camera stopped delivering or vanished, and was restarted.
    CameraRestarted: "camera-restarted", "the camera stood still or was gone, and was started again";
    /// The camera was restarted for another format or other streams.
    Reconfigured: "reconfigured", "the camera was started again for another format";
    /// The camera was restarted to align it (`align-method=reset`).
    AlignRestart: "align-restart", "the camera was started again to bring it onto the frame grid";
    /// A frame was made longer to align the camera (`inject`).
    AlignLonger: "align-longer", "a frame was made longer, to bring the camera onto the frame grid";
    /// Frames were held back, since the camera was not locked (`wait-lock`).
    HeldBack: "held-back", "the camera was not on the frame grid, and wait-lock holds back such frames";
    /// Rig time advanced by more than the sensor's time: it was stepped.
    Clock: "clock", "rig time was set forward past that instant";
    /// The frame before took longer than a period.
    Slow: "slow", "the camera took longer than a period for the frame before";
    /// No frame was nearest to this instant, since the camera is not on the grid.
    OffGrid: "off-grid", "the camera is not on the frame grid, and none of its frames was nearest to that instant";
    /// Downstream blocked the source.
    Blocked: "blocked", "the pipeline behind the camera was too slow to take this frame";
    /// The process did not run.
    Stopped: "stopped", "the process was stopped, or did not get to run";
    /// The machine was suspended.
    Suspended: "suspended", "the machine was suspended";
    /// The pipeline was paused.
    Paused: "paused", "the pipeline was paused";
}

impl GapCause {
    /// The cause with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|cause| cause.as_str() == name)
    }
}

/// Frame numbers that a source left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameGap {
    /// Serial number of the gap at its source, from 1.
    pub serial: u32,
    /// The first of them.
    pub first: FrameNumber,
    /// How many.
    pub count: u64,
    /// Why they were left out.
    pub cause: GapCause,
}

/// A frame that a source delivers.
#[derive(Debug, Clone, Copy)]
pub struct DeliveredFrame {
    /// Its number.
    pub number: FrameNumber,
    /// Its time.
    pub time: Timestamp<Rig>,
    /// The sensor's stamp.
    pub sensor_time: Timestamp<Boottime>,
    /// Whether the camera was on the grid.
    pub lock: LockState,
}

/// Events at a source since its last frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceEvents {
    /// Frames that the camera lost.
    pub lost: u64,
    /// The camera was restarted after a fault.
    pub camera_restarted: bool,
    /// The camera was restarted to align it.
    pub align_restarted: bool,
    /// The camera was restarted for other formats.
    pub reconfigured: bool,
    /// A frame was held back.
    pub held_back: bool,
    /// How long downstream blocked the source.
    pub blocked: Span,
    /// How long the process did not run.
    pub stopped: Span,
    /// How long the machine was suspended.
    pub suspended: Span,
    /// How long the pipeline was paused.
    pub paused: Span,
}

impl SourceEvents {
    /// Adds later events.
    pub fn add(&mut self, later: Self) {
        self.lost += later.lost;
        self.camera_restarted |= later.camera_restarted;
        self.align_restarted |= later.align_restarted;
        self.reconfigured |= later.reconfigured;
        self.held_back |= later.held_back;
        self.blocked = self.blocked.max(later.blocked);
        self.stopped += later.stopped;
        self.suspended += later.suspended;
        self.paused += later.paused;
    }
}

/// Finds the gaps of a source and their causes.
#[derive(Debug, Clone, Copy, Default)]
pub struct GapFinder {
    last: Option<DeliveredFrame>,
    since: SourceEvents,
    /// Frames since the last gap.
    in_a_row: u32,
    gap: Option<FrameGap>,
}

impl GapFinder {
    /// Notes events.
    pub fn note(&mut self, events: SourceEvents) {
        self.since.add(events);
    }

    /// A frame goes downstream, on a grid of this period. Returns the last gap so far, for the frame to carry.
    pub fn handle_delivered(&mut self, frame: DeliveredFrame, period: Span) -> Option<FrameGap> {
        let last = self.last.replace(frame);
        let serial = self.gap.map_or(1, |gap| gap.serial.wrapping_add(1));
        let first = last.map_or(0, |last| last.number.saturating_add(1));
        if first < frame.number || last.is_none() {
            let cause = last.map_or(GapCause::Started, |last| self.cause(&last, &frame, period));
            self.gap = Some(FrameGap { serial, first, count: frame.number.saturating_sub(first), cause });
            (self.since, self.in_a_row) = (SourceEvents::default(), 0);
            return self.gap;
        }
        // Frames in flight arrive between a hold-up and the gap that it causes.
        self.in_a_row += 1;
        let SourceEvents { blocked, stopped, suspended, paused, .. } = self.since;
        let held_up = (blocked, stopped, suspended, paused) != Default::default();
        self.since = match held_up && self.in_a_row < IN_FLIGHT {
            true => SourceEvents { blocked, stopped, suspended, paused, ..SourceEvents::default() },
            false => SourceEvents::default(),
        };
        if !held_up || self.in_a_row >= IN_FLIGHT {
            self.in_a_row = 0;
        }
        self.gap
    }

    fn cause(&self, last: &DeliveredFrame, frame: &DeliveredFrame, period: Span) -> GapCause {
        let since = &self.since;
        let by_sensor = frame.sensor_time - last.sensor_time;
        let by_rig = frame.time - last.time;
        let stepped = by_rig - by_sensor;
        let absent = by_rig.max(by_sensor) - period;
        // The cause is an event that lasted for most of the gap.
        let most = |span: Span| span > Span::ZERO && span * 2 >= absent;
        let on_grid = |lock| matches!(lock, LockState::Locked | LockState::Coasting | LockState::Free);
        if most(since.suspended) {
            GapCause::Suspended
        } else if most(since.stopped) {
            GapCause::Stopped
        } else if most(since.paused) {
            GapCause::Paused
        } else if most(stepped) && stepped > period / 2 {
            GapCause::Clock
        } else if since.camera_restarted {
            GapCause::CameraRestarted
        } else if since.reconfigured {
            GapCause::Reconfigured
        } else if since.align_restarted {
            GapCause::AlignRestart
        } else if since.held_back {
            GapCause::HeldBack
        } else if since.lost > 0 && since.blocked > period && most(since.blocked) {
            GapCause::Blocked
        } else if since.lost > 0 {
            GapCause::Camera
        } else if !on_grid(last.lock) || !on_grid(frame.lock) {
            GapCause::AlignLonger
        } else if by_sensor > period + period / 2 {
            GapCause::Slow
        } else {
            GapCause::OffGrid
        }
    }
}

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
        let is_news = !self.told || gap.serial != self.serial;
        let (told, before) = (std::mem::replace(&mut self.told, true), self.serial);
        // Encoded frames arrive out of order: an earlier frame may carry an earlier gap.
        self.serial = gap.serial.max(before);
        if !is_news {
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

    const PERIOD: Span = Span::from_nanos(33_333_333);

    /// Frame `number`, stamped by the sensor `sensor` periods after its start.
    fn frame(number: FrameNumber, sensor: f64) -> DeliveredFrame {
        let time = Timestamp::from_nanos(0) + PERIOD * i64::try_from(number).unwrap();
        let sensor_time = Timestamp::from_nanos(7) + Span::from_nanos_f64(sensor * 33_333_333.0);
        DeliveredFrame { number, time, sensor_time, lock: LockState::Locked }
    }

    /// The cause of the gap between frame 100 and frame `to`.
    fn cause(to: DeliveredFrame, events: SourceEvents) -> GapCause {
        let mut finder = GapFinder::default();
        assert_eq!(finder.handle_delivered(frame(100, 0.0), PERIOD).unwrap().cause, GapCause::Started);
        finder.note(events);
        let gap = finder.handle_delivered(to, PERIOD).unwrap();
        assert_eq!((gap.serial, gap.first, gap.count), (2, 101, to.number - 101));
        assert_eq!(
            finder.handle_delivered(frame(to.number + 1, 9e9), PERIOD),
            Some(gap),
            "the next frame carries it too"
        );
        gap.cause
    }

    #[test]
    fn each_gap_has_its_cause() {
        let nothing = SourceEvents::default();
        let lost = SourceEvents { lost: 9, ..nothing };
        let missed = frame(110, 10.0);
        assert_eq!(cause(missed, lost), GapCause::Camera);
        let half = PERIOD * 5;
        assert_eq!(cause(missed, SourceEvents { stopped: half, ..lost }), GapCause::Stopped);
        assert_eq!(
            cause(missed, SourceEvents { stopped: half, suspended: half, ..lost }),
            GapCause::Suspended
        );
        assert_eq!(
            cause(missed, SourceEvents { stopped: PERIOD * 4, ..lost }),
            GapCause::Camera,
            "it lasted for less than half of the gap"
        );
        assert_eq!(cause(missed, SourceEvents { blocked: half, ..lost }), GapCause::Blocked);
        assert_eq!(cause(missed, SourceEvents { paused: half, ..nothing }), GapCause::Paused);
        assert_eq!(cause(missed, SourceEvents { camera_restarted: true, ..lost }), GapCause::CameraRestarted);
        assert_eq!(cause(missed, SourceEvents { align_restarted: true, ..nothing }), GapCause::AlignRestart);
        assert_eq!(cause(missed, SourceEvents { reconfigured: true, ..nothing }), GapCause::Reconfigured);
        assert_eq!(cause(missed, SourceEvents { held_back: true, ..nothing }), GapCause::HeldBack);
        assert_eq!(cause(frame(110, 1.0), nothing), GapCause::Clock);
        assert_eq!(cause(frame(110, 2.0), lost), GapCause::Clock, "it is nearly all of the gap");
        let aligning = DeliveredFrame { lock: LockState::Aligning, ..frame(102, 1.6) };
        assert_eq!(cause(aligning, nothing), GapCause::AlignLonger);
        assert_eq!(cause(frame(102, 2.0), nothing), GapCause::Slow);
        assert_eq!(cause(frame(102, 1.501), nothing), GapCause::Slow);
        let free = DeliveredFrame { lock: LockState::Free, time: frame(101, 1.0).time, ..frame(102, 1.0) };
        assert_eq!(cause(free, nothing), GapCause::OffGrid);
    }

    #[test]
    fn a_hold_up_causes_the_gap_after_the_frames_in_flight() {
        let mut finder = GapFinder::default();
        finder.handle_delivered(frame(100, 0.0), PERIOD);
        finder.note(SourceEvents { stopped: PERIOD * 20, ..SourceEvents::default() });
        for number in 101..105 {
            assert_eq!(
                finder
                    .handle_delivered(
                        frame(number, f64::from(u32::try_from(number).unwrap()) - 100.0),
                        PERIOD
                    )
                    .unwrap()
                    .serial,
                1
            );
        }
        finder.note(SourceEvents { lost: 16, ..SourceEvents::default() });
        assert_eq!(finder.handle_delivered(frame(121, 21.0), PERIOD).unwrap().cause, GapCause::Stopped);
        finder.note(SourceEvents { stopped: PERIOD * 20, ..SourceEvents::default() });
        for number in 122..160 {
            finder.handle_delivered(frame(number, f64::from(u32::try_from(number).unwrap()) - 100.0), PERIOD);
        }
        finder.note(SourceEvents { lost: 1, ..SourceEvents::default() });
        assert_eq!(finder.handle_delivered(frame(161, 61.0), PERIOD).unwrap().cause, GapCause::Camera);
    }

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

    #[test]
    fn causes_have_names() {
        for cause in GapCause::ALL {
            assert_eq!(GapCause::from_name(cause.as_str()), Some(*cause));
        }
        assert_eq!(GapCause::from_name("sabotage"), None);
    }
}
