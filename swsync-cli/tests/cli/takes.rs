//! `swsync takes`, `note` and `rm`, from the first picture to the empty disk.

use std::fs;
use std::path::Path;

use crate::rig::{Does, Ran, Rig};
use swsync_cli::testing::TakeBuilder;
use swsync_cli::testing::schemas::OfSchema as _;

/// Writes a part of five pictures, which the device accepted at `accepted`.
fn part(root: &Path, order: &str, device: &str, accepted: i64, dropped: &[u64]) {
    let mut part = TakeBuilder::new(order, device, 5)
        .pictures(dropped, |index| format!("{order} {device} {index}").into_bytes());
    part.take.accepted_ns = Some(swsync_core::time::Timestamp::from_nanos(accepted));
    part.take.picture_bytes = Some(part.files.values().map(|bytes| bytes.len() as u64).sum());
    part.write(root);
}

fn collect(rig: &Rig, out: &Path, args: &[&str]) -> Ran {
    rig.run(&[&["collect", out.to_str().unwrap()], args].concat())
}

#[test]
fn takes_are_listed_noted_collected_and_removed() {
    let rig = Rig::keyed().with("left", Does::Save).with("right", Does::Save);
    let [left, right, out] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    // By their names the other way round.
    part(left.path(), "second", "left", 20, &[]);
    part(left.path(), "walk", "left", 30, &[]);
    part(right.path(), "walk", "right", 30, &[2]);
    let _shares = [rig.device(0).share(left.path()), rig.device(1).share(right.path())];

    let ran = rig.run(&["takes"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(ran.row("second")[2..], ["5", "1/2", "0", "65 B", "no"], "{ran:#?}");
    assert_eq!(ran.row("walk")[2..], ["5", "2/2", "1", "103 B", "no"], "{ran:#?}");
    assert!(ran.stdout.find("second") < ran.stdout.find("walk"), "the newest is last: {ran:#?}");
    assert!(ran.stdout.contains("    not on right\n"), "{ran:#?}");
    assert!(ran.stdout.ends_with("2 takes on 2 devices, 168 B; 2 not collected\n"), "{ran:#?}");

    // Only what was collected may go, and not without being asked.
    let ran = rig.run(&["rm", "walk"]);
    assert!(ran.code == 2 && ran.stderr.contains("give --yes"), "{ran:#?}");
    let ran = rig.run(&["rm", "--yes", "walk"]);
    assert!(ran.code == 1 && ran.stderr.contains("left: nobody has collected it"), "{ran:#?}");
    let ran = rig.run(&["rm", "--yes", "walk", "other"]);
    assert!(ran.code == 5 && ran.stderr.contains("no device has anything of an order other"), "{ran:#?}");

    let ran = rig.run(&["note", "walk", "second", "try"]);
    assert_eq!((ran.code, &*ran.stdout), (0, "noted on 2 devices\n"), "{ran:#?}");
    assert_eq!(collect(&rig, out.path(), &["walk"]).code, 0);
    let note = fs::read_to_string(out.path().join("walk/right/note.json")).unwrap();
    assert!(note.contains("\"second try\""), "{note}");
    let json = rig.run(&["takes", "walk", "--json"]).json_of("takes");
    let walk = &json["takes"][0];
    assert_eq!(
        (&walk["note"], &walk["collected"], &walk["utc"]),
        (&"second try".into(), &true.into(), &"2027-01-15T08:00:00.000000000Z".into()),
        "{json}"
    );
    assert_eq!(
        (&walk["parts"][1]["collected"]["state"], &walk["parts"][1]["holes"]),
        (&"here".into(), &1.into())
    );
    assert_eq!(json["takes"].as_array().unwrap().len(), 1);

    // A later note has to be collected too.
    assert_eq!(rig.run(&["note", "walk", "third try"]).code, 0);
    assert_eq!(rig.run(&["note", "walk"]).stdout, "third try\n");
    assert_eq!(rig.run(&["takes"]).row("walk")[6], "no");
    let ran = rig.run(&["rm", "--yes", "walk"]);
    assert!(ran.code == 1 && ran.stderr.contains("note.json"), "{ran:#?}");
    assert_eq!(collect(&rig, out.path(), &["walk"]).code, 0);
    // A copy that has been damaged is none.
    let picture = out.path().join("walk/right/54000000003.jpg");
    fs::write(&picture, "edited").unwrap();
    let ran = rig.run(&["rm", "--yes", "walk"]);
    assert!(ran.code == 1 && ran.stderr.contains("right: 54000000003.jpg in "), "{ran:#?}");
    fs::remove_file(&picture).unwrap();
    assert_eq!(collect(&rig, out.path(), &["walk"]).code, 0);

    let ran = rig.run(&["rm", "--yes", "--to", "nobody", "walk"]);
    assert!(ran.code == 2 && ran.stderr.contains("nobody"), "{ran:#?}");
    let ran = rig.run(&["rm", "--yes", "--to", "right", "second"]);
    assert!(ran.code == 5 && ran.stderr.contains("no device has anything of an order second"), "{ran:#?}");
    let ran = rig.run(&["rm", "--yes", "--to", "left", "walk"]);
    assert!(ran.stdout.lines().last().unwrap().starts_with("all removed: 8 files, "), "{ran:#?}");
    assert!(ran.code == 0 && right.path().join("walk/right/take.json").exists(), "{ran:#?}");
    let ran = rig.run(&["rm", "--yes", "walk"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains(", verified\n"), "{ran:#?}");
    assert!(ran.stdout.contains("right   walk        7"), "{ran:#?}");
    assert!(ran.stdout.lines().last().unwrap().starts_with("all removed: 7 files, "), "{ran:#?}");
    assert_eq!(fs::read_dir(right.path()).unwrap().count(), 0);
    assert!(!left.path().join("walk").exists() && left.path().join("second/left/take.json").exists());
    assert!(out.path().join("walk/left/take.json").exists());

    let ran = rig.run(&["rm", "--yes", "--force", "--json", "second"]);
    assert_eq!((ran.code, ran.json_of("rm")["removed"][0]["files"].clone()), (0, 7.into()), "{ran:#?}");
    assert!(rig.run(&["takes"]).stdout.starts_with("no takes yet"));
}

#[test]
fn what_cannot_be_removed_or_listed_stays_and_is_said() {
    // A rig without a key, with a device that shares nothing and one that has not finished a take.
    let rig = Rig::new().with("a", Does::Save).with("deaf", Does::Save);
    let [disk, out] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    part(disk.path(), "done", "a", 10, &[]);
    let mut begun = TakeBuilder::new("begun", "a", 5);
    begun.take.complete = false;
    begun.write(disk.path());
    {
        let _share = rig.device(0).share(disk.path());
        let ran = rig.run(&["takes", "--timeout", "200ms"]);
        assert_eq!(ran.code, 1, "{ran:#?}");
        assert!(ran.stderr.contains("what deaf has is not listed: it does not answer"), "{ran:#?}");
        assert_eq!(ran.row("begun")[2..5], ["-", "1/2", "0"], "{ran:#?}");
        assert!(ran.stdout.contains("    unfinished on a\n"), "{ran:#?}");
        assert_eq!(rig.run(&["takes", "other", "--timeout", "200ms"]).code, 5);

        let ran = rig.run(&["note", "done", "x", "--timeout", "200ms"]);
        assert!(ran.code == 1 && ran.stderr.contains("deaf may not have the note"), "{ran:#?}");
        let long = "x".repeat(1001);
        let ran = rig.run(&["note", "done", &long]);
        assert!(ran.code == 2 && ran.stderr.contains("at most 1000 bytes"), "{ran:#?}");

        assert_eq!(collect(&rig, out.path(), &["done", "--device", "a"]).code, 0);
        let ran = rig.run(&["rm", "--yes", "done"]);
        assert!(ran.code == 1 && ran.stderr.contains("swsync key new"), "{ran:#?}");
    }
    // The same disk in a rig with a key: what a stranger may have said of it does not count.
    let rig = Rig::keyed().with("a", Does::Save);
    let _share = rig.device(0).share(disk.path());
    let ran = rig.run(&["rm", "--yes", "done"]);
    assert!(ran.code == 1 && ran.stderr.contains("when the rig had no key"), "{ran:#?}");
    let ran = rig.run(&["rm", "--yes", "--force", "begun"]);
    assert!(ran.code == 1 && ran.stderr.contains("a has not finished it"), "{ran:#?}");
    assert_eq!(collect(&rig, out.path(), &["done"]).code, 0);
    assert_eq!(rig.run(&["rm", "--yes", "done"]).code, 0);
    assert!(!disk.path().join("done").exists() && disk.path().join("begun/a/take.json").exists());

    // A crash had interrupted the removal of another take.
    part(disk.path(), "half", "a", 10, &[]);
    let half = disk.path().join("half/a");
    fs::rename(half.join("take.json"), half.join(".take.json.removed")).unwrap();
    fs::remove_file(half.join("54000000001.jpg")).unwrap();
    let ran = rig.run(&["takes"]);
    assert!(ran.code == 0 && !ran.stdout.contains("half"), "{ran:#?}");
    let deadline = std::time::Instant::now() + crate::rig::TIMEOUT;
    while disk.path().join("half").exists() {
        assert!(std::time::Instant::now() < deadline, "the rest is removed");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
