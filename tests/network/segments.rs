//! Networks of several parts: a router between them, or a device that is on both.

use std::time::{Duration, Instant};

use swsync_lab::net::{Host, Switch};

use super::{Lan, START, Trial};
use crate::process::poll;

/// Two networks with a router between them, which passes no multicast on. One device is on the left, two on the right.
#[test]
fn devices_on_two_sides_of_a_router_come_together() {
    let Some(mut trial) = Trial::new("devices_on_two_sides_of_a_router_come_together") else { return };
    let (left, right) = (Switch::new(&["left"]).unwrap(), Switch::new(&["right"]).unwrap());
    let [a, b, c, router] = std::array::from_fn(|_| Host::new().unwrap());
    for (switch, segment, host, interface, address) in [
        (&left, "left", &router, "eth0", "10.1.0.254/24"),
        (&right, "right", &router, "eth1", "10.2.0.254/24"),
        (&left, "left", &a, "eth0", "10.1.0.1/24"),
        (&right, "right", &b, "eth0", "10.2.0.1/24"),
        (&right, "right", &c, "eth0", "10.2.0.2/24"),
    ] {
        switch.plug(host, interface, segment).unwrap();
        host.bring_up(interface, address).unwrap();
    }
    router.set("net/ipv4/ip_forward", "1").unwrap();
    a.ip("route add default via 10.1.0.254\n").unwrap();
    b.ip("route add default via 10.2.0.254\n").unwrap();
    c.ip("route add default via 10.2.0.254\n").unwrap();

    let begun = Instant::now();
    let there = "tcp/10.1.0.1:7447";
    trial.start("a", &a, &format!("listen={there}"));
    trial.start("b", &b, &format!("connect={there}"));
    trial.start("c", &c, &format!("connect={there}"));
    let took = trial.wait_until_together(&c, &["--connect", there], begun, START);
    println!("with a router between them: together {took:?} after the start");
    trial.shoot(&c, &["--connect", there]).assert_of(&["a", "b", "c"], None);
    trial.shoot(&a, &["--connect", there]).assert_of(&["a", "b", "c"], None);
}

#[test]
fn a_device_on_another_network_is_reached_or_named() {
    reached_or_named(["joint", "a", "b"]);
}

/// The device that is on both networks comes last: the others have found nobody, and have begun rigs of their own.
#[test]
fn a_device_on_another_network_is_reached_or_named_once_somebody_joins_the_two() {
    reached_or_named(["a", "b", "joint"]);
}

/// Two networks, and one device that is on both and does not route. Whoever orders on one of them gets all, or is told what is missing.
fn reached_or_named(starting: [&str; 3]) {
    let Some(mut trial) = Trial::new("a device on another network is reached or named") else { return };
    let switch = Switch::new(&["near", "far"]).unwrap();
    let [a, joint, b, operator] = std::array::from_fn(|_| Host::new().unwrap());
    for (host, interface, segment, address) in [
        (&a, "eth0", "near", "10.1.0.1/24"),
        (&operator, "eth0", "near", "10.1.0.9/24"),
        (&joint, "eth0", "near", "10.1.0.2/24"),
        (&joint, "eth1", "far", "10.2.0.2/24"),
        (&b, "eth0", "far", "10.2.0.1/24"),
    ] {
        switch.plug(host, interface, segment).unwrap();
        host.bring_up(interface, address).unwrap();
    }
    for name in starting {
        let host = match name {
            "a" => &a,
            "b" => &b,
            _ => &joint,
        };
        trial.start(name, host, "");
        std::thread::sleep(Duration::from_secs(2));
    }
    poll("the device on both networks sees all", || {
        (trial.status(&joint, &[]).answered.len() == 3).then_some(())
    });
    // Time for what is still under way.
    std::thread::sleep(Duration::from_secs(5));
    let state = trial.status(&operator, &[]);
    println!("status on the near network: exit code {:?}, answered: {:?}", state.code, state.answered);
    assert_whole_or_named(&state.said, state.code, |device| state.answered.iter().any(|name| name == device));

    let shot = trial.shoot(&operator, &[]);
    println!("shoot: exit code {:?}, answered: {:?}", shot.ended.code, shot.answered);
    let said = format!("{}{}", shot.ended.out, shot.ended.err);
    assert_whole_or_named(&said, shot.ended.code, |device| shot.answered.iter().any(|name| name == device));

    let takes = trial.bed.path("takes");
    let collected = trial.swsync(&operator, &[], &["collect", takes.to_str().unwrap(), "--last"]);
    println!("collect: exit code {:?}: {}", collected.code, collected.out.lines().last().unwrap_or_default());
    let take = std::fs::read_dir(&takes)
        .ok()
        .and_then(|mut folders| folders.next())
        .map(|take| take.unwrap().path());
    let has = |device: &str| take.as_ref().is_some_and(|take| take.join(device).join("take.json").exists());
    let said = format!("{}{}", collected.out, collected.err);
    // A device that says that it has nothing is named with that; all that there is has been collected then.
    let has_nothing =
        |device: &str| said.contains(&format!("  {device}  ")) && said.contains("has no files of this take");
    assert_whole_or_named(&said, collected.code, |device| has(device) || has_nothing(device));
}

/// Asserts that a command was content only with all devices, and that it named the others otherwise.
fn assert_whole_or_named(said: &str, code: Option<i32>, is_there: impl Fn(&str) -> bool) {
    let missing: Vec<_> = ["a", "b", "joint"].into_iter().filter(|device| !is_there(device)).collect();
    let words: Vec<_> = said.split(|letter: char| !letter.is_alphanumeric()).collect();
    assert!(missing.iter().all(|device| words.contains(device)), "{missing:?} are not named: {said}");
    assert!(missing.is_empty() || code != Some(0), "content without {missing:?}: {said}");
}

/// A rig on one network, for comparison.
#[test]
fn devices_on_one_network_come_together() {
    let Some(mut trial) = Trial::new("devices_on_one_network_come_together") else { return };
    let lan = Lan::new(4);
    let begun = Instant::now();
    for (host, name) in lan.hosts.iter().zip(["a", "b", "c"]) {
        trial.start(name, host, "");
    }
    let took = trial.wait_until_together(&lan.hosts[3], &[], begun, START);
    println!("on one network: together {took:?} after the start");
    trial.shoot(&lan.hosts[3], &[]).assert_of(&["a", "b", "c"], None);
}
