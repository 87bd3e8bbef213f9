//! What is known of a camera model: a JSON file per model, shipped in `profiles/` and overridable.
//!
//! A profile says which instant of a frame the camera's timestamp is, how late its controls act, how fast
//! it reads its rows, and how a long exposure shifts its stream. libcamera tells none of this; the numbers
//! come from drivers, from libcamera's own tables (every shipped file names its sources), or from
//! `swsync calibrate`. [`CameraProfile::unknown`] stands for a model that nobody has described.

mod mode;
mod phase_config;
mod response;
mod shipped;

use serde::{Deserialize, Serialize};

pub use mode::{FrameLimits, Mode};
pub use phase_config::PhaseConfig;
pub use response::MeasuredResponse;
pub use shipped::{shipped, shipped_models};

use crate::align::point::{AlignPoint, FrameTiming};
use crate::time::Span;

/// Which instant of a frame a sensor timestamp is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StampedAt {
    /// Readout of the first row begins, where its exposure ends: the Raspberry Pi's receivers, which
    /// stamp in their frame-start interrupt.
    #[default]
    ReadoutStart,
    /// Exposure of the first row begins: Android's convention.
    ExposureStart,
    /// Readout of the last row has ended: USB cameras, and whatever stamps whole frames.
    FrameEnd,
}

/// Whether rows are exposed one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shutter {
    /// Each row begins, and ends, one row time after the one above it.
    #[default]
    Rolling,
    /// All rows are exposed together, then read out one after another.
    Global,
}

/// Frames from the frame-start event at which a control is written to the first frame that shows it:
/// libcamera's `sensorDelays`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// libcamera's guess for sensors that it does not know.
    fn default() -> Self {
        Self { exposure: 2, vblank: 2, gain: 1 }
    }
}

/// What is known of a camera model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraProfile {
    /// The model as libcamera calls it, without what its variants have behind it: `imx708`.
    pub model: String,
    /// What a sensor timestamp is.
    #[serde(default)]
    pub stamped_at: StampedAt,
    /// Whether rows are exposed one after another.
    #[serde(default)]
    pub shutter: Shutter,
    /// When controls act.
    #[serde(default)]
    pub delays: Delays,
    /// Lines that have to remain between an exposure and the end of its frame.
    #[serde(default)]
    pub exposure_margin_lines: u32,
    /// The sensor's modes, as far as they are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modes: Vec<Mode>,
    /// What long exposures do to the stream's phase, for each frame rate at which that was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub responses: Vec<MeasuredResponse>,
    /// Where the numbers come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// No JSON, a field that does not exist, or one of the wrong type.
    #[error("this is no camera profile: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON, but no object.
    #[error("this is no camera profile: expected an object, like {{\"model\": \"imx219\"}}")]
    NoObject,
    /// A number that no camera has.
    #[error("{field} is {value}, which no camera has: expected {expected}")]
    Value {
        /// Which.
        field: String,
        /// What it is.
        value: f64,
        /// What it should be.
        expected: &'static str,
    },
    /// A model name that is none.
    #[error(
        "model is {0:?}: expected the sensor's name, in lower case letters, digits, `-` and `.`, like imx219"
    )]
    Model(String),
    /// The file describes another camera.
    #[error("this is the profile of {found}, not of {wanted}")]
    OtherModel {
        /// Whose it is.
        found: String,
        /// Whose was looked for.
        wanted: String,
    },
}

impl CameraProfile {
    /// What is assumed of a camera that nobody has described: libcamera's guesses, no modes.
    #[must_use]
    pub fn unknown(model: &str) -> Self {
        Self {
            model: base_model(model),
            stamped_at: StampedAt::default(),
            shutter: Shutter::default(),
            delays: Delays::default(),
            exposure_margin_lines: 0,
            modes: Vec::new(),
            responses: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// The shipped profile of `model`, or what is assumed of an unknown one.
    #[must_use]
    pub fn of_model(model: &str) -> Self {
        shipped(model).unwrap_or_else(|| Self::unknown(model))
    }

    /// Reads a whole profile.
    ///
    /// # Errors
    /// Where it is none, or its numbers are no camera's.
    pub fn from_json(text: &str) -> Result<Self, ProfileError> {
        serde_json::from_str::<Self>(text)?.checked()
    }

    /// This profile with what `text` says instead: a file names only the fields that it changes.
    ///
    /// # Errors
    /// Where `text` is no profile, or that of another model.
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

    /// The profile as a file holds it.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, finite numbers and lists of them: serde_json cannot refuse these.
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
        self.modes.iter().try_for_each(Mode::check)?;
        self.responses.iter().try_for_each(MeasuredResponse::check)?;
        Ok(self)
    }

    /// The mode in which libcamera runs the sensor, told from the frame durations that it allows.
    ///
    /// libcamera does not say which mode it chose, and one width may come from several. But the shortest
    /// frame is a mode's own. `None` where none of the known modes is near.
    #[must_use]
    pub fn mode_by_limits(&self, limits: FrameLimits) -> Option<Mode> {
        mode::by_limits(&self.modes, limits)
    }

    /// How rows follow each other in `mode`.
    #[must_use]
    pub fn readout(&self, mode: &Mode) -> Readout {
        Readout {
            shutter: self.shutter,
            row_time_ns: mode.row_time_ns.unwrap_or(mode.line_time_ns),
            rows: mode.height,
        }
    }

    /// The response measured at `period`, within 1 %: at another frame rate it is another.
    #[must_use]
    pub fn response_at(&self, period: Span) -> Option<&MeasuredResponse> {
        let period = period.as_nanos_f64();
        let apart = |r: &&MeasuredResponse| (r.period_ns / period - 1.0).abs();
        self.responses.iter().min_by(|a, b| apart(a).total_cmp(&apart(b))).filter(|r| apart(r) < 0.01)
    }

    /// Takes a new measurement of the response in: it replaces one at the same period.
    pub fn set_response(&mut self, response: MeasuredResponse) {
        self.responses.retain(|old| (old.period_ns / response.period_ns - 1.0).abs() >= 0.01);
        self.responses.push(response);
        self.responses.sort_by(|a, b| a.period_ns.total_cmp(&b.period_ns));
    }
}

/// A model's name without what libcamera's variants have behind it: `imx708_wide_noir` differs from
/// `imx708` in lens and filter only.
#[must_use]
pub fn base_model(model: &str) -> String {
    let base = model.split('_').next().unwrap_or_default();
    base.chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c))
        .map(|c| c.to_ascii_lowercase())
        .skip_while(|c| *c == '.')
        .collect()
}

impl StampedAt {
    /// From the stamp of a frame to the start of its first row's exposure: negative where the stamp comes
    /// later. An end of frame is taken for the start of its readout where that is not known.
    #[must_use]
    pub fn to_exposure_start(self, exposure: Span, readout: Option<&Readout>) -> Span {
        match self {
            Self::ExposureStart => Span::ZERO,
            Self::ReadoutStart => -exposure,
            Self::FrameEnd => -(exposure + readout.map_or(Span::ZERO, Readout::duration)),
        }
    }
}

/// How a frame's rows follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Readout {
    /// Whether rows are exposed one after another.
    pub shutter: Shutter,
    /// From one row's readout to the next, in ns.
    pub row_time_ns: f64,
    /// Rows that are read out.
    pub rows: u32,
}

impl Readout {
    /// From the first row's readout to the end of the last one's.
    #[must_use]
    pub fn duration(&self) -> Span {
        Span::from_nanos_f64(f64::from(self.rows) * self.row_time_ns)
    }

    /// What an [`AlignPoint`] has to know of a frame with this exposure: there the row time is that from one
    /// row's exposure to the next, 0 of a global shutter.
    #[must_use]
    pub const fn timing(&self, exposure: Span) -> FrameTiming {
        let row_time_ns = match self.shutter {
            Shutter::Rolling => self.row_time_ns,
            Shutter::Global => 0.0,
        };
        FrameTiming { exposure, row_time_ns, rows: self.rows }
    }

    /// From the start of the first row's exposure to the middle of the middle row's.
    #[must_use]
    pub fn exposure_middle(&self, exposure: Span) -> Span {
        AlignPoint::ExposureCenter.after_exposure_start(&self.timing(exposure))
    }
}

/// `value`, if it is a number that a camera may have; NaN is none.
fn within(
    field: &str,
    value: f64,
    (least, most): (f64, f64),
    expected: &'static str,
) -> Result<(), ProfileError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(ProfileError::Value { field: field.to_owned(), value, expected })
    }
}

#[cfg(test)]
mod tests;
