//! The server: it answers each request with at most one response, which is never longer than the request.

mod budget;
mod clients;
mod rate_limiter;
mod response_table;

use std::net::IpAddr;

use budget::Budget;
use clients::Clients;
pub use rate_limiter::RequestLimit;
use rate_limiter::{RateLimiter, RateVerdict};
use response_table::ResponseTable;

use super::status::ServerStatus;
use super::upstream::UNSYNCHRONIZED;
use crate::ntp::{self, Datagram, Keys, NtpTimestamp, Packet, RigField, Trailer};
use crate::time::{Rig, Span, Timestamp};

/// log2 of the precision of rig time in seconds: about 30 ns, the cost of reading a clock.
const PRECISION: i8 = -25;

/// Most clients of a server that is not told otherwise. Chosen: each asks 0.25 to 8 times a second, so it costs one processor of
/// a small board a tenth at most.
const MAX_CLIENTS: usize = 500;

/// How often one address gets a rejection.
const REJECTIONS: RequestLimit = RequestLimit { burst: 8, per_second: 1 };

/// The settings of a server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// If there are keys, requests without a MAC of one of them are rejected.
    pub keys: Keys,
    /// How often one address may send requests.
    pub rate_limit: RequestLimit,
    /// Most clients, by address: others are told to ask somebody else.
    pub max_clients: usize,
    /// Requests a second of all clients together that the network should carry; 0: any number. Responses tell each client how
    /// often it may ask, so that all keep to it. Clients on loopback are free.
    pub requests_per_second: u32,
    /// Half of what this device's send latency has above its receive latency. It is added to the timestamps of responses, so that
    /// clients need not know it, whoever leads or relays.
    pub path_offset: Span,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            rate_limit: RequestLimit::default(),
            // A rig on one WiFi access point: a request and its response are sent twice each (to the access point and from it),
            // at about 0.25 ms of air each, so 400 take 40 % of it. At the fastest poll, 8 Hz, that is 50 devices.
            requests_per_second: 400,
            max_clients: MAX_CLIENTS,
            path_offset: Span::ZERO,
        }
    }
}

/// Identifies one response, to report its transmit timestamp once.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseToken(NtpTimestamp);

/// The datagram to send to the sender of the request.
#[derive(Debug, PartialEq, Eq)]
pub struct ServerResponse {
    /// The bytes.
    pub datagram: Datagram,
    /// To be given back with the transmit timestamp; `None` if the timestamp is not needed.
    pub token: Option<ResponseToken>,
    /// What the client tells of itself, if it is served.
    pub client: Option<RigField>,
}

/// Counters of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerStats {
    /// Responses in basic mode.
    pub basic: u64,
    /// Responses in interleaved mode: with the kernel's transmit timestamp of the previous response.
    pub interleaved: u64,
    /// Requests answered while the server did not know the time.
    pub unsynchronized: u64,
    /// Requests above the rate limit. Most of them get no answer at all.
    pub limited: u64,
    /// Requests of further clients while there were as many as the server takes.
    pub full: u64,
    /// Requests without a valid MAC although keys are configured.
    pub unauthenticated: u64,
    /// Datagrams that are not requests.
    pub malformed: u64,
}

/// Answers requests for rig time.
///
/// It supports basic and interleaved mode (RFC 9769 section 2). A request is interleaved if its origin is a receive timestamp
/// that this server sent to the same address before. Its response carries the transmit timestamp of that earlier response, as
/// the kernel took it.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    table: ResponseTable,
    limiter: RateLimiter,
    clients: Clients,
    /// Limits the answers to rejected requests. It is separate, so that a stranger with a forged address cannot use up the limit
    /// of the address's owner.
    rejections: RateLimiter,
    budget: Budget,
    stats: ServerStats,
}

impl Server {
    /// A server without requests.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self {
            limiter: RateLimiter::new(config.rate_limit),
            rejections: RateLimiter::new(REJECTIONS),
            clients: Clients::new(config.max_clients),
            budget: Budget::new(config.requests_per_second),
            config,
            table: ResponseTable::default(),
            stats: ServerStats::default(),
        }
    }

    /// Number of clients that asked within the last ten seconds, without those on loopback.
    #[must_use]
    pub const fn clients(&self) -> usize {
        self.budget.clients()
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> ServerStats {
        self.stats
    }

    /// Number of clients that asked in the last minute, at `now`.
    #[must_use]
    pub fn clients_of_last_minute(&self, now: Timestamp<Rig>) -> usize {
        self.clients.count(now)
    }

    /// The response to the request `bytes` from `from` that arrived at `received`. The response leaves at about `transmit`;
    /// `status` describes the server's clock.
    ///
    /// `None` for malformed datagrams, for responses (two servers could answer each other for ever), and for most requests above
    /// the rate limit.
    pub fn handle_request(
        &mut self,
        bytes: &[u8],
        from: IpAddr,
        received: Timestamp<Rig>,
        transmit: Timestamp<Rig>,
        status: &ServerStatus,
    ) -> Option<ServerResponse> {
        let (request, trailer) = ntp::decode(bytes)
            .inspect_err(|error| crate::log::debug!(%from, %error, "not an NTP packet"))
            .ok()
            .filter(|(packet, _)| packet.mode == ntp::MODE_CLIENT)
            .or_else(|| {
                self.stats.malformed += 1;
                None
            })?;
        let key = match self.authenticate(trailer) {
            Ok(key) => key,
            Err(rejection) => {
                self.stats.unauthenticated += 1;
                let verdict = self.rejections.handle_request(from, received);
                return (verdict == RateVerdict::Serve).then(|| refuse(&request, rejection));
            }
        };
        let verdict = self.limiter.handle_request(from, received);
        if verdict != RateVerdict::Serve {
            self.stats.limited += 1;
        }
        let (packet, token) = match verdict {
            RateVerdict::Serve if !self.clients.admit(from, received) => {
                self.stats.full += 1;
                (kiss(&request, *b"XFUL"), None)
            }
            RateVerdict::Serve => self.answer(&request, from, received, transmit, status),
            RateVerdict::Kiss => (kiss(&request, *b"RATE"), None),
            RateVerdict::Ignore => return None,
        };
        let mut datagram = ntp::encode(&packet);
        if let Some(key) = key.and_then(|id| self.config.keys.get(id)) {
            datagram = datagram.sealed(key);
        }
        let client = request.rig.filter(|_| token.is_some());
        Some(ServerResponse { datagram, token, client })
    }

    /// A response has left; `at` is the kernel's transmit timestamp.
    pub fn handle_sent(&mut self, token: ResponseToken, at: Timestamp<Rig>) {
        self.table.set_transmit(token.0, NtpTimestamp::from_rig(at + self.config.path_offset));
    }

    /// The id of the key that verifies the request, if one is needed.
    fn authenticate(&self, trailer: Trailer<'_>) -> Result<Option<u32>, Rejection> {
        match trailer {
            Trailer::Mac(mac) => match self.config.keys.get(mac.key) {
                Some(key) if mac.verifies(key) => Ok(Some(mac.key)),
                Some(_) | None => Err(Rejection::CryptoNak),
            },
            Trailer::Nothing | Trailer::CryptoNak if self.config.keys.is_empty() => Ok(None),
            Trailer::Nothing | Trailer::CryptoNak => Err(Rejection::Deny),
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
        let receive = self.table.unique(NtpTimestamp::from_rig(received + self.config.path_offset));
        // The transmit timestamp must not equal a receive timestamp: a client in basic mode may send it as its origin.
        let mut now = self.table.unique(NtpTimestamp::from_rig(transmit + self.config.path_offset));
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
            // Only if the request has one: no response is longer than its request.
            rig: request.rig.map(|_| {
                let least_poll_ms = self.budget.least_poll_ms(from, &self.limiter, received);
                RigField { least_poll_ms, ..status.field }
            }),
        };
        (packet, Some(ResponseToken(receive)))
    }
}

/// How the server answers a request without a valid MAC if keys are configured.
///
/// It answers rather than stay silent, so that the client can tell its user what is wrong. The answer is never longer than the
/// request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rejection {
    /// The request has a MAC, but its key is unknown or its digest is wrong.
    CryptoNak,
    /// The request has no MAC.
    Deny,
}

fn refuse(request: &Packet, rejection: Rejection) -> ServerResponse {
    let datagram = match rejection {
        Rejection::Deny => ntp::encode(&kiss(request, *b"DENY")),
        Rejection::CryptoNak => {
            let packet = Packet { stratum: UNSYNCHRONIZED, ..kiss(request, [0; 4]) };
            ntp::encode(&packet).with_crypto_nak()
        }
    };
    ServerResponse { datagram, token: None, client: None }
}

/// A kiss-o'-death with this code (RFC 5905 section 7.4). It carries no time.
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
