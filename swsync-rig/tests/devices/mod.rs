//! Devices that answer orders without a camera, and rigs on loopback.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use swsync_core::frame::SyncState;
use swsync_core::frame::{FrameInfo, LockState};
use swsync_core::grid::FrameGrid;
use swsync_core::name::{DeviceId, Name};
use swsync_core::order::{
    Acknowledgement, Answer, CommandOutcome, FrameOutcome, FrameRun, Order, OrderCommand, OrderRoster,
    TimeBasis,
};
use swsync_core::place::{DevicePlace, PlaceChange, PlaceReply};
use swsync_core::status::{ClockStatus, Status};
use swsync_core::thumbnail::{ThumbnailReply, ThumbnailRequest};
use swsync_core::time::{Span, Timestamp};
use swsync_rig::{ControlError, DeviceHandler, Membership, Reply, RigConfig, Session};
use zenoh::Wait;

pub fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

pub fn order(id: &str) -> Order {
    Order::still(name(id), Timestamp::from_nanos(1_800_000_000_000_000_000)).unwrap()
}

/// The handler of a device: remembers orders, and answers at once or when told to.
#[derive(Default)]
pub struct Handler {
    id: Option<DeviceId>,
    holding: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    orders: Vec<Order>,
    held: Vec<(Order, Reply)>,
    duplicates: usize,
    place: DevicePlace,
}

impl Handler {
    pub fn answering() -> Arc<Self> {
        Arc::default()
    }

    fn id(&self) -> DeviceId {
        self.id.clone().unwrap_or_else(|| name("unnamed"))
    }

    fn answer(&self, order: &Order) -> Answer {
        let grid = FrameGrid::new(30, 1).unwrap();
        let named = order.named(grid);
        let numbers = std::iter::successors(Some(named.first()), |number| named.next_from(number + 1));
        let frames = numbers.take(named.count().map_or(1, |count| usize::try_from(count).unwrap()));
        let saved = |number| {
            let info = FrameInfo { rig_time_ns: grid.instant(number), ..info(number) };
            FrameRun::one(number, FrameOutcome::Saved { file: format!("{number}.jpg"), bytes: 7, info })
        };
        let frames = frames.map(saved).collect();
        Answer {
            order: order.id().clone(),
            device: self.id(),
            frames,
            unnumbered: None,
            unfinished: None,
            basis: TimeBasis { rate: Some(grid), timescale: None },
        }
    }
}

fn info(number: u64) -> FrameInfo {
    FrameInfo {
        clock_uncertainty_ns: Some(Span::from_micros(20)),
        sync: SyncState::Synced,
        lock: Some(LockState::Locked),
        ..FrameInfo::new(number, Timestamp::from_nanos(1_800_000_000_000_000_000), Span::from_micros(3))
    }
}

impl DeviceHandler for Handler {
    fn handle_order(&self, order: Order, reply: Reply) {
        let mut state = self.state.lock().unwrap();
        state.orders.push(order.clone());
        if self.holding {
            state.held.push((order, reply));
        } else {
            drop(state);
            reply.send(&self.answer(&order));
        }
        self.changed.notify_all();
    }

    fn handle_command(&self, command: &OrderCommand) -> Acknowledgement {
        Acknowledgement {
            order: command.order().clone(),
            device: self.id(),
            outcome: CommandOutcome::Unknown,
        }
    }

    fn registry(&self) -> OrderRoster {
        OrderRoster::default()
    }

    fn status(&self) -> Status {
        Status {
            clock: Some(ClockStatus {
                quality: SyncState::Synced,
                rig_time_ns: Timestamp::from_nanos(1_800_000_000_000_000_000),
                offset_ns: Span::ZERO,
                uncertainty_ns: Some(Span::from_micros(20)),
                skew_ppm: 0.0,
                round_trip_ns: None,
                source: None,
                server: None,
                path_offset_ns: Span::ZERO,
            }),
            place: self.state.lock().unwrap().place.clone(),
            ..Status::new(self.id(), "test")
        }
    }

    fn handle_name(&self, change: PlaceChange, reply: Reply<PlaceReply>) {
        let mut state = self.state.lock().unwrap();
        state.place = change.apply(state.place.clone());
        reply.send(&PlaceReply { device: self.id(), place: state.place.clone() });
    }

    /// A picture as large as it may be for `a`; none of the others.
    fn handle_thumbnail(&self, request: ThumbnailRequest, reply: Reply<ThumbnailReply>) {
        if self.id() != name("a") {
            return reply.refuse("its frames are encoded video");
        }
        let jpeg = [&[0xff, 0xd8][..], &vec![b'\n'; usize::from(request.width) * 100]].concat();
        let (frame, at_ns) = (request.frame.unwrap_or(9), Timestamp::from_nanos(7));
        reply.send(&ThumbnailReply { device: self.id(), frame, at_ns, jpeg });
    }

    fn handle_duplicate(&self, error: &ControlError) {
        assert!(matches!(error, ControlError::DuplicateDevice { .. }), "{error}");
        self.state.lock().unwrap().duplicates += 1;
    }
}

/// A device in a rig.
pub struct Device {
    handler: Arc<Handler>,
    membership: Membership,
}

impl Device {
    /// A device that joins the rig of `config` and answers at once.
    pub fn joining(config: &RigConfig, id: &str) -> Self {
        Self::try_joining(config, id, false).unwrap()
    }

    fn try_joining(config: &RigConfig, id: &str, holding: bool) -> Result<Self, ControlError> {
        let handler = Arc::new(Handler { id: Some(name(id)), holding, ..Handler::default() });
        let session = Session::open_unshared(config)?;
        let membership = session.join(name(id), handler.clone())?;
        Ok(Self { handler, membership })
    }

    /// A device that never answers, in a process of its own.
    pub fn child(config: &RigConfig, id: &str) -> Child {
        Child::spawn(config, id)
    }

    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    pub fn orders(&self) -> Vec<Order> {
        self.handler.state.lock().unwrap().orders.clone()
    }

    pub fn duplicates(&self) -> usize {
        self.handler.state.lock().unwrap().duplicates
    }

    pub fn wait_for_order(&self, timeout: Duration) {
        let state = self.handler.state.lock().unwrap();
        let (_state, result) =
            self.handler.changed.wait_timeout_while(state, timeout, |state| state.orders.is_empty()).unwrap();
        assert!(!result.timed_out(), "no order came");
    }

    /// Answers the held orders.
    pub fn answer(&self) {
        let held = std::mem::take(&mut self.handler.state.lock().unwrap().held);
        for (order, reply) in held {
            reply.send(&self.handler.answer(&order));
        }
    }

    /// Drops the held orders, as an element that is stopped.
    pub fn drop_replies(&self) {
        self.handler.state.lock().unwrap().held.clear();
    }
}

/// A holding device in a process of its own, which can be killed.
pub struct Child {
    process: std::process::Child,
    output: std::io::Lines<BufReader<ChildStdout>>,
}

/// The arguments by which a test binary runs [`child_main`] as if it were a test.
const CHILD_TEST: &str = "child_main";

impl Child {
    fn spawn(config: &RigConfig, id: &str) -> Self {
        let mut process = std::process::Command::new(std::env::current_exe().unwrap())
            .args([CHILD_TEST, "--exact", "--nocapture"])
            .env("SWSYNC_TEST_CHILD", id)
            .env("SWSYNC_TEST_RIG", config.rig.as_str())
            .env("SWSYNC_TEST_LISTEN", config.listen.join(","))
            .env("SWSYNC_TEST_CONNECT", config.connect.join(","))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut child = Self { process, output };
        child.wait_for("joined");
        child
    }

    fn wait_for(&mut self, word: &str) {
        let found = self.output.any(|line| line.unwrap().contains(word));
        assert!(found, "the child ended without {word:?}");
    }

    pub fn wait_for_order(&mut self) {
        self.wait_for("ordered");
    }

    /// Stops it, like a process that hangs.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues it.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Kills it without notice.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill(); // fails if it is gone already
        let _ = self.process.wait();
    }
}

/// The process behind [`Child`]. It ends with its input, in case the test dies without killing it.
pub fn child_main() {
    let Ok(id) = std::env::var("SWSYNC_TEST_CHILD") else {
        return;
    };
    let list = |key| {
        let value = std::env::var(key).unwrap();
        value.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    let config = RigConfig::new(
        name(&std::env::var("SWSYNC_TEST_RIG").unwrap()),
        list("SWSYNC_TEST_LISTEN"),
        list("SWSYNC_TEST_CONNECT"),
    );
    let device = Device::try_joining(&config, &id, true).unwrap();
    println!("joined");
    device.wait_for_order(Duration::from_secs(60));
    println!("ordered");
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// A rig on loopback, with a port of its own.
pub struct Lab {
    rig: Name,
    endpoint: String,
    leader: Mutex<bool>,
}

static LABS: AtomicU32 = AtomicU32::new(0);

impl Lab {
    pub fn new() -> Self {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        Self::named(name(&format!("rig-{}-{number}", std::process::id())))
    }

    /// Another network with a rig of the same name.
    pub fn beside(other: &Self) -> Self {
        Self::named(other.rig.clone())
    }

    fn named(rig: Name) -> Self {
        let free = swsync_rig::free_loopback().unwrap();
        Self { rig, endpoint: format!("tcp/{free}"), leader: Mutex::new(false) }
    }

    pub fn rig(&self) -> &str {
        self.rig.as_str()
    }

    /// The configuration of the device that the others connect to.
    pub fn leading(&self) -> RigConfig {
        RigConfig::new(self.rig.clone(), vec![self.endpoint.clone()], Vec::new())
    }

    /// The configuration of all other devices.
    pub fn visiting(&self) -> RigConfig {
        RigConfig::new(self.rig.clone(), Vec::new(), vec![self.endpoint.clone()])
    }

    /// The first call returns the configuration of the device that the others connect to.
    fn config(&self) -> RigConfig {
        let mut leader = self.leader.lock().unwrap();
        if std::mem::replace(&mut *leader, true) { self.visiting() } else { self.leading() }
    }

    pub fn device(&self, id: &str) -> Device {
        self.try_device(id).unwrap()
    }

    pub fn try_device(&self, id: &str) -> Result<Device, ControlError> {
        Device::try_joining(&self.config(), id, false)
    }

    /// A device that answers only when told to.
    pub fn holding_device(&self, id: &str) -> Device {
        Device::try_joining(&self.config(), id, true).unwrap()
    }

    /// A device that never answers, in a process of its own.
    pub fn child(&self, id: &str) -> Child {
        Child::spawn(&self.config(), id)
    }

    /// A device that connects to the first one, even if it comes first.
    pub fn follower(&self, id: &str) -> Device {
        Device::joining(&self.visiting(), id)
    }

    pub fn visitor(&self) -> Arc<Session> {
        Session::visit(&self.visiting(), Duration::from_secs(30)).unwrap()
    }

    /// A session in both networks, which joins them.
    pub fn join_with(&self, other: &Self) -> Arc<Session> {
        let connect = vec![self.endpoint.clone(), other.endpoint.clone()];
        let config = RigConfig::new(self.rig.clone(), Vec::new(), connect);
        Session::open_unshared(&config).unwrap()
    }

    /// A program that uses Zenoh but is not swsync.
    pub fn stranger(&self) -> zenoh::Session {
        Self::raw(&[("connect/endpoints", &format!("[{:?}]", self.endpoint))])
    }

    /// One that listens at the address of the rig's first device.
    pub fn stranger_listening(&self) -> zenoh::Session {
        Self::raw(&[("listen/endpoints", &format!("[{:?}]", self.endpoint))])
    }

    fn raw(settings: &[(&str, &str)]) -> zenoh::Session {
        let mut config = zenoh::Config::default();
        let local = [("listen/endpoints", "[\"tcp/127.0.0.1:0\"]"), ("scouting/multicast/enabled", "false")];
        for (key, value) in local.iter().chain(settings) {
            config.insert_json5(key, value).unwrap();
        }
        zenoh::open(config).wait().unwrap()
    }
}
