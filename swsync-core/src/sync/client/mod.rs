//! The asking side.

mod pacer;
mod refusal;
mod requests;
mod stats;
mod update;

use std::collections::VecDeque;

use pacer::{InFlight, Pacer, SHORT_BURST};
pub use refusal::Refusal;
use requests::{Cookies, Match, Requests, Stamps};
pub use stats::{ClientStats, RoundTrips};
use stats::{Counts, RoundTripWindow};
pub use update::ClockUpdate;

use super::status::{UNSYNCHRONIZED, Upstream};
use crate::clock::{ClockEstimate, Servo};
use crate::estimate::{Estimator, EstimatorConfig, Exchange};
use crate::frame::SyncQuality;
use crate::ntp::{self, Datagram, Key, NtpTimestamp, Packet, RigField, Trailer};
use crate::time::{Local, Rig, Skew, Span, Timestamp};

/// Silence after which the server counts as lost, from the first request without an answer.
const SILENCE: Span = Span::from_secs(3);
/// After a longer silence the estimate is freshened up by a short burst.
const LONG_SILENCE: Span = Span::from_secs(10);
/// In interleaved mode an exchange this old, and two poll intervals, is no longer worth completing.
const STALE: Span = Span::from_secs(2);
/// An uncertainty that grows by this factor from one exchange to the next tells that the estimator has
/// been contradicted and began anew.
const CONTRADICTED: f64 = 4.0;
/// A clock that is being corrected is looked at again after so long.
const RECHECK: Span = Span::from_millis(250);
/// Least time between two bursts because of that.
const CALM: Span = Span::from_secs(30);

/// What a client does differently from others.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientConfig {
    /// How exchanges become an estimate.
    pub estimator: EstimatorConfig,
    /// Exchanges before the clock counts as synced, unless the estimator has settled before: the paper's
    /// K.
    pub burst: u32,
    /// Bound of the clock's rate beside the estimated skew.
    pub max_slew: Skew,
    /// An error beyond this is stepped over even when the clock is relied on.
    pub step_threshold: Span,
    /// A clock whose error may be larger (1 sigma) is not synced.
    pub max_uncertainty: Span,
    /// The uncertainty to be kept: polls become rarer as long as it is.
    pub accuracy: Span,
    /// Bounds of the poll interval after the burst.
    pub fastest_poll: Span,
    /// See `fastest_poll`.
    pub slowest_poll: Span,
    /// Whether to use interleaved mode where the server does.
    pub interleaved: bool,
    /// [`ntp::rig_id`] of the rig; servers of another one are not followed. 0: of any.
    pub rig: u64,
    /// This device's id ([`super::Identity::device`]), so that it does not follow itself. 0: it does not serve.
    pub device: u64,
    /// The key that requests are authenticated with, and responses have to be.
    pub key: Option<Key>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            estimator: EstimatorConfig::default(),
            burst: 300,
            max_slew: Skew::from_ratio(500e-6),
            step_threshold: Span::from_millis(10),
            // A third of a frame at 30 frames/s: beyond it two devices may give one number to two instants. Over the
            // paper's WiFi the burst ends at some 0.1 ms.
            max_uncertainty: Span::from_millis(10),
            accuracy: Span::from_micros(10),
            fastest_poll: Span::from_millis(125),
            slowest_poll: Span::from_secs(4),
            interleaved: true,
            rig: 0,
            device: 0,
            key: None,
        }
    }
}

/// Goes with one datagram: whoever sends it reports its transmit timestamp once.
#[derive(Debug, PartialEq, Eq)]
pub struct SendToken(u64);

/// What the client wants done.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Send this to the server, then call [`Client::handle_sent`].
    Send {
        /// The request.
        datagram: Datagram,
        /// To be given back with the transmit timestamp.
        token: SendToken,
    },
    /// Set the clock.
    Publish(ClockUpdate),
    /// The server cannot be followed. Said once, until it can or the reason is another one.
    Refused(Refusal),
}

/// Where the client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has been heard yet.
    Unsynced,
    /// There is an estimate, but the first burst is not over or its uncertainty is too large.
    Acquiring,
    /// The clock follows the server's.
    Synced,
    /// In sync once; now nothing is heard, what is has to be learnt anew, the clock is being corrected or held, or its
    /// server is not settled.
    Holdover,
}

/// What moves the client from one [`State`] to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// There is an estimate: whether the clock is right by it, and whether it is not of the middle of a burst.
    Estimate { good: bool, settled: bool },
    /// The server is silent or does not know the time, or there is another leader.
    Lost,
}

impl State {
    const fn on(self, event: Event) -> Self {
        match (self, event) {
            (_, Event::Estimate { good: true, settled: true })
            | (Self::Synced, Event::Estimate { good: true, .. }) => Self::Synced,
            (Self::Unsynced | Self::Acquiring, Event::Estimate { .. }) => Self::Acquiring,
            (Self::Holdover | Self::Synced, Event::Estimate { .. }) => Self::Holdover,
            (Self::Synced | Self::Holdover, Event::Lost) => Self::Holdover,
            (Self::Unsynced, Event::Lost) => Self::Unsynced,
            (Self::Acquiring, Event::Lost) => Self::Acquiring,
        }
    }
}

impl From<State> for SyncQuality {
    fn from(state: State) -> Self {
        match state {
            State::Unsynced => Self::Unsynced,
            State::Acquiring => Self::Acquiring,
            State::Synced => Self::Synced,
            State::Holdover => Self::Holdover,
        }
    }
}

/// Follows one server.
///
/// After each call of a `handle_*`, carry out what [`Client::poll_action`] says until it is `None`, and call
/// [`Client::handle_timeout`] at [`Client::wake_at`].
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    estimator: Box<dyn Estimator>,
    servo: Servo,
    state: State,
    since: Timestamp<Local>,
    pacer: Pacer,
    requests: Requests,
    actions: VecDeque<Action>,
    upstream: Option<Upstream>,
    last_heard: Option<Timestamp<Local>>,
    /// The first request since the server was last heard.
    unanswered_since: Option<Timestamp<Local>>,
    last_update: Option<ClockUpdate>,
    /// When to look whether the clock, not right by the last estimate, has become so.
    recheck: Option<Timestamp<Local>>,
    refusal: Option<Refusal>,
    /// When a contradiction last caused a burst.
    last_burst: Timestamp<Local>,
    counts: Counts,
    round_trips: RoundTripWindow,
    random: u64,
    pivot: Timestamp<Rig>,
}

impl Client {
    /// A client that starts at `now`. `seed` makes its cookies unpredictable to strangers; `pivot` is the
    /// wall clock, which need only be right within 68 years (it tells the NTP era).
    #[must_use]
    pub fn new(config: ClientConfig, now: Timestamp<Local>, pivot: Timestamp<Rig>, seed: u64) -> Self {
        Self {
            estimator: config.estimator.build(),
            servo: Servo::new(config.max_slew, config.step_threshold),
            state: State::Unsynced,
            since: now,
            pacer: Pacer::new(&config, now),
            config,
            requests: Requests::new(),
            actions: VecDeque::with_capacity(8),
            upstream: None,
            last_heard: None,
            unanswered_since: None,
            last_update: None,
            recheck: None,
            refusal: None,
            last_burst: now,
            counts: Counts::default(),
            round_trips: RoundTripWindow::new(),
            random: seed,
            pivot,
        }
    }

    /// This client with another estimator.
    #[cfg(test)]
    pub(in crate::sync) fn with_estimator(mut self, estimator: Box<dyn Estimator>) -> Self {
        self.estimator = estimator;
        self
    }

    /// What to do next; `None`: nothing until [`Client::wake_at`] or a datagram comes.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Client::handle_timeout`], if nothing happens before.
    #[must_use]
    pub fn wake_at(&self) -> Timestamp<Local> {
        let next = self.pacer.next().min(self.recheck.unwrap_or(Timestamp::MAX));
        match (self.state, self.unanswered_since) {
            (State::Synced, Some(since)) => next.min(since + SILENCE),
            _ => next,
        }
    }

    /// When the server was last heard to know the time; `None`: not yet.
    #[must_use]
    pub const fn last_heard(&self) -> Option<Timestamp<Local>> {
        self.last_heard
    }

    /// Exchanges of the first burst that are done; all of them once it is over.
    #[must_use]
    pub const fn burst_done(&self) -> u32 {
        self.pacer.burst_done(&self.config)
    }

    /// Requests go to another server from now on: its address has changed, or another is tried. The
    /// estimate stays, until the server turns out to keep another time scale.
    pub fn handle_new_server(&mut self, now: Timestamp<Local>) {
        self.requests.forget();
        self.refusal = None;
        self.last_heard = None;
        self.pacer.restart(now);
    }

    /// Time has passed. Early calls are no-ops.
    pub fn handle_timeout(&mut self, now: Timestamp<Local>) {
        if let Some(since) = self.unanswered_since
            && now - since >= SILENCE
        {
            self.lose(now);
            self.pacer.call(self.state == State::Holdover);
        }
        if self.recheck.is_some_and(|recheck| now >= recheck) {
            self.recheck(now);
        }
        if now >= self.pacer.next() {
            self.ask(now);
        }
    }

    /// A request has left; `sent` is its transmit timestamp. Best before its response is handled; in
    /// interleaved mode it may come later.
    pub fn handle_sent(&mut self, token: SendToken, sent: Timestamp<Local>) {
        self.requests.set_sent(token.0, sent);
    }

    /// A datagram has come from the server's address; `received` is its receive timestamp.
    pub fn handle_datagram(&mut self, bytes: &[u8], received: Timestamp<Local>) {
        let Some((index, interleaved, response)) = self.find_request(bytes) else { return };
        if response.stratum == 0 {
            self.requests.refuse(index);
            self.handle_kiss(response.reference_id, received);
            return;
        }
        let upstream = Upstream {
            stratum: response.stratum,
            reference_id: response.reference_id,
            root_delay: response.root_delay.to_span(),
            root_dispersion: response.root_dispersion.to_span(),
            field: response.rig,
        };
        if let Some(refusal) = self.objection(&response) {
            self.requests.refuse(index);
            self.handle_unusable(refusal);
            return;
        }
        self.counts.interleaved += u64::from(interleaved);
        self.handle_upstream(upstream, received);
        self.handle_heard(received);
        if let Some(stamps) = self.requests.complete(index, interleaved, &response, received) {
            self.handle_exchange(&stamps, upstream, received);
        }
    }

    /// The request that `bytes` answer, if they are an authentic response.
    fn find_request(&mut self, bytes: &[u8]) -> Option<(usize, bool, Packet)> {
        let decoded = ntp::decode(bytes).inspect_err(|error| tracing::debug!(%error, "not an NTP packet"));
        let Some((response, trailer)) = decoded.ok().filter(|(packet, _)| packet.mode == ntp::MODE_SERVER)
        else {
            self.counts.bogus += 1;
            return None;
        };
        match self.requests.find(&response) {
            Match::Duplicate => {
                self.counts.duplicates += 1;
                None
            }
            Match::Bogus => {
                self.counts.bogus += 1;
                None
            }
            Match::Answer { index, interleaved } => {
                let authentic = match (&self.config.key, trailer) {
                    (None, _) => true,
                    (Some(key), Trailer::Mac(mac)) => mac.verifies(key),
                    (Some(_), Trailer::Nothing | Trailer::CryptoNak) => false,
                };
                if authentic {
                    return Some((index, interleaved, response));
                }
                // Anybody on the way can say so: believed as far as to tell the user, and no further.
                self.counts.bad_mac += 1;
                let key = self.config.key.as_ref().map_or(0, Key::id);
                self.say(match trailer {
                    Trailer::CryptoNak => Refusal::Key(key),
                    Trailer::Nothing | Trailer::Mac(_) => Refusal::Unauthenticated(key),
                });
                None
            }
        }
    }

    /// Why the server of `response` cannot be followed.
    fn objection(&self, response: &Packet) -> Option<Refusal> {
        if response.leap == ntp::LEAP_UNSYNCHRONIZED || response.stratum >= UNSYNCHRONIZED {
            return Some(Refusal::Unsynchronized);
        }
        let field = response.rig?;
        if self.config.rig != 0 && field.rig != 0 && field.rig != self.config.rig {
            return Some(Refusal::OtherRig(field.rig));
        }
        let me = self.config.device;
        if me != 0 && (field.leader == me || field.path.hops().contains(&me)) {
            return Some(Refusal::Loop);
        }
        None
    }

    /// The server knows the time, and says `upstream` of itself.
    fn handle_upstream(&mut self, upstream: Upstream, now: Timestamp<Local>) {
        // Another leader has another crystal, even if it carries on the time scale: what was learnt of the
        // rate is worth nothing, and worse than nothing as long as it is believed.
        let leader = |upstream: Upstream| upstream.field.map(|field| (field.timescale, field.leader));
        if let (Some(before), Some(after)) = (self.upstream.and_then(leader), leader(upstream))
            && before != after
        {
            tracing::info!("another leader or time scale: learning it anew");
            self.estimator.reset();
            self.requests.forget_exchanges();
            self.counts.resets += 1;
            self.lose(now);
            self.pacer.start_burst(&self.config, now, self.config.burst);
        }
        self.upstream = Some(upstream);
    }

    /// A server that knows the time was heard.
    fn handle_heard(&mut self, now: Timestamp<Local>) {
        self.counts.responses += 1;
        self.refusal = None;
        let silent = self.last_heard.map(|heard| now - heard);
        self.last_heard = Some(now);
        self.unanswered_since = None;
        if self.pacer.is_calling() {
            match (self.state, silent) {
                (State::Unsynced | State::Acquiring, _) => {
                    self.pacer.start_burst(&self.config, now, self.config.burst)
                }
                (_, Some(silent)) if silent < LONG_SILENCE => {}
                (State::Synced | State::Holdover, _) => {
                    self.pacer.start_burst(&self.config, now, SHORT_BURST)
                }
            }
        }
        let jitter = self.next_jitter();
        self.pacer.handle_response(&self.config, now, jitter);
    }

    fn handle_exchange(&mut self, stamps: &Stamps, upstream: Upstream, now: Timestamp<Local>) {
        let t2 = stamps.t2.to_rig(self.pivot);
        let t3 = stamps.t3.to_rig(self.pivot);
        let exchange = Exchange { t1: stamps.t1, t2, t3, t4: stamps.t4 };
        if !exchange.is_plausible() {
            tracing::debug!(?exchange, "implausible exchange");
            self.counts.implausible += 1;
            return;
        }
        self.round_trips.push(exchange.delay());
        let Some(estimate) = self.estimator.handle_exchange(&exchange) else { return };
        self.notice_contradiction(&estimate, now);
        self.pacer.end_burst(&self.config, now, self.estimator.has_settled());
        self.pacer.handle_estimate(&self.config, now, &estimate);
        self.publish(&estimate, exchange.delay(), upstream, now);
    }

    /// A short burst where the estimator has been contradicted.
    fn notice_contradiction(&mut self, estimate: &ClockEstimate, now: Timestamp<Local>) {
        let Some(before) = self.last_update.map(|update| update.estimate) else { return };
        let expected = before.uncertainty_at(now).max(self.config.accuracy);
        if self.state == State::Synced
            && !self.pacer.is_in_burst()
            && now - self.last_burst > CALM
            && estimate.uncertainty_at(now) > expected.mul_f64(CONTRADICTED)
        {
            tracing::debug!("the estimate has been contradicted");
            self.last_burst = now;
            self.counts.contradictions += 1;
            self.pacer.start_burst(&self.config, now, SHORT_BURST);
        }
    }

    fn ask(&mut self, now: Timestamp<Local>) {
        let cookies = Cookies { basic: self.next_cookie(), interleaved: self.next_cookie() };
        let stale = STALE.max(self.pacer.interval(&self.config, now) * 2);
        let (stamps, number) = self.requests.send(now, cookies, self.config.interleaved, stale);
        let request = Packet {
            mode: ntp::MODE_CLIENT,
            rig: Some(RigField { rig: self.config.rig, ..RigField::default() }),
            ..stamps
        };
        let mut datagram = ntp::encode(&request);
        if let Some(key) = &self.config.key {
            datagram = datagram.sealed(key);
        }
        self.unanswered_since.get_or_insert(now);
        let patience = Pacer::patience(self.round_trips.figures().map(|trips| trips.mean));
        let (requests, oldest) = self.requests.in_flight(now, patience);
        let jitter = self.next_jitter();
        self.pacer.handle_sent(&self.config, now, InFlight { requests, oldest }, patience, jitter);
        self.actions.push_back(Action::Send { datagram, token: SendToken(number) });
    }

    /// SplitMix64: each number is a bijection of a counter that started at a random place.
    const fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    const fn next_cookie(&mut self) -> NtpTimestamp {
        NtpTimestamp(self.next_random())
    }

    /// A random number in [-1, 1).
    fn next_jitter(&mut self) -> f64 {
        let bits = u32::try_from(self.next_random() >> 32).expect("32 bits");
        f64::from(bits) / f64::from(1_u32 << 31) - 1.0
    }

    /// Takes in what has happened to the state; whether it has changed.
    fn advance(&mut self, event: Event, now: Timestamp<Local>) -> bool {
        let before = self.state;
        self.state = before.on(event);
        if self.state != before {
            self.since = now;
        }
        self.state != before
    }

    /// Looks whether the clock is right by the estimate that stands: a correction may be worked off, a hold over.
    fn recheck(&mut self, now: Timestamp<Local>) {
        let good = self.last_update.is_some_and(|update| update.is_good_at(now, self.config.max_uncertainty));
        let settled = !self.pacer.is_in_burst();
        if good && settled && self.advance(Event::Estimate { good, settled }, now) {
            self.servo.rely();
            self.republish();
        }
        self.recheck = (self.state == State::Holdover).then_some(now + RECHECK);
    }

    /// The server's time is not to be had, or not to be combined with what there was.
    fn lose(&mut self, now: Timestamp<Local>) {
        self.recheck = None;
        if self.advance(Event::Lost, now) {
            self.republish();
        }
    }

    fn publish(
        &mut self,
        estimate: &ClockEstimate,
        round_trip: Span,
        upstream: Upstream,
        now: Timestamp<Local>,
    ) {
        let acquiring = self.pacer.is_in_burst();
        // What an estimator says early in a burst is not worth moving a clock that is relied on.
        let adjustment = match (self.servo.is_relied_on(), acquiring) {
            (true, true) => None,
            (false, _) | (true, false) => Some(self.servo.update(now, estimate)),
        };
        let Some(&map) = self.servo.map() else { return };
        let quality = self.state.into();
        let mut update = ClockUpdate { map, estimate: *estimate, adjustment, quality, round_trip, upstream };
        let good = update.is_good_at(now, self.config.max_uncertainty);
        self.advance(Event::Estimate { good, settled: !acquiring }, now);
        if self.state == State::Synced {
            self.servo.rely();
        }
        self.recheck = (self.state == State::Holdover && !acquiring).then_some(now + RECHECK);
        update.quality = self.state.into();
        self.last_update = Some(update);
        self.actions.push_back(Action::Publish(update));
    }

    /// Says what has become of the clock without an exchange.
    fn republish(&mut self) {
        let quality = self.state.into();
        if let Some(update) = &mut self.last_update {
            (update.quality, update.adjustment) = (quality, None);
            self.actions.push_back(Action::Publish(*update));
        }
    }

    /// Kiss-o'-death (RFC 5905 section 7.4): RATE asks to slow down, the others to go away.
    fn handle_kiss(&mut self, code: [u8; 4], now: Timestamp<Local>) {
        match &code {
            b"RATE" => {
                self.counts.kisses += 1;
                self.pacer.handle_rate(&self.config, now);
            }
            b"DENY" | b"RSTR" => {
                self.counts.kisses += 1;
                self.pacer.handle_denial(now);
                self.say(Refusal::Kiss(code));
            }
            // No kiss: ntpd and chronyd say stratum 0, with INIT or nothing, as long as they do not know the time.
            _ => self.handle_unusable(Refusal::Unsynchronized),
        }
    }

    /// The server answers, but cannot be followed: as if it were silent.
    fn handle_unusable(&mut self, refusal: Refusal) {
        self.counts.unusable += 1;
        self.pacer.call(self.state == State::Holdover);
        self.say(refusal);
    }

    /// Says why the server cannot be followed, once.
    fn say(&mut self, refusal: Refusal) {
        if self.refusal != Some(refusal) {
            tracing::warn!("{refusal}");
            self.refusal = Some(refusal);
            self.actions.push_back(Action::Refused(refusal));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transition_is_as_intended() {
        let estimate = |good, settled| Event::Estimate { good, settled };
        for (state, event, next) in [
            (State::Unsynced, estimate(false, true), State::Acquiring),
            (State::Unsynced, estimate(true, false), State::Acquiring),
            (State::Unsynced, estimate(true, true), State::Synced),
            (State::Unsynced, Event::Lost, State::Unsynced),
            (State::Acquiring, estimate(false, true), State::Acquiring),
            (State::Acquiring, estimate(true, false), State::Acquiring),
            (State::Acquiring, estimate(true, true), State::Synced),
            (State::Acquiring, Event::Lost, State::Acquiring),
            (State::Synced, estimate(false, true), State::Holdover),
            (State::Synced, estimate(false, false), State::Holdover),
            (State::Synced, estimate(true, false), State::Synced),
            (State::Synced, estimate(true, true), State::Synced),
            (State::Synced, Event::Lost, State::Holdover),
            (State::Holdover, estimate(false, true), State::Holdover),
            (State::Holdover, estimate(true, false), State::Holdover),
            (State::Holdover, estimate(true, true), State::Synced),
            (State::Holdover, Event::Lost, State::Holdover),
        ] {
            assert_eq!(state.on(event), next, "{state:?} {event:?}");
        }
    }
}
