//! How often one address may ask: token buckets in a bounded table.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::time::{Rig, Span, Timestamp};

/// Addresses that are told apart at a time. An address that was forgotten begins with a full bucket.
pub(super) const CAPACITY: usize = 4096;

/// At most one kiss-o'-death a second tells an address that it asks too often.
const KISS_INTERVAL: Span = Span::from_secs(1);

/// How often one address may ask. Loopback is not limited: there are no strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in quick succession.
    pub burst: u32,
    /// Requests a second, in the long run.
    pub per_second: u32,
}

impl Default for RateLimit {
    /// A few clients behind one address: each asks 300 times in its first second, 200 times in the next
    /// nine, and then at most 8 times a second.
    fn default() -> Self {
        Self { burst: 1500, per_second: 50 }
    }
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Serve,
    /// Refuse it with RATE.
    Kiss,
    Ignore,
}

/// How much an address has asked.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Requests that it may still make, as of `at`.
    tokens: f64,
    at: Timestamp<Rig>,
    /// When it was last told to slow down.
    kissed: Option<Timestamp<Rig>>,
}

/// Buckets of the addresses that asked; the one that came first makes room.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: RateLimit,
    buckets: HashMap<IpAddr, Bucket>,
    order: VecDeque<IpAddr>,
}

impl Limiter {
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, buckets: HashMap::new(), order: VecDeque::new() }
    }

    /// Counts a request of `from` at `now`. A step of rig time back costs nobody anything.
    pub fn handle_request(&mut self, from: IpAddr, now: Timestamp<Rig>) -> Verdict {
        if from.is_loopback() {
            return Verdict::Serve;
        }
        let full = f64::from(self.limit.burst);
        if !self.buckets.contains_key(&from) {
            if self.order.len() == CAPACITY
                && let Some(oldest) = self.order.pop_front()
            {
                self.buckets.remove(&oldest);
            }
            self.order.push_back(from);
        }
        let bucket = self.buckets.entry(from).or_insert(Bucket { tokens: full, at: now, kissed: None });
        let elapsed = (now - bucket.at).max(Span::ZERO).as_secs_f64();
        bucket.tokens = (bucket.tokens + elapsed * f64::from(self.limit.per_second)).min(full);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Verdict::Serve;
        }
        let silent = bucket.kissed.is_some_and(|kissed| (now - kissed).abs() < KISS_INTERVAL);
        if silent {
            return Verdict::Ignore;
        }
        bucket.kissed = Some(now);
        Verdict::Kiss
    }

    #[cfg(test)]
    pub fn len(&self) -> (usize, usize) {
        (self.buckets.len(), self.order.len())
    }
}
