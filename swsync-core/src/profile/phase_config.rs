//! Import of libsoftwaresync's `phaseconfig` files.

use serde::{Deserialize, Serialize};

use super::error::ProfileError;
use super::response::MeasuredResponse;
use crate::align::exposure_response::ExposureResponse;
use crate::align::numbers::real;

/// A `phaseconfig` of libsoftwaresync (`app/src/main/res/raw/pixel3_phaseconfig.json`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseConfig {
    /// Period of the stream.
    pub period_ns: u64,
    /// Intended phase. It is a setting, not a property of the camera: swsync's is `phase-offset`.
    pub goal_phase_ns: u64,
    /// Largest error of an aligned stream. It is a setting too: swsync's is `tolerance`.
    pub align_threshold_ns: u64,
    /// What a frame takes beyond its exposure.
    pub overhead_ns: u64,
    /// Shortest exposure that has an effect.
    pub min_exposure_ns: u64,
}

/// Slope of libsoftwaresync's formula, exposure = T + d/2 - overhead.
const PIXEL_SLOPE: f64 = 2.0;
/// Scatter that the paper measured: tens of us.
const PIXEL_SCATTER_NS: f64 = 25_000.0;

impl PhaseConfig {
    /// Parses a `phaseconfig` file.
    ///
    /// # Errors
    /// If `text` is not one, or its numbers are implausible.
    pub fn from_json(text: &str) -> Result<Self, ProfileError> {
        let config: Self = serde_json::from_str(text)?;
        config.response().check()?;
        Ok(config)
    }

    /// The camera's response.
    #[must_use]
    pub fn response(&self) -> MeasuredResponse {
        MeasuredResponse {
            period_ns: real(self.period_ns),
            periods: 2,
            response: ExposureResponse {
                slope: PIXEL_SLOPE,
                overhead_ns: real(self.overhead_ns),
                min_exposure_ns: real(self.min_exposure_ns),
                scatter_ns: PIXEL_SCATTER_NS,
                uncertainty: None,
            },
            injections: 0,
        }
    }
}
