//! Limits the requests of each address: token buckets in a bounded table.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::time::{Rig, Span, Timestamp};

/// Most addresses in the table. An address that was evicted begins with a full bucket again.
pub(super) const CAPACITY: usize = 4096;

/// Shortest interval between two kisses-o'-death to one address.
const KISS_INTERVAL: Span = Span::from_secs(1);

/// How often one address may send requests. Loopback is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimit {
    /// Requests in quick succession.
    pub burst: u32,
    /// Requests a second, in the long run.
    pub per_second: u32,
}

impl Default for RequestLimit {
    /// Enough for a few clients behind one address: each sends 300 requests in its first second, 200 in the next nine, and then
    /// at most 8 a second.
    fn default() -> Self {
        Self { burst: 1500, per_second: 50 }
    }
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RateVerdict {
    Serve,
    /// Answer with RATE.
    Kiss,
    Ignore,
}

/// The token bucket of one address.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Requests that it may still send, as of `at`.
    tokens: f64,
    at: Timestamp<Rig>,
    /// When it last got a RATE.
    kissed: Option<Timestamp<Rig>>,
}

/// The buckets of all addresses. When the table is full, the oldest is evicted.
#[derive(Debug)]
pub(super) struct RateLimiter {
    limit: RequestLimit,
    buckets: HashMap<IpAddr, Bucket>,
    order: VecDeque<IpAddr>,
}

impl RateLimiter {
    pub fn new(limit: RequestLimit) -> Self {
        Self { limit, buckets: HashMap::new(), order: VecDeque::new() }
    }

    /// Number of addresses that sent requests within `recent` before `now`.
    pub fn clients(&self, now: Timestamp<Rig>, recent: Span) -> usize {
        self.buckets.values().filter(|bucket| (now - bucket.at).abs() <= recent).count()
    }

    /// Counts a request from `from` at `now`. Rig time may step back.
    pub fn handle_request(&mut self, from: IpAddr, now: Timestamp<Rig>) -> RateVerdict {
        if from.is_loopback() {
            return RateVerdict::Serve;
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
            return RateVerdict::Serve;
        }
        let silent = bucket.kissed.is_some_and(|kissed| (now - kissed).abs() < KISS_INTERVAL);
        if silent {
            return RateVerdict::Ignore;
        }
        bucket.kissed = Some(now);
        RateVerdict::Kiss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + n).into()
    }

    fn at_ms(ms: i64) -> Timestamp<Rig> {
        Timestamp::ZERO + Span::from_millis(ms)
    }

    /// Numbers of verdicts on one request per millisecond over `ms`.
    fn count(limiter: &mut RateLimiter, from: IpAddr, ms: std::ops::Range<i64>) -> [usize; 3] {
        let mut counts = [0; 3];
        for at in ms {
            match limiter.handle_request(from, at_ms(at)) {
                RateVerdict::Serve => counts[0] += 1,
                RateVerdict::Kiss => counts[1] += 1,
                RateVerdict::Ignore => counts[2] += 1,
            }
        }
        counts
    }

    #[test]
    fn after_a_burst_the_rate_is_limited_with_a_kiss_per_second() {
        let mut limiter = RateLimiter::new(RequestLimit { burst: 400, per_second: 50 });
        // The burst of 400, and 20 more tokens within 420 ms.
        assert_eq!(count(&mut limiter, address(1), 0..420), [420, 0, 0]);
        let [served, kisses, ignored] = count(&mut limiter, address(1), 420..10_420);
        assert!((499..=502).contains(&served), "{served}");
        assert!((9..=11).contains(&kisses), "{kisses}");
        assert_eq!(served + kisses + ignored, 10_000);
        assert_eq!(count(&mut limiter, address(2), 10_420..10_500), [80, 0, 0], "another address");
    }

    #[test]
    fn ten_clients_behind_one_address_may_poll() {
        let mut limiter = RateLimiter::new(RequestLimit::default());
        let mut served = 0;
        for ms in (0..600_000).step_by(25) {
            served += usize::from(limiter.handle_request(address(1), at_ms(ms)) == RateVerdict::Serve);
        }
        assert_eq!(served, 24_000);
    }

    #[test]
    fn loopback_is_not_limited() {
        let mut limiter = RateLimiter::new(RequestLimit { burst: 1, per_second: 0 });
        assert_eq!(count(&mut limiter, [127, 0, 0, 1].into(), 0..1000), [1000, 0, 0]);
    }

    #[test]
    fn a_step_of_time_neither_locks_out_nor_lifts_the_limit() {
        let mut limiter = RateLimiter::new(RequestLimit { burst: 2, per_second: 1 });
        count(&mut limiter, address(1), 1_000_000..1_000_003);
        assert_eq!(limiter.handle_request(address(1), at_ms(0)), RateVerdict::Kiss);
        assert_eq!(limiter.handle_request(address(1), at_ms(1_100)), RateVerdict::Serve);
        assert_eq!(count(&mut limiter, address(1), 9_000_000..9_000_003), [2, 1, 0]);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut limiter = RateLimiter::new(RequestLimit::default());
        for n in 0..10_000 {
            limiter.handle_request(address(n), at_ms(0));
        }
        assert_eq!((limiter.buckets.len(), limiter.order.len()), (CAPACITY, CAPACITY));
    }
}
