//! `swsync doctor --rig`: nothing is found on a healthy rig; a router that passes no multicast, and a firewall, are.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use swsync_lab::net::{Host, Switch};

use super::{START, Trial, command_on};
use crate::process::poll;

/// For so long a device gives the same diagnosis again.
const FRESH: Duration = Duration::from_millis(2_100);

/// Files of a board on which nothing is wrong. What the machine of the tests has says nothing.
fn healthy_board(root: &Path) {
    for (path, text) in [
        ("proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0"),
        ("proc/1/comm", "systemd\n"),
        ("proc/1/fd/none", ""),
        ("proc/400/comm", "chronyd\n"),
        ("proc/400/fd/none", ""),
        ("proc/locks", ""),
        ("proc/meminfo", "MemTotal: 7990000 kB\nMemAvailable: 5000000 kB\n"),
        ("sys/class/net/lo/operstate", "unknown\n"),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "arch_sys_counter\n"),
        ("usr/lib/aarch64-linux-gnu/gstreamer-1.0/libgstswsync.so", "\0libc.so.6\0"),
    ] {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// What `swsync doctor --rig` finds on `host`, and what it does not know. `disk-slow` is left out: the disk of a busy test machine may be.
fn doctor(trial: &Trial, host: &Host, settings: &[&str]) -> (BTreeSet<String>, Vec<Value>) {
    let ended = trial.swsync(host, settings, &["doctor", "--json"]);
    let json: Value = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    let of_devices = json["devices"].as_array().unwrap().iter().flat_map(|device| {
        device["checks"].as_array().unwrap_or_else(|| panic!("not examined: {device}")).clone()
    });
    let checks: Vec<_> = of_devices.chain(json["network"].as_array().unwrap().clone()).collect();
    let findings = checks.iter().flat_map(|check| check["findings"].as_array().cloned().unwrap_or_default());
    let ids: BTreeSet<_> = findings.map(|finding| finding["id"].as_str().unwrap().to_owned()).collect();
    let unknown: Vec<_> = checks.into_iter().filter(|check| check["state"] == "unknown").collect();
    let code = if ids.is_empty() { if unknown.is_empty() { 0 } else { 6 } } else { 1 };
    assert_eq!(ended.code, Some(code), "{ended:#?}");
    (ids.into_iter().filter(|id| id != "disk-slow").collect(), unknown)
}

/// The TCP port that something on `host` listens at.
fn listening(host: &Host) -> u16 {
    poll("a device listens", || {
        let listed = command_on(host, "cat").args(["/proc/net/tcp", "/proc/net/tcp6"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        listed.lines().find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (_, port) = fields.get(1).filter(|_| fields.get(3) == Some(&"0A"))?.rsplit_once(':')?;
            u16::from_str_radix(port, 16).ok()
        })
    })
}

#[test]
fn a_rig_behind_a_router_is_examined() {
    let Some(mut trial) = Trial::new("a_rig_behind_a_router_is_examined") else { return };
    let (left, right) = (Switch::new(&["left"]).unwrap(), Switch::new(&["right"]).unwrap());
    let [a, b, operator, router] = std::array::from_fn(|_| Host::new().unwrap());
    for (switch, segment, host, interface, address) in [
        (&left, "left", &router, "eth0", "10.1.0.254/24"),
        (&right, "right", &router, "eth1", "10.2.0.254/24"),
        (&left, "left", &operator, "eth0", "10.1.0.9/24"),
        (&right, "right", &a, "eth0", "10.2.0.1/24"),
        (&right, "right", &b, "eth0", "10.2.0.2/24"),
    ] {
        switch.plug(host, interface, segment).unwrap();
        host.bring_up(interface, address).unwrap();
    }
    router.set("net/ipv4/ip_forward", "1").unwrap();
    operator.ip("route add default via 10.1.0.254\n").unwrap();
    a.ip("route add default via 10.2.0.254\n").unwrap();
    b.ip("route add default via 10.2.0.254\n").unwrap();
    let board = trial.bed.path("board");
    healthy_board(&board);
    let begun = Instant::now();
    for (name, host) in [("a", &a), ("b", &b)] {
        let mut command = trial.device(name, host, "");
        command.env("SWSYNC_HOST_ROOT", &board);
        trial.start_as(name, &mut command);
    }
    trial.wait_until_together(&b, &[], begun, START);

    // Beside the devices all is well. One may have become synced a moment ago, and the other takes a moment to see that.
    poll("nothing is found on a healthy rig", || {
        let (found, unknown) = doctor(&trial, &b, &[]);
        println!("healthy: {found:?}, not known: {unknown:?}");
        (found.is_empty() && unknown.is_empty()).then_some(())
    });

    // The router passes TCP, and neither multicast nor UDP. A board goes bad.
    router.ip("rule add pref 5 iif eth0 ipproto udp blackhole\n").unwrap();
    std::fs::write(board.join("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"), "powersave\n")
        .unwrap();
    std::thread::sleep(FRESH);
    let there = format!("tcp/10.2.0.1:{}", listening(&a));
    let (found, _) = doctor(&trial, &operator, &["--connect", &there]);
    let expected = ["cpu-governor-powersave", "multicast-lost", "time-port-blocked"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expected));
}
