//! A switch: bridges in a namespace, and the ports that hosts are plugged into.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Host;
use super::host::{batch, command_in};

/// A switch whose segments do not know each other.
#[derive(Debug)]
pub struct Switch {
    /// Its own namespace. `None`: that of this process.
    host: Option<Host>,
    ports: AtomicUsize,
}

/// A port of a switch: the other end of a host's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(usize);

impl Port {
    /// Its interface in the switch.
    pub(crate) fn interface(self) -> String {
        format!("port{}", self.0)
    }

    /// The one that was plugged into after `index` others.
    pub(crate) const fn at(index: usize) -> Self {
        Self(index)
    }

    pub(super) const fn index(self) -> usize {
        self.0
    }
}

impl Switch {
    /// A switch with these segments, in a namespace of its own.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new(segments: &[&str]) -> anyhow::Result<Self> {
        Self::on(Some(Host::new()?), segments)
    }

    /// A switch in the namespace of this process, for whoever looks at the packets on it. There can be one.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn in_this_namespace(segments: &[&str]) -> anyhow::Result<Self> {
        Self::on(None, segments)
    }

    fn on(host: Option<Host>, segments: &[&str]) -> anyhow::Result<Self> {
        let switch = Self { host, ports: AtomicUsize::new(0) };
        for segment in segments {
            switch
                .ip(&format!("link add {segment} type bridge mcast_snooping 0\nlink set {segment} up\n"))?;
        }
        Ok(switch)
    }

    /// Runs lines for `ip -batch` where it is.
    pub(super) fn ip(&self, lines: &str) -> anyhow::Result<()> {
        batch(self.host.as_ref(), lines)
    }

    /// A command that runs where it is.
    pub(super) fn command(&self, program: &str) -> Command {
        command_in(self.host.as_ref(), program)
    }

    /// A process in its namespace.
    pub(super) fn pid(&self) -> u32 {
        self.host.as_ref().map_or_else(std::process::id, Host::pid)
    }

    /// Plugs interface `name` of `host`, which is new, into a port on `segment`. The interface is down.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn plug(&self, host: &Host, name: &str, segment: &str) -> anyhow::Result<Port> {
        let port = Port(self.ports.fetch_add(1, Ordering::Relaxed));
        host.cable_to(name, self.pid(), &port.interface())?;
        self.ip(&format!("link set {} master {segment} up\n", port.interface()))?;
        Ok(port)
    }

    /// Moves ports to another segment, all at once. Their hosts do not notice: the link stays up.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn move_to(&self, segment: &str, ports: &[Port]) -> anyhow::Result<()> {
        self.ip(&lines(ports, &format!("master {segment}")))
    }

    /// Takes ports off their segments, as if what is plugged in had lost its power: packets vanish, and nobody is told.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn cut_off(&self, ports: &[Port]) -> anyhow::Result<()> {
        self.ip(&lines(ports, "nomaster"))
    }
}

fn lines(ports: &[Port], what: &str) -> String {
    ports.iter().map(|port| format!("link set {} {what}\n", port.interface())).collect()
}
