//! Estimators: they turn exchanges with the leader into an offset, a skew and their uncertainty.
//!
//! docs/time.md derives and compares them.

mod estimator;
mod exchange;
mod mean;
mod min;
#[cfg(test)]
pub(crate) mod testing;
mod track;

pub(crate) use estimator::CRYSTALS;
pub use estimator::{ClockEstimate, Estimator};
pub use exchange::Exchange;
pub use mean::MeanEstimator;
pub use min::MinEstimator;
pub use track::TrackEstimator;

use crate::time::Span;

/// Selects an estimator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EstimatorKind {
    /// The mean of the last K exchanges' offsets (sec. IV.A of the paper).
    Mean,
    /// The exchange with the least delay among the last K (sec. IV.B of the paper).
    Min,
    /// Offset and skew from the lower envelopes of both directions.
    #[default]
    Track,
}

/// An estimator and its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EstimatorConfig {
    /// Which estimator.
    pub kind: EstimatorKind,
    /// The K of `mean` and `min`.
    pub window: usize,
    /// `min` has settled once a delay is below this threshold; `mean` rejects delays above it.
    pub threshold: Option<Span>,
}

impl Default for EstimatorConfig {
    fn default() -> Self {
        Self { kind: EstimatorKind::Track, window: 300, threshold: None }
    }
}

impl EstimatorConfig {
    /// Builds the estimator.
    #[must_use]
    pub fn build(&self) -> Box<dyn Estimator> {
        match self.kind {
            EstimatorKind::Mean => Box::new(MeanEstimator::new(self.window, self.threshold)),
            EstimatorKind::Min => Box::new(MinEstimator::new(self.window, self.threshold)),
            EstimatorKind::Track => Box::new(TrackEstimator::new()),
        }
    }
}
