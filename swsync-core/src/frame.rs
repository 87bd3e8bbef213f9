//! What is known of a frame: its place in rig time, and how well it is known.

use serde::{Deserialize, Serialize};

use crate::grid::FrameNumber;
use crate::time::{Boottime, Rig, Span, Timestamp};
pub use crate::time_service::SyncState;

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
    pub sync: SyncState,
    /// Whether the camera was on the grid; unknown where its frames came without what `swsyncsrc` says of them.
    #[serde(default)]
    pub lock: Option<LockState>,
    /// Exposure time that the camera used.
    pub exposure_ns: Option<Span>,
    /// Analogue gain that the camera used.
    pub analogue_gain: Option<f64>,
    /// The sensor's own timestamp.
    pub sensor_time_ns: Option<Timestamp<Boottime>>,
    /// What else is known of it.
    #[serde(flatten)]
    pub details: FrameDetails,
}

impl FrameInfo {
    /// Whether the camera was on the grid, for a person.
    #[must_use]
    pub fn lock_text(&self) -> &'static str {
        self.lock.map_or("unknown", LockState::as_str)
    }
}

/// When a frame was exposed, and what the camera says that it really used; nothing is invented for a
/// camera that does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FrameDetails {
    /// Start of exposure of the first row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposure_start_ns: Option<Timestamp<Rig>>,
    /// Middle of exposure of the middle row: known where exposure, row time and rows are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposure_middle_ns: Option<Timestamp<Rig>>,
    /// From the start of one row's exposure to the next row's; 0 of a global shutter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_time_ns: Option<f64>,
    /// From the start of this frame to the next one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_duration_ns: Option<Span>,
    /// Gain applied to the numbers, after the analogue one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digital_gain: Option<f32>,
    /// White balance: gains of red and of blue, relative to green's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour_gains: Option<[f32; 2]>,
    /// Colour temperature of the light, in kelvin, as the camera estimates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour_temperature_k: Option<i32>,
    /// Temperature of the sensor, in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensor_temperature_c: Option<f32>,
    /// Where the lens focuses, in dioptres: 1 / metres, 0 at infinity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lens_position_dpt: Option<f32>,
    /// How sharp the picture is, larger is sharper; comparable within one camera and scene only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub focus_fom: Option<i32>,
    /// Brightness of the scene, in lux, as the camera estimates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lux: Option<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_optional_and_flat() {
        // As written before there were any, with a field of the future.
        let old = r#"{"number":3,"rig_time_ns":100000000,"phase_error_ns":0,"clock_uncertainty_ns":null,
            "sync":"leading","lock":"locked","exposure_ns":1000,"analogue_gain":1.0,"sensor_time_ns":null,
            "weather":"fine"}"#;
        let mut info: FrameInfo = serde_json::from_str(old).unwrap();
        assert_eq!(info.details, FrameDetails::default());
        let written = serde_json::to_value(info).unwrap();
        assert_eq!(written.as_object().unwrap().len(), 9, "nothing is said of what is not known: {written}");

        info.details = FrameDetails {
            exposure_start_ns: Some(Timestamp::from_nanos(1_800_000_000_033_333_333)),
            exposure_middle_ns: Some(Timestamp::from_nanos(1_800_000_000_043_333_333)),
            row_time_ns: Some(18_904.25),
            frame_duration_ns: Some(Span::from_micros(33_333)),
            digital_gain: Some(1.5),
            colour_gains: Some([1.75, 2.25]),
            colour_temperature_k: Some(5_500),
            sensor_temperature_c: Some(41.5),
            lens_position_dpt: Some(0.5),
            focus_fom: Some(-3),
            lux: Some(400.5),
        };
        let written = serde_json::to_value(info).unwrap();
        assert_eq!(written["exposure_middle_ns"], 1_800_000_000_043_333_333_i64);
        assert_eq!(written["colour_gains"][1], 2.25);
        assert_eq!(serde_json::from_value::<FrameInfo>(written).unwrap(), info);
    }

    #[test]
    fn names_match_what_serde_writes() {
        let (won, not) = ([LockState::Locked, LockState::Coasting], [LockState::Lost, LockState::Free]);
        for state in [LockState::Searching, LockState::Aligning].into_iter().chain(won).chain(not) {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(LockState::from_name(state.as_str()), Some(state));
        }
    }
}
