//! Zenoh's configuration of clients and hubs.

use std::net::{IpAddr, SocketAddr};

use swsync_core::key::RigKey;
use swsync_core::message::MAX_MESSAGE;

use crate::tls::{endpoint_with, protocol, secure};
use crate::{ControlError, RigConfig, host};

/// Longest message that is put together from its parts, in bytes: one of [`MAX_MESSAGE`] with its key and Zenoh's headers.
const MAX_ASSEMBLED: usize = MAX_MESSAGE + (1 << 16);

/// How long a connection to someone who does not answer may take to open.
const OPEN_TIMEOUT_MS: u64 = 2_000;

/// A hub that sends nothing for so long is lost: its host has no power, or no network. It sends something four times as often. Chosen: an
/// access point that is busy may hold a packet back for a second.
pub(crate) const HUB_LEASE_MS: u64 = 2_500;

/// A client that sends nothing for so long is lost. Longer, since that costs packets, and who waits for a device asks it.
const CLIENT_LEASE_MS: u64 = 10_000;

/// How long a full connection may hold up the others before it is closed.
const BLOCKED_US: u64 = 1_000_000;

/// The endpoint of a hub at `address`.
fn endpoint(address: SocketAddr, key: Option<&RigKey>) -> String {
    format!("{}/{address}", protocol(key))
}

/// Checks the endpoints of `config`.
pub(crate) fn check_endpoints(config: &RigConfig) -> Result<(), ControlError> {
    config.listen.iter().chain(&config.connect).try_for_each(|endpoint| check(endpoint, config.key.is_some()))
}

/// Zenoh's configuration for a client of the hub at `address`.
pub(crate) fn client_config(
    address: SocketAddr,
    key: Option<&RigKey>,
) -> Result<zenoh::Config, ControlError> {
    let mut zenoh = common_config("client", CLIENT_LEASE_MS, key)?;
    set(&mut zenoh, "connect/endpoints", json_list(&[endpoint(address, key)]))?;
    // Opening fails if the hub does not answer.
    set(&mut zenoh, "connect/timeout_ms", "0".into())?;
    set(&mut zenoh, "scouting/multicast/enabled", "false".into())?;
    Ok(zenoh)
}

/// Zenoh's configuration for a hub that listens at `listening` and links with the hubs at `others`, and with all that it finds.
pub(crate) fn router_config(
    config: &RigConfig,
    listening: &[String],
    others: &[SocketAddr],
) -> Result<zenoh::Config, ControlError> {
    let key = config.key.as_ref();
    let mut zenoh = common_config("router", HUB_LEASE_MS, key)?;
    let used = |endpoints: &[String]| -> Vec<String> {
        endpoints.iter().map(|endpoint| endpoint_with(endpoint, key)).collect()
    };
    let mut connect = used(&config.connect);
    connect.extend(others.iter().map(|address| endpoint(*address, key)));
    set(&mut zenoh, "listen/endpoints", json_list(&used(listening)))?;
    set(&mut zenoh, "connect/endpoints", json_list(&connect))?;
    // These may be there later, or again.
    set(&mut zenoh, "connect/timeout_ms", "-1".into())?;
    set(&mut zenoh, "connect/exit_on_failure", "false".into())?;
    set(&mut zenoh, "connect/retry", "{ period_init_ms: 200, period_max_ms: 2000 }".into())?;
    set(&mut zenoh, "scouting/delay", "0".into())?;
    set(&mut zenoh, "scouting/multicast/enabled", config.is_discovering().to_string())?;
    set_interfaces(&mut zenoh)?;
    for how in ["multicast", "gossip"] {
        set(&mut zenoh, &format!("scouting/{how}/autoconnect"), "{ router: [\"router\"] }".into())?;
    }
    Ok(zenoh)
}

/// Zenoh's configuration to look for hubs by multicast.
pub(crate) fn scouting_config() -> Result<zenoh::Config, ControlError> {
    let mut zenoh = zenoh::Config::default();
    set_interfaces(&mut zenoh)?;
    Ok(zenoh)
}

/// Says on which interfaces to look for others by multicast: those that there are now. By itself Zenoh (1.10) takes those that there were
/// when the process first asked for them (`zenoh_util::net::IFACES`).
fn set_interfaces(zenoh: &mut zenoh::Config) -> Result<(), ControlError> {
    let addresses = host::addresses().into_iter().filter(IpAddr::is_ipv4).map(|ip| ip.to_string());
    let addresses = addresses.collect::<Vec<_>>().join(",");
    if addresses.is_empty() {
        return Ok(());
    }
    set(zenoh, "scouting/multicast/interface", format!("{addresses:?}"))
}

fn common_config(mode: &str, lease_ms: u64, key: Option<&RigKey>) -> Result<zenoh::Config, ControlError> {
    let mut zenoh = zenoh::Config::default();
    secure(&mut zenoh, key)?;
    for (key, value) in [
        ("mode", format!("{mode:?}")),
        ("transport/link/tx/lease", lease_ms.to_string()),
        ("transport/link/rx/max_message_size", MAX_ASSEMBLED.to_string()),
        ("transport/link/tx/queue/congestion_control/block/wait_before_close", BLOCKED_US.to_string()),
        ("transport/unicast/open_timeout", OPEN_TIMEOUT_MS.to_string()),
        ("transport/unicast/accept_timeout", OPEN_TIMEOUT_MS.to_string()),
    ] {
        set(&mut zenoh, key, value)?;
    }
    Ok(zenoh)
}

fn set(zenoh: &mut zenoh::Config, key: &str, value: String) -> Result<(), ControlError> {
    zenoh.insert_json5(key, &value).map_err(|source| ControlError::zenoh("configure Zenoh", source))
}

/// The `HOST:PORT` of an endpoint.
pub(crate) fn address_of(endpoint: &str) -> Option<&str> {
    endpoint.split_once('/')?.1.split(['?', '#']).next()
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
    match address.split(['?', '#']).next().unwrap_or_default().rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
        _ => wrong("it lacks host or port"),
    }
}

/// Whether `endpoint` is on this host's loopback interface.
pub(crate) fn is_loopback(endpoint: &str) -> bool {
    let address = address_of(endpoint).unwrap_or_default();
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
    fn a_rig_on_loopback_is_known_by_the_addresses_to_connect_to() {
        let is_local = |listen: &[&str], connect: &[&str]| config(listen, connect).is_local();
        assert!(is_local(&[], &["tcp/127.0.0.1:7447"]));
        assert!(is_local(&[], &["tcp/localhost:7447", "tcp/[::1]:7447"]));
        assert!(!is_local(&[], &["tcp/127.0.0.1:7447", "tcp/pi0:7447"]));
        assert!(!is_local(&[], &[]));
    }

    #[test]
    fn zenoh_takes_the_configurations() {
        let address: SocketAddr = "[::1]:7447".parse().unwrap();
        let client = client_config(address, None).unwrap();
        assert_eq!(client.get_json("connect/endpoints").unwrap(), "[\"tcp/[::1]:7447\"]");
        let router =
            router_config(&config(&[], &["tcp/pi0:1"]), &["tcp/0.0.0.0:2".into()], &[address]).unwrap();
        assert_eq!(router.get_json("connect/endpoints").unwrap(), "[\"tcp/pi0:1\",\"tcp/[::1]:7447\"]");
        assert_eq!(router.get_json("mode").unwrap(), "\"router\"");
    }

    #[test]
    fn endpoints_are_checked_before_zenoh_sees_them() {
        for good in ["tcp/pi0:7447", "tcp/[::1]:0", "tcp/10.0.0.1:7447#iface=eth0"] {
            let result = check_endpoints(&config(&[], &[good]));
            assert!(result.is_ok(), "{good}: {}", result.unwrap_err());
        }
        for bad in ["", "pi0", "pi0:7447", "tcp/pi0", "tcp/:7447", "tcp/pi0:http", "udp/pi0:7447"] {
            let error = check_endpoints(&config(&[], &[bad])).unwrap_err();
            assert!(matches!(error, ControlError::Endpoint { .. }), "{bad}: {error}");
        }
        let error = check_endpoints(&config(&[], &["tcp/me:s3@pi0?s3"])).unwrap_err();
        assert!(error.to_string().starts_with("\"tcp/pi0\" is not an endpoint"), "{error}");
    }
}
