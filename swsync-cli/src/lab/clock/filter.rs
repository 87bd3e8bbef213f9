//! The estimators that can be compared, by name.

use clap::ValueEnum;
use swsync_core::estimate::{Estimator, EstimatorConfig, Method};

/// An estimator of swsync's, or of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Filter {
    /// swsync's: offset, skew and uncertainty from the envelopes of both directions
    Track,
    /// The least delay among the last 300 exchanges (the paper, sec. IV.B)
    #[value(alias = "sliding-min")]
    Min,
    /// The mean of the last 300 exchanges (the paper, sec. IV.A)
    Mean,
}

impl Filter {
    /// A new estimator of the kind.
    #[must_use]
    pub fn build(self) -> Box<dyn Estimator> {
        let core = |method| EstimatorConfig { method, ..EstimatorConfig::default() }.build();
        match self {
            Self::Track => core(Method::Track),
            Self::Min => core(Method::Min),
            Self::Mean => core(Method::Mean),
        }
    }

    /// What the command line calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Min => "min",
            Self::Mean => "mean",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_command_lines() {
        for filter in Filter::value_variants() {
            assert_eq!(Filter::from_str(filter.name(), false), Ok(*filter));
        }
    }
}
