//! The answering side: one response per request and never longer than it.

mod limit;
mod table;

use std::net::IpAddr;

pub use limit::RateLimit;
use limit::{Limiter, Verdict};
use table::Table;

use super::status::{ServerStatus, UNSYNCHRONIZED};
use crate::ntp::{self, Datagram, Keys, NtpTimestamp, Packet, Trailer};
use crate::time::{Rig, Timestamp};

/// log2 of the precision of rig time in seconds: about 30 ns, the cost of reading a clock.
const PRECISION: i8 = -25;

/// How often one address is told that its request is refused.
const REFUSALS: RateLimit = RateLimit { burst: 8, per_second: 1 };

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
    /// Of those who are refused: they must not use up what the rightful owner of their address may ask.
    refusals: Limiter,
    stats: ServerStats,
}

impl Server {
    /// A server that has not been asked yet.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self {
            limiter: Limiter::new(config.rate_limit),
            refusals: Limiter::new(REFUSALS),
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
        let key = match self.authenticate(trailer) {
            Ok(key) => key,
            Err(refusal) => {
                self.stats.unauthenticated += 1;
                let verdict = self.refusals.handle_request(from, received);
                return (verdict == Verdict::Serve).then(|| refuse(&request, refusal));
            }
        };
        let verdict = self.limiter.handle_request(from, received);
        if verdict != Verdict::Serve {
            self.stats.limited += 1;
        }
        let (packet, token) = match verdict {
            Verdict::Serve => self.answer(&request, from, received, transmit, status),
            Verdict::Kiss => (kiss(&request, *b"RATE"), None),
            Verdict::Ignore => return None,
        };
        let mut datagram = ntp::encode(&packet);
        if let Some(key) = key.and_then(|id| self.config.keys.get(id)) {
            datagram = datagram.sealed(key);
        }
        Some(Response { datagram, token })
    }

    /// The kernel's transmit timestamp of a response.
    pub fn handle_sent(&mut self, token: ResponseToken, at: Timestamp<Rig>) {
        self.table.set_transmit(token.0, NtpTimestamp::from_rig(at));
    }

    /// The id of the key that verifies the request, if one is needed.
    fn authenticate(&self, trailer: Trailer<'_>) -> Result<Option<u32>, Refusal> {
        match trailer {
            Trailer::Mac(mac) => match self.config.keys.get(mac.key) {
                Some(key) if mac.verifies(key) => Ok(Some(mac.key)),
                Some(_) | None => Err(Refusal::CryptoNak),
            },
            Trailer::Nothing | Trailer::CryptoNak if self.config.keys.is_empty() => Ok(None),
            Trailer::Nothing | Trailer::CryptoNak => Err(Refusal::Deny),
        }
    }

    fn answer(
        &mut self,
        request: &Packet,
        from: IpAddr,
        received: Timestamp<Rig>,
        transmit: Timestamp<Rig>,
        status: &ServerStatus,
    ) -> (Packet, Option<ResponseToken>) {
        let receive = self.table.unique(NtpTimestamp::from_rig(received));
        // Equal to no receive timestamp either: a client of basic mode may send it as its origin.
        let mut now = self.table.unique(NtpTimestamp::from_rig(transmit));
        if now == receive {
            now = self.table.unique(now.next());
        }
        let before = match request.receive == request.transmit {
            true => None,
            false => self.table.take(request.origin, from).filter(|before| *before != receive),
        };
        self.table.insert(receive, now, from);
        match (status.leap, before) {
            (ntp::LEAP_UNSYNCHRONIZED, _) => self.stats.unsynchronized += 1,
            (_, Some(_)) => self.stats.interleaved += 1,
            (_, None) => self.stats.basic += 1,
        }
        let packet = Packet {
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
            origin: before.map_or(request.transmit, |_| request.receive),
            receive,
            transmit: before.unwrap_or(now),
            // Only to those who sent one: no response is longer than its request.
            rig: request.rig.map(|_| status.field),
        };
        (packet, Some(ResponseToken(receive)))
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
    let datagram = match refusal {
        Refusal::Deny => ntp::encode(&kiss(request, *b"DENY")),
        Refusal::CryptoNak => {
            let packet = Packet { stratum: UNSYNCHRONIZED, ..kiss(request, [0; 4]) };
            ntp::encode(&packet).with_crypto_nak()
        }
    };
    Response { datagram, token: None }
}

/// A kiss-o'-death with this code (RFC 5905 section 7.4). It tells no time.
fn kiss(request: &Packet, code: [u8; 4]) -> Packet {
    Packet {
        leap: ntp::LEAP_UNSYNCHRONIZED,
        version: request.version,
        mode: ntp::MODE_SERVER,
        poll: request.poll,
        precision: PRECISION,
        reference_id: code,
        origin: request.transmit,
        receive: request.transmit,
        transmit: request.transmit,
        ..Packet::default()
    }
}
