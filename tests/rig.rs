//! Rigs of the shipped pipelines.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::Value;
use swsync_core::control::Status;
use swsync_core::frame::{LockState, SyncQuality};
use swsync_core::gap::Cause;
use swsync_core::order::{Fate, FrameRun};
use tempfile::TempDir;

use crate::process::{Ended, Process, built, command, free_endpoint, free_port, poll, source};

/// Whether it tells of frames that were lost because the machine is busy.
pub fn tells_of_drops(text: &str) -> bool {
    [Cause::Camera, Cause::Blocked, Cause::Stopped].iter().any(|cause| text.contains(cause.why()))
}

static MACHINE: RwLock<()> = RwLock::new(());
static RIGS: AtomicU32 = AtomicU32::new(0);

/// Cameras in real time want the machine to themselves; what has none may run beside its like.
enum Turn {
    Alone { _guard: RwLockWriteGuard<'static, ()> },
    Shared { _guard: RwLockReadGuard<'static, ()> },
}

/// A test's turn, its folder, and the addresses of its rig.
pub struct Lab {
    // dropped last to first in the struct below: the folder before the turn
    folder: TempDir,
    name: String,
    endpoint: Option<String>,
    port: u16,
    _turn: Turn,
}

impl Lab {
    /// With the machine to itself.
    pub fn alone() -> Self {
        // Poisoned by another test that failed.
        Self::new(Turn::Alone { _guard: MACHINE.write().unwrap_or_else(PoisonError::into_inner) })
    }

    /// Beside other tests.
    pub fn shared() -> Self {
        Self::new(Turn::Shared { _guard: MACHINE.read().unwrap_or_else(PoisonError::into_inner) })
    }

    fn new(turn: Turn) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            name: format!("e2e-{}-{}", std::process::id(), RIGS.fetch_add(1, Ordering::Relaxed)),
            endpoint: Some(free_endpoint()),
            port: free_port(),
            _turn: turn,
        }
    }

    /// The same, with devices that find each other by multicast.
    pub fn discovering(self) -> Self {
        Self { endpoint: None, ..self }
    }

    /// Where time is served.
    pub fn time_address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Name of the rig.
    pub fn rig_name(&self) -> &str {
        &self.name
    }

    /// Where the first device listens.
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_deref().expect("not of a lab with discovery")
    }

    /// A folder of this test; `shots` is where devices write.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The leader's pipeline, to be started.
    pub fn leader(&self) -> Pipeline<'_> {
        let endpoint = self.endpoint.as_ref().map(|endpoint| format!("listen={endpoint}"));
        let pipeline = Pipeline::new(self, "leader", endpoint);
        pipeline.clock(&format!("bind-address=127.0.0.1 port={}", self.port))
    }

    /// A client's pipeline, to be started.
    pub fn client(&self, name: &'static str) -> Pipeline<'_> {
        let endpoint = self.endpoint.as_ref().map(|endpoint| format!("connect={endpoint}"));
        let pipeline = Pipeline::new(self, name, endpoint);
        Pipeline { leader: Some(self.time_address()), ..pipeline }.clock("sync-timeout=60000000000")
    }

    /// A second leader in the same rig, which is a mistake.
    pub fn rival(&self, name: &'static str) -> Pipeline<'_> {
        let endpoint = self.endpoint.as_ref().map(|endpoint| format!("connect={endpoint}"));
        Pipeline::new(self, name, endpoint).clock(&format!("bind-address=127.0.0.1 port={}", free_port()))
    }

    /// A device of the same rig, listening at `endpoint`, that neither sees the others nor is seen by them until somebody
    /// connects to both.
    pub fn apart(&self, name: &'static str, endpoint: &str) -> Pipeline<'_> {
        let pipeline = Pipeline::new(self, name, Some(format!("listen={endpoint}")));
        pipeline.clock(&format!("bind-address=127.0.0.1 port={}", free_port()))
    }

    /// Starts the leader and `clients`, each with clock and camera of its own, and waits until all are
    /// ready.
    pub fn rig(&self, clients: &[&'static str]) -> Rig<'_> {
        let leader = self.leader().simulated(1);
        // The first is told where the leader is. The others find it, where it announces itself: on loopback
        // only with an endpoint.
        let clients = clients.iter().zip(2..).map(|(name, seed)| {
            let client = self.client(name).simulated(seed);
            if seed > 2 && self.endpoint.is_some() { client.unled() } else { client }
        });
        let devices = std::iter::once(leader).chain(clients).map(|p| p.start()).collect();
        let mut rig = Rig { lab: self, devices };
        rig.wait_until_ready(LockState::Locked);
        rig
    }
}

/// One of the shipped pipelines, with its environment.
pub struct Pipeline<'a> {
    lab: &'a Lab,
    name: &'static str,
    leader: Option<String>,
    environment: Vec<(&'static str, String)>,
    location: PathBuf,
    endpoint: Option<String>,
    frames: Option<&'static str>,
}

impl<'a> Pipeline<'a> {
    fn new(lab: &'a Lab, name: &'static str, endpoint: Option<String>) -> Self {
        let location = lab.path("shots");
        Self { lab, name, leader: None, environment: Vec::new(), location, endpoint, frames: None }
    }

    /// Its frames come from these elements, and not from the camera and encoder of the shipped pipelines.
    pub fn frames(self, elements: &'static str) -> Self {
        Self { frames: Some(elements), ..self }
    }

    /// Properties of `swsyncclock`, instead of those so far.
    pub fn clock(self, properties: &str) -> Self {
        self.env("SWSYNC_CLOCK", properties)
    }

    /// Properties of `swsyncsrc`, instead of those so far.
    pub fn camera(self, properties: &str) -> Self {
        self.env("SWSYNC_CAMERA", properties)
    }

    /// A camera, a crystal and a clock that are off, in their own way for each `seed`.
    pub fn simulated(self, seed: u8) -> Self {
        let sign = if seed.is_multiple_of(2) { 1.0 } else { -1.0 };
        let skew = sign * 12.0 * f64::from(seed);
        self.camera(&format!(
            "backend=simulated simulated-seed={seed} simulated-view={seed} simulated-skew-ppm={:.1}",
            -skew / 2.0
        ))
        .env("SWSYNC_SIMULATED_CLOCK", &format!("offset={seed}.25s,skew={skew:.1}ppm"))
    }

    /// The address of the leader, for a client.
    pub fn follow(self, leader: &str) -> Self {
        Self { leader: Some(leader.into()), ..self }
    }

    /// A client that is not told the leader's address, and so has to find it.
    pub fn unled(self) -> Self {
        self.follow("")
    }

    /// Where files go.
    pub fn location(self, location: &Path) -> Self {
        Self { location: location.into(), ..self }
    }

    /// An environment variable of the script.
    pub fn env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    pub fn start(self) -> Process {
        let endpoint = self.endpoint.unwrap_or_default();
        let rig = format!("rig={} {endpoint}", self.lab.name);
        let sink = format!("device-id={} location=\"{}\"", self.name, self.location.display());
        let mut command = match self.frames {
            None => {
                let script =
                    if self.leader.is_some() { "pipelines/client.sh" } else { "pipelines/leader.sh" };
                let mut command = command(source(script));
                command.args(&self.leader).env("SWSYNC_RIG", &self.lab.name).env("SWSYNC_SINK", sink);
                match endpoint.split_once('=') {
                    Some(("listen", at)) => drop(command.env("SWSYNC_LISTEN", at)),
                    Some((_, at)) => drop(command.env("SWSYNC_CONNECT", at)),
                    None => {}
                }
                command
            }
            Some(frames) => {
                let role =
                    self.leader.map_or("role=leader".to_owned(), |at| format!("role=client leader={at}"));
                let set = |name: &str| {
                    let found = self.environment.iter().rev().find(|(set, _)| *set == name);
                    found.map_or("", |(_, value)| value.as_str())
                };
                let camera = if frames.starts_with("swsyncsrc") { set("SWSYNC_CAMERA") } else { "" };
                let frames = frames.replacen("swsyncsrc", &format!("swsyncsrc {camera}"), 1);
                let clock = set("SWSYNC_CLOCK");
                let line = format!("swsyncclock {role} {rig} {clock} {frames} ! swsyncsink {rig} {sink}");
                let mut command = command("gst-launch-1.0");
                command.arg("-e").args(line.replace('"', "").split_whitespace());
                command
            }
        };
        command.envs(self.environment);
        Process::start(self.name, self.lab.folder.path(), &mut command)
    }
}

/// Running devices of one rig.
pub struct Rig<'a> {
    lab: &'a Lab,
    devices: Vec<Process>,
}

impl<'a> Rig<'a> {
    /// A rig of one, with a real camera or what passes for it.
    pub fn of(lab: &'a Lab, leader: Process) -> Self {
        Self { lab, devices: vec![leader] }
    }

    pub fn lab(&self) -> &Lab {
        self.lab
    }

    /// Devices that were started apart.
    pub fn with(lab: &'a Lab, devices: Vec<Process>) -> Self {
        Self { lab, devices }
    }

    /// One more device, which was started.
    pub fn add(&mut self, device: Process) {
        self.devices.push(device);
    }

    /// Takes the last device out of the test's care.
    pub fn take_last(&mut self) -> Process {
        self.devices.pop().expect("a rig has devices")
    }

    /// Until every device's clock is in rig time and its camera is in state `lock`.
    pub fn wait_until_ready(&mut self, lock: LockState) {
        poll("the rig is ready", || {
            self.devices.iter_mut().for_each(Process::assert_running);
            let statuses = self.statuses();
            let ready = |status: &Status| {
                let clock = status.clock.is_some_and(|clock| is_synced(clock.quality));
                clock && status.frames.as_ref().is_some_and(|frames| frames.newest.lock == Some(lock))
            };
            (statuses.len() == self.devices.len() && statuses.iter().all(ready)).then_some(())
        });
    }

    /// What the devices say of themselves now; of those who say something.
    pub fn statuses(&self) -> Vec<Status> {
        let ended = self.swsync(&["status", "--json"]).wait();
        let Ok(mut json) = serde_json::from_str::<Value>(&ended.out) else {
            return Vec::new(); // nobody is there yet
        };
        let devices = json["devices"].as_array_mut().unwrap();
        let said = devices.iter_mut().filter(|device| device["answered"] == true);
        said.map(|device| serde_json::from_value(device["status"].take()).unwrap()).collect()
    }

    /// The `swsync` command, started, to ask this rig.
    pub fn swsync(&self, args: &[&str]) -> Process {
        self.start(self.lab.endpoint.as_deref(), args)
    }

    /// As [`swsync`](Self::swsync), by the device that listens at `endpoint`.
    pub fn swsync_at(&self, endpoint: &str, args: &[&str]) -> Process {
        self.start(Some(endpoint), args)
    }

    fn start(&self, endpoint: Option<&str>, args: &[&str]) -> Process {
        let mut command = command(built("swsync"));
        command.args(args).args(["--rig", &self.lab.name]);
        if let Some(endpoint) = endpoint {
            command.args(["--connect", endpoint]);
        }
        // Several may run at once.
        let name = format!("swsync-{}-{}", args[0], RIGS.fetch_add(1, Ordering::Relaxed));
        Process::start(&name, self.lab.folder.path(), &mut command)
    }

    /// What `swsync shoot --json` says, and whether it was content.
    pub fn shoot(&self, args: &[&str]) -> Shot {
        let args: Vec<_> = ["shoot", "--json"].iter().chain(args).copied().collect();
        Shot::of(&self.swsync(&args).wait())
    }
}

fn is_synced(quality: SyncQuality) -> bool {
    matches!(quality, SyncQuality::Synced | SyncQuality::Leading)
}

/// What a frame's fate may be in a rig without fault.
pub fn is_saved_or_dropped(fate: &Fate) -> bool {
    match fate {
        Fate::Saved { .. } | Fate::Recorded(_) => true,
        Fate::Missed { why } => tells_of_drops(why),
        Fate::Failed { .. } | Fate::Partly { .. } => false,
    }
}

/// An order, and what came of it.
pub struct Shot {
    pub code: Option<i32>,
    pub order: String,
    /// Devices that answered, and their frames.
    pub answers: Vec<(String, Vec<FrameRun>)>,
}

/// A line for each frame would be too much to read.
impl fmt::Debug for Shot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, exit code {:?}", self.order, self.code)?;
        for (device, frames) in &self.answers {
            write!(f, "; {device}:")?;
            for frame in frames {
                let number = frame.first;
                match &frame.fate {
                    Fate::Saved { info, .. } => write!(f, " {number} {:?}", info.phase_error_ns)?,
                    Fate::Missed { why } => write!(f, " {number} MISSED {why}")?,
                    Fate::Failed { why } => write!(f, " {number} FAILED {why}")?,
                    Fate::Recorded(_) | Fate::Partly { .. } => write!(f, " {frame:?}")?,
                }
            }
        }
        Ok(())
    }
}

impl Shot {
    /// From the JSON of a `swsync shoot` that has ended.
    pub fn of(ended: &Ended) -> Self {
        let mut json: Value = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:#?}"));
        let order = json["order"].as_str().unwrap().to_owned();
        let devices = json["devices"].as_array_mut().unwrap().iter_mut();
        let answers = devices
            .filter(|device| device["outcome"] == "answered")
            .map(|device| {
                let name = device["device"].as_str().unwrap().to_owned();
                (name, serde_json::from_value(device["frames"].take()).unwrap())
            })
            .collect();
        Self { code: ended.code, order, answers }
    }

    /// Whether a camera has dropped a frame that it was to save.
    pub fn has_drops(&self) -> bool {
        let mut frames = self.answers.iter().flat_map(|(_, frames)| frames);
        frames.any(|frame| matches!(&frame.fate, Fate::Missed { .. }) && is_saved_or_dropped(&frame.fate))
    }

    pub fn frames(&self, device: &str) -> &[FrameRun] {
        let answer = self.answers.iter().find(|(name, _)| name == device);
        &answer.unwrap_or_else(|| panic!("no answer of {device} in {self:#?}")).1
    }
}
