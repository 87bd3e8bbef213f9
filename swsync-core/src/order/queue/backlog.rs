//! The frames that wait for the writer, and how many may.

use std::collections::BTreeMap;

/// Identifies a frame that the writer holds.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
pub struct SaveTicket(u64);

/// The frames that the writer holds, bounded in bytes.
#[derive(Debug)]
pub struct Backlog {
    limit: usize,
    bytes: usize,
    next: u64,
    held: BTreeMap<SaveTicket, usize>,
}

impl Backlog {
    pub const fn new(limit: usize) -> Self {
        Self { limit, bytes: 0, next: 0, held: BTreeMap::new() }
    }

    /// Whether a frame of `bytes` can be handed out. A single frame always can.
    pub const fn has_room(&self, bytes: usize) -> bool {
        self.bytes == 0 || self.bytes.saturating_add(bytes) <= self.limit
    }

    pub fn issue(&mut self, bytes: usize) -> SaveTicket {
        let ticket = SaveTicket(self.next);
        self.next += 1;
        self.bytes += bytes;
        self.held.insert(ticket, bytes);
        ticket
    }

    pub fn release(&mut self, ticket: SaveTicket) {
        self.bytes -= self.held.remove(&ticket).unwrap_or(0);
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub const fn limit(&self) -> usize {
        self.limit
    }
}
