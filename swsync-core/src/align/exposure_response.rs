//! A camera's response to long exposures.

use serde::{Deserialize, Serialize};

/// Shift of a stream's phase by one long exposure `x`: `slope (x + overhead)`, modulo the period.
///
/// In the paper's words (sec. V.B), exposures of `T + δ/2` shift by `kT + δ` with k = 2: a slope of 2.
/// [`CameraProfile`](crate::profile::CameraProfile) stores it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExposureResponse {
    /// Shift per exposure.
    pub slope: f64,
    /// What a frame takes beyond its exposure, in ns.
    pub overhead_ns: f64,
    /// Shorter exposures do not follow this line, in ns.
    pub min_exposure_ns: f64,
    /// Scatter of single shifts, 1 sigma, in ns.
    pub scatter_ns: f64,
    /// Uncertainty of slope and overhead, if measured.
    #[serde(rename = "surety", default, skip_serializing_if = "Option::is_none")]
    pub uncertainty: Option<ResponseUncertainty>,
}

/// Uncertainty of a response. At the centre, the errors of slope and shift are independent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResponseUncertainty {
    /// The centre: the mean of the measured exposures, in ns.
    pub centre_ns: f64,
    /// Error of the slope, 1 sigma.
    pub slope_sigma: f64,
    /// Error of the shift at the centre, 1 sigma, in ns.
    pub shift_sigma_ns: f64,
}
