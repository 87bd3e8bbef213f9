//! The clients of a server, by address.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::time::{Rig, Span, Timestamp};

/// An address counts as a client for this long after its last request.
const LIFETIME: Span = Span::from_secs(60);

/// The clients of a server: bounded, since a stranger can invent addresses.
#[derive(Debug)]
pub(super) struct Clients {
    most: usize,
    /// When each of them last asked.
    asked: HashMap<IpAddr, Timestamp<Rig>>,
}

impl Clients {
    pub fn new(most: usize) -> Self {
        Self { most, asked: HashMap::new() }
    }

    /// `from` asks at `now`. Returns whether it is a client: it is already, or there is room.
    pub fn admit(&mut self, from: IpAddr, now: Timestamp<Rig>) -> bool {
        if self.asked.len() >= self.most && !self.asked.contains_key(&from) {
            self.asked.retain(|_, at| is_recent(*at, now));
            if self.asked.len() >= self.most {
                return false;
            }
        }
        self.asked.insert(from, now);
        true
    }

    /// Their number at `now`.
    pub fn count(&self, now: Timestamp<Rig>) -> usize {
        self.asked.values().filter(|at| is_recent(**at, now)).count()
    }
}

/// Rig time may have begun anew in between: then nobody is known until they ask again.
fn is_recent(at: Timestamp<Rig>, now: Timestamp<Rig>) -> bool {
    (now - at).abs() < LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_server_keeps_its_clients_until_they_stay_away() {
        let at = |secs| Timestamp::ZERO + Span::from_secs(secs);
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        let mut clients = Clients::new(2);
        assert!(clients.admit(ip(1), at(0)) && clients.admit(ip(2), at(30)));
        assert!(!clients.admit(ip(3), at(31)));
        assert!(clients.admit(ip(2), at(59)), "a client stays one");
        assert_eq!(clients.count(at(59)), 2);
        assert!(clients.admit(ip(3), at(60)), "the first has stayed away for a minute");
        assert!(!clients.admit(ip(1), at(61)));
        assert!(clients.admit(ip(1), at(1_000_000)), "rig time began anew");
        assert_eq!(clients.count(at(1_000_000)), 1);
    }
}
