//! A camera's response to long exposures, as the injector works with it.

use serde::{Deserialize, Serialize};

/// Shift of a stream's phase by one long exposure `x`: `slope (x + overhead)`, modulo the period.
///
/// In the paper's words (sec. V.B): exposures of `T + δ/2` that shift by `kT + δ` with k = 2 are a slope
/// of 2. Where it is kept: [`CameraProfile`](crate::profile::CameraProfile).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExposureResponse {
    /// Shift per exposure.
    pub slope: f64,
    /// What a frame takes beyond its exposure, in ns.
    pub overhead_ns: f64,
    /// Shorter exposures do not follow this line, in ns.
    pub min_exposure_ns: f64,
    /// What single shifts scatter by, 1 sigma, in ns.
    pub scatter_ns: f64,
    /// How sure slope and overhead are, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surety: Option<ResponseUncertainty>,
}

/// How sure a line is: at its centre, slope and shift err independently of each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ResponseUncertainty {
    /// The exposure at which that is so: the mean of those measured, in ns.
    pub centre_ns: f64,
    /// What the slope may be off, 1 sigma.
    pub slope_sigma: f64,
    /// What the shift at the centre may be off, 1 sigma, in ns.
    pub shift_sigma_ns: f64,
}
