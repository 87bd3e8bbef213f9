//! Aligns one camera: the three methods of swsync-core behind one type, sans-IO. Frames with their stamps on the pipeline's
//! clock come in; each frame's time and number, and an action for the camera, go out.
//!
//! An instant of the frame is aligned (`align-point`). Readouts come at regular intervals. When the exposure changes, the
//! instant moves relative to the readout, by a span that is known from the frame's metadata. The method is told
//! ([`swsync_core::align::Aligner::displace`]), so that it does not take this for an error of the stamp.

mod issue;
mod method;
pub mod report;
pub mod settings;
mod time;

#[cfg(all(test, feature = "simulation"))]
mod tests;

use swsync_core::align::exposure_response::ExposureResponse;
use swsync_core::align::inject::{InjectConfig, Injector};
use swsync_core::align::point::{AlignPoint, FrameTiming};
use swsync_core::align::reset::{Reset, ResetConfig};
use swsync_core::align::{AlignProblem, Aligner, AlignerConfig, AlignerTarget, SensorTiming};
use swsync_core::frame::{LockState, SyncState};
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::time::{Rig, Span, Timestamp};

use crate::camera::{Capabilities, Controls, ExposureControl, FrameDurationControl, Readout, StampedAt};
use issue::IssueTracker;
pub use issue::{Issue, IssueChange};
pub use method::{AlignError, AlignMethod, AlignPointSetting, AlignerKind, check_grid};
pub use time::{ClockBase, TimeBase};

/// Tolerances that the methods reach: 20 us as in the paper; 1 ms is what restarts reach within minutes.
const FINE: Span = Span::from_micros(20);
const COARSE: Span = Span::from_millis(1);
/// Scatter of shifts by exposure, if no profile says (the paper, sec. V.B: tens of us).
const SCATTER: Span = Span::from_micros(25);
/// libcamera's unit of exposure times.
const MICROSECOND: Span = Span::from_micros(1);
const MICROSECOND_NS: f64 = 1_000.0;

/// What frames are aligned to. It may change while the camera streams.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlignTarget {
    /// The instant of a frame that is aligned.
    pub point: AlignPoint,
    /// How long after the grid's instant it is to be.
    pub phase_offset: Span,
    /// Largest phase error of a locked frame; `None`: the method's default.
    pub tolerance: Option<Span>,
    /// Frames within the tolerance, in a row, that make a lock.
    pub settle_frames: u32,
    /// Largest part of the period by which one frame may differ from it; `None`: any.
    pub max_slew: Option<f64>,
}

/// What is observed of a frame.
#[derive(Debug, Clone, Copy)]
pub struct ObservedFrame {
    /// The camera's count.
    pub sequence: u64,
    /// Its stamp, on the pipeline's clock.
    pub stamped: Timestamp<Rig>,
    /// That clock now.
    pub now: Timestamp<Rig>,
    /// How well that clock knows rig time.
    pub quality: SyncState,
    /// The exposure time, if the camera says so.
    pub exposure: Option<Span>,
}

/// What to do to the camera.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AlignAction {
    Nothing,
    Set(Controls),
    /// Stop it, leave it stopped for so long, start it again and call [`CameraAligner::handle_restarted`].
    Restart(Span),
}

/// Why the lock changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockCause {
    /// The first frame, or the camera was restarted, or its count started again.
    Start,
    /// The frames' phase.
    Phase,
    /// The exposure changed, and so the aligned instant moved.
    Exposure,
    /// Another target was set.
    Target,
    /// The clock went into holdover, or came out of it.
    Clock,
}

impl LockCause {
    /// Its name in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Phase => "phase",
            Self::Exposure => "exposure",
            Self::Target => "target",
            Self::Clock => "clock",
        }
    }
}

/// The result for a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameVerdict {
    /// The number of its instant of the grid.
    pub number: FrameNumber,
    /// The aligned instant.
    pub time: Timestamp<Rig>,
    /// Start of exposure of the first row.
    pub start: Timestamp<Rig>,
    /// The aligned instant minus where it should be.
    pub phase_error: Span,
    pub lock: LockState,
    /// Why the lock changed, if it did or another target was set.
    pub news: Option<LockCause>,
    /// An issue that began or ended.
    pub trouble: Option<IssueChange>,
    pub action: AlignAction,
    /// The next frame had begun when this one arrived.
    pub late: bool,
}

/// The state of alignment, for `stats`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlignProgress {
    pub method: &'static str,
    /// The tolerance in effect: the property's, or the method's default.
    pub tolerance: Span,
    /// Uncertainty of the phase error, 1 sigma, from the stamps alone.
    pub uncertainty: Option<Span>,
    /// Measured latency of frame durations, in frames.
    pub latency: Option<u32>,
    /// Frame durations that took effect late or never.
    pub missed_writes: u32,
    /// Long exposures injected.
    pub injections: u32,
    /// How often the camera was restarted to be aligned.
    pub restarts: u32,
    /// The learnt effect of long exposures.
    pub response: Option<ExposureResponse>,
    /// The current issue.
    pub trouble: Option<Issue>,
}

/// Aligns one camera.
#[derive(Debug)]
pub struct CameraAligner {
    grid: FrameGrid,
    stamped_at: StampedAt,
    stamp_bias: Span,
    readout: Option<Readout>,
    target: AlignTarget,
    point: AlignPoint,
    engine: MethodState,
    /// The last exposure that the camera reported.
    exposure: Option<Span>,
    /// From the start of readout to the aligned instant of the last frame.
    place: Option<Span>,
    sequence: Option<u64>,
    lock: LockState,
    holdover: bool,
    retargeted: bool,
    issues: IssueTracker,
    progress: AlignProgress,
}

#[derive(Debug)]
enum MethodState {
    Inject {
        aligner: Box<Aligner>,
        control: FrameDurationControl,
    },
    InjectExposure(ExposureInjection),
    Reset {
        reset: Box<Reset>,
        random: u64,
    },
    /// Not aligned: so asked for, or given up because nothing had an effect.
    None {
        given_up: Option<AlignProblem>,
    },
}

/// Alignment by long exposures.
#[derive(Debug)]
struct ExposureInjection {
    injector: Box<Injector>,
    control: ExposureControl,
    /// The exposure that the camera has by itself.
    usual: Option<Span>,
    /// Whether a long exposure was requested, and the usual one is to follow.
    returns: bool,
}

impl MethodState {
    fn new(
        method: AlignerKind,
        camera: &Capabilities,
        grid: FrameGrid,
        target: &AlignTarget,
        tolerance: Span,
        seed: u64,
    ) -> Self {
        let AlignerTarget { phase_offset, settle_frames, .. } = aligner_target(target, tolerance);
        let line_time_ns = camera.readout.map_or(MICROSECOND_NS, |readout| readout.row_time_ns);
        match method {
            AlignerKind::Inject(control) => {
                let sensor = sensor_timing(&control, grid);
                let config = AlignerConfig {
                    phase_offset,
                    max_slew: target.max_slew,
                    ..AlignerConfig::new(grid, sensor, tolerance, settle_frames)
                };
                Self::Inject { aligner: Box::new(Aligner::new(config)), control }
            }
            AlignerKind::InjectExposure(control) => {
                let injector = Injector::new(InjectConfig {
                    grid,
                    phase_offset,
                    line_time_ns: line_time_ns.max(MICROSECOND_NS),
                    tolerance,
                    settle_frames,
                    scatter: SCATTER,
                    response: camera.response,
                    longest: Some(control.max),
                });
                Self::InjectExposure(ExposureInjection {
                    injector: Box::new(injector),
                    control,
                    usual: None,
                    returns: false,
                })
            }
            AlignerKind::Reset => {
                let config = ResetConfig { grid, phase_offset, tolerance };
                let (half, most) = (config.predicted(0.5), config.predicted(0.99));
                swsync_core::log::info!(
                    ?tolerance,
                    ?half,
                    ?most,
                    "restarts until aligned: half of all cameras take, and 99 %"
                );
                Self::Reset { reset: Box::new(Reset::new(config)), random: seed }
            }
            AlignerKind::None | AlignerKind::OnRequest => Self::None { given_up: None },
        }
    }
}

impl ExposureInjection {
    /// Handles a frame whose aligned instant is `time`.
    fn handle_frame(
        &mut self,
        seen: &ObservedFrame,
        time: Timestamp<Rig>,
        grid: FrameGrid,
        progress: &mut AlignProgress,
    ) -> MethodReport {
        let report = self.injector.handle_frame(seen.sequence, time);
        progress.uncertainty = Some(report.uncertainty);
        progress.injections = report.injections;
        progress.response = Some(self.injector.learnt());
        // After one long exposure the usual one is requested. If a long one is still seen, that is requested
        // again, as the first request may have been lost.
        let long = seen.exposure.is_some_and(|exposure| exposure > grid.period());
        if !long && !self.returns {
            self.usual = seen.exposure.or(self.usual);
        }
        let exposure = report.exposure.filter(|_| !gives_up(report.problem));
        let wanted = exposure.map(|exposure| exposure.clamp(self.control.min, self.control.max));
        let normal = (self.returns || long).then(|| self.usual.unwrap_or(grid.period() / 2));
        self.returns = wanted.is_some();
        let exposure = wanted.or(normal);
        MethodReport {
            phase_error: report.phase_error,
            lock: report.lock,
            trouble: report.problem,
            late: false,
            action: exposure.map_or(AlignAction::Nothing, |exposure| {
                AlignAction::Set(Controls { exposure: Some(exposure), ..Controls::default() })
            }),
        }
    }
}

/// What each method reports of a frame.
#[derive(Debug, Clone, Copy)]
struct MethodReport {
    phase_error: Span,
    lock: LockState,
    trouble: Option<AlignProblem>,
    action: AlignAction,
    late: bool,
}

impl CameraAligner {
    /// Aligns `camera` by `method` to `grid`. `seed` is for random waits between restarts.
    ///
    /// # Errors
    /// [`AlignError::NoReadout`].
    pub fn new(
        method: AlignerKind,
        camera: &Capabilities,
        grid: FrameGrid,
        target: AlignTarget,
        seed: u64,
    ) -> Result<Self, AlignError> {
        check_point(target.point, camera)?;
        let tolerance = target.tolerance.unwrap_or(if method == AlignerKind::Reset { COARSE } else { FINE });
        let engine = MethodState::new(method, camera, grid, &target, tolerance, seed);
        let progress = AlignProgress {
            method: method.name(),
            tolerance,
            uncertainty: None,
            latency: None,
            missed_writes: 0,
            injections: 0,
            restarts: 0,
            response: camera.response,
            trouble: None,
        };
        Ok(Self {
            grid,
            stamped_at: camera.stamped_at,
            stamp_bias: camera.stamp_bias,
            readout: camera.readout,
            target,
            point: target.point,
            engine,
            exposure: None,
            place: None,
            sequence: None,
            lock: LockState::Searching,
            holdover: false,
            retargeted: false,
            issues: IssueTracker::default(),
            progress,
        })
    }

    pub const fn progress(&self) -> &AlignProgress {
        &self.progress
    }

    /// Aligns to `target` from the next frame on. What has been learnt of the camera is kept.
    ///
    /// # Errors
    /// [`AlignError::NoReadout`], once. Then the align point stays, and the rest of `target` is in effect.
    pub fn set_target(&mut self, target: AlignTarget, camera: &Capabilities) -> Result<(), AlignError> {
        if target == self.target {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.target, target);
        if let Some(tolerance) = target.tolerance {
            self.progress.tolerance = tolerance;
        } else if before.tolerance.is_some() {
            let coarse = matches!(self.engine, MethodState::Reset { .. });
            self.progress.tolerance = if coarse { COARSE } else { FINE };
        }
        let aim = aligner_target(&target, self.progress.tolerance);
        match &mut self.engine {
            MethodState::Inject { aligner, .. } => aligner.set_target(aim),
            MethodState::InjectExposure(injection) => injection.injector.set_target(aim),
            MethodState::Reset { reset, .. } => reset.set_target(aim),
            MethodState::None { .. } => {}
        }
        self.retargeted = true;
        check_point(target.point, camera)?;
        self.point = target.point;
        Ok(())
    }

    /// The camera was started again.
    pub fn handle_restarted(&mut self) {
        (self.sequence, self.place) = (None, None);
        if let MethodState::Reset { reset, .. } = &mut self.engine {
            reset.handle_restarted();
        }
    }

    /// A frame has arrived.
    pub fn handle_frame(&mut self, seen: &ObservedFrame) -> FrameVerdict {
        self.exposure = seen.exposure.or(self.exposure);
        let exposure = self.exposure.unwrap_or(Span::ZERO);
        let unknown = FrameTiming { exposure, row_time_ns: 0.0, rows: 0 };
        let timing = self.readout.map_or(unknown, |readout| readout.timing(exposure));
        let start = self.stamped_at.to_exposure_start(exposure, self.readout.as_ref()) - self.stamp_bias;
        let readout = seen.stamped + start + exposure;
        let place = self.point.after_readout_start(&timing);
        let moved = self.place.replace(place).map_or(Span::ZERO, |before| place - before);
        let started = self.sequence.replace(seen.sequence).is_none_or(|last| last >= seen.sequence);
        let holdover = seen.quality == SyncState::Holdover;
        let judged = self.apply_method(seen, (readout, place), moved, holdover);
        let cause = if started {
            LockCause::Start
        } else if self.retargeted {
            LockCause::Target
        } else if holdover != self.holdover {
            LockCause::Clock
        } else if moved != Span::ZERO && judged.lock == LockState::Aligning {
            LockCause::Exposure
        } else {
            LockCause::Phase
        };
        let changed = judged.lock != self.lock || started;
        let news = (changed || self.retargeted).then_some(cause);
        (self.lock, self.holdover, self.retargeted) = (judged.lock, holdover, false);
        let trouble = self.issues.observe(self.issue(judged.trouble));
        self.progress.trouble = self.issues.current();
        self.verdict(seen, readout + place, &judged, news, trouble, self.point.after_exposure_start(&timing))
    }

    fn verdict(
        &self,
        seen: &ObservedFrame,
        time: Timestamp<Rig>,
        judged: &MethodReport,
        news: Option<LockCause>,
        trouble: Option<IssueChange>,
        after_start: Span,
    ) -> FrameVerdict {
        let MethodReport { phase_error, lock, action, late, .. } = *judged;
        let offset = self.target.phase_offset;
        let number = self.grid.nearest(time - offset - phase_error);
        let time = self.grid.instant(number) + offset + phase_error;
        if news.is_some() || action != AlignAction::Nothing {
            swsync_core::log::trace!(
                sequence = seen.sequence,
                number,
                ?phase_error,
                lock = lock.as_str(),
                ?action,
                "frame"
            );
        }
        FrameVerdict {
            number,
            time,
            start: time - after_start,
            phase_error,
            lock,
            news,
            trouble,
            action,
            late,
        }
    }

    /// Has the method handle a frame whose readout began at `readout`. Its aligned instant is `place` after that, `moved` more
    /// than the last frame's.
    fn apply_method(
        &mut self,
        seen: &ObservedFrame,
        (readout, place): (Timestamp<Rig>, Span),
        moved: Span,
        holdover: bool,
    ) -> MethodReport {
        let Self { engine, progress, grid, target, exposure, .. } = self;
        let time = readout + place;
        let free = |trouble, action| MethodReport {
            phase_error: grid.phase_error(time - target.phase_offset),
            lock: LockState::Free,
            trouble,
            action,
            late: false,
        };
        let judged = match engine {
            MethodState::Inject { aligner, control } => {
                aligner.set_holdover(holdover);
                if let Some(exposure) = *exposure {
                    // Metadata is truncated to microseconds, which may be a line less.
                    aligner.set_exposure(exposure + MICROSECOND);
                }
                if moved != Span::ZERO {
                    aligner.displace(moved);
                }
                // The next frame begins with its readout.
                let report = aligner.handle_frame_at(seen.sequence, time, seen.now + place);
                progress.uncertainty = Some(report.uncertainty);
                progress.latency = Some(report.latency);
                progress.missed_writes = report.missed_writes;
                let controls = |lines| Controls {
                    frame_duration: Some(control.duration_of(lines)),
                    ..Controls::default()
                };
                MethodReport {
                    phase_error: report.phase_error,
                    lock: report.lock,
                    trouble: report.problem,
                    late: report.late,
                    action: report
                        .lines
                        .map_or(AlignAction::Nothing, |lines| AlignAction::Set(controls(lines))),
                }
            }
            MethodState::InjectExposure(injection) => {
                injection.injector.set_holdover(holdover);
                if moved != Span::ZERO {
                    injection.injector.displace(moved);
                }
                injection.handle_frame(seen, time, *grid, progress)
            }
            MethodState::Reset { reset, random } => {
                reset.set_holdover(holdover);
                if moved != Span::ZERO {
                    reset.displace(moved);
                }
                let report = reset.handle_frame(seen.sequence, time, uniform(random));
                progress.uncertainty = Some(report.uncertainty);
                progress.restarts = report.restarts;
                MethodReport {
                    phase_error: report.phase_error,
                    lock: report.lock,
                    trouble: None,
                    action: report.restart_after.map_or(AlignAction::Nothing, AlignAction::Restart),
                    late: false,
                }
            }
            MethodState::None { given_up } => return free(*given_up, AlignAction::Nothing),
        };
        if !gives_up(judged.trouble) {
            return judged;
        }
        // Otherwise it would try for ever, and hold back all frames.
        *engine = MethodState::None { given_up: judged.trouble };
        progress.method = AlignerKind::None.name();
        free(judged.trouble, judged.action)
    }

    /// The issue that the method reports, or that the aligned instant is not known.
    fn issue(&self, trouble: Option<AlignProblem>) -> Option<Issue> {
        let needs_exposure =
            self.stamped_at != StampedAt::ExposureStart || self.point == AlignPoint::ExposureCenter;
        let blind = (self.exposure.is_none() && needs_exposure).then_some(Issue::UnknownExposure);
        trouble.map(Issue::Aligner).or(blind)
    }
}

/// Whether aligning is given up.
const fn gives_up(trouble: Option<AlignProblem>) -> bool {
    matches!(trouble, Some(AlignProblem::NoEffect { .. }))
}

/// Whether `wait-lock` holds back frames with this lock state. `won`: the camera has been locked before.
///
/// If a stream that was locked is being corrected because its exposure or target was changed, frames go on, and each says so.
pub const fn held_back(lock: LockState, won: bool) -> bool {
    match lock {
        LockState::Locked | LockState::Coasting | LockState::Free => false,
        LockState::Aligning => !won,
        LockState::Searching | LockState::Lost => true,
    }
}

const fn aligner_target(target: &AlignTarget, tolerance: Span) -> AlignerTarget {
    let AlignTarget { phase_offset, settle_frames, max_slew, .. } = *target;
    AlignerTarget { phase_offset, tolerance, settle_frames, max_slew }
}

fn check_point(point: AlignPoint, camera: &Capabilities) -> Result<(), AlignError> {
    if point == AlignPoint::ExposureCenter && camera.readout.is_none() {
        return Err(AlignError::NoReadout { camera: camera.model.clone() });
    }
    Ok(())
}

/// The timing of a sensor at the rate of `grid`, for the aligner.
fn sensor_timing(control: &FrameDurationControl, grid: FrameGrid) -> SensorTiming {
    SensorTiming {
        line_time_ns: control.line_time_ns,
        min_lines: control.min_lines,
        max_lines: control.max_lines,
        nominal_lines: control.lines_of(grid.period()),
        // Controls go out at the start of the frame after the one that has just arrived.
        latency: control.latency + 1,
        line_step: 1,
        exposure_margin: control.exposure_margin,
    }
}

/// A random number, uniform in 0..1 (splitmix64, Steele et al. 2014).
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    f64::from(u32::try_from(z >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}
