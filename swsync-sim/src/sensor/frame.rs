//! A frame of a simulated sensor, and its random faults.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Exp1, StandardNormal};
use swsync_core::time::{Host, Span, Timestamp};

use super::model::{SensorModel, StampJitter};
use crate::shutter::{RowTiming, Shutter};

/// One frame: its true times, and what the camera reports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SensorFrame {
    /// The sensor's own count, from 0. It jumps at dropped frames and wraps after `u32::MAX`.
    pub sequence: u32,
    /// Start of exposure of the first row: the frame's time.
    pub exposure_start_first_row: Timestamp<Host>,
    /// Start of readout of the first row: the frame-start event, and the end of its exposure but for the model's
    /// `exposure_reference`.
    pub readout_start: Timestamp<Host>,
    /// Exposure of each row, by true time.
    pub exposure: Span,
    /// From one row to the next, in ns by true time (the crystal's skew included).
    pub line_time_ns: f64,
    /// Rows that are read out.
    pub active_lines: u32,
    /// Exposure in lines.
    pub exposure_lines: u32,
    /// Lines from this frame's start to the next one's.
    pub frame_length_lines: u32,
    /// Exposure in the metadata: nominal, in whole microseconds.
    pub reported_exposure: Span,
    /// Frame duration in the metadata: nominal, in whole microseconds.
    pub reported_frame_duration: Span,
    /// The frame's timestamp, including its error; the model's `TimestampPoint` tells its meaning.
    pub timestamp: Timestamp<Host>,
    /// The error of `timestamp`: positive if it is late.
    pub stamp_error: Span,
    /// When the frame reaches the application.
    pub delivered_at: Timestamp<Host>,
}

impl SensorFrame {
    /// The shutter of a picture of `height` rows, to which the sensor's rows are scaled.
    #[must_use]
    pub fn shutter(&self, height: u32) -> Shutter {
        let lines_per_row = f64::from(self.active_lines) / f64::from(height.max(1));
        Shutter {
            start: self.exposure_start_first_row,
            timing: RowTiming { exposure: self.exposure, row_time_ns: self.line_time_ns * lines_per_row },
        }
    }
}

/// The random faults of one frame: a function of the seed and the frame's sequence number.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameFaults {
    /// The frame and its event are lost.
    pub(super) dropped: bool,
    /// Number of frames by which a write of exposure at this frame's event is late; `None`: it is lost.
    pub(super) exposure_late: Option<u64>,
    /// Number of frames by which a write of frame length at this frame's event is late; `None`: it is lost.
    pub(super) vblank_late: Option<u64>,
    /// From the end of readout to delivery.
    pub(super) isp_latency: Span,
    /// Error of the timestamp.
    pub(super) stamp_error: Span,
}

impl FrameFaults {
    pub(super) fn draw(model: &SensorModel, mut rng: ChaCha8Rng) -> Self {
        let mut miss = || match rng.random::<f64>() / model.missed_write_probability {
            share if share < 0.5 => None,
            share if share < 1.0 => Some(1),
            _ => Some(0),
        };
        let (exposure_late, vblank_late) = (miss(), miss());
        Self {
            exposure_late,
            vblank_late,
            dropped: rng.random::<f64>() < model.drop_probability,
            isp_latency: model.isp_latency + model.isp_mean_excess.mul_f64(rng.sample(Exp1)),
            stamp_error: stamp_error(&model.stamp_jitter, &mut rng),
        }
    }
}

fn stamp_error(jitter: &StampJitter, rng: &mut ChaCha8Rng) -> Span {
    let core = jitter.normal.mul_f64(rng.sample(StandardNormal))
        + jitter.exponential.mul_f64(rng.sample(Exp1))
        - jitter.median;
    let which: f64 = rng.random();
    let share: f64 = rng.random();
    let late_us = if which < jitter.very_late_probability {
        200.0 + 800.0 * share
    } else if which < jitter.very_late_probability + jitter.late_probability {
        20.0 + 180.0 * share
    } else {
        0.0
    };
    core + Span::from_nanos_f64(late_us * 1e3)
}
