//! Estimators of other programs, for comparison. Each does with the same exchanges what its original does.
//!
//! A peer that decides itself when to poll gets only the exchanges that it would have polled.

mod gstnet;
mod kalman;
mod min_held;
mod ntp8;
mod plain;

pub use gstnet::GstNet;
pub use kalman::Kalman;
pub use min_held::MinHeld;
pub use ntp8::Ntp8;
pub use plain::{Median, Regression};

#[cfg(test)]
mod testing {
    //! Links on which a peer's error is known in advance.

    use swsync_core::estimate::{Estimator, Exchange};
    use swsync_core::time::{Offset, Skew, Span};
    use swsync_sim::link::LinkModel;
    use swsync_sim::trace::{Crystal, Pace, Scenario};

    use crate::clock::score::Sample;

    /// An Ethernet link for `secs` s, an exchange every `millis` ms, a clock of up to `ppm` ppm.
    pub fn ethernet(secs: i64, millis: i64, ppm: f64) -> Scenario {
        let preset: Scenario = "ethernet-sw".parse().unwrap();
        Scenario {
            pace: Pace::Every(Span::from_millis(millis)),
            duration: Span::from_secs(secs),
            crystal: Crystal { skew: Skew::from_ppm(ppm), wander: Skew::ZERO, warm_up: None },
            ..preset
        }
    }

    /// The same without jitter: 50 us both ways.
    pub fn ideal(secs: i64, millis: i64, ppm: f64) -> Scenario {
        Scenario { link: LinkModel::ideal(), ..ethernet(secs, millis, ppm) }
    }

    /// Errors in us of `peer` after each exchange, from the `skip`-th on.
    pub fn errors(peer: &mut dyn Estimator, exchanges: &[(Exchange, Offset)], skip: usize) -> Vec<f64> {
        let mut errors = Vec::new();
        let mut current = None;
        for (exchange, truth) in exchanges {
            current = peer.handle_exchange(exchange).or(current);
            errors.push(current.map(|estimate| Sample::of(0, &estimate, exchange.t4, *truth).error));
        }
        let counted = errors.into_iter().skip(skip);
        counted.map(|error| error.expect("there is an estimate by now").as_micros_f64()).collect()
    }

    pub fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / crate::stats::as_f64(values.len())
    }

    pub fn worst(values: &[f64]) -> f64 {
        values.iter().fold(0.0, |worst, error| worst.max(error.abs()))
    }
}
