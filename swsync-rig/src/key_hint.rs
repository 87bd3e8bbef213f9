//! Why a rig cannot be reached: it may have a key and this session none, or the other way round.
//!
//! Who speaks TLS answers a byte that begins no TLS record with an alert; who speaks Zenoh on plain TCP does not. That is all that a
//! stranger learns of a rig with a key.

#![expect(clippy::disallowed_types, reason = "Zenoh does not tell what is spoken at an address")]

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::RigConfig;
use crate::link::search::scout_endpoints;
use crate::zenoh_config::address_of;

/// How long an address has to accept a connection, and then to answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Most addresses that are looked at.
const MOST: usize = 8;
/// Begins an alert in TLS (RFC 8446 section 5.1).
const ALERT: u8 = 21;
/// Five bytes that look like the header of a TLS record, of a type that TLS does not have. To Zenoh they are the length of a message
/// (little endian, 16 bit) and its first bytes.
const NO_RECORD: [u8; 5] = [0xff, 3, 3, 0, 0];

/// What an address answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// TLS: a rig with a key, if it is one.
    Tls,
    /// Something else, or it is silent.
    Other,
}

/// What `HOST:PORT` speaks; `None` if it does not accept connections.
pub(crate) fn probe(address: &str) -> Option<Speaks> {
    let mut resolved = address.to_socket_addrs().ok()?;
    let mut stream = resolved.find_map(|address| TcpStream::connect_timeout(&address, PATIENCE).ok())?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    let mut reply = [0; 7];
    let answered = stream.write_all(&NO_RECORD).and_then(|()| stream.read_exact(&mut reply));
    Some(if answered.is_ok() && reply[..2] == [ALERT, 3] { Speaks::Tls } else { Speaks::Other })
}

/// Whether what is there, at the addresses of `config` or found by multicast, has a key where `config` has none, or none where it
/// has one. In words, with the remedy. Takes up to some seconds.
#[must_use]
pub fn key_hint(config: &RigConfig) -> Option<String> {
    hint(config, false)
}

/// As [`key_hint`], for somebody who cannot connect to anything: the key may be another one, too.
pub(crate) fn key_hint_of_outsider(config: &RigConfig) -> Option<String> {
    hint(config, true)
}

fn hint(config: &RigConfig, is_outside: bool) -> Option<String> {
    let multicast = if config.is_discovering() { scout_endpoints() } else { Vec::new() };
    let found = in_view(config, &multicast);
    match (&config.key, found.tls.first(), found.plain.first()) {
        (None, Some(at), _) => Some(format!(
            "{at} speaks TLS: does this rig have a key? Then it takes the rig's key file here too \
             (key-file=, --key-file, SWSYNC_KEY_FILE)"
        )),
        (Some(key), None, Some(at)) => Some(format!(
            "{at} speaks without TLS, so the rig there is open: it has no key, and this side has one (fingerprint {}). \
             Give its devices the key file (key-file=, SWSYNC_KEY_FILE)",
            key.fingerprint()
        )),
        (Some(key), Some(at), _) if is_outside => Some(format!(
            "{at} speaks TLS, and may have another key than this side (fingerprint {}): compare by `swsync key check FILE`",
            key.fingerprint()
        )),
        (None, None, _) | (Some(_), Some(_), _) | (Some(_), None, None) => None,
    }
}

/// Endpoints that speak TLS, and others that are there.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub tls: Vec<String>,
    pub plain: Vec<String>,
}

/// What the answers to a multicast say, and what the addresses of `config` speak.
pub(crate) fn in_view(config: &RigConfig, multicast: &[String]) -> Found {
    let (tls, plain) = multicast.iter().cloned().partition(|endpoint| endpoint.starts_with("tls/"));
    let mut found = Found { tls, plain };
    for endpoint in config.connect.iter().take(MOST) {
        match probe(address_of(endpoint).unwrap_or_default()) {
            Some(Speaks::Tls) => found.tls.push(endpoint.clone()),
            Some(Speaks::Other) => found.plain.push(endpoint.clone()),
            None => (),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers each connection with `reply`, after it has read five bytes.
    fn server(reply: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read_exact(&mut [0; 5]);
                let _ = stream.write_all(reply);
            }
        });
        address
    }

    #[test]
    fn tls_is_told_from_other_protocols() {
        assert_eq!(probe(&server(&[21, 3, 3, 0, 2, 2, 50])), Some(Speaks::Tls));
        assert_eq!(probe(&server(b"HTTP/1.1 400 Bad Request")), Some(Speaks::Other));
        assert_eq!(probe(&server(&[])), Some(Speaks::Other));
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(probe(&gone.to_string()), None);
    }
}
