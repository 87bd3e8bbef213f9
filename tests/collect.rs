//! From pipelines to files that other programs open.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use swsync_core::frame::LockState;
use swsync_core::manifest::{FRAMES_CSV, Take};

use crate::process::{Process, built, command, despite_drops, poll};
use crate::rig::{Lab, Rig};

/// Longer than any command here takes.
const PATIENCE: Duration = Duration::from_secs(150);

#[test]
fn a_shot_comes_home_and_goes_on_to_colmap() {
    let lab = Lab::alone();
    let rig = lab.rig(&["left", "right"]);
    let shot = despite_drops(|| Some(rig.shoot(&["--count", "2"])).filter(|shot| !shot.has_drops()));
    assert_eq!(shot.code, Some(0), "{shot:?}");
    let takes = lab.path("takes");
    let out = takes.to_str().unwrap();

    let collected = rig.swsync(&["collect", out, "--last"]).wait();
    assert_eq!(collected.code, Some(0), "{collected:#?}");
    assert!(collected.out.ends_with("all collected: 3 of 3 parts whole\n"), "{collected:#?}");
    let take = take_folder(&takes);
    let devices = ["leader", "left", "right"];
    for device in devices {
        let (here, there) =
            (take.join(device), lab.path("shots").join(take.file_name().unwrap()).join(device));
        for entry in fs::read_dir(&there).unwrap() {
            let name = entry.unwrap().file_name();
            assert_eq!(fs::read(here.join(&name)).unwrap(), fs::read(there.join(&name)).unwrap(), "{name:?}");
        }
        let description = Take::from_json(&fs::read(here.join("take.json")).unwrap()).unwrap();
        assert!(
            description.complete && description.count == 2 && description.holes.is_empty(),
            "{description:?}"
        );
        assert_eq!(fs::read_to_string(here.join(FRAMES_CSV)).unwrap().lines().count(), 3);
    }
    let again = rig.swsync(&["collect", out, "--delete-verified"]).wait();
    assert_eq!(again.code, Some(0), "{again:#?}");
    let left = fs::read_dir(lab.path("shots")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| name.to_string_lossy().starts_with('.')), "all is deleted there");

    let scan = lab.path("scan");
    let mut export = command(built("swsync"));
    export.args(["export", "colmap"]).arg(&take).arg("-o").arg(&scan);
    let exported = Process::start("swsync-export", &lab.path(""), &mut export).wait();
    assert_eq!(exported.code, Some(0), "{exported:#?}");
    let pictures = devices.map(|device| names(&scan.join("images/rig1").join(device)));
    assert!(
        pictures[0].len() == 2 && pictures.iter().all(|of| *of == pictures[0]),
        "one name for one instant: {pictures:?}"
    );
}

/// What ends a take.
const ENDINGS: [&str; 6] = ["stopped", "cancelled", "interrupted", "at-eos", "killed", "never-begun"];

#[test]
fn a_take_of_video_comes_home_and_goes_on_however_it_ended() {
    let lab = Lab::alone();
    let start = || {
        let video = "swsyncsrc ! videoconvert ! x264enc speed-preset=ultrafast tune=zerolatency";
        lab.leader().simulated(1).frames(video).start()
    };
    let mut rig = Rig::with(&lab, vec![start()]);
    rig.wait_until_ready(LockState::Locked);
    let said = |args: &[&str]| {
        let ended = rig.swsync(args).wait_for_up_to(PATIENCE);
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:#?}");
    };
    let record = |id: &str| said(&["record", "--detach", "--segment", "1s", "--id", id]);
    let in_its_second_file = |id: &str| {
        let file = lab.path("shots").join(id).join("leader/.0001.mp4.part");
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
    let ended = attended.wait_for_up_to(PATIENCE);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    said(&["record", "--detach", "--in", "1h", "--segment", "1s", "--id", "never-begun"]);
    said(&["stop", "never-begun"]);

    for (id, signal) in [("at-eos", Signal::INT), ("killed", Signal::KILL)] {
        rig.swsync(&["record", "--detach", "--segment", "1s", "--id", id]).wait_for_up_to(PATIENCE);
        let device = rig.take_last();
        in_its_second_file(id);
        device.signal(signal);
        device.wait_for_up_to(PATIENCE);
        rig.add(start());
        rig.wait_until_ready(LockState::Locked);
        // It may have been done with it when it ended.
        rig.swsync(&["stop", id]).wait_for_up_to(PATIENCE);
    }
    poll("nothing is open any more", || {
        let statuses = rig.statuses();
        (statuses.len() == 1 && statuses[0].open.is_empty()).then_some(())
    });

    let takes = lab.path("takes");
    let collected = rig.swsync(&["collect", takes.to_str().unwrap()]).wait_for_up_to(PATIENCE);
    assert_eq!(collected.code, Some(0), "{collected:#?}");
    for ending in &ENDINGS[..5] {
        let text = fs::read(takes.join(ending).join("leader/take.json"));
        let text = text.unwrap_or_else(|error| {
            let on_device: Vec<_> =
                [lab.path("shots"), lab.path("shots").join(ending)].map(|f| names(&f)).into();
            panic!("{ending}: {error}: {collected:#?}, on the device: {on_device:?}")
        });
        let take = Take::from_json(&text).unwrap();
        assert!(take.complete && take.segments.len() >= 2, "{ending}: {take:?}");
        assert_eq!(take.to_json().as_bytes(), text, "{ending}: what is written is what is read");
    }
    for format in ["csv", "timecode", "mcap", "freemocap", "colmap"] {
        let mut export = command(built("swsync"));
        export.args(["export", format]).args(ENDINGS[..5].iter().map(|ending| takes.join(ending)));
        export.arg("-o").arg(lab.path(format));
        let exported = Process::start(format, &lab.path(""), &mut export).wait_for_up_to(PATIENCE);
        assert_eq!(exported.code, Some(0), "{exported:#?}");
    }
}

/// The one take that is there.
fn take_folder(takes: &Path) -> std::path::PathBuf {
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
