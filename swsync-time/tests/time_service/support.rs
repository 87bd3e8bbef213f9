//! Leaders, clients and time sources for the tests.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use swsync_core::frame::SyncState;
use swsync_core::leap::LeapNotice;
use swsync_core::ntp::{Key, Keys};
use swsync_core::time::{Span, Timestamp};
use swsync_core::time_service::{ClientConfig, ServerConfig};
use swsync_time::{
    Authority, ClockEvent, DeviceClock, Reference, ReferenceConfig, ReferenceFollower, ReferenceReading,
    RigClock, TimeClientStats, TimeLeader, TimeLeaderConfig, TimeNode, new_identity,
};

/// Only a failing test waits this long.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until `done`, which `what` describes.
pub fn wait_until(what: &str, state: impl Fn() -> String, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < TIMEOUT, "not within {TIMEOUT:?}: {what}; {}", state());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A client with a short burst: these tests do not need its accuracy.
pub fn config() -> ClientConfig {
    ClientConfig { burst: 24, ..ClientConfig::default() }
}

/// Key number `id`; `secret` distinguishes keys of one number.
pub fn key(id: u32, secret: u8) -> Key {
    Key::new(id, &[secret; 16]).unwrap()
}

/// Reports that a test, or a part of one, is skipped. The harness would swallow println!.
pub fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}"); // stderr may be closed
}

/// Whether this machine has IPv6, at least on loopback. If not, reports what is skipped.
pub fn has_ipv6(what: &str) -> bool {
    let has = UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        skipped(&format!("{what}: this machine has no IPv6"));
    }
    has
}

/// A free UDP port.
pub fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A free port at a loopback address of this test's own, so that no other test's leader takes it over.
pub fn own_address() -> SocketAddr {
    static ADDRESSES: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(127, 64 | high, low, ADDRESSES.fetch_add(1, Ordering::Relaxed));
    UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap()
}

pub struct Leader {
    pub service: TimeLeader,
    pub clock: Arc<RigClock>,
    pub authority: Authority,
    /// The client by which it follows another leader, if it does.
    pub client: Option<Client>,
    pub events: Arc<Mutex<Vec<ClockEvent>>>,
    _follower: Option<ReferenceFollower>,
}

fn start(address: &str, clock: &Arc<RigClock>, authority: Authority, keys: Keys) -> TimeLeader {
    let config = TimeLeaderConfig {
        address: address.parse().unwrap(),
        authority,
        identity: new_identity("test"),
        server: ServerConfig { keys, ..ServerConfig::default() },
    };
    TimeLeader::start(config, clock.clone()).unwrap()
}

pub fn device(seed: i64) -> Arc<DeviceClock> {
    let sign = if seed % 2 == 0 { 1 } else { -1 };
    Arc::new(DeviceClock::simulated(format!("offset={seed}.25s,skew={}ppm", sign * 20).parse().unwrap()))
}

impl Leader {
    fn new(service: TimeLeader, clock: Arc<RigClock>, authority: Authority) -> Self {
        Self { service, clock, authority, client: None, events: Arc::default(), _follower: None }
    }

    /// A leader that defines rig time.
    pub fn at(address: &str) -> Self {
        let clock = Arc::new(RigClock::new(device(2)));
        Self::new(start(address, &clock, Authority::Own, Keys::default()), clock, Authority::Own)
    }

    /// A leader that serves only clients with `key`.
    pub fn with_key(address: &str, key: &Key) -> Self {
        let clock = Arc::new(RigClock::new(device(2)));
        let keys = Keys::from_iter([key.clone()]);
        Self::new(start(address, &clock, Authority::Own, keys), clock, Authority::Own)
    }

    /// A leader that follows `upstream`, and serves that time.
    pub fn relaying(upstream: &Self, address: &str) -> Self {
        let leader = Self::relaying_address(upstream.address(), address);
        leader.client.as_ref().unwrap().wait_for(SyncState::Synced);
        leader
    }

    /// As [`Self::relaying`], of an address where there may be no leader.
    pub fn relaying_address(upstream: SocketAddr, address: &str) -> Self {
        let client = Client::of(&[upstream]);
        let clock = client.clock.clone();
        let service = start(address, &clock, Authority::Borrowed, Keys::default());
        Self { client: Some(client), ..Self::new(service, clock, Authority::Borrowed) }
    }

    /// A leader that follows a reference.
    pub fn by_reference(reference: &Rubidium, address: &str) -> Self {
        let clock = Arc::new(RigClock::new(reference.device.clone()));
        let events: Arc<Mutex<Vec<ClockEvent>>> = Arc::default();
        let seen = events.clone();
        let follower = ReferenceFollower::start(
            reference.clone(),
            &ReferenceConfig::default(),
            clock.clone(),
            move |event| seen.lock().unwrap().push(event),
        )
        .unwrap();
        let service = start(address, &clock, Authority::Borrowed, Keys::default());
        Self { events, _follower: Some(follower), ..Self::new(service, clock, Authority::Borrowed) }
    }

    /// Makes it define rig time from now on, at the same address.
    pub fn promoted(self) -> Self {
        let address = self.address().to_string();
        let Self { service, clock, client, .. } = self;
        drop(client);
        drop(service);
        Self::new(start(&address, &clock, Authority::Own, Keys::default()), clock, Authority::Own)
    }

    pub fn address(&self) -> SocketAddr {
        self.service.local_addr()
    }

    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        wait_until(what, || format!("{:?}", self.service.stats()), || done(self));
    }
}

pub struct Client {
    pub clock: Arc<RigClock>,
    service: Arc<Mutex<Option<TimeNode>>>,
    events: Arc<Mutex<Vec<ClockEvent>>>,
}

impl Client {
    fn start(servers: Vec<String>, client: ClientConfig) -> Self {
        let clock = Arc::new(RigClock::new(device(3)));
        let events: Arc<Mutex<Vec<ClockEvent>>> = Arc::default();
        let seen = events.clone();
        let on_event = move |event| seen.lock().unwrap().push(event);
        let service = TimeNode::follow(servers, client, clock.clone(), on_event).unwrap();
        Self { clock, service: Arc::new(Mutex::new(Some(service))), events }
    }

    pub fn of(addresses: &[SocketAddr]) -> Self {
        Self::with(addresses, config())
    }

    pub fn with(addresses: &[SocketAddr], client: ClientConfig) -> Self {
        Self::start(addresses.iter().map(SocketAddr::to_string).collect(), client)
    }

    pub fn named(names: &[&str]) -> Self {
        Self::start(names.iter().map(|&name| name.into()).collect(), config())
    }

    /// A client that is dropped by the handler of its own first event.
    pub fn ending_itself(leader: &Leader) -> Self {
        let clock = Arc::new(RigClock::new(device(3)));
        let service: Arc<Mutex<Option<TimeNode>>> = Arc::default();
        let own = service.clone();
        let servers = vec![leader.address().to_string()];
        let mut slot = service.lock().unwrap();
        let client = TimeNode::follow(servers, config(), clock.clone(), move |_| {
            drop(own.lock().unwrap().take());
        });
        *slot = Some(client.unwrap());
        drop(slot);
        Self { clock, service, events: Arc::default() }
    }

    pub fn has_ended(&self) -> bool {
        self.service.lock().unwrap().is_none()
    }

    pub fn stats(&self) -> TimeClientStats {
        self.service.lock().unwrap().as_ref().unwrap().stats()
    }

    pub fn progress(&self) -> String {
        self.stats().progress.to_string()
    }

    pub fn take_events(&self) -> Vec<ClockEvent> {
        std::mem::take(&mut self.events.lock().unwrap())
    }

    pub fn wait_until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let state = || format!("{:?}", self.service.lock().unwrap().as_ref().map(TimeNode::stats));
        wait_until(what, state, || done(self));
    }

    pub fn wait_for(&self, quality: SyncState) {
        self.wait_until(&format!("the clock is {}", quality.as_str()), |client| {
            client.clock.quality() == quality
        });
    }

    /// Waits until its time is the leader's, within half a round trip of a busy machine.
    pub fn assert_agrees(&self, leader: &Leader) {
        self.wait_until("the client agrees with its leader", |client| {
            let before = leader.clock.now();
            let between = client.clock.now();
            let after = leader.clock.now();
            (before - Span::from_micros(500)..after + Span::from_micros(500)).contains(&between)
        });
    }
}

/// An address where a socket listens and never answers.
pub struct Silent(UdpSocket);

impl Silent {
    pub fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Number of datagrams received since the last call.
    pub fn heard(&self) -> usize {
        std::iter::from_fn(|| self.0.recv(&mut [0; 1024]).ok()).count()
    }
}

/// A reference with a time of its own, 20 ppm fast.
#[derive(Clone)]
pub struct Rubidium {
    pub device: Arc<DeviceClock>,
    begun: Timestamp<swsync_core::time::Local>,
    lost: Arc<Mutex<Option<String>>>,
    /// The sum of its steps, in ns.
    stepped: Arc<AtomicI64>,
    /// Its stated uncertainty, in ns.
    uncertainty: Arc<AtomicI64>,
    reads: Arc<AtomicU32>,
    last: Arc<AtomicI64>,
}

impl Default for Rubidium {
    fn default() -> Self {
        let device = Arc::new(DeviceClock::real());
        let begun = device.now();
        Self {
            device,
            begun,
            lost: Arc::default(),
            stepped: Arc::default(),
            uncertainty: Arc::new(AtomicI64::new(1_000)),
            reads: Arc::default(),
            last: Arc::default(),
        }
    }
}

impl Rubidium {
    pub fn now(&self) -> i64 {
        let elapsed = (self.device.now() - self.begun).as_nanos();
        1_600_000_000_000_000_000 + elapsed + elapsed / 50_000 + self.stepped.load(Ordering::Relaxed)
    }

    pub fn step(&self, by: Span) {
        self.stepped.fetch_add(by.as_nanos(), Ordering::Relaxed);
    }

    pub fn set_uncertainty(&self, uncertainty: Span) {
        self.uncertainty.store(uncertainty.as_nanos(), Ordering::Relaxed);
    }

    pub fn lose(&self, why: &str) {
        *self.lost.lock().unwrap() = Some(why.into());
    }
}

impl Reference for Rubidium {
    fn read(&mut self) -> Option<ReferenceReading> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let before = self.device.now();
        let reference = self.now();
        self.last.store(reference, Ordering::Relaxed);
        let unsynced = self.lost.lock().unwrap().clone();
        Some(ReferenceReading {
            leap: LeapNotice::None,
            before,
            reference: Timestamp::from_nanos(reference),
            after: self.device.now(),
            uncertainty: Span::from_nanos(self.uncertainty.load(Ordering::Relaxed)),
            unsynced,
        })
    }

    fn describe(&self) -> String {
        "the rubidium standard".into()
    }

    fn id(&self) -> [u8; 4] {
        *b"RUBI"
    }
}
