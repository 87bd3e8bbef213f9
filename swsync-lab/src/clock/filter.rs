//! The estimators that can be compared, by name.

use clap::ValueEnum;
use swsync_core::estimate::{Estimator, EstimatorConfig, EstimatorKind};

use super::peers::{GstNet, Kalman, Median, MinHeld, Ntp8, Regression};

/// An estimator of swsync or of a peer.
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
    /// A line of least squares through the last minute's offsets
    Regression,
    /// The median of the last minute's offsets
    Median,
}

impl Filter {
    /// A new estimator of this kind.
    #[must_use]
    pub fn build(self) -> Box<dyn Estimator> {
        let core = |kind| EstimatorConfig { kind, ..EstimatorConfig::default() }.build();
        match self {
            Self::Track => core(EstimatorKind::Track),
            Self::Min => core(EstimatorKind::Min),
            Self::Mean => core(EstimatorKind::Mean),
            Self::MinHeld => Box::new(MinHeld::new()),
            Self::Gstnet => Box::<GstNet>::default(),
            Self::Ntp8 => Box::<Ntp8>::default(),
            Self::Kalman => Box::<Kalman>::default(),
            Self::Regression => Box::<Regression>::default(),
            Self::Median => Box::<Median>::default(),
        }
    }

    /// Its name on the command line.
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
            Self::Regression => "regression",
            Self::Median => "median",
        }
    }

    /// Whether the original states an uncertainty.
    #[must_use]
    pub const fn states_uncertainty(self) -> bool {
        !matches!(self, Self::Gstnet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use swsync_core::estimate::Exchange;
    use swsync_core::time::Timestamp;

    /// An exchange as a broken recorder, an attacker or a stepping clock may produce it.
    fn any_exchange() -> impl Strategy<Value = Exchange> {
        let stamp = prop_oneof![
            any::<i64>(),
            Just(i64::MIN),
            Just(i64::MAX),
            -3_000_000_000_i64..3_000_000_000,
            (0_i64..1000).prop_map(|k| k * 10_000_000),
        ];
        let odd = (stamp.clone(), stamp.clone(), stamp.clone(), stamp);
        let plausible = (any::<i32>(), 0_i64..20_000_000, 0_i64..20_000_000).prop_map(|(t1, up, down)| {
            let t1 = i64::from(t1) * 1_000;
            (t1, t1 + up + 77, t1 + up + 99, t1 + up + down)
        });
        prop_oneof![1 => odd, 3 => plausible].prop_map(|(t1, t2, t3, t4)| Exchange {
            t1: Timestamp::from_nanos(t1),
            t2: Timestamp::from_nanos(t2),
            t3: Timestamp::from_nanos(t3),
            t4: Timestamp::from_nanos(t4),
        })
    }

    proptest! {
        #[test]
        fn no_exchange_makes_a_filter_panic(exchanges in proptest::collection::vec(any_exchange(), 0..60)) {
            for filter in Filter::value_variants() {
                let mut estimator = filter.build();
                for exchange in &exchanges {
                    if let Some(estimate) = estimator.handle_exchange(exchange) {
                        let uncertainty = estimate.uncertainty_at(exchange.t4);
                        prop_assert!(!uncertainty.is_negative(), "{}: {estimate:?}", filter.name());
                        prop_assert!(estimate.skew.as_ratio().is_finite(), "{}: {estimate:?}", filter.name());
                    }
                }
            }
        }
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for filter in Filter::value_variants() {
            assert_eq!(Filter::from_str(filter.name(), false), Ok(*filter));
        }
    }
}
