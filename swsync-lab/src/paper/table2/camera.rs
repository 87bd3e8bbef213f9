//! The simulated cameras of a trial, each aligned by swsync.

use clap::ValueEnum;
use swsync_core::align::inject::{InjectConfig, Injector};
use swsync_core::align::point::{AlignPoint, FrameTiming};
use swsync_core::align::{Aligner, AlignerConfig};
use swsync_core::frame::LockState;
use swsync_core::time::{Host, Rig, Skew, Span, Timestamp};
use swsync_sim::sensor::{Controls, Phone, PhoneFrame, PhoneModel, Sensor, SensorModel, TimestampPoint};

use crate::phase::trial::{calibrate, grid, timing};

/// Largest phase error of an aligned frame, and aligned frames until a camera counts as locked: as in the paper, and swsyncsrc's
/// default.
const TOLERANCE: Span = Span::from_micros(20);
const SETTLE_FRAMES: u32 = 3;
/// Scatter of a phone's shifts, as the injector expects it.
const SCATTER: Span = Span::from_micros(25);
/// A phone delivers a frame so long after its start: readout (33 ms, the supplement's Fig. 5) and processing (chosen).
const PHONE_DELIVERY: Span = Span::from_millis(40);
/// Calibrations have other random numbers than trials.
const CALIBRATION_SEED: u64 = 1 << 40;

/// Which camera both devices have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CameraKind {
    /// Raspberry Pi camera module 2: frame lengths can be set; each camera has constant errors of its own
    Imx219,
    /// The paper's phone: long exposures can be injected; its stamps are exact but for 2 us
    Pixel3,
}

impl CameraKind {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Imx219 => "imx219",
            Self::Pixel3 => "pixel3",
        }
    }

    /// How far the sensor's rate may be from the rate of its device's clock, and that clock's from true time, in ppm. The Pi's
    /// sensors have a crystal of their own. The phones are as the trace `pixel3-wifi` has them.
    pub const fn skews_ppm(self) -> (f64, f64) {
        match self {
            Self::Imx219 => (40.0, 40.0),
            Self::Pixel3 => (1.0, 1.0),
        }
    }

    /// A camera of this kind that is started at `at`.
    pub fn start(self, seed: u64, skew: Skew, at: Timestamp<Host>, random: f64) -> Camera {
        match self {
            Self::Imx219 => {
                let model = SensorModel::imx219().of_camera(seed, 0);
                let timing = timing(&model);
                Camera::Lengths(Box::new(LengthCamera {
                    sensor: Sensor::new(model, seed, skew, at, Controls::default()),
                    aligner: Aligner::new(AlignerConfig::new(grid(), timing, TOLERANCE, SETTLE_FRAMES)),
                    line_time_ns: timing.line_time_ns,
                }))
            }
            Self::Pixel3 => {
                let model = PhoneModel::paper(grid().period_ns());
                let response = calibrate(&model, seed.wrapping_add(CALIBRATION_SEED), skew)
                    .and_then(|calibration| calibration.finish().ok())
                    .map(|fit| fit.response().response);
                let mut phone = Phone::new(model, seed, skew, at + grid().period().mul_f64(random));
                Camera::Exposures(Box::new(ExposureCamera {
                    next: phone.next_frame(),
                    phone,
                    injector: Injector::new(InjectConfig {
                        grid: grid(),
                        phase_offset: Span::ZERO,
                        line_time_ns: SensorModel::imx219().line_time_ns,
                        tolerance: TOLERANCE,
                        settle_frames: SETTLE_FRAMES,
                        scatter: SCATTER,
                        response,
                        longest: None,
                    }),
                }))
            }
        }
    }
}

/// A frame as it was exposed.
#[derive(Debug, Clone, Copy)]
pub struct Exposed {
    /// When the first row's exposure began: what is put on the grid.
    pub start: Timestamp<Host>,
    /// The middle of the middle row's exposure: what a panel in the middle of the picture shows.
    pub middle: Timestamp<Host>,
    /// The frame's time as the device sees it.
    pub seen: Timestamp<Rig>,
    /// Its phase error as the device knows it, filtered: what frames.csv has.
    pub phase: Span,
    /// Whether the camera is locked.
    pub locked: bool,
}

/// A running camera with its control.
#[derive(Debug)]
pub enum Camera {
    /// Frame lengths are set.
    Lengths(Box<LengthCamera>),
    /// Exposures are injected.
    Exposures(Box<ExposureCamera>),
}

/// A sensor and its aligner.
#[derive(Debug)]
pub struct LengthCamera {
    sensor: Sensor,
    aligner: Aligner,
    line_time_ns: f64,
}

/// A phone and its injector.
#[derive(Debug)]
pub struct ExposureCamera {
    phone: Phone,
    next: PhoneFrame,
    injector: Injector,
}

impl Camera {
    /// When the next frame arrives.
    pub fn next_delivery(&self) -> Timestamp<Host> {
        match self {
            Self::Lengths(camera) => camera.sensor.next_delivery(),
            Self::Exposures(camera) => camera.next.stamp + PHONE_DELIVERY,
        }
    }

    /// The next frame arrives now; `clock` is the device's rig time at a true time, as it knows it now.
    pub fn handle_frame(&mut self, clock: impl Fn(Timestamp<Host>) -> Timestamp<Rig>) -> Exposed {
        match self {
            Self::Lengths(camera) => camera.handle_frame(clock),
            Self::Exposures(camera) => camera.handle_frame(clock),
        }
    }
}

impl LengthCamera {
    fn handle_frame(&mut self, clock: impl Fn(Timestamp<Host>) -> Timestamp<Rig>) -> Exposed {
        let frame = self.sensor.next_frame();
        let before = match self.sensor.model().timestamp_point {
            TimestampPoint::FirstRowReadout => frame.reported_exposure,
            TimestampPoint::FirstRowExposure => Span::ZERO,
        };
        let seen = clock(frame.timestamp) - before;
        let report = self.aligner.handle_frame_at(u64::from(frame.sequence), seen, clock(frame.delivered_at));
        if let Some(lines) = report.lines {
            // Whole microseconds, rounded up, as libcamera truncates to lines.
            let micros = (f64::from(lines) * self.line_time_ns / 1e3).ceil();
            let frame_duration = Some(Span::from_nanos_f64(micros * 1e3));
            self.sensor.queue_controls(frame.delivered_at, Controls { frame_duration, exposure: None });
        }
        let timing = FrameTiming {
            exposure: frame.exposure,
            row_time_ns: frame.line_time_ns,
            rows: frame.active_lines,
        };
        let start = frame.exposure_start_first_row;
        let middle = start + AlignPoint::ExposureCenter.after_exposure_start(&timing);
        Exposed { start, middle, seen, phase: report.phase_error, locked: report.lock == LockState::Locked }
    }
}

impl ExposureCamera {
    fn handle_frame(&mut self, clock: impl Fn(Timestamp<Host>) -> Timestamp<Rig>) -> Exposed {
        let frame = self.next;
        let seen = clock(frame.stamp);
        let report = self.injector.handle_frame(frame.sequence, seen);
        if let Some(exposure) = report.exposure {
            self.phone.inject(exposure);
        }
        self.next = self.phone.next_frame();
        // All rows are equally long after the start on both phones.
        Exposed {
            start: frame.start,
            middle: frame.start,
            seen,
            phase: report.phase_error,
            locked: report.lock == LockState::Locked,
        }
    }
}
