//! The bounded table of sent responses that interleaved mode needs.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::ntp::NtpTimestamp;

/// Most responses in the table: the last 8 of some 500 clients, or the last minute of ten.
pub(super) const CAPACITY: usize = 4096;

/// A response that a client may refer to.
#[derive(Debug, Clone, Copy)]
struct RememberedResponse {
    transmit: NtpTimestamp,
    to: IpAddr,
}

/// The last responses, by the receive timestamp that each carried. When the table is full, the oldest is evicted.
#[derive(Debug)]
pub(super) struct ResponseTable {
    entries: HashMap<NtpTimestamp, RememberedResponse>,
    /// Keys in the order of insertion, including those that were taken.
    order: VecDeque<NtpTimestamp>,
}

impl Default for ResponseTable {
    fn default() -> Self {
        // Twice the capacity, so that tombstones of removed entries never make it grow.
        Self { entries: HashMap::with_capacity(2 * CAPACITY), order: VecDeque::with_capacity(CAPACITY) }
    }
}

impl ResponseTable {
    /// `receive`, or the next later timestamp that is not in the table: receive timestamps have to be unique (RFC 9769
    /// section 2).
    pub fn unique(&self, mut receive: NtpTimestamp) -> NtpTimestamp {
        // Zero means "unknown".
        while receive == NtpTimestamp::ZERO || self.entries.contains_key(&receive) {
            receive = receive.next();
        }
        receive
    }

    /// Adds a response to `to` with this `receive` timestamp, which has to be [`ResponseTable::unique`].
    pub fn insert(&mut self, receive: NtpTimestamp, transmit: NtpTimestamp, to: IpAddr) {
        if self.order.len() == CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.order.push_back(receive);
        self.entries.insert(receive, RememberedResponse { transmit, to });
    }

    /// Replaces the transmit timestamp of the response with this `receive` timestamp.
    pub fn set_transmit(&mut self, receive: NtpTimestamp, transmit: NtpTimestamp) {
        if let Some(entry) = self.entries.get_mut(&receive) {
            entry.transmit = transmit;
        }
    }

    /// Removes the response to `to` with this `receive` timestamp and returns its transmit timestamp. A receive timestamp must
    /// not be used twice (RFC 9769 section 2).
    pub fn take(&mut self, receive: NtpTimestamp, to: IpAddr) -> Option<NtpTimestamp> {
        self.entries.get(&receive).filter(|entry| entry.to == to)?;
        self.entries.remove(&receive).map(|entry| entry.transmit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn a_timestamp_counts_once_and_for_its_address_only() {
        let mut table = ResponseTable::default();
        table.insert(NtpTimestamp(5), NtpTimestamp(6), address(1));
        assert_eq!(table.take(NtpTimestamp(5), address(2)), None);
        assert_eq!(table.take(NtpTimestamp(5), address(1)), Some(NtpTimestamp(6)));
        assert_eq!(table.take(NtpTimestamp(5), address(1)), None);
    }

    #[test]
    fn the_kernels_timestamp_replaces_the_first_one() {
        let mut table = ResponseTable::default();
        table.insert(NtpTimestamp(5), NtpTimestamp(6), address(1));
        table.set_transmit(NtpTimestamp(5), NtpTimestamp(9));
        table.set_transmit(NtpTimestamp(4), NtpTimestamp(1)); // not in the table: ignored
        assert_eq!(table.take(NtpTimestamp(5), address(1)), Some(NtpTimestamp(9)));
    }

    #[test]
    fn timestamps_are_unique_and_never_zero() {
        let mut table = ResponseTable::default();
        for expected in [1, 2, 3] {
            let receive = table.unique(NtpTimestamp(0));
            assert_eq!(receive, NtpTimestamp(expected));
            table.insert(receive, receive, address(1));
        }
        assert_eq!(table.unique(NtpTimestamp(u64::MAX)), NtpTimestamp(u64::MAX));
    }

    #[test]
    fn a_full_table_evicts_the_oldest() {
        let mut table = ResponseTable::default();
        let capacity = u64::try_from(CAPACITY).unwrap();
        for i in 1..=capacity + 1 {
            table.insert(NtpTimestamp(i), NtpTimestamp(i), address(1));
        }
        assert_eq!(table.take(NtpTimestamp(1), address(1)), None);
        assert_eq!(table.take(NtpTimestamp(2), address(1)), Some(NtpTimestamp(2)));
        assert_eq!(table.take(NtpTimestamp(capacity + 1), address(1)), Some(NtpTimestamp(capacity + 1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// The table and its memory stay within their bounds.
        #[test]
        fn it_never_grows(steps in proptest::collection::vec((0..20_000_u64, 0..3_u8), 3 * CAPACITY)) {
            let mut table = ResponseTable::default();
            let room = table.entries.capacity();
            for (stamp, what) in steps {
                match what {
                    0 => drop(table.take(NtpTimestamp(stamp), address(1))),
                    _ => {
                        let receive = table.unique(NtpTimestamp(stamp));
                        table.insert(receive, receive, address(what));
                    }
                }
                prop_assert!(table.entries.len() <= table.order.len() && table.order.len() <= CAPACITY);
            }
            // It may be less, because of tombstones.
            prop_assert!(table.entries.capacity() <= room);
        }
    }
}
