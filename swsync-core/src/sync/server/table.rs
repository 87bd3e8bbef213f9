//! What interleaved mode remembers of clients: a bounded table of timestamps.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::ntp::NtpTimestamp;

/// Responses that are remembered: the last 8 of some 500 clients, or the last minute of ten.
pub(super) const CAPACITY: usize = 4096;

/// A response that a client may refer to.
#[derive(Debug, Clone, Copy)]
struct Entry {
    transmit: NtpTimestamp,
    to: IpAddr,
}

/// The last responses, by the receive timestamp that each carried. The oldest one makes room.
#[derive(Debug)]
pub(super) struct Table {
    entries: HashMap<NtpTimestamp, Entry>,
    /// In the order of insertion; those taken are still among them.
    order: VecDeque<NtpTimestamp>,
}

impl Default for Table {
    fn default() -> Self {
        // Twice the room, so that what removed entries leave behind never makes it grow.
        Self { entries: HashMap::with_capacity(2 * CAPACITY), order: VecDeque::with_capacity(CAPACITY) }
    }
}

impl Table {
    /// `receive`, or the next timestamp after it that is in no entry: receive timestamps have to be
    /// unique (RFC 9769 section 2).
    pub fn unique(&self, mut receive: NtpTimestamp) -> NtpTimestamp {
        // Zero means "unknown".
        while receive == NtpTimestamp::ZERO || self.entries.contains_key(&receive) {
            receive = receive.next();
        }
        receive
    }

    /// Remembers a response to `to` with this `receive` timestamp, which has to be [`Table::unique`].
    pub fn insert(&mut self, receive: NtpTimestamp, transmit: NtpTimestamp, to: IpAddr) {
        if self.order.len() == CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.order.push_back(receive);
        self.entries.insert(receive, Entry { transmit, to });
    }

    /// A better transmit timestamp of the response with this `receive` timestamp.
    pub fn set_transmit(&mut self, receive: NtpTimestamp, transmit: NtpTimestamp) {
        if let Some(entry) = self.entries.get_mut(&receive) {
            entry.transmit = transmit;
        }
    }

    /// The transmit timestamp of the response to `to` with this `receive` timestamp. Once: a receive
    /// timestamp must not be used again (RFC 9769 section 2).
    pub fn take(&mut self, receive: NtpTimestamp, to: IpAddr) -> Option<NtpTimestamp> {
        self.entries.get(&receive).filter(|entry| entry.to == to)?;
        self.entries.remove(&receive).map(|entry| entry.transmit)
    }

    #[cfg(test)]
    pub fn len(&self) -> (usize, usize) {
        (self.entries.len(), self.order.len())
    }
}
