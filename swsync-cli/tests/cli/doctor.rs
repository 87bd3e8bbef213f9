//! `swsync doctor --rig`: devices examine themselves and answer over the control plane.

use swsync_cli::testing::schemas::OfSchema as _;
use swsync_core::doctor::{Check, Problem};
use swsync_core::frame::SyncState;

use crate::rig::{Does, Ran, Rig};

fn good() -> Vec<Check> {
    vec![Check::ok("disk", "fine"), Check::ok("wifi", "none")]
}

#[test]
fn each_device_says_what_it_finds_and_examines_itself_once_for_all_who_ask() {
    let rig = Rig::new().with("a", Does::Save).with("b", Does::Save);
    rig.device(0).set_checks(good());
    let finding = Problem::TwoClockDaemons.finding(
        "chrony and ntp fight",
        "/proc/7/comm: chronyd",
        "sudo systemctl disable ntp",
    );
    rig.device(1).set_checks(vec![Check::found("clock-daemons", vec![finding], "")]);
    // Three at once.
    let asking: Vec<_> = (0..3)
        .map(|_| {
            let mut command = rig.command(&["doctor", "--rig", "--json"]);
            std::thread::spawn(move || Ran::of(&mut command))
        })
        .collect();
    for ran in asking.into_iter().map(|ran| ran.join().unwrap()) {
        assert_eq!(ran.code, 1, "{ran:#?}");
        let json = ran.json_of("doctor");
        assert_eq!(json["devices"][0]["device"], "a");
        assert_eq!(json["devices"][0]["checks"][0]["state"], "ok");
        let found = &json["devices"][1]["checks"][0]["findings"][0];
        assert_eq!((&found["id"], &found["severity"]), (&"two-clock-daemons".into(), &"error".into()));
    }
    assert_eq!([rig.device(0).examined(), rig.device(1).examined()], [1, 1]);
    let text = rig.run(&["doctor", "--rig"]).stdout;
    assert!(text.contains("b (host host-of-device), swsync test: 1 found"), "{text}");
    assert!(text.contains("mend:  sudo systemctl disable ntp"), "{text}");
}

#[test]
fn who_cannot_examine_itself_is_not_well_and_versions_are_compared() {
    let rig = Rig::new().with_clock("a", Does::Save, SyncState::Synced);
    let ran = rig.run(&["doctor", "--rig"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stdout.contains("a: not examined: this device does not examine itself"), "{ran:#?}");
    // Its status says "test", this command another version.
    assert!(ran.stdout.contains("mixed-versions"), "{ran:#?}");
}

#[test]
fn without_a_rig_the_network_is_not_known_and_the_host_is_examined() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("help.tar.gz");
    let rig = Rig::new();
    let ran = rig.run(&[
        "doctor",
        "--json",
        "--takes",
        folder.path().to_str().unwrap(),
        "--report",
        report.to_str().unwrap(),
    ]);
    assert!(ran.code == 1 || ran.code == 6, "some checks cannot be done: {ran:#?}");
    let json = ran.json_of("doctor");
    let network = json["network"].as_array().unwrap();
    let state = |id: &str| network.iter().find(|check| check["check"] == id).unwrap()["state"].clone();
    assert_eq!([state("multicast"), state("time-port"), state("devices")], ["unknown"; 3]);
    let checks = json["devices"][0]["checks"].as_array().unwrap();
    assert!(
        checks.iter().any(|check| check["check"] == "disk" && check["state"] != "unknown"),
        "{checks:#?}"
    );
    assert!(report.metadata().unwrap().len() > 500);
    assert_eq!(rig.run(&["doctor", "--rig"]).code, 3, "no rig");
    assert_eq!(rig.run(&["doctor", "--rig", "--fix"]).code, 2, "only on this host");
}
