//! How often each client may ask, so that all of them together do not fill the air.

use std::net::IpAddr;

use super::rate_limiter::RateLimiter;
use crate::time::{Rig, Span, Timestamp};

/// Addresses that asked within this time are clients. Clients that keep to swsync's longest poll interval ask twice in it.
const RECENT: Span = Span::from_secs(10);
/// The clients are counted again after this time: many may start at once.
const COUNT_EVERY: Span = Span::from_millis(10);

/// The shortest poll interval that keeps `clients` within `total_per_second` requests a second; zero if that is unlimited (0).
fn least_poll(clients: usize, total_per_second: u32) -> Span {
    let clients = i64::try_from(clients).unwrap_or(i64::MAX);
    match total_per_second {
        0 => Span::ZERO,
        total => Span::from_secs(1) * clients / i64::from(total),
    }
}

/// What the server grants its clients.
#[derive(Debug)]
pub(super) struct Budget {
    total_per_second: u32,
    clients: usize,
    counted: Option<Timestamp<Rig>>,
}

impl Budget {
    pub const fn new(total_per_second: u32) -> Self {
        Self { total_per_second, clients: 0, counted: None }
    }

    /// Number of recent clients.
    pub const fn clients(&self) -> usize {
        self.clients
    }

    /// The shortest poll interval for the client at `from`, in ms, rounded up. Loopback is no air, and not limited. Rig time may
    /// step back.
    pub fn least_poll_ms(&mut self, from: IpAddr, limiter: &RateLimiter, now: Timestamp<Rig>) -> u16 {
        if from.is_loopback() {
            return 0;
        }
        if self.counted.is_none_or(|counted| (now - counted).abs() >= COUNT_EVERY) {
            self.clients = limiter.clients(now, RECENT);
            self.counted = Some(now);
        }
        let least = least_poll(self.clients, self.total_per_second).as_nanos();
        u16::try_from(least.saturating_add(999_999) / 1_000_000).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time_service::RequestLimit;

    #[test]
    fn clients_share_the_total() {
        assert_eq!(least_poll(0, 400), Span::ZERO);
        assert_eq!(least_poll(1, 400), Span::from_micros(2_500));
        assert_eq!(least_poll(50, 400), Span::from_millis(125));
        assert_eq!(least_poll(1000, 0), Span::ZERO);
        assert!(least_poll(usize::MAX, 1) > Span::from_secs(9));
    }

    #[test]
    fn recent_clients_are_counted() {
        let mut limiter = RateLimiter::new(RequestLimit::default());
        let mut budget = Budget::new(10);
        let at = |secs: i64| Timestamp::<Rig>::ZERO + Span::from_secs(secs);
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        for n in 0..20 {
            limiter.handle_request(address(n), at(100));
        }
        assert_eq!(budget.least_poll_ms(address(1), &limiter, at(100)), 2000);
        assert_eq!(budget.least_poll_ms([127, 0, 0, 1].into(), &limiter, at(100)), 0);
        limiter.handle_request(address(1), at(111));
        assert_eq!(budget.least_poll_ms(address(1), &limiter, at(111)), 100);
        assert_eq!(budget.clients(), 1);
        // Rig time steps back: those from before are in the future, and not recent.
        limiter.handle_request(address(2), at(50));
        assert_eq!(budget.least_poll_ms(address(1), &limiter, at(50)), 100);
    }

    #[test]
    fn so_many_clients_that_the_field_cannot_say_it_get_the_longest() {
        let mut limiter = RateLimiter::new(RequestLimit::default());
        for n in 0..100 {
            limiter.handle_request([10, 0, 0, n].into(), Timestamp::ZERO);
        }
        let mut budget = Budget::new(1);
        assert_eq!(budget.least_poll_ms([10, 0, 0, 1].into(), &limiter, Timestamp::ZERO), u16::MAX);
    }
}
