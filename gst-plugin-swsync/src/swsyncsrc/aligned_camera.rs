//! A camera that is kept on the frame grid: takes its frames, gives each a rig time and a number, and sends the aligner's
//! controls to the camera.

use std::sync::Arc;

use swsync_core::frame::{FrameInfo, LockState};
use swsync_core::grid::FrameGrid;
use swsync_core::stamps::StampedBy;
use swsync_core::status::ClockLog;
use swsync_core::time::Span;

use super::align::{
    AlignAction, AlignError, AlignMethod, AlignProgress, AlignTarget, AlignerKind, CameraAligner,
    FrameVerdict, IssueChange, LockCause, ObservedFrame, TimeBase, check_grid,
};
use super::controls::ControlQueue;
use super::dither::Dither;
use super::frame_details;
use super::losses::Losses;
use crate::camera::controls::Setting;
use crate::camera::{Camera, CameraError, Capabilities, Controls, Pacing};

/// How a camera is to be aligned.
#[derive(Debug, Clone, Copy)]
pub struct Alignment {
    pub method: AlignMethod,
    /// Period of the rig's grid; 0 for that of the frames.
    pub grid_period: gst::Fraction,
    pub target: AlignTarget,
}

/// Why a camera cannot start to stream.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Camera(#[from] CameraError),
    #[error(transparent)]
    Align(#[from] AlignError),
}

/// A frame with its rig time and number.
pub struct AlignedFrame {
    /// See [`crate::camera::Frame::pictures`].
    pub pictures: Vec<gst::Buffer>,
    /// See [`crate::camera::Frame::copied`].
    pub copied: bool,
    /// See [`crate::camera::Frame::reported`].
    pub reported: Vec<Setting>,
    /// See [`crate::camera::Frame::stamped_by`].
    pub stamped_by: StampedBy,
    pub info: FrameInfo,
    /// How many frames the camera lost just before this one.
    pub lost: u64,
    /// Whether the camera was restarted just before.
    pub restarted: bool,
    /// Why the lock changed, if it did or another target was set.
    pub news: Option<LockCause>,
    /// An issue of alignment that began or ended.
    pub trouble: Option<IssueChange>,
}

impl AlignedFrame {
    /// Whether there is anything to report.
    pub const fn is_news(&self) -> bool {
        self.news.is_some() || self.trouble.is_some() || self.lost > 0
    }
}

/// See the module's documentation. Time comes in as an argument, so that tests run on simulated time.
pub struct AlignedCamera {
    camera: Box<dyn Camera>,
    capabilities: Capabilities,
    grid: FrameGrid,
    method: AlignerKind,
    driver: CameraAligner,
    /// Keeps the frame rate of a camera that is not aligned.
    dither: Option<Dither>,
    target: AlignTarget,
    losses: Losses,
    /// The camera is to be stopped, and started again after so long.
    resting: Option<Span>,
    restarted: bool,
    /// Controls that users set.
    controls: Arc<ControlQueue>,
    /// Whether the last request set an exposure to align the camera.
    injecting: bool,
    /// Whether a frame was requested that has not come yet.
    asked: bool,
    /// How good the clock was when frames were taken.
    clock: ClockLog,
}

impl AlignedCamera {
    /// Starts `camera`, which is configured, on `grid`. `seed` is for random waits between restarts.
    pub fn start(
        mut camera: Box<dyn Camera>,
        capabilities: Capabilities,
        grid: FrameGrid,
        alignment: &Alignment,
        controls: Arc<ControlQueue>,
        seed: u64,
    ) -> Result<Self, (Box<dyn Camera>, StartError)> {
        let Alignment { method, grid_period, target } = *alignment;
        let driver = check_grid(grid, grid_period)
            .and_then(|()| AlignerKind::choose(method, &capabilities, grid.period()))
            .and_then(|method| {
                let driver = CameraAligner::new(method, &capabilities, grid, target, seed)?;
                Ok((method, driver))
            });
        let (method, driver) = match driver {
            Ok(driver) => driver,
            Err(error) => return Err((camera, error.into())),
        };
        if let Err(error) = camera.start() {
            return Err((camera, error.into()));
        }
        let dither = match (method, capabilities.pacing) {
            (AlignerKind::None, Pacing::FreeRunning(Some(control))) => Some(Dither::new(control, grid)),
            _ => None,
        };
        swsync_core::log::info!(camera = capabilities.model, method = method.name(), "aligning");
        Ok(Self {
            camera,
            capabilities,
            grid,
            method,
            driver,
            dither,
            target,
            losses: Losses::default(),
            resting: None,
            restarted: false,
            controls,
            injecting: false,
            asked: false,
            clock: ClockLog::default(),
        })
    }

    /// Frames are aligned to `target` from now on.
    pub fn set_target(&mut self, target: AlignTarget) -> Result<(), AlignError> {
        self.target = target;
        self.driver.set_target(target, &self.capabilities)
    }

    pub const fn progress(&self) -> &AlignProgress {
        self.driver.progress()
    }

    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    pub const fn grid(&self) -> FrameGrid {
        self.grid
    }

    pub fn camera(&mut self) -> &mut dyn Camera {
        &mut *self.camera
    }

    /// Stops the camera and gives it back.
    pub fn stop(self) -> Box<dyn Camera> {
        let Self { mut camera, controls, .. } = self;
        controls.end();
        camera.stop();
        camera
    }

    /// The next frame.
    pub fn next(&mut self, time: &mut impl TimeBase) -> Result<AlignedFrame, CameraError> {
        self.rest(time)?;
        // Only once, even if the wait for it is interrupted.
        if self.method == AlignerKind::OnRequest && !self.asked {
            self.wait_for_grid(time)?;
            self.camera.request(Controls::default())?;
            self.asked = true;
        }
        let frame = self.camera.next_frame()?;
        self.asked = false;
        let stamped = time.convert(frame.sensor_time);
        let status = time.status();
        self.clock.note(&status);
        let (sequence, exposure) = (frame.sequence, frame.exposure);
        let seen = ObservedFrame { sequence, stamped, now: time.now(), quality: status.quality, exposure };
        let verdict = self.driver.handle_frame(&seen);
        self.act(&verdict)?;
        let frame_duration =
            self.dither.as_mut().and_then(|dither| dither.next(frame.details.frame_duration_ns));
        if frame_duration.is_some() {
            self.camera.request(Controls { frame_duration, exposure: None })?;
        }
        let filter = self.driver.progress().uncertainty.filter(|_| verdict.lock != LockState::Free);
        let timing_error = frame_details::timing_error(&frame, &self.capabilities, self.target.point, filter);
        let steady = matches!(verdict.lock, LockState::Locked | LockState::Free);
        let (counted, duration) = ((frame.sequence, frame.sensor_time), frame.details.frame_duration_ns);
        let lost = self.losses.before(counted, duration, self.grid.period(), steady);
        Ok(AlignedFrame {
            lost,
            restarted: std::mem::take(&mut self.restarted),
            news: verdict.news,
            trouble: verdict.trouble,
            info: FrameInfo {
                number: verdict.number,
                rig_time_ns: verdict.time,
                phase_error_ns: verdict.phase_error,
                clock_uncertainty_ns: status.uncertainty_ns,
                // The frame was taken before, and its stamp was converted to rig time just now.
                sync: self.clock.worse_at(verdict.time, status.quality),
                timescale: status.timescale(),
                lock: Some(verdict.lock),
                exposure_ns: frame.exposure,
                analogue_gain: frame.analogue_gain,
                sensor_time_ns: Some(frame.sensor_time),
                details: frame_details::details(
                    &frame,
                    verdict.start,
                    self.capabilities.readout,
                    timing_error,
                ),
            },
            pictures: frame.pictures,
            copied: frame.copied,
            reported: frame.reported,
            stamped_by: frame.stamped_by,
        })
    }

    /// Sends the aligner's and the users' controls to the camera.
    fn act(&mut self, verdict: &FrameVerdict) -> Result<(), CameraError> {
        let injects = matches!(verdict.action, AlignAction::Set(Controls { exposure: Some(_), .. }));
        // Settings that are to stay go out after an exposure that shifts the stream.
        if !injects {
            let mut due = self.controls.due(verdict.number, self.control_lead(verdict.late));
            if std::mem::take(&mut self.injecting) {
                due.extend(self.controls.auto_exposure());
            }
            self.camera.stage(due);
        }
        self.injecting |= injects;
        match verdict.action {
            AlignAction::Nothing => {}
            AlignAction::Set(controls) => {
                if let Some(exposure) = controls.exposure {
                    swsync_core::log::debug!(?exposure, phase_error = ?verdict.phase_error, "one frame of another exposure");
                }
                self.camera.request(controls)?;
            }
            AlignAction::Restart(rest) => {
                swsync_core::log::debug!(?rest, phase_error = ?verdict.phase_error, "restarting the camera");
                self.resting = Some(rest);
            }
        }
        if self.camera.waits_for_request() {
            self.camera.request(Controls::default())?;
        }
        Ok(())
    }

    /// Frames from the one just taken to the first that settings of now will determine, as the aligner has measured it: they go out
    /// with its frame durations. `late`: the next frame has begun, so that they wait for the one after it.
    fn control_lead(&self, late: bool) -> Option<u32> {
        let Pacing::FreeRunning(Some(control)) = self.capabilities.pacing else { return None };
        let latency = self.driver.progress().latency?;
        let beyond = self.camera.control_lead().saturating_sub(control.latency + 1);
        Some(latency + beyond + u32::from(late))
    }

    /// Restarts the camera if the aligner has asked for that. After an interruption the next call goes on.
    fn rest(&mut self, time: &impl TimeBase) -> Result<(), CameraError> {
        let Some(rest) = self.resting else { return Ok(()) };
        self.camera.stop();
        time.sleep(rest)?;
        // Refusals were reported when the camera was configured.
        let _refused = self.controls.begin(&mut *self.camera, &self.capabilities, self.grid);
        self.camera.start()?;
        self.resting = None;
        (self.losses, self.restarted) = (Losses::default(), true);
        self.driver.handle_restarted();
        Ok(())
    }

    /// Waits for the grid's next instant, at which a camera on request is asked for a frame.
    fn wait_for_grid(&self, time: &impl TimeBase) -> Result<(), CameraError> {
        let now = time.now() - self.target.phase_offset;
        let next = self.grid.instant(self.grid.nearest(now + self.grid.period() / 2));
        time.sleep(next - now)?;
        Ok(())
    }
}
