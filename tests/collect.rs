//! From pipelines to files that other programs open.

use std::fs;
use std::path::Path;

use swsync_core::manifest::{FRAMES_CSV, Take};

use crate::process::{Process, built, command, despite_drops};
use crate::rig::Lab;

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
    let names = devices.map(|device| pictures(&scan.join("images/rig1").join(device)));
    assert!(
        names[0].len() == 2 && names.iter().all(|of| *of == names[0]),
        "one name for one instant: {names:?}"
    );
}

/// The one take that is there.
fn take_folder(takes: &Path) -> std::path::PathBuf {
    let mut folders = fs::read_dir(takes).unwrap();
    let folder = folders.next().unwrap().unwrap().path();
    assert!(folders.next().is_none());
    folder
}

fn pictures(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
