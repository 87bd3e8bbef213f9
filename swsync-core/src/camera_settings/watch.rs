//! Watches the frames around a change of settings: what the camera used, and whether it stayed on the frame grid.

use serde::{Deserialize, Serialize};

use super::change::Assignments;
use super::control::CameraControl;
use super::message::ChangeState;
use super::value::ControlValues;
use crate::frame::{FrameInfo, LockState};
use crate::grid::FrameNumber;
use crate::time::Span;

/// Frames after a change's in which a loss of the lock is due to it: three contradicting frames lose a lock, and the filter of
/// stamps may take a few more.
const WATCHED: u64 = 12;

/// Frames after which a lock that was lost is no longer waited for: ten seconds at 30 a second.
const PATIENCE: u64 = 300;

/// How a camera's frames stood with the frame grid around a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PhaseRecord {
    /// The lock before it. `None`: no frame was seen before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<LockState>,
    /// The phase error of the last frame before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_before_ns: Option<Span>,
    /// The phase error farthest from zero of the frames since.
    pub worst_ns: Span,
    /// The first frame whose lock was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<FrameNumber>,
    /// The first frame that was on the grid again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<FrameNumber>,
    /// How many frames were seen from the change on.
    pub frames: u64,
}

impl PhaseRecord {
    /// Whether the camera was on the grid all the time.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        matches!(self.before, Some(LockState::Locked | LockState::Coasting)) && self.lost.is_none()
    }
}

/// Watches one change.
#[derive(Debug, Clone)]
pub struct ChangeWatch {
    frame: FrameNumber,
    assign: Assignments,
    /// Frame and values of the first frame from the change's on.
    used: Option<(FrameNumber, ControlValues)>,
    first: Option<FrameNumber>,
    /// Whether it is known which frame is the first, or that none is.
    is_first_known: bool,
    phase: PhaseRecord,
    done: bool,
}

impl ChangeWatch {
    /// Watches a change of `assign` from frame `frame` on.
    #[must_use]
    pub fn new(frame: FrameNumber, assign: Assignments) -> Self {
        let phase = PhaseRecord::default();
        Self { frame, assign, used: None, first: None, is_first_known: false, phase, done: false }
    }

    /// A frame has arrived, with what the camera reports to have used.
    pub fn handle_frame(&mut self, frame: &FrameInfo, used: impl FnOnce() -> ControlValues) {
        let on_grid = matches!(frame.lock, Some(LockState::Locked | LockState::Coasting));
        if frame.number < self.frame {
            (self.phase.before, self.phase.error_before_ns) = (frame.lock, Some(frame.phase_error_ns));
            return;
        }
        if self.used.is_none() {
            self.used = Some((frame.number, used()));
        }
        if self.done {
            return;
        }
        self.phase.frames += 1;
        if frame.phase_error_ns.abs() > self.phase.worst_ns.abs() {
            self.phase.worst_ns = frame.phase_error_ns;
        }
        let since = frame.number - self.frame;
        let was_on_grid = matches!(self.phase.before, Some(LockState::Locked | LockState::Coasting));
        if !on_grid && was_on_grid && self.phase.lost.is_none() && since <= WATCHED {
            self.phase.lost = Some(frame.number);
        }
        if on_grid && self.phase.lost.is_some() && self.phase.back.is_none() {
            self.phase.back = Some(frame.number);
        }
        let is_settled = match (self.phase.lost, self.phase.back) {
            (Some(_), None) => since >= PATIENCE,
            _ => since >= WATCHED,
        };
        self.done = is_settled && (self.is_first_known || since >= PATIENCE);
    }

    /// Frame `first` is the first with all of the settings; `None`: they had no effect.
    pub const fn handle_applied(&mut self, first: Option<FrameNumber>) {
        (self.first, self.is_first_known) = (first, true);
    }

    /// Whether nothing more is to be learnt.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// What is known by now.
    #[must_use]
    pub fn state(&self) -> ChangeState {
        let Some((frame, used)) = &self.used else { return ChangeState::Waiting };
        let was_set = |control: CameraControl| self.assign.get(control).is_some();
        let set = self.assign.iter().map(|(control, _)| *control);
        ChangeState::Seen {
            frame: *frame,
            first: self.first,
            used: used
                .iter()
                .filter(|(control, _)| was_set(**control))
                .map(|(c, v)| (*c, v.clone()))
                .collect(),
            unreported: set.filter(|control| used.get(*control).is_none()).collect(),
            phase: self.phase,
            done: self.done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn frame(number: u64, lock: LockState, error_us: i64) -> FrameInfo {
        FrameInfo {
            lock: Some(lock),
            ..FrameInfo::new(number, Timestamp::from_nanos(0), Span::from_micros(error_us))
        }
    }

    fn values(text: &str) -> ControlValues {
        ControlValues::parse(text.split(' ')).unwrap()
    }

    fn watch() -> ChangeWatch {
        ChangeWatch::new(100, values("exposure-time=5000 gamma=2").into())
    }

    /// Frames 95 to `last`, off the grid where `off` says.
    fn run(watch: &mut ChangeWatch, last: u64, off: impl Fn(u64) -> bool) {
        for number in 95..=last {
            let (lock, error) =
                if off(number) { (LockState::Aligning, -4_000) } else { (LockState::Locked, 5) };
            let used = if number < 100 { "exposure-time=4000" } else { "exposure-time=4992 analogue-gain=1" };
            watch.handle_frame(&frame(number, lock, error), || values(used));
        }
    }

    fn phase(watch: &ChangeWatch) -> PhaseRecord {
        match watch.state() {
            ChangeState::Seen { phase, .. } => phase,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_change_is_confirmed_with_what_its_frame_used() {
        let mut watch = watch();
        run(&mut watch, 99, |_| false);
        assert_eq!(watch.state(), ChangeState::Waiting);
        run(&mut watch, 105, |_| false);
        watch.handle_applied(Some(100));
        assert!(!watch.is_done(), "the lock may still be lost");
        for number in 106..=112 {
            watch.handle_frame(&frame(number, LockState::Locked, -9), ControlValues::default);
        }
        assert!(watch.is_done());
        let ChangeState::Seen { frame, first, used, unreported, phase, done } = watch.state() else {
            panic!()
        };
        assert_eq!((frame, first, done), (100, Some(100), true));
        assert_eq!(used.to_string(), "exposure-time=4992");
        assert_eq!(unreported, [CameraControl::Gamma]);
        assert!(phase.is_kept() && phase.worst_ns == Span::from_micros(-9), "{phase:?}");
    }

    #[test]
    fn a_lost_lock_is_reported_and_when_it_is_back() {
        let mut watch = watch();
        watch.handle_applied(Some(100));
        run(&mut watch, 115, |number| (100..120).contains(&number));
        assert!(!watch.is_done(), "it is not back yet");
        assert_eq!((phase(&watch).lost, phase(&watch).back), (Some(100), None));
        for number in 116..=121 {
            let lock = if number < 120 { LockState::Aligning } else { LockState::Locked };
            watch.handle_frame(&frame(number, lock, 0), ControlValues::default);
        }
        assert!(watch.is_done() && !phase(&watch).is_kept());
        assert_eq!((phase(&watch).back, phase(&watch).worst_ns), (Some(120), Span::from_micros(-4_000)));
    }

    #[test]
    fn a_lock_that_does_not_come_back_is_not_waited_for_for_ever() {
        let mut watch = watch();
        run(&mut watch, 100 + PATIENCE, |number| number >= 100);
        assert!(watch.is_done());
        assert_eq!((phase(&watch).lost, phase(&watch).back), (Some(100), None));
    }

    #[test]
    fn what_was_not_on_the_grid_before_has_lost_nothing_and_kept_nothing() {
        let mut watch = watch();
        watch.handle_applied(Some(100));
        run(&mut watch, 130, |number| number < 110);
        assert!(watch.is_done() && !phase(&watch).is_kept());
        assert_eq!((phase(&watch).before, phase(&watch).lost), (Some(LockState::Aligning), None));
        // A lock that is lost long after has another cause.
        let mut later = self::watch();
        run(&mut later, 130, |number| number > 125);
        assert_eq!(phase(&later).lost, None);
    }
}
