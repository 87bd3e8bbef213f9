//! The answering side: one response per request and never longer than it.

mod limit;
mod table;

use std::net::IpAddr;

pub use limit::RateLimit;
use limit::{Limiter, Verdict};
use table::Table;

use super::status::ServerStatus;
use crate::ntp::{self, Datagram, Key, Keys, NtpTimestamp, Packet, Trailer};
use crate::time::{Rig, Timestamp};

/// log2 of the precision of rig time in seconds: about 30 ns, the cost of reading a clock.
const PRECISION: i8 = -25;

/// What a server does differently from others.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServerConfig {
    /// With keys, requests without a MAC of one of them are refused.
    pub keys: Keys,
    /// How often one address may ask.
    pub rate_limit: RateLimit,
}

/// Goes with one response: whoever sends it reports its transmit timestamp once.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseToken(NtpTimestamp);

/// What to send back to whom the request came from.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The bytes.
    pub datagram: Datagram,
    /// To be given back with the transmit timestamp. `None`: nobody asks when this one leaves.
    pub token: Option<ResponseToken>,
}

/// How often what has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerStats {
    /// Responses in basic mode.
    pub basic: u64,
    /// Responses in interleaved mode: with the kernel's transmit timestamp of the one before.
    pub interleaved: u64,
    /// Requests answered while the server itself did not know the time.
    pub unsynchronized: u64,
    /// Requests above the rate limit, most of them not even answered with a kiss.
    pub limited: u64,
    /// Requests without a valid MAC where keys are configured.
    pub unauthenticated: u64,
    /// Datagrams that are no request.
    pub malformed: u64,
}

/// Answers requests for rig time.
///
/// Basic and interleaved mode (RFC 9769 section 2): a request whose origin timestamp is a receive
/// timestamp that this server has given to the same address gets the transmit timestamp of that response,
/// as the kernel took it.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    table: Table,
    limiter: Limiter,
    stats: ServerStats,
}

impl Server {
    /// A server that has not been asked yet.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self {
            limiter: Limiter::new(config.rate_limit),
            config,
            table: Table::default(),
            stats: ServerStats::default(),
        }
    }

    /// How often what has happened.
    #[must_use]
    pub const fn stats(&self) -> ServerStats {
        self.stats
    }

    /// The response to the request `bytes` of `from` that arrived at `received`, if it leaves at about
    /// `transmit`; `status` is what the server says of its clock.
    ///
    /// `None` for what deserves no answer: responses (two servers could ping-pong for ever), malformed
    /// requests, and most of what is above the rate limit.
    pub fn handle_request(
        &mut self,
        bytes: &[u8],
        from: IpAddr,
        received: Timestamp<Rig>,
        transmit: Timestamp<Rig>,
        status: &ServerStatus,
    ) -> Option<Response> {
        let (request, trailer) = ntp::decode(bytes)
            .inspect_err(|error| tracing::debug!(%from, %error, "not an NTP packet"))
            .ok()
            .filter(|(packet, _)| packet.mode == ntp::MODE_CLIENT)
            .or_else(|| {
                self.stats.malformed += 1;
                None
            })?;
        // Before the MAC is verified: the limit protects that work too.
        let verdict = self.limiter.handle_request(from, received);
        if verdict != Verdict::Serve {
            self.stats.limited += 1;
        }
        if verdict == Verdict::Ignore {
            return None;
        }
        let key = match self.authenticate(trailer) {
            Ok(key) => key.cloned(),
            Err(refusal) => {
                self.stats.unauthenticated += 1;
                return Some(refuse(&request, refusal));
            }
        };
        if verdict == Verdict::Kiss {
            return Some(kiss(&request, *b"RATE", key.as_ref()));
        }
        Some(self.serve(&request, key.as_ref(), from, received, transmit, status))
    }

    /// The kernel's transmit timestamp of a response.
    pub fn handle_sent(&mut self, token: ResponseToken, at: Timestamp<Rig>) {
        self.table.set_transmit(token.0, NtpTimestamp::from_rig(at));
    }

    /// The key that verifies the request, if one is needed.
    fn authenticate(&self, trailer: Trailer<'_>) -> Result<Option<&Key>, Refusal> {
        match trailer {
            Trailer::Mac(mac) => match self.config.keys.get(mac.key).filter(|key| mac.verifies(key)) {
                Some(key) => Ok(Some(key)),
                None => Err(Refusal::CryptoNak),
            },
            Trailer::Nothing | Trailer::CryptoNak if self.config.keys.is_empty() => Ok(None),
            Trailer::Nothing | Trailer::CryptoNak => Err(Refusal::Deny),
        }
    }

    fn serve(
        &mut self,
        request: &Packet,
        key: Option<&Key>,
        from: IpAddr,
        received: Timestamp<Rig>,
        transmit: Timestamp<Rig>,
        status: &ServerStatus,
    ) -> Response {
        let before = match request.receive == request.transmit {
            true => None,
            false => self.table.take(request.origin, from),
        };
        let receive = self.table.unique(NtpTimestamp::from_rig(received));
        let mut now = NtpTimestamp::from_rig(transmit);
        if now == receive {
            now = now.next();
        }
        self.table.insert(receive, now, from);
        let (origin, transmit) = match before {
            Some(before) if before != receive => (request.receive, before),
            _ => (request.transmit, now),
        };
        match (status.leap, before) {
            (ntp::LEAP_UNSYNCHRONIZED, _) => self.stats.unsynchronized += 1,
            (_, Some(_)) => self.stats.interleaved += 1,
            (_, None) => self.stats.basic += 1,
        }
        let response = Packet {
            leap: status.leap,
            version: request.version,
            mode: ntp::MODE_SERVER,
            stratum: status.stratum,
            poll: request.poll,
            precision: PRECISION,
            root_delay: status.root_delay,
            root_dispersion: status.root_dispersion,
            reference_id: status.reference_id,
            reference: NtpTimestamp::from_rig(status.reference),
            origin,
            receive,
            transmit,
            // Only to those who sent one: no response is longer than its request.
            rig: request.rig.map(|_| status.field),
        };
        Response { datagram: seal(&response, key), token: Some(ResponseToken(receive)) }
    }
}

/// How a request without a valid MAC is answered where keys are configured.
///
/// Neither is silence, so that the other side can tell its user what is wrong; neither is longer than
/// the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// There was a MAC, but its key is unknown or another one.
    CryptoNak,
    /// There was none.
    Deny,
}

fn refuse(request: &Packet, refusal: Refusal) -> Response {
    match refusal {
        Refusal::Deny => kiss(request, *b"DENY", None),
        Refusal::CryptoNak => {
            let packet = Packet {
                leap: ntp::LEAP_UNSYNCHRONIZED,
                version: request.version,
                mode: ntp::MODE_SERVER,
                stratum: 16,
                poll: request.poll,
                origin: request.transmit,
                ..Packet::default()
            };
            Response { datagram: ntp::encode(&packet).with_crypto_nak(), token: None }
        }
    }
}

/// A kiss-o'-death with this code (RFC 5905 section 7.4).
fn kiss(request: &Packet, code: [u8; 4], key: Option<&Key>) -> Response {
    let packet = Packet {
        leap: ntp::LEAP_UNSYNCHRONIZED,
        version: request.version,
        mode: ntp::MODE_SERVER,
        stratum: 0,
        poll: request.poll,
        precision: PRECISION,
        reference_id: code,
        origin: request.transmit,
        receive: request.transmit,
        transmit: request.transmit,
        ..Packet::default()
    };
    Response { datagram: seal(&packet, key), token: None }
}

fn seal(packet: &Packet, key: Option<&Key>) -> Datagram {
    let datagram = ntp::encode(packet);
    match key {
        Some(key) => datagram.sealed(key),
        None => datagram,
    }
}
