//! The client: it asks one server for the time and keeps a clock.

mod allowance;
mod config;
mod doubt;
mod leap;
mod pacer;
mod poll_search;
mod publish;
mod random;
mod receive;
mod refusal;
mod requests;
mod stats;
mod update;

use std::collections::VecDeque;

pub use config::ClientConfig;
use doubt::HeldBack;
use pacer::{InFlight, Pacer};
use random::Random;
pub use random::Seed;
pub use refusal::ServerRefusal;
use requests::{Cookies, Requests};
pub use stats::{ClientStats, RoundTrips};
use stats::{Counts, RoundTripWindow};
pub(in crate::time_service) use update::sleep_uncertainty;
pub use update::{ClockUpdate, MAX_KNOWN_ERROR};

use super::state::SyncState;
use super::upstream::Upstream;
use crate::estimate::{Estimator, Exchange};
use crate::leap::LeapSmear;
use crate::ntp::{self, Datagram, Packet, RigField};
use crate::servo::{ClockMap, Servo};
use crate::time::{Local, Rig, Span, Timestamp};

/// The server counts as lost after this silence, counted from the first unanswered request.
const SILENCE: Span = Span::from_secs(3);
/// In interleaved mode an exchange that is older than this and than two poll intervals is not completed.
const STALE: Span = Span::from_secs(2);

/// Identifies one datagram, to report its transmit timestamp once.
#[derive(Debug, PartialEq, Eq)]
pub struct SendToken(u64);

/// What the client asks its caller to do.
#[derive(Debug, PartialEq)]
pub enum ClientAction {
    /// Send `datagram` to the server, then call [`Client::handle_sent`].
    Send {
        /// The request.
        datagram: Datagram,
        /// To be given back with the transmit timestamp.
        token: SendToken,
    },
    /// Set the clock.
    Publish(ClockUpdate),
    /// The server cannot be followed. Reported once, until it can be followed or the reason changes.
    Refused(ServerRefusal),
}

/// Follows one server.
///
/// After each call of a `handle_*`, carry out what [`Client::poll_action`] returns until it returns `None`, and call
/// [`Client::handle_timeout`] at [`Client::wake_at`].
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    estimator: Box<dyn Estimator>,
    servo: Servo,
    state: SyncState,
    /// When `state` last changed.
    since: Timestamp<Local>,
    pacer: Pacer,
    requests: Requests,
    actions: VecDeque<ClientAction>,
    upstream: Option<Upstream>,
    last_heard: Option<Timestamp<Local>>,
    /// The first request since the server was last heard.
    unanswered_since: Option<Timestamp<Local>>,
    last_update: Option<ClockUpdate>,
    /// When to examine whether the clock, wrong by the last estimate, has become right.
    recheck: Option<Timestamp<Local>>,
    refusal: Option<ServerRefusal>,
    /// Exchanges with a server that is not swsync's, while they are in doubt.
    held_back: HeldBack,
    /// Leap seconds of a server that is not swsync's.
    leap: LeapSmear,
    /// The device has slept: the next server that answers is asked a whole burst.
    has_slept: bool,
    /// The leader has been unsettled, and did not know its time well.
    is_doubtful: bool,
    /// Another leader of the same time scale is being learnt; until its estimate is the better one, the clock goes on by the last
    /// estimate of the old one.
    hands_over: bool,
    /// When its estimate was last less certain than that.
    unsure_at: Timestamp<Local>,
    /// What requests tell of this device.
    field: RigField,
    /// When a contradiction last caused a burst.
    last_burst: Timestamp<Local>,
    counts: Counts,
    round_trips: RoundTripWindow,
    /// The last that the estimator got.
    last_exchange: Option<Exchange>,
    random: Random,
    pivot: Timestamp<Rig>,
}

impl Client {
    /// A client that starts at `now`. `seed` makes its cookies unpredictable to strangers. `pivot` tells
    /// the NTP era: the server's time is within 68 years of it.
    #[must_use]
    pub fn new(config: ClientConfig, now: Timestamp<Local>, pivot: Timestamp<Rig>, seed: Seed) -> Self {
        Self {
            estimator: config.estimator.build(),
            servo: Servo::new(config.max_slew, config.step_threshold),
            state: SyncState::Unsynced,
            since: now,
            pacer: Pacer::new(&config, now),
            requests: Requests::new(),
            actions: VecDeque::with_capacity(8),
            upstream: None,
            last_heard: None,
            unanswered_since: None,
            last_update: None,
            recheck: None,
            refusal: None,
            held_back: HeldBack::new(),
            leap: LeapSmear::default(),
            has_slept: false,
            is_doubtful: false,
            hands_over: false,
            unsure_at: now,
            field: RigField { rig: config.rig, ..RigField::default() },
            last_burst: now,
            counts: Counts::default(),
            round_trips: RoundTripWindow::new(),
            last_exchange: None,
            random: Random::new(seed),
            pivot,
            config,
        }
    }

    /// This client with another estimator.
    #[cfg(test)]
    pub(in crate::time_service) fn with_estimator(mut self, estimator: Box<dyn Estimator>) -> Self {
        self.estimator = estimator;
        self
    }

    /// What to do next; `None`: nothing until [`Client::wake_at`] or the next datagram.
    pub fn poll_action(&mut self) -> Option<ClientAction> {
        self.actions.pop_front()
    }

    /// When to call [`Client::handle_timeout`], unless something happens before.
    #[must_use]
    pub fn wake_at(&self) -> Timestamp<Local> {
        let next = self.pacer.next().min(self.recheck.unwrap_or(Timestamp::MAX));
        match (self.state, self.unanswered_since) {
            (SyncState::Synced, Some(since)) => next.min(since + SILENCE),
            _ => next,
        }
    }

    /// When a server that knows the time last answered; `None` before the first answer.
    #[must_use]
    pub const fn last_heard(&self) -> Option<Timestamp<Local>> {
        self.last_heard
    }

    /// The server, as it described itself last.
    #[must_use]
    pub const fn upstream(&self) -> Option<&Upstream> {
        self.upstream.as_ref()
    }

    /// Number of completed exchanges of the first burst; all of them once it is over.
    #[must_use]
    pub const fn burst_done(&self) -> u32 {
        self.pacer.burst_done(&self.config)
    }

    /// Requests go to another server from now on, or to another address. The estimate stays until the server turns out to keep
    /// another time scale.
    pub fn handle_new_server(&mut self, now: Timestamp<Local>) {
        self.requests.forget();
        self.refusal = None;
        self.last_heard = None;
        self.pacer.restart(&self.config, now);
    }

    /// Requests tell `field` of this device from now on.
    pub const fn set_field(&mut self, field: RigField) {
        self.field = field;
    }

    /// Goes on from a clock that ran by `map` until `now` without this client, because this device led the rig, or was restarted.
    /// `scale` is its time scale, if it knew rig time. If that is the one that was followed before, the last estimate still counts.
    pub fn go_on_from(&mut self, map: ClockMap, scale: Option<u64>, now: Timestamp<Local>) {
        self.servo.go_on_from(map, scale.is_some());
        let followed = self.upstream.and_then(|upstream| upstream.field).map(|field| field.timescale);
        if followed.is_none() || followed != scale {
            self.estimator.reset();
            (self.upstream, self.last_update) = (None, None);
            let state = if scale.is_some() { SyncState::Holdover } else { SyncState::Unsynced };
            (self.state, self.since) = (state, now);
        }
        (self.recheck, self.hands_over) = (None, false);
        self.handle_new_server(now);
    }

    /// What was learnt of servers does not count any more.
    pub const fn forget(&mut self) {
        (self.upstream, self.last_update) = (None, None);
    }

    /// Whether a burst is running, so that the next estimates will be much better.
    #[must_use]
    pub const fn is_in_burst(&self) -> bool {
        self.pacer.is_in_burst()
    }

    /// The next estimates are of another time scale than the clock: see [`Servo::join`].
    pub const fn join_scale(&mut self) {
        self.servo.join();
    }

    /// The time of the server, if there is an estimate that is not from the middle of a burst.
    #[must_use]
    pub fn estimate(&self) -> Option<&ClockUpdate> {
        self.last_update.as_ref().filter(|_| !self.pacer.is_in_burst() && !self.hands_over)
    }

    /// The server's time is in doubt: the clock is not in sync until the server says that it is settled.
    pub fn doubt(&mut self, now: Timestamp<Local>) {
        self.lose(now);
        self.pacer.ask_now(now);
    }

    /// Asks the server at once, because others say that it is gone. Does nothing if a request was sent just now.
    pub fn ask_now(&mut self, now: Timestamp<Local>) {
        self.pacer.ask_now(now);
    }

    /// The device has slept for `slept`: its local clock stood still, and reads `now`. The clock goes on from where it would be, in
    /// holdover, and the server is asked anew.
    pub fn handle_resume(&mut self, slept: Span, now: Timestamp<Local>) {
        self.servo.handle_resume(slept);
        self.estimator.reset();
        self.leap = LeapSmear::default();
        self.held_back.clear();
        self.last_update = self.last_update.map(|update| update.resumed(slept));
        self.handle_new_server(now);
        self.unanswered_since = None;
        self.has_slept = true;
        self.lose(now);
    }

    /// Time has passed. Early calls do nothing.
    pub fn handle_timeout(&mut self, now: Timestamp<Local>) {
        if let Some(since) = self.unanswered_since
            && now - since >= SILENCE
        {
            self.lose(now);
            self.pacer.call(self.state == SyncState::Holdover);
        }
        self.check_touch(now);
        if self.recheck.is_some_and(|recheck| now >= recheck) {
            self.recheck(now);
        }
        if now >= self.pacer.next() {
            self.send_request(now);
        }
    }

    /// A request has left; `sent` is its transmit timestamp. It should come before the response is handled; in interleaved mode
    /// it may come later.
    pub fn handle_sent(&mut self, token: SendToken, sent: Timestamp<Local>) {
        self.requests.set_sent(token.0, sent);
    }

    fn send_request(&mut self, now: Timestamp<Local>) {
        let cookies = Cookies { basic: self.random.cookie(), interleaved: self.random.cookie() };
        let stale = STALE.max(self.pacer.interval(&self.config, now) * 2);
        let (stamps, number) = self.requests.send(now, cookies, self.config.interleaved, stale);
        let request = Packet { mode: ntp::MODE_CLIENT, rig: Some(self.field), ..stamps };
        let mut datagram = ntp::encode(&request);
        if let Some(key) = &self.config.key {
            datagram = datagram.sealed(key);
        }
        self.unanswered_since.get_or_insert(now);
        let patience = Pacer::patience(self.round_trips.figures().map(|trips| trips.mean));
        let (requests, oldest) = self.requests.in_flight(now, patience);
        let jitter = self.random.jitter();
        self.pacer.handle_sent(&self.config, now, InFlight { requests, oldest }, patience, jitter);
        self.actions.push_back(ClientAction::Send { datagram, token: SendToken(number) });
    }

    /// The statistics when the local clock reads `now`.
    #[must_use]
    pub fn stats(&self, now: Timestamp<Local>) -> ClientStats {
        let (sent, lost) = self.requests.counts();
        let Counts {
            responses,
            interleaved,
            duplicates,
            bogus,
            bad_mac,
            implausible,
            kisses,
            unusable,
            resets,
            contradictions,
        } = self.counts;
        let estimate = self.last_update.map(|update| update.estimate);
        ClientStats {
            quality: self.state,
            since: self.since,
            upstream: self.upstream,
            last_heard: self.last_heard,
            sent,
            responses,
            interleaved,
            lost,
            duplicates,
            bogus,
            bad_mac,
            implausible,
            kisses,
            unusable,
            authenticated: self.config.key.is_some(),
            poll_interval: self.pacer.interval(&self.config, now),
            round_trips: self.round_trips.figures(),
            exchange: self.last_exchange,
            offset: estimate.map(|estimate| estimate.offset),
            skew: estimate.map(|estimate| estimate.skew),
            uncertainty: self.last_update.map(|update| update.uncertainty_at(now)),
            least_delay: estimate.map(|estimate| estimate.least_delay),
            steps: self.servo.steps(),
            slewed: self.servo.slewed(now),
            resets,
            contradictions,
            leap_correction: self.leap_correction(now),
        }
    }
}
