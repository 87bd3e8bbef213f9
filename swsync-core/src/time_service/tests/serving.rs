//! Tests of the server.

use std::net::IpAddr;

use proptest::prelude::*;

use crate::ntp::{self, Key, Keys, NtpTimestamp, Packet, RigField, Trailer};
use crate::time::{Rig, Span, Timestamp};
use crate::time_service::testing::identity;
use crate::time_service::{RequestLimit, Server, ServerConfig, ServerResponse, ServerStatus};

fn address() -> IpAddr {
    [10, 0, 0, 1].into()
}

fn at(nanos: i64) -> Timestamp<Rig> {
    Timestamp::from_nanos(1_800_000_000_000_000_000 + nanos)
}

fn leading() -> ServerStatus {
    ServerStatus::leading(&identity(7), at(0))
}

fn server() -> Server {
    Server::new(ServerConfig::default())
}

fn key() -> Key {
    Key::new(5, &[9; 16]).unwrap()
}

fn basic(cookie: u64) -> Packet {
    let transmit = NtpTimestamp(cookie);
    Packet { mode: ntp::MODE_CLIENT, poll: 3, transmit, rig: Some(RigField::default()), ..Packet::default() }
}

/// The answer to `request`, which arrives at `received` and is answered 50 us later.
fn ask(server: &mut Server, request: &Packet, received: i64) -> (Packet, ServerResponse) {
    let bytes = ntp::encode(request);
    let response = server.handle_request(&bytes, address(), at(received), at(received + 50_000), &leading());
    let response = response.unwrap();
    (ntp::decode(&response.datagram).unwrap().0, response)
}

#[test]
fn a_leader_answers_in_basic_mode() {
    let (answer, _) = ask(&mut server(), &basic(77), 1_000);
    assert_eq!((answer.mode, answer.leap, answer.stratum, answer.poll), (ntp::MODE_SERVER, 0, 1, 3));
    assert_eq!(answer.reference_id, *b"SWSY");
    assert_eq!(answer.origin, NtpTimestamp(77));
    assert_eq!(answer.receive.to_rig(at(0)), at(1_000));
    assert_eq!(answer.transmit.to_rig(at(0)), at(51_000));
    let described = RigField { timescale: 1007, leader: 7, began: at(0), ..RigField::default() };
    // And its only client may send 400 requests a second.
    assert_eq!(answer.rig, Some(RigField { least_poll_ms: 3, ..described }));
}

#[test]
fn an_interleaved_request_gets_the_transmit_time_of_the_last_response() {
    let mut server = server();
    let (first, response) = ask(&mut server, &basic(1), 0);
    server.handle_sent(response.token.unwrap(), at(60_123));
    let interleaved = Packet { origin: first.receive, receive: NtpTimestamp(2), ..basic(3) };
    let (second, _) = ask(&mut server, &interleaved, 1_000_000);
    assert_eq!(second.origin, NtpTimestamp(2));
    assert_eq!(second.receive.to_rig(at(0)), at(1_000_000));
    assert_eq!(second.transmit.to_rig(at(0)), at(60_123));
    // Only once (RFC 9769 section 2).
    let (third, _) = ask(&mut server, &interleaved, 2_000_000);
    assert_eq!(third.origin, NtpTimestamp(3));
    assert_eq!((server.stats().basic, server.stats().interleaved), (2, 1));
}

#[test]
fn a_nonconforming_request_gets_basic_mode() {
    let mut server = server();
    let (first, _) = ask(&mut server, &basic(1), 0);
    let same = NtpTimestamp(3);
    let equal = Packet { origin: first.receive, receive: same, ..basic(3) };
    assert_eq!(ask(&mut server, &equal, 1).0.transmit.to_rig(at(0)), at(50_001));
    let unknown = Packet { origin: NtpTimestamp(99), receive: NtpTimestamp(2), ..basic(3) };
    assert_eq!(ask(&mut server, &unknown, 2).0.origin, same);
    // Another client's.
    let stolen = Packet { origin: first.receive, receive: NtpTimestamp(2), ..basic(3) };
    let bytes = ntp::encode(&stolen);
    let response = server.handle_request(&bytes, [10, 0, 0, 9].into(), at(3), at(4), &leading()).unwrap();
    assert_eq!(ntp::decode(&response.datagram).unwrap().0.origin, same);
}

#[test]
fn timestamps_of_one_instant_are_made_unique() {
    let mut server = server();
    let mut seen = Vec::new();
    for cookie in 1..5 {
        let bytes = ntp::encode(&basic(cookie));
        let response = server.handle_request(&bytes, address(), at(0), at(0), &leading()).unwrap();
        let answer = ntp::decode(&response.datagram).unwrap().0;
        assert_ne!(answer.receive, answer.transmit);
        assert!(!seen.contains(&answer.receive) && !seen.contains(&answer.transmit), "{seen:?} {answer:?}");
        seen.push(answer.receive);
    }
}

#[test]
fn an_old_client_is_answered_in_its_version() {
    let old = Packet { version: 3, rig: None, ..basic(1) };
    let (answer, _) = ask(&mut server(), &old, 0);
    assert_eq!((answer.version, answer.rig), (3, None));
}

#[test]
fn a_server_that_does_not_know_the_time_says_so() {
    let status = ServerStatus::unsynchronized(&identity(7));
    let mut server = server();
    let response = server.handle_request(&ntp::encode(&basic(1)), address(), at(0), at(0), &status).unwrap();
    let answer = ntp::decode(&response.datagram).unwrap().0;
    assert_eq!((answer.leap, answer.stratum), (3, 16));
    assert_eq!(server.stats().unsynchronized, 1);
}

#[test]
fn with_keys_only_authenticated_requests_are_served() {
    let keys = [key(), Key::new(6, &[1; 32]).unwrap()].into_iter().collect::<Keys>();
    let mut server = Server::new(ServerConfig { keys, ..ServerConfig::default() });
    let request = ntp::encode(&basic(1));
    let mut ask = |bytes: &[u8]| {
        let response = server.handle_request(bytes, address(), at(0), at(0), &leading()).unwrap();
        assert!(response.datagram.len() <= bytes.len());
        response
    };
    let served = ask(&request.sealed(&key()));
    assert!(matches!(ntp::decode(&served.datagram), Ok((packet, Trailer::Mac(mac)))
        if packet.stratum == 1 && mac.verifies(&key())));
    let denied = ask(&request);
    assert_eq!(ntp::decode(&denied.datagram).unwrap().0.reference_id, *b"DENY");
    for wrong in [Key::new(5, &[8; 16]).unwrap(), Key::new(99, &[9; 16]).unwrap()] {
        let refused = ask(&request.sealed(&wrong));
        assert_eq!(ntp::decode(&refused.datagram).unwrap().1, Trailer::CryptoNak);
        assert_eq!(refused.token, None);
    }
    assert_eq!(server.stats().unauthenticated, 3);
}

#[test]
fn unauthenticated_requests_do_not_use_up_the_rate_limit() {
    let keys = [key()].into_iter().collect::<Keys>();
    let rate_limit = RequestLimit { burst: 2, per_second: 1 };
    let mut server = Server::new(ServerConfig { keys, rate_limit, ..ServerConfig::default() });
    let request = ntp::encode(&basic(1));
    let mut answered = 0;
    for _ in 0..1000 {
        let response = server.handle_request(&request, address(), at(0), at(0), &leading());
        answered += usize::from(response.is_some());
    }
    assert!(answered < 20, "{answered}");
    let response = server.handle_request(&request.sealed(&key()), address(), at(0), at(0), &leading());
    assert!(response.is_some_and(|response| response.token.is_some()));
}

#[test]
fn requests_above_the_rate_limit_get_a_kiss_and_are_then_ignored() {
    let rate_limit = RequestLimit { burst: 300, per_second: 20 };
    let mut server = Server::new(ServerConfig { rate_limit, ..ServerConfig::default() });
    let (mut served, mut kissed) = (0, 0);
    for i in 0..10_000 {
        let now = at(i * 1_000_000);
        let bytes = ntp::encode(&basic(1));
        let Some(response) = server.handle_request(&bytes, address(), now, now, &leading()) else { continue };
        let answer = ntp::decode(&response.datagram).unwrap().0;
        match answer.stratum {
            0 => {
                assert_eq!((answer.reference_id, answer.origin), (*b"RATE", NtpTimestamp(1)));
                kissed += 1;
            }
            _ => served += 1,
        }
    }
    assert!((495..=505).contains(&served), "{served}");
    assert!((8..=11).contains(&kissed), "{kissed}");
}

proptest! {
    /// The server cannot be used for amplification.
    #[test]
    fn no_bytes_panic_a_server_and_no_response_is_longer(
        header in proptest::collection::vec(any::<u8>(), 47), tail in proptest::collection::vec(any::<u8>(), 0..200),
        ours: bool, keyed: bool, short in 0_usize..60,
    ) {
        let keys = keyed.then(key).into_iter().collect();
        let mut server = Server::new(ServerConfig { keys, ..ServerConfig::default() });
        let mut bytes = [&[0b00_100_011][..], &header, &tail].concat();
        if ours && bytes.len() > 52 {
            bytes[48..52].copy_from_slice(&[0xF5, 0x73, 0, 100]);
        }
        for bytes in [&bytes[..], &tail, &bytes[..short.min(bytes.len())]] {
            let response = server.handle_request(bytes, address(), at(0), at(1), &leading());
            prop_assert!(response.is_none_or(|response| response.datagram.len() <= bytes.len()));
        }
    }

    #[test]
    fn responses_are_never_longer_than_valid_requests(ours: bool, keyed: bool, sealed: bool, padding in 0_usize..4) {
        let keys = keyed.then(key).into_iter().collect();
        let mut server = Server::new(ServerConfig { keys, ..ServerConfig::default() });
        let request = Packet { rig: ours.then(RigField::default), ..basic(1) };
        let mut bytes = ntp::encode(&request).to_vec();
        bytes.extend([&[1, 4, 0, 28][..], &[0; 24]].concat().repeat(padding));
        if sealed && padding == 0 {
            bytes = ntp::encode(&request).sealed(&key()).to_vec();
        }
        let response = server.handle_request(&bytes, address(), at(0), at(1), &leading()).unwrap();
        prop_assert!(response.datagram.len() <= bytes.len());
    }
}

#[test]
fn a_client_passes_on_what_it_knows() {
    use crate::time_service::testing::{World, at_s};
    let mut world = World::plain(3);
    world.run_until(at_s(3.0));
    let (now, update) = *world.updates.last().unwrap();
    let me = identity(50);
    let status = ServerStatus::following(&me, &update, now);
    assert_eq!((status.leap, status.stratum), (0, 2));
    assert_eq!((status.field.leader, status.field.timescale), (1, 1001));
    assert_eq!(status.field.path.hops(), [50]);
    let uncertainty = Span::from_nanos(i64::from(status.field.uncertainty_ns));
    assert_eq!(uncertainty, update.uncertainty_at(now));
    assert!(status.root_dispersion.to_span() >= uncertainty * 3);
    assert!(status.root_delay.to_span() >= update.estimate.least_delay);

    // A further hop adds its own uncertainty.
    world.status = status;
    let mut far = World::plain(4);
    far.status = status;
    far.run_until(at_s(3.0));
    assert!(far.last().uncertainty_at(far.now) >= uncertainty);
    let further = ServerStatus::following(&identity(51), far.last(), far.now);
    assert_eq!((further.stratum, further.field.path.hops()), (3, &[50, 51][..]));

    // A device that follows a foreign server leads its rig.
    let mut stranger = update;
    stranger.upstream.field = None;
    stranger.upstream.stratum = 3;
    let status = ServerStatus::following(&me, &stranger, now);
    assert_eq!((status.stratum, status.field.leader, status.field.timescale), (4, 50, 1050));
    assert!(status.field.path.hops().is_empty());

    // Not synced, or too far from the leader.
    let mut lost = update;
    lost.quality = crate::time_service::SyncState::Acquiring;
    assert_eq!(ServerStatus::following(&me, &lost, now).stratum, 16);
    let mut distant = update;
    distant.upstream.field.as_mut().unwrap().path = ntp::ServerPath::new(&[1; 8]).unwrap();
    assert_eq!(ServerStatus::following(&me, &distant, now).leap, 3);
    let mut deep = update;
    deep.upstream.stratum = 15;
    assert_eq!(ServerStatus::following(&me, &deep, now).stratum, 16);
}

#[test]
fn a_server_with_enough_clients_sends_strangers_to_others() {
    let mut server = Server::new(ServerConfig { max_clients: 1, ..ServerConfig::default() });
    let (answer, response) = ask(&mut server, &basic(1), 0);
    assert_eq!(answer.stratum, 1);
    assert_eq!(response.client, Some(RigField::default()));
    let bytes = ntp::encode(&basic(2));
    let stranger = [10, 0, 0, 9].into();
    let refused = server.handle_request(&bytes, stranger, at(1), at(2), &leading()).unwrap();
    let kiss = ntp::decode(&refused.datagram).unwrap().0;
    assert_eq!((kiss.stratum, kiss.reference_id, kiss.origin), (0, *b"XFUL", NtpTimestamp(2)));
    assert!(refused.datagram.len() <= bytes.len() && refused.token.is_none() && refused.client.is_none());
    assert_eq!(ask(&mut server, &basic(3), 2).0.stratum, 1, "the client is still served");
    assert_eq!((server.stats().full, server.clients_of_last_minute(at(2))), (1, 1));
    let minute = Span::from_secs(60).as_nanos() + 3;
    let served = server.handle_request(&bytes, stranger, at(minute), at(minute), &leading()).unwrap();
    assert_eq!(ntp::decode(&served.datagram).unwrap().0.stratum, 1, "the client has stayed away");
}
