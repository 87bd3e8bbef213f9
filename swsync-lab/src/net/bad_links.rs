//! Bad links: between a port of a switch and its segment, packets go through this process, which loses some and holds others.
//!
//! What the kernel has for this (netem) is not on every machine. Here each such port gets a segment of its own and two VXLAN
//! interfaces (RFC 7348), which send frames as UDP datagrams and receive them as such: one on that segment, one on
//! the segment where the port was. Both send to a socket of ours. A frame that is passed on gets the identifier of the other interface, and
//! goes back to the kernel. Hosts keep their interfaces, addresses and neighbours. The datagrams go between two namespaces that have nothing
//! else, since the kernel does not send to a program what it thinks is for one of its own interfaces.
//!
//! The physics: frames of both directions are lost independently of each other, as at the edge of a radio's reach once its own repetitions
//! have failed. So a packet from one bad link to another is lost with 1 - (1 - p)². A link that stalls holds the frames of both directions,
//! as an access point does that scans another channel or a station that saves power, and then passes all of them on in their order. Links
//! stall at random, independently of each other.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::{Host, Port, Switch, checksum};
use crate::split_mix::SplitMix64;

/// Length of the VXLAN header. Its identifier is in bytes 4 to 6.
const HEADER: usize = 8;
/// Frames of an interface with an MTU of 1500 are shorter.
const LONGEST: usize = 2_048;
/// A link that stalls holds so many frames, and loses further ones. Chosen: the queue of a usual network card.
const MOST_HELD: usize = 1_000;
/// Where the kernel receives frames as datagrams, and where we do.
const KERNEL: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 255, 0, 1), 4789);
const RELAY: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 255, 0, 2), 4790);
/// How often the thread looks whether it is to end.
const TICK: Duration = Duration::from_millis(20);

/// What is bad about links.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Badness {
    /// The probability that a frame is lost, for each frame.
    pub loss: f64,
    /// How long a link stalls.
    pub stall: Duration,
    /// The mean time from the end of a stall to the next one. Zero: it never stalls.
    pub stall_every: Duration,
}

impl Badness {
    /// Every tenth frame is lost.
    pub const LOSSY: Self = Self { loss: 0.1, stall: Duration::ZERO, stall_every: Duration::ZERO };
    /// Stalls of 200 ms, every second or so.
    pub const STALLING: Self =
        Self { loss: 0.0, stall: Duration::from_millis(200), stall_every: Duration::from_secs(1) };
}

/// What has become of frames.
#[derive(Debug, Default)]
struct Counters {
    passed: AtomicU64,
    lost: AtomicU64,
    held: AtomicU64,
}

/// What has become of the frames on bad links, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Passed on, including those that were held.
    pub passed: u64,
    /// Lost on purpose, or since a link held too many.
    pub lost: u64,
    /// Held by a link that stalled.
    pub held: u64,
}

/// The links of some ports, bad until this is dropped or [`repair`](Self::repair)ed. A port whose links are dropped is cut off.
#[derive(Debug)]
pub struct BadLinks {
    links: Vec<(Port, String)>,
    counters: Arc<Counters>,
    is_ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Where the kernel's datagrams are, and ours.
    hosts: [Host; 2],
}

impl BadLinks {
    /// Makes the links of ports bad, which are each on a segment of `switch`.
    ///
    /// # Errors
    /// What `ip` and `bridge` say, or there is no socket.
    pub fn new(switch: &Switch, ports: &[(Port, &str)], badness: Badness, seed: u64) -> anyhow::Result<Self> {
        let [kernel, relay] = [Host::new()?, Host::new()?];
        kernel.cable("vxlan", &relay, "relay")?;
        for (host, name, (address, _)) in [(&kernel, "vxlan", KERNEL), (&relay, "relay", RELAY)] {
            host.ip(&format!("link set {name} mtu 9000 up\naddr add {address}/24 dev {name}\n"))?;
        }
        let socket = relay.run(|| UdpSocket::bind(RELAY))??;
        let links = ports.iter().map(|(port, segment)| (*port, (*segment).to_owned())).collect();
        let (counters, is_ending) = <(Arc<Counters>, Arc<AtomicBool>)>::default();
        let mut bad = Self { links, counters, is_ending, thread: None, hosts: [kernel, relay] };
        for (port, segment) in &bad.links {
            insert(switch, *port, segment, &bad.hosts[0])?;
        }
        let mut relay = RelayThread {
            socket,
            badness,
            random: SplitMix64::new(seed),
            links: ports.iter().map(|(port, _)| Link::new(*port)).collect(),
            counters: bad.counters.clone(),
        };
        let is_ending = bad.is_ending.clone();
        let run = move || {
            relay.begin();
            while !is_ending.load(Ordering::Relaxed) {
                relay.turn();
            }
        };
        bad.thread = Some(std::thread::Builder::new().name("bad-links".into()).spawn(run)?);
        for (port, _) in &bad.links {
            switch.move_to(&bad_segment(*port), &[*port])?;
        }
        Ok(bad)
    }

    /// What has become of frames so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { passed, lost, held } = &*self.counters;
        Counts { passed: of(passed), lost: of(lost), held: of(held) }
    }

    /// Puts the ports back to where they were.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn repair(self, switch: &Switch) -> anyhow::Result<Counts> {
        for (port, segment) in &self.links {
            switch.move_to(segment, &[*port])?;
            let [near, far] = interfaces(*port);
            let own = bad_segment(*port);
            switch.ip(&format!("link del {near}\nlink del {far}\nlink del {own}\n"))?;
        }
        Ok(self.counts())
    }
}

impl Drop for BadLinks {
    fn drop(&mut self) {
        self.is_ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // fails if it has panicked, which has been printed
        }
    }
}

/// The segment of a port with a bad link.
fn bad_segment(port: Port) -> String {
    format!("bad{}", port.index())
}

/// The VXLAN interfaces on the port's own segment and on the one where it was.
fn interfaces(port: Port) -> [String; 2] {
    ["near", "far"].map(|name| format!("{name}{}", port.index()))
}

/// Their identifiers.
fn identifiers(port: Port) -> [u32; 2] {
    let index = u32::try_from(port.index()).expect("ports are few");
    [2 * index + 2, 2 * index + 3]
}

/// Makes the interfaces of a bad link. They are in the switch. Their datagrams are sent and received in `kernel`, where they are made.
fn insert(switch: &Switch, port: Port, segment: &str, kernel: &Host) -> anyhow::Result<()> {
    let (own, pid) = (bad_segment(port), switch.pid());
    switch.ip(&format!("link add {own} type bridge mcast_snooping 0\nlink set {own} up\n"))?;
    let segments = [own.as_str(), segment];
    for ((name, id), segment) in interfaces(port).iter().zip(identifiers(port)).zip(segments) {
        // Larger frames would arrive here that the kernel means to split later (GSO).
        kernel.ip(&format!(
            "link add {name} netns {pid} mtu 1500 gso_max_segs 1 type vxlan id {id} local {} dstport {} nolearning\n",
            KERNEL.0, KERNEL.1
        ))?;
        let told = switch
            .command("bridge")
            .args(["fdb", "append", "00:00:00:00:00:00", "dev", name.as_str()])
            .args(["dst", &RELAY.0.to_string(), "port", &RELAY.1.to_string()])
            .output()
            .context("cannot run bridge (iproute2)")?;
        if !told.status.success() {
            bail!("bridge fdb: {}", String::from_utf8_lossy(&told.stderr).trim());
        }
        switch.ip(&format!("link set {name} master {segment} up\n"))?;
    }
    Ok(())
}

/// A link, with both its directions.
struct Link {
    identifiers: [u32; 2],
    state: LinkState,
    held: VecDeque<Vec<u8>>,
}

/// Whether a link stalls.
#[derive(Debug, Clone, Copy)]
enum LinkState {
    /// It passes frames on, until then.
    Passes(Option<Instant>),
    /// It holds frames, until then.
    Stalls(Instant),
}

impl Link {
    fn new(port: Port) -> Self {
        Self { identifiers: identifiers(port), state: LinkState::Passes(None), held: VecDeque::new() }
    }

    fn next(&self) -> Option<Instant> {
        match self.state {
            LinkState::Passes(until) => until,
            LinkState::Stalls(until) => Some(until),
        }
    }
}

/// What the thread has that passes frames on.
struct RelayThread {
    socket: UdpSocket,
    badness: Badness,
    random: SplitMix64,
    links: Vec<Link>,
    counters: Arc<Counters>,
}

impl RelayThread {
    /// Sets when each link stalls first.
    fn begin(&mut self) {
        for index in 0..self.links.len() {
            self.links[index].state = LinkState::Passes(self.next_stall(Instant::now()));
        }
    }

    /// When a link stalls that passes frames on from `now`: the intervals of a Poisson process.
    fn next_stall(&mut self, now: Instant) -> Option<Instant> {
        let mean = self.badness.stall_every;
        (!mean.is_zero()).then(|| now + mean.mul_f64(-(1.0 - self.random.uniform()).ln()))
    }

    /// Begins and ends stalls that are due, then waits for a frame for one tick at most.
    fn turn(&mut self) {
        let now = Instant::now();
        for index in 0..self.links.len() {
            self.change(index, now);
        }
        let next = self.links.iter().filter_map(Link::next).min();
        let wait = next.map_or(TICK, |next| next.saturating_duration_since(now)).min(TICK);
        // A timeout of zero would be none.
        let wait = wait.max(Duration::from_micros(100));
        if self.socket.set_read_timeout(Some(wait)).is_err() {
            return;
        }
        let mut datagram = vec![0; LONGEST];
        match self.socket.recv(&mut datagram) {
            Ok(length) => {
                datagram.truncate(length);
                self.handle(datagram);
            }
            // An interface that is being removed refuses what is sent to it.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {}
            Err(_) => std::thread::sleep(TICK),
        }
    }

    /// Lets link `index` begin or end a stall, if that is due.
    fn change(&mut self, index: usize, now: Instant) {
        match self.links[index].state {
            LinkState::Passes(Some(until)) if until <= now => {
                self.links[index].state = LinkState::Stalls(now + self.badness.stall);
            }
            LinkState::Stalls(until) if until <= now => {
                self.links[index].state = LinkState::Passes(self.next_stall(now));
                for datagram in std::mem::take(&mut self.links[index].held) {
                    self.send(&datagram);
                }
            }
            LinkState::Passes(_) | LinkState::Stalls(_) => {}
        }
    }

    /// A frame of one of the interfaces.
    fn handle(&mut self, mut datagram: Vec<u8>) {
        let Some(header) = datagram.get(..HEADER) else { return };
        let from = u32::from_be_bytes([0, header[4], header[5], header[6]]);
        let Some(link) = self.links.iter_mut().find(|link| link.identifiers.contains(&from)) else { return };
        if self.badness.loss > 0.0 && self.random.uniform() < self.badness.loss {
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let [near, far] = link.identifiers;
        let to = if from == near { far } else { near };
        datagram[4..7].copy_from_slice(&to.to_be_bytes()[1..]);
        checksum::complete(&mut datagram[HEADER..]);
        match link.state {
            LinkState::Passes(_) => self.send(&datagram),
            LinkState::Stalls(_) if link.held.len() < MOST_HELD => {
                link.held.push_back(datagram);
                self.counters.held.fetch_add(1, Ordering::Relaxed);
            }
            LinkState::Stalls(_) => drop(self.counters.lost.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Gives a frame back to the kernel. If that fails, the frame is lost like others.
    fn send(&self, datagram: &[u8]) {
        let is_sent = self.socket.send_to(datagram, KERNEL).is_ok();
        let counter = if is_sent { &self.counters.passed } else { &self.counters.lost };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
