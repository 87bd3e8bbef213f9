//! Whole rigs in simulated time: devices with clocks of their own, each with a [`Node`] and a [`Server`], on a simulated network.
//!
//! ```
//! use swsync_core::time::Span;
//! use swsync_sim::link::LinkModel;
//! use swsync_sim::rig::{DeviceConfig, Rig};
//!
//! let mut rig = Rig::new(LinkModel::ethernet(), 1);
//! let leader = rig.add(DeviceConfig::auto("skew=20ppm"));
//! let client = rig.add(DeviceConfig::auto("skew=-30ppm"));
//! rig.run_for(Span::from_secs(6));
//! assert!(rig.reading(leader).unwrap().is_synced() && rig.reading(client).unwrap().is_synced());
//! ```
//!
//! Time packets take the link's delays. Messages of the control plane take 1 to 4 ms, in order or not, and none is lost
//! between devices of one part of the network: Zenoh runs over TCP.
//!
//! By default all links are alike, which real ones are not: give devices latencies of their own
//! ([`DeviceConfig::with_floors`]) and let them share a channel ([`Rig::with_air`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swsync_core::ntp::{self, Datagram};
use swsync_core::servo::Adjustment;
use swsync_core::time::{Host, Local, Rig as RigDomain, Span, Timestamp};
use swsync_core::time_service::{
    AdvertKind, ClientConfig, Identity, Node, NodeAction, NodeConfig, RequestLimit, RigTime, Seed, Server,
    ServerConfig, SyncState, TimeAdvert,
};

use crate::link::{Air, AirModel, Direction, Floors, Link, LinkModel};
use crate::oscillator::Oscillator;

const RIG: u64 = 1;
const PORT: u16 = 11_123;
/// What a server takes from a request's arrival to the time that it states, and to the departure of its response.
const SERVING: Span = Span::from_micros(25);
const SENDING: Span = Span::from_micros(40);
/// More happens at no instant.
const MOST_CALLS: u32 = 10_000;

/// A device.
#[derive(Debug, Clone)]
pub struct DeviceConfig {
    /// Its clock, as [`OscillatorConfig`](crate::oscillator::OscillatorConfig) parses it.
    pub clock: String,
    /// Its wall clock at the beginning of the simulation.
    pub wall: Span,
    /// Whether it leads if it is elected.
    pub can_lead: bool,
    /// Its priority: 0 comes first.
    pub priority: u8,
    /// Latencies of its host and radio, on top of the link's.
    pub floors: Floors,
    /// What its clock takes off for its own path.
    pub path_offset: Span,
}

impl DeviceConfig {
    /// A device with `role=auto`, whose wall clock is right.
    #[must_use]
    pub fn auto(clock: &str) -> Self {
        Self {
            clock: clock.into(),
            wall: Span::from_secs(1_800_000_000),
            can_lead: true,
            priority: 128,
            floors: Floors::NONE,
            path_offset: Span::ZERO,
        }
    }

    /// With `role=leader`.
    #[must_use]
    pub fn leader(clock: &str) -> Self {
        Self { priority: 0, ..Self::auto(clock) }
    }

    /// With `role=client`.
    #[must_use]
    pub fn client(clock: &str) -> Self {
        Self { can_lead: false, ..Self::auto(clock) }
    }

    /// The device with latencies of its own, so that its clock's error differs from other clients'.
    #[must_use]
    pub fn with_floors(self, floors: Floors) -> Self {
        Self { floors, ..self }
    }

    /// With this path offset.
    #[must_use]
    pub fn with_path_offset(self, path_offset: Span) -> Self {
        Self { path_offset, ..self }
    }
}

/// What a device's clock says at one instant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// How well it knows rig time.
    pub quality: SyncState,
    /// Rig time.
    pub rig: Timestamp<RigDomain>,
    /// Uncertainty, 1 sigma, if it knows rig time.
    pub uncertainty: Option<Span>,
    /// Time scale and leader.
    pub source: Option<(u64, u64)>,
    /// Servers between the device and the leader, the leader included; 0 for the leader itself.
    pub stratum: u8,
}

impl Reading {
    /// Whether it claims to be in rig time.
    #[must_use]
    pub const fn is_synced(&self) -> bool {
        self.quality.is_synced()
    }
}

/// Something that happened to a device's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockStep {
    /// When, in true time.
    pub at: Timestamp<Host>,
    /// Which device.
    pub device: usize,
    /// What.
    pub adjustment: Adjustment,
}

#[derive(Debug)]
enum Event {
    Request { from: usize, to: usize, datagram: Datagram },
    Response { from: SocketAddr, to: usize, life: u64, datagram: Datagram },
    Advert { to: usize, advert: Box<TimeAdvert> },
    Question { from: usize, to: usize },
}

impl Event {
    const fn receiver(&self) -> usize {
        match self {
            Self::Request { to, .. }
            | Self::Response { to, .. }
            | Self::Advert { to, .. }
            | Self::Question { to, .. } => *to,
        }
    }
}

#[derive(Debug)]
struct Device {
    config: DeviceConfig,
    clock: Oscillator,
    /// `None`: it is off.
    running: Option<Running>,
    /// Part of the network.
    part: usize,
    /// Counts its starts: what was on the way to an earlier life is lost.
    life: u64,
    is_stopped: bool,
    /// What came while it was stopped, and when.
    waiting: Vec<(Timestamp<Host>, Event)>,
    /// When its node wants to be called.
    wakes_at: Timestamp<Host>,
    /// How long it has slept in all, and since when it sleeps.
    slept: Span,
    asleep_since: Option<Timestamp<Host>>,
}

impl Device {
    /// What its local clock reads at the true time `at`. The clock stands still while the device sleeps.
    fn read(&self, at: Timestamp<Host>) -> Timestamp<Local> {
        self.clock.read(self.asleep_since.map_or(at, |since| at.min(since)) - self.slept)
    }

    /// The true time at which its local clock reads `local`, if it does not sleep before.
    fn true_at(&self, local: Timestamp<Local>) -> Timestamp<Host> {
        self.clock.true_at(local) + self.slept
    }
}

#[derive(Debug)]
struct Running {
    node: Node,
    server: Server,
    identity: Identity,
    asks: Option<SocketAddr>,
}

/// A rig.
#[derive(Debug)]
pub struct Rig {
    now: Timestamp<Host>,
    devices: Vec<Device>,
    model: LinkModel,
    links: HashMap<(usize, usize), Link>,
    /// How often the links' model has changed: each time, all links are new.
    changes: u64,
    /// The channel that all share, if they do.
    air: Option<Air>,
    /// Pairs of devices whose time packets do not reach each other.
    cut: BTreeSet<(usize, usize)>,
    events: BTreeMap<(Timestamp<Host>, u64), Event>,
    count: u64,
    random: ChaCha8Rng,
    seed: u64,
    /// What happened to clocks that were in use.
    pub steps: Vec<ClockStep>,
    /// Messages of the control plane so far: one for each receiver.
    pub messages: u64,
}

fn address_of(device: usize) -> SocketAddr {
    let [.., high, low] = u32::try_from(device).unwrap_or(0).to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(10, 0, high, low).into(), PORT)
}

fn device_at(address: IpAddr) -> Option<usize> {
    match address {
        IpAddr::V4(v4) => Some(usize::from(v4.octets()[2]) << 8 | usize::from(v4.octets()[3])),
        IpAddr::V6(_) => None,
    }
}

impl Rig {
    /// A rig without devices on a network whose links follow `model`.
    #[must_use]
    pub fn new(model: LinkModel, seed: u64) -> Self {
        Self {
            now: Timestamp::ZERO,
            devices: Vec::new(),
            model,
            links: HashMap::new(),
            changes: 0,
            air: None,
            cut: BTreeSet::new(),
            events: BTreeMap::new(),
            count: 0,
            random: ChaCha8Rng::seed_from_u64(seed),
            seed,
            steps: Vec::new(),
            messages: 0,
        }
    }

    /// The rig on one channel that all its devices share.
    #[must_use]
    pub fn with_air(mut self, model: AirModel) -> Self {
        self.air = Some(Air::new(model, self.seed));
        self
    }

    /// From now on all links follow `model`: others use the channel, or the devices have moved to another.
    pub fn set_link(&mut self, model: LinkModel) {
        self.model = model;
        self.changes += 1;
        self.links.clear();
    }

    /// True time.
    #[must_use]
    pub const fn now(&self) -> Timestamp<Host> {
        self.now
    }

    /// Adds a device and starts it. Returns its index.
    ///
    /// # Panics
    /// If the text of its clock is none.
    pub fn add(&mut self, config: DeviceConfig) -> usize {
        let index = self.devices.len();
        let text = format!("{},offset={}s,seed={}", config.clock, 10 + index, self.seed + index as u64);
        let clock = Oscillator::new(text.parse().expect("the text of a clock"));
        self.devices.push(Device {
            config,
            clock,
            running: None,
            part: 0,
            life: 0,
            is_stopped: false,
            waiting: Vec::new(),
            wakes_at: Timestamp::ZERO,
            slept: Span::ZERO,
            asleep_since: None,
        });
        self.start(index);
        index
    }

    /// Starts a device that is off; it knows nothing.
    pub fn start(&mut self, index: usize) {
        let local = self.local(index);
        let [id, timescale, seed] = [self.random.random(), self.random.random(), self.random.random()];
        let identity = Identity { rig: RIG, device: id, timescale };
        let device = &mut self.devices[index];
        let true_wall = device.config.wall + (self.now - Timestamp::ZERO);
        let wall = true_wall - (local - Timestamp::ZERO);
        let path_offset = device.config.path_offset;
        let config = NodeConfig {
            device: format!("device-{index}"),
            identity,
            can_lead: device.config.can_lead,
            priority: device.config.priority,
            clock_class: 2,
            client: ClientConfig { rig: RIG, device: id, path_offset, ..ClientConfig::default() },
            named: false,
            wall,
            port: PORT,
        };
        let time = RigTime::unsynced(local, Timestamp::from_nanos(local.as_nanos()) + wall);
        let rate_limit = RequestLimit { burst: 100_000, per_second: 10_000 };
        let server = Server::new(ServerConfig { rate_limit, path_offset, ..ServerConfig::default() });
        device.running = Some(Running {
            node: Node::new(config, time, local, Seed::predictable(seed)),
            server,
            identity,
            asks: None,
        });
        device.life += 1;
        (device.is_stopped, device.waiting) = (false, Vec::new());
        self.carry_out(index);
    }

    /// The device loses power. `leaves`: it is stopped in good order, and says so.
    pub fn kill(&mut self, index: usize, leaves: bool) {
        if leaves && let Some(mut advert) = self.advert(index) {
            advert.kind = AdvertKind::Leaves;
            self.tell_all(index, &advert);
        }
        self.devices[index].running = None;
    }

    /// Starts it again at once, with another wall clock.
    pub fn reboot(&mut self, index: usize, wall: Span) {
        self.devices[index].config.wall = wall;
        self.kill(index, false);
        self.start(index);
    }

    /// The device does nothing (SIGSTOP), or goes on. What comes meanwhile waits in its sockets.
    pub fn stop(&mut self, index: usize, stopped: bool) {
        self.devices[index].is_stopped = stopped;
        if !stopped {
            for (at, event) in std::mem::take(&mut self.devices[index].waiting) {
                self.deliver(event, at);
            }
        }
    }

    /// The device falls asleep. It does nothing, its local clock stands still, and what comes is lost.
    pub fn sleep(&mut self, index: usize) {
        let device = &mut self.devices[index];
        (device.is_stopped, device.asleep_since) = (true, Some(self.now));
    }

    /// The device wakes up. Its boot-time clock was wrong by `error` over the sleep.
    pub fn wake(&mut self, index: usize, error: Span) {
        let device = &mut self.devices[index];
        let Some(since) = device.asleep_since.take() else { return };
        let slept = self.now - since;
        device.slept += slept;
        device.is_stopped = false;
        let local = self.local(index);
        if let Some(running) = &mut self.devices[index].running {
            running.node.handle_resume(slept + error, local);
        }
        self.carry_out(index);
    }

    /// Puts a device into a part of the network. Parts do not reach each other.
    pub fn move_to(&mut self, index: usize, part: usize) {
        self.devices[index].part = part;
    }

    /// From now on the time packets of two devices do not reach each other; their control plane does, through others.
    pub fn cut(&mut self, one: usize, two: usize) {
        self.cut.extend([(one, two), (two, one)]);
    }

    /// Part of the network that a device is in.
    #[must_use]
    pub fn part(&self, index: usize) -> usize {
        self.devices[index].part
    }

    /// Number of devices, with those that are off.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether there is no device.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Whether a device is on and not stopped.
    #[must_use]
    pub fn is_up(&self, index: usize) -> bool {
        self.devices[index].running.is_some() && !self.devices[index].is_stopped
    }

    /// Whether a device leads if it is elected.
    #[must_use]
    pub fn can_lead(&self, index: usize) -> bool {
        self.devices[index].config.can_lead
    }

    /// What its clock says now; `None` if it is off.
    #[must_use]
    pub fn reading(&self, index: usize) -> Option<Reading> {
        let status = self.devices[index].running.as_ref()?.node.time().status(self.local(index));
        Some(Reading {
            quality: status.quality,
            rig: status.rig_time_ns,
            uncertainty: status.uncertainty_ns,
            source: status.source.map(|source| (source.timescale, source.leader)),
            stratum: status.source.map_or(u8::MAX, |source| source.stratum),
        })
    }

    /// Rig time by a device's clock at the true time `at`, which is not later than now; `None` if it is off.
    #[must_use]
    pub fn rig_time(&self, index: usize, at: Timestamp<Host>) -> Option<Timestamp<RigDomain>> {
        let device = &self.devices[index];
        Some(device.running.as_ref()?.node.time().rig_at(device.read(at)))
    }

    /// The id of a device's time server; `None` if it is off.
    #[must_use]
    pub fn id(&self, index: usize) -> Option<u64> {
        Some(self.devices[index].running.as_ref()?.identity.device)
    }

    fn local(&self, index: usize) -> Timestamp<Local> {
        self.devices[index].read(self.now)
    }

    /// Advances true time by `span`.
    ///
    /// # Panics
    /// If a device wants to be called again and again at the same instant: as a process it would use a whole processor.
    pub fn run_for(&mut self, span: Span) {
        let end = self.now + span;
        let (mut instant, mut calls) = (self.now, 0);
        loop {
            calls = if self.now == instant { calls + 1 } else { 0 };
            instant = self.now;
            assert!(calls < MOST_CALLS, "time stands still at {instant:?}");
            let next = self.events.first_key_value().map_or(Timestamp::MAX, |((at, _), _)| *at);
            let wakes = self.devices.iter().enumerate().filter_map(|(index, device)| {
                (device.running.is_some() && !device.is_stopped).then_some((device.wakes_at, index))
            });
            let (wake, index) = wakes.min().unwrap_or((Timestamp::MAX, 0));
            if next.min(wake) > end {
                self.now = end;
                return;
            }
            self.now = next.min(wake).max(self.now);
            if wake < next {
                let local = self.local(index);
                if let Some(running) = &mut self.devices[index].running {
                    // The conversion of the clock rounds: do not call early.
                    running.node.handle_timeout(local.max(running.node.wake_at()));
                }
                self.carry_out(index);
            } else if let Some((_, event)) = self.events.pop_first() {
                let receiver = event.receiver();
                match self.devices[receiver].is_stopped {
                    true if self.devices[receiver].asleep_since.is_some() => {}
                    true => self.devices[receiver].waiting.push((self.now, event)),
                    false => self.deliver(event, self.now),
                }
            }
        }
    }

    /// A device gets what came at `at`.
    fn deliver(&mut self, event: Event, at: Timestamp<Host>) {
        let receiver = event.receiver();
        let (arrived, local) = (self.devices[receiver].read(at), self.local(receiver));
        let life = self.devices[receiver].life;
        let Some(running) = &mut self.devices[receiver].running else { return };
        match event {
            Event::Request { from, datagram, .. } => self.answer(receiver, from, &datagram, arrived),
            Event::Response { from, life: of, datagram, .. } if running.asks == Some(from) && of == life => {
                running.node.handle_datagram(&datagram, arrived);
            }
            Event::Response { .. } => {}
            Event::Advert { advert, .. } => running.node.handle_advert(*advert, local),
            Event::Question { from, .. } => {
                if let Some(advert) = self.advert(receiver).filter(|advert| advert.time.is_some()) {
                    self.send(receiver, from, |to| Event::Advert { to, advert: Box::new(advert) });
                }
            }
        }
        self.carry_out(receiver);
    }

    fn answer(&mut self, index: usize, from: usize, request: &Datagram, received: Timestamp<Local>) {
        let now = self.local(index);
        let Some(Running { node, server, identity, .. }) = &mut self.devices[index].running else { return };
        let address = address_of(from).ip();
        if let Ok((packet, _)) = ntp::decode(request)
            && let Some(field) = packet.rig
        {
            node.handle_client(address, &field, now);
        }
        let status = node.time().server_status(identity, now);
        let rig = |local: Timestamp<Local>| node.time().served_at(local);
        let response = server.handle_request(request, address, rig(received), rig(now + SERVING), &status);
        let Some(response) = response else { return };
        if let Some(token) = response.token {
            server.handle_sent(token, rig(now + SENDING));
        }
        let life = self.devices[from].life;
        let event = Event::Response { from: address_of(index), to: from, life, datagram: response.datagram };
        self.transmit((from, index), Direction::ToClient, SENDING, event);
    }

    /// Sends a time packet between the client and the server of `link`.
    fn transmit(&mut self, link: (usize, usize), direction: Direction, after: Span, event: Event) {
        if self.devices[link.0].part != self.devices[link.1].part || self.cut.contains(&link) {
            return;
        }
        let seed = self.seed ^ (link.0 as u64) << 32 ^ (link.1 as u64) << 48 ^ self.changes << 16;
        let sent = self.now + after;
        let (client, leader) = (self.devices[link.0].config.floors, self.devices[link.1].config.floors);
        let model = &self.model;
        let path = || Link::new(model.clone().between(leader, client), seed);
        let link = self.links.entry(link).or_insert_with(path);
        let delay = link.delay(direction, sent);
        let wait = self.air.as_mut().map_or(Span::ZERO, |air| air.wait(sent, delay));
        if let Some(delay) = delay {
            self.push(sent + wait + delay, event);
        }
    }

    fn push(&mut self, at: Timestamp<Host>, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    /// Sends a message of the control plane.
    fn send(&mut self, from: usize, to: usize, event: impl FnOnce(usize) -> Event) {
        if self.devices[from].part == self.devices[to].part {
            self.messages += 1;
            let delay = Span::from_micros(self.random.random_range(1_000..4_000));
            self.push(self.now + delay, event(to));
        }
    }

    fn advert(&self, index: usize) -> Option<TimeAdvert> {
        let advert = self.devices[index].running.as_ref()?.node.advert(self.local(index));
        Some(TimeAdvert { addresses: vec![address_of(index)], ..advert })
    }

    fn tell_all(&mut self, from: usize, advert: &TimeAdvert) {
        for to in (0..self.devices.len()).filter(|to| *to != from) {
            self.send(from, to, |to| Event::Advert { to, advert: Box::new(advert.clone()) });
        }
    }

    fn carry_out(&mut self, index: usize) {
        while let Some(action) = self.devices[index].running.as_mut().and_then(|it| it.node.poll_action()) {
            let local = self.local(index);
            let Some(running) = &mut self.devices[index].running else { return };
            match action {
                NodeAction::Connect(address) => running.asks = Some(address),
                NodeAction::Disconnect => running.asks = None,
                NodeAction::Send { datagram, token } => {
                    running.node.handle_sent(token, local);
                    let to = running.asks.and_then(|address| device_at(address.ip()));
                    if let Some(to) = to.filter(|to| *to < self.devices.len()) {
                        let event = Event::Request { from: index, to, datagram };
                        self.transmit((index, to), Direction::ToLeader, Span::ZERO, event);
                    }
                }
                NodeAction::Follow(update) => {
                    let adjustment = update.adjustment;
                    if let Some(Adjustment::Stepped { .. } | Adjustment::Began { .. }) = adjustment {
                        let step = |adjustment| ClockStep { at: self.now, device: index, adjustment };
                        self.steps.extend(adjustment.map(step));
                    }
                }
                NodeAction::Advertise => {
                    if let Some(advert) = self.advert(index) {
                        self.tell_all(index, &advert);
                    }
                }
                NodeAction::Ask => {
                    for to in (0..self.devices.len()).filter(|to| *to != index) {
                        self.send(index, to, |to| Event::Question { from: index, to });
                    }
                }
                NodeAction::Lead { .. }
                | NodeAction::LeaderAlive(..)
                | NodeAction::StandDown
                | NodeAction::Resolve
                | NodeAction::Refused { .. }
                | NodeAction::Answers(_)
                | NodeAction::TwoLeaders(_) => {}
            }
        }
        let device = &mut self.devices[index];
        if let Some(running) = &device.running {
            device.wakes_at = device.true_at(running.node.wake_at());
        }
    }
}
