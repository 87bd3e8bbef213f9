//! A switch: bridges in a namespace of their own, and the ports that hosts are plugged into.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Host;

/// A switch whose segments do not know each other.
#[derive(Debug)]
pub struct Switch {
    host: Host,
    ports: AtomicUsize,
}

/// A port of a switch: the other end of a host's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(usize);

impl Port {
    /// Its interface in the switch.
    pub(super) fn interface(self) -> String {
        format!("port{}", self.0)
    }

    pub(super) const fn index(self) -> usize {
        self.0
    }
}

impl Switch {
    /// A switch with these segments.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new(segments: &[&str]) -> anyhow::Result<Self> {
        let host = Host::new()?;
        for segment in segments {
            host.ip(&format!("link add {segment} type bridge mcast_snooping 0\nlink set {segment} up\n"))?;
        }
        Ok(Self { host, ports: AtomicUsize::new(0) })
    }

    /// The namespace that the switch is in.
    pub(super) const fn host(&self) -> &Host {
        &self.host
    }

    /// Plugs interface `name` of `host`, which is new, into a port on `segment`. The interface is down.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn plug(&self, host: &Host, name: &str, segment: &str) -> anyhow::Result<Port> {
        let port = Port(self.ports.fetch_add(1, Ordering::Relaxed));
        host.cable(name, &self.host, &port.interface())?;
        self.host.ip(&format!("link set {} master {segment} up\n", port.interface()))?;
        Ok(port)
    }

    /// Moves ports to another segment, all at once. Their hosts do not notice: the link stays up.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn move_to(&self, segment: &str, ports: &[Port]) -> anyhow::Result<()> {
        self.host.ip(&lines(ports, &format!("master {segment}")))
    }

    /// Takes ports off their segments, as if what is plugged in had lost its power: packets vanish, and nobody is told.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn cut_off(&self, ports: &[Port]) -> anyhow::Result<()> {
        self.host.ip(&lines(ports, "nomaster"))
    }
}

fn lines(ports: &[Port], what: &str) -> String {
    ports.iter().map(|port| format!("link set {} {what}\n", port.interface())).collect()
}
