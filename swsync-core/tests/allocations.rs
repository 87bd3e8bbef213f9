//! In steady operation, client and server of the time service and the aligner do not allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};

use swsync_core::align::{Aligner, AlignerConfig, SensorTiming};
use swsync_core::estimate::{EstimatorConfig, EstimatorKind};
use swsync_core::grid::FrameGrid;
use swsync_core::ntp::Key;
use swsync_core::time::{Local, Rig, Span, Timestamp};
use swsync_core::time_service::{
    Client, ClientAction, ClientConfig, Identity, Seed, Server, ServerConfig, ServerStatus,
};

thread_local! {
    /// Number of allocations of this thread; tests run in parallel.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn count() {
        // The counter is gone while its thread ends.
        let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
    }
}

// SAFETY: every call is forwarded to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// A client, its server and the path between them, in simulated time.
struct Pair {
    client: Client,
    server: Server,
    status: ServerStatus,
    now: Timestamp<Local>,
    state: u64,
    /// Updates of the client's clock.
    published: u64,
}

impl Pair {
    fn new(kind: EstimatorKind, secret: Option<&[u8]>) -> Self {
        let now = Timestamp::ZERO + Span::from_secs(1000);
        let key = secret.map(|secret| Key::new(7, secret).unwrap());
        let estimator = EstimatorConfig { kind, ..EstimatorConfig::default() };
        let server = ServerConfig { keys: key.iter().cloned().collect(), ..ServerConfig::default() };
        let identity = Identity { rig: 1, device: 2, timescale: 3 };
        Self {
            client: Client::new(
                ClientConfig { estimator, key, ..ClientConfig::default() },
                now,
                rig(now),
                Seed::predictable(5),
            ),
            server: Server::new(server),
            status: ServerStatus::leading(&identity, rig(now)),
            now,
            state: 9,
            published: 0,
        }
    }

    /// A random delay from 0.5 to 2.5 ms.
    fn delay(&mut self) -> Span {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        Span::from_nanos(500_000 + i64::try_from(self.state % 2_000_000).unwrap())
    }

    /// Runs `steps` exchanges.
    fn run(&mut self, steps: u32) {
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for _ in 0..steps {
            self.now = self.client.wake_at().max(self.now + Span::from_micros(1));
            self.client.handle_timeout(self.now);
            while let Some(action) = self.client.poll_action() {
                match action {
                    ClientAction::Send { datagram, token } => {
                        self.client.handle_sent(token, self.now);
                        let there = self.now + self.delay();
                        let left = there + Span::from_micros(20);
                        let received = rig(there);
                        let response =
                            self.server.handle_request(&datagram, from, received, received, &self.status);
                        let Some(response) = response else { continue };
                        if let Some(token) = response.token {
                            self.server.handle_sent(token, rig(left));
                        }
                        self.now = left + self.delay();
                        self.client.handle_datagram(&response.datagram, self.now);
                    }
                    ClientAction::Publish(_) => self.published += 1,
                    ClientAction::Refused(refusal) => panic!("{refusal}"),
                }
            }
        }
    }

    fn assert_steady(mut self) {
        self.run(3000);
        let before = (allocations(), self.published);
        self.run(3000);
        let published = self.published - before.1;
        assert_eq!(allocations() - before.0, 0, "in {published} exchanges");
        assert!(published > 2900, "{published}");
    }
}

/// The leader's clock is 5 s ahead and runs 20 ppm faster.
fn rig(local: Timestamp<Local>) -> Timestamp<Rig> {
    Timestamp::from_nanos(local.as_nanos() + 5_000_000_000 + local.as_nanos() / 50_000)
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(allocations() - before, 1);
}

#[test]
fn tracking_allocates_nothing() {
    Pair::new(EstimatorKind::Track, None).assert_steady();
}

#[test]
fn mean_and_min_allocate_nothing() {
    Pair::new(EstimatorKind::Mean, None).assert_steady();
    Pair::new(EstimatorKind::Min, None).assert_steady();
}

#[test]
fn authentication_allocates_nothing() {
    Pair::new(EstimatorKind::Min, Some(&[0x5a; 16])).assert_steady();
}

#[test]
fn a_frame_allocates_nothing() {
    let grid = FrameGrid::new(30, 1).unwrap();
    let sensor = SensorTiming {
        line_time_ns: 18_904.0,
        min_lines: 1112,
        max_lines: 65_535,
        nominal_lines: 1763,
        latency: 3,
        line_step: 1,
        exposure_margin: 4,
    };
    let mut aligner = Aligner::new(AlignerConfig::new(grid, sensor, Span::from_micros(20), 3));
    let before = allocations();
    for sequence in 1..2_000 {
        // The phase is far off at first. Some frames are lost, some stamps are late.
        let late = if sequence % 37 == 0 { 150 } else { 0 };
        let time =
            grid.instant(sequence) + Span::from_micros(if sequence < 1_000 { 9_000 } else { 5 } + late);
        if sequence % 101 != 0 {
            aligner.handle_frame(sequence, time);
        }
    }
    assert_eq!(allocations(), before);
}
