//! From a camera's frames to frames with a place in rig time: the camera, the bridge from its time to
//! the pipeline's clock, and the driver that aligns it.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use swsync_core::frame::{FrameInfo, LockState};
use swsync_core::grid::FrameGrid;
use swsync_core::stamps::StampedBy;
use swsync_core::time::Span;

use super::align::{
    Action, AlignError, AlignMethod, Cause, Change, ClockBase, Driver, Method, Progress, Seen, Target,
    TimeBase, Verdict, check_grid,
};
use super::controls::Desk;
use super::dither::Dither;
use super::exposure;
use super::losses::Losses;
use crate::camera::controls::Setting;
use crate::camera::mailbox::Mailbox;
use crate::camera::{Camera, CameraError, Capabilities, Controls, Pacing};
use crate::clock::SensorTimeBridge;

/// How a camera is to be aligned, as long as it streams.
#[derive(Debug, Clone, Copy)]
pub struct Alignment {
    pub method: AlignMethod,
    /// Period of the rig's grid; 0 where it is the frames' own.
    pub grid_period: gst::Fraction,
    pub target: Target,
}

/// Why a camera does not stream.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Camera(#[from] CameraError),
    #[error(transparent)]
    Align(#[from] AlignError),
}

/// A camera in operation on a frame grid of a GstClock.
pub struct Framer {
    feed: Feed,
    bridge: SensorTimeBridge,
}

/// A frame with its place in rig time.
pub struct PlacedFrame {
    pub buffer: gst::Buffer,
    /// The same instant in the further streams.
    pub others: Vec<gst::Buffer>,
    /// See [`crate::camera::Frame::copied`].
    pub copied: bool,
    /// See [`crate::camera::Frame::reported`].
    pub reported: Vec<Setting>,
    /// See [`crate::camera::Frame::stamped_by`].
    pub stamped_by: StampedBy,
    pub info: FrameInfo,
    /// Frames that the camera lost just before this one.
    pub lost: u64,
    /// The camera was restarted before it.
    pub restarted: bool,
    /// Why, where the lock changed or another target was set.
    pub news: Option<Cause>,
    /// What began or ended to stand in the way of alignment.
    pub trouble: Option<Change>,
}

impl PlacedFrame {
    /// Whether there is anything to say of it.
    pub const fn is_news(&self) -> bool {
        self.news.is_some() || self.trouble.is_some() || self.lost > 0
    }
}

impl Framer {
    /// Starts `camera`, which is configured, on `grid`.
    pub fn start(
        camera: Box<dyn Camera>,
        capabilities: Capabilities,
        grid: FrameGrid,
        bridge: SensorTimeBridge,
        alignment: &Alignment,
        desk: Arc<Desk>,
    ) -> Result<Self, (Box<dyn Camera>, StartError)> {
        // The standard library's only source of chance; how long a camera sleeps needs no better one.
        let seed = RandomState::new().build_hasher().finish();
        let feed = Feed::start(camera, capabilities, grid, alignment, desk, seed)?;
        Ok(Self { feed, bridge })
    }

    pub const fn capabilities(&self) -> &Capabilities {
        &self.feed.capabilities
    }

    pub const fn grid(&self) -> FrameGrid {
        self.feed.grid
    }

    pub fn camera(&mut self) -> &mut dyn Camera {
        &mut *self.feed.camera
    }

    pub const fn progress(&self) -> &Progress {
        self.feed.progress()
    }

    /// Frames are aligned to `target` from now on.
    pub fn set_target(&mut self, target: Target) -> Result<(), AlignError> {
        self.feed.set_target(target)
    }

    /// Stops the camera and gives it back.
    pub fn stop(self) -> Box<dyn Camera> {
        let Feed { mut camera, desk, .. } = self.feed;
        desk.end();
        camera.stop();
        camera
    }

    /// The next frame; `sleeper` interrupts waits of its own.
    pub fn next(&mut self, clock: &gst::Clock, sleeper: &Mailbox<()>) -> Result<PlacedFrame, CameraError> {
        self.feed.next(&mut ClockBase { clock, bridge: &mut self.bridge, sleeper })
    }
}

/// A camera in operation on a frame grid, on whatever time.
pub struct Feed {
    camera: Box<dyn Camera>,
    capabilities: Capabilities,
    grid: FrameGrid,
    method: Method,
    driver: Driver,
    /// Keeps the rate where nothing is aligned.
    dither: Option<Dither>,
    target: Target,
    losses: Losses,
    /// The camera is stopped, to be started again after so long.
    resting: Option<Span>,
    restarted: bool,
    /// Controls that people set.
    desk: Arc<Desk>,
    /// The last request set an exposure to align the camera.
    injecting: bool,
    /// A frame was asked for, and has not come yet.
    asked: bool,
}

impl Feed {
    /// Starts `camera`, which is configured, on `grid`. `seed` decides what chance does.
    pub fn start(
        mut camera: Box<dyn Camera>,
        capabilities: Capabilities,
        grid: FrameGrid,
        alignment: &Alignment,
        desk: Arc<Desk>,
        seed: u64,
    ) -> Result<Self, (Box<dyn Camera>, StartError)> {
        let Alignment { method, grid_period, target } = *alignment;
        let driver = check_grid(grid, grid_period)
            .and_then(|()| Method::choose(method, &capabilities, grid.period()))
            .and_then(|method| {
                let driver = Driver::new(method, &capabilities, grid, target, seed)?;
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
            (Method::None, Pacing::FreeRunning(Some(control))) => Some(Dither::new(control, grid)),
            _ => None,
        };
        tracing::info!(camera = capabilities.model, method = method.name(), "aligning");
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
            desk,
            injecting: false,
            asked: false,
        })
    }

    /// Frames are aligned to `target` from now on.
    pub fn set_target(&mut self, target: Target) -> Result<(), AlignError> {
        self.target = target;
        self.driver.set_target(target, &self.capabilities)
    }

    pub const fn progress(&self) -> &Progress {
        self.driver.progress()
    }

    /// The next frame.
    pub fn next(&mut self, time: &mut impl TimeBase) -> Result<PlacedFrame, CameraError> {
        self.rest(time)?;
        // Once, however often the wait for it is interrupted.
        if self.method == Method::OnRequest && !self.asked {
            self.wait_for_grid(time)?;
            self.camera.request(Controls::default())?;
            self.asked = true;
        }
        let frame = self.camera.next_frame()?;
        self.asked = false;
        let stamped = time.convert(frame.sensor_time);
        let status = time.status();
        let (sequence, exposure) = (frame.sequence, frame.exposure);
        let seen = Seen { sequence, stamped, now: time.now(), quality: status.quality, exposure };
        let verdict = self.driver.handle_frame(&seen);
        self.act(&verdict)?;
        let frame_duration =
            self.dither.as_mut().and_then(|dither| dither.next(frame.details.frame_duration_ns));
        if frame_duration.is_some() {
            self.camera.request(Controls { frame_duration, exposure: None })?;
        }
        let steady = matches!(verdict.lock, LockState::Locked | LockState::Free);
        let (counted, duration) = ((frame.sequence, frame.sensor_time), frame.details.frame_duration_ns);
        let lost = self.losses.before(counted, duration, self.grid.period(), steady);
        Ok(PlacedFrame {
            lost,
            restarted: std::mem::take(&mut self.restarted),
            news: verdict.news,
            trouble: verdict.trouble,
            info: FrameInfo {
                number: verdict.number,
                rig_time_ns: verdict.time,
                phase_error_ns: verdict.phase_error,
                clock_uncertainty_ns: status.uncertainty_ns,
                sync: status.quality,
                lock: Some(verdict.lock),
                exposure_ns: frame.exposure,
                analogue_gain: frame.analogue_gain,
                sensor_time_ns: Some(frame.sensor_time),
                details: exposure::details(&frame, verdict.start, self.capabilities.readout),
            },
            buffer: frame.buffer,
            others: frame.others,
            copied: frame.copied,
            reported: frame.reported,
            stamped_by: frame.stamped_by,
        })
    }

    /// Does to the camera what alignment asks for, and what people do.
    fn act(&mut self, verdict: &Verdict) -> Result<(), CameraError> {
        let injects = matches!(verdict.action, Action::Set(Controls { exposure: Some(_), .. }));
        // What is to stay comes after an exposure that is to shift the stream.
        if !injects {
            let mut due = self.desk.due(verdict.number);
            if std::mem::take(&mut self.injecting) {
                due.extend(self.desk.auto_exposure());
            }
            self.camera.stage(due);
        }
        self.injecting |= injects;
        match verdict.action {
            Action::Nothing => {}
            Action::Set(controls) => {
                if let Some(exposure) = controls.exposure {
                    tracing::debug!(?exposure, phase_error = ?verdict.phase_error, "one frame of another exposure");
                }
                self.camera.request(controls)?;
            }
            Action::Restart(rest) => {
                tracing::debug!(?rest, phase_error = ?verdict.phase_error, "restarting the camera");
                self.resting = Some(rest);
            }
        }
        if self.camera.waits_for_request() {
            self.camera.request(Controls::default())?;
        }
        Ok(())
    }

    /// Stops the camera, waits and starts it again, where the driver asked for that. When interrupted, it goes
    /// on with the next call.
    fn rest(&mut self, time: &impl TimeBase) -> Result<(), CameraError> {
        let Some(rest) = self.resting else { return Ok(()) };
        self.camera.stop();
        time.sleep(rest)?;
        // What of it the camera refuses was said when it was configured.
        let _refused = self.desk.begin(&mut *self.camera, &self.capabilities, self.grid);
        self.camera.start()?;
        self.resting = None;
        (self.losses, self.restarted) = (Losses::default(), true);
        self.driver.handle_restarted();
        Ok(())
    }

    /// Waits for the grid's next instant: a camera that takes frames on request is asked then.
    fn wait_for_grid(&self, time: &impl TimeBase) -> Result<(), CameraError> {
        let now = time.now() - self.target.phase_offset;
        let next = self.grid.instant(self.grid.nearest(now + self.grid.period() / 2));
        time.sleep(next - now)?;
        Ok(())
    }
}
