//! What is known of a camera model's response to long exposures: a file per model.

use super::real;
use serde::{Deserialize, Serialize};

/// Shift of a stream's phase by one long exposure `x`: `slope (x + overhead)`, modulo the period.
///
/// In the paper's words (sec. V.B): exposures of `T + δ/2` that shift by `kT + δ` with k = 2 are a slope
/// of 2.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Shift per exposure.
    pub slope: f64,
    /// What a frame takes beyond its exposure, in ns.
    pub overhead_ns: f64,
    /// Shorter exposures do not follow this line, in ns.
    pub min_exposure_ns: f64,
    /// What single shifts scatter by, 1 sigma, in ns.
    pub scatter_ns: f64,
}

/// A camera model's profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The camera model, as the camera calls itself.
    pub model: String,
    /// Period that it was measured at, in ns: another frame rate is another profile.
    pub period_ns: f64,
    /// Whole periods that the shortest injections shift by besides: the paper's k.
    pub periods: u32,
    /// The response.
    pub response: Response,
    /// Error up to which a stream counts as aligned, in ns.
    pub tolerance_ns: f64,
}

/// A `phaseconfig` of libsoftwaresync (`app/src/main/res/raw/pixel3_phaseconfig.json`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseConfig {
    /// Period of the stream.
    pub period_ns: u64,
    /// Where in the period frames are to start. A choice, not the camera's: swsync's is `phase-offset`.
    pub goal_phase_ns: u64,
    /// Error up to which a stream counts as aligned.
    pub align_threshold_ns: u64,
    /// What a frame takes beyond its exposure.
    pub overhead_ns: u64,
    /// Shortest exposure that has an effect.
    pub min_exposure_ns: u64,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// No JSON, or fields are missing.
    #[error("this is neither a profile of swsync's nor a phaseconfig of libsoftwaresync: {0}")]
    Json(#[from] serde_json::Error),
    /// A number that no camera has.
    #[error("{field} is {value}, which no camera has: expected {expected}")]
    Value {
        /// Which.
        field: &'static str,
        /// What it is.
        value: f64,
        /// What it should be.
        expected: &'static str,
    },
}

/// Slope of libsoftwaresync's formula, exposure = T + d/2 - overhead.
const PIXEL_SLOPE: f64 = 2.0;
/// Scatter that the paper measured: tens of us.
const PIXEL_SCATTER_NS: f64 = 25_000.0;

impl Profile {
    /// Reads swsync's own form, or imports libsoftwaresync's as that of a camera called `model`.
    ///
    /// # Errors
    /// Where it is neither, or its numbers are no camera's.
    pub fn from_json(text: &str, model: &str) -> Result<Self, ProfileError> {
        let profile = match serde_json::from_str::<PhaseConfig>(text) {
            Ok(config) => Self::import(&config, model),
            Err(_) => serde_json::from_str::<Self>(text)?,
        };
        profile.check()
    }

    /// A profile from libsoftwaresync's fields.
    #[must_use]
    pub fn import(config: &PhaseConfig, model: &str) -> Self {
        Self {
            model: model.to_owned(),
            period_ns: real(config.period_ns),
            periods: 2,
            response: Response {
                slope: PIXEL_SLOPE,
                overhead_ns: real(config.overhead_ns),
                min_exposure_ns: real(config.min_exposure_ns),
                scatter_ns: PIXEL_SCATTER_NS,
            },
            tolerance_ns: real(config.align_threshold_ns),
        }
    }

    fn check(self) -> Result<Self, ProfileError> {
        let within = |field, value: f64, (least, most): (f64, f64), expected| {
            let fine = (least..=most).contains(&value); // NaN is in no range
            if fine { Ok(()) } else { Err(ProfileError::Value { field, value, expected }) }
        };
        let Response { slope, overhead_ns, min_exposure_ns, scatter_ns } = self.response;
        within("period_ns", self.period_ns, (1e5, 1e11), "0.1 ms to 100 s")?;
        within("slope", slope, (0.1, 10.0), "0.1 to 10")?;
        within("overhead_ns", overhead_ns, (-1e11, 1e11), "less than 100 s")?;
        within("min_exposure_ns", min_exposure_ns, (0.0, 1e11), "0 to 100 s")?;
        within("scatter_ns", scatter_ns, (1.0, 1e9), "1 ns to 1 s")?;
        within("tolerance_ns", self.tolerance_ns, (1.0, 1e9), "1 ns to 1 s")?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXEL_3: &str = r#"{"periodNs": 33320000, "goalPhaseNs": 7000000, "alignThresholdNs": 100000,
        "overheadNs": 200000, "minExposureNs": 33370000}"#;

    #[test]
    fn libsoftwaresyncs_fields_are_imported() {
        let profile = Profile::from_json(PIXEL_3, "pixel3").unwrap();
        assert_eq!((profile.model.as_str(), profile.periods), ("pixel3", 2));
        let Response { slope, overhead_ns, min_exposure_ns, .. } = profile.response;
        // Its formula: to shift by d it exposes for T + d/2 - overhead, and that shifts by 2T + d.
        let d = 5e6;
        let exposure = profile.period_ns + d / 2.0 - overhead_ns;
        assert!((slope * (exposure + overhead_ns) - 2.0 * profile.period_ns - d).abs() < 1e-3);
        assert!((min_exposure_ns - 33.37e6).abs() < 1e-3);
    }

    #[test]
    fn a_profile_is_read_as_it_was_written() {
        let profile = Profile::from_json(PIXEL_3, "pixel3").unwrap();
        let text = serde_json::to_string(&profile).unwrap();
        assert_eq!(Profile::from_json(&text, "ignored").unwrap(), profile);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let error = |text: &str| Profile::from_json(text, "x").unwrap_err().to_string();
        assert!(error("{}").contains("phaseconfig"));
        let zero = PIXEL_3.replace("33320000", "0");
        assert_eq!(error(&zero), "period_ns is 0, which no camera has: expected 0.1 ms to 100 s");
    }
}
