//! Looks for a hub: where to connect, and which address answers.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use zenoh::Wait;
use zenoh::config::WhatAmI;

use crate::zenoh_config::{address_of, scouting_config};

/// How long an address has to answer. All are tried at once: one that swallows packets, as of a VPN, costs nothing if another answers.
const DIAL: Duration = Duration::from_secs(1);

/// How long to wait for answers to a multicast. Zenoh repeats it after a second.
const SCOUT: Duration = Duration::from_millis(500);

/// Most addresses that are tried at once.
const MAX_ADDRESSES: usize = 64;

#[expect(
    clippy::disallowed_types,
    reason = "it finds out what answers, and says nothing; Zenoh carries what is said"
)]
fn accepts(address: SocketAddr) -> bool {
    std::net::TcpStream::connect_timeout(&address, DIAL).is_ok()
}

/// Those of `addresses` (`HOST:PORT`) that accept a connection, the fastest first, unless `skip` says not to try one.
pub(super) fn dial(addresses: &[String], skip: impl Fn(&SocketAddr) -> bool) -> Receiver<SocketAddr> {
    let (tx, rx) = mpsc::channel();
    let dial = |address: SocketAddr| {
        let tx = tx.clone();
        let dial = move || {
            if accepts(address) {
                let _ = tx.send(address); // fails if another one has been chosen
            }
        };
        if let Err(error) = std::thread::Builder::new().name("swsync-dial".into()).spawn(dial) {
            swsync_core::log::warn!(%error, "cannot start a thread");
        }
    };
    let mut tried = Vec::new();
    for address in addresses {
        // A name may have several addresses, and be slow to resolve.
        let resolved: Vec<SocketAddr> = match address.parse() {
            Ok(address) => vec![address],
            Err(_) => address.to_socket_addrs().map(Iterator::collect).unwrap_or_default(),
        };
        for address in resolved {
            if tried.len() < MAX_ADDRESSES && !tried.contains(&address) && !skip(&address) {
                tried.push(address);
                dial(address);
            }
        }
    }
    rx
}

/// The addresses of the routers that answer a multicast, as `HOST:PORT`.
pub(super) fn scout() -> Vec<String> {
    scout_endpoints().iter().filter_map(|endpoint| address_of(endpoint).map(str::to_owned)).collect()
}

/// The endpoints of the routers that answer a multicast.
pub(crate) fn scout_endpoints() -> Vec<String> {
    let (tx, rx) = mpsc::channel();
    let scouting = scouting_config().map_err(Into::into).and_then(|config| {
        let scouting = zenoh::scout(WhatAmI::Router, config).callback(move |hello| {
            let _ = tx.send(hello); // fails once the search is over
        });
        scouting.wait()
    });
    match scouting {
        Ok(scouting) => {
            let endpoints = gather(&rx);
            scouting.stop();
            endpoints
        }
        Err(error) => {
            swsync_core::log::debug!(%error, "cannot look for others by multicast");
            std::thread::sleep(SCOUT);
            Vec::new()
        }
    }
}

/// The endpoints in the answers: the first one, and those that come together with it.
fn gather(answers: &Receiver<zenoh::scouting::Hello>) -> Vec<String> {
    let mut endpoints: Vec<String> = Vec::new();
    let mut deadline = Instant::now() + SCOUT;
    while let Ok(hello) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if endpoints.is_empty() {
            deadline = deadline.min(Instant::now() + SCOUT / 10);
        }
        endpoints.extend(hello.locators().iter().map(ToString::to_string));
        if endpoints.len() >= MAX_ADDRESSES {
            break;
        }
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_address_that_answers_is_found_among_others() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        // The first swallows packets (RFC 5737), or has no route; at the second nobody listens.
        let free = crate::host::free_port([127, 0, 0, 1].into()).unwrap();
        let addresses = ["192.0.2.1:7447".to_owned(), free.to_string(), there.to_string()];
        let begin = Instant::now();
        assert_eq!(dial(&addresses, |_| false).recv(), Ok(there));
        assert!(begin.elapsed() < DIAL / 2, "{:?}", begin.elapsed());
        assert!(dial(&addresses[1..], |address| *address == there).recv().is_err());
        assert!(dial(&["no such host:1".to_owned()], |_| false).recv().is_err());
    }
}
