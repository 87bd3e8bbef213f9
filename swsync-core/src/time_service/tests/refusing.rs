//! Servers that refuse a client, and servers that must not be followed.

use crate::ntp::{self, Key, Keys, Packet};
use crate::time::{Span, Timestamp};
use crate::time_service::SyncState;
use crate::time_service::testing::{World, at_s, identity};
use crate::time_service::{
    ClientAction, ClientConfig, Identity, RequestLimit, Server, ServerConfig, ServerRefusal, ServerStatus,
};

fn key(secret: u8) -> Key {
    Key::new(5, &[secret; 16]).unwrap()
}

fn keyed(client: Option<Key>, server: Option<Key>) -> World {
    let mut world = World::new(3, ClientConfig { key: client, ..ClientConfig::default() });
    let keys = server.into_iter().collect::<Keys>();
    world.server = Server::new(ServerConfig { keys, ..ServerConfig::default() });
    world
}

#[test]
fn a_client_syncs_with_the_same_key_on_both_sides() {
    let mut world = keyed(Some(key(1)), Some(key(1)));
    world.run_until(at_s(2.0));
    let stats = world.stats();
    assert_eq!((stats.quality, stats.authenticated, stats.bad_mac), (SyncState::Synced, true, 0));
}

#[test]
fn another_secret_or_a_missing_key_is_reported_with_the_key_id() {
    for server in [Some(key(2)), Some(Key::new(6, &[1; 16]).unwrap()), None] {
        let mut world = keyed(Some(key(1)), server);
        world.run_until(at_s(20.0));
        assert_eq!(world.quality(), SyncState::Unsynced);
        assert_eq!(world.refusals, [ServerRefusal::Key(5)]);
        assert!(world.stats().bad_mac > 3);
    }
    assert!(ServerRefusal::Key(5).to_string().contains("key 5"));
}

#[test]
fn a_server_without_authentication_is_reported() {
    let world = answered(ClientConfig { key: Some(key(1)), ..ClientConfig::default() }, |_| {});
    assert_eq!(world.refusals, [ServerRefusal::Unauthenticated(5)]);
    assert_eq!((world.stats().bad_mac, world.stats().responses), (1, 0));
}

#[test]
fn a_client_without_a_key_is_denied_and_backs_off() {
    let mut world = keyed(None, Some(key(2)));
    world.run_until(at_s(280.0));
    assert_eq!(world.refusals, [ServerRefusal::Kiss(*b"DENY")]);
    assert!(world.sent.len() < 5, "{}", world.sent.len());
    world.server = Server::new(ServerConfig::default());
    world.run_until(at_s(320.0));
    assert_eq!(world.quality(), SyncState::Synced);
}

#[test]
fn a_new_server_is_asked_at_once() {
    let mut world = keyed(None, Some(key(2)));
    world.run_until(at_s(5.0));
    world.server = Server::new(ServerConfig::default());
    world.client.handle_new_server(world.now);
    world.run_until(at_s(7.0));
    assert_eq!(world.quality(), SyncState::Synced);
}

#[test]
fn tampered_responses_change_nothing() {
    let mut world = keyed(Some(key(1)), Some(key(1)));
    world.run_until(at_s(2.0));
    // A response to a request in flight, changed by somebody on the path.
    world.client.handle_timeout(world.client.wake_at());
    let Some(ClientAction::Send { datagram, .. }) = world.client.poll_action() else { panic!("no request") };
    let at = world.link.truth(world.now);
    let response =
        world.server.handle_request(&datagram, [10, 0, 0, 2].into(), at, at, &world.status).unwrap();
    let before = world.stats();
    for byte in [1, 12, 40, 55, 60, 90, 100, 147, 160] {
        let mut bytes = response.datagram.to_vec();
        bytes[byte] ^= 0x10;
        world.inject(&bytes);
    }
    let bare = &response.datagram[..response.datagram.len() - ntp::MAC_LEN];
    world.inject(bare);
    let after = world.stats();
    assert_eq!(after.bad_mac, before.bad_mac + 10);
    assert_eq!(after.responses, before.responses);
    world.now += Span::from_millis(300);
    world.inject(&response.datagram);
    assert_eq!(world.stats().responses, before.responses + 1);
}

/// The world after the client's first request and the server's answer, modified by `change`.
fn answered(config: ClientConfig, change: impl Fn(&mut Packet)) -> World {
    let mut world = World::new(3, config);
    world.client.handle_timeout(Timestamp::ZERO);
    let Some(ClientAction::Send { datagram, .. }) = world.client.poll_action() else { panic!("no request") };
    let at = world.link.truth(world.now);
    let request = &datagram[..ntp::HEADER_LEN + ntp::RIG_FIELD_LEN];
    let response = world.server.handle_request(request, [10, 0, 0, 2].into(), at, at, &world.status).unwrap();
    let mut packet = ntp::decode(&response.datagram).unwrap().0;
    change(&mut packet);
    world.now = at_s(0.001);
    world.inject(&ntp::encode(&packet));
    world
}

#[test]
fn unusable_servers_are_not_followed_and_reported() {
    let config = || ClientConfig { rig: 4, device: 9, ..ClientConfig::default() };
    let path = ntp::ServerPath::new(&[8, 9]).unwrap();
    let field = |packet: &mut Packet| packet.rig.unwrap();
    type Change<'a> = &'a dyn Fn(&mut Packet);
    let cases: [(ServerRefusal, Change<'_>); 8] = [
        (ServerRefusal::Unsynchronized, &|packet| (packet.stratum, packet.reference_id) = (0, *b"INIT")),
        (ServerRefusal::Unsynchronized, &|packet| (packet.stratum, packet.reference_id) = (0, [0; 4])),
        (ServerRefusal::Unsynchronized, &|packet| packet.leap = 3),
        (ServerRefusal::Unsynchronized, &|packet| packet.stratum = 16),
        (ServerRefusal::Unsynchronized, &|packet| packet.stratum = 200),
        (ServerRefusal::OtherRig(5), &|packet| packet.rig = Some(ntp::RigField { rig: 5, ..field(packet) })),
        (ServerRefusal::Loop, &|packet| packet.rig = Some(ntp::RigField { leader: 9, ..field(packet) })),
        (ServerRefusal::Loop, &|packet| packet.rig = Some(ntp::RigField { path, ..field(packet) })),
    ];
    for (refusal, change) in cases {
        let world = answered(config(), change);
        assert_eq!(world.refusals, [refusal]);
        assert_eq!((world.stats().unusable, world.stats().responses), (1, 0));
        assert_eq!(world.quality(), SyncState::Unsynced);
    }
    let world =
        answered(config(), |packet| packet.rig = Some(ntp::RigField { rig: 4, ..packet.rig.unwrap() }));
    assert_eq!(world.refusals, []);
    assert_eq!(world.stats().responses, 1);
}

#[test]
fn a_server_is_followed_once_it_learns_the_time() {
    let mut world = World::plain(3);
    let leading = world.status;
    world.status = ServerStatus::unsynchronized(&identity(1));
    world.run_until(at_s(10.0));
    assert_eq!(world.refusals, [ServerRefusal::Unsynchronized]);
    assert!(world.rate() <= 2, "{}", world.rate());
    world.status = leading;
    world.run_until(at_s(13.0));
    assert_eq!(world.quality(), SyncState::Synced);
}

#[test]
fn a_server_that_loses_the_time_causes_holdover() {
    let mut world = World::plain(3);
    world.run_until(at_s(5.0));
    world.status = ServerStatus::unsynchronized(&Identity { rig: 0, device: 1, timescale: 1001 });
    world.run_until(at_s(10.0));
    assert_eq!(world.quality(), SyncState::Holdover);
    assert_eq!(world.refusals, [ServerRefusal::Unsynchronized]);
}

#[test]
fn rate_kisses_slow_the_client_down_until_it_is_served() {
    let mut world = World::plain(3);
    let rate_limit = RequestLimit { burst: 20, per_second: 2 };
    world.server = Server::new(ServerConfig { rate_limit, ..ServerConfig::default() });
    world.run_until(at_s(600.0));
    let stats = world.stats();
    assert_eq!(stats.quality, SyncState::Synced, "{stats:?}");
    assert!(world.sent.len() < 2 * 600 + 400, "{}", world.sent.len());
    assert!(stats.kisses > 0 && stats.kisses < 60, "{stats:?}");
    assert_eq!(world.refusals, []);
}

#[test]
fn each_rate_kiss_at_least_doubles_the_interval() {
    let mut world = answered(ClientConfig::default(), |packet| {
        (packet.stratum, packet.reference_id) = (0, *b"RATE");
    });
    assert_eq!(world.stats().kisses, 1);
    assert!(world.client.wake_at() >= at_s(0.25), "{:?}", world.client.wake_at());
    assert_eq!(world.stats().poll_interval, Span::from_millis(250));
    world.run_until(at_s(1.0));
    assert!(world.sent.len() <= 4);
}
