//! `swsync collect`.

use std::fs;
use std::path::Path;

use crate::rig::{Does, Rig};
use swsync_cli::testing::TakeBuilder;
use swsync_cli::testing::schemas::OfSchema as _;

fn part(order: &str, device: &str, dropped: &[u64]) -> TakeBuilder {
    TakeBuilder::new(order, device, 5)
        .pictures(dropped, |index| format!("{order} {device} {index}").into_bytes())
}

fn collect(rig: &Rig, out: &Path, args: &[&str]) -> crate::rig::Ran {
    rig.run(&[&["collect", out.to_str().unwrap()], args].concat())
}

#[test]
fn all_files_are_fetched_and_missing_frames_are_listed() {
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
    assert!(ran.stdout.ends_with("all collected: 2 of 2 parts whole, less the frames above\n"), "{ran:#?}");
    let picture = out.path().join("o1/right/54000000003.jpg");
    assert_eq!(fs::read_to_string(picture).unwrap(), "o1 right 3");

    let again = collect(&rig, out.path(), &["--json"]).json_of("collect");
    assert_eq!(again["complete"], true);
    let new: Vec<_> = again["parts"].as_array().unwrap().iter().map(|part| part["new"].clone()).collect();
    assert_eq!(new, [0, 0, 0]);
    assert_eq!(again["gaps"][0]["why"], "the camera dropped this frame");
}

#[test]
fn collected_files_are_deleted_on_the_device_only_if_asked() {
    let rig = Rig::keyed().with("a", Does::Save);
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
fn an_open_rig_deletes_nothing_and_says_what_to_do() {
    let rig = Rig::new().with("a", Does::Save);
    let (disk, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    part("o1", "a", &[]).write(disk.path());
    let _share = rig.device(0).share(disk.path());
    let ran = collect(&rig, out.path(), &["--delete-verified"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!((ran.stdout.clone() + &ran.stderr).contains("swsync key new"), "{ran:#?}");
    assert!(disk.path().join("o1/a/take.json").exists());
    assert!(out.path().join("o1/a/take.json").exists(), "it is collected all the same");
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
    assert!(unknown.stderr.contains("no device has files of an order o9: name some of o1"), "{unknown:#?}");
    let nobody = collect(&rig, out.path(), &["--device", "b"]);
    assert!(nobody.stderr.contains("there is no device b in the rig"), "{nobody:#?}");
}

#[test]
fn a_device_that_is_not_whole_is_named_until_it_is_or_is_given_up() {
    let (left, right, out) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    part("o1", "left", &[]).write(left.path());
    part("o1", "right", &[]).write(right.path());
    let export = |args: &[&str]| {
        let (take, to) = (out.path().join("o1"), tempfile::tempdir().unwrap());
        let to = to.path().join("csv");
        let paths = ["export", "csv", take.to_str().unwrap(), "-o", to.to_str().unwrap()];
        crate::rig::Ran::of(&mut crate::rig::swsync(&[&paths, args].concat()))
    };
    {
        let rig = Rig::new().with("left", Does::Save).with("right", Does::Save);
        let _shares = rig.device(0).share(left.path()); // right is in the rig, and does not answer
        let ran = collect(&rig, out.path(), &["--timeout", "100ms"]);
        assert_eq!(ran.code, 1, "{ran:#?}");
        assert!(ran.stdout.contains("right does not answer for its files"), "{ran:#?}");
        assert!(!ran.stdout.contains("the device has no files of this take"), "nobody knows that: {ran:#?}");
    }
    let rig = Rig::new().with("left", Does::Save);
    let _share = rig.device(0).share(left.path());
    for _ in 0..2 {
        let ran = collect(&rig, out.path(), &[]);
        assert_eq!((ran.code, ran.row("left")[5]), (1, "whole"), "{ran:#?}");
        assert!(ran.stdout.contains("o1 of right is not whole here: right does not answer"), "{ran:#?}");
        assert!(ran.stdout.contains("NOT all collected: 1 of 1 parts whole"), "{ran:#?}");
    }
    let exported = export(&[]);
    assert_eq!(exported.code, 1, "{exported:#?}");
    assert!(exported.stderr.contains("o1: right is not whole here"), "{exported:#?}");
    assert_eq!(export(&["--device", "left"]).code, 0);

    let ran = collect(&rig, out.path(), &["--without", "right", "--json"]);
    assert_eq!((ran.code, ran.json_of("collect")["complete"].clone()), (0, true.into()), "{ran:#?}");
    assert_eq!(collect(&rig, out.path(), &[]).code, 0, "that is remembered too");
    let exported = export(&[]);
    assert!(exported.code == 0 && exported.stderr.contains("right is not whole here"), "{exported:#?}");

    // It comes back.
    drop(_share);
    let rig = Rig::new().with("left", Does::Save).with("right", Does::Save);
    let _shares = [rig.device(0).share(left.path()), rig.device(1).share(right.path())];
    let ran = collect(&rig, out.path(), &[]);
    assert!(ran.stdout.ends_with("all collected: 2 of 2 parts whole\n") && ran.code == 0, "{ran:#?}");
    let exported = export(&[]);
    assert!(exported.code == 0 && exported.stderr.is_empty(), "{exported:#?}");
}

#[test]
fn whole_files_of_an_unfinished_take_are_fetched_if_asked() {
    let rig = Rig::new().with("a", Does::Save);
    let (disk, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut running = part("o1", "a", &[]);
    running.take.complete = false;
    running.write(disk.path());
    // The line that the device was writing when its disk was full.
    let manifest = disk.path().join("o1/a/frames.jsonl");
    fs::write(&manifest, fs::read_to_string(&manifest).unwrap() + "{\"order\": \"o1\", \"dev").unwrap();
    let _share = rig.device(0).share(disk.path());
    let ran = collect(&rig, out.path(), &["--partial", "--delete-verified"]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    let state = ran.stdout.lines().find(|line| line.starts_with("a ")).unwrap();
    assert!(state.contains("partial: what is whole is here"), "{ran:#?}");
    assert!(!ran.stdout.contains("frames.jsonl"), "{ran:#?}");
    assert!(disk.path().join("o1/a/take.json").exists(), "it is not deleted");
    assert_eq!(fs::read(out.path().join("o1/a/54000000003.jpg")).unwrap(), b"o1 a 3");
    part("o1", "a", &[]).write(disk.path());
    let ran = collect(&rig, out.path(), &[]);
    assert_eq!((ran.code, ran.row("a")[5]), (0, "whole"), "{ran:#?}");
}

#[test]
fn what_a_device_has_and_cannot_list_is_1_and_named() {
    let rig = Rig::new().with("a", Does::Save);
    let (disk, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    part("o1", "a", &[]).write(disk.path());
    part("o2", "a", &[]).write(disk.path());
    fs::write(disk.path().join("o2/a/take.json"), "{").unwrap();
    let _share = rig.device(0).share(disk.path());
    let ran = collect(&rig, out.path(), &[]);
    assert_eq!((ran.code, ran.row("a")[5]), (1, "whole"), "{ran:#?}");
    assert!(ran.stdout.contains("a has o2/a/take.json, which cannot be collected: "), "{ran:#?}");
    assert!(ran.stdout.ends_with("NOT all collected: 1 of 1 parts whole; run again to go on\n"), "{ran:#?}");
}

#[test]
fn devices_whose_names_differ_in_case_are_kept_apart() {
    let rig = Rig::new().with("cam", Does::Save).with("other", Does::Save);
    let (one, other, out) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    part("o1", "cam", &[]).write(one.path());
    part("O1", "other", &[]).write(other.path());
    let _shares = [rig.device(0).share(one.path()), rig.device(1).share(other.path())];
    for _ in 0..2 {
        let ran = collect(&rig, out.path(), &[]);
        assert_eq!(ran.code, 1, "{ran:#?}");
        assert!(ran.stdout.contains("where upper and lower case are one"), "{ran:#?}");
        assert!(ran.stdout.contains("NOT all collected: 1 of 2 parts whole"), "{ran:#?}");
        assert!(!out.path().join("o1").exists() && out.path().join("O1/other/take.json").exists());
    }
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
