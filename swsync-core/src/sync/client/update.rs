//! What a client tells of the clock.

use crate::clock::{Adjustment, ClockEstimate, ClockMap};
use crate::frame::SyncQuality;
use crate::ntp::RigField;
use crate::status::TimeSource;
use crate::sync::Upstream;
use crate::time::{Local, Span, Timestamp};

/// A clock that is known to be wrong by more is not in sync, however well its error is known: the uncertainty beyond
/// which a device is not ready for orders.
const KNOWN_ERROR: Span = crate::status::MAX_UNCERTAINTY;

/// What the clock reads from now on, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockUpdate {
    /// The clock.
    pub map: ClockMap,
    /// The estimate that it follows.
    pub estimate: ClockEstimate,
    /// What that did to the clock; `None` where it was left alone.
    pub adjustment: Option<Adjustment>,
    /// How well rig time is known.
    pub quality: SyncQuality,
    /// Round trip of the last exchange.
    pub round_trip: Span,
    /// The server that is followed.
    pub upstream: Upstream,
}

impl ClockUpdate {
    /// Where the time comes from, if the server says.
    #[must_use]
    pub fn source(&self) -> Option<TimeSource> {
        let RigField { leader, timescale, .. } = self.upstream.field?;
        let least_delay_ns = self.estimate.least_delay;
        Some(TimeSource { stratum: self.upstream.stratum, leader, timescale, least_delay_ns })
    }

    /// What the clock is known to be wrong by when the local clock reads `local`: it is being corrected, or held.
    #[must_use]
    pub fn behind_at(&self, local: Timestamp<Local>) -> Span {
        self.estimate.rig_at(local) - self.map.rig_at(local)
    }

    /// Whether all that is known says that the clock is in rig time when the local clock reads `local`: its error
    /// may be `most` at most (1 sigma), and it is neither held nor being corrected by more than 1 ms.
    #[must_use]
    pub fn is_good_at(&self, local: Timestamp<Local>, most: Span) -> bool {
        self.upstream.is_settled()
            && self.behind_at(local).abs() <= KNOWN_ERROR
            && self.uncertainty_at(local) <= most
    }

    /// What the error of the clock may be when the local clock reads `local`, 1 sigma: the
    /// server's, the estimate's, and what the clock has still to be corrected by.
    #[must_use]
    pub fn uncertainty_at(&self, local: Timestamp<Local>) -> Span {
        let behind = self.behind_at(local);
        let estimate = self.estimate.uncertainty_at(local);
        let server = self.upstream.uncertainty();
        let own = estimate.as_nanos_f64().hypot(behind.as_nanos_f64());
        Span::from_nanos_f64(own.hypot(server.as_nanos_f64()))
    }
}
