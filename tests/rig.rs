//! Starts rigs of the shipped pipelines, and asks them with the `swsync` command.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::Value;
use swsync_core::frame::LockState;
use swsync_core::gap::GapCause;
use swsync_core::order::{FrameOutcome, FrameRun};
use swsync_core::status::Status;
use tempfile::TempDir;

use crate::process::{
    COMMAND_TIMEOUT, Ended, Process, built, command, free_endpoint, free_port, poll, source,
};

/// Returns whether `text` reports frames that were lost because the machine is busy.
pub fn mentions_drops(text: &str) -> bool {
    [GapCause::Camera, GapCause::Blocked, GapCause::Stopped].iter().any(|cause| text.contains(cause.why()))
}

/// A pipeline with pictures so small that any machine keeps up, in place of those of the sizes that are shipped.
pub fn small(pipeline: &str) -> String {
    let sizes = ["4056,height=3040", "1920,height=1080", "1280,height=720"];
    sizes.iter().fold(pipeline.to_owned(), |text, size| {
        text.replace(&format!("width={size}"), "width=320,height=240")
    })
}

static MACHINE: RwLock<()> = RwLock::new(());
static RIGS: AtomicU32 = AtomicU32::new(0);

/// Cameras in real time need the machine to themselves. Tests without cameras may run side by side.
enum MachineLock {
    Exclusive { _guard: RwLockWriteGuard<'static, ()> },
    Shared { _guard: RwLockReadGuard<'static, ()> },
}

/// What one test needs to run a rig: the right to use the machine, a folder, and free addresses.
pub struct TestBed {
    // Fields are dropped in this order: the folder before the lock.
    folder: TempDir,
    name: String,
    endpoint: Option<String>,
    port: u16,
    /// The file of the rig's key, if it has one.
    key: Option<PathBuf>,
    _lock: MachineLock,
}

impl TestBed {
    /// Waits until no other test uses the machine, and keeps it.
    pub fn exclusive() -> Self {
        // Poisoned if another test failed.
        Self::new(MachineLock::Exclusive { _guard: MACHINE.write().unwrap_or_else(PoisonError::into_inner) })
    }

    /// Shares the machine with other tests that do the same.
    pub fn shared() -> Self {
        Self::new(MachineLock::Shared { _guard: MACHINE.read().unwrap_or_else(PoisonError::into_inner) })
    }

    fn new(lock: MachineLock) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            name: format!("e2e-{}-{}", std::process::id(), RIGS.fetch_add(1, Ordering::Relaxed)),
            endpoint: Some(free_endpoint()),
            port: free_port(),
            key: None,
            _lock: lock,
        }
    }

    /// Gives the rig a key: only then can files be removed from afar.
    pub fn keyed(self) -> Self {
        let path = self.path("rig.key");
        let mut command = command(built("swsync"));
        command.args(["key", "new"]).arg(&path);
        let made = Process::start("swsync-key", self.folder.path(), &mut command).wait();
        assert_eq!(made.code, Some(0), "{made:#?}");
        Self { key: Some(path), ..self }
    }

    /// Lets the devices find each other by multicast.
    pub fn discovering(self) -> Self {
        Self { endpoint: None, ..self }
    }

    /// Where the leader serves time.
    pub fn time_address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Name of the rig.
    pub fn rig_name(&self) -> &str {
        &self.name
    }

    /// The Zenoh endpoint where the first device listens.
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_deref().expect("a rig with discovery has no endpoint")
    }

    /// A path in this test's folder. The devices write to `shots`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `swsync export` to `format`, and asserts that it succeeds.
    pub fn export(&self, format: &str, takes: &[PathBuf], out: &Path) {
        let mut command = command(built("swsync"));
        command.args(["export", format]).args(takes).arg("-o").arg(out);
        let name = format!("swsync-export-{format}");
        let exported =
            Process::start(&name, self.folder.path(), &mut command).wait_for_up_to(COMMAND_TIMEOUT);
        assert_eq!(exported.code, Some(0), "{exported:#?}");
    }

    /// The leader's pipeline, not yet started.
    pub fn leader(&self) -> Pipeline<'_> {
        let endpoint = self.endpoint.as_ref().map(|endpoint| format!("listen={endpoint}"));
        let pipeline = Pipeline::new(self, "leader", endpoint);
        pipeline.clock(&format!("bind-address=127.0.0.1 port={}", self.port))
    }

    /// A client's pipeline, not yet started.
    pub fn client(&self, name: &'static str) -> Pipeline<'_> {
        let endpoint = self.endpoint.as_ref().map(|endpoint| format!("connect={endpoint}"));
        let pipeline = Pipeline::new(self, name, endpoint);
        Pipeline { leader: Some(self.time_address()), ..pipeline }.clock("sync-timeout=60000000000")
    }

    /// A second leader in the same rig, which does not hear of the first one's time: a user's mistake.
    pub fn second_leader(&self, name: &'static str) -> Pipeline<'_> {
        let endpoint = self.endpoint.as_ref().map(|endpoint| format!("connect={endpoint}"));
        let clock = format!("bind-address=127.0.0.1 port={} announce=false", free_port());
        Pipeline::new(self, name, endpoint).clock(&clock)
    }

    /// Starts a device without a camera that leads, and where it serves time: the rig's time outlives devices that follow it.
    pub fn timekeeper(&self) -> (Process, String) {
        let (rig, port) = (&self.name, free_port());
        let mut command = command("gst-launch-1.0");
        let clock =
            format!("swsyncclock role=leader rig={rig} announce=false bind-address=127.0.0.1 port={port}");
        command.args(clock.split_whitespace());
        (Process::start("timekeeper", self.folder.path(), &mut command), format!("127.0.0.1:{port}"))
    }

    /// A device of the same rig that listens at `endpoint`. It and the others do not see each other until somebody connects
    /// to both.
    pub fn isolated(&self, name: &'static str, endpoint: &str) -> Pipeline<'_> {
        let pipeline = Pipeline::new(self, name, Some(format!("listen={endpoint}")));
        pipeline.clock(&format!("bind-address=127.0.0.1 port={}", free_port()))
    }

    /// Starts the leader and `clients`, each with its own simulated clock and camera, and waits until all are ready.
    pub fn rig(&self, clients: &[&'static str]) -> Rig<'_> {
        let leader = self.leader().simulated(1);
        // The first client gets the leader's address. The others have to find the leader. On loopback it announces
        // itself only through an endpoint.
        let clients = clients.iter().zip(2..).map(|(name, seed)| {
            let client = self.client(name).simulated(seed);
            if seed > 2 && self.endpoint.is_some() { client.without_leader_address() } else { client }
        });
        let devices = std::iter::once(leader).chain(clients).map(|p| p.start()).collect();
        let mut rig = Rig { bed: self, devices };
        rig.wait_until_ready(LockState::Locked);
        rig
    }
}

/// One of the shipped pipelines, with its environment variables.
pub struct Pipeline<'a> {
    bed: &'a TestBed,
    name: &'static str,
    leader: Option<String>,
    environment: Vec<(&'static str, String)>,
    location: PathBuf,
    endpoint: Option<String>,
    frames: Option<&'static str>,
}

impl<'a> Pipeline<'a> {
    fn new(bed: &'a TestBed, name: &'static str, endpoint: Option<String>) -> Self {
        let location = bed.path("shots");
        Self { bed, name, leader: None, environment: Vec::new(), location, endpoint, frames: None }
    }

    /// Uses these elements as the source of frames, in place of the camera and encoder of the shipped pipeline.
    pub fn frames(self, elements: &'static str) -> Self {
        Self { frames: Some(elements), ..self }
    }

    /// Sets the properties of `swsyncclock`, in place of those set before.
    pub fn clock(self, properties: &str) -> Self {
        self.env("SWSYNC_CLOCK", properties)
    }

    /// Sets the properties of `swsyncsrc`, in place of those set before.
    pub fn camera(self, properties: &str) -> Self {
        self.env("SWSYNC_CAMERA", properties)
    }

    /// Uses a simulated camera and clock, with rates and offsets that differ for each `seed`.
    pub fn simulated(self, seed: u8) -> Self {
        let sign = if seed.is_multiple_of(2) { 1.0 } else { -1.0 };
        let skew = sign * 12.0 * f64::from(seed);
        self.camera(&format!(
            "backend=simulated simulated-seed={seed} simulated-view={seed} simulated-skew-ppm={:.1}",
            -skew / 2.0
        ))
        .env("SWSYNC_SIMULATED_CLOCK", &format!("offset={seed}.25s,skew={skew:.1}ppm"))
    }

    /// Sets the address of the leader, for a client.
    pub fn follow(self, leader: &str) -> Self {
        Self { leader: Some(leader.into()), ..self }
    }

    /// A client without the leader's address, which has to find it.
    pub fn without_leader_address(self) -> Self {
        self.follow("")
    }

    /// Sets the folder for files.
    pub fn location(self, location: &Path) -> Self {
        Self { location: location.into(), ..self }
    }

    /// Sets an environment variable of the script.
    pub fn env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    pub fn start(self) -> Process {
        let endpoint = self.endpoint.unwrap_or_default();
        let rig = format!("rig={} {endpoint}", self.bed.name);
        let sink = format!("device-id={} location=\"{}\"", self.name, self.location.display());
        let mut command = match self.frames {
            None => {
                let script =
                    if self.leader.is_some() { "pipelines/client.sh" } else { "pipelines/leader.sh" };
                let mut command = command(source(script));
                command.args(&self.leader).env("SWSYNC_RIG", &self.bed.name).env("SWSYNC_SINK", sink);
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
        if let Some(key) = &self.bed.key {
            command.env("SWSYNC_KEY_FILE", key);
        }
        command.envs(self.environment);
        Process::start(self.name, self.bed.folder.path(), &mut command)
    }
}

/// Running devices of one rig.
pub struct Rig<'a> {
    bed: &'a TestBed,
    devices: Vec<Process>,
}

impl<'a> Rig<'a> {
    /// A rig of one device.
    pub fn of(bed: &'a TestBed, leader: Process) -> Self {
        Self { bed, devices: vec![leader] }
    }

    pub fn bed(&self) -> &TestBed {
        self.bed
    }

    /// A rig of devices that were started separately.
    pub fn with(bed: &'a TestBed, devices: Vec<Process>) -> Self {
        Self { bed, devices }
    }

    /// Adds a device that was started.
    pub fn add(&mut self, device: Process) {
        self.devices.push(device);
    }

    /// Removes the last device and returns it.
    pub fn take_last(&mut self) -> Process {
        self.devices.pop().expect("a rig has devices")
    }

    /// Waits until every device's clock is synced and its camera is in state `lock`.
    pub fn wait_until_ready(&mut self, lock: LockState) {
        poll("the rig is ready", || {
            self.devices.iter_mut().for_each(Process::assert_running);
            let statuses = self.statuses();
            let ready = |status: &Status| {
                let clock = status.clock.is_some_and(|clock| clock.quality.is_synced());
                clock && status.frames.as_ref().is_some_and(|frames| frames.newest.lock == Some(lock))
            };
            (statuses.len() == self.devices.len() && statuses.iter().all(ready)).then_some(())
        });
    }

    /// The current status of each device that answers.
    pub fn statuses(&self) -> Vec<Status> {
        let ended = self.swsync(&["status", "--json"]).wait();
        let mut json = serde_json::from_str::<Value>(&ended.out).unwrap_or_default();
        let Some(devices) = json["devices"].as_array_mut() else {
            println!("no device is there yet: {}{}", ended.out, ended.err);
            return Vec::new();
        };
        let said = devices.iter_mut().filter(|device| device["answered"] == true);
        said.map(|device| serde_json::from_value(device["status"].take()).unwrap()).collect()
    }

    /// Starts the `swsync` command for this rig.
    pub fn swsync(&self, args: &[&str]) -> Process {
        self.start(self.bed.endpoint.as_deref(), args)
    }

    /// As [`swsync`](Self::swsync), connected to the device that listens at `endpoint`.
    pub fn swsync_at(&self, endpoint: &str, args: &[&str]) -> Process {
        self.start(Some(endpoint), args)
    }

    /// As [`swsync`](Self::swsync), with paths in the environment.
    pub fn swsync_with(&self, environment: &[(&str, &Path)], args: &[&str]) -> Process {
        self.start_with(self.bed.endpoint.as_deref(), environment, args)
    }

    fn start(&self, endpoint: Option<&str>, args: &[&str]) -> Process {
        self.start_with(endpoint, &[], args)
    }

    fn start_with(&self, endpoint: Option<&str>, environment: &[(&str, &Path)], args: &[&str]) -> Process {
        let mut command = command(built("swsync"));
        command.envs(environment.iter().copied()).args(args).args(["--rig", &self.bed.name]);
        if let Some(endpoint) = endpoint {
            command.args(["--connect", endpoint]);
        }
        if let Some(key) = &self.bed.key {
            command.env("SWSYNC_KEY_FILE", key);
        }
        // Several may run at once, so each gets its own name.
        let name = format!("swsync-{}-{}", args[0], RIGS.fetch_add(1, Ordering::Relaxed));
        Process::start(&name, self.bed.folder.path(), &mut command)
    }

    /// Runs `swsync shoot --json` and returns its result.
    pub fn shoot(&self, args: &[&str]) -> Shot {
        let args: Vec<_> = ["shoot", "--json"].iter().chain(args).copied().collect();
        Shot::of(&self.swsync(&args).wait())
    }
}

/// Returns whether `outcome` is one that a rig without fault may report.
pub fn is_saved_or_dropped(outcome: &FrameOutcome) -> bool {
    match outcome {
        FrameOutcome::Saved { .. } | FrameOutcome::Recorded(_) => true,
        FrameOutcome::Missed { why } => mentions_drops(why),
        FrameOutcome::Failed { .. } | FrameOutcome::Partly { .. } => false,
    }
}

/// A stills order and its result.
pub struct Shot {
    pub code: Option<i32>,
    pub order: String,
    /// The devices that answered, with their frames.
    pub answers: Vec<(String, Vec<FrameRun>)>,
}

/// Shorter than the derived form, which has several lines for each frame.
impl fmt::Debug for Shot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, exit code {:?}", self.order, self.code)?;
        for (device, frames) in &self.answers {
            write!(f, "; {device}:")?;
            for frame in frames {
                let number = frame.first;
                match &frame.outcome {
                    FrameOutcome::Saved { info, .. } => write!(f, " {number} {:?}", info.phase_error_ns)?,
                    FrameOutcome::Missed { why } => write!(f, " {number} MISSED {why}")?,
                    FrameOutcome::Failed { why } => write!(f, " {number} FAILED {why}")?,
                    FrameOutcome::Recorded(_) | FrameOutcome::Partly { .. } => write!(f, " {frame:?}")?,
                }
            }
        }
        Ok(())
    }
}

impl Shot {
    /// Parses the JSON of a `swsync shoot` that has ended.
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

    /// Returns whether a camera dropped a frame that the order named.
    pub fn has_drops(&self) -> bool {
        let mut frames = self.answers.iter().flat_map(|(_, frames)| frames);
        frames.any(|frame| {
            matches!(&frame.outcome, FrameOutcome::Missed { .. }) && is_saved_or_dropped(&frame.outcome)
        })
    }

    pub fn frames(&self, device: &str) -> &[FrameRun] {
        let answer = self.answers.iter().find(|(name, _)| name == device);
        &answer.unwrap_or_else(|| panic!("no answer of {device} in {self:#?}")).1
    }
}
