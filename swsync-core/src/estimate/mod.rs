//! Estimators: they turn exchanges with the leader into an offset, a skew and their uncertainty.
//!
//! docs/time.md derives and compares them.

mod mean;
mod min;
mod track;

use std::fmt;

pub use mean::Mean;
pub use min::Min;
pub use track::Track;

use crate::time::{Local, Offset, Rig, Skew, Span, Timestamp};

/// Rate difference of two unadjusted crystals, 1 sigma. Chosen: half of the 100 ppm that two ordinary 50 ppm crystals can
/// differ by at worst.
const CRYSTALS: Skew = Skew::from_ratio(50e-6);

/// How fast the rate of a Raspberry Pi class crystal wanders, in s/s per square root of a second. Chosen to cover the
/// `drifting` trace of swsync-sim (a 25 ppm crystal with wander and warm-up).
const WANDER: Skew = Skew::from_ratio(0.02e-6);

/// The four timestamps of one exchange (RFC 5905 section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// The request leaves the client.
    pub t1: Timestamp<Local>,
    /// It arrives at the leader.
    pub t2: Timestamp<Rig>,
    /// The response leaves the leader.
    pub t3: Timestamp<Rig>,
    /// It arrives at the client.
    pub t4: Timestamp<Local>,
}

impl Exchange {
    /// Round-trip delay without the time the leader held the request.
    ///
    /// δ = (T4 − T1) − (T3 − T2), RFC 5905 section 8; eq. 1 of the paper. Comes out negative when skew
    /// over the hold time exceeds the path delay; [`Exchange::is_plausible`] then rejects the exchange.
    #[must_use]
    pub fn delay(&self) -> Span {
        (self.t4 - self.t1) - (self.t3 - self.t2)
    }

    /// Rig minus local time, assuming that both directions took equally long.
    ///
    /// θ = ((T2 − T1) + (T3 − T4)) / 2, RFC 5905 section 8; eq. 1 of the paper.
    #[must_use]
    pub fn offset(&self) -> Offset {
        let up = self.upper().as_span().as_nanos();
        let down = self.lower().as_span().as_nanos();
        // Half of the sum, without overflow of the sum.
        Offset::from_span(Span::from_nanos(up / 2 + down / 2 + (up % 2 + down % 2) / 2))
    }

    /// T2 − T1: the offset plus the request's delay, which bounds the offset from above.
    #[must_use]
    pub const fn upper(&self) -> Offset {
        Offset::between(self.t2, self.t1)
    }

    /// T3 − T4: the offset minus the response's delay, which bounds the offset from below.
    #[must_use]
    pub const fn lower(&self) -> Offset {
        Offset::between(self.t3, self.t4)
    }

    /// Whether the order of events is possible and the round trip is below ten seconds.
    #[must_use]
    pub fn is_plausible(&self) -> bool {
        let delay = self.delay();
        self.t4 >= self.t1 && self.t3 >= self.t2 && !delay.is_negative() && delay < Span::from_secs(10)
    }
}

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

#[expect(clippy::cast_precision_loss, reason = "counts of thousands at most")]
const fn number(count: usize) -> f64 {
    count as f64
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
}

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
            EstimatorKind::Mean => Box::new(Mean::new(self.window, self.threshold)),
            EstimatorKind::Min => Box::new(Min::new(self.window, self.threshold)),
            EstimatorKind::Track => Box::new(Track::new()),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A simulated link and clock with known truth.

    use super::*;

    /// Exchanges over a link with exponential delays above a floor, from a 64-bit xorshift.
    pub struct Link {
        pub state: u64,
        pub floor: Span,
        pub mean_excess: Span,
        pub offset: Span,
        pub ppm: f64,
    }

    impl Link {
        pub fn new(seed: u64) -> Self {
            Self {
                state: seed * 2 + 1,
                floor: Span::from_micros(500),
                mean_excess: Span::from_micros(800),
                offset: Span::from_millis(-1234),
                ppm: 0.0,
            }
        }

        fn uniform(&mut self) -> f64 {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            f64::from(u32::try_from(self.state >> 33).unwrap() + 1) / f64::from(1_u32 << 31)
        }

        pub fn delay(&mut self) -> Span {
            self.floor + self.mean_excess.mul_f64(-self.uniform().ln())
        }

        pub fn truth(&self, at: Timestamp<Local>) -> Timestamp<Rig> {
            let elapsed = at - Timestamp::ZERO;
            Timestamp::from_nanos((elapsed + self.offset + elapsed.mul_f64(self.ppm * 1e-6)).as_nanos())
        }

        pub fn exchange(&mut self, t1: Timestamp<Local>) -> Exchange {
            let there = t1 + self.delay();
            let held = there + Span::from_micros(30);
            let t4 = held + self.delay();
            Exchange { t1, t2: self.truth(there), t3: self.truth(held), t4 }
        }
    }

    pub fn at_ms(ms: i64) -> Timestamp<Local> {
        Timestamp::ZERO + Span::from_millis(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_and_delay_follow_rfc_5905() {
        let exchange = Exchange {
            t1: Timestamp::from_nanos(1_000),
            t2: Timestamp::from_nanos(5_300),
            t3: Timestamp::from_nanos(5_400),
            t4: Timestamp::from_nanos(1_600),
        };
        assert_eq!(exchange.delay(), Span::from_nanos(500));
        assert_eq!(exchange.offset().as_span(), Span::from_nanos(4_050));
        assert!(exchange.is_plausible());
        let reversed = Exchange { t4: Timestamp::from_nanos(999), ..exchange };
        assert!(!reversed.is_plausible());
    }
}
