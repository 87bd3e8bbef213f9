//! The states of a device's clock.

use serde::{Deserialize, Serialize};

/// How well a device knows rig time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SyncState {
    /// Rig time is unknown.
    Unsynced,
    /// There is an estimate, but not yet a good one.
    Acquiring,
    /// The clock follows its server or reference.
    Synced,
    /// The clock was synced and now extrapolates: its server is silent or not settled, or the clock is being corrected or
    /// stands still.
    Holdover,
    /// The device leads the rig: its clock defines rig time.
    Leading,
    /// The pipeline runs on another clock (PTP, NTP, the system's), for which swsync has no estimate.
    Foreign,
}

impl SyncState {
    /// Its name in JSON and in element messages.
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

    /// The state that [`SyncState::as_str`] calls `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        use SyncState::{Acquiring, Foreign, Holdover, Leading, Synced, Unsynced};
        [Unsynced, Acquiring, Synced, Holdover, Leading, Foreign]
            .into_iter()
            .find(|state| state.as_str() == name)
    }

    /// Whether the clock is in rig time now.
    #[must_use]
    pub const fn is_synced(self) -> bool {
        matches!(self, Self::Synced | Self::Leading | Self::Foreign)
    }

    /// Whether the clock keeps rig time, perhaps by extrapolation, so that it can serve others.
    #[must_use]
    pub const fn knows_rig_time(self) -> bool {
        matches!(self, Self::Synced | Self::Holdover | Self::Leading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_what_serde_writes() {
        for name in ["unsynced", "acquiring", "synced", "holdover", "leading", "foreign"] {
            let state: SyncState = serde_json::from_value(name.into()).unwrap();
            assert_eq!(state.as_str(), name);
            assert_eq!(SyncState::from_name(name), Some(state));
        }
        assert_eq!(SyncState::from_name("splendid"), None);
    }
}
