//! Somebody on the network without the rig's key, and the rig's time. Real UDP.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use swsync_core::frame::SyncState;
use swsync_core::key::RigKey;
use swsync_core::ntp::Key;
use swsync_core::time_service::ClientConfig;

use super::support::*;

fn rig_key(secret: u8) -> Key {
    RigKey::parse(&format!("swsync-rig-key 1 {}", format!("{secret:02x}").repeat(32))).unwrap().ntp_key()
}

fn keyed(addresses: &[SocketAddr]) -> Client {
    Client::with(addresses, ClientConfig { key: Some(rig_key(1)), ..config() })
}

#[test]
fn a_time_server_without_the_rigs_key_is_not_followed() {
    let open = Leader::at("127.0.0.1:0");
    let other = Leader::with_key("127.0.0.1:0", &rig_key(2));
    let says = "the server has another key than this device's, or none";
    for server in [&open, &other] {
        let client = keyed(&[server.address()]);
        client.wait_until("it is reported", |client| client.progress().contains(says));
        assert_eq!(client.clock.quality(), SyncState::Unsynced);
        assert_eq!(client.stats().progress.received, 0);
    }
    // Beside a server that has the key, they are passed over.
    let leader = Leader::with_key("127.0.0.1:0", &rig_key(1));
    let client = keyed(&[open.address(), other.address(), leader.address()]);
    client.wait_for(SyncState::Synced);
    client.assert_agrees(&leader);
}

#[test]
fn a_leader_with_the_rigs_key_serves_nobody_without() {
    let leader = Leader::with_key("127.0.0.1:0", &rig_key(1));
    let stranger = Client::of(&[leader.address()]);
    stranger.wait_until("it is reported", |client| client.progress().contains("has it a key"));
    assert_eq!(stranger.clock.quality(), SyncState::Unsynced);
    assert!(leader.service.stats().protocol.unauthenticated > 0);
    let client = keyed(&[leader.address()]);
    client.wait_for(SyncState::Synced);
}

/// Passes requests and responses on, and while `replays` each response only after all that it has heard before.
fn replayer(leader: SocketAddr, replays: Arc<AtomicBool>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
    upstream.connect(leader).unwrap();
    upstream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let address = socket.local_addr().unwrap();
    // Ends with the test's process.
    std::thread::spawn(move || {
        let (mut request, mut response) = ([0; 2048], [0; 2048]);
        let mut heard: Vec<Vec<u8>> = Vec::new();
        while let Ok((length, client)) = socket.recv_from(&mut request) {
            upstream.send(&request[..length]).unwrap();
            let Ok(length) = upstream.recv(&mut response) else { continue };
            if replays.load(Ordering::Relaxed) {
                for old in &heard {
                    socket.send_to(old, client).unwrap();
                }
            }
            heard.push(response[..length].to_vec());
            heard.drain(..heard.len().saturating_sub(20));
            socket.send_to(&response[..length], client).unwrap();
        }
    });
    address
}

#[test]
fn replayed_responses_are_dropped() {
    let leader = Leader::with_key("127.0.0.1:0", &rig_key(1));
    let replays = Arc::new(AtomicBool::new(true));
    let client = keyed(&[replayer(leader.address(), replays)]);
    client.wait_for(SyncState::Synced);
    client.assert_agrees(&leader);
    let dropped = || client.stats().protocol.map_or(0, |stats| stats.bogus + stats.duplicates);
    client.wait_until("many were replayed", |_| dropped() > 200);
    client.assert_agrees(&leader);
    assert_eq!(client.clock.quality(), SyncState::Synced);
    assert_eq!(client.stats().protocol.unwrap().bad_mac, 0, "they were authentic, and too old");
}
