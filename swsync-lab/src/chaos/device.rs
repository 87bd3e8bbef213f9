//! A device: a `gst-launch-1.0` process in its network namespace, started again and again, and what it says on its bus.

use std::fs::OpenOptions;
use std::io::{BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use swsync_core::time::{Host, Local, Span, Timestamp};
use swsync_rig::settings::{CONFIG_VARIABLE, Setting};
use swsync_sim::oscillator::{Oscillator, OscillatorConfig};
use swsync_time::{SIMULATED_CLOCK, host_now};

use super::event::{BusMessage, Event};
use crate::simulated_device::SimulatedDevice;

/// Frames per second.
pub const RATE: u32 = 10;

/// What all devices have in common.
pub struct Setup {
    pub rig: String,
    /// Where files and logs go.
    pub out: PathBuf,
    /// Further properties of swsyncclock.
    pub clock: String,
    pub seed: u64,
}

/// One device of the rig.
pub struct Device {
    pub index: usize,
    /// The role of its swsyncclock.
    role: &'static str,
    /// The words that run a command in its namespace.
    entry: [String; 3],
    simulated: SimulatedDevice,
    state: State,
    /// Its clock in each of its runs: one that is started again counts from another instant, as after a boot.
    runs: Vec<RunClock>,
}

/// The clock of one run of a device.
pub struct RunClock {
    pub clock: Oscillator<Local>,
    pub started: Timestamp<Host>,
}

enum State {
    Down,
    Running(Child),
    Stopped(Child),
    /// It was asked to end.
    Leaving(Child),
}

impl Device {
    /// A device that does not run yet.
    pub fn new(index: usize, role: &'static str, entry: [String; 3], setup: &Setup) -> anyhow::Result<Self> {
        let simulated = SimulatedDevice::of(setup.seed, u16::try_from(index)?);
        Ok(Self { index, role, entry, simulated, state: State::Down, runs: Vec::new() })
    }

    /// Its name, in the rig too.
    pub fn name(&self) -> String {
        name(self.index)
    }

    pub const fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// Its clocks, in each of its runs.
    pub fn clocks(&self) -> &[RunClock] {
        &self.runs
    }

    /// Starts it with a wall clock that is `wall` from the host's.
    pub fn start(&mut self, wall: Span, setup: &Setup, events: &Sender<Event>) -> anyhow::Result<()> {
        self.kill()?; // if it is still about to end
        let (run, started) = (self.runs.len(), host_now());
        let mut clock: OscillatorConfig = self.simulated.clock().parse()?;
        clock.offset += Span::from_millis(7_300) * i64::try_from(run)?;
        clock.wander = swsync_core::time::Skew::from_ppm(0.01);
        clock.seed = setup.seed.wrapping_mul(1_000).wrapping_add(u64::try_from(self.index)?);
        clock.wall = wall;
        let (rig, name, role) = (&setup.rig, self.name(), self.role);
        let camera = self.simulated.camera();
        // Both ways of writing have to bear a slow disk.
        let durability = if self.index.is_multiple_of(2) { "safe" } else { "fast" };
        let line = format!(
            "swsyncclock rig={rig} role={role} sync-timeout=120000000000 {} swsyncsrc {camera} \
             wait-lock=false ! \
             video/x-raw,width=160,height=120,framerate={RATE}/1 ! jpegenc ! swsyncsink rig={rig} device-id={name} \
             ring-time=3000000000 durability={durability}",
            setup.clock
        );
        let mut command = Command::new(&self.entry[0]);
        // It ends with the lab, even if that is killed. Ctrl-C is for the lab alone: hence the process group.
        command
            .args(&self.entry[1..])
            .args(["setpriv", "--pdeathsig", "KILL", "--", "gst-launch-1.0", "-m", "-e"])
            .args(line.split_whitespace())
            .arg(format!("location={}", setup.out.join(&name).display()))
            .env(SIMULATED_CLOCK, clock.to_string())
            .env("GST_DEBUG_NO_COLOR", "1")
            .process_group(0);
        command.env(CONFIG_VARIABLE, "/dev/null");
        for setting in Setting::ALL {
            command.env_remove(setting.variable());
        }
        let log = setup.out.join(format!("{name}.log"));
        let log =
            OpenOptions::new().create(true).append(true).open(&log).context(log.display().to_string())?;
        writeln!(&log, "---- run {run}: {clock}: {line}")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .context("cannot start gst-launch-1.0: is GStreamer installed?")?;
        let out = BufReader::new(child.stdout.take().context("its output is piped")?);
        let (device, events) = (self.index, events.clone());
        std::thread::spawn(move || follow_output(out, log, device, &events));
        self.runs.push(RunClock { clock: Oscillator::new(clock), started });
        self.state = State::Running(child);
        Ok(())
    }

    /// Kills it.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Running(mut child) | State::Stopped(mut child) | State::Leaving(mut child) => {
                child.kill()?;
                child.wait()?;
            }
            State::Down => {}
        }
        Ok(())
    }

    /// Asks it to end, as Ctrl-C does.
    pub fn interrupt(&mut self) -> anyhow::Result<()> {
        self.state = match std::mem::replace(&mut self.state, State::Down) {
            State::Running(child) => {
                kill_process(Pid::from_child(&child), Signal::INT)?;
                State::Leaving(child)
            }
            other => other,
        };
        Ok(())
    }

    /// Stops its process where it is.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.state = match std::mem::replace(&mut self.state, State::Down) {
            State::Running(child) => {
                kill_process(Pid::from_child(&child), Signal::STOP)?;
                State::Stopped(child)
            }
            other => other,
        };
        Ok(())
    }

    /// Lets its process go on.
    pub fn go_on(&mut self) -> anyhow::Result<()> {
        self.state = match std::mem::replace(&mut self.state, State::Down) {
            State::Stopped(child) => {
                kill_process(Pid::from_child(&child), Signal::CONT)?;
                State::Running(child)
            }
            other => other,
        };
        Ok(())
    }

    /// How its process has ended, if it has; it counts as down then.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let State::Running(child) = &mut self.state else { return Ok(None) };
        let status = child.try_wait()?;
        if status.is_some() {
            self.state = State::Down;
        }
        Ok(status)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.kill(); // fails if it has ended by itself
    }
}

/// The name of device `index`.
pub fn name(index: usize) -> String {
    format!("device{index}")
}

/// The index of a device by its name.
pub fn index_of(name: &str) -> Option<usize> {
    name.strip_prefix("device")?.parse().ok()
}

/// The last lines of a device's log.
pub fn tail(out: &Path, device: usize) -> String {
    let text = std::fs::read_to_string(out.join(format!("{}.log", name(device)))).unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("Got message")).collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

/// Passes a device's output on to its log, and what its clock says there to the lab, until it ends.
fn follow_output(out: impl std::io::BufRead, mut log: std::fs::File, device: usize, events: &Sender<Event>) {
    for line in out.lines().map_while(Result::ok) {
        let at: Timestamp<Host> = host_now();
        if let Some(message) = BusMessage::of(&line) {
            let _ = events.send(Event::Bus { device, at, message }); // fails once the lab ends
        } else if !is_worth_logging(&line) {
            continue;
        }
        let _ = writeln!(log, "{:.6} {line}", (at - Timestamp::ZERO).as_secs_f64());
    }
}

/// Whether a line of gst-launch-1.0 tells more than how the pipeline goes through its states.
fn is_worth_logging(line: &str) -> bool {
    let dull = ["(state-changed)", "(stream-status)", "(qos)", "(tag)", "(latency)", "(streams-selected)"];
    !dull.iter().any(|dull| line.contains(dull))
}
