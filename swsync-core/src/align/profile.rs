//! A camera's response to long exposures, as the injector works with it.

use serde::{Deserialize, Serialize};

/// Shift of a stream's phase by one long exposure `x`: `slope (x + overhead)`, modulo the period.
///
/// In the paper's words (sec. V.B): exposures of `T + δ/2` that shift by `kT + δ` with k = 2 are a slope
/// of 2. Where it is kept: [`CameraProfile`](crate::profile::CameraProfile).
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
