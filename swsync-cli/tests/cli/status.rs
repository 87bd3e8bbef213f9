//! `swsync status`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use crate::rig::{Does, Ran, Rig, swsync};
use swsync_cli::testing::schemas::OfSchema as _;
use swsync_core::frame::SyncState;

#[test]
fn a_row_for_every_device() {
    let rig = Rig::new().with_clock("leader", Does::Save, SyncState::Leading).with_clock(
        "lost",
        Does::Save,
        SyncState::Holdover,
    );
    let begin = Instant::now();
    let ran = rig.run(&["status"]);
    println!("{:?} from start to end\n{}", begin.elapsed(), ran.stdout);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:#?}");
    let expected = [
        "leader",
        "leading",
        "1.500000",
        "21.0",
        "+0.500",
        "locked",
        "30",
        "-4.0",
        "2.0 s, 6.00 MB",
        "0",
        "5",
        "0",
    ];
    assert_eq!(ran.row("leader"), expected);
    assert_eq!(ran.row("lost")[1], "holdover");
    assert!(ran.stdout.ends_with("1 of 2 devices ready\n"), "{ran:#?}");
}

#[test]
fn json_has_the_devices_statuses() {
    let rig = Rig::new().with("a", Does::Save);
    let json = rig.run(&["status", "--json"]).json_of("status");
    assert_eq!(json["devices"][0]["ready"], true);
    assert_eq!(json["devices"][0]["status"]["clock"]["uncertainty_ns"], 21_000);
}

#[test]
fn nobody_there_is_3() {
    let ran = Rig::new().run(&["status"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (3, ""), "{ran:#?}");
    assert_eq!(Ran::of(&mut swsync(&["status", "--every", "1s"])).code, 2, "--every needs --watch");
}

#[test]
fn watch_ends_when_its_output_is_closed() {
    let rig = Rig::new().with("a", Does::Save);
    let mut child = rig
        .command(&["status", "--watch", "--every", "10ms", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let json: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(json["devices"][0]["device"], "a");
    }
    drop(lines); // as `| head` does
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.stderr, "", "no panic");
}
