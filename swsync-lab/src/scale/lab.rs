//! The lab: a network namespace for each process, and the processes in them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command as Program, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use swsync_cli::output;

use super::capture::Capture;
use super::frames;
use super::protocol::{Command, Part, Sample, Told};
use super::resources::{self, Usage};
use crate::network::{self, MAIN_BRIDGE, Network};
use crate::progress::Progress;

/// How long a device may take to leave in good order.
const GOODBYE: Duration = Duration::from_secs(10);
/// How long devices may take to tell how they are.
const SAMPLE_TIMEOUT: Duration = Duration::from_secs(2);

/// All that runs. It ends when this is dropped.
pub struct Lab {
    processes: BTreeMap<usize, Process>,
    pub capture: Capture,
    pub network: Network,
    pub nodes: usize,
    pub progress: Progress,
    out: PathBuf,
    events: Receiver<Event>,
    sender: Sender<Event>,
    interrupted: Arc<AtomicBool>,
    /// Processes so far.
    started: u32,
}

/// A process in its namespace.
struct Process {
    child: Child,
    commands: Option<ChildStdin>,
    /// Its number.
    process: u32,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // fails if it has ended by itself
        let _ = self.child.wait();
    }
}

/// What a process has told; `None`: its output has ended.
struct Event {
    node: usize,
    /// Which of the processes that ran in this namespace.
    process: u32,
    told: Option<Told>,
}

impl Lab {
    /// A lab with `nodes` namespaces, in which nothing runs yet.
    ///
    /// # Errors
    /// What `ip` says, or packets cannot be counted.
    pub fn new(nodes: usize, out: PathBuf, interrupted: Arc<AtomicBool>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        let mut progress = Progress::new();
        progress.tell(&format!("making {nodes} network namespaces"));
        let network = Network::new(nodes)?;
        for node in 0..nodes {
            network.configure(node, &interface(node, nodes)?)?;
        }
        network::configure(&format!("link set {MAIN_BRIDGE} promisc on\n"))?;
        let capture = Capture::start(nodes)?;
        let (sender, events) = channel();
        let processes = BTreeMap::new();
        Ok(Self {
            processes,
            capture,
            network,
            nodes,
            progress,
            out,
            events,
            sender,
            interrupted,
            started: 0,
        })
    }

    /// Starts `part` in namespace `node`.
    pub fn start(&mut self, node: usize, part: &Part) -> anyhow::Result<()> {
        let entry = self.network.entry(node);
        let path = self.out.join(format!("node{node}.log"));
        let log = std::fs::File::options().create(true).append(true).open(&path);
        let mut program = Program::new(&entry[0]);
        // It ends with the lab, even if that is killed. Ctrl-C is for the lab alone: hence the process group.
        program
            .args(&entry[1..])
            .args(["setpriv", "--pdeathsig", "KILL", "--"])
            .arg(std::env::current_exe()?)
            .args(["scale", "--part", &serde_json::to_string(part)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.with_context(|| path.display().to_string())?)
            .process_group(0);
        for name in ["SWSYNC_RIG", "SWSYNC_CONNECT", "SWSYNC_LISTEN"] {
            program.env_remove(name);
        }
        let mut child = program.spawn().context("cannot run nsenter (util-linux)")?;
        let commands = child.stdin.take();
        let out = BufReader::new(child.stdout.take().context("its output is piped")?);
        let (sender, process) = (self.sender.clone(), self.started);
        self.started += 1;
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    // Fails once the lab ends.
                    Ok(told) => drop(sender.send(Event { node, process, told: Some(told) })),
                    Err(error) => output::tell(&format!("node {node}: {error}: {line}")),
                }
            }
            let _ = sender.send(Event { node, process, told: None });
        });
        self.processes.insert(node, Process { child, commands, process });
        Ok(())
    }

    /// Has the process in namespace `node` do something.
    pub fn command(&mut self, node: usize, command: &Command) -> anyhow::Result<()> {
        let commands = self.processes.get_mut(&node).and_then(|process| process.commands.as_mut());
        let line = serde_json::to_string(command)?;
        writeln!(commands.context("nothing runs there")?, "{line}")
            .with_context(|| format!("node {node} has ended{}", self.log_of(node)))
    }

    /// What is told next, and in which namespace; `None`: nothing until `deadline`. A process that has ended by itself is an error.
    pub fn event(&mut self, deadline: Instant) -> anyhow::Result<Option<(usize, Told)>> {
        loop {
            ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
            let now = Instant::now();
            let wait = deadline.saturating_duration_since(now).min(Duration::from_millis(200));
            match self.events.recv_timeout(wait) {
                Ok(Event { node, process, told }) => {
                    let runs = self.processes.get(&node).is_some_and(|running| running.process == process);
                    match told.filter(|_| runs) {
                        Some(told) => return Ok(Some((node, told))),
                        None if runs => bail!("node {node} has ended{}", self.log_of(node)),
                        None => {} // it was asked to end
                    }
                }
                Err(RecvTimeoutError::Timeout) if now >= deadline => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the lab has no processes"),
            }
        }
    }

    /// Waits, and forgets what is told meanwhile.
    pub fn wait(&mut self, span: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + span;
        while self.event(deadline)?.is_some() {}
        Ok(())
    }

    /// Asks the devices in `nodes` how their clocks are. Those that do not tell within two seconds are missing in what is returned.
    pub fn samples(
        &mut self,
        nodes: impl IntoIterator<Item = usize>,
    ) -> anyhow::Result<BTreeMap<usize, Sample>> {
        let mut asked = 0;
        for node in nodes {
            self.command(node, &Command::Sample)?;
            asked += 1;
        }
        let deadline = Instant::now() + SAMPLE_TIMEOUT;
        let mut samples = BTreeMap::new();
        while samples.len() < asked
            && let Some((node, told)) = self.event(deadline)?
        {
            if let Told::Sample(sample) = told {
                samples.insert(node, sample);
            }
        }
        Ok(samples)
    }

    /// What the process in namespace `node` has used.
    pub fn usage(&self, node: usize) -> anyhow::Result<Usage> {
        Usage::of(self.processes.get(&node).context("nothing runs there")?.child.id())
    }

    /// Frames that came into the bridge, by the kernel's count.
    pub fn frames(&self) -> anyhow::Result<u64> {
        resources::frames_from_nodes(self.nodes)
    }

    /// Lets the device in namespace `node` leave in good order.
    pub fn leave(&mut self, node: usize) -> anyhow::Result<()> {
        let mut process = self.processes.remove(&node).context("nothing runs there")?;
        drop(process.commands.take());
        let deadline = Instant::now() + GOODBYE;
        while process.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "node {node} does not end{}", self.log_of(node));
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends all processes.
    pub fn end(&mut self) {
        // All at once: each that goes is work for the others.
        for process in self.processes.values_mut() {
            let _ = process.child.kill(); // fails if it has ended by itself
        }
        self.processes.clear();
    }

    /// The end of its log, for an error.
    fn log_of(&self, node: usize) -> String {
        let text = std::fs::read_to_string(self.out.join(format!("node{node}.log"))).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n");
        if last.is_empty() { String::new() } else { format!("; its log ends:\n{last}") }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.end();
        self.progress.done();
    }
}

/// Lines for `ip` that set up the interface of namespace `node`.
///
/// Neighbours are known beforehand: the kernel's table of those that were asked for is one for all namespaces, and holds a thousand.
/// There is no IPv6, so that no device has two addresses.
fn interface(node: usize, nodes: usize) -> anyhow::Result<String> {
    let mut lines = format!(
        "link set eth0 down\nlink set eth0 addrgenmode none address {}\nlink set eth0 up\nroute add 224.0.0.0/4 dev eth0\n",
        frames::mac(u16::try_from(node)?)
    );
    for other in (0..nodes).filter(|other| *other != node) {
        let (address, mac) = (network::address(other), frames::mac(u16::try_from(other)?));
        lines.push_str(&format!("neigh add {address} lladdr {mac} nud permanent dev eth0\n"));
    }
    Ok(lines)
}
