//! The profile of a camera model.

use serde::{Deserialize, Serialize};

use super::error::{ProfileError, within};
use super::mode::{self, FrameLimits, SensorMode};
use super::readout::{Readout, Shutter, StampedAt, TimingError};
use super::response::MeasuredResponse;
use crate::time::Span;

/// Number of frames from the frame-start event at which a control is written to the first frame that has it: libcamera's
/// `sensorDelays`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Delays {
    /// Exposure.
    pub exposure: u32,
    /// Length of the frame.
    pub vblank: u32,
    /// Analogue gain.
    pub gain: u32,
}

impl Default for Delays {
    /// libcamera's defaults for unknown sensors.
    fn default() -> Self {
        Self { exposure: 2, vblank: 2, gain: 1 }
    }
}

/// The profile of a camera model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CameraProfile {
    /// libcamera's name of the model, without the suffix of a variant: `imx708`.
    pub model: String,
    /// The instant of a sensor timestamp.
    #[serde(default)]
    pub stamped_at: StampedAt,
    /// Whether rows are exposed one after another.
    #[serde(default)]
    pub shutter: Shutter,
    /// How far a sensor timestamp may be from the event that [`stamped_at`](Self::stamped_at) names, in ns: 999 of 1000 are
    /// within. `None`: not known, and then frames have no error bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp_error_ns: Option<f64>,
    /// How far exposure may be from where the profile says it is, relative to that event, in ns. `None`: not known, and then
    /// frames have no error bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure_reference_error_ns: Option<f64>,
    /// By how much a sensor timestamp is later, on average, than the event that [`stamped_at`](Self::stamped_at) names, exposure
    /// reference included, in ns; negative if it is earlier. It is taken off every timestamp. `swsync measure --cause camera` finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp_bias_ns: Option<f64>,
    /// How late controls act.
    #[serde(default)]
    pub delays: Delays,
    /// Least number of lines between an exposure and the end of its frame.
    #[serde(default)]
    pub exposure_margin_lines: u32,
    /// The sensor's known modes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modes: Vec<SensorMode>,
    /// The response to long exposures, for each frame rate at which it was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub responses: Vec<MeasuredResponse>,
    /// Where the numbers come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

impl CameraProfile {
    /// The profile of an unknown camera: libcamera's defaults, no modes.
    #[must_use]
    pub fn unknown(model: &str) -> Self {
        Self {
            model: base_model(model),
            stamped_at: StampedAt::default(),
            shutter: Shutter::default(),
            stamp_error_ns: None,
            exposure_reference_error_ns: None,
            stamp_bias_ns: None,
            delays: Delays::default(),
            exposure_margin_lines: 0,
            modes: Vec::new(),
            responses: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// Parses a complete profile.
    ///
    /// # Errors
    /// If `text` is not a profile, or its numbers are implausible.
    pub fn from_json(text: &str) -> Result<Self, ProfileError> {
        serde_json::from_str::<Self>(text)?.checked()
    }

    /// This profile with the fields in `text` replaced.
    ///
    /// # Errors
    /// If `text` is not a profile, or the profile of another model.
    pub fn overridden_by(&self, text: &str) -> Result<Self, ProfileError> {
        let serde_json::Value::Object(changes) = serde_json::from_str(text)? else {
            return Err(ProfileError::NoObject);
        };
        let serde_json::Value::Object(mut whole) = serde_json::to_value(self)? else {
            return Err(ProfileError::NoObject);
        };
        whole.extend(changes);
        let found = serde_json::from_value::<Self>(whole.into())?.checked()?;
        if found.model == self.model {
            Ok(found)
        } else {
            Err(ProfileError::OtherModel { found: found.model, wanted: self.model.clone() })
        }
    }

    /// The profile as the text of a file.
    #[must_use]
    pub fn to_json(&self) -> String {
        // serde_json cannot fail on strings, finite numbers and lists of them.
        let mut text = serde_json::to_string_pretty(self).expect("a profile is plain data");
        text.push('\n');
        text
    }

    fn checked(self) -> Result<Self, ProfileError> {
        if self.model.is_empty() || base_model(&self.model) != self.model {
            return Err(ProfileError::Model(self.model));
        }
        for (name, frames) in [
            ("delays.exposure", self.delays.exposure),
            ("delays.vblank", self.delays.vblank),
            ("delays.gain", self.delays.gain),
        ] {
            within(name, f64::from(frames), (0.0, 16.0), "0 to 16 frames")?;
        }
        let margin = f64::from(self.exposure_margin_lines);
        within("exposure_margin_lines", margin, (0.0, 10_000.0), "0 to 10000")?;
        for (name, error) in [
            ("stamp_error_ns", self.stamp_error_ns),
            ("exposure_reference_error_ns", self.exposure_reference_error_ns),
        ] {
            within(name, error.unwrap_or(0.0), (0.0, 1e9), "0 to 1 s")?;
        }
        within("stamp_bias_ns", self.stamp_bias_ns.unwrap_or(0.0), (-1e7, 1e7), "-10 ms to 10 ms")?;
        self.modes.iter().try_for_each(SensorMode::check)?;
        self.responses.iter().try_for_each(MeasuredResponse::check)?;
        Ok(self)
    }

    /// The mode in which libcamera runs the sensor, by the frame durations that it allows.
    ///
    /// libcamera does not tell the mode, and several modes may have one width. But each mode has its own shortest frame. `None` if
    /// no known mode is near.
    #[must_use]
    pub fn mode_by_limits(&self, limits: FrameLimits) -> Option<SensorMode> {
        mode::by_limits(&self.modes, limits)
    }

    /// The readout of `mode`.
    #[must_use]
    pub fn readout(&self, mode: &SensorMode) -> Readout {
        Readout {
            shutter: self.shutter,
            row_time_ns: mode.row_time_ns.unwrap_or(mode.line_time_ns),
            rows: mode.height,
        }
    }

    /// How far a frame's time may be off because of what is not known of the camera.
    #[must_use]
    pub fn timing_error(&self) -> TimingError {
        TimingError {
            stamp: self.stamp_error_ns.map(Span::from_nanos_f64),
            exposure_reference: self.exposure_reference_error_ns.map(Span::from_nanos_f64),
        }
    }

    /// What is taken off every sensor timestamp.
    #[must_use]
    pub fn stamp_bias(&self) -> Span {
        self.stamp_bias_ns.map_or(Span::ZERO, Span::from_nanos_f64)
    }

    /// The response that was measured at `period`, within 1 %. A response is valid for one frame rate only.
    #[must_use]
    pub fn response_at(&self, period: Span) -> Option<&MeasuredResponse> {
        let period = period.as_nanos_f64();
        let apart = |r: &&MeasuredResponse| (r.period_ns / period - 1.0).abs();
        self.responses.iter().min_by(|a, b| apart(a).total_cmp(&apart(b))).filter(|r| apart(r) < 0.01)
    }

    /// Adds a measured response; it replaces one at the same period.
    pub fn set_response(&mut self, response: MeasuredResponse) {
        self.responses.retain(|old| (old.period_ns / response.period_ns - 1.0).abs() >= 0.01);
        self.responses.push(response);
        self.responses.sort_by(|a, b| a.period_ns.total_cmp(&b.period_ns));
    }
}

/// A model's name without the suffix of a variant: `imx708_wide_noir` differs from `imx708` only in lens and filter.
#[must_use]
pub fn base_model(model: &str) -> String {
    let base = model.split('_').next().unwrap_or_default();
    base.chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c))
        .map(|c| c.to_ascii_lowercase())
        .skip_while(|c| *c == '.')
        .collect()
}
