//! Zenoh's configuration of a session.

use std::net::{IpAddr, SocketAddr};

use crate::tls::{endpoint_with, secure};
use crate::{ControlError, RigConfig};

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionRole {
    /// Belongs to the rig for as long as it runs. Others connect to it.
    Resident,
    /// Asks and leaves again. Others need not find it by scouting, since it finds them.
    Visitor,
}

/// The endpoints to listen at. Every session listens, since of two peers only one may be able to reach the other. If all
/// addresses to connect to are on loopback, it listens on loopback only.
fn listen_endpoints(config: &RigConfig) -> Vec<String> {
    if !config.listen.is_empty() {
        config.listen.clone()
    } else if !config.connect.is_empty() && config.connect.iter().all(|endpoint| is_loopback(endpoint)) {
        vec!["tcp/127.0.0.1:0".into()]
    } else {
        vec!["tcp/[::]:0".into()]
    }
}

/// Zenoh's configuration for a session of `config`.
pub(crate) fn zenoh_config(config: &RigConfig, role: SessionRole) -> Result<zenoh::Config, ControlError> {
    for endpoint in config.listen.iter().chain(&config.connect) {
        check(endpoint, config.key.is_some())?;
    }
    let used = |endpoints: &[String]| -> Vec<String> {
        endpoints.iter().map(|endpoint| endpoint_with(endpoint, config.key.as_ref())).collect()
    };
    let mut zenoh = zenoh::Config::default();
    secure(&mut zenoh, config.key.as_ref())?;
    let mut set = |key: &str, value: String| {
        zenoh.insert_json5(key, &value).map_err(|source| ControlError::zenoh("configure Zenoh", source))
    };
    set("mode", "\"peer\"".into())?;
    set("listen/endpoints", json_list(&used(&listen_endpoints(config))))?;
    set("connect/endpoints", json_list(&used(&config.connect)))?;
    // Opening does not wait for a connection: the leader may be switched on last.
    set("connect/timeout_ms", "-1".into())?;
    set("connect/exit_on_failure", "false".into())?;
    set("connect/retry", "{ period_init_ms: 200, period_max_ms: 2000 }".into())?;
    // A visitor finds out by itself whether it sees all devices. Zenoh's own wait sometimes takes its full half second, when
    // two peers connect to each other at once.
    set("open/return_conditions/connect_scouted", (role == SessionRole::Resident).to_string())?;
    set("scouting/multicast/enabled", config.is_discovering().to_string())?;
    set("scouting/multicast/listen", (role == SessionRole::Resident).to_string())?;
    Ok(zenoh)
}

/// Checks that `endpoint` is well formed. Zenoh accepts many endpoints that it cannot use, and says so only in its log.
fn check(endpoint: &str, has_key: bool) -> Result<(), ControlError> {
    let wrong = |why| Err(ControlError::Endpoint { endpoint: endpoint.into(), why });
    let Some((protocol, address)) = endpoint.split_once('/') else {
        return wrong("it lacks the protocol");
    };
    match protocol {
        "tcp" => (),
        "tls" if has_key => (),
        "tls" => return wrong("tls takes the rig's key (key-file=, --key-file)"),
        _ => return wrong("this swsync speaks tcp only, with a key inside TLS"),
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
    // `Debug` of a string is a JSON string too, except for control characters, which Zenoh's parser refuses.
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
    fn a_session_listens_on_loopback_only_if_it_connects_to_loopback_only() {
        let local = config(&[], &["tcp/127.0.0.1:7447"]);
        assert_eq!(listen_endpoints(&local), ["tcp/127.0.0.1:0"]);
        let local = config(&[], &["tcp/localhost:7447", "tcp/[::1]:7447"]);
        assert_eq!(listen_endpoints(&local), ["tcp/127.0.0.1:0"]);
        let remote = config(&[], &["tcp/127.0.0.1:7447", "tcp/pi0:7447"]);
        assert_eq!(listen_endpoints(&remote), ["tcp/[::]:0"]);
        assert_eq!(listen_endpoints(&config(&[], &[])), ["tcp/[::]:0"]);
        let given = config(&["tcp/0.0.0.0:7447"], &["tcp/127.0.0.1:7447"]);
        assert_eq!(listen_endpoints(&given), ["tcp/0.0.0.0:7447"]);
    }

    #[test]
    fn endpoints_are_checked_before_zenoh_sees_them() {
        for good in ["tcp/pi0:7447", "tcp/[::1]:0", "tcp/10.0.0.1:7447#iface=eth0"] {
            let result = zenoh_config(&config(&[], &[good]), SessionRole::Resident);
            assert!(result.is_ok(), "{good}: {}", result.unwrap_err());
        }
        for bad in ["", "pi0", "pi0:7447", "tcp/pi0", "tcp/:7447", "tcp/pi0:http", "udp/pi0:7447"] {
            let error = zenoh_config(&config(&[], &[bad]), SessionRole::Resident).unwrap_err();
            assert!(matches!(error, ControlError::Endpoint { .. }), "{bad}: {error}");
        }
    }
}
