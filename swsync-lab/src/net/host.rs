//! A host: a network namespace, which lives as long as the process that waits in it, whatever else runs in it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace. Its interfaces are gone when this is dropped, if no process is left in it.
#[derive(Debug)]
pub struct Host {
    holder: Child,
}

impl Host {
    /// A host without a network; its loopback interface is up.
    ///
    /// # Errors
    /// This process may not make namespaces.
    pub fn new() -> anyhow::Result<Self> {
        // cat ends when this process does, however that ends.
        let mut holder = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .process_group(0)
            .spawn()
            .context("cannot run unshare (util-linux)")?;
        let mut line = String::new();
        let out = holder.stdout.take().context("its output is piped")?;
        BufReader::new(out).read_line(&mut line)?;
        ensure!(!line.is_empty(), "no namespace could be made");
        let host = Self { holder };
        host.ip("link set lo up\n")?;
        Ok(host)
    }

    /// The process that waits in it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// The words to put before a command so that it runs in this namespace.
    #[must_use]
    pub fn entry(&self) -> [String; 3] {
        ["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.pid()), "--".to_owned()]
    }

    /// Runs `work` on a thread in this namespace: sockets made there are this host's.
    ///
    /// # Errors
    /// The thread may not enter the namespace.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.pid()))?;
        let enter = || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            anyhow::Ok(work())
        };
        std::thread::scope(|scope| scope.spawn(enter).join().map_err(|_| anyhow!("a thread has panicked")))?
    }

    /// Runs lines for `ip -batch` in it.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, lines: &str) -> anyhow::Result<()> {
        batch(Some(self), lines)
    }

    /// Sets a kernel setting of its network, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// There is no such setting, or it may not be set.
    pub fn set(&self, setting: &str, value: &str) -> anyhow::Result<()> {
        let ended = command_in(Some(self), "sh")
            .args(["-c", "echo \"$1\" >\"/proc/sys/$2\"", "sh", value, setting])
            .output()
            .context("cannot run nsenter (util-linux)")?;
        ensure!(ended.status.success(), "{setting}: {}", String::from_utf8_lossy(&ended.stderr).trim());
        Ok(())
    }

    /// Lays a cable from interface `name` of this host to interface `other_name` of another. Both are down.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn cable(&self, name: &str, other: &Self, other_name: &str) -> anyhow::Result<()> {
        self.cable_to(name, other.pid(), other_name)
    }

    /// Lays a cable to the namespace of a process.
    pub(super) fn cable_to(&self, name: &str, pid: u32, other_name: &str) -> anyhow::Result<()> {
        self.ip(&format!("link add {name} type veth peer name {other_name} netns {pid}\n"))
    }

    /// Brings an interface up with an address, such as `10.87.0.1/24`, and sends multicast through it.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn bring_up(&self, name: &str, address: &str) -> anyhow::Result<()> {
        self.ip(&format!(
            "link set {name} up\naddr add {address} broadcast + dev {name}\nroute replace 224.0.0.0/4 dev {name}\n"
        ))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.holder.kill(); // fails if it has ended already
        let _ = self.holder.wait();
    }
}

/// `program` as a command in the namespace of a host, or in that of this process.
pub(super) fn command_in(host: Option<&Host>, program: &str) -> Command {
    let Some(host) = host else { return Command::new(program) };
    let [nsenter, arguments @ ..] = host.entry();
    let mut command = Command::new(nsenter);
    command.args(arguments).arg(program);
    command
}

/// Runs lines for `ip -batch` in the namespace of a host, or in that of this process.
///
/// # Errors
/// What `ip` says.
pub(crate) fn batch(host: Option<&Host>, lines: &str) -> anyhow::Result<()> {
    let mut child = command_in(host, "ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run ip (iproute2)")?;
    child.stdin.take().context("its input is piped")?.write_all(lines.as_bytes())?;
    let ended = child.wait_with_output()?;
    ensure!(ended.status.success(), "ip: {}, of:\n{lines}", String::from_utf8_lossy(&ended.stderr).trim());
    Ok(())
}
