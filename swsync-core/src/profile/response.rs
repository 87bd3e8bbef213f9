//! A measured response to long exposures.

use serde::{Deserialize, Serialize};

use super::error::{ProfileError, within};
use crate::align::exposure_response::ExposureResponse;

/// A camera's response to long exposures, at one frame rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MeasuredResponse {
    /// Period of the measured stream, in ns.
    pub period_ns: f64,
    /// Number of whole periods that the shortest injection shifts by: the paper's k.
    pub periods: u32,
    /// The line.
    #[serde(flatten)]
    pub response: ExposureResponse,
    /// Number of injections of the measurement; 0 if unknown.
    #[serde(default)]
    pub injections: u32,
}

impl MeasuredResponse {
    pub(super) fn check(&self) -> Result<(), ProfileError> {
        let ExposureResponse { slope, overhead_ns, min_exposure_ns, scatter_ns, uncertainty } = self.response;
        within("period_ns", self.period_ns, (1e5, 1e11), "0.1 ms to 100 s")?;
        within("slope", slope, (0.1, 10.0), "0.1 to 10")?;
        within("overhead_ns", overhead_ns, (-1e11, 1e11), "less than 100 s")?;
        within("min_exposure_ns", min_exposure_ns, (0.0, 1e11), "0 to 100 s")?;
        within("scatter_ns", scatter_ns, (1.0, 1e9), "1 ns to 1 s")?;
        let Some(uncertainty) = uncertainty else { return Ok(()) };
        within("centre_ns", uncertainty.centre_ns, (0.0, 1e12), "0 to 1000 s")?;
        within("slope_sigma", uncertainty.slope_sigma, (0.0, 10.0), "0 to 10")?;
        within("shift_sigma_ns", uncertainty.shift_sigma_ns, (0.0, 1e11), "0 to 100 s")
    }
}
