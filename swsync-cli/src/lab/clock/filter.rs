//! The estimators that can be compared, by name.

use clap::ValueEnum;
use swsync_core::estimate::{Estimator, EstimatorConfig, Method};

use super::peers::{GstNet, Held, Kalman, Ntp8};

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
    /// The least delay of the first 300 exchanges, held from then on, as the paper's phones do
    MinHeld,
    /// GStreamer's GstNetClientClock (1.26): rejection by median, regression over 32
    Gstnet,
    /// NTP's clock filter of 8 stages and its phase-locked loop (RFC 5905), at 1 s
    Ntp8,
    /// A plain Kalman filter of offset and skew
    Kalman,
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
            Self::MinHeld => Box::new(Held::new()),
            Self::Gstnet => Box::<GstNet>::default(),
            Self::Ntp8 => Box::<Ntp8>::default(),
            Self::Kalman => Box::<Kalman>::default(),
        }
    }

    /// What the command line calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Min => "min",
            Self::Mean => "mean",
            Self::MinHeld => "min-held",
            Self::Gstnet => "gstnet",
            Self::Ntp8 => "ntp8",
            Self::Kalman => "kalman",
        }
    }

    /// Whether the original says how uncertain it is.
    #[must_use]
    pub const fn states_uncertainty(self) -> bool {
        !matches!(self, Self::Gstnet)
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
