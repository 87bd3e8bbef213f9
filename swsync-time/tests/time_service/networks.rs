//! Interfaces that come, go, and are several: in a network namespace of its own (`SWSYNC_NETNS=1`).

use std::net::SocketAddr;
use std::process::Command;

use swsync_core::frame::SyncState;

use crate::support::{Client, Leader, free_port, has_ipv6, skipped};

/// Whether there is a network that may be changed; if not, says that the test is skipped.
fn has_own_network(test: &str) -> bool {
    let own = std::env::var_os("SWSYNC_NETNS").is_some();
    if !own {
        skipped(&format!("{test}: set SWSYNC_NETNS=1 in a network namespace of its own, as root"));
    }
    own
}

fn ip(args: &str) {
    let output = Command::new("ip").args(args.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {args}: {output:?}");
}

/// A network interface, gone when dropped.
struct Interface(&'static str);

impl Interface {
    fn new(name: &'static str) -> Self {
        // The other end of the cable is not used.
        ip(&format!("link add {name} type veth peer name {name}-end"));
        ip(&format!("link set {name}-end up"));
        ip(&format!("link set {name} up"));
        Self(name)
    }

    fn add(&self, address: &str) {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        ip(&format!("addr add {address} dev {}{nodad}", self.0));
    }

    fn remove(&self, address: &str) {
        ip(&format!("addr del {address} dev {}", self.0));
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        ip(&format!("link del {}", self.0));
    }
}

#[test]
fn a_network_that_comes_late_goes_and_comes_again() {
    if !has_own_network("a_network_that_comes_late_goes_and_comes_again") {
        return;
    }
    let leader = Leader::at(&format!("[::]:{}", free_port()));
    let address: SocketAddr = format!("10.77.1.1:{}", leader.address().port()).parse().unwrap();
    let client = Client::of(&[address]);
    client.wait_until("there is no way", |client| client.progress().contains("Network is unreachable"));
    let interface = Interface::new("swlate");
    interface.add("10.77.1.1/24");
    client.wait_for(SyncState::Synced);
    assert_eq!(client.stats().interface.as_deref(), Some("swlate"));
    interface.remove("10.77.1.1/24");
    client.wait_for(SyncState::Holdover);
    interface.add("10.77.1.1/24");
    client.wait_for(SyncState::Synced);
    client.assert_agrees(&leader);
}

#[test]
fn a_leader_serves_every_interface() {
    let test = "a_leader_serves_every_interface";
    if !has_own_network(test) || !has_ipv6(test) {
        return;
    }
    let (one, other) = (Interface::new("swone"), Interface::new("swother"));
    one.add("10.77.2.1/24");
    other.add("10.77.3.1/24");
    other.add("fd77::1/64");
    other.add("fe80::77/64");
    let leader = Leader::at("[::]:0");
    let port = leader.address().port();
    let announced = leader.service.addresses().unwrap();
    for ip in ["10.77.2.1", "10.77.3.1", "[fd77::1]"] {
        let address: SocketAddr = format!("{ip}:{port}").parse().unwrap();
        assert!(announced.contains(&address), "{announced:?}");
        let client = Client::of(&[address]);
        client.wait_for(SyncState::Synced);
        client.assert_agrees(&leader);
    }
    assert!(!announced.iter().any(|address| address.to_string().contains("fe80")), "{announced:?}");
    let scoped = Client::named(&[&format!("[fe80::77%swother]:{port}")]);
    scoped.wait_for(SyncState::Synced);
    scoped.assert_agrees(&leader);
    assert_eq!(scoped.stats().interface.as_deref(), Some("swother"));
}
