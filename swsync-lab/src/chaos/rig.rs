//! The rig: the devices, the network between them, and the observers.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;

use anyhow::Context;
use swsync_core::time::{Host, Span, Timestamp};
use swsync_time::host_now;

use super::device::{Device, Setup};
use super::event::Event;
use super::protocol;
use super::timeline::{Presence, Timeline};
use crate::net::{Badness, Counts};
use crate::network::{Network, Side};

/// The first namespaces are the observers'.
const OBSERVERS: usize = 2;

/// All that runs. It ends when this is dropped.
pub struct Rig {
    pub setup: Setup,
    pub devices: Vec<Device>,
    pub timeline: Timeline,
    /// Who led when the observer of each side heard of it last.
    pub leaders: [Option<(usize, Timestamp<Host>)>; 2],
    /// When a device told the time on each side last.
    pub told: [Option<Timestamp<Host>>; 2],
    observers: [Option<Observer>; 2],
    network: Network,
    events: Sender<Event>,
}

/// An observer's process.
struct Observer {
    child: Child,
    commands: ChildStdin,
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.child.kill(); // fails if it has ended by itself
        let _ = self.child.wait();
    }
}

impl Rig {
    /// A rig whose devices do not run yet. `role` is that of a device's swsyncclock.
    pub fn new(
        setup: Setup,
        count: usize,
        role: impl Fn(usize) -> &'static str,
        events: Sender<Event>,
    ) -> anyhow::Result<Self> {
        let network = Network::new(OBSERVERS + count)?;
        let device = |index| Device::new(index, role(index), network.entry(OBSERVERS + index), &setup);
        let devices = (0..count).map(device).collect::<Result<_, _>>()?;
        let timeline = Timeline::new(count);
        let observers = [None, None];
        let mut rig = Self {
            setup,
            devices,
            timeline,
            leaders: [None; 2],
            told: [None; 2],
            observers,
            network,
            events,
        };
        rig.network.move_to(Side::Apart, &[Side::Apart.index()])?;
        rig.observe(Side::Main)?;
        Ok(rig)
    }

    /// Starts a device whose wall clock is `wall` from the host's.
    pub fn start(&mut self, device: usize, wall: Span) -> anyhow::Result<()> {
        self.devices[device].start(wall, &self.setup, &self.events)?;
        self.changed(device);
        Ok(())
    }

    /// Ends all devices and observers. What was expected of them stays as it was.
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.observers = [None, None];
        self.devices.iter_mut().try_for_each(Device::kill)
    }

    pub fn kill(&mut self, device: usize) -> anyhow::Result<()> {
        self.devices[device].kill()?;
        self.changed(device);
        Ok(())
    }

    /// Asks a device to end.
    pub fn interrupt(&mut self, device: usize) -> anyhow::Result<()> {
        self.devices[device].interrupt()?;
        self.timeline.change(device, host_now(), Presence::Down);
        Ok(())
    }

    pub fn stop(&mut self, device: usize) -> anyhow::Result<()> {
        self.devices[device].stop()?;
        self.timeline.change(device, host_now(), Presence::Stopped);
        Ok(())
    }

    pub fn go_on(&mut self, device: usize) -> anyhow::Result<()> {
        self.devices[device].go_on()?;
        self.changed(device);
        Ok(())
    }

    /// Moves devices to another side.
    pub fn move_to(&mut self, side: Side, devices: &[usize]) -> anyhow::Result<()> {
        let nodes: Vec<_> = devices.iter().map(|device| OBSERVERS + device).collect();
        self.network.move_to(side, &nodes)?;
        devices.iter().for_each(|device| self.changed(*device));
        Ok(())
    }

    /// Makes the links of all devices and observers bad.
    pub fn make_links_bad(&mut self, badness: Badness, seed: u64) -> anyhow::Result<()> {
        let all: Vec<_> = (0..OBSERVERS + self.devices.len()).collect();
        self.network.make_bad(&all, badness, seed)
    }

    /// Makes all links good; what has become of the frames on the bad ones.
    pub fn repair_links(&mut self) -> anyhow::Result<Option<Counts>> {
        self.network.repair_links()
    }

    /// The device that is up on the main side and has the most connections, and how many: through it the others reach each other.
    pub fn hub(&self) -> anyhow::Result<Option<(usize, usize)>> {
        let is_up = |device: &usize| self.timeline.now(*device) == Presence::Up(Side::Main);
        let mut hub = None;
        for device in (0..self.devices.len()).filter(is_up) {
            let connections = self.network.connections(OBSERVERS + device)?;
            if hub.is_none_or(|(_, most)| connections > most) {
                hub = Some((device, connections));
            }
        }
        Ok(hub)
    }

    /// The side that a device is on.
    pub fn side(&self, device: usize) -> Side {
        self.network.side(OBSERVERS + device)
    }

    /// Takes down what a device is now.
    pub fn changed(&mut self, device: usize) {
        let is_running = self.devices[device].is_running();
        let presence = if is_running { Presence::Up(self.side(device)) } else { Presence::Down };
        self.timeline.change(device, host_now(), presence);
    }

    /// The device that was heard to lead on `side` within the last seconds.
    pub fn leader(&self, side: Side) -> Option<usize> {
        let (device, at) = self.leaders[side.index()]?;
        let is_up = self.timeline.now(device) == Presence::Up(side);
        (is_up && host_now() - at < Span::from_secs(3)).then_some(device)
    }

    /// Starts the observer of a side.
    pub fn observe(&mut self, side: Side) -> anyhow::Result<()> {
        let entry = self.network.entry(side.index());
        let mut child = Command::new(&entry[0])
            .args(&entry[1..])
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .arg(std::env::current_exe()?)
            .args(["chaos", "--observe", &self.setup.rig])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start an observer")?;
        let commands = child.stdin.take().context("its input is piped")?;
        let out = BufReader::new(child.stdout.take().context("its output is piped")?);
        let events = self.events.clone();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(observation) => drop(events.send(Event::Observed { side, observation })),
                    Err(error) => eprintln!("an observation that cannot be read: {error}: {line}"),
                }
            }
        });
        self.observers[side.index()] = Some(Observer { child, commands });
        self.told[side.index()] = None;
        Ok(())
    }

    /// Ends the observer of a side.
    pub fn end_observer(&mut self, side: Side) {
        self.observers[side.index()] = None;
    }

    /// Whether orders can be given on a side: it has an observer, to whom a device there has told the time just now.
    pub fn takes_orders(&self, side: Side) -> bool {
        let recently = self.told[side.index()].is_some_and(|at| host_now() - at < Span::from_secs(3));
        self.observers[side.index()].is_some() && recently
    }

    /// Has the observer of a side do something.
    pub fn command(&mut self, side: Side, command: &protocol::Command) -> anyhow::Result<()> {
        let observer = self.observers[side.index()].as_mut().context("that side has no observer")?;
        let line = serde_json::to_string(command)?;
        writeln!(observer.commands, "{line}").context("an observer has ended")
    }
}
