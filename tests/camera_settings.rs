//! `swsync set` and `get` on a rig of five devices: one frame number everywhere, refusals, a restart, a late joiner.

use rustix::process::Signal;
use serde_json::Value;
use swsync_cli::testing::schemas::check;
use swsync_core::frame::LockState;

use crate::process::{COMMAND_TIMEOUT, Ended, poll};
use crate::rig::{Rig, TestBed};

fn set(rig: &Rig<'_>, args: &[&str]) -> Ended {
    let args: Vec<_> = ["set", "--json"].iter().chain(args).copied().collect();
    rig.swsync(&args).wait_for_up_to(COMMAND_TIMEOUT)
}

/// The document that a command printed, by the schema of that name.
fn json(schema: &str, ended: &Ended) -> Value {
    let document = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:#?}"));
    check(schema, &document);
    document
}

/// What each device uses of `control`, and what the rig has set.
fn cameras(rig: &Rig<'_>, control: &str) -> Vec<(String, Value, Value)> {
    let json = json("get", &rig.swsync(&["get", "--json"]).wait());
    let devices = json["devices"].as_array().unwrap().iter();
    let of = |device: &Value| {
        (
            device["device"].as_str().unwrap().to_owned(),
            device["used"][control].clone(),
            device["set"][control].clone(),
        )
    };
    devices.map(of).collect()
}

/// Waits until each of `devices` uses an exposure within a line of the expected one.
fn wait_for_exposures(rig: &Rig<'_>, what: &str, expected: &[(&str, i64)]) {
    poll(what, || {
        let cameras = cameras(rig, "exposure-time");
        let all = expected.iter().all(|(device, us)| {
            let used =
                cameras.iter().find(|(name, ..)| name == device).and_then(|(_, used, _)| used.as_i64());
            used.is_some_and(|used| (us - 40..=*us).contains(&used))
        });
        all.then_some(())
    });
}

/// The frames from which on the devices had a change, after the frame that it was for. A device that a busy machine has kept from
/// sending its controls in time says so.
fn assert_told(ended: &Ended, devices: usize) -> usize {
    let json = json("set", ended);
    let all = json["devices"].as_array().unwrap();
    assert_eq!(all.len(), devices, "{ended:#?}");
    let exact = all.iter().filter(|device| device["outcome"]["first"] == device["outcome"]["frame"]).count();
    assert!(all.iter().all(|device| device["outcome"]["state"] == "seen"), "{ended:#?}");
    assert_eq!(ended.code == Some(0), json["complete"] == true, "{ended:#?}");
    exact
}

#[test]
fn cameras_are_set_at_one_frame_and_stay_set_over_restarts_and_for_late_joiners() {
    let bed = TestBed::exclusive();
    let mut rig = bed.rig(&["left", "right", "top", "last"]);
    // Changes in a row: at one number everywhere, unless the machine is too busy, and then that is said.
    let mut exact = 0;
    for us in ["4000", "6000", "3000", "5000"] {
        let ended = set(&rig, &[&format!("exposure-time={us}"), "analogue-gain=2"]);
        exact += assert_told(&ended, 5);
    }
    println!("{exact} of 20 changes were at their frame");
    assert!(exact > 0);
    // One that no camera takes changes nothing.
    let refused = set(&rig, &["exposure-time=50000"]);
    refused.assert_failed(4, &["nothing was changed", "does not take 50000", "left"]);
    assert_eq!(json("not-set", &refused)["objections"].as_array().unwrap().len(), 5);
    set(&rig, &["contrast=2"]).assert_failed(4, &["no such control", "analogue-gain, exposure-time"]);
    set(&rig, &["exposure-tyme=2"]).assert_failed(2, &["exposure-tyme", "exposure-time"]);
    let absent = set(&rig, &["--to", "left,nobody", "analogue-gain=4"]);
    absent.assert_failed(2, &["nobody is no device and no group", "left"]);
    wait_for_exposures(&rig, "nothing has changed", &[("leader", 5_000), ("left", 5_000), ("last", 5_000)]);
    // One device differs from the others.
    assert_told(&set(&rig, &["--to", "last", "exposure-time=8000"]), 1);
    // It is started again, and another one joins that has never heard of it.
    let last = rig.take_last();
    last.signal(Signal::INT);
    last.wait();
    rig.add(bed.client("last").simulated(5).start());
    rig.add(bed.client("late").simulated(6).start());
    rig.wait_until_ready(LockState::Locked);
    let expected = [("leader", 5_000), ("left", 5_000), ("last", 8_000), ("late", 5_000)];
    wait_for_exposures(&rig, "kept over a restart, and told to the late one", &expected);
    // Back to what the pipelines say.
    assert_told(&set(&rig, &["--reset"]), 6);
    wait_for_exposures(&rig, "as without settings", &[("leader", 100), ("last", 100), ("late", 100)]);
    assert!(cameras(&rig, "exposure-time").iter().all(|(_, _, set)| set.is_null()));
}
