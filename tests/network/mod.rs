//! Networks that fight back: routers, kernels without IPv6, addresses that come late or swallow packets, devices that hang or lose
//! their power. Each device is a process of its own in a network namespace of its own, and so is the operator's command.
//!
//! Times that a user waits for are asserted, and printed. They are for an idle machine, plus [`SLACK`].

mod addresses;
mod doctor;
mod late;
mod no_ipv6;
mod segments;
mod silent;

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use swsync_lab::net::{Host, Port, Switch};

use crate::process::{COMMAND_TIMEOUT, Ended, Process, built, command};
use crate::rig::{Shot, TestBed, mentions_drops};

/// How much longer things may take on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

/// Only a failing test waits this long for devices to come together that nothing hinders.
const START: Duration = Duration::from_secs(40);

/// A command that runs on `host`.
fn command_on(host: &Host, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let [nsenter, arguments @ ..] = host.entry();
    let mut command = command(nsenter);
    command.args(arguments).arg(program);
    command
}

/// A rig whose devices are on hosts of their own.
struct Trial {
    // Dropped first: what they have said is in the folder of the test bed.
    devices: Vec<(String, Process)>,
    bed: TestBed,
}

impl Trial {
    /// `None` where no namespaces may be made; it says so.
    fn new(test: &str) -> Option<Self> {
        crate::is_set("SWSYNC_NETNS", test)
            .then(|| Self { bed: TestBed::exclusive().discovering(), devices: Vec::new() })
    }

    /// The command of a device with a simulated camera. `settings` are properties of its elements that join the rig.
    fn device(&self, name: &str, host: &Host, settings: &str) -> Command {
        let mut command = command_on(host, "gst-launch-1.0");
        self.add_pipeline(&mut command, name, settings);
        command
    }

    /// Adds the arguments of gst-launch-1.0 to a command.
    fn add_pipeline(&self, command: &mut Command, name: &str, settings: &str) {
        let seed = 1 + name.bytes().map(u32::from).sum::<u32>() % 200;
        let rig = format!("rig={} {settings}", self.bed.rig_name());
        let line = format!(
            "swsyncclock role=auto {rig} sync-timeout=120000000000 \
             swsyncsrc backend=simulated simulated-seed={seed} simulated-view={} wait-lock=false ! \
             video/x-raw,width=160,height=120,framerate=10/1 ! jpegenc ! \
             swsyncsink {rig} device-id={name} location={} ring-time=3000000000 durability=fast",
            self.devices.len(),
            self.bed.path(name).display(),
        );
        let clock = format!("offset={seed}.25s,skew={}ppm", f64::from(seed % 40) - 20.0);
        command.args(["-m", "-e"]).args(line.split_whitespace()).env("SWSYNC_SIMULATED_CLOCK", clock);
    }

    /// Starts a device.
    fn start(&mut self, name: &str, host: &Host, settings: &str) {
        let mut command = self.device(name, host, settings);
        self.start_as(name, &mut command);
    }

    /// Starts a device by its command.
    fn start_as(&mut self, name: &str, command: &mut Command) {
        let process = Process::start(name, &self.bed.path(""), command);
        self.devices.push((name.to_owned(), process));
    }

    fn process(&self, name: &str) -> &Process {
        let device = self.devices.iter().find(|(known, _)| known == name);
        &device.unwrap_or_else(|| panic!("there is no {name}")).1
    }

    /// Runs the `swsync` command on `host`.
    fn swsync(&self, host: &Host, settings: &[&str], args: &[&str]) -> Ended {
        self.begin_as(&format!("swsync-{}", args[0]), host, &[args, settings].concat())
            .wait_for_up_to(COMMAND_TIMEOUT)
    }

    /// Starts the `swsync` command on `host`, beside others.
    fn begin(&self, host: &Host, args: &[&str]) -> Process {
        self.begin_as(&format!("beside-swsync-{}", args[0]), host, args)
    }

    fn begin_as(&self, name: &str, host: &Host, args: &[&str]) -> Process {
        let mut command = command_on(host, built("swsync"));
        command.args(args).args(["--rig", self.bed.rig_name()]);
        Process::start(name, &self.bed.path(""), &mut command)
    }

    /// The devices that answer `swsync status`, those that it knows, and whether it is content.
    fn status(&self, host: &Host, settings: &[&str]) -> RigState {
        let ended = self.swsync(host, settings, &["status", "--json"]);
        RigState::of(&ended)
    }

    /// Waits until `swsync status` on `host` shows that all devices are there and follow one leader; how long after `begun` it did.
    fn wait_until_together(
        &mut self,
        host: &Host,
        settings: &[&str],
        begun: Instant,
        limit: Duration,
    ) -> Duration {
        loop {
            self.devices.iter_mut().for_each(|(_, process)| process.assert_running());
            let state = self.status(host, settings);
            let took = begun.elapsed();
            if state.code == Some(0) && state.synced.len() == self.devices.len() {
                return took;
            }
            assert!(took < limit, "not together within {limit:?}: {state:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Orders a picture on `host` until no camera drops it; who answered, the exit code, and how long that took.
    fn shoot(&self, host: &Host, settings: &[&str]) -> Shooting {
        crate::process::retry_on_drops(|| {
            let begun = Instant::now();
            let ended = self.swsync(host, settings, &["shoot", "--json"]);
            let took = begun.elapsed();
            if mentions_drops(&ended.out) {
                return None;
            }
            // The document of one that failed, as for lack of a hub, is its error.
            let is_result = ended.out.starts_with('{') && !ended.out.starts_with("{\"error\"");
            let mut answered: Vec<_> = if is_result {
                Shot::of(&ended).answers.into_iter().map(|(device, _)| device).collect()
            } else {
                Vec::new()
            };
            answered.sort();
            Some(Shooting { answered, took, ended })
        })
    }
}

/// What `swsync status --json` says.
#[derive(Debug)]
struct RigState {
    code: Option<i32>,
    /// Devices that answered.
    answered: Vec<String>,
    /// Of these, the ones whose clocks are synced or lead.
    synced: Vec<String>,
    /// The devices that have saved frames of an open order.
    recording: Vec<String>,
    /// The device that leads.
    leader: Option<String>,
    said: String,
}

impl RigState {
    fn of(ended: &Ended) -> Self {
        let json: Value = serde_json::from_str(&ended.out).unwrap_or_default();
        let none = Vec::new();
        let devices = json["devices"].as_array().unwrap_or(&none);
        let names = |which: &dyn Fn(&Value) -> bool| -> Vec<String> {
            let those =
                devices.iter().filter(|device| device["answered"] == true && which(&device["status"]));
            those.filter_map(|device| device["status"]["device"].as_str().map(str::to_owned)).collect()
        };
        let quality = |status: &Value| status["clock"]["quality"].as_str().unwrap_or_default().to_owned();
        Self {
            code: ended.code,
            answered: names(&|_| true),
            synced: names(&|status| ["synced", "leading"].contains(&quality(status).as_str())),
            recording: names(&|status| {
                let saved = |open: &Value| open["saved"].as_u64() > Some(0);
                status["open"].as_array().is_some_and(|open| open.iter().any(saved))
            }),
            leader: names(&|status| quality(status) == "leading").pop(),
            said: format!("{}{}", ended.out, ended.err),
        }
    }
}

/// A picture that was ordered.
#[derive(Debug)]
struct Shooting {
    /// The devices that answered.
    answered: Vec<String>,
    took: Duration,
    ended: Ended,
}

impl Shooting {
    /// Asserts that exactly these devices answered; if those are not all, that the one that did not is named and the exit code
    /// says so.
    fn assert_of(&self, answered: &[&str], lost: Option<&str>) {
        assert_eq!(self.answered, answered, "{:#?}", self.ended);
        match lost {
            None => assert_eq!(self.ended.code, Some(0), "{:#?}", self.ended),
            Some(lost) => self.ended.assert_failed(1, &[lost]),
        }
    }
}

/// Hosts on one segment of a switch, with the addresses 10.9.0.1 and so on.
struct Lan {
    switch: Switch,
    hosts: Vec<Host>,
    ports: Vec<Port>,
}

impl Lan {
    /// Hosts whose interfaces are down.
    fn dark(count: usize) -> Self {
        Self::of((0..count).map(|_| Host::new().unwrap()).collect())
    }

    /// These hosts, with an interface each that is down.
    fn of(hosts: Vec<Host>) -> Self {
        let switch = Switch::new(&["main"]).unwrap();
        let ports = hosts.iter().map(|host| switch.plug(host, "eth0", "main").unwrap()).collect();
        Self { switch, hosts, ports }
    }

    /// Hosts whose interfaces are up.
    fn new(count: usize) -> Self {
        let lan = Self::dark(count);
        (0..count).for_each(|index| lan.bring_up(index));
        lan
    }

    fn bring_up(&self, index: usize) {
        self.hosts[index].bring_up("eth0", &format!("{}/24", Self::address(index))).unwrap();
    }

    fn address(index: usize) -> String {
        format!("10.9.0.{}", index + 1)
    }
}
