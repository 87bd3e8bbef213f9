//! Links that differ in the shape of their delays only: from a sharp floor to laws without a floor, alike or unlike in the two
//! directions. They show which shapes an estimator relies on.
//!
//! The numbers are chosen: some milliseconds, as on WiFi. Unlike directions have equal floors if their law has one, and equal
//! means (or what the name says) if not, so half the asymmetry of the path is known.

use super::Law;
use super::model::{DirectionModel, LinkModel};
use swsync_core::time::Span;

impl DirectionModel {
    /// A direction with delays of one law only.
    fn of(floor: Span, law: Law, mean_excess: Span) -> Self {
        Self { floor, law, mean_excess, quiet_floor: floor, quiet_mean_excess: Span::ZERO, spikes: None }
    }
}

impl LinkModel {
    /// Links for the shapes of delays. The names of those with unlike directions begin with `unlike-`.
    #[must_use]
    pub fn shapes() -> Vec<Self> {
        let us = Span::from_micros;
        let gamma = |shape, mean| DirectionModel::of(us(500), Law::Gamma(shape), us(mean));
        let uniform = |width: i64| DirectionModel::of(us(1_000), Law::Uniform, us(width / 2));
        let normal = |mean, deviation| DirectionModel::of(us(mean), Law::Normal, us(deviation));
        let log_normal = |median, sigma| DirectionModel::of(Span::ZERO, Law::LogNormal(sigma), us(median));
        let two_modes = DirectionModel::of(us(500), Law::TwoModes, us(3_000));
        let link = |name, to_leader, to_client| Self {
            name,
            to_leader,
            to_client,
            quiet: None,
            bursts: None,
            loss: 0.0,
        };
        let alike = |name, direction| link(name, direction, direction);
        let thinned = |name, direction| Self { loss: 0.16, ..link(name, direction, direction) };
        vec![
            alike("sharp", uniform(20)),
            alike("exponential", gamma(1.0, 1_000)),
            alike("gamma", gamma(2.0, 1_000)),
            alike("gamma-4", gamma(4.0, 2_000)),
            alike("gamma-8", gamma(8.0, 2_400)),
            alike("uniform", uniform(4_000)),
            alike("two-modes", two_modes),
            alike("normal", normal(3_000, 1_000)),
            alike("normal-narrow", normal(3_000, 100)),
            alike("log-normal", log_normal(2_000, 0.5)),
            alike("log-normal-narrow", log_normal(3_000, 0.25)),
            alike("log-normal-wide", log_normal(1_000, 1.0)),
            thinned("gamma-thinned", gamma(2.0, 1_000)),
            thinned("normal-thinned", normal(3_000, 1_000)),
            link("unlike-exponential", gamma(1.0, 2_000), gamma(1.0, 500)),
            link("unlike-gamma", gamma(2.0, 1_600), gamma(2.0, 800)),
            link("unlike-uniform", uniform(4_000), uniform(1_000)),
            link("unlike-normal", normal(3_000, 1_000), normal(3_000, 100)),
            link("unlike-log-normal", log_normal(2_000, 0.5), log_normal(1_000, 0.25)),
            link("unlike-log-normal-equal-medians", log_normal(2_000, 0.5), log_normal(2_000, 0.2)),
        ]
    }
}
