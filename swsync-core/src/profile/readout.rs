//! When the rows of a frame are exposed and read out, relative to its timestamp.

use serde::{Deserialize, Serialize};

use crate::align::point::{AlignPoint, FrameTiming};
use crate::time::Span;

/// The instant of a sensor timestamp within a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum StampedAt {
    /// Start of readout of the first row, which is the end of its exposure: the Raspberry Pi's receivers, which stamp in their
    /// frame-start interrupt.
    #[default]
    ReadoutStart,
    /// Start of exposure of the first row: Android's convention.
    ExposureStart,
    /// End of readout of the last row: USB cameras, and whatever stamps whole frames.
    FrameEnd,
}

/// How far a camera's frames may be from where its stamps and its profile say they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimingError {
    /// Of the stamp, from the event that [`StampedAt`] names. `None`: not known.
    pub stamp: Option<Span>,
    /// Of the exposure, relative to that event. `None`: not known.
    pub exposure_reference: Option<Span>,
}

impl TimingError {
    /// Of a camera that stamps exactly.
    pub const NONE: Self = Self { stamp: Some(Span::ZERO), exposure_reference: Some(Span::ZERO) };
}

/// Whether rows are exposed one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Shutter {
    /// Each row begins, and ends, one row time after the one above it.
    #[default]
    Rolling,
    /// All rows are exposed together, then read out one after another.
    Global,
}

impl StampedAt {
    /// From the stamp of a frame to the start of exposure of its first row; negative if the stamp is later. If the readout is
    /// unknown, the end of the frame is treated as the start of its readout.
    #[must_use]
    pub fn to_exposure_start(self, exposure: Span, readout: Option<&Readout>) -> Span {
        match self {
            Self::ExposureStart => Span::ZERO,
            Self::ReadoutStart => -exposure,
            Self::FrameEnd => -(exposure + readout.map_or(Span::ZERO, Readout::duration)),
        }
    }
}

/// The readout of a frame's rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Readout {
    /// Whether rows are exposed one after another.
    pub shutter: Shutter,
    /// From one row's readout to the next, in ns.
    pub row_time_ns: f64,
    /// Number of rows that are read out.
    pub rows: u32,
}

impl Readout {
    /// Duration of the readout of all rows.
    #[must_use]
    pub fn duration(&self) -> Span {
        Span::from_nanos_f64(f64::from(self.rows) * self.row_time_ns)
    }

    /// The timing of a frame with this exposure, for [`AlignPoint`]. Its row time is from one row's exposure to the next; 0 for a
    /// global shutter.
    #[must_use]
    pub const fn timing(&self, exposure: Span) -> FrameTiming {
        let row_time_ns = match self.shutter {
            Shutter::Rolling => self.row_time_ns,
            Shutter::Global => 0.0,
        };
        FrameTiming { exposure, row_time_ns, rows: self.rows }
    }

    /// From the start of exposure of the first row to the middle of exposure of the middle row.
    #[must_use]
    pub fn exposure_middle(&self, exposure: Span) -> Span {
        AlignPoint::ExposureCenter.after_exposure_start(&self.timing(exposure))
    }
}
