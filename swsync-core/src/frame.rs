//! What a device knows about one frame: its number, its rig time, how good the clock was, and the camera's settings.

use serde::{Deserialize, Deserializer, Serialize};

use crate::grid::FrameNumber;
use crate::message::TimeScale;
use crate::time::{Boottime, Rig, Span, Timestamp};
pub use crate::time_service::SyncState;

/// Whether a camera's frames lie on the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LockState {
    /// Phase and period are being measured.
    Searching,
    /// A correction is under way.
    Aligning,
    /// On the grid, within the tolerance.
    Locked,
    /// On the grid of a clock that is in holdover.
    Coasting,
    /// It was locked and is not any more.
    Lost,
    /// The phase of this camera cannot be controlled: the error is stated, not corrected.
    Free,
}

impl LockState {
    /// The name in JSON and in element messages.
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

/// The facts about one frame that travel with it: in buffer metas, status messages, answers and manifests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FrameInfo {
    /// The number that its source gave it; without one, that of the grid instant nearest to its time.
    pub number: FrameNumber,
    /// The frame time: start of exposure of the first row, or the middle of exposure of the middle row with
    /// `align-point=exposure-center`.
    pub rig_time_ns: Timestamp<Rig>,
    /// Frame time minus the instant that it was aligned to: the grid instant plus the source's `phase-offset`.
    pub phase_error_ns: Span,
    /// Uncertainty of rig time, 1 sigma. `None`: the pipeline's clock does not state one.
    pub clock_uncertainty_ns: Option<Span>,
    /// How well the device knew rig time.
    pub sync: SyncState,
    /// The time scale that its rig time and its number are of. `None`: the clock did not state one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timescale: Option<TimeScale>,
    /// Whether the camera was on the grid. `None`: the buffer had no meta of `swsyncsrc`.
    #[serde(default)]
    pub lock: Option<LockState>,
    /// Exposure time as the camera reports it.
    pub exposure_ns: Option<Span>,
    /// Analogue gain as the camera reports it.
    pub analogue_gain: Option<f64>,
    /// The sensor's own timestamp.
    pub sensor_time_ns: Option<Timestamp<Boottime>>,
    /// Further values that the camera reports.
    #[serde(flatten)]
    pub details: FrameDetails,
}

impl FrameInfo {
    /// A frame of which only number, time and phase error are known.
    #[must_use]
    pub fn new(number: FrameNumber, rig_time: Timestamp<Rig>, phase_error: Span) -> Self {
        Self {
            number,
            rig_time_ns: rig_time,
            phase_error_ns: phase_error,
            clock_uncertainty_ns: None,
            sync: SyncState::Unsynced,
            timescale: None,
            lock: None,
            exposure_ns: None,
            analogue_gain: None,
            sensor_time_ns: None,
            details: FrameDetails::default(),
        }
    }

    /// The lock state in words.
    #[must_use]
    pub fn lock_text(&self) -> &'static str {
        self.lock.map_or("unknown", LockState::as_str)
    }
}

/// When a frame was exposed and with which settings, as the camera reports it. What a camera does not report stays
/// `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct FrameDetails {
    /// Start of exposure of the first row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposure_start_ns: Option<Timestamp<Rig>>,
    /// Middle of exposure of the middle row. Needs exposure time, row time and number of rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposure_middle_ns: Option<Timestamp<Rig>>,
    /// From the start of one row's exposure to the next row's; 0 for a global shutter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_time_ns: Option<f64>,
    /// From the start of this frame to the start of the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_duration_ns: Option<Span>,
    /// Digital gain, applied after the analogue gain.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "finite")]
    pub digital_gain: Option<f32>,
    /// White balance: gains of red and blue, relative to green.
    #[serde(skip_serializing_if = "is_not_finite::<2>", deserialize_with = "finite_gains")]
    pub colour_gains: Option<[f32; 2]>,
    /// Colour temperature of the light, in kelvin, as the camera estimates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour_temperature_k: Option<i32>,
    /// Temperature of the sensor, in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "finite")]
    pub sensor_temperature_c: Option<f32>,
    /// Focus distance in dioptres (1/m); 0 is infinity.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "finite")]
    pub lens_position_dpt: Option<f32>,
    /// Focus figure of merit: larger is sharper. Comparable only within one camera and scene.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub focus_fom: Option<i32>,
    /// Brightness of the scene, in lux, as the camera estimates it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "finite")]
    pub lux: Option<f32>,
    /// How far exposure may be from where it is thought to be, relative to the event that the sensor's stamp stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposure_reference_error_ns: Option<Span>,
    /// How far the sensor's stamp may be from the event that it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stamp_error_ns: Option<Span>,
}

fn is_not_finite<const N: usize>(numbers: &Option<[f32; N]>) -> bool {
    numbers.is_none_or(|numbers| !numbers.iter().all(|number| number.is_finite()))
}

/// A number that is too large for 32 bit is as one that is missing: JSON could not hold what it becomes.
fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f32>, D::Error> {
    Ok(Option::<f32>::deserialize(deserializer)?.filter(|number| number.is_finite()))
}

/// As [`finite`]. swsync wrote `null` for such numbers.
fn finite_gains<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[f32; 2]>, D::Error> {
    let gains = Option::<[Option<f32>; 2]>::deserialize(deserializer)?;
    let gains = gains.and_then(|[red, blue]| Some([red?, blue?]));
    Ok(gains.filter(|gains| gains.iter().all(|gain| gain.is_finite())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_optional_and_flat() {
        // As an older version wrote it, with a field of a later one.
        let old = r#"{"number":3,"rig_time_ns":100000000,"phase_error_ns":0,"clock_uncertainty_ns":null,
            "sync":"leading","lock":"locked","exposure_ns":1000,"analogue_gain":1.0,"sensor_time_ns":null,
            "weather":"fine"}"#;
        let mut info: FrameInfo = serde_json::from_str(old).unwrap();
        assert_eq!(info.details, FrameDetails::default());
        let written = serde_json::to_value(info).unwrap();
        assert_eq!(written.as_object().unwrap().len(), 9, "unknown fields are left out: {written}");

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
            exposure_reference_error_ns: Some(Span::from_micros(19)),
            stamp_error_ns: Some(Span::from_micros(12)),
        };
        let written = serde_json::to_value(info).unwrap();
        assert_eq!(written["exposure_middle_ns"], 1_800_000_000_043_333_333_i64);
        assert_eq!(written["colour_gains"][1], 2.25);
        assert_eq!(serde_json::from_value::<FrameInfo>(written).unwrap(), info);
    }

    /// JSON has no infinity: written as null, two gains could not be read again, and the whole status or manifest line with them.
    #[test]
    fn a_number_that_is_too_large_is_as_one_that_is_missing() {
        let line = r#"{"number":3,"rig_time_ns":1,"phase_error_ns":0,"clock_uncertainty_ns":null,"sync":"leading",
            "exposure_ns":null,"analogue_gain":null,"sensor_time_ns":null,"colour_gains":[1e39,1.5],"lux":1e39}"#;
        let info: FrameInfo = serde_json::from_str(line).unwrap();
        assert_eq!((info.details.colour_gains, info.details.lux), (None, None));
        let ours = FrameDetails {
            colour_gains: Some([f32::NAN, 1.0]),
            digital_gain: Some(f32::INFINITY),
            ..info.details
        };
        let written = serde_json::to_string(&FrameInfo { details: ours, ..info }).unwrap();
        assert_eq!(serde_json::from_str::<FrameInfo>(&written).unwrap(), info);
    }

    #[test]
    fn names_match_what_serde_writes() {
        use LockState::{Aligning, Coasting, Free, Locked, Lost, Searching};
        for state in [Searching, Aligning, Locked, Coasting, Lost, Free] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(LockState::from_name(state.as_str()), Some(state));
        }
    }
}
