//! What long exposures do to a camera's stream, as it was measured.

use serde::{Deserialize, Serialize};

use super::{ProfileError, within};
use crate::align::exposure_response::ExposureResponse;

/// A camera's response to long exposures, at one frame rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredResponse {
    /// Period of the stream that it was measured on, in ns.
    pub period_ns: f64,
    /// Whole periods that the shortest injection shifts by besides: the paper's k.
    pub periods: u32,
    /// The line.
    #[serde(flatten)]
    pub response: ExposureResponse,
    /// Injections that it was measured with; 0 where nobody said.
    #[serde(default)]
    pub injections: u32,
}

impl MeasuredResponse {
    pub(super) fn check(&self) -> Result<(), ProfileError> {
        let ExposureResponse { slope, overhead_ns, min_exposure_ns, scatter_ns, surety } = self.response;
        within("period_ns", self.period_ns, (1e5, 1e11), "0.1 ms to 100 s")?;
        within("slope", slope, (0.1, 10.0), "0.1 to 10")?;
        within("overhead_ns", overhead_ns, (-1e11, 1e11), "less than 100 s")?;
        within("min_exposure_ns", min_exposure_ns, (0.0, 1e11), "0 to 100 s")?;
        within("scatter_ns", scatter_ns, (1.0, 1e9), "1 ns to 1 s")?;
        let Some(surety) = surety else { return Ok(()) };
        within("centre_ns", surety.centre_ns, (0.0, 1e12), "0 to 1000 s")?;
        within("slope_sigma", surety.slope_sigma, (0.0, 10.0), "0 to 10")?;
        within("shift_sigma_ns", surety.shift_sigma_ns, (0.0, 1e11), "0 to 100 s")
    }
}
