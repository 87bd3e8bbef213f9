//! A test world: a client and a server on a simulated link. Time jumps from event to event.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::*;
use crate::estimate::ClockEstimate;
use crate::estimate::testing::Link;
use crate::estimate::{Estimator, EstimatorConfig, Exchange};
use crate::ntp::{self, Datagram};
use crate::servo::Adjustment;
use crate::time::{Local, Rig, Skew, Span, Timestamp};
use crate::time_service::SyncState;

/// The client's address.
pub const CLIENT: [u8; 4] = [10, 0, 0, 2];

pub fn identity(device: u64) -> Identity {
    Identity { rig: 0, device, timescale: 1000 + device }
}

pub fn at_s(secs: f64) -> Timestamp<Local> {
    Timestamp::ZERO + Span::from_secs_f64(secs)
}

/// Faults of the link.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Share of packets that are lost, in each direction.
    pub loss: f64,
    /// Share of packets that arrive twice, in each direction.
    pub duplication: f64,
    /// Share of the kernel's transmit timestamps that never come, on either side.
    pub stampless: f64,
}

/// The true timestamps of an exchange.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    pub t1: Timestamp<Local>,
    pub t2: Timestamp<Rig>,
    /// As the kernel took it.
    pub t3: Timestamp<Rig>,
    /// As the server stated it before sending.
    pub stated: Timestamp<Rig>,
}

#[derive(Debug, Clone)]
enum Event {
    Request { datagram: Datagram, t1: Timestamp<Local> },
    Response { datagram: Datagram, truth: Truth },
}

/// Records the exchanges that an estimator gets.
#[derive(Debug)]
struct RecordingEstimator {
    inner: Box<dyn Estimator>,
    seen: Arc<Mutex<Vec<Exchange>>>,
}

impl Estimator for RecordingEstimator {
    fn handle_exchange(&mut self, exchange: &Exchange) -> Option<ClockEstimate> {
        self.seen.lock().unwrap().push(*exchange);
        self.inner.handle_exchange(exchange)
    }
    fn has_settled(&self) -> bool {
        self.inner.has_settled()
    }
    fn reset(&mut self) {
        self.inner.reset();
    }
    fn reset_keeping_rate(&mut self, doubt: Skew) {
        self.inner.reset_keeping_rate(doubt);
    }
}

/// The client's clock is ideal; the link knows the rig's.
pub struct World {
    pub client: Client,
    pub server: Server,
    /// The server's status.
    pub status: ServerStatus,
    pub link: Link,
    pub faults: Faults,
    /// Whether the link works.
    pub up: bool,
    /// The server is another program's, and announces leap seconds by this indicator.
    pub other_program: Option<u8>,
    /// By how much the server's clock is off for each of the next requests.
    pub wild: VecDeque<Span>,
    pub now: Timestamp<Local>,
    pub updates: Vec<(Timestamp<Local>, ClockUpdate)>,
    pub refusals: Vec<ServerRefusal>,
    /// When requests were sent.
    pub sent: Vec<Timestamp<Local>>,
    /// Every response of the server, as it was sent.
    pub responses: Vec<Datagram>,
    /// By T4.
    truths: HashMap<Timestamp<Local>, Truth>,
    seen: Arc<Mutex<Vec<Exchange>>>,
    events: BTreeMap<Timestamp<Local>, Event>,
    random: u64,
}

impl World {
    pub fn new(seed: u64, config: ClientConfig) -> Self {
        let mut link = Link::new(seed);
        link.offset = Span::from_secs(1_800_000_000);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let inner = config.estimator.build();
        let client = Client::new(config, Timestamp::ZERO, Timestamp::ZERO, Seed::predictable(seed));
        Self {
            client: client.with_estimator(Box::new(RecordingEstimator { inner, seen: seen.clone() })),
            server: Server::new(ServerConfig::default()),
            status: ServerStatus::leading(&identity(1), Timestamp::ZERO),
            link,
            faults: Faults::default(),
            up: true,
            other_program: None,
            wild: VecDeque::new(),
            now: Timestamp::ZERO,
            updates: Vec::new(),
            refusals: Vec::new(),
            sent: Vec::new(),
            responses: Vec::new(),
            truths: HashMap::new(),
            seen,
            events: BTreeMap::new(),
            random: seed,
        }
    }

    /// With the paper's minimum filter, whose estimates do not depend on the tuning of `track`.
    pub fn plain(seed: u64) -> Self {
        let kind = crate::estimate::EstimatorKind::Min;
        let estimator = EstimatorConfig { kind, ..EstimatorConfig::default() };
        Self::new(seed, ClientConfig { estimator, ..ClientConfig::default() })
    }

    fn happens(&mut self, share: f64) -> bool {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        f64::from(u32::try_from(self.random >> 32).unwrap()) < share * f64::from(u32::MAX)
    }

    /// Sends `event` over the link.
    fn transmit(&mut self, from: Timestamp<Local>, event: &Event) {
        if !self.up || self.happens(self.faults.loss) {
            return;
        }
        let copies = 1 + usize::from(self.happens(self.faults.duplication));
        for _ in 0..copies {
            let mut at = from + self.link.delay();
            // Each event needs an instant of its own: T4 identifies an exchange.
            while self.events.contains_key(&at) {
                at += Span::from_nanos(1);
            }
            self.events.insert(at, event.clone());
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.client.poll_action() {
            match action {
                ClientAction::Send { datagram, token } => {
                    // Handed to the network now, sent a little later.
                    let t1 = self.now + Span::from_micros(7);
                    let stamped = !self.happens(self.faults.stampless);
                    if stamped {
                        self.client.handle_sent(token, t1);
                    }
                    self.sent.push(self.now);
                    let t1 = if stamped { t1 } else { self.now };
                    self.transmit(t1, &Event::Request { datagram, t1 });
                }
                ClientAction::Publish(update) => self.updates.push((self.now, update)),
                ClientAction::Refused(refusal) => self.refusals.push(refusal),
            }
        }
    }

    fn handle_request(&mut self, datagram: &Datagram, t1: Timestamp<Local>) {
        let leaves = self.now + Span::from_micros(40);
        let wild = self.wild.pop_front().unwrap_or_default();
        let (t2, t3) = (self.link.truth(self.now) + wild, self.link.truth(leaves) + wild);
        let stated = t3 - Span::from_micros(15);
        let response = self.server.handle_request(datagram, CLIENT.into(), t2, stated, &self.status);
        let Some(ServerResponse { datagram, token, .. }) = response else { return };
        let stamped = !self.happens(self.faults.stampless);
        if let Some(token) = token.filter(|_| stamped) {
            self.server.handle_sent(token, t3);
        }
        let datagram = match self.other_program {
            Some(leap) => {
                let (packet, _) = ntp::decode(&datagram).unwrap();
                ntp::encode(&ntp::Packet { leap, rig: None, ..packet })
            }
            None => datagram,
        };
        self.responses.push(datagram);
        let truth = Truth { t1, t2, t3: if stamped { t3 } else { stated }, stated };
        self.transmit(leaves, &Event::Response { datagram, truth });
    }

    /// Advances time to `end`.
    pub fn run_until(&mut self, end: Timestamp<Local>) {
        loop {
            let next = self.events.first_key_value().map_or(Timestamp::MAX, |(at, _)| *at);
            let wake = self.client.wake_at();
            if next.min(wake) > end {
                self.now = end;
                return;
            }
            self.now = next.min(wake).max(self.now);
            if wake < next {
                self.client.handle_timeout(self.now);
            } else if let Some((_, event)) = self.events.pop_first() {
                match event {
                    Event::Request { datagram, t1 } => self.handle_request(&datagram, t1),
                    Event::Response { datagram, truth } => {
                        self.truths.insert(self.now, truth);
                        self.client.handle_datagram(&datagram, self.now);
                    }
                }
            }
            self.carry_out();
        }
    }

    /// Gives the client a datagram from the server's address, now.
    pub fn inject(&mut self, datagram: &[u8]) {
        self.client.handle_datagram(datagram, self.now);
        self.carry_out();
    }

    pub fn stats(&self) -> ClientStats {
        self.client.stats(self.now)
    }

    pub fn quality(&self) -> SyncState {
        self.stats().quality
    }

    pub fn last(&self) -> &ClockUpdate {
        &self.updates.last().unwrap().1
    }

    /// Error of the clock.
    pub fn error(&self) -> Span {
        self.last().map.rig_at(self.now) - self.link.truth(self.now)
    }

    /// The exchanges that the estimator got, each with its truth.
    pub fn exchanges(&self) -> Vec<(Exchange, Truth)> {
        self.seen.lock().unwrap().iter().map(|exchange| (*exchange, self.truths[&exchange.t4])).collect()
    }

    /// Requests sent within the second that ends now.
    pub fn rate(&self) -> usize {
        self.sent.iter().filter(|at| self.now - **at < Span::from_secs(1)).count()
    }

    pub fn steps(&self) -> Vec<Adjustment> {
        let adjustments = self.updates.iter().filter_map(|(_, update)| update.adjustment);
        adjustments.filter(|adjustment| matches!(adjustment, Adjustment::Stepped { .. })).collect()
    }
}
