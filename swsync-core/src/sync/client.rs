//! The asking side: a burst to learn the time quickly, then a steady poll to keep it.

use std::collections::VecDeque;

use crate::clock::{Adjustment, ClockEstimate, ClockMap, Servo};
use crate::estimate::{Estimator, EstimatorConfig, Exchange};
use crate::frame::SyncQuality;
use crate::ntp::{self, NtpTimestamp, Packet, RigField};
use crate::time::{Local, Rig, Skew, Span, Timestamp};

/// Shortest pause between requests of a burst: spreads the load when many clients start at once.
const BURST_PAUSE: Span = Span::from_millis(1);
/// How long a request of the burst waits for its response before the next one goes out.
const BURST_TIMEOUT: Span = Span::from_millis(40);
/// Poll interval while the skew is being learnt, and how long that takes.
const LEARNING_POLL: Span = Span::from_millis(40);
const LEARNING: Span = Span::from_secs(30);
/// Poll interval from then on.
const STEADY_POLL: Span = Span::from_millis(125);
/// Silence after which the leader counts as lost.
const SILENCE: Span = Span::from_secs(3);
/// Responses later than this are not waited for.
const OUTSTANDING_MAX_AGE: Span = Span::from_secs(2);
/// Longest pause that a server's refusals can impose.
const MAX_BACKOFF: Span = Span::from_secs(16);

/// What a client does differently from others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClientConfig {
    /// How exchanges become an estimate.
    pub estimator: EstimatorConfig,
    /// Exchanges before the clock counts as synced: the paper's K.
    pub burst: u32,
    /// Bound of the clock's rate beside the estimated skew.
    pub max_slew: Skew,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self { estimator: EstimatorConfig::default(), burst: 300, max_slew: Skew::from_ratio(500e-6) }
    }
}

/// Goes with one datagram: whoever sends it reports its transmit timestamp once.
#[derive(Debug, PartialEq, Eq)]
pub struct SendToken(NtpTimestamp);

/// What the clock reads from now on, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockUpdate {
    /// The clock.
    pub map: ClockMap,
    /// The estimate that it follows.
    pub estimate: ClockEstimate,
    /// What that did to the clock; `None` where only the quality changed.
    pub adjustment: Option<Adjustment>,
    /// How well rig time is known.
    pub quality: SyncQuality,
    /// Round trip of the last exchange.
    pub round_trip: Span,
}

impl ClockUpdate {
    /// What the error of the clock may be when the local clock reads `local`, 1 sigma: the
    /// estimate's, and what the clock has still to be corrected by.
    #[must_use]
    pub fn uncertainty_at(&self, local: Timestamp<Local>) -> Span {
        let behind = self.estimate.rig_at(local) - self.map.rig_at(local);
        let estimate = self.estimate.uncertainty_at(local);
        Span::from_nanos_f64(estimate.as_nanos_f64().hypot(behind.as_nanos_f64()))
    }
}

/// What the client wants done.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Send this to the leader, then call [`Client::handle_sent`].
    Send {
        /// The request.
        datagram: Vec<u8>,
        /// To be given back with the transmit timestamp.
        token: SendToken,
    },
    /// Call [`Client::handle_timeout`] then, if nothing happens before.
    WakeAt(Timestamp<Local>),
    /// Set the clock.
    Publish(ClockUpdate),
    /// The server refuses to serve this client, with this kiss code (RFC 5905 section 7.4).
    Refused([u8; 4]),
}

/// A request without its response.
#[derive(Debug)]
struct Outstanding {
    cookie: NtpTimestamp,
    /// When it was handed to the network; the kernel's stamp replaces it.
    sent: Timestamp<Local>,
}

/// Where the client stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// Asking in quick succession: so many exchanges done.
    Burst { done: u32 },
    /// In sync since then.
    Steady { since: Timestamp<Local> },
    /// In sync once; now nothing is heard.
    Holdover { since: Timestamp<Local> },
}

/// Follows one leader.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    estimator: Box<dyn Estimator>,
    servo: Servo,
    state: State,
    outstanding: VecDeque<Outstanding>,
    timescale: Option<u64>,
    next_poll: Timestamp<Local>,
    last_heard: Timestamp<Local>,
    last_update: Option<ClockUpdate>,
    backoff: Span,
    cookies: u64,
    pivot: Timestamp<Rig>,
}

impl Client {
    /// A client that starts at `now`. `seed` makes its cookies unpredictable to strangers; `pivot` is the
    /// wall clock, which need only be right within 68 years (it tells the NTP era).
    #[must_use]
    pub fn new(config: ClientConfig, now: Timestamp<Local>, pivot: Timestamp<Rig>, seed: u64) -> Self {
        Self {
            estimator: config.estimator.build(),
            servo: Servo::new(config.max_slew),
            config,
            state: State::Burst { done: 0 },
            outstanding: VecDeque::new(),
            timescale: None,
            next_poll: now,
            last_heard: now,
            last_update: None,
            backoff: Span::ZERO,
            cookies: seed,
            pivot,
        }
    }

    /// Exchanges of the initial burst that are done; all of them once in sync.
    #[must_use]
    pub const fn burst_done(&self) -> u32 {
        match self.state {
            State::Burst { done } => done,
            State::Steady { .. } | State::Holdover { .. } => self.config.burst,
        }
    }

    /// Time has passed. Early calls are no-ops.
    pub fn handle_timeout(&mut self, now: Timestamp<Local>) -> Vec<Action> {
        let mut actions = Vec::new();
        if let State::Steady { .. } = self.state
            && now - self.last_heard > SILENCE
        {
            self.state = State::Holdover { since: now };
            actions.extend(self.republish());
        }
        if now >= self.next_poll {
            actions.push(self.poll(now));
        }
        actions.push(Action::WakeAt(self.next_poll));
        actions
    }

    /// A request has left; `sent` is its transmit timestamp.
    pub fn handle_sent(&mut self, token: SendToken, sent: Timestamp<Local>) {
        if let Some(request) = self.outstanding.iter_mut().find(|r| r.cookie == token.0) {
            request.sent = sent;
        }
    }

    /// A datagram has come from the leader's address; `received` is its receive timestamp.
    pub fn handle_datagram(&mut self, bytes: &[u8], received: Timestamp<Local>) -> Vec<Action> {
        let Some((request, response)) = self.match_response(bytes) else {
            return Vec::new();
        };
        if response.stratum == 0 {
            return self.handle_kiss(response.reference_id, received);
        }
        if response.leap == 3 {
            tracing::debug!("the server is not synchronized itself");
            return Vec::new();
        }
        let mut actions = Vec::new();
        let timescale = response.rig.map(|rig| rig.timescale);
        if timescale.is_some() && self.timescale != timescale {
            if self.timescale.is_some() {
                tracing::warn!("the leader's time scale has changed: following the new one");
                self.estimator.reset();
            }
            self.timescale = timescale;
        }
        let t2 = response.receive.to_rig(self.pivot);
        let t3 = response.transmit.to_rig(self.pivot);
        let exchange = Exchange { t1: request.sent, t2, t3, t4: received };
        if !exchange.is_plausible() {
            tracing::debug!(?exchange, "implausible exchange");
            return Vec::new();
        }
        self.last_heard = received;
        self.backoff = Span::ZERO;
        let estimate = self.estimator.handle_exchange(&exchange);
        self.advance(received);
        if let Some(estimate) = estimate {
            actions.push(self.publish(&estimate, exchange.delay(), received));
        }
        actions.push(Action::WakeAt(self.next_poll));
        actions
    }

    /// The response in `bytes` and the request that it answers, which is then no longer outstanding:
    /// a duplicate finds none.
    fn match_response(&mut self, bytes: &[u8]) -> Option<(Outstanding, Packet)> {
        let response =
            ntp::decode(bytes).inspect_err(|error| tracing::debug!(%error, "not an NTP packet")).ok()?;
        if response.mode != ntp::MODE_SERVER {
            return None;
        }
        let index = self.outstanding.iter().position(|r| r.cookie == response.origin)?;
        Some((self.outstanding.remove(index)?, response))
    }

    fn poll(&mut self, now: Timestamp<Local>) -> Action {
        while self.outstanding.front().is_some_and(|r| now - r.sent > OUTSTANDING_MAX_AGE) {
            self.outstanding.pop_front();
        }
        let cookie = self.next_cookie();
        self.outstanding.push_back(Outstanding { cookie, sent: now });
        self.next_poll = now + self.interval(now);
        let request = Packet {
            mode: ntp::MODE_CLIENT,
            // RFC 9109 style: nothing of the client's own time leaves it, only a cookie to echo.
            transmit: cookie,
            rig: Some(RigField::default()),
            ..Packet::default()
        };
        Action::Send { datagram: ntp::encode(&request), token: SendToken(cookie) }
    }

    fn interval(&self, now: Timestamp<Local>) -> Span {
        let usual = match self.state {
            State::Burst { .. } => BURST_TIMEOUT,
            State::Steady { since } if now - since < LEARNING => LEARNING_POLL,
            State::Steady { .. } | State::Holdover { .. } => STEADY_POLL,
        };
        usual.max(self.backoff)
    }

    /// SplitMix64: each cookie is a bijection of a counter that started at a random place.
    fn next_cookie(&mut self) -> NtpTimestamp {
        self.cookies = self.cookies.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.cookies;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        NtpTimestamp(z ^ z >> 31)
    }

    /// An exchange is done.
    fn advance(&mut self, now: Timestamp<Local>) {
        match self.state {
            State::Burst { done } if done + 1 < self.config.burst => {
                self.state = State::Burst { done: done + 1 };
                self.next_poll = now + BURST_PAUSE;
            }
            State::Burst { .. } => self.state = State::Steady { since: now },
            State::Holdover { since } => {
                tracing::info!(silent_s = (now - since).as_secs_f64(), "the leader is heard again");
                self.state = State::Steady { since: now };
            }
            State::Steady { .. } => {}
        }
    }

    fn publish(&mut self, estimate: &ClockEstimate, round_trip: Span, now: Timestamp<Local>) -> Action {
        let adjustment = self.servo.update(now, estimate);
        let quality = self.quality();
        if quality == SyncQuality::Synced {
            self.servo.rely();
        }
        let map = *self.servo.map().expect("the servo has just been given an estimate");
        let update =
            ClockUpdate { map, estimate: *estimate, adjustment: Some(adjustment), quality, round_trip };
        self.last_update = Some(update);
        Action::Publish(update)
    }

    fn quality(&self) -> SyncQuality {
        match self.state {
            State::Burst { .. } => SyncQuality::Acquiring,
            State::Steady { .. } => SyncQuality::Synced,
            State::Holdover { .. } => SyncQuality::Holdover,
        }
    }

    fn republish(&mut self) -> Option<Action> {
        let quality = self.quality();
        let update = self.last_update.as_mut()?;
        update.quality = quality;
        update.adjustment = None;
        Some(Action::Publish(*update))
    }

    /// Kiss-o'-death (RFC 5905 section 7.4): RATE asks to slow down, the others to go away.
    fn handle_kiss(&mut self, code: [u8; 4], now: Timestamp<Local>) -> Vec<Action> {
        self.backoff = (self.backoff.max(LEARNING_POLL) * 2).min(MAX_BACKOFF);
        self.next_poll = now + self.backoff;
        match &code {
            b"RATE" => vec![Action::WakeAt(self.next_poll)],
            _ => vec![Action::Refused(code), Action::WakeAt(self.next_poll)],
        }
    }
}
