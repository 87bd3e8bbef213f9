//! The network of the lab: each device in a network namespace of its own, with one interface, on one of two bridges. The
//! bridges are in the lab's own namespace and do not know each other.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail, ensure};
use rustix::process::geteuid;

/// Most namespaces: so many ports a bridge has.
const MOST: usize = 1_023;

/// The bridge of [`Side::Main`], by which all traffic goes that is not cut off.
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
    const fn bridge(self) -> &'static str {
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

/// Network namespaces on two bridges. They are gone when this is dropped.
pub struct Network {
    nodes: Vec<Node>,
}

/// A network namespace. It lives as long as the process that waits in it, whatever else runs in it.
struct Node {
    holder: Child,
    side: Side,
}

impl Network {
    /// `count` namespaces, all on [`Side::Main`].
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new(count: usize) -> anyhow::Result<Self> {
        ensure!(count <= MOST, "a bridge has {MOST} ports at most");
        let bridge = |side: Side| {
            let name = side.bridge();
            format!("link add {name} type bridge mcast_snooping 0\nlink set {name} up\n")
        };
        batch(&["ip"], &(bridge(Side::Main) + &bridge(Side::Apart) + "link set lo up\n"))?;
        let mut network = Self { nodes: Vec::new() };
        for index in 0..count {
            let holder = hold_namespace()?;
            let pid = holder.id();
            network.nodes.push(Node { holder, side: Side::Main });
            let port = port(index);
            batch(
                &["ip"],
                &format!(
                    "link add {port} type veth peer name eth0 netns {pid}\n\
                     link set {port} master {} up\n",
                    Side::Main.bridge()
                ),
            )?;
            network.configure(
                index,
                &format!(
                    "link set lo up\nlink set eth0 up\naddr add {}/16 broadcast 10.87.255.255 dev eth0\n\
                     route add 224.0.0.0/4 dev eth0\n",
                    address(index)
                ),
            )?;
        }
        Ok(network)
    }

    /// The words to put before a command so that it runs in namespace `index`.
    pub fn entry(&self, index: usize) -> [String; 3] {
        let pid = self.nodes[index].holder.id();
        ["nsenter".to_owned(), format!("--net=/proc/{pid}/ns/net"), "--".to_owned()]
    }

    /// Runs lines for `ip -batch` in namespace `index`.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn configure(&self, index: usize, lines: &str) -> anyhow::Result<()> {
        let inside = self.entry(index);
        let inside: Vec<&str> = inside.iter().map(String::as_str).chain(["ip"]).collect();
        batch(&inside, lines)
    }

    /// The side that namespace `index` is on.
    pub fn side(&self, index: usize) -> Side {
        self.nodes[index].side
    }

    /// Moves namespaces to another side, all at once.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn move_to(&mut self, side: Side, nodes: &[usize]) -> anyhow::Result<()> {
        let line = |index: &usize| format!("link set {} master {}\n", port(*index), side.bridge());
        batch(&["ip"], &nodes.iter().map(line).collect::<String>())?;
        for index in nodes {
            self.nodes[*index].side = side;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.holder.kill(); // fails if it has ended already
            let _ = node.holder.wait();
        }
    }
}

/// Runs lines for `ip -batch` in the lab's own namespace.
///
/// # Errors
/// What `ip` says.
pub fn configure(lines: &str) -> anyhow::Result<()> {
    batch(&["ip"], lines)
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
    format!("port{index}")
}

/// A process in a new network namespace, which ends when it is killed or the lab ends.
fn hold_namespace() -> anyhow::Result<Child> {
    let mut holder = Command::new("unshare")
        .args(["--net", "--", "sh", "-c", "echo; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot run unshare")?;
    let mut line = String::new();
    let out = holder.stdout.take().context("its output is piped")?;
    BufReader::new(out).read_line(&mut line)?;
    ensure!(!line.is_empty(), "no namespace could be made");
    Ok(holder)
}

/// Runs lines for `ip -batch`.
fn batch(ip: &[impl AsRef<OsStr>], lines: &str) -> anyhow::Result<()> {
    let (program, arguments) = ip.split_first().context("no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip (iproute2)")?;
    child.stdin.take().context("its input is piped")?.write_all(lines.as_bytes())?;
    let ended = child.wait_with_output()?;
    ensure!(ended.status.success(), "ip: {}", String::from_utf8_lossy(&ended.stderr).trim());
    Ok(())
}
