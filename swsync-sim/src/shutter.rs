//! The exposure times of a picture's rows.

use swsync_core::time::{Host, Span, Timestamp};

/// A rolling shutter's timing: row `r` is exposed for `exposure`, from `r * row_time_ns` after the first row's start on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowTiming {
    /// How long each row is exposed.
    pub exposure: Span,
    /// From one row of the picture to the next, in ns. In a scaled picture it is the line time times lines per row.
    pub row_time_ns: f64,
}

/// One opening of a rolling shutter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shutter {
    /// Start of exposure of the first row: the frame's time.
    pub start: Timestamp<Host>,
    /// The rows' timing from there.
    pub timing: RowTiming,
}

impl Shutter {
    /// The same opening for a picture of `height` rows whose lowest row is read first.
    #[must_use]
    pub fn from_below(self, height: u32) -> Self {
        let RowTiming { exposure, row_time_ns } = self.timing;
        let last = Span::from_nanos_f64(f64::from(height.saturating_sub(1)) * row_time_ns);
        Self { start: self.start + last, timing: RowTiming { exposure, row_time_ns: -row_time_ns } }
    }

    /// Start of exposure of row `row`, which may be a fraction, as ns after `self.start`.
    #[must_use]
    pub fn row_offset_ns(&self, row: f64) -> f64 {
        row * self.timing.row_time_ns
    }

    /// Middle of exposure of the middle row of `height` rows.
    #[must_use]
    pub fn centre(&self, height: u32) -> Timestamp<Host> {
        let rows = Span::from_nanos_f64(self.timing.row_time_ns * (f64::from(height) - 1.0) / 2.0);
        self.start + rows + self.timing.exposure / 2
    }
}
