//! The state of the server that a client follows, as the server states it.

use crate::ntp::RigField;
use crate::time::Span;

/// Stratum of a server that does not know the time.
pub(super) const UNSYNCHRONIZED: u8 = 16;

/// The state of the server that a client follows, as the server states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// Distance from the leader: 1 is the leader itself.
    pub stratum: u8,
    /// Four characters that name its source.
    pub reference_id: [u8; 4],
    /// Round trip from it to its primary source.
    pub root_delay: Span,
    /// Its error bound relative to the primary source.
    pub root_dispersion: Span,
    /// Its time scale; `None` if it is not a swsync server.
    pub field: Option<RigField>,
}

impl Upstream {
    /// Whether the server is in sync itself. A server that does not say so counts as settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.field.is_none_or(|field| !field.unsettled)
    }

    /// Error of the server's clock, 1 sigma.
    ///
    /// Other NTP servers state a dispersion, which is a bound: a third of it, and of half the round trip to their source.
    #[must_use]
    pub fn uncertainty(&self) -> Span {
        match self.field {
            Some(field) => Span::from_nanos(i64::from(field.uncertainty_ns)),
            None => (self.root_dispersion + self.root_delay / 2) / 3,
        }
    }
}
