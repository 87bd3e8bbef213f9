//! `swsync collect`.

use std::fs;
use std::path::Path;

use crate::files::Part;
use crate::rig::{Does, Rig};

fn part(order: &str, device: &str, dropped: &[u64]) -> Part {
    Part::new(order, device, 5).pictures(dropped, |index| format!("{order} {device} {index}").into_bytes())
}

fn collect(rig: &Rig, out: &Path, args: &[&str]) -> crate::rig::Ran {
    rig.run(&[&["collect", out.to_str().unwrap()], args].concat())
}

#[test]
fn everything_comes_home_and_what_is_missing_is_told() {
    let rig = Rig::new().with("left", Does::Save).with("right", Does::Save);
    let (left, right, out) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    part("o1", "left", &[]).write(left.path());
    part("o1", "right", &[2]).write(right.path());
    part("o2", "left", &[]).later(60).write(left.path());
    let _shares = [rig.device(0).share(left.path()), rig.device(1).share(right.path())];

    let ran = collect(&rig, out.path(), &["--last"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(ran.row("left")[1..3], ["o2", "7"]);
    assert!(!out.path().join("o1").exists());
    assert!(
        ran.stdout.contains("o2  right  frames 54000000000 to 54000000004 (5): the device has no"),
        "{ran:#?}"
    );

    let ran = collect(&rig, out.path(), &["o1"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let right_row = ran.row("right");
    assert_eq!((right_row[2], right_row[4], right_row[5]), ("6", "6", "whole"));
    assert!(ran.stdout.contains("o1  right  frame 54000000002: the camera dropped this frame\n"), "{ran:#?}");
    assert!(ran.stdout.ends_with("all collected: 2 of 2 parts whole\n"), "{ran:#?}");
    let picture = out.path().join("o1/right/54000000003.jpg");
    assert_eq!(fs::read_to_string(picture).unwrap(), "o1 right 3");

    let again = collect(&rig, out.path(), &["--json"]).json();
    assert_eq!(again["complete"], true);
    let new: Vec<_> = again["parts"].as_array().unwrap().iter().map(|part| part["new"].clone()).collect();
    assert_eq!(new, [0, 0, 0]);
    assert_eq!(again["gaps"][0]["why"], "the camera dropped this frame");
}

#[test]
fn what_is_here_is_deleted_there_if_asked() {
    let rig = Rig::new().with("a", Does::Save);
    let (disk, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    part("o1", "a", &[]).write(disk.path());
    let _share = rig.device(0).share(disk.path());
    assert_eq!(collect(&rig, out.path(), &[]).code, 0);
    assert!(disk.path().join("o1/a/take.json").exists(), "not unless it is asked for");
    let ran = collect(&rig, out.path(), &["--delete-verified"]);
    assert_eq!((ran.code, ran.row("a")[5]), (0, "whole, 7 deleted there"), "{ran:#?}");
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
    assert!(out.path().join("o1/a/take.json").exists());
    let ran = collect(&rig, out.path(), &["--delete-verified"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("no files yet"), "{ran:#?}");
}

#[test]
fn what_could_not_be_had_is_1_and_named() {
    let rig = Rig::new().with("a", Does::Save).with("deaf", Does::Save);
    let (disk, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut running = part("o1", "a", &[]);
    running.take.complete = false;
    running.write(disk.path());
    let _share = rig.device(0).share(disk.path());
    let ran = collect(&rig, out.path(), &["--timeout", "100ms"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert_eq!(ran.row("a")[5], "unfinished");
    assert!(ran.stdout.contains("deaf does not answer for its files"), "{ran:#?}");
    assert!(ran.stdout.ends_with("NOT all collected: 0 of 1 parts whole; run again to go on\n"), "{ran:#?}");

    let unknown = collect(&rig, out.path(), &["o9", "--device", "a"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.stderr.contains("no device has files of an order o9; there are: o1"), "{unknown:#?}");
    let nobody = collect(&rig, out.path(), &["--device", "b"]);
    assert!(nobody.stderr.contains("there is no device b in the rig"), "{nobody:#?}");
}

#[test]
fn arguments_are_checked_and_a_rig_is_needed() {
    let rig = Rig::new();
    let out = tempfile::tempdir().unwrap();
    assert_eq!(collect(&rig, out.path(), &[]).code, 3);
    for bad in [&["../x"][..], &["--parallel", "0"], &["o1", "--last"], &["--timeout", "soon"]] {
        assert_eq!(collect(&rig, out.path(), bad).code, 2, "{bad:?}");
    }
}
