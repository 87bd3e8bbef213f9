//! Addresses that swallow packets: those of a VPN, or of containers on another machine. Nobody answers there, and no router says that
//! it is unreachable.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use swsync_lab::net::Host;

use super::{Lan, SLACK, START, Trial, command_on};

/// How soon a device is to be found all the same.
const SOON: Duration = Duration::from_secs(5);

/// Hosts on one segment, with two addresses each at which nothing arrives: of containers, at an interface before the one that works, and
/// of a VPN, at one after it.
fn lan_with_swallowing_addresses(count: usize) -> Lan {
    let hosts: Vec<_> = (0..count).map(|_| Host::new().unwrap()).collect();
    let add = |host: &Host, name: &str, network: usize| {
        host.ip(&format!("link add {name} type bridge\n")).unwrap();
        host.bring_up(name, &format!("172.{network}.0.1/16")).unwrap();
    };
    hosts.iter().enumerate().for_each(|(index, host)| add(host, "containers", 17 + index));
    let lan = Lan::of(hosts);
    for index in 0..count {
        add(&lan.hosts[index], "vpn", 24 + index);
        lan.bring_up(index);
        // Nobody has this hardware address.
        lan.hosts[index]
            .ip("neigh add 10.9.0.250 lladdr 02:00:00:00:00:fa dev eth0 nud permanent\n\
                 route add 172.16.0.0/12 via 10.9.0.250\n")
            .unwrap();
    }
    for other in ["172.17.0.1:7447", "172.24.0.1:7447", "172.31.0.1:7447"] {
        let connect =
            || TcpStream::connect_timeout(&other.parse().unwrap(), Duration::from_millis(300)).unwrap_err();
        let error = lan.hosts[1].run(connect).unwrap();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{other} does not swallow packets: {error}");
    }
    lan
}

/// Waits until a device that was started at `begun` is found by the others.
fn assert_found_soon(trial: &mut Trial, lan: &Lan, settings: &[&str], begun: Instant, what: &str) {
    let count = trial.devices.len();
    loop {
        let state = trial.status(&lan.hosts[lan.hosts.len() - 1], settings);
        let took = begun.elapsed();
        if state.answered.len() == count {
            println!("{what}: found {took:?} after its start");
            assert!(took < SOON + SLACK, "{what}: found only after {took:?}");
            return;
        }
        assert!(took < START, "{what}: not found within {START:?}: {state:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn addresses_that_swallow_packets_cost_no_time_where_devices_find_each_other() {
    let test = "addresses_that_swallow_packets_cost_no_time_where_devices_find_each_other";
    let Some(mut trial) = Trial::new(test) else { return };
    let lan = lan_with_swallowing_addresses(4);
    let begun = Instant::now();
    trial.start("a", &lan.hosts[0], "");
    trial.start("b", &lan.hosts[1], "");
    let took = trial.wait_until_together(&lan.hosts[3], &[], begun, START);
    println!("with addresses that swallow packets: together {took:?} after the start");
    let begun = Instant::now();
    trial.start("c", &lan.hosts[2], "");
    assert_found_soon(&mut trial, &lan, &[], begun, "by multicast");
    let begun = Instant::now();
    let state = trial.status(&lan.hosts[3], &[]);
    let took = begun.elapsed();
    println!("swsync status takes {took:?}");
    assert!(took < SOON + SLACK && state.answered.len() == 3, "{took:?}: {state:#?}");
    trial.wait_until_together(&lan.hosts[3], &[], begun, START);
    trial.shoot(&lan.hosts[3], &[]).assert_of(&["a", "b", "c"], None);
}

#[test]
fn addresses_that_swallow_packets_cost_no_time_in_a_list() {
    let test = "addresses_that_swallow_packets_cost_no_time_in_a_list";
    let Some(mut trial) = Trial::new(test) else { return };
    let lan = lan_with_swallowing_addresses(3);
    let (swallowing, there) = ("tcp/172.31.0.1:7447", "tcp/10.9.0.1:7447");
    trial.start("a", &lan.hosts[0], &format!("listen={there}"));
    trial.wait_until_together(&lan.hosts[2], &["--connect", there], Instant::now(), START);
    let begun = Instant::now();
    trial.start("b", &lan.hosts[1], &format!("connect={swallowing},{there}"));
    let settings = ["--connect", swallowing, "--connect", there];
    assert_found_soon(&mut trial, &lan, &settings, begun, "by a list whose first address swallows packets");
}

/// A name with several addresses, such as a machine has that is in a VPN too.
#[test]
fn addresses_that_swallow_packets_cost_no_time_behind_a_name() {
    let test = "addresses_that_swallow_packets_cost_no_time_behind_a_name";
    let Some(mut trial) = Trial::new(test) else { return };
    let lan = lan_with_swallowing_addresses(3);
    trial.start("a", &lan.hosts[0], "listen=tcp/10.9.0.1:7447");
    trial.wait_until_together(&lan.hosts[2], &["--connect", "tcp/10.9.0.1:7447"], Instant::now(), START);
    let names = trial.bed.path("hosts");
    fs::write(&names, "127.0.0.1 localhost\n172.31.0.1 pi0\n172.31.0.2 pi0\n10.9.0.1 pi0\n").unwrap();
    let mut command = command_on(&lan.hosts[1], "unshare");
    // The name is known to this process alone.
    let lay_over = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
    command.args(["--mount", "--", "sh", "-c", lay_over, "sh"]).arg(&names).arg("gst-launch-1.0");
    trial.add_pipeline(&mut command, "b", "connect=tcp/pi0:7447");
    let begun = Instant::now();
    trial.start_as("b", &mut command);
    let settings = ["--connect", "tcp/10.9.0.1:7447"];
    assert_found_soon(&mut trial, &lan, &settings, begun, "by a name whose first addresses swallow packets");
}
