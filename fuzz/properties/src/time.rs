//! NTP packets, their MACs and key files.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv4Addr};

use swsync_core::ntp::{self, Key, Keys, MAX_HOPS, Trailer};
use swsync_core::time::{Local, Rig, Span, Timestamp};
use swsync_core::time_service::{
    Client, ClientAction, ClientConfig, Identity, Seed, Server, ServerConfig, ServerStatus,
};

use crate::memory::within;

/// A packet reads back as it was written. A server answers it with no more bytes than it has, and no client believes it.
pub fn packet(bytes: &[u8]) {
    if let Ok((packet, _)) = within(bytes, 0, ntp::decode) {
        let again = ntp::encode(&packet);
        let (read, trailer) = ntp::decode(&again).expect("what was written can be read");
        assert_eq!((read, trailer), (packet, Trailer::Nothing));
        assert!(packet.rig.is_none_or(|rig| rig.path.hops().len() <= MAX_HOPS));
    }
    serve(bytes);
    ask(bytes);
}

fn serve(bytes: &[u8]) {
    let now = Timestamp::<Rig>::from_nanos(1_800_000_000_000_000_000);
    let status = ServerStatus::leading(&Identity { rig: 1, device: 2, timescale: 3 }, now);
    let mut server = Server::new(ServerConfig::default());
    let from = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
    for at in [now, now + Span::from_millis(1)] {
        if let Some(response) = server.handle_request(bytes, from, at, at, &status) {
            let length = response.datagram.len();
            assert!(length <= bytes.len(), "{length} bytes answer {}: others could be flooded", bytes.len());
        }
    }
}

fn ask(bytes: &[u8]) {
    let now = Timestamp::<Local>::ZERO;
    // Cookies follow from the bytes, so that whoever looks for bytes that work, as a fuzzer does by what they are compared with, does not
    // find the cookie of the next attempt.
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let seed = Seed::predictable(hasher.finish());
    let mut client = Client::new(ClientConfig::default(), now, Timestamp::ZERO, seed);
    client.handle_timeout(client.wake_at());
    while let Some(action) = client.poll_action() {
        if let ClientAction::Send { token, .. } = action {
            client.handle_sent(token, now);
        }
    }
    client.handle_datagram(bytes, now + Span::from_millis(1));
    while let Some(action) = client.poll_action() {
        assert!(!matches!(action, ClientAction::Publish(_)), "a stranger's packet has set the clock");
    }
}

/// The first bytes are a key. What it seals it verifies, unless a bit has changed; what others sealed it does not.
pub fn mac(bytes: &[u8]) {
    let Some((secret, rest)) = bytes.split_at_checked(if bytes.len().is_multiple_of(2) { 16 } else { 32 })
    else {
        return;
    };
    let [key, other] = [7, 8].map(|id| Key::new(id, secret).expect("16 or 32 bytes"));
    if let Ok((_, Trailer::Mac(mac))) = ntp::decode(rest) {
        assert!(!mac.verifies(&key) && !mac.verifies(&other), "it was forged");
    }
    let Ok((packet, _)) = ntp::decode(rest) else { return };
    let mut sealed = ntp::encode(&packet).sealed(&key).to_vec();
    let is_genuine = |sealed: &[u8], key: &Key| matches!(ntp::decode(sealed), Ok((_, Trailer::Mac(mac))) if mac.verifies(key));
    assert!(is_genuine(&sealed, &key) && !is_genuine(&sealed, &other));
    let (at, bit) = (usize::from(secret[0]) % sealed.len(), secret[1] % 8);
    sealed[at] ^= 1 << bit;
    assert!(!is_genuine(&sealed, &key), "bit {bit} of byte {at} was changed");
}

/// Keys are found by their ids, and neither they nor errors show a secret.
pub fn keys(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines = || text.lines().filter(|line| !line.trim_start().starts_with(['!', ';', '#', '%']));
    let secrets =
        || lines().filter_map(|line| line.split_ascii_whitespace().nth(2)).filter(|word| word.len() >= 16);
    match within(bytes, 16, |_| Keys::parse(text)) {
        Ok(keys) => {
            let shown = format!("{keys:?}");
            assert!(secrets().all(|secret| !shown.contains(secret)), "{shown}");
            for line in lines() {
                let id = line.split_ascii_whitespace().next().and_then(|id| id.parse().ok());
                assert_eq!(id.is_some(), id.and_then(|id| keys.get(id)).is_some(), "{line:?}");
            }
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(secrets().all(|secret| !shown.contains(secret)), "{shown}");
        }
    }
}
