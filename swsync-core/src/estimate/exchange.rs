//! One exchange of request and response, as measured.

use crate::time::{Local, Offset, Rig, Span, Timestamp};

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
