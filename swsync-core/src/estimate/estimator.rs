//! What all estimators share: the trait, the estimate, and what is assumed about crystals.

use std::fmt;

use super::exchange::Exchange;
use crate::time::{Local, Offset, Rig, Skew, Span, Timestamp};

/// Rate difference of two unadjusted crystals, 1 sigma. Chosen: half of the 100 ppm that two ordinary 50 ppm crystals can
/// differ by at worst.
pub(crate) const CRYSTALS: Skew = Skew::from_ratio(50e-6);

/// How fast the rate of a Raspberry Pi class crystal wanders, in s/s per square root of a second. Chosen to cover the
/// `drifting` trace of swsync-sim (a 25 ppm crystal with wander and warm-up).
pub(super) const WANDER: Skew = Skew::from_ratio(0.02e-6);

/// What an estimator concludes from the exchanges so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockEstimate {
    /// The instant that the estimate is for.
    pub at: Timestamp<Local>,
    /// Rig minus local time at that instant.
    pub offset: Offset,
    /// Rate of rig time relative to local time.
    pub skew: Skew,
    /// Error of `offset`, 1 sigma, without half the asymmetry of the path's least delays: no two-way exchange can
    /// measure that.
    pub uncertainty: Span,
    /// Error of `skew`, 1 sigma.
    pub skew_uncertainty: Skew,
    /// The least round trip that the estimate rests on. Half of it bounds the error that an asymmetric path adds to
    /// `uncertainty`.
    pub least_delay: Span,
}

impl ClockEstimate {
    /// Rig time when the local clock reads `local`, by this estimate.
    #[must_use]
    pub fn rig_at(&self, local: Timestamp<Local>) -> Timestamp<Rig> {
        self.offset.to_rig(local) + self.skew.over(local - self.at)
    }

    /// The uncertainty at `local`: it grows with the age of the estimate.
    #[must_use]
    pub fn uncertainty_at(&self, local: Timestamp<Local>) -> Span {
        let age = (local - self.at).abs();
        let drift = self.skew_uncertainty.over(age) + WANDER.over(age).mul_f64(age.as_secs_f64().sqrt());
        Span::from_nanos_f64(self.uncertainty.as_nanos_f64().hypot(drift.as_nanos_f64()))
    }
}

/// Turns exchanges into estimates.
pub trait Estimator: fmt::Debug + Send {
    /// Updates the estimate with one exchange. `None` until there is an estimate.
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate>;
    /// Whether further exchanges in quick succession would not improve the estimate.
    fn has_settled(&self) -> bool {
        false
    }
    /// Discards all exchanges, because the time scale or its leader has changed.
    fn reset(&mut self);
    /// Discards all exchanges, because another leader goes on in the same time scale. It continues at the rate that it knew, which may
    /// differ from this estimator's by `doubt`, 1 sigma. An estimator that knows no rate resets.
    fn reset_keeping_rate(&mut self, doubt: Skew) {
        let _ = doubt;
        self.reset();
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of thousands at most")]
pub(super) const fn number(count: usize) -> f64 {
    count as f64
}
