//! What a client publishes about its clock.

use crate::estimate::ClockEstimate;
use crate::servo::{Adjustment, ClockMap};
use crate::time::{Local, Offset, Skew, Span, Timestamp};
use crate::time_service::{SyncState, Upstream};

/// A clock with a larger known error is not synced, however small its uncertainty. It equals the uncertainty beyond which a
/// device is not ready for orders.
pub const MAX_KNOWN_ERROR: Span = Span::from_millis(1);

/// The clock from now on, and how certain it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockUpdate {
    /// The clock.
    pub map: ClockMap,
    /// The estimate that the clock follows.
    pub estimate: ClockEstimate,
    /// What the estimate did to the clock; `None` if the clock was left alone.
    pub adjustment: Option<Adjustment>,
    /// How well rig time is known.
    pub quality: SyncState,
    /// Round trip of the last exchange.
    pub round_trip: Span,
    /// The server that is followed.
    pub upstream: Upstream,
}

/// What the boot-time clock may be wrong by over a sleep, 1 sigma: the rate of the clock that runs meanwhile, and how exactly the
/// kernel reads it before and after. Chosen.
const SLEEP_SKEW: Skew = Skew::from_ratio(50e-6);
const SLEEP_ERROR: Span = Span::from_millis(10);

/// What rig time may be wrong by, 1 sigma, after the device has slept for `slept`.
pub(in crate::time_service) fn sleep_uncertainty(slept: Span) -> Span {
    SLEEP_SKEW.over(slept) + SLEEP_ERROR
}

impl ClockUpdate {
    /// This update after the device has slept for `slept`: a clock that was in sync is in holdover.
    #[must_use]
    pub fn resumed(mut self, slept: Span) -> Self {
        let ClockEstimate { offset, uncertainty, .. } = self.estimate;
        let sigma = uncertainty.as_nanos_f64().hypot(sleep_uncertainty(slept).as_nanos_f64());
        self.estimate.offset = Offset::from_span(offset.as_span() + slept);
        self.estimate.uncertainty = Span::from_nanos_f64(sigma);
        self.map = self.map.ahead_by(slept);
        self.adjustment = None;
        if self.quality == SyncState::Synced {
            self.quality = SyncState::Holdover;
        }
        self
    }

    /// The known error of the clock when the local clock reads `local`, because it is being corrected or stands still.
    #[must_use]
    pub fn behind_at(&self, local: Timestamp<Local>) -> Span {
        self.estimate.rig_at(local) - self.map.rig_at(local)
    }

    /// Whether the clock is in rig time when the local clock reads `local`: its server is settled, its uncertainty is at most
    /// `most` (1 sigma), and its known error is at most [`MAX_KNOWN_ERROR`].
    #[must_use]
    pub fn is_good_at(&self, local: Timestamp<Local>, most: Span) -> bool {
        self.upstream.is_settled()
            && self.behind_at(local).abs() <= MAX_KNOWN_ERROR
            && self.uncertainty_at(local) <= most
    }

    /// Error of the clock when the local clock reads `local`, 1 sigma: the server's, the estimate's, and the known error.
    #[must_use]
    pub fn uncertainty_at(&self, local: Timestamp<Local>) -> Span {
        let behind = self.behind_at(local);
        let estimate = self.estimate.uncertainty_at(local);
        let server = self.upstream.uncertainty();
        let own = estimate.as_nanos_f64().hypot(behind.as_nanos_f64());
        Span::from_nanos_f64(own.hypot(server.as_nanos_f64()))
    }
}
