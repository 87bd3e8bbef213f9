//! A camera and a clock on simulated time.

use std::sync::Arc;

use parking_lot::Mutex;
use swsync_core::align::point::AlignPoint;
use swsync_core::frame::{FrameDetails, SyncState};
use swsync_core::grid::FrameGrid;
use swsync_core::stamps::{StampBasis, StampClock, StampedBy};
use swsync_core::status::ClockStatus;
use swsync_core::time::Host;
use swsync_core::time::{Boottime, Rig, Skew, Span, Timestamp};
use swsync_sim::sensor::{self, Phone, PhoneModel, Sensor, SensorModel};

use super::super::{AlignMethod, AlignTarget, TimeBase};
use crate::camera::controls::{Range, Ranges, Setting, Value, by_name};
use crate::camera::mode::Mode;
use crate::camera::{
    Camera, CameraError, Capabilities, Controls, ExposureControl, Flushing, Frame, FrameDurationControl,
    Pacing, Readout, Shutter, StampedAt, StreamRole, StreamSetup, TimingError, Wakeup,
};
use crate::swsyncsrc::aligned_camera::{AlignedCamera, AlignedFrame, Alignment, StartError};
use crate::swsyncsrc::controls::ControlQueue;

/// As of the simulated camera.
const STAMP_ERROR: Span = Span::from_micros(5);
/// Rig time where true time is 0.
const EPOCH: Timestamp<Rig> = Timestamp::from_nanos(1_800_000_000_000_000_000);

/// What of a camera can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Can {
    Durations,
    Exposures,
    Nothing,
    /// It takes a frame when it is asked for one.
    OnRequest,
}

/// What happens beside frames.
#[derive(Debug)]
pub struct World {
    pub now: Timestamp<Host>,
    /// Rig time less true time, beside [`EPOCH`].
    pub clock_error: Span,
    pub quality: SyncState,
    /// The exposure that somebody sets with the next request.
    pub exposure: Option<Span>,
    /// The same, through the element's controls.
    pub staged: Option<Span>,
    /// The camera crashes and starts anew before the next frame.
    pub crash: bool,
    /// The next so many waits are interrupted.
    pub interruptions: u32,
    /// The same, of waits for a frame.
    pub frame_interruptions: u32,
    /// Requests without a frame.
    pub requests: u32,
    /// The camera does not say how long it exposed.
    pub silent: bool,
    pub starts: u64,
    pub running: bool,
    pub longest_request: Span,
    /// The newest frame, in truth: start of exposure of the first row, and the middle of the middle row's.
    pub truth: (Timestamp<Host>, Timestamp<Host>),
}

/// The stage: time, and what happens beside frames.
#[derive(Debug, Clone)]
pub struct Stage(Arc<Mutex<World>>);

impl Stage {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(World {
            now: Timestamp::from_nanos(7_000_000_000),
            clock_error: Span::ZERO,
            quality: SyncState::Synced,
            exposure: None,
            staged: None,
            crash: false,
            interruptions: 0,
            frame_interruptions: 0,
            requests: 0,
            silent: false,
            starts: 0,
            running: false,
            longest_request: Span::ZERO,
            truth: (Timestamp::ZERO, Timestamp::ZERO),
        })))
    }

    pub fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        act(&mut self.0.lock())
    }

    /// Rig time of the newest frame's start of exposure and of its middle, in truth.
    pub fn truth(&self) -> (Timestamp<Rig>, Timestamp<Rig>) {
        let (start, middle) = self.with(|world| world.truth);
        (self.rig(start), self.rig(middle))
    }

    fn rig(&self, at: Timestamp<Host>) -> Timestamp<Rig> {
        EPOCH + Span::from_nanos(at.as_nanos()) + self.with(|world| world.clock_error)
    }
}

impl TimeBase for Stage {
    fn now(&self) -> Timestamp<Rig> {
        self.rig(self.with(|world| world.now))
    }

    fn convert(&mut self, at: Timestamp<Boottime>) -> Timestamp<Rig> {
        self.rig(Timestamp::from_nanos(at.as_nanos()))
    }

    fn status(&self) -> ClockStatus {
        ClockStatus {
            quality: self.with(|world| world.quality),
            rig_time_ns: self.now(),
            offset_ns: Span::ZERO,
            uncertainty_ns: Some(Span::from_micros(3)),
            skew_ppm: 0.0,
            round_trip_ns: None,
            source: None,
            server: None,
            path_offset_ns: Span::ZERO,
        }
    }

    fn sleep(&self, span: Span) -> Result<(), Flushing> {
        self.with(|world| {
            if world.interruptions > 0 {
                world.interruptions -= 1;
                return Err(Flushing);
            }
            world.now += span;
            Ok(())
        })
    }
}

/// What a camera on the stage is like.
#[derive(Debug, Clone)]
pub struct Kind {
    pub model: SensorModel,
    pub can: Can,
    pub phone: bool,
    pub readout: bool,
    pub skew_ppm: f64,
    pub seed: u64,
    pub exposure: Span,
}

impl Kind {
    pub fn new(model: SensorModel) -> Self {
        let exposure = Span::from_millis(4);
        Self { model, can: Can::Durations, phone: false, readout: true, skew_ppm: 14.0, seed: 1, exposure }
    }
}

struct StagedCamera {
    stage: Stage,
    kind: Kind,
    period: Span,
    body: Option<Body>,
}

enum Body {
    Sensor(Box<Sensor>),
    Phone(Box<Phone>),
}

impl StagedCamera {
    fn capabilities(&self) -> Capabilities {
        let Kind { model, can, phone, readout, .. } = &self.kind;
        Capabilities {
            model: "staged".into(),
            pacing: match can {
                Can::OnRequest => Pacing::OnRequest,
                can => Pacing::FreeRunning((*can == Can::Durations).then_some(FrameDurationControl {
                    line_time_ns: model.line_time_ns,
                    min_lines: model.min_frame_length,
                    max_lines: model.max_frame_length,
                    latency: model.delays.vblank,
                    exposure_margin: model.exposure_margin,
                })),
            },
            exposure: (*can == Can::Exposures)
                .then_some(ExposureControl { min: Span::from_micros(20), max: Span::from_millis(200) }),
            response: None,
            readout: readout.then_some(Readout {
                shutter: Shutter::Rolling,
                row_time_ns: model.line_time_ns,
                rows: model.height,
            }),
            stamped_at: if *phone { StampedAt::ExposureStart } else { StampedAt::ReadoutStart },
            stamp_bias: Span::ZERO,
            timing_error: TimingError {
                stamp: Some(STAMP_ERROR),
                exposure_reference: Some(Span::from_nanos_f64(model.line_time_ns)),
            },
            latency: Span::from_millis(60),
            backlog: 4,
            mode: Mode::default(),
        }
    }

    fn boot(&mut self) {
        let Kind { model, phone, skew_ppm, seed, exposure, .. } = self.kind.clone();
        let (now, starts) = self.stage.with(|world| {
            world.starts += 1;
            world.running = true;
            (world.now, world.starts)
        });
        let (seed, skew) = (seed + 1_000 * starts, Skew::from_ppm(skew_ppm));
        self.body = Some(if phone {
            let model = PhoneModel::paper(self.period.as_nanos_f64());
            Body::Phone(Box::new(Phone::new(model, seed, skew, now + Span::from_micros(612_345))))
        } else {
            let controls = sensor::Controls { frame_duration: None, exposure: Some(exposure) };
            Body::Sensor(Box::new(Sensor::new(model, seed, skew, now, controls)))
        });
    }
}

impl Camera for StagedCamera {
    fn caps(&self, _role: StreamRole) -> gst::Caps {
        gst::Caps::new_any()
    }

    fn set_mode(&mut self, _mode: Mode) -> Result<(), CameraError> {
        Ok(())
    }

    fn configure(&mut self, _streams: &[StreamSetup]) -> Result<Capabilities, CameraError> {
        Ok(self.capabilities())
    }

    fn control_ranges(&self) -> Ranges {
        let control = by_name("ExposureTime").expect("it is in the table");
        let set = self.kind.can != Can::Nothing;
        let ranges = Ranges::new("staged");
        if set { ranges.with(control, Range::Numbers(100.0, 33_000.0)) } else { ranges }
    }

    fn control_lead(&self) -> u32 {
        let delays = self.kind.model.delays;
        1 + delays.exposure.max(delays.vblank)
    }

    fn stage(&mut self, settings: Vec<Setting>) {
        for Setting { control, value } in settings {
            if let ("ExposureTime", Value::Int(us)) = (control.name, value) {
                self.stage.with(|world| world.staged = Some(Span::from_micros(i64::from(us))));
            }
        }
    }

    fn waits_for_request(&self) -> bool {
        self.stage.with(|world| world.staged.is_some())
    }

    fn start(&mut self) -> Result<(), CameraError> {
        self.boot();
        Ok(())
    }

    fn request(&mut self, controls: Controls) -> Result<(), CameraError> {
        let (now, set) = self.stage.with(|world| {
            world.requests += 1;
            world.longest_request = world.longest_request.max(controls.exposure.unwrap_or(Span::ZERO));
            let staged = world.staged.take();
            (world.now, world.exposure.take().or(staged))
        });
        let Controls { frame_duration, exposure, .. } = controls;
        let exposure = exposure.or(set);
        match self.body.as_mut().expect("it runs") {
            Body::Sensor(sensor) => {
                sensor.queue_controls(now, sensor::Controls { frame_duration, exposure });
            }
            Body::Phone(phone) => {
                if let Some(long) = exposure.filter(|exposure| *exposure > self.period) {
                    phone.inject(long);
                }
            }
        }
        Ok(())
    }

    fn next_frame(&mut self) -> Result<Frame, CameraError> {
        let interrupted = self.stage.with(|world| {
            let interrupted = world.frame_interruptions > 0;
            world.frame_interruptions = world.frame_interruptions.saturating_sub(1);
            world.requests = world.requests.saturating_sub(u32::from(!interrupted));
            interrupted
        });
        if interrupted {
            return Err(CameraError::Flushing);
        }
        if self.stage.with(|world| std::mem::take(&mut world.crash)) {
            self.boot();
        }
        let normal = self.kind.exposure;
        let (sequence, stamp, exposure, truth, delivered) = match self.body.as_mut().expect("it runs") {
            Body::Sensor(sensor) => {
                let frame = sensor.next_frame();
                let (start, middle) = (frame.exposure_start_first_row, frame.shutter(1080).centre(1080));
                let sequence = u64::from(frame.sequence);
                (sequence, frame.timestamp, frame.reported_exposure, (start, middle), frame.delivered_at)
            }
            Body::Phone(phone) => {
                let frame = phone.next_frame();
                let exposure = frame.injected.unwrap_or(normal);
                let delivered = frame.start + exposure + Span::from_millis(25);
                (frame.sequence, frame.stamp, exposure, (frame.start, frame.start), delivered)
            }
        };
        let silent = self.stage.with(|world| {
            world.now = world.now.max(delivered);
            world.truth = truth;
            world.silent
        });
        Ok(Frame {
            pictures: vec![gst::Buffer::new()],
            copied: false,
            sequence,
            sensor_time: Timestamp::from_nanos(stamp.as_nanos()),
            stamped_by: StampedBy { clock: StampClock::Boottime, basis: StampBasis::Same },
            exposure: (!silent).then_some(exposure),
            analogue_gain: None,
            reported: Vec::new(),
            details: FrameDetails::default(),
        })
    }

    fn stop(&mut self) {
        self.body = None;
        self.stage.with(|world| world.running = false);
    }

    fn wakeup(&self) -> Arc<dyn Wakeup> {
        unreachable!("nothing waits on simulated time")
    }
}

/// A camera being aligned.
pub struct AlignmentRun {
    pub stage: Stage,
    pub camera: AlignedCamera,
    pub controls: Arc<ControlQueue>,
    pub grid: FrameGrid,
}

pub const TARGET: AlignTarget = AlignTarget {
    point: AlignPoint::FrameStart,
    phase_offset: Span::ZERO,
    tolerance: None,
    settle_frames: 3,
    max_slew: None,
};

/// Starts a camera at `rate` frames per second.
pub fn try_rehearse(
    kind: &Kind,
    rate: u32,
    method: AlignMethod,
    target: AlignTarget,
) -> Result<AlignmentRun, StartError> {
    gst::init().expect("GStreamer starts");
    let grid = FrameGrid::new(rate, 1).expect("a rate");
    let stage = Stage::new();
    let mut camera =
        StagedCamera { stage: stage.clone(), kind: kind.clone(), period: grid.period(), body: None };
    let capabilities = camera.capabilities();
    let alignment = Alignment { method, grid_period: gst::Fraction::new(0, 1), target };
    let controls = Arc::<ControlQueue>::default();
    controls.begin(&mut camera, &capabilities, grid);
    let queue = controls.clone();
    let aligned = AlignedCamera::start(Box::new(camera), capabilities, grid, &alignment, queue, kind.seed);
    aligned.map(|camera| AlignmentRun { stage, camera, controls, grid }).map_err(|(_, error)| error)
}

pub fn rehearse(kind: &Kind, method: AlignMethod, target: AlignTarget) -> AlignmentRun {
    try_rehearse(kind, 30, method, target).unwrap_or_else(|error| panic!("{error}"))
}

impl AlignmentRun {
    pub fn next(&mut self) -> AlignedFrame {
        self.try_next().expect("a frame")
    }

    pub fn try_next(&mut self) -> Result<AlignedFrame, CameraError> {
        self.camera.next(&mut self.stage)
    }

    /// The next `n` frames.
    pub fn frames(&mut self, n: usize) -> Vec<AlignedFrame> {
        (0..n).map(|_| self.next()).collect()
    }

    /// True error of the newest frame's start of exposure against the grid, and of its middle.
    pub fn errors(&self) -> (Span, Span) {
        let (start, middle) = self.stage.truth();
        (self.grid.phase_error(start), self.grid.phase_error(middle))
    }
}
