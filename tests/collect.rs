//! From pipelines to collected and exported files that other programs open.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use swsync_core::frame::LockState;
use swsync_core::manifest::{FRAMES_CSV, Take};

use crate::process::{COMMAND_TIMEOUT, poll, retry_on_drops};
use crate::rig::{Rig, TestBed};

#[test]
fn a_shot_is_collected_and_exported_for_colmap() {
    let bed = TestBed::exclusive();
    let rig = bed.rig(&["left", "right"]);
    let shot = retry_on_drops(|| Some(rig.shoot(&["--count", "2"])).filter(|shot| !shot.has_drops()));
    assert_eq!(shot.code, Some(0), "{shot:?}");
    let takes = bed.path("takes");
    let out = takes.to_str().unwrap();

    let collected = rig.swsync(&["collect", out, "--last"]).wait();
    assert_eq!(collected.code, Some(0), "{collected:#?}");
    assert!(collected.out.ends_with("all collected: 3 of 3 parts whole\n"), "{collected:#?}");
    let take = take_folder(&takes);
    let devices = ["leader", "left", "right"];
    for device in devices {
        let (here, there) =
            (take.join(device), bed.path("shots").join(take.file_name().unwrap()).join(device));
        for entry in fs::read_dir(&there).unwrap() {
            let name = entry.unwrap().file_name();
            if name == ".collected.json" {
                continue; // the device's own: who has collected it
            }
            assert_eq!(fs::read(here.join(&name)).unwrap(), fs::read(there.join(&name)).unwrap(), "{name:?}");
        }
        let description = Take::from_json(&fs::read(here.join("take.json")).unwrap()).unwrap();
        assert!(
            description.complete && description.count == 2 && description.holes.is_empty(),
            "{description:?}"
        );
        assert_eq!(fs::read_to_string(here.join(FRAMES_CSV)).unwrap().lines().count(), 3);
    }
    let certificate = fs::read(take.join("certificate.json")).unwrap();
    let certificate: serde_json::Value = serde_json::from_slice(&certificate).unwrap();
    assert_eq!(certificate["devices"].as_array().map(Vec::len), Some(3), "{certificate:#}");
    assert_eq!(certificate["numbers"].as_array().map(Vec::len), Some(2), "{certificate:#}");
    // The rig has no key, so nobody can tell who asks.
    let again = rig.swsync(&["collect", out, "--delete-verified"]).wait();
    assert_eq!(again.code, Some(1), "{again:#?}");
    assert!(format!("{again:?}").contains("swsync key new"), "{again:#?}");
    for device in devices {
        let there = bed.path("shots").join(take.file_name().unwrap()).join(device);
        assert!(there.join("take.json").exists(), "nothing is deleted on {device}");
    }

    let scan = bed.path("scan");
    bed.export("colmap", &[take], &scan);
    let pictures = devices.map(|device| names(&scan.join("images/rig1").join(device)));
    assert!(
        pictures[0].len() == 2 && pictures.iter().all(|of| *of == pictures[0]),
        "all devices have the same file names: {pictures:?}"
    );
}

/// The ways in which a take ends, as orders' ids.
const ENDINGS: [&str; 6] = ["stopped", "cancelled", "interrupted", "at-eos", "killed", "never-begun"];

#[test]
fn a_take_of_video_is_collected_and_exported_however_it_ended() {
    let bed = TestBed::exclusive();
    let (_timekeeper, time) = bed.timekeeper();
    let start = || {
        let video = "swsyncsrc ! videoconvert ! x264enc speed-preset=ultrafast tune=zerolatency";
        bed.leader().follow(&time).simulated(1).frames(video).start()
    };
    let mut rig = Rig::with(&bed, vec![start()]);
    rig.wait_until_ready(LockState::Locked);
    let said = |args: &[&str]| {
        let ended = rig.swsync(args).wait_for_up_to(COMMAND_TIMEOUT);
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:#?}");
    };
    let record = |id: &str| said(&["record", "--detach", "--segment", "1s", "--id", id]);
    let in_its_second_file = |id: &str| {
        let file = bed.path("shots").join(id).join("leader/.0001.mp4.part");
        poll(id, || file.exists().then_some(()));
    };
    record("stopped");
    in_its_second_file("stopped");
    said(&["stop", "stopped"]);
    record("cancelled");
    in_its_second_file("cancelled");
    said(&["cancel", "cancelled"]);
    let attended = rig.swsync(&["record", "--segment", "1s", "--id", "interrupted"]);
    in_its_second_file("interrupted");
    attended.signal(Signal::INT);
    let ended = attended.wait_for_up_to(COMMAND_TIMEOUT);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    said(&["record", "--detach", "--in", "1h", "--segment", "1s", "--id", "never-begun"]);
    said(&["stop", "never-begun"]);

    for (id, signal) in [("at-eos", Signal::INT), ("killed", Signal::KILL)] {
        rig.swsync(&["record", "--detach", "--segment", "1s", "--id", id]).wait_for_up_to(COMMAND_TIMEOUT);
        let device = rig.take_last();
        in_its_second_file(id);
        device.signal(signal);
        device.wait_for_up_to(COMMAND_TIMEOUT);
        rig.add(start());
        rig.wait_until_ready(LockState::Locked);
        // Ignores the result: the device may have finished the take when it ended.
        rig.swsync(&["stop", id]).wait_for_up_to(COMMAND_TIMEOUT);
    }
    poll("nothing is open any more", || {
        let statuses = rig.statuses();
        (statuses.len() == 1 && statuses[0].open.is_empty()).then_some(())
    });

    let takes = bed.path("takes");
    let collected = rig.swsync(&["collect", takes.to_str().unwrap()]).wait_for_up_to(COMMAND_TIMEOUT);
    assert_eq!(collected.code, Some(0), "{collected:#?}");
    for ending in &ENDINGS[..5] {
        let text = fs::read(takes.join(ending).join("leader/take.json"));
        let text = text.unwrap_or_else(|error| {
            let on_device: Vec<_> =
                [bed.path("shots"), bed.path("shots").join(ending)].map(|f| names(&f)).into();
            panic!("{ending}: {error}: {collected:#?}, on the device: {on_device:?}")
        });
        let take = Take::from_json(&text).unwrap();
        assert!(take.complete && take.segments.len() >= 2, "{ending}: {take:?}");
        assert_eq!(
            take.to_json().as_bytes(),
            text,
            "{ending}: reading and writing take.json changes nothing"
        );
    }
    let parts: Vec<_> = ENDINGS[..5].iter().map(|ending| takes.join(ending)).collect();
    for format in ["csv", "timecode", "mcap", "freemocap", "colmap"] {
        bed.export(format, &parts, &bed.path(format));
    }
}

/// The only take in `takes`.
fn take_folder(takes: &Path) -> PathBuf {
    let mut folders = fs::read_dir(takes).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    assert!(folders.next().is_none());
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
