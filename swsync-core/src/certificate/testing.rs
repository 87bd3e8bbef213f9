//! Frames with known bounds, for tests.

use crate::frame::FrameInfo;
use crate::grid::FrameNumber;
use crate::order::testing::info;
use crate::time::Span;

/// A frame whose bound is `phase` and the terms of a frame that is exactly on the grid.
pub fn bounded(number: FrameNumber, phase: Span) -> FrameInfo {
    let mut frame = FrameInfo { phase_error_ns: phase, ..info(number) };
    frame.details.stamp_error_ns = Some(Span::from_micros(10));
    frame.details.exposure_reference_error_ns = Some(Span::from_micros(10));
    frame.clock_uncertainty_ns = Some(Span::from_micros(5));
    frame
}
