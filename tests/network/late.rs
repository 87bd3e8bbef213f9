//! Networks and addresses that come after the process.

use std::time::{Duration, Instant};

use super::{Lan, SLACK, START, Trial};
use crate::process::poll;

/// How long the pipelines run without a network.
const LATE: Duration = Duration::from_secs(10);
/// How soon after the network they are to be together.
const SOON: Duration = Duration::from_secs(10);

/// WiFi that is up a minute after boot, in less time: one interface comes up with its address, another one gets its address later.
#[test]
fn devices_come_together_when_their_network_comes_later() {
    let Some(mut trial) = Trial::new("devices_come_together_when_their_network_comes_later") else { return };
    let lan = Lan::dark(4);
    lan.bring_up(3);
    for (host, name) in lan.hosts.iter().zip(["a", "b", "c"]) {
        trial.start(name, host, "");
    }
    std::thread::sleep(LATE);
    let begun = Instant::now();
    lan.bring_up(0);
    // As with DHCP: the link is there, and the address a while later.
    lan.hosts[1].ip("link set eth0 up\n").unwrap();
    lan.hosts[2].ip("link set eth0 up\n").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    lan.bring_up(1);
    lan.bring_up(2);
    let last = Instant::now();
    let took = trial.wait_until_together(&lan.hosts[3], &[], last, SOON + SLACK);
    println!(
        "network later than the process: together {took:?} after the last address, {:?} after the first",
        begun.elapsed()
    );
    trial.shoot(&lan.hosts[3], &[]).assert_of(&["a", "b", "c"], None);
}

/// The same with addresses to connect to: the one to whom the others connect is there first, and then is not.
#[test]
fn devices_with_addresses_come_together_when_their_network_comes_later() {
    let test = "devices_with_addresses_come_together_when_their_network_comes_later";
    let Some(mut trial) = Trial::new(test) else { return };
    let lan = Lan::dark(3);
    lan.bring_up(2);
    let there = format!("tcp/{}:7447", Lan::address(0));
    trial.start("a", &lan.hosts[0], "listen=tcp/0.0.0.0:7447");
    trial.start("b", &lan.hosts[1], &format!("connect={there}"));
    std::thread::sleep(LATE);
    lan.bring_up(0);
    lan.bring_up(1);
    let begun = Instant::now();
    let took = trial.wait_until_together(&lan.hosts[2], &["--connect", &there], begun, SOON + SLACK);
    println!("network later than the process, with connect=: together {took:?} after the addresses");
}

/// The address of `listen=` is not there when the pipeline starts. It says so and goes on, and is reached at the address later.
#[test]
fn a_device_listens_at_an_address_that_comes_later() {
    let Some(mut trial) = Trial::new("a_device_listens_at_an_address_that_comes_later") else { return };
    let lan = Lan::dark(3);
    lan.bring_up(1);
    lan.bring_up(2);
    let there = format!("tcp/{}:7447", Lan::address(0));
    // Warnings in the log count, too.
    let mut device = trial.device("a", &lan.hosts[0], &format!("listen={there}"));
    trial.start_as("a", device.env("GST_DEBUG", "2"));
    trial.start("b", &lan.hosts[1], &format!("connect={there}"));
    let said = |trial: &Trial| {
        let device = trial.process("a");
        format!("{}{}", device.output(), device.errors())
    };
    poll("the device says that it waits for its address", || {
        trial.devices.iter_mut().for_each(|(_, process)| process.assert_running());
        said(&trial).contains(&there).then_some(())
    });
    std::thread::sleep(Duration::from_secs(3));
    trial.devices.iter_mut().for_each(|(_, process)| process.assert_running());
    lan.bring_up(0);
    let begun = Instant::now();
    let took =
        trial.wait_until_together(&lan.hosts[2], &["--connect", &there], begun, START.min(SOON + SLACK));
    println!("address later than listen=: together {took:?} after it");
    trial.shoot(&lan.hosts[2], &["--connect", &there]).assert_of(&["a", "b"], None);
}
