//! The Zenoh router of a hub.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

use swsync_core::name::Name;
use zenoh::Wait;
use zenoh::liveliness::LivelinessToken;

use super::{HubKind, HubToken};
use crate::keys::Keys;
use crate::zenoh_config::{address_of, router_config};
use crate::{ControlError, RigConfig, host};

/// A running hub. Dropping it stops it: its clients go to another one.
pub(crate) struct Router {
    zenoh: zenoh::Session,
    token: HubToken,
    listening: Vec<String>,
    /// The addresses of the host at the start.
    started_with: Vec<IpAddr>,
    /// The presence of the hub.
    presence: Option<LivelinessToken>,
}

/// Why a hub cannot be started.
#[derive(Debug)]
pub(crate) enum StartError {
    /// An address that it is to listen at is not an address of this host, yet.
    NotThere(String),
    Control(ControlError),
}

impl Router {
    /// Starts a hub. It links with the hubs at `others`, of which some may be addresses of this one.
    pub(crate) fn start(
        config: &RigConfig,
        keys: &Keys,
        kind: HubKind,
        (instance, place): (&Name, &Name),
        others: &[SocketAddr],
    ) -> Result<Self, StartError> {
        let fail = |source| StartError::Control(ControlError::zenoh("run a hub", source));
        let started_with = usable_addresses();
        let listening = listen_endpoints(config)?;
        let addresses = announced(&listening);
        let others: Vec<_> = others.iter().filter(|other| !addresses.contains(other)).copied().collect();
        let zenoh = zenoh::open(router_config(config, &listening, &others).map_err(StartError::Control)?)
            .wait()
            .map_err(fail)?;
        let id = Name::new(zenoh.zid().to_string()).expect("a Zenoh id is hexadecimal");
        let (instance, place) = (instance.clone(), place.clone());
        let token = HubToken { id, kind, instance, place, addresses };
        let presence = zenoh.liveliness().declare_token(keys.hub(&token)).wait().map_err(fail)?;
        swsync_core::log::info!(%token, "a hub of the rig runs here");
        Ok(Self { zenoh, token, listening, started_with, presence: Some(presence) })
    }

    pub(crate) const fn zenoh(&self) -> &zenoh::Session {
        &self.zenoh
    }

    pub(crate) const fn token(&self) -> &HubToken {
        &self.token
    }

    /// Where this process itself connects to it.
    pub(crate) fn own_address(&self) -> Option<SocketAddr> {
        self.listening.iter().find_map(|endpoint| {
            let address = resolve(endpoint)?;
            let ip = if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { address.ip() };
            Some(SocketAddr::new(ip, address.port()))
        })
    }

    /// Whether the host has addresses that it did not have when this hub was started.
    pub(crate) fn lacks_addresses(&self) -> bool {
        usable_addresses().iter().any(|ip| !self.started_with.contains(ip))
    }

    /// Announces the addresses that can be reached now.
    pub(crate) fn announce(&mut self, keys: &Keys) -> Result<(), ControlError> {
        let addresses = announced(&self.listening);
        if addresses == self.token.addresses {
            return Ok(());
        }
        let token = HubToken { addresses, ..self.token.clone() };
        let presence = self.zenoh.liveliness().declare_token(keys.hub(&token)).wait();
        self.presence = Some(presence.map_err(|source| ControlError::zenoh("announce a hub", source))?);
        self.token = token;
        Ok(())
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        drop(self.presence.take());
        if let Err(error) = self.zenoh.close().wait() {
            swsync_core::log::debug!(%error, "stopping the hub");
        }
    }
}

/// The endpoints that a hub of `config` listens at: those given, or a free port on all interfaces. If all addresses to connect to are on
/// loopback, it listens on loopback only.
fn listen_endpoints(config: &RigConfig) -> Result<Vec<String>, StartError> {
    if config.listen.is_empty() {
        let ip = if config.is_local() { Ipv4Addr::LOCALHOST.into() } else { host::any_address() };
        let free = free_port(ip)?;
        if !config.is_discovering() {
            return Ok(vec![format!("tcp/{free}")]);
        }
        // Each by itself: where Zenoh (1.10) listens at all addresses, it tells others those that the host had when it first asked.
        let ips = [IpAddr::from(Ipv4Addr::LOCALHOST)].into_iter().chain(usable_addresses());
        return Ok(ips.map(|ip| format!("tcp/{}", SocketAddr::new(ip, free.port()))).collect());
    }
    let listen: Vec<String> =
        config.listen.iter().map(|endpoint| with_port(endpoint)).collect::<Result<_, _>>()?;
    for endpoint in &listen {
        let Some(address) = address_of(endpoint) else { continue };
        // Zenoh says that an address cannot be listened at only in its log, and which of the reasons it is nowhere.
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
                return Err(StartError::NotThere(endpoint.clone()));
            }
            Err(error) => {
                let endpoint = endpoint.clone();
                return Err(StartError::Control(ControlError::Listen { endpoint, source: error }));
            }
        }
    }
    Ok(listen)
}

fn free_port(ip: IpAddr) -> Result<SocketAddr, StartError> {
    let free = host::free_port(ip);
    free.map_err(|error| StartError::Control(ControlError::zenoh("find a free port for a hub", error.into())))
}

/// `endpoint`, with a free port where it says port 0: others, and this process itself, need to know which one it is.
fn with_port(endpoint: &str) -> Result<String, StartError> {
    match address_of(endpoint).and_then(|address| address.parse::<SocketAddr>().ok()) {
        Some(address) if address.port() == 0 => {
            Ok(endpoint.replacen(&address.to_string(), &free_port(address.ip())?.to_string(), 1))
        }
        _ => Ok(endpoint.to_owned()),
    }
}

/// The address of an endpoint, which may name the host.
fn resolve(endpoint: &str) -> Option<SocketAddr> {
    address_of(endpoint)?.to_socket_addrs().ok()?.next()
}

/// The addresses of the host that can be listened at: not one of IPv6 of which it is being found out whether others have it too (RFC
/// 4862 section 5.4).
fn usable_addresses() -> Vec<IpAddr> {
    host::addresses().into_iter().filter(|ip| TcpListener::bind((*ip, 0)).is_ok()).collect()
}

/// The addresses at which others can reach `endpoints` now.
fn announced(endpoints: &[String]) -> Vec<SocketAddr> {
    let host = host::addresses();
    let mut addresses = Vec::new();
    for endpoint in endpoints {
        let Some(address) = resolve(endpoint) else { continue };
        if address.ip().is_unspecified() {
            let own = host.iter().filter(|ip| address.is_ipv6() || ip.is_ipv4());
            addresses.extend(own.map(|ip| SocketAddr::new(*ip, address.port())));
        } else if endpoints.len() == 1 || !address.ip().is_loopback() {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_name_the_host() {
        let there = resolve("tcp/localhost:7447").unwrap();
        assert!(there.ip().is_loopback() && there.port() == 7447);
        assert_eq!(resolve("tcp/10.0.0.1:7447#iface=eth0"), "10.0.0.1:7447".parse().ok());
        assert_eq!(resolve("nonsense"), None);
    }

    #[test]
    fn port_0_is_a_free_port_that_is_known() {
        let endpoint = with_port("tcp/127.0.0.1:0#iface=lo").unwrap();
        let port = endpoint.strip_prefix("tcp/127.0.0.1:").unwrap().strip_suffix("#iface=lo").unwrap();
        assert_ne!(port.parse::<u16>().unwrap(), 0);
        for given in ["tcp/127.0.0.1:7447", "tcp/pi0:0"] {
            assert_eq!(with_port(given).unwrap(), given);
        }
    }
}
