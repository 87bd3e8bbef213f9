//! What is known of a frame: its place in rig time, and how well it is known.

use serde::{Deserialize, Serialize};

use crate::grid::FrameNumber;
use crate::time::{Boottime, Rig, Span, Timestamp};

/// How well a device knows rig time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncQuality {
    /// It does not.
    Unsynced,
    /// It has an estimate, not yet a good one.
    Acquiring,
    /// Its clock follows the leader's.
    Synced,
    /// The leader is silent: extrapolating.
    Holdover,
    /// It is the leader.
    Leading,
    /// Its pipeline runs on another clock (PTP, NTP, the system's) that swsync has no estimate for.
    Foreign,
}

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
    /// On the grid of a clock that nobody corrects for the moment: it is in holdover.
    Coasting,
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
            Self::Coasting => "coasting",
            Self::Lost => "lost",
            Self::Free => "free",
        }
    }

    /// The state that [`LockState::as_str`] gives this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Searching, Self::Aligning, Self::Locked, Self::Coasting, Self::Lost, Self::Free]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_what_serde_writes() {
        let (won, not) = ([LockState::Locked, LockState::Coasting], [LockState::Lost, LockState::Free]);
        for state in [LockState::Searching, LockState::Aligning].into_iter().chain(won).chain(not) {
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
