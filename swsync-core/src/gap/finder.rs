//! Finds the gaps of a source, and their causes.

use super::{FrameGap, GapCause};
use crate::frame::LockState;
use crate::grid::FrameNumber;
use crate::time::{Boottime, Rig, Span, Timestamp};

/// Frames without a gap after which an earlier hold-up of the source is forgotten: as many as a camera can have in flight.
const IN_FLIGHT: u32 = 30;

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
    /// Frames in a row without a gap, since the last gap or hold-up.
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
}
