//! What is known of each frame, and the manifest: JSON Lines, one [`FrameRecord`] per saved frame.

use serde::{Deserialize, Serialize};

use crate::control::{DeviceId, SyncQuality};
use crate::grid::FrameNumber;
use crate::order::OrderId;
use crate::time::{Boottime, Rig, Span, Timestamp};

/// Whether a camera's frames lie on the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockState {
    /// Phase and period are being measured.
    Searching,
    /// A correction is under way.
    Aligning,
    /// On the grid, within the tolerance.
    Locked,
    /// It was locked and no longer is.
    Lost,
    /// This camera's phase cannot be controlled: the error is stated, not corrected.
    Free,
}

impl LockState {
    /// The name that serde and element messages give it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Searching => "searching",
            Self::Aligning => "aligning",
            Self::Locked => "locked",
            Self::Lost => "lost",
            Self::Free => "free",
        }
    }

    /// The state that [`LockState::as_str`] gives this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Searching, Self::Aligning, Self::Locked, Self::Lost, Self::Free]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

impl SyncQuality {
    /// The name that serde and element messages give it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsynced => "unsynced",
            Self::Acquiring => "acquiring",
            Self::Synced => "synced",
            Self::Holdover => "holdover",
            Self::Leading => "leading",
            Self::Foreign => "foreign",
        }
    }

    /// The quality that [`SyncQuality::as_str`] gives this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        use SyncQuality::{Acquiring, Foreign, Holdover, Leading, Synced, Unsynced};
        [Unsynced, Acquiring, Synced, Holdover, Leading, Foreign]
            .into_iter()
            .find(|quality| quality.as_str() == name)
    }
}

/// Everything that a frame carries about itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FrameInfo {
    /// Number of the nearest grid instant.
    pub number: FrameNumber,
    /// The frame's time: start of exposure of the first row.
    pub rig_time_ns: Timestamp<Rig>,
    /// Frame time minus grid instant, in (-period/2, period/2].
    pub phase_error_ns: Span,
    /// What the error of rig time may be, 1 sigma; unknown where the pipeline's clock does not say.
    pub clock_uncertainty_ns: Option<Span>,
    /// How well the device knew rig time.
    pub sync: SyncQuality,
    /// Whether the camera was on the grid.
    pub lock: LockState,
    /// Exposure time that the camera used.
    pub exposure_ns: Option<Span>,
    /// Analogue gain that the camera used.
    pub analogue_gain: Option<f64>,
    /// The sensor's own timestamp.
    pub sensor_time_ns: Option<Timestamp<Boottime>>,
}

/// One line of the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameRecord {
    /// The order that asked for the frame.
    pub order: OrderId,
    /// The device that took it.
    pub device: DeviceId,
    /// The file, relative to the manifest's folder.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// What is known of the frame.
    #[serde(flatten)]
    pub info: FrameInfo,
}

impl FrameRecord {
    /// The record as one line of JSON, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self)
            .expect("a record is a plain struct with string keys, which JSON can hold");
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Name;

    #[test]
    fn a_record_is_one_line_and_reads_back() {
        let record = FrameRecord {
            order: Name::new("o1").unwrap(),
            device: Name::new("pi\u{31}").unwrap(),
            file: "a\nb.jpg".into(),
            bytes: 7,
            info: FrameInfo {
                number: 54_000_000_001,
                rig_time_ns: Timestamp::from_nanos(1_800_000_000_033_333_400),
                phase_error_ns: Span::from_nanos(67),
                clock_uncertainty_ns: None,
                sync: SyncQuality::Leading,
                lock: LockState::Locked,
                exposure_ns: Some(Span::from_micros(100)),
                analogue_gain: Some(1.5),
                sensor_time_ns: None,
            },
        };
        let line = record.to_line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<FrameRecord>(&line).unwrap(), record);
    }

    #[test]
    fn names_match_what_serde_writes() {
        for state in
            [LockState::Searching, LockState::Aligning, LockState::Locked, LockState::Lost, LockState::Free]
        {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(LockState::from_name(state.as_str()), Some(state));
        }
        for quality in ["unsynced", "acquiring", "synced", "holdover", "leading", "foreign"] {
            let parsed: SyncQuality = serde_json::from_value(quality.into()).unwrap();
            assert_eq!(parsed.as_str(), quality);
            assert_eq!(SyncQuality::from_name(quality), Some(parsed));
        }
        assert_eq!(SyncQuality::from_name("splendid"), None);
    }
}
