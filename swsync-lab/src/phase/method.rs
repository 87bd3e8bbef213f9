//! Methods to align a camera whose frame lengths can be set: swsync's, and those of its peers.

use clap::ValueEnum;
use swsync_core::align::{Aligner, AlignerConfig, SensorTiming};
use swsync_core::grid::FrameGrid;
use swsync_core::time::{Rig, Span, Timestamp};

/// A method to align.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// swsync's aligner
    Swsync,
    /// swsync's aligner, at most 1 % of the period a frame
    SwsyncSlew,
    /// Raspberry Pi's camera sync: one correction a second, beyond 50 us
    PiSync,
    /// The P controller of picamera2 issue 1050
    PController,
}

impl Method {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Swsync => "swsync",
            Self::SwsyncSlew => "swsync, 1 % slew",
            Self::PiSync => "pi sync",
            Self::PController => "p controller",
        }
    }

    /// A controller that aligns a camera with this timing to `grid`.
    pub fn build(self, grid: FrameGrid, sensor: SensorTiming) -> Box<dyn Controller> {
        let config = AlignerConfig::new(grid, sensor, Span::from_micros(20), 3);
        // Both peers count the period in whole microseconds.
        let nominal = Span::from_micros(grid.period().as_nanos() / 1_000);
        match self {
            Self::Swsync => Box::new(Swsync { aligner: Aligner::new(config), sensor }),
            Self::SwsyncSlew => {
                let config = AlignerConfig { max_slew: Some(0.01), ..config };
                Box::new(Swsync { aligner: Aligner::new(config), sensor })
            }
            Self::PiSync => Box::new(PiSync { grid, nominal, frames: 0 }),
            Self::PController => Box::new(PController { grid, nominal }),
        }
    }
}

/// A frame as a controller gets it.
#[derive(Debug, Clone, Copy)]
pub struct ArrivedFrame {
    /// The driver's sequence number.
    pub sequence: u64,
    /// Its timestamp, by the device's clock.
    pub time: Timestamp<Rig>,
    /// When it arrived, by the device's clock.
    pub now: Timestamp<Rig>,
    /// A random number, uniform in `[0, 1)`, for chances of the method.
    pub chance: f64,
}

/// Chooses frame durations.
pub trait Controller {
    /// The duration to request after `frame`, if any.
    fn handle_frame(&mut self, frame: &ArrivedFrame) -> Option<Span>;
}

struct Swsync {
    aligner: Aligner,
    sensor: SensorTiming,
}

impl Controller for Swsync {
    fn handle_frame(&mut self, frame: &ArrivedFrame) -> Option<Span> {
        let lines = self.aligner.handle_frame_at(frame.sequence, frame.time, frame.now).lines?;
        // Whole microseconds, rounded up, as libcamera truncates to lines.
        let micros = (f64::from(lines) * self.sensor.line_time_ns / 1e3).ceil();
        Some(Span::from_nanos_f64(micros * 1e3))
    }
}

/// libcamera's `src/ipa/rpi/controller/rpi/sync.cpp`: a client gets a message every 30 frames and corrects the whole difference in
/// one control set, if it is more than 50 us. Two in a hundred messages are lost.
struct PiSync {
    grid: FrameGrid,
    nominal: Span,
    frames: u32,
}

/// The server's `sync period`, in frames.
const SERVER_PERIOD: u32 = 30;
const MIN_ADJUSTMENT: Span = Span::from_micros(50);
const MESSAGE_LOSS: f64 = 0.02;

impl Controller for PiSync {
    fn handle_frame(&mut self, frame: &ArrivedFrame) -> Option<Span> {
        self.frames += 1;
        let heard = self.frames.is_multiple_of(SERVER_PERIOD) && frame.chance >= MESSAGE_LOSS;
        let error = self.grid.phase_error(frame.time);
        // libcamera sets a duration at every frame.
        let correction = if heard && error.abs() > MIN_ADJUSTMENT { error } else { Span::ZERO };
        Some(self.nominal - correction)
    }
}

/// The script in picamera2 issue 1050: corrects a twentieth of the error at every frame, at most 10 ms.
struct PController {
    grid: FrameGrid,
    nominal: Span,
}

const KP: f64 = 0.05;
const MOST: f64 = 10e6;

impl Controller for PController {
    fn handle_frame(&mut self, frame: &ArrivedFrame) -> Option<Span> {
        let error = self.grid.phase_error(frame.time).as_nanos_f64();
        Some(self.nominal - Span::from_nanos_f64((KP * error).clamp(-MOST, MOST)))
    }
}
