//! Which rig to join, and how to reach it.

use std::fmt;

use swsync_core::key::RigKey;
use swsync_core::name::Name;

use crate::settings::endpoint_without_secrets;
use crate::zenoh_config::is_loopback;

/// The default name of a rig.
pub const DEFAULT_RIG: &str = "swsync";

/// Which rig to join, and how to reach it. Zenoh endpoints are `tcp/HOST:PORT`.
///
/// With neither [`listen`](Self::listen) nor [`connect`](Self::connect), hubs of the rig are found by multicast. With either, only these
/// addresses are used, and those that the hubs found there tell: one reachable hub leads to all others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RigConfig {
    /// The rig's name.
    pub rig: Name,
    /// Where to accept connections: this session runs a hub there. Empty: it runs one only if the rig needs it, at any free port.
    pub listen: Vec<String>,
    /// Whom to connect to.
    pub connect: Vec<String>,
    /// The rig's key. Without one, anybody on the network is part of the rig.
    pub key: Option<RigKey>,
}

impl Default for RigConfig {
    fn default() -> Self {
        Self::discovering(Name::new(DEFAULT_RIG).expect("the default is a name"))
    }
}

/// How others are looked for, in words: part of the error that no device was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search(RigConfig);

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(config) = self;
        if config.is_discovering() {
            return f.write_str("multicast scouting on every network interface");
        }
        if !config.connect.is_empty() {
            write!(f, "connections to {}", shown(&config.connect))?;
        }
        if !config.listen.is_empty() {
            let and = if config.connect.is_empty() { "" } else { " and " };
            write!(f, "{and}callers at {}", shown(&config.listen))?;
        }
        Ok(())
    }
}

/// Endpoints for a person: their configuration can hold keys.
pub(crate) fn shown(endpoints: &[String]) -> String {
    endpoints.iter().map(|endpoint| endpoint_without_secrets(endpoint)).collect::<Vec<_>>().join(", ")
}

impl RigConfig {
    /// The rig `rig`, reached by these endpoints.
    #[must_use]
    pub const fn new(rig: Name, listen: Vec<String>, connect: Vec<String>) -> Self {
        Self { rig, listen, connect, key: None }
    }

    /// The same rig, with its key: nobody who lacks it can take part. Endpoints written `tcp/HOST:PORT` are used with TLS.
    #[must_use]
    pub fn with_key(self, key: Option<RigKey>) -> Self {
        Self { key, ..self }
    }

    /// The rig `rig`, found by Zenoh's own discovery.
    #[must_use]
    pub const fn discovering(rig: Name) -> Self {
        Self::new(rig, Vec::new(), Vec::new())
    }

    /// Whether Zenoh's own discovery is used.
    #[must_use]
    pub const fn is_discovering(&self) -> bool {
        self.listen.is_empty() && self.connect.is_empty()
    }

    /// Whether all addresses to connect to are on loopback.
    pub(crate) fn is_local(&self) -> bool {
        !self.connect.is_empty() && self.connect.iter().all(|endpoint| is_loopback(endpoint))
    }

    /// How others are looked for, in words.
    #[must_use]
    pub fn search(&self) -> Search {
        Search(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &[&str], connect: &[&str]) -> RigConfig {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        RigConfig { listen: owned(listen), connect: owned(connect), ..RigConfig::default() }
    }

    #[test]
    fn a_search_says_where_it_looks() {
        assert!(config(&[], &[]).search().to_string().contains("multicast"));
        let both = config(&["tcp/0.0.0.0:1"], &["tcp/pi0:1", "tcp/pi1:1"]).search();
        assert_eq!(both.to_string(), "connections to tcp/pi0:1, tcp/pi1:1 and callers at tcp/0.0.0.0:1");
        let secret = config(&["tcp/0.0.0.0:1#pass=s3"], &["tcp/me:s3@pi0:1?s3"]).search();
        assert_eq!(secret.to_string(), "connections to tcp/pi0:1 and callers at tcp/0.0.0.0:1");
    }
}
