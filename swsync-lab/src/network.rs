//! The network of the lab: each device in a network namespace of its own, with one interface, on one of two segments of a switch. The
//! segments do not know each other.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use rustix::process::geteuid;

use crate::net::{BadLinks, Badness, Counts, Host, Port, Switch, batch};

/// Most namespaces: so many ports a bridge has.
const MOST: usize = 1_023;

/// The segment of [`Side::Main`], by which all traffic goes that is not cut off: a bridge in the lab's own namespace.
pub const MAIN_BRIDGE: &str = "main";

/// Set in the process that is in the lab's own network namespace.
const INSIDE: &str = "SWSYNC_LAB_NAMESPACE";

/// A part of the network. Those on one side reach each other, and nobody on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Where all are at first.
    Main,
    /// Where those are that were cut off.
    Apart,
}

impl Side {
    const fn segment(self) -> &'static str {
        match self {
            Self::Main => MAIN_BRIDGE,
            Self::Apart => "apart",
        }
    }

    /// Its index.
    pub const fn index(self) -> usize {
        match self {
            Self::Main => 0,
            Self::Apart => 1,
        }
    }
}

/// Makes this process one in a network namespace of its own, by starting the program once more in it. Returns in that
/// process only.
///
/// # Errors
/// This user may not make namespaces.
pub fn enter() -> anyhow::Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    // Root makes the namespace as it is. Others are root in a user namespace of their own.
    let as_root: &[&str] = &["--net", "--"];
    let as_user: &[&str] = &["--user", "--map-root-user", "--net", "--"];
    let options = if geteuid().is_root() { as_root } else { as_user };
    let may = Command::new("unshare").args(options).args(["ip", "link", "set", "lo", "up"]).output();
    let may = may.context("cannot run unshare (util-linux)")?;
    if !may.status.success() {
        bail!(
            "may not make a network namespace, or there is no ip (iproute2): {}. Root may, and so may users where user \
             namespaces are allowed (on Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0)",
            String::from_utf8_lossy(&may.stderr).trim()
        );
    }
    let program = std::env::current_exe()?;
    let error = Command::new("unshare")
        .args(options)
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error).context("cannot run unshare")
}

/// Hosts on two segments. They are gone when this is dropped.
pub struct Network {
    nodes: Vec<Node>,
    switch: Switch,
    bad: Option<BadLinks>,
}

/// A host, and where it is plugged in.
struct Node {
    host: Host,
    port: Port,
    side: Side,
}

impl Network {
    /// `count` hosts, all on [`Side::Main`].
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new(count: usize) -> anyhow::Result<Self> {
        ensure!(count <= MOST, "a bridge has {MOST} ports at most");
        configure("link set lo up\n")?;
        let switch = Switch::in_this_namespace(&[Side::Main.segment(), Side::Apart.segment()])?;
        let node = |index| {
            let host = Host::new()?;
            let port = switch.plug(&host, "eth0", Side::Main.segment())?;
            host.bring_up("eth0", &format!("{}/16", address(index)))?;
            anyhow::Ok(Node { host, port, side: Side::Main })
        };
        Ok(Self { nodes: (0..count).map(node).collect::<Result<_, _>>()?, switch, bad: None })
    }

    /// The words to put before a command so that it runs on host `index`.
    pub fn entry(&self, index: usize) -> [String; 3] {
        self.nodes[index].host.entry()
    }

    /// Runs lines for `ip -batch` in namespace `index`.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn configure(&self, index: usize, lines: &str) -> anyhow::Result<()> {
        self.nodes[index].host.ip(lines)
    }

    /// The side that host `index` is on.
    pub fn side(&self, index: usize) -> Side {
        self.nodes[index].side
    }

    /// Moves hosts to another side, all at once. Their links are good.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn move_to(&mut self, side: Side, nodes: &[usize]) -> anyhow::Result<()> {
        let ports: Vec<_> = nodes.iter().map(|index| self.nodes[*index].port).collect();
        self.switch.move_to(side.segment(), &ports)?;
        for index in nodes {
            self.nodes[*index].side = side;
        }
        Ok(())
    }

    /// Makes the links of hosts bad, in place of those that are.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn make_bad(&mut self, nodes: &[usize], badness: Badness, seed: u64) -> anyhow::Result<()> {
        self.repair_links()?;
        let of = |index: &usize| (self.nodes[*index].port, self.nodes[*index].side.segment());
        let ports: Vec<_> = nodes.iter().map(of).collect();
        self.bad = Some(BadLinks::new(&self.switch, &ports, badness, seed)?);
        Ok(())
    }

    /// Makes all links good; what has become of the frames on the bad ones.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn repair_links(&mut self) -> anyhow::Result<Option<Counts>> {
        self.bad.take().map(|bad| bad.repair(&self.switch)).transpose()
    }

    /// How many TCP connections host `index` has.
    ///
    /// # Errors
    /// `ss` (iproute2) cannot be run.
    pub fn connections(&self, index: usize) -> anyhow::Result<usize> {
        let [program, arguments @ ..] = self.entry(index);
        let said = Command::new(program)
            .args(arguments)
            .args(["ss", "--tcp", "--no-header", "--numeric", "state", "established"])
            .output()?;
        ensure!(said.status.success(), "ss (iproute2): {}", String::from_utf8_lossy(&said.stderr).trim());
        Ok(String::from_utf8_lossy(&said.stdout).lines().count())
    }
}

/// Runs lines for `ip -batch` in the lab's own namespace.
///
/// # Errors
/// What `ip` says.
pub fn configure(lines: &str) -> anyhow::Result<()> {
    batch(None, lines)
}

/// The address of namespace `index`.
///
/// # Panics
/// If there are not so many.
#[must_use]
pub fn address(index: usize) -> Ipv4Addr {
    let host = u16::try_from(index + 1).expect("a bridge has 1023 ports");
    let [high, low] = host.to_be_bytes();
    Ipv4Addr::new(10, 87, high, low)
}

/// The end of namespace `index`'s interface that is on a bridge.
pub fn port(index: usize) -> String {
    Port::at(index).interface()
}
