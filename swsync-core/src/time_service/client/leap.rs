//! Leap seconds of a server that is not swsync's.

use super::Client;
use crate::estimate::Exchange;
use crate::leap::LeapNotice;
use crate::ntp::NtpTimestamp;
use crate::time::{Local, Rig, Span, Timestamp};
use crate::time_service::Upstream;

use super::requests::Stamps;

impl Client {
    /// The exchange of `stamps` in rig time: the server's time with its leap seconds smeared. `indicator` is its leap indicator. A
    /// server of swsync's keeps rig time, which has none.
    pub(super) fn without_leaps(&mut self, stamps: &Stamps, upstream: &Upstream, indicator: u8) -> Exchange {
        let time = |stamp: NtpTimestamp| stamp.to_rig(self.pivot);
        let exchange = Exchange { t1: stamps.t1, t2: time(stamps.t2), t3: time(stamps.t3), t4: stamps.t4 };
        if upstream.field.is_some() {
            return exchange;
        }
        let middle = exchange.t1 + (exchange.t4 - exchange.t1) / 2;
        let expected: Option<Timestamp<Rig>> = self.last_update.map(|update| update.estimate.rig_at(middle));
        self.leap.note(LeapNotice::from_ntp(indicator), exchange.t3);
        // The leap may come between the two.
        let t2 = self.leap.rig_time(exchange.t2, expected);
        let t3 = self.leap.observe(exchange.t3, expected);
        Exchange { t2, t3, ..exchange }
    }

    /// Rig time minus the server's when the local clock reads `now`.
    pub(super) fn leap_correction(&self, now: Timestamp<Local>) -> Span {
        let correction = self.leap.smearing().zip(self.servo.map()).map(|(leap, map)| {
            let rig = map.rig_at(now);
            leap.correction(rig - leap.correction(rig))
        });
        correction.unwrap_or_default()
    }
}
