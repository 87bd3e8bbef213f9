//! A rig of devices without cameras that save small real pictures, and the dashboard's program beside it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use image::RgbImage;
use swsync_cli::testing::{device_take, frame, status};
use swsync_core::exchanges::{ClockExchange, ClockExchanges};
use swsync_core::grid::FrameGrid;
use swsync_core::message::TimeScale;
use swsync_core::name::Name;
use swsync_core::order::{
    Acknowledgement, Answer, CommandOutcome, FrameOutcome, FrameRun, Order, OrderCommand, OrderRoster,
    TimeBasis,
};
use swsync_core::rig_date::RigDate;
use swsync_core::status::{Status, TimeSource};
use swsync_core::thumbnail::{ThumbnailReply, ThumbnailRequest};
use swsync_core::time::{Rig as RigTime, Span, Timestamp};
use swsync_rig::share::Share;
use swsync_rig::{DeviceHandler, Membership, Reply, RigConfig, Session, key_file};
use tempfile::TempDir;

static RIGS: AtomicU32 = AtomicU32::new(0);

/// The time scale of each device, in its status and in its answers.
const TIMESCALE: TimeScale = TimeScale(7);

fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).unwrap()
}

struct Handler {
    id: Name,
    root: PathBuf,
    /// Whether it says that it has a problem.
    is_troubled: AtomicBool,
    orders: Mutex<Vec<Order>>,
    /// How often it was asked for a small picture.
    looks: AtomicU32,
    /// Whether its values change as those of real devices do.
    varies: bool,
    /// What date it was told.
    date: Mutex<Option<RigDate>>,
}

fn rig_now() -> Timestamp<RigTime> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap())
}

impl DeviceHandler for Handler {
    fn handle_order(&self, order: Order, reply: Reply) {
        let named = order.named(grid());
        let Some(frames) = named.iter() else {
            // Goes on until it is stopped.
            self.orders.lock().unwrap().push(order);
            return reply.send(&self.answer(Vec::new()));
        };
        let numbers: Vec<_> = frames.collect();
        let folder = device_take(&self.root, order.id().as_str(), self.id.as_str(), &numbers);
        let picture = RgbImage::from_fn(640, 480, |x, y| {
            [u8::try_from(x % 256).unwrap(), u8::try_from(y % 256).unwrap(), 0].into()
        });
        for number in &numbers {
            picture.save(folder.join(format!("{number:08}.jpg"))).unwrap();
        }
        let saved = |number: &u64| {
            let file = format!("{}/{}/{number:08}.jpg", order.id(), self.id);
            FrameRun::one(*number, FrameOutcome::Saved { file, bytes: 1234, info: frame(*number) })
        };
        let answer = Answer { order: order.id().clone(), ..self.answer(numbers.iter().map(saved).collect()) };
        reply.send(&answer);
    }

    fn handle_command(&self, command: &OrderCommand) -> Acknowledgement {
        let mut orders = self.orders.lock().unwrap();
        let known = orders.iter_mut().find(|order| order.id() == command.order());
        let outcome = match (known, command) {
            (Some(order), OrderCommand::Stop { at_ns, .. }) => {
                order.stop_at(*at_ns);
                CommandOutcome::Open
            }
            (Some(_), OrderCommand::Cancel { .. }) => CommandOutcome::Answered,
            (None, _) => CommandOutcome::Unknown,
        };
        Acknowledgement { order: command.order().clone(), device: self.id.clone(), outcome }
    }

    /// A picture that is as wide as was asked for. Those whose number is odd have encoded video, and none.
    fn handle_thumbnail(&self, request: ThumbnailRequest, reply: Reply<ThumbnailReply>) {
        self.looks.fetch_add(1, Ordering::Relaxed);
        if self.id.as_str().ends_with(['1', '3', '5', '7', '9']) {
            return reply
                .refuse("its frames are video/x-h264, which nothing that is installed on it can show");
        }
        let mut jpeg = Vec::new();
        // Stripes, which are no camera's.
        let picture = RgbImage::from_fn(request.width.into(), u32::from(request.width) * 3 / 4, |x, y| {
            if (x + y) / 20 % 2 == 0 { [90, 110, 130].into() } else { [150, 165, 180].into() }
        });
        picture.write_with_encoder(image::codecs::jpeg::JpegEncoder::new(&mut jpeg)).unwrap();
        let (frame, at_ns) = (request.frame.unwrap_or_else(|| grid().nearest(rig_now())), rig_now());
        reply.send(&ThumbnailReply { device: self.id.clone(), frame, at_ns, jpeg });
    }

    /// cam0 leads.
    fn exchanges(&self) -> Option<ClockExchanges> {
        let (ago_ns, delay_ns, offset_ns) =
            (Span::from_millis(1_500), Span::from_micros(900), Span::from_micros(-12));
        let exchanges = vec![ClockExchange { ago_ns, delay_ns, offset_ns }];
        (self.id.as_str() != "cam0").then(|| ClockExchanges { device: self.id.clone(), exchanges })
    }

    fn registry(&self) -> OrderRoster {
        OrderRoster { orders: self.orders.lock().unwrap().clone(), ..OrderRoster::default() }
    }

    fn handle_date(&self, date: RigDate) -> Result<RigDate, String> {
        if self.is_troubled.load(Ordering::Relaxed) {
            return Err("its disk is on fire".into());
        }
        Ok(self.date.lock().unwrap().insert(date).clone())
    }

    fn status(&self) -> Status {
        let now = rig_now();
        let mut status = status(self.id.as_str());
        let clock = status.clock.as_mut().unwrap();
        clock.rig_time_ns = now;
        let least_delay_ns = Span::from_micros(900);
        clock.source = Some(TimeSource { stratum: 1, leader: 1, timescale: TIMESCALE.0, least_delay_ns });
        status.date = self.date.lock().unwrap().clone();
        status.open.clear();
        let frames = status.frames.as_mut().unwrap();
        frames.newest = frame(grid().nearest(now));
        if self.varies {
            self.vary(&mut status);
        }
        let frames = status.frames.as_mut().unwrap();
        frames.oldest = frames.newest.number - 60;
        if self.is_troubled.load(Ordering::Relaxed) {
            status.problems.push("its disk is on fire".into());
        }
        status
    }
}

impl Handler {
    /// Has all the values change that change on a real device from one second to the next.
    fn vary(&self, status: &mut Status) {
        // 64 bit of FNV-1a: the same for nobody else at no other time.
        let seed = format!("{}{}", self.id, rig_now().as_nanos());
        let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        let part = |shift: u32, most: i64| i64::try_from(hash >> shift & 0xfff).unwrap() * most / 0xfff;
        if let Some(clock) = &mut status.clock {
            clock.uncertainty_ns = Some(Span::from_nanos(8_000 + part(0, 9_000)));
            clock.round_trip_ns = Some(Span::from_nanos(900_000 + part(12, 2_000_000)));
        }
        if let Some(frames) = &mut status.frames {
            frames.newest.phase_error_ns = Span::from_nanos(part(24, 60_000) - 30_000);
            frames.newest.clock_uncertainty_ns = Some(Span::from_nanos(8_000 + part(0, 9_000)));
            frames.ring_bytes = usize::try_from(150_000_000 + part(30, 9_000_000)).unwrap();
        }
        if let Some(host) = &mut status.host {
            host.temperature_celsius = Some(if part(40, 9) > 4 { 51.0 } else { 52.0 });
            host.cpu_load = Some(if part(44, 9) > 4 { 0.31 } else { 0.37 });
        }
        status.recording_left_ns = Some(Span::from_secs(7_200 - part(46, 20)));
    }

    fn answer(&self, frames: Vec<FrameRun>) -> Answer {
        Answer {
            order: self.id.clone(),
            device: self.id.clone(),
            frames,
            unnumbered: None,
            unfinished: None,
            basis: TimeBasis { rate: Some(grid()), timescale: Some(TIMESCALE) },
        }
    }
}

struct Device {
    handler: Arc<Handler>,
    // Dropped first: it shares the session's files.
    _share: Share,
    _membership: Membership,
}

/// A rig that ends with the test.
pub struct Rig {
    pub name: String,
    endpoint: String,
    devices: Vec<Device>,
    key: Option<PathBuf>,
    folder: TempDir,
}

impl Rig {
    pub fn new(count: usize) -> Self {
        Self::start(count, false, false)
    }

    /// Devices whose values change as those of real ones do.
    pub fn varying(count: usize) -> Self {
        Self::start(count, false, true)
    }

    pub fn keyed(count: usize) -> Self {
        Self::start(count, true, false)
    }

    fn start(count: usize, is_keyed: bool, varies: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = format!("tcp/{}", swsync_rig::free_loopback().unwrap());
        let name = format!("dash-{}-{}", std::process::id(), RIGS.fetch_add(1, Ordering::Relaxed));
        let path = folder.path().join("rig.key");
        let key = is_keyed.then(|| key_file::create(&path).unwrap());
        let mut devices = Vec::new();
        for index in 0..count {
            let (listen, connect) = match index {
                0 => (vec![endpoint.clone()], Vec::new()),
                _ => (Vec::new(), vec![endpoint.clone()]),
            };
            let config = RigConfig::new(Name::new(&name).unwrap(), listen, connect).with_key(key.clone());
            let id = Name::new(format!("cam{index}")).unwrap();
            let root = folder.path().join(id.as_str());
            std::fs::create_dir(&root).unwrap();
            let is_troubled = AtomicBool::new(false);
            let handler = Arc::new(Handler {
                id: id.clone(),
                root: root.clone(),
                is_troubled,
                orders: Mutex::default(),
                looks: AtomicU32::new(0),
                date: Mutex::default(),
                varies,
            });
            let membership =
                Session::open_unshared(&config).unwrap().join(id.clone(), handler.clone()).unwrap();
            let share = Share::open(membership.session(), id, root, Box::new(|| None)).unwrap();
            devices.push(Device { handler, _share: share, _membership: membership });
        }
        Self { name, endpoint, devices, key: is_keyed.then_some(path), folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn set_trouble(&self, device: usize, is_troubled: bool) {
        self.devices[device].handler.is_troubled.store(is_troubled, Ordering::Relaxed);
    }

    /// How often a device was asked for a small picture.
    pub fn looks(&self, device: usize) -> u32 {
        self.devices[device].handler.looks.load(Ordering::Relaxed)
    }

    /// Ends the last device, as when it is switched off.
    pub fn lose_one(&mut self) {
        drop(self.devices.pop().unwrap());
    }

    /// The dashboard of this rig.
    pub fn dashboard(&self, args: &[&str]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_swsync-dashboard"));
        command.args(["dashboard", "--json", "--listen", "127.0.0.1:0"]).args(args);
        if !args.contains(&"--every") {
            command.args(["--every", "200ms"]);
        }
        command.env("SWSYNC_RIG", &self.name).env("SWSYNC_CONNECT", &self.endpoint);
        command.env("SWSYNC_CONFIG", "/dev/null").env("XDG_CONFIG_HOME", self.path("config"));
        if let Some(key) = &self.key {
            command.env("SWSYNC_KEY_FILE", key);
        }
        Program::start(&mut command)
    }
}

/// The program, which is killed on drop.
pub struct Program {
    child: Child,
    pub url: String,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let document: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        Self { child, url: document["url"].as_str().unwrap().to_owned() }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        self.url.split("://").nth(1).unwrap().split('/').next().unwrap()
    }

    /// The token in its address.
    pub fn token(&self) -> Option<&str> {
        self.url.split_once("#token=").map(|(_, token)| token)
    }

    /// Processor time that it has used so far, in seconds.
    pub fn processor_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(Path::new("/proc").join(self.child.id().to_string()).join("stat"))
            .unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // proc(5): utime and stime, in hundredths of a second on all that Linux runs on.
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Calls `look` until it returns something.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed().as_secs() < 60, "waited in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
}
