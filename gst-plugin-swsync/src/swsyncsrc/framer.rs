//! From a camera's frames to frames with a place in rig time: the camera, the bridge from its time to
//! the pipeline's clock, and the aligner that shifts it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use swsync_core::align::{Aligner, AlignerConfig, SensorTiming};
use swsync_core::frame::{FrameInfo, LockState};
use swsync_core::grid::FrameGrid;
use swsync_core::time::{Rig, Span, Timestamp};

use super::controls::Desk;
use super::exposure;
use crate::camera::mailbox::Mailbox;
use crate::camera::{Camera, CameraError, Capabilities, Controls, Frame, FrameDurationControl, Pacing};
use crate::clock::{SensorTimeBridge, rig_time, status_of};
use gst::prelude::*;

/// A camera in operation on a frame grid.
pub struct Framer {
    camera: Box<dyn Camera>,
    capabilities: Capabilities,
    grid: FrameGrid,
    bridge: SensorTimeBridge,
    aligner: Option<(Aligner, FrameDurationControl)>,
    last_sequence: Option<u64>,
    desk: Arc<Desk>,
}

/// A frame with its place in rig time.
pub struct PlacedFrame {
    pub buffer: gst::Buffer,
    pub info: FrameInfo,
    /// Frames that the camera lost just before this one.
    pub lost: u64,
}

impl Framer {
    /// Starts `camera`, which is configured, on `grid`.
    pub fn start(
        mut camera: Box<dyn Camera>,
        capabilities: Capabilities,
        grid: FrameGrid,
        bridge: SensorTimeBridge,
        (tolerance, settle_frames): (Span, u32),
        desk: Arc<Desk>,
    ) -> Result<Self, (Box<dyn Camera>, CameraError)> {
        if let Err(error) = camera.start() {
            return Err((camera, error));
        }
        let aligner = match capabilities.pacing {
            Pacing::FreeRunning(Some(control)) => {
                let sensor = sensor_timing(&control, grid);
                let config = AlignerConfig::new(grid, sensor, tolerance, settle_frames);
                Some((Aligner::new(config), control))
            }
            Pacing::FreeRunning(None) | Pacing::OnRequest => None,
        };
        Ok(Self { camera, capabilities, grid, bridge, aligner, last_sequence: None, desk })
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
    pub fn stop(mut self) -> Box<dyn Camera> {
        self.desk.end();
        self.camera.stop();
        self.camera
    }

    /// The next frame; `sleeper` interrupts waits of its own.
    pub fn next(&mut self, clock: &gst::Clock, sleeper: &Mailbox<()>) -> Result<PlacedFrame, CameraError> {
        if self.capabilities.pacing == Pacing::OnRequest {
            self.wait_for_grid(clock, sleeper)?;
            self.camera.request(Controls::default())?;
        }
        let frame = self.camera.next_frame()?;
        let time = self.frame_time(clock, &frame);
        let due = self.desk.due(self.grid.nearest(time));
        self.camera.stage(due);
        let (phase_error, lock) = self.align(frame.sequence, time, rig_time(clock.time()))?;
        if self.camera.waits_for_request() {
            self.camera.request(Controls::default())?;
        }
        let number = self.grid.nearest(time - phase_error);
        let lost = self
            .last_sequence
            .replace(frame.sequence)
            .map_or(0, |last| frame.sequence.saturating_sub(last + 1));
        let status = status_of(clock);
        let start = self.grid.instant(number) + phase_error;
        Ok(PlacedFrame {
            lost,
            info: FrameInfo {
                number,
                rig_time_ns: start,
                phase_error_ns: phase_error,
                clock_uncertainty_ns: status.uncertainty_ns,
                sync: status.quality,
                lock,
                exposure_ns: frame.exposure,
                analogue_gain: frame.analogue_gain,
                sensor_time_ns: Some(frame.sensor_time),
                details: exposure::details(&frame, start, self.capabilities.readout),
            },
            buffer: frame.buffer,
        })
    }

    /// Waits for the grid's next instant: a camera that takes frames on request is asked then.
    fn wait_for_grid(&self, clock: &gst::Clock, sleeper: &Mailbox<()>) -> Result<(), CameraError> {
        let now = rig_time(clock.time());
        let next = self.grid.instant(self.grid.nearest(now + self.grid.period() / 2));
        let wait: Duration = (next - now).to_duration();
        let nothing = sleeper.pop_until(Instant::now() + wait)?;
        debug_assert!(nothing.is_none(), "nobody posts to the sleeper");
        Ok(())
    }

    /// Start of exposure of the frame's first row, on the pipeline's clock.
    fn frame_time(&mut self, clock: &gst::Clock, frame: &Frame) -> Timestamp<Rig> {
        let stamped = self.bridge.convert(clock, frame.sensor_time);
        let exposure = frame.exposure.unwrap_or(Span::ZERO);
        let Capabilities { stamped_at, readout, .. } = &self.capabilities;
        stamped + stamped_at.to_exposure_start(exposure, readout.as_ref())
    }

    /// Phase error and lock of the frame; sends what the aligner wants to the camera.
    fn align(
        &mut self,
        sequence: u64,
        time: Timestamp<Rig>,
        now: Timestamp<Rig>,
    ) -> Result<(Span, LockState), CameraError> {
        let Some((aligner, control)) = &mut self.aligner else {
            return Ok((self.grid.phase_error(time), LockState::Free));
        };
        let report = aligner.handle_frame_at(sequence, time, now);
        if let Some(lines) = report.lines {
            let frame_duration = Some(control.duration_of(lines));
            self.camera.request(Controls { frame_duration, exposure: None })?;
        }
        Ok((report.phase_error, report.lock))
    }
}

/// What the aligner has to know of a sensor that runs at the rate of `grid`.
fn sensor_timing(control: &FrameDurationControl, grid: FrameGrid) -> SensorTiming {
    SensorTiming {
        line_time_ns: control.line_time_ns,
        min_lines: control.min_lines,
        max_lines: control.max_lines,
        nominal_lines: control.lines_of(grid.period()),
        // A control set goes out at the start of the frame after the one that has just arrived.
        latency: control.latency + 1,
        line_step: 1,
        // The element does not tell the aligner of exposures yet, so that none is to be kept away from.
        exposure_margin: 0,
    }
}
