//! Devices with role=auto elect a leader, in real processes without cameras: one that is killed or hangs is replaced, and one that
//! comes back joins the rig's time scale, whatever its wall clock says.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Process, command, free_endpoint, free_port, poll};
use crate::rig::TestBed;

/// How soon another device leads after the leader has fallen silent.
const SUCCESSION: Duration = Duration::from_secs(3);
/// How much longer that may take on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

/// Three devices, each of which listens for the others, so that none is needed to find the others.
struct Devices<'a> {
    bed: &'a TestBed,
    endpoints: [String; 3],
    ports: [u16; 3],
}

impl<'a> Devices<'a> {
    fn new(bed: &'a TestBed) -> Self {
        let endpoints = std::array::from_fn(|_| free_endpoint());
        Self { bed, endpoints, ports: std::array::from_fn(|_| free_port()) }
    }

    /// Starts device `index`, whose wall clock is off by `wall`. The lower the index, the better its priority.
    fn start(&self, index: usize, run: &str, wall: &str) -> Process {
        let others = (0..3).filter(|other| *other != index).map(|other| self.endpoints[other].as_str());
        let connect = others.collect::<Vec<_>>().join(",");
        let line = format!(
            "swsyncclock role=auto rig={} listen={} connect={connect} bind-address=127.0.0.1 port={} priority={} \
             fakesrc is-live=true do-timestamp=true sizetype=fixed datarate=40960 ! fakesink sync=false",
            self.bed.rig_name(),
            self.endpoints[index],
            self.ports[index],
            10 + 100 * index,
        );
        let clock = format!("offset={}.5s,skew={}ppm,wall={wall}", index + 1, [15, -1, -12][index]);
        let mut command = command("gst-launch-1.0");
        command.arg("-m").args(line.split_whitespace()).env("SWSYNC_SIMULATED_CLOCK", clock);
        Process::start(&format!("device-{index}-{run}"), self.bed.path("").as_path(), &mut command)
    }
}

/// The last state that `device` has told, and its time scale.
fn state_of(device: &Process) -> Option<(String, String)> {
    let said = device.output();
    let message = said.lines().rev().find(|line| line.contains("swsync-clock, state="))?;
    let field = |name: &str| {
        let (_, rest) = message.split_once(&format!("{name}=(string)"))?;
        Some(rest.split(',').next()?.trim_end_matches(';').to_owned())
    };
    Some((field("state")?, field("time-scale")?))
}

/// Waits until `device` is in `state`; its time scale.
fn wait_for(device: &Process, state: &str) -> String {
    poll(&format!("a device is {state}"), || {
        state_of(device).filter(|(now, _)| now == state).map(|(_, scale)| scale)
    })
}

/// The leader is silenced by `signal`; another one leads soon. When the first is back, with another wall clock if it was killed, it
/// leads again. The time scale is the same all along, and no clock jumps.
fn a_leader_is_replaced(signal: Signal) {
    let bed = TestBed::shared();
    let devices = Devices::new(&bed);
    let first = devices.start(0, "a", "0s");
    let others = [devices.start(1, "a", "-7200s"), devices.start(2, "a", "900s")];
    let scale = wait_for(&first, "leading");
    assert_eq!(
        [wait_for(&others[0], "synced"), wait_for(&others[1], "synced")],
        [scale.clone(), scale.clone()]
    );
    let begun = Instant::now();
    first.signal(signal);
    assert_eq!(wait_for(&others[0], "leading"), scale);
    let took = begun.elapsed();
    println!("after {signal:?} the next one leads within {took:?}");
    assert!(took < SUCCESSION + SLACK, "{took:?}");
    assert_eq!(wait_for(&others[1], "synced"), scale);
    let first = if signal == Signal::STOP {
        first.signal(Signal::CONT);
        first
    } else {
        drop(first);
        devices.start(0, "b", "-3600s")
    };
    assert_eq!(
        [wait_for(&others[0], "synced"), wait_for(&others[1], "synced")],
        [scale.clone(), scale.clone()]
    );
    assert_eq!(wait_for(&first, "leading"), scale);
    for device in [first].into_iter().chain(others) {
        device.signal(Signal::INT);
        let ended = device.wait();
        let jumps = ["swsync-clock-stepped", "GstMessageClockLost", "has joined it"];
        assert!(!jumps.iter().any(|word| ended.out.contains(word) || ended.err.contains(word)), "{ended:#?}");
    }
}

#[test]
fn a_leader_that_is_killed_is_replaced_and_comes_back_with_another_wall_clock() {
    a_leader_is_replaced(Signal::KILL);
}

#[test]
fn a_leader_that_hangs_is_replaced_and_leads_again() {
    a_leader_is_replaced(Signal::STOP);
}
