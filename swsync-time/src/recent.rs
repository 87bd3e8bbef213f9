//! The recent exchanges of a clock with its time server, for whoever looks at its link.

use std::collections::VecDeque;

use swsync_core::estimate::Exchange;
use swsync_core::exchanges::{ClockExchange, MAX_EXCHANGES};
use swsync_core::time::{Local, Offset, Rig, Timestamp};

/// The last [`MAX_EXCHANGES`].
#[derive(Debug, Clone, Default)]
pub(crate) struct RecentExchanges(VecDeque<Exchange>);

impl RecentExchanges {
    pub(crate) fn note(&mut self, exchange: Exchange) {
        if self.0.back().is_some_and(|last| last.t4 >= exchange.t4) {
            return;
        }
        if self.0.len() >= MAX_EXCHANGES {
            self.0.pop_front();
        }
        self.0.push_back(exchange);
    }

    /// The exchanges at `now`, against a clock that reads `rig_at`.
    pub(crate) fn told(
        &self,
        now: Timestamp<Local>,
        rig_at: impl Fn(Timestamp<Local>) -> Timestamp<Rig>,
    ) -> Vec<ClockExchange> {
        let tell = |exchange: &Exchange| {
            // The offset is that of the middle of the exchange.
            let middle = exchange.t1 + (exchange.t4 - exchange.t1) / 2;
            let own = Offset::between(rig_at(middle), middle);
            ClockExchange {
                ago_ns: now - exchange.t4,
                delay_ns: exchange.delay(),
                offset_ns: exchange.offset().as_span() - own.as_span(),
            }
        };
        self.0.iter().map(tell).collect()
    }
}

#[cfg(test)]
mod tests {
    use swsync_core::time::Span;

    use super::*;

    /// An exchange that began at `t1`, of a clock that is 5 s behind: the request took `up`, the response `down`, both in ns.
    fn exchange(t1: i64, up: i64, down: i64) -> Exchange {
        let (local, rig) = (Timestamp::from_nanos, |nanos| Timestamp::from_nanos(5_000_000_000 + nanos));
        Exchange { t1: local(t1), t2: rig(t1 + up), t3: rig(t1 + up), t4: local(t1 + up + down) }
    }

    #[test]
    fn a_delay_moves_an_exchange_to_its_side_of_the_wedge() {
        let mut recent = RecentExchanges::default();
        for each in
            [exchange(0, 1_000, 1_000), exchange(10_000, 4_000, 1_000), exchange(20_000, 1_000, 6_000)]
        {
            recent.note(each);
            recent.note(each); // is known
        }
        let rig_at = |local: Timestamp<Local>| Timestamp::from_nanos(local.as_nanos() + 5_000_000_000);
        let told = recent.told(Timestamp::from_nanos(30_000), rig_at);
        let each = told.iter().map(|one| (one.ago_ns, one.delay_ns, one.offset_ns)).collect::<Vec<_>>();
        let nanos = Span::from_nanos;
        // (up - down) / 2
        assert_eq!(
            each,
            [
                (nanos(28_000), nanos(2_000), nanos(0)),
                (nanos(15_000), nanos(5_000), nanos(1_500)),
                (nanos(3_000), nanos(7_000), nanos(-2_500)),
            ]
        );
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut recent = RecentExchanges::default();
        let most = i64::try_from(MAX_EXCHANGES).unwrap();
        (0..most + 3).for_each(|index| recent.note(exchange(index * 10_000, 1_000, 1_000)));
        assert_eq!((recent.0.len(), recent.0[0].t1), (MAX_EXCHANGES, Timestamp::from_nanos(30_000)));
    }
}
