//! Limits how often each address may ask: a token bucket for each, in a bounded table.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use parking_lot::Mutex;

/// Addresses that are remembered. When there are more, those that have been quiet are forgotten first.
const MOST: usize = 4_096;

/// So many requests at once, and so many a second from then on.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// At once.
    pub burst: f64,
    /// Per second.
    pub per_second: f64,
}

/// The buckets of all addresses.
#[derive(Debug)]
pub struct Rates {
    rate: Rate,
    buckets: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

impl Rates {
    /// None is used yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Takes one request of `address` into account. Returns whether it is within the limit.
    pub fn allow(&self, address: IpAddr, now: Instant) -> bool {
        let Rate { burst, per_second } = self.rate;
        let mut buckets = self.buckets.lock();
        if buckets.len() >= MOST && !buckets.contains_key(&address) {
            let is_full = |(left, since): &(f64, Instant)| {
                left + now.saturating_duration_since(*since).as_secs_f64() * per_second >= burst
            };
            buckets.retain(|_, bucket| !is_full(bucket));
            if buckets.len() >= MOST {
                return false;
            }
        }
        let (left, since) = buckets.entry(address).or_insert((burst, now));
        *left = (*left + now.saturating_duration_since(*since).as_secs_f64() * per_second).min(burst);
        *since = now;
        let is_allowed = *left >= 1.0;
        if is_allowed {
            *left -= 1.0;
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_address_has_its_own_limit() {
        let rates = Rates::new(Rate { burst: 3.0, per_second: 1.0 });
        let begin = Instant::now();
        let allowed = |last: u8, at: u64| {
            let address = IpAddr::from([192, 168, 0, last]);
            rates.allow(address, begin + Duration::from_millis(at))
        };
        assert_eq!([0, 0, 0, 0].map(|at| allowed(1, at)), [true, true, true, false]);
        assert!(allowed(2, 0), "another one");
        assert_eq!([999, 1_000, 1_001, 2_500].map(|at| allowed(1, at)), [false, true, false, true]);
    }

    #[test]
    fn the_table_is_bounded() {
        let rates = Rates::new(Rate { burst: 1.0, per_second: 1.0 });
        let now = Instant::now();
        let address = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        assert!((0..MOST).all(|n| rates.allow(address(n), now)));
        assert!(!rates.allow(address(MOST), now), "all are busy");
        assert!(rates.allow(address(MOST), now + Duration::from_secs(2)));
        assert_eq!(rates.buckets.lock().len(), 1);
    }
}
