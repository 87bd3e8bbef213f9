//! The instant of a frame that is aligned.
//!
//! Two sensors that start their readout together are milliseconds apart in the middle of the picture, because they read at
//! different speeds: IMX219 and IMX477, both with 1080 lines, by (20.4 - 16.4) ms / 2. Half the difference of their exposures
//! comes on top.

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// The instant of a frame that is put on the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AlignPoint {
    /// Exposure of the first row begins.
    #[default]
    FrameStart,
    /// The middle of the middle row's exposure.
    ExposureCenter,
}

/// The timing of a frame's rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameTiming {
    /// Exposure of each row.
    pub exposure: Span,
    /// From one row to the next, in ns.
    pub row_time_ns: f64,
    /// Rows that are read out.
    pub rows: u32,
}

impl AlignPoint {
    /// From the start of the first row's exposure to this point.
    #[must_use]
    pub fn after_exposure_start(self, timing: &FrameTiming) -> Span {
        match self {
            Self::FrameStart => Span::ZERO,
            Self::ExposureCenter => {
                // For an even number of rows, between the two middle ones.
                let middle = f64::from(timing.rows.saturating_sub(1)) / 2.0;
                Span::from_nanos_f64(timing.exposure.as_nanos_f64() / 2.0 + middle * timing.row_time_ns)
            }
        }
    }

    /// From the start of the first row's readout, which ends its exposure, to this point.
    #[must_use]
    pub fn after_readout_start(self, timing: &FrameTiming) -> Span {
        self.after_exposure_start(timing) - timing.exposure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMX219: FrameTiming =
        FrameTiming { exposure: Span::from_millis(10), row_time_ns: 18_904.0, rows: 1080 };
    const IMX477: FrameTiming =
        FrameTiming { exposure: Span::from_millis(4), row_time_ns: 15_167.0, rows: 1080 };

    #[test]
    fn the_middle_of_the_middle_row() {
        let center = AlignPoint::ExposureCenter;
        // 5 ms of exposure and 539.5 rows
        assert_eq!(center.after_exposure_start(&IMX219), Span::from_nanos(15_198_708));
        assert_eq!(center.after_readout_start(&IMX219), Span::from_nanos(5_198_708));
        assert_eq!(AlignPoint::FrameStart.after_exposure_start(&IMX219), Span::ZERO);
        assert_eq!(AlignPoint::FrameStart.after_readout_start(&IMX219), Span::from_millis(-10));
    }

    #[test]
    fn sensors_that_read_at_different_speeds_agree_in_the_middle_only_if_asked() {
        // With the centres of both exposures at 0, their readouts start this far apart.
        let center = AlignPoint::ExposureCenter;
        let apart = center.after_readout_start(&IMX477) - center.after_readout_start(&IMX219);
        // (15.167 - 18.904) us x 539.5 rows - (4 - 10) ms / 2
        assert_eq!(apart, Span::from_nanos(983_889));
        // Aligned by the start of readout with short exposures: 2 ms apart at the middle row.
        let short = |timing: FrameTiming| FrameTiming { exposure: Span::ZERO, ..timing };
        let middle = center.after_readout_start(&short(IMX219)) - center.after_readout_start(&short(IMX477));
        assert!((middle.as_micros_f64() - 2_016.0).abs() < 1.0, "{middle:?}");
    }
}
