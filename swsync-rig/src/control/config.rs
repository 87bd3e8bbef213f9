//! Which rig, and how to reach it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use swsync_core::name::Name;

use super::ControlError;

/// The rig's name where nobody chose one.
pub const DEFAULT_RIG: &str = "swsync";

/// Which rig to join, and how to reach it. Zenoh endpoints are `tcp/HOST:PORT`.
///
/// With neither [`listen`](Self::listen) nor [`connect`](Self::connect), Zenoh finds the others by
/// itself: multicast scouting, then each peer tells of the others it knows (gossip). With either,
/// scouting is off and only these are used, plus gossip: one reachable device leads to all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RigConfig {
    /// The rig's name.
    pub rig: Name,
    /// Where to accept connections; empty: a port of the system's choice.
    pub listen: Vec<String>,
    /// Whom to connect to.
    pub connect: Vec<String>,
}

impl Default for RigConfig {
    fn default() -> Self {
        Self::discovering(Name::new(DEFAULT_RIG).expect("the default is a name"))
    }
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Belongs to the rig for as long as it runs: can be connected to.
    Resident,
    /// Comes to ask and leaves again: nobody needs to find it by scouting, since it finds them.
    Visitor,
}

/// How others are looked for, in words: part of messages that say that nobody was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search(RigConfig);

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(config) = self;
        if config.is_discovering() {
            return f.write_str("multicast scouting on every network interface");
        }
        if !config.connect.is_empty() {
            write!(f, "connections to {}", config.connect.join(", "))?;
        }
        if !config.listen.is_empty() {
            let and = if config.connect.is_empty() { "" } else { " and " };
            write!(f, "{and}callers at {}", config.listen.join(", "))?;
        }
        Ok(())
    }
}

impl RigConfig {
    /// The rig `rig`, found by Zenoh's own discovery.
    #[must_use]
    pub const fn discovering(rig: Name) -> Self {
        Self { rig, listen: Vec::new(), connect: Vec::new() }
    }

    /// Whether Zenoh's own discovery is used.
    #[must_use]
    pub const fn is_discovering(&self) -> bool {
        self.listen.is_empty() && self.connect.is_empty()
    }

    /// How others are looked for, in words.
    #[must_use]
    pub fn search(&self) -> Search {
        Search(self.clone())
    }

    /// Where to listen. Everyone does, for of two peers it may be that only one can reach the other. On
    /// loopback only, where all that is asked for is on loopback.
    fn listen_endpoints(&self) -> Vec<String> {
        if !self.listen.is_empty() {
            self.listen.clone()
        } else if !self.connect.is_empty() && self.connect.iter().all(|endpoint| is_loopback(endpoint)) {
            vec!["tcp/127.0.0.1:0".into()]
        } else {
            vec!["tcp/[::]:0".into()]
        }
    }

    /// As Zenoh's configuration.
    pub(super) fn to_zenoh(&self, role: Role) -> Result<zenoh::Config, ControlError> {
        for endpoint in self.listen.iter().chain(&self.connect) {
            check(endpoint)?;
        }
        let mut zenoh = zenoh::Config::default();
        let mut set = |key: &str, value: String| {
            zenoh.insert_json5(key, &value).map_err(|source| ControlError::zenoh("configure Zenoh", source))
        };
        set("mode", "\"peer\"".into())?;
        set("listen/endpoints", json_list(&self.listen_endpoints()))?;
        set("connect/endpoints", json_list(&self.connect))?;
        // Nobody waits for the first try: a leader may be switched on last.
        set("connect/timeout_ms", "-1".into())?;
        set("connect/exit_on_failure", "false".into())?;
        set("connect/retry", "{ period_init_ms: 200, period_max_ms: 2000 }".into())?;
        // A visitor looks for itself whether the picture is complete. Zenoh's own waiting now and then
        // takes its full half second, when two peers connect to each other at once.
        set("open/return_conditions/connect_scouted", (role == Role::Resident).to_string())?;
        set("scouting/multicast/enabled", self.is_discovering().to_string())?;
        set("scouting/multicast/listen", (role == Role::Resident).to_string())?;
        Ok(zenoh)
    }
}

/// Whether `endpoint` can be an endpoint at all. Zenoh takes much that it cannot use, and says so
/// only in its log.
fn check(endpoint: &str) -> Result<(), ControlError> {
    let wrong = |why| Err(ControlError::Endpoint { endpoint: endpoint.into(), why });
    let Some((protocol, address)) = endpoint.split_once('/') else {
        return wrong("it lacks the protocol");
    };
    if protocol != "tcp" {
        return wrong("this swsync speaks tcp only");
    }
    let address = address.split(['?', '#']).next().unwrap_or_default();
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
        _ => wrong("it lacks host or port"),
    }
}

/// Whether `endpoint` is on this host's loopback interface.
fn is_loopback(endpoint: &str) -> bool {
    let address = endpoint.split_once('/').map_or("", |(_, address)| address);
    let address = address.split(['?', '#']).next().unwrap_or_default();
    address
        .parse::<SocketAddr>()
        .map(|address| address.ip())
        .or_else(|_| address.parse::<IpAddr>())
        .map_or_else(|_| address.starts_with("localhost:"), |ip| ip.is_loopback())
}

/// `items` as a JSON list.
fn json_list(items: &[String]) -> String {
    // `Debug` of a string is a JSON string too, but for control characters. No endpoint has those, and
    // Zenoh's parser says so.
    format!("{items:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &[&str], connect: &[&str]) -> RigConfig {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        RigConfig { listen: owned(listen), connect: owned(connect), ..RigConfig::default() }
    }

    #[test]
    fn loopback_is_not_left_unasked() {
        let local = config(&[], &["tcp/127.0.0.1:7447"]);
        assert_eq!(local.listen_endpoints(), ["tcp/127.0.0.1:0"]);
        let local = config(&[], &["tcp/localhost:7447", "tcp/[::1]:7447"]);
        assert_eq!(local.listen_endpoints(), ["tcp/127.0.0.1:0"]);
        let remote = config(&[], &["tcp/127.0.0.1:7447", "tcp/pi0:7447"]);
        assert_eq!(remote.listen_endpoints(), ["tcp/[::]:0"]);
        assert_eq!(config(&[], &[]).listen_endpoints(), ["tcp/[::]:0"]);
        let given = config(&["tcp/0.0.0.0:7447"], &["tcp/127.0.0.1:7447"]);
        assert_eq!(given.listen_endpoints(), ["tcp/0.0.0.0:7447"]);
    }

    #[test]
    fn endpoints_are_checked_before_zenoh_sees_them() {
        for good in ["tcp/pi0:7447", "tcp/[::1]:0", "tcp/10.0.0.1:7447#iface=eth0"] {
            let result = config(&[], &[good]).to_zenoh(Role::Resident);
            assert!(result.is_ok(), "{good}: {}", result.unwrap_err());
        }
        for bad in ["", "pi0", "pi0:7447", "tcp/pi0", "tcp/:7447", "tcp/pi0:http", "udp/pi0:7447"] {
            let error = config(&[], &[bad]).to_zenoh(Role::Resident).unwrap_err();
            assert!(matches!(error, ControlError::Endpoint { .. }), "{bad}: {error}");
        }
    }

    #[test]
    fn a_search_says_where_it_looked() {
        assert!(config(&[], &[]).search().to_string().contains("multicast"));
        let both = config(&["tcp/0.0.0.0:1"], &["tcp/pi0:1", "tcp/pi1:1"]).search();
        assert_eq!(both.to_string(), "connections to tcp/pi0:1, tcp/pi1:1 and callers at tcp/0.0.0.0:1");
    }
}
