//! Rigs of devices without cameras, on loopback, and the real binary to ask them.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use swsync_cli::testing::Ran;
use swsync_core::doctor::{Check, Diagnosis};
use swsync_core::frame::SyncState;
use swsync_core::frame::{FrameDetails, FrameInfo, LockState};
use swsync_core::grid::FrameGrid;
use swsync_core::key::RigKey;
use swsync_core::message::TimeScale;
use swsync_core::name::Name;
use swsync_core::order::{
    Acknowledgement, Answer, CommandOutcome, FrameOutcome, FrameRun, Order, OrderCommand, OrderRoster,
    TimeBasis,
};
use swsync_core::status::{ClockStatus, FrameStatus, Status, TimeScaleChange, TimeSource};
use swsync_core::time::{Span, Timestamp};
use swsync_rig::share::Share;
use swsync_rig::{DeviceHandler, Membership, Reply, RigConfig, Session, key_file};

/// What a device does with orders.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Saves every frame.
    Save,
    /// Saves the first frame and misses the others; all of them, if there is only one.
    Miss,
    /// Never answers.
    Hang,
    /// Answers for the frames ten seconds earlier.
    Stray,
}

/// Whose time a device has.
#[derive(Clone, Copy)]
pub struct OwnTime {
    pub timescale: u64,
    pub leader: u64,
    /// Whether it is the leader itself.
    pub leads: bool,
    /// How far its clock is ahead of that of other devices.
    pub ahead: Span,
    pub change: Option<TimeScaleChange>,
}

impl OwnTime {
    fn source(self) -> TimeSource {
        let Self { timescale, leader, leads, .. } = self;
        TimeSource { stratum: u8::from(!leads), leader, timescale, least_delay_ns: Span::ZERO }
    }
}

/// A device's side of the control plane.
pub struct Handler {
    id: Name,
    does: Does,
    quality: SyncState,
    time: Mutex<Option<OwnTime>>,
    orders: Mutex<Vec<Order>>,
    held: Mutex<Vec<Reply>>,
    /// What it finds wrong with itself, if it examines itself at all.
    checks: Mutex<Option<Vec<Check>>>,
    examined: AtomicUsize,
}

/// Rig time is far from the host's, so that a test notices which of them is used.
const RIG_EPOCH: Timestamp<swsync_core::time::Rig> = Timestamp::from_nanos(1_900_000_000_000_000_000);

fn frame(number: u64) -> FrameInfo {
    FrameInfo {
        clock_uncertainty_ns: Some(Span::from_micros(21)),
        sync: SyncState::Synced,
        lock: Some(LockState::Locked),
        details: FrameDetails {
            exposure_reference_error_ns: Some(Span::from_micros(15)),
            stamp_error_ns: Some(Span::from_micros(5)),
            ..FrameDetails::default()
        },
        ..FrameInfo::new(number, grid().instant(number) + Span::from_micros(-4), Span::from_micros(-4))
    }
}

fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).unwrap()
}

impl Handler {
    fn outcome(&self, index: u64, number: u64, order: &Order, count: u64) -> FrameOutcome {
        if self.does == Does::Miss && (index > 0 || count == 1) {
            return FrameOutcome::Missed { why: "the camera dropped this frame".into() };
        }
        FrameOutcome::Saved {
            file: format!("{}/{}/{number}.jpg", order.id(), self.id),
            bytes: 1234,
            info: frame(number),
        }
    }
}

impl DeviceHandler for Handler {
    fn handle_order(&self, order: Order, reply: Reply) {
        self.orders.lock().unwrap().push(order.clone());
        if self.does == Does::Hang {
            self.held.lock().unwrap().push(reply);
            return;
        }
        let time = *self.time.lock().unwrap();
        let timescale = time.map(|time| TimeScale(time.timescale));
        let named = match self.does {
            Does::Stray => {
                let at = order.at() - Span::from_secs(10);
                Order::new(order.id().clone(), at, order.stop(), order.kind()).unwrap().named(grid())
            }
            Does::Save | Does::Miss | Does::Hang => order.named(grid()),
        };
        let count = named.count().expect("this device knows no orders without an end");
        let frames = named.iter().expect("it has an end").zip(0..);
        let frames = frames
            .map(|(number, index)| FrameRun::one(number, self.outcome(index, number, &order, count)))
            .collect();
        reply.send(&Answer {
            order: order.id().clone(),
            device: self.id.clone(),
            frames,
            unnumbered: None,
            unfinished: None,
            basis: TimeBasis { rate: Some(grid()), timescale },
        });
    }

    fn handle_command(&self, command: &OrderCommand) -> Acknowledgement {
        Acknowledgement {
            order: command.order().clone(),
            device: self.id.clone(),
            outcome: CommandOutcome::Unknown,
        }
    }

    fn registry(&self) -> OrderRoster {
        OrderRoster::default()
    }

    fn status(&self) -> Status {
        let number = grid().nearest(RIG_EPOCH);
        let time = *self.time.lock().unwrap();
        Status {
            clock: Some(ClockStatus {
                quality: self.quality,
                rig_time_ns: RIG_EPOCH + time.map_or(Span::ZERO, |time| time.ahead),
                offset_ns: Span::from_millis(1500),
                uncertainty_ns: Some(Span::from_micros(21)),
                skew_ppm: 0.5,
                round_trip_ns: None,
                source: time.map(OwnTime::source),
                server: None,
                path_offset_ns: Span::ZERO,
            }),
            frames: Some(FrameStatus {
                newest: frame(number),
                rate: grid(),
                bytes_per_second: 3_000_000,
                ring_frames: 61,
                ring_bytes: 6_000_000,
                oldest: number - 60,
                latency_ns: Span::ZERO,
            }),
            saved: 5,
            timescale_change: time.and_then(|time| time.change),
            ..Status::new(self.id.clone(), "test")
        }
    }

    fn diagnose(&self) -> Option<Diagnosis> {
        let checks = self.checks.lock().unwrap().clone()?;
        self.examined.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(300)); // as a disk takes
        Some(Diagnosis { device: None, host: "host-of-device".into(), software: "test".into(), checks })
    }
}

/// A device in a rig.
pub struct Device {
    handler: Arc<Handler>,
    membership: Membership,
}

impl Device {
    /// Shares its takes below `root`.
    pub fn share(&self, root: &std::path::Path) -> Share {
        let session = self.membership.session();
        Share::open(session, self.handler.id.clone(), root.to_owned(), Box::new(|| None)).unwrap()
    }

    /// It examines itself from now on, and finds this.
    pub fn set_checks(&self, checks: Vec<Check>) {
        *self.handler.checks.lock().unwrap() = Some(checks);
    }

    /// How often it has examined itself.
    pub fn examined(&self) -> usize {
        self.handler.examined.load(Ordering::Relaxed)
    }

    /// Its clock has this time from now on.
    pub fn set_time(&self, time: OwnTime) {
        *self.handler.time.lock().unwrap() = Some(time);
    }

    pub fn orders(&self) -> Vec<Order> {
        self.handler.orders.lock().unwrap().clone()
    }
}

/// A rig with a port of its own.
pub struct Rig {
    pub name: String,
    pub endpoint: String,
    devices: Vec<Device>,
    /// The rig's key, and the folder with its file.
    key: Option<(RigKey, tempfile::TempDir)>,
}

const KEY_FILE: &str = "rig.key";

static RIGS: AtomicU32 = AtomicU32::new(0);

impl Rig {
    pub fn new() -> Self {
        let free = swsync_rig::free_loopback().unwrap();
        let name = format!("rig-{}-{}", std::process::id(), RIGS.fetch_add(1, Ordering::Relaxed));
        Self { name, endpoint: format!("tcp/{free}"), devices: Vec::new(), key: None }
    }

    /// A rig with a key, which the command is told of too.
    pub fn keyed() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = key_file::create(folder.path().join(KEY_FILE)).unwrap();
        Self { key: Some((key, folder)), ..Self::new() }
    }

    pub fn with(self, id: &str, does: Does) -> Self {
        self.with_clock(id, does, SyncState::Synced)
    }

    /// Adds a device. The others connect to the first one.
    pub fn with_clock(mut self, id: &str, does: Does, quality: SyncState) -> Self {
        let endpoint = vec![self.endpoint.clone()];
        let (listen, connect) =
            if self.devices.is_empty() { (endpoint, Vec::new()) } else { (Vec::new(), endpoint) };
        let key = self.key.as_ref().map(|(key, _)| key.clone());
        let config = RigConfig::new(Name::new(&self.name).unwrap(), listen, connect).with_key(key);
        let id = Name::new(id).unwrap();
        let handler = Arc::new(Handler {
            id: id.clone(),
            does,
            quality,
            time: Mutex::default(),
            orders: Mutex::default(),
            held: Mutex::default(),
            checks: Mutex::default(),
            examined: AtomicUsize::new(0),
        });
        let membership = Session::open_unshared(&config).unwrap().join(id, handler.clone()).unwrap();
        self.devices.push(Device { handler, membership });
        self
    }

    /// Adds a device that saves everything, with this time.
    pub fn with_time(self, id: &str, time: OwnTime) -> Self {
        let quality = if time.leads { SyncState::Leading } else { SyncState::Synced };
        let rig = self.with_clock(id, Does::Save, quality);
        rig.devices.last().expect("just added").set_time(time);
        rig
    }

    pub fn device(&self, index: usize) -> &Device {
        &self.devices[index]
    }

    /// The command, set up for this rig.
    pub fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = swsync(args);
        command.env("SWSYNC_RIG", &self.name).env("SWSYNC_CONNECT", &self.endpoint);
        if let Some((_, folder)) = &self.key {
            command.env("SWSYNC_KEY_FILE", folder.path().join(KEY_FILE));
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }
}

/// The command.
pub fn swsync(args: &[&str]) -> std::process::Command {
    swsync_cli::testing::command(env!("CARGO_BIN_EXE_swsync"), args)
}

/// Generous: only a failing test waits this long.
pub const TIMEOUT: Duration = Duration::from_secs(30);
