//! A rig of devices without cameras in this process, on loopback.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use swsync_client::testing::{device_take, frame, name, status};
use swsync_core::frame::SyncState;
use swsync_core::grid::FrameGrid;
use swsync_core::name::Name;
use swsync_core::order::{
    Acknowledgement, Answer, CommandOutcome, FrameOutcome, FrameRun, Order, OrderCommand, OrderRoster,
    TimeBasis,
};
use swsync_core::status::Status;
use swsync_core::time::{Rig as RigTime, Span, Timestamp};
use swsync_rig::share::Share;
use swsync_rig::{DeviceHandler, Membership, Reply, RigConfig, Session};
use tempfile::TempDir;

static RIGS: AtomicU32 = AtomicU32::new(0);

fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).unwrap()
}

/// This rig's time is the host's.
fn now() -> Timestamp<RigTime> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp::ZERO + Span::from(since)
}

/// A device that writes a file for each frame of an order, once it knows the order's end.
pub struct Handler {
    id: Name,
    root: PathBuf,
    open: Mutex<Vec<Order>>,
    /// What was done to orders, as devices remember it.
    commands: Mutex<Vec<OrderCommand>>,
    /// Replies of open orders: dropping one refuses the order.
    held: Mutex<Vec<Reply>>,
    quality: Mutex<SyncState>,
    /// It hangs: it does not say how it is.
    hangs: AtomicBool,
}

impl Handler {
    fn save(&self, order: &Order) -> Answer {
        let numbers: Vec<_> = order.named(grid()).iter().expect("it has an end").collect();
        if !numbers.is_empty() {
            device_take(&self.root, order.id().as_str(), self.id.as_str(), &numbers);
        }
        let run = |number: &u64| {
            let file = self.root.join(format!("{}/{}/{number:08}.jpg", order.id(), self.id));
            let file = file.to_str().unwrap().to_owned();
            FrameRun::one(*number, FrameOutcome::Saved { file, bytes: 11, info: frame(*number) })
        };
        Answer {
            order: order.id().clone(),
            device: self.id.clone(),
            frames: numbers.iter().map(run).collect(),
            unnumbered: None,
            unfinished: None,
            basis: TimeBasis { rate: Some(grid()), timescale: None },
        }
    }
}

impl DeviceHandler for Handler {
    fn handle_order(&self, order: Order, reply: Reply) {
        if order.ends_at(grid().period()).is_none() {
            self.open.lock().push(order);
            self.held.lock().push(reply);
            return;
        }
        self.open.lock().retain(|open| open.id() != order.id());
        reply.send(&self.save(&order));
    }

    fn handle_command(&self, command: &OrderCommand) -> Acknowledgement {
        self.commands.lock().push(command.clone());
        let mut open = self.open.lock();
        let order = command.order().clone();
        let known = open.iter_mut().find(|open| *open.id() == order);
        let outcome = if known.is_some() { CommandOutcome::Open } else { CommandOutcome::Unknown };
        match (known, command) {
            (Some(known), OrderCommand::Stop { at_ns, .. }) => known.stop_at(*at_ns),
            (Some(_), OrderCommand::Cancel { .. }) => open.retain(|open| *open.id() != order),
            (None, _) => {}
        }
        Acknowledgement { order, device: self.id.clone(), outcome }
    }

    fn registry(&self) -> OrderRoster {
        OrderRoster {
            orders: self.open.lock().clone(),
            commands: self.commands.lock().clone(),
            ..OrderRoster::default()
        }
    }

    fn status(&self) -> Status {
        while self.hangs.load(Ordering::Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let (mut status, now) = (status(self.id.as_str()), now());
        let clock = status.clock.as_mut().unwrap();
        (clock.rig_time_ns, clock.quality) = (now, *self.quality.lock());
        let frames = status.frames.as_mut().unwrap();
        frames.newest = frame(grid().nearest(now));
        frames.oldest = frames.newest.number - 60;
        status.open = Vec::new();
        status
    }
}

/// A device in the rig. Dropping it takes it out in good order.
pub struct Device {
    pub handler: Arc<Handler>,
    _share: Share,
    _membership: Membership,
    _disk: TempDir,
}

impl Device {
    pub fn set_quality(&self, quality: SyncState) {
        *self.handler.quality.lock() = quality;
    }

    /// From now on it hangs, or does not any more.
    pub fn hang(&self, hangs: bool) {
        self.handler.hangs.store(hangs, Ordering::Relaxed);
    }
}

/// A rig with a port of its own; the first device listens there.
pub struct TestRig {
    pub devices: Vec<Device>,
    name: Name,
    endpoint: String,
}

impl TestRig {
    pub fn new(ids: &[&str]) -> Self {
        let free = swsync_rig::free_loopback().unwrap();
        let name = name(&format!("client-{}-{}", std::process::id(), RIGS.fetch_add(1, Ordering::Relaxed)));
        let mut rig = Self { devices: Vec::new(), name, endpoint: format!("tcp/{free}") };
        ids.iter().for_each(|id| rig.add(id));
        rig
    }

    pub fn add(&mut self, id: &str) {
        let endpoint = vec![self.endpoint.clone()];
        let (listen, connect) =
            if self.devices.is_empty() { (endpoint, Vec::new()) } else { (Vec::new(), endpoint) };
        let session = Session::open_unshared(&RigConfig::new(self.name.clone(), listen, connect)).unwrap();
        let (disk, id) = (tempfile::tempdir().unwrap(), name(id));
        let share = Share::open(&session, id.clone(), disk.path().to_owned(), Box::new(|| None)).unwrap();
        let handler = Arc::new(Handler {
            id: id.clone(),
            root: disk.path().to_owned(),
            open: Mutex::default(),
            commands: Mutex::default(),
            held: Mutex::default(),
            quality: Mutex::new(SyncState::Synced),
            hangs: AtomicBool::new(false),
        });
        let membership = session.join(id, handler.clone()).unwrap();
        self.devices.push(Device { handler, _share: share, _membership: membership, _disk: disk });
    }

    /// How an operator reaches it.
    pub fn config(&self) -> RigConfig {
        RigConfig::new(self.name.clone(), Vec::new(), vec![self.endpoint.clone()])
    }
}
