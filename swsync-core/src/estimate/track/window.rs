//! The window: the last minute of exchanges, reduced to bins that keep only the best bound of each direction.

use std::collections::VecDeque;

use super::super::exchange::Exchange;
use crate::time::{Local, Offset, Span, Timestamp};

/// Length of the window: long enough to measure the skew to a fraction of a ppm over WiFi, short enough for the wander of a
/// crystal.
const LENGTH: Span = Span::from_secs(60);
/// Most bins. At high rates bins grow, so that cost and memory are bounded.
pub(super) const CAPACITY: usize = 256;
/// Initial number of exchanges per bin.
const BIN_EXCHANGES: u32 = 8;
/// Longest span of a bin: at slow polls eight exchanges would take too long.
const BIN_TIME: Span = Span::from_secs(2);

/// A bound of the offset from one direction: the offset is below `height` by that direction's delay. For the response's
/// direction, both signs are inverted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// When it was measured, in s since the window's origin.
    pub t: f64,
    /// Height, in ns from the reference.
    pub height: f64,
}

impl Bound {
    /// Its height at `now` in s, if the offset moves by `rate` ns/s.
    pub fn projected(&self, direction: usize, rate: f64, now: f64) -> f64 {
        self.height + SIGNS[direction] * rate * (now - self.t)
    }
}

/// The best bounds of some successive exchanges: first the request's direction, then the response's.
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
    /// It began a new bin.
    Began,
}

#[derive(Debug)]
pub(super) struct Window {
    /// The instant of t = 0 and the offset of height 0, so that floats stay small.
    origin: Option<(Timestamp<Local>, Offset)>,
    bins: VecDeque<Bin>,
    bin_exchanges: u32,
}

/// Sign of the skew in each direction: a positive skew raises the request's bounds and lowers the response's.
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

    /// Discards all but the newest `keep` bins.
    pub fn keep_newest(&mut self, keep: usize) {
        self.bins.drain(..self.bins.len().saturating_sub(keep));
    }

    pub const fn bins(&self) -> &VecDeque<Bin> {
        &self.bins
    }

    /// Age of the oldest bin.
    pub fn age(&self, now: Timestamp<Local>) -> Span {
        self.bins.front().map_or(Span::ZERO, |bin| (now - bin.begin).max(Span::ZERO))
    }

    /// Whether all bins are too old for an exchange at `now`.
    pub fn is_past(&self, now: Timestamp<Local>) -> bool {
        self.bins.back().is_some_and(|bin| bin.begin < now - LENGTH)
    }

    /// Local time in s since the origin. Valid after the first exchange.
    pub fn seconds(&self, at: Timestamp<Local>) -> f64 {
        self.origin.map_or(0.0, |(start, _)| (at - start).as_secs_f64())
    }

    /// The offset of `height`, in the request's direction.
    pub fn offset(&self, height: f64) -> Offset {
        let reference = self.origin.map_or(Span::ZERO, |(_, reference)| reference.as_span());
        Offset::from_span(reference + Span::from_nanos_f64(height))
    }

    /// The two bounds that `exchange` gives.
    pub fn bounds(&mut self, exchange: &Exchange) -> [Bound; 2] {
        let (start, reference) = *self.origin.get_or_insert((exchange.t4, exchange.offset()));
        let height = |offset: Offset| (offset.as_span() - reference.as_span()).as_nanos_f64();
        let t = |at: Timestamp<Local>| (at - start).as_secs_f64();
        [
            Bound { t: t(exchange.t1), height: height(exchange.upper()) },
            Bound { t: t(exchange.t4), height: -height(exchange.lower()) },
        ]
    }

    /// Inserts the `bounds` of an exchange that ended at `at`. Bounds are compared under the assumption that the offset moves by
    /// `skew` ns/s.
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

    /// Joins neighbouring bins, and doubles the size of new ones.
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
    /// The end of its first exchange.
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
