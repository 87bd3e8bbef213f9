//! The last minute of exchanges, reduced to the best bounds of short spans of time.

use std::collections::VecDeque;

use super::super::Exchange;
use crate::time::{Local, Offset, Span, Timestamp};

/// Length of the window. Long enough to learn a skew to a fraction of a ppm over WiFi, short against
/// the wander of a crystal.
const LENGTH: Span = Span::from_secs(60);
/// Most bins that are kept; at high rates they grow, so that cost and memory are bounded.
pub(super) const CAPACITY: usize = 256;
/// Exchanges in a bin, at first.
const BIN_EXCHANGES: u32 = 8;
/// Longest time that a bin is filled: at slow polls eight exchanges would take too long.
const BIN_TIME: Span = Span::from_secs(2);

/// A bound of the offset by one direction: it is below `height`, seen from that direction (for the
/// response's both are negated), by that direction's delay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// s since the window's origin.
    pub t: f64,
    /// ns from the reference.
    pub height: f64,
}

impl Bound {
    /// The height that it has at `now` in s, if the offset moves by `rate` ns/s.
    pub fn carried(&self, direction: usize, rate: f64, now: f64) -> f64 {
        self.height + SIGNS[direction] * rate * (now - self.t)
    }
}

/// The best bounds of some successive exchanges: of the request's direction, and of the response's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bin {
    begin: Timestamp<Local>,
    exchanges: u32,
    pub bounds: [Bound; 2],
}

/// What an exchange did to the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It joined the newest bin.
    Joined,
    /// It began a bin: the one before is complete.
    Began,
}

#[derive(Debug)]
pub(super) struct Window {
    /// Where t = 0 and what offset has height 0, so that floats stay small.
    origin: Option<(Timestamp<Local>, Offset)>,
    bins: VecDeque<Bin>,
    bin_exchanges: u32,
}

/// Seen from the request's direction, time that passes raises the offset by the skew; seen from the
/// response's, it lowers it.
pub(super) const SIGNS: [f64; 2] = [1.0, -1.0];

impl Window {
    pub fn new() -> Self {
        Self { origin: None, bins: VecDeque::with_capacity(CAPACITY), bin_exchanges: BIN_EXCHANGES }
    }

    pub fn clear(&mut self) {
        self.origin = None;
        self.bins.clear();
        self.bin_exchanges = BIN_EXCHANGES;
    }

    /// Forgets all but the newest `keep` bins.
    pub fn keep_newest(&mut self, keep: usize) {
        self.bins.drain(..self.bins.len().saturating_sub(keep));
    }

    pub const fn bins(&self) -> &VecDeque<Bin> {
        &self.bins
    }

    /// How long the window's bins have been gathered.
    pub fn age(&self, now: Timestamp<Local>) -> Span {
        self.bins.front().map_or(Span::ZERO, |bin| (now - bin.begin).max(Span::ZERO))
    }

    /// Whether all that it holds is too old for an exchange at `now`.
    pub fn is_past(&self, now: Timestamp<Local>) -> bool {
        self.bins.back().is_some_and(|bin| bin.begin < now - LENGTH)
    }

    /// Local time in s since the origin. Only after the first exchange.
    pub fn seconds(&self, at: Timestamp<Local>) -> f64 {
        self.origin.map_or(0.0, |(start, _)| (at - start).as_secs_f64())
    }

    /// The offset at `height`, seen from the request's direction.
    pub fn offset(&self, height: f64) -> Offset {
        let reference = self.origin.map_or(Span::ZERO, |(_, reference)| reference.as_span());
        Offset::from_span(reference + Span::from_nanos_f64(height))
    }

    /// The bounds that `exchange` is.
    pub fn bounds(&mut self, exchange: &Exchange) -> [Bound; 2] {
        let (start, reference) = *self.origin.get_or_insert((exchange.t4, exchange.offset()));
        let height = |offset: Offset| (offset.as_span() - reference.as_span()).as_nanos_f64();
        let t = |at: Timestamp<Local>| (at - start).as_secs_f64();
        [
            Bound { t: t(exchange.t1), height: height(exchange.upper()) },
            Bound { t: t(exchange.t4), height: -height(exchange.lower()) },
        ]
    }

    /// Takes in the `bounds` of an exchange that ended at `at`; bounds are compared as if the offset
    /// moved by `skew` ns/s.
    pub fn insert(&mut self, at: Timestamp<Local>, bounds: [Bound; 2], skew: f64) -> Inserted {
        while self.bins.front().is_some_and(|bin| bin.begin < at - LENGTH) {
            self.bins.pop_front();
        }
        if let Some(bin) = self.bins.back_mut()
            && bin.exchanges < self.bin_exchanges
            && at - bin.begin < BIN_TIME
        {
            bin.join(&Bin { begin: at, exchanges: 1, bounds }, skew);
            return Inserted::Joined;
        }
        if self.bins.len() == CAPACITY {
            self.halve(skew);
        }
        self.bins.push_back(Bin { begin: at, exchanges: 1, bounds });
        Inserted::Began
    }

    /// Joins neighbouring bins, and lets new ones grow twice as large.
    fn halve(&mut self, skew: f64) {
        for i in 0..self.bins.len() / 2 {
            let mut bin = self.bins[2 * i];
            bin.join(&self.bins[2 * i + 1], skew);
            self.bins[i] = bin;
        }
        self.bins.truncate(self.bins.len() / 2);
        self.bin_exchanges = self.bin_exchanges.saturating_mul(2);
    }
}

impl Bin {
    /// When its first exchange ended.
    pub const fn begin(&self) -> Timestamp<Local> {
        self.begin
    }

    fn join(&mut self, other: &Self, skew: f64) {
        self.exchanges = self.exchanges.saturating_add(other.exchanges);
        for ((own, other), sign) in self.bounds.iter_mut().zip(other.bounds).zip(SIGNS) {
            if other.height - own.height < sign * skew * (other.t - own.t) {
                *own = other;
            }
        }
    }
}
