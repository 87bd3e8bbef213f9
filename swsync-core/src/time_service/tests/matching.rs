//! Matching responses to requests, and timestamps to exchanges.

use proptest::prelude::*;

use crate::estimate::Exchange;
use crate::ntp::{self, NtpTimestamp, Packet};
use crate::time::{Local, Span, Timestamp};
use crate::time_service::testing::{Faults, Truth, World, at_s};
use crate::time_service::{Client, ClientAction, ClientConfig};

/// Fails if an exchange mixes timestamps of different exchanges.
fn check(exchanges: &[(Exchange, Truth)]) -> Result<(), TestCaseError> {
    for (exchange, truth) in exchanges {
        prop_assert_eq!(exchange.t1, truth.t1);
        prop_assert_eq!(exchange.t2, truth.t2);
        prop_assert!([truth.t3, truth.stated].contains(&exchange.t3), "{:?} {:?}", exchange, truth);
    }
    // No exchange is counted twice.
    let mut ends: Vec<_> = exchanges.iter().map(|(exchange, _)| exchange.t4).collect();
    ends.sort();
    ends.dedup();
    prop_assert_eq!(ends.len(), exchanges.len());
    Ok(())
}

/// Number of exchanges with the server's kernel timestamp.
fn exact(exchanges: &[(Exchange, Truth)]) -> usize {
    exchanges.iter().filter(|(exchange, truth)| exchange.t3 == truth.t3).count()
}

#[test]
fn interleaved_mode_brings_the_kernels_timestamps() {
    let mut world = World::plain(3);
    world.run_until(at_s(20.0));
    let exchanges = world.exchanges();
    check(&exchanges).unwrap();
    assert!(exchanges.len() > 400, "{}", exchanges.len());
    // The first requests of the burst have no earlier response to refer to.
    assert!(exact(&exchanges) + 10 >= exchanges.len(), "{} of {}", exact(&exchanges), exchanges.len());
    let stats = world.stats();
    assert!(stats.interleaved + 10 >= stats.responses, "{stats:?}");
    assert_eq!((stats.bogus, stats.implausible, stats.lost), (0, 0, 0));
}

#[test]
fn a_server_without_interleaved_mode_is_followed_in_basic_mode() {
    let mut world = World::plain(3);
    // A server that keeps no state.
    for tenth in 0..100 {
        world.server = crate::time_service::Server::new(crate::time_service::ServerConfig::default());
        world.run_until(at_s(f64::from(tenth) / 10.0));
    }
    let config = ClientConfig { interleaved: false, ..ClientConfig::default() };
    let mut basic = World::new(3, config);
    basic.run_until(at_s(10.0));
    for world in [world, basic] {
        check(&world.exchanges()).unwrap();
        assert!(world.exchanges().len() > 350, "{}", world.exchanges().len());
    }
}

#[test]
fn basic_mode_uses_the_time_stated_before_sending() {
    let config = ClientConfig { interleaved: false, ..ClientConfig::default() };
    let mut world = World::new(3, config);
    world.run_until(at_s(5.0));
    assert_eq!(exact(&world.exchanges()), 0);
    assert_eq!(world.stats().interleaved, 0);
}

#[test]
fn duplicates_and_forgeries_are_dropped_and_counted() {
    let mut world = World::plain(4);
    world.faults = Faults { duplication: 0.5, ..Faults::default() };
    world.run_until(at_s(2.0));
    let stats = world.stats();
    // Half of the requests arrive twice and are answered twice, and half of the responses arrive twice.
    assert!(stats.duplicates > stats.responses / 2, "{stats:?}");
    check(&world.exchanges()).unwrap();

    let before = world.stats();
    let genuine = *world.responses.last().unwrap();
    let old = world.responses[0];
    let mut forged = ntp::decode(&genuine).unwrap().0;
    forged.origin = NtpTimestamp(forged.origin.0 ^ 1);
    world.inject(&genuine);
    world.inject(&old);
    world.inject(&ntp::encode(&forged));
    world.inject(b"garbage");
    let after = world.stats();
    assert_eq!(after.responses, before.responses);
    assert_eq!(after.bogus + after.duplicates, before.bogus + before.duplicates + 4);
    assert!(after.bogus >= before.bogus + 3);
}

/// The next request of `client`.
fn request(client: &mut Client, now: Timestamp<Local>) -> (Packet, Vec<u8>) {
    client.handle_timeout(now.max(client.wake_at()));
    while let Some(action) = client.poll_action() {
        if let ClientAction::Send { datagram, .. } = action {
            return (ntp::decode(&datagram).unwrap().0, datagram.to_vec());
        }
    }
    panic!("no request at {now:?}");
}

#[test]
fn a_request_reveals_nothing_about_the_client() {
    let mut world = World::plain(5);
    // Wait until no request is in flight, so that there is a response to refer to.
    while world.stats().sent != world.stats().responses || world.now < at_s(3.0) {
        world.run_until(world.now + Span::from_millis(1));
    }
    let now = world.now;
    let (packet, _) = request(&mut world.client, now);
    let blank = Packet {
        mode: ntp::MODE_CLIENT,
        origin: packet.origin,
        receive: packet.receive,
        transmit: packet.transmit,
        rig: Some(ntp::RigField::default()),
        ..Packet::default()
    };
    assert_eq!(packet, blank);
    assert_ne!(packet.receive, packet.transmit);
    // The origin is a timestamp of the server.
    let said = world.responses.iter().map(|response| ntp::decode(response).unwrap().0.receive);
    assert!(said.into_iter().any(|receive| receive == packet.origin));
}

#[test]
fn a_request_sent_back_is_not_a_response() {
    let mut world = World::plain(5);
    let (_, bytes) = request(&mut world.client, at_s(0.0));
    world.inject(&bytes);
    assert_eq!((world.stats().bogus, world.stats().responses), (1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// With loss, duplication, delay, reordering and missing timestamps.
    #[test]
    fn the_four_timestamps_belong_together(
        seed in 1_u64..1_000_000, loss in 0.0..0.5, duplication in 0.0..0.5, stampless in 0.0..0.3,
        long_tail: bool,
    ) {
        let mut world = World::plain(seed);
        world.faults = Faults { loss, duplication, stampless };
        if long_tail {
            world.link.mean_excess = Span::from_millis(40);
        }
        world.run_until(at_s(4.0));
        check(&world.exchanges())?;
        prop_assert!(world.exchanges().len() > 20 || loss > 0.1, "{:?}", world.stats());
        // A very late duplicate is no longer recognized and counts as bogus.
        prop_assert!(world.stats().bogus == 0 || duplication > 0.0 && long_tail);
    }

    #[test]
    fn no_bytes_panic_a_client(
        seed in 1_u64..1_000_000, bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut world = World::plain(seed);
        world.run_until(at_s(0.5));
        world.inject(&bytes);
        // With a valid header and the origin of a request in flight, so that decoding goes further.
        let (packet, request) = request(&mut world.client, at_s(0.5));
        let mut bytes = [&request[..ntp::HEADER_LEN], &bytes[..]].concat();
        bytes[0] = bytes.get(60).copied().unwrap_or(0) & 0xc0 | 0b100_100;
        bytes[24..32].copy_from_slice(&packet.transmit.0.to_be_bytes());
        world.inject(&bytes);
    }
}
