//! The settings of the aligner: the grid, the sensor's timing, and the target.

use crate::grid::FrameGrid;
use crate::time::Span;

/// The timing of a sensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SensorTiming {
    /// Nominal time of one line, in ns; frame lengths are multiples of it.
    pub line_time_ns: f64,
    /// Shortest frame, in lines.
    pub min_lines: u32,
    /// Longest frame, in lines.
    pub max_lines: u32,
    /// Length of frames before the first request, in lines.
    pub nominal_lines: u32,
    /// Frames from the one whose arrival triggers a request to the first one that has the requested length.
    pub latency: u32,
    /// Lengths differ from the nominal one by multiples of this number of lines.
    pub line_step: u32,
    /// An exposure has to be shorter than its frame by this number of lines.
    pub exposure_margin: u32,
}

/// The settings of the aligner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlignerConfig {
    /// The frame grid.
    pub grid: FrameGrid,
    /// The sensor.
    pub sensor: SensorTiming,
    /// Largest phase error of a locked frame.
    pub tolerance: Span,
    /// Number of frames in a row within the tolerance that make a lock.
    pub settle_frames: u32,
    /// Intended delay of frames after the grid's instants. Cameras that take turns have different ones.
    pub phase_offset: Span,
    /// Largest difference of a frame's length from the period, as a part of it; `None`: no limit.
    pub max_slew: Option<f64>,
}

/// The target of the alignment: the settings that all methods share and that may change while a camera runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlignerTarget {
    /// Intended delay of frames after the grid's instants.
    pub phase_offset: Span,
    /// Largest phase error of a locked frame.
    pub tolerance: Span,
    /// Number of frames in a row within the tolerance that make a lock.
    pub settle_frames: u32,
    /// Largest difference of a frame's length from the period, as a part of it; `None`: no limit.
    pub max_slew: Option<f64>,
}

impl AlignerConfig {
    /// Settings without phase offset and without a limit of the slew.
    #[must_use]
    pub const fn new(grid: FrameGrid, sensor: SensorTiming, tolerance: Span, settle_frames: u32) -> Self {
        Self { grid, sensor, tolerance, settle_frames, phase_offset: Span::ZERO, max_slew: None }
    }
}
