//! Takes collected from devices, over real Zenoh sessions on loopback.
//!
//! Every test has a port and a rig of its own, so that they can run at once.

#[path = "collect/deleting.rs"]
mod deleting;
#[path = "collect/interruptions.rs"]
mod interruptions;
#[path = "collect/sharing.rs"]
mod sharing;
#[path = "collect/support.rs"]
mod support;

use std::fs;
use std::path::Path;

use swsync_client::collect::{CollectError, CollectEvent, collect, delete};
use swsync_rig::share::Share;
use swsync_rig::{RigConfig, Session, key_file};

use support::{Rig, content, name, noise};

#[test]
fn child_main() {
    // Not a test: `Child` runs this.
    let Ok(root) = std::env::var("SWSYNC_TEST_ROOT") else { return };
    let variable = |key| std::env::var(key).unwrap();
    let config =
        RigConfig::new(name(&variable("SWSYNC_TEST_RIG")), Vec::new(), vec![variable("SWSYNC_TEST_CONNECT")]);
    let config = config.with_key(Some(key_file::read(variable("SWSYNC_KEY_FILE")).unwrap()));
    let session = Session::open_unshared(&config).unwrap();
    let _share = Share::open(&session, name("pi"), root.into(), Box::new(|| None)).unwrap();
    println!("serving");
    let _ = std::io::stdin().read_line(&mut String::new()); // ends when the test does
}

#[test]
fn a_take_is_collected_once() {
    let rig = Rig::new();
    rig.take("o1", &[noise(100), Vec::new(), noise(3_000_000)]);
    rig.take("o2", &[noise(5)]);
    let _device = rig.serve();
    let takes = rig.remote().takes().unwrap().takes;
    assert_eq!(takes.iter().map(|take| take.order.as_str()).collect::<Vec<_>>(), ["o1", "o2"]);
    assert_eq!(rig.collect("o1").unwrap(), 5);
    assert_eq!(content(&rig.collected("o1")), content(&rig.folder("o1")));
    assert!(!rig.collected("o2").exists());
    assert_eq!(rig.collect("o1").unwrap(), 0, "it is collected already");

    // A file that changed on the device, or was lost here, is fetched again; no other file is.
    fs::write(rig.folder("o1").join("00000100.jpg"), b"another").unwrap();
    fs::remove_file(rig.collected("o1").join("00000101.jpg")).unwrap();
    assert_eq!(rig.collect("o1").unwrap(), 2);
    let mut here = content(&rig.collected("o1"));
    assert_eq!(
        here.remove("00000100.kept1.jpg").unwrap(),
        noise(100),
        "the earlier file of the device is not lost"
    );
    assert_eq!(here, content(&rig.folder("o1")));
}

/// Changes a byte of the file `path`, and restores its age.
fn flip_a_byte(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[3] ^= 1;
    fs::write(path, bytes).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn sums_decide_and_no_file_is_overwritten() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10), noise(20), noise(30)]);
    let _device = rig.serve();
    rig.collect("o1").unwrap();
    let there = content(&rig.folder("o1"));
    let again = |kept: &[&str], fetched| {
        let collected = collect(&rig.remote(), &name("o1"), rig.out.path(), |_| ()).unwrap();
        assert_eq!(
            (collected.kept, collected.fetched),
            (kept.iter().map(|k| (*k).to_owned()).collect(), fetched)
        );
    };
    again(&[], 0);
    // The same file with another age: here, on the device, and with the list of collected files lost.
    for path in [rig.collected("o1").join("00000100.jpg"), rig.folder("o1").join("00000101.jpg")] {
        fs::File::options().write(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    again(&[], 0);
    fs::remove_file(rig.collected("o1").join(".collected.jsonl")).unwrap();
    again(&[], 0);

    let here = rig.collected("o1");
    flip_a_byte(&here.join("00000100.jpg"));
    fs::write(here.join("00000101.jpg"), "edited, and longer than it was").unwrap();
    fs::write(here.join("take.json"), "{}").unwrap();
    again(&["00000100.kept1.jpg", "00000101.kept1.jpg", "take.kept1.json"], 3);
    fs::write(here.join("00000101.jpg"), "edited again").unwrap();
    again(&["00000101.kept2.jpg"], 1);
    let mut all = content(&here);
    assert_eq!(all.remove("00000101.kept1.jpg").unwrap(), b"edited, and longer than it was");
    assert_eq!(all.remove("00000101.kept2.jpg").unwrap(), b"edited again");
    all.retain(|name, _| !name.contains("kept"));
    assert_eq!(all, there);

    flip_a_byte(&rig.folder("o1").join("00000102.jpg"));
    again(&["00000102.kept1.jpg"], 1);
    assert_eq!(fs::read(here.join("00000102.kept1.jpg")).unwrap(), noise(30));
}

#[test]
fn one_device_never_overwrites_another() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10)]);
    rig.take("O1", &[noise(20)]);
    let _device = rig.serve();
    rig.collect("o1").unwrap();
    let error = rig.collect("O1").unwrap_err();
    assert!(matches!(&error, CollectError::Alike { name, .. } if name.as_str() == "O1"), "{error}");
    fs::rename(rig.out.path().join("o1"), rig.out.path().join("O1")).unwrap();
    fs::rename(rig.collected("O1"), rig.out.path().join("O1/PI")).unwrap();
    let error = rig.collect("O1").unwrap_err().to_string();
    assert!(error.contains("O1/PI is here already, and is the folder of pi too"), "{error}");
}

#[test]
fn a_broken_video_is_collected_and_deleted_with_its_take() {
    let rig = Rig::new();
    // All of its video was lost in a crash.
    rig.take("o1", &[]);
    fs::write(rig.folder("o1").join("frames.jsonl"), "").unwrap();
    fs::write(rig.folder("o1").join("0000.mp4.broken"), noise(100)).unwrap();
    let _device = rig.serve();
    rig.collect("o1").unwrap();
    assert_eq!(content(&rig.collected("o1")), content(&rig.folder("o1")));
    assert_eq!(content(&rig.collected("o1"))["0000.mp4.broken"], noise(100));
    delete(&rig.remote(), &name("o1"), rig.out.path()).unwrap();
    assert!(!rig.folder("o1").exists());
}

#[test]
fn one_take_is_collected_by_one_process_at_a_time() {
    let rig = Rig::new();
    rig.take("o1", &[noise(10)]);
    let _device = rig.serve();
    let mut second = None;
    collect(&rig.remote(), &name("o1"), rig.out.path(), |event| {
        if matches!(event, CollectEvent::Planned { .. }) {
            second = Some(rig.collect("o1"));
        }
    })
    .unwrap();
    assert!(matches!(second, Some(Err(CollectError::Locked { .. }))));
}
