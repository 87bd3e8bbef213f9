//! Statistics of `swsyncsrc`, and the decision whether a frame goes downstream.

use swsync_core::frame::{FrameInfo, LockState};
use swsync_core::frame_number::GridPhase;
use swsync_core::gap::{DeliveredFrame, FrameGap, GapFinder, SourceEvents};
use swsync_core::grid::FrameGrid;
use swsync_core::stamps::StampedBy;
use swsync_core::time::{Boottime, Span, Timestamp};

use super::align::{AlignProgress, held_back, report};
use super::aligned_camera::AlignedFrame;
use super::interruptions::Interruptions;
use crate::camera::mode::Mode;
use crate::meta;

/// Running times that go back by less than this are errors. Going back by more is intended, as after a change of base time.
const SET_BACK: gst::ClockTime = gst::ClockTime::SECOND;

/// How long no frame may go downstream before a warning.
const SILENT: Span = Span::from_secs(5);

/// Frame numbers that go back by more than this are of a clock that was set.
const FEW: u64 = 2;

/// Why frames do not go downstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoDelivery {
    /// The camera is off the grid, and `wait-lock` holds frames back.
    HeldBack,
    /// By their stamps, they were taken while the pipeline did not play.
    NotPlaying,
}

/// What is known of frames since the element was started.
#[derive(Debug, Clone, Copy, Default)]
pub struct SourceStats {
    pub newest: Option<FrameInfo>,
    pub lock_count: u32,
    /// The number of the newest frame that went downstream.
    delivered: Option<u64>,
    /// Numbers the frames of a free camera.
    phase: GridPhase,
    /// The running time of the newest frame that went downstream.
    last_pts: Option<gst::ClockTime>,
    /// Finds gaps between frames that went downstream.
    gaps: GapFinder,
    /// The last gap.
    gap: Option<FrameGap>,
    /// The first frame of those that did not go downstream, and whether the warning was posted.
    silent: Option<(Timestamp<Boottime>, bool)>,
    /// The camera was restarted for other formats, and no frame has come since.
    pub reconfigured: bool,
    /// The camera streams again after a fault, and no frame has come since.
    pub resumed: bool,
    /// Frames that were copied, because downstream held nearly all of the camera's frame buffers.
    pub copied: u64,
    /// Frames that were dropped because the branch of a further pad was too slow.
    pub branch_dropped: u64,
    /// How often the camera was opened again after it had stalled or gone.
    pub recoveries: u64,
    /// The state of alignment, while the camera streams.
    pub progress: Option<AlignProgress>,
    /// The camera's mode.
    pub mode: Option<Mode>,
    /// The clock that stamped the newest frame.
    stamped_by: Option<StampedBy>,
    /// Frames that came, that the camera lost, and that were off the grid.
    frames: u64,
    lost: u64,
    off_grid: u64,
    /// Frames that were exposed while the pipeline did not play.
    not_playing: u64,
    /// Frames that were dropped because another one has their number.
    number_taken: u64,
}

/// What [`SourceStats::decide`] decides about a frame.
#[derive(Debug, Clone, Copy)]
pub struct FrameDecision {
    /// How often the camera has locked.
    pub lock_count: u32,
    /// Whether it is the first frame that was copied.
    pub first_copy: bool,
    /// Its running time, if it goes downstream.
    pub pts: Option<gst::ClockTime>,
    /// Whether frame numbers are missing before it, or the camera was restarted.
    pub discont: bool,
    /// The last gap in the stream.
    pub gap: Option<FrameGap>,
    /// Why no frame has gone downstream for long, if a warning is due.
    pub silence: Option<NoDelivery>,
}

impl SourceStats {
    /// Counts a frame and decides whether it goes downstream. A frame without a running time does not, nor one off the
    /// grid with `wait-lock`, nor one whose number was delivered already. Adds to `frame.lost` what was lost in a fault.
    pub fn decide(
        &mut self,
        frame: &mut AlignedFrame,
        progress: &AlignProgress,
        interruptions: Interruptions,
        wait_lock: bool,
        grid: FrameGrid,
        pts: Option<gst::ClockTime>,
    ) -> FrameDecision {
        let again = self.is_duplicate(&mut frame.info, grid);
        let number = frame.info.number;
        let holds = |lock| matches!(lock, Some(LockState::Locked | LockState::Coasting));
        let before = self.newest.as_ref().map(|info| (info.number, info.lock));
        self.newest = Some(frame.info);
        let resumed = std::mem::take(&mut self.resumed);
        if resumed {
            frame.lost += before.map_or(0, |(before, _)| number.saturating_sub(before + 1));
        }
        frame.lost = self.missed(frame.lost);
        let won = holds(frame.info.lock) && !before.is_some_and(|(_, lock)| holds(lock));
        self.lock_count += u32::from(won);
        let lock = frame.info.lock.unwrap_or(LockState::Free);
        let held_back = held_back(lock, self.lock_count > 0);
        self.progress = Some(*progress);
        self.stamped_by = Some(frame.stamped_by);
        self.frames += 1;
        self.lost += frame.lost;
        self.off_grid += u64::from(held_back);
        self.copied += u64::from(frame.copied);
        let pts = pts.filter(|pts| self.last_pts.is_none_or(|last| *pts > last || last - *pts > SET_BACK));
        self.not_playing += u64::from(pts.is_none());
        self.number_taken += u64::from(pts.is_some() && again);
        let held_back = wait_lock && held_back;
        let silence = match pts {
            None => Some(NoDelivery::NotPlaying),
            Some(_) => held_back.then_some(NoDelivery::HeldBack),
        };
        let silence = self.warning_due(frame.info.sensor_time_ns, silence, interruptions.paused);
        let pts = pts.filter(|_| !held_back && !again);
        self.last_pts = pts.or(self.last_pts);
        let Interruptions { blocked, stopped, suspended, paused } = interruptions;
        self.gaps.note(SourceEvents {
            lost: frame.lost,
            camera_restarted: resumed,
            align_restarted: frame.restarted,
            reconfigured: std::mem::take(&mut self.reconfigured),
            held_back,
            blocked,
            stopped,
            suspended,
            paused,
        });
        if let (Some(_), Some(sensor_time)) = (pts, frame.info.sensor_time_ns) {
            let time = frame.info.rig_time_ns;
            self.gap =
                self.gaps.handle_delivered(DeliveredFrame { number, time, sensor_time, lock }, grid.period());
        }
        // A frame that was made longer to move the phase skips a number too.
        let before = pts.and_then(|_| self.delivered.replace(number));
        let discont = frame.restarted || before.is_some_and(|before| number != before + 1);
        FrameDecision {
            lock_count: self.lock_count,
            first_copy: frame.copied && self.copied == 1,
            pts,
            discont,
            gap: self.gap,
            silence,
        }
    }

    /// How many of `lost` frames are missing downstream: none before the first one that goes there. A camera that counts by itself
    /// (uvcvideo does) goes on counting while the pipeline takes its time from PAUSED to PLAYING and nobody takes frames.
    const fn missed(&self, lost: u64) -> u64 {
        if self.delivered.is_some() { lost } else { 0 }
    }

    /// Whether a frame with this number went downstream already. While a camera is brought onto the grid, two frames can be nearest
    /// to one instant. Frames of a free camera are numbered by their phase, as they may stay between two instants.
    fn is_duplicate(&mut self, info: &mut FrameInfo, grid: FrameGrid) -> bool {
        if info.lock == Some(LockState::Free) {
            let time = grid.instant(info.number) + info.phase_error_ns;
            info.number = self.phase.near(time, grid);
            info.phase_error_ns = time - grid.instant(info.number);
        }
        self.delivered.is_some_and(|before| (info.number..=info.number + FEW).contains(&before))
    }

    /// Whether a warning is due that no frame goes downstream: once each time. The newest frame, of `time`, does not for the
    /// reason `why`; `None` if it does.
    fn warning_due(
        &mut self,
        time: Option<Timestamp<Boottime>>,
        why: Option<NoDelivery>,
        paused: Span,
    ) -> Option<NoDelivery> {
        if why.is_none() || paused > Span::ZERO {
            self.silent = None;
        }
        let (time, why) = (time?, why?);
        let (since, said) = self.silent.get_or_insert((time, false));
        let due = time - *since >= SILENT && !*said;
        *said |= due;
        due.then_some(why)
    }

    /// The property `stats`; `None` before the first frame.
    pub fn stats(&self) -> Option<gst::Structure> {
        let progress = self.progress?;
        let mut stats = gst::Structure::builder("swsync-src-stats")
            .field("frames", self.frames)
            .field("lost", self.lost)
            .field("copied", self.copied)
            .field("branch-dropped", self.branch_dropped)
            .field("recoveries", self.recoveries)
            .field("off-grid", self.off_grid)
            .field("not-playing", self.not_playing)
            .field("number-taken", self.number_taken)
            .field("lock-count", self.lock_count)
            .build();
        stats.set_if_some("orientation", self.mode.map(|mode| mode.orientation.nick()));
        stats.set_if_some(
            "sensor-config",
            self.mode.and_then(|mode| mode.sensor).map(|sensor| sensor.structure()),
        );
        stats.set_if_some("sensor-clock", self.stamped_by.map(|by| by.clock.as_str()));
        stats.set_if_some("sensor-clock-basis", self.stamped_by.map(|by| by.basis.as_str()));
        stats.set_if_some("newest-frame", self.newest.as_ref().map(meta::structure_of));
        report::add_to_stats(&mut stats, self.newest.as_ref(), &progress);
        Some(stats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_duplicate_twice() {
        let grid = FrameGrid::new(30, 1).unwrap();
        let mut observed = SourceStats::default();
        // Delivers a frame at so many tenths of a period.
        let mut deliver = |tenths: i64, lock| {
            let time = Timestamp::ZERO + grid.period() * tenths / 10;
            let mut info = FrameInfo {
                sync: swsync_core::frame::SyncState::Synced,
                lock: Some(lock),
                ..FrameInfo::new(grid.nearest(time), time, grid.phase_error(time))
            };
            let taken = observed.is_duplicate(&mut info, grid);
            if !taken {
                observed.delivered = Some(info.number);
            }
            assert!((grid.instant(info.number) + info.phase_error_ns - time).abs() < Span::from_nanos(20));
            (!taken).then_some(info.number)
        };
        let free = [74, 86, 94, 106, 114, 120].map(|tenths| deliver(tenths, LockState::Free));
        assert_eq!(free, [7, 8, 9, 10, 11, 12].map(Some));
        assert_eq!(deliver(122, LockState::Free), None, "more frames than instants");
        let aligning = [130, 134, 140].map(|tenths| deliver(tenths, LockState::Aligning));
        assert_eq!(aligning, [Some(13), None, Some(14)]);
        assert_eq!(deliver(30, LockState::Aligning), Some(3), "the clock was set");
    }

    #[test]
    fn what_a_camera_counted_before_the_stream_began_is_not_lost() {
        let mut observed = SourceStats::default();
        assert_eq!(observed.missed(12), 0);
        observed.delivered = Some(700);
        assert_eq!(observed.missed(12), 12);
    }

    #[test]
    fn a_lack_of_frames_is_reported_once_each_time() {
        let mut observed = SourceStats::default();
        let mut after = |seconds: i64, why, paused: i64| {
            let time = Timestamp::from_nanos(7) + Span::from_secs(seconds);
            observed.warning_due(Some(time), why, Span::from_secs(paused))
        };
        let held_back = Some(NoDelivery::HeldBack);
        assert_eq!([0, 4, 5, 6, 600].map(|at| after(at, held_back, 0)), [None, None, held_back, None, None]);
        assert_eq!(after(601, None, 0), None, "a frame");
        assert_eq!([602, 606, 607].map(|at| after(at, held_back, 0)), [None, None, held_back]);
        assert_eq!(after(608, None, 0), None);
        let not_playing = Some(NoDelivery::NotPlaying);
        assert_eq!([609, 613].map(|at| after(at, not_playing, 0)), [None, None]);
        assert_eq!(after(700, not_playing, 90), None, "the pipeline was paused");
        assert_eq!([704, 705].map(|at| after(at, not_playing, 0)), [None, not_playing]);
    }
}
