//! Removal of a take, with crashes and power cuts at every call: it is there whole, or hidden and then gone.

use std::io::Write as _;

use swsync_core::manifest::{NOTE_JSON, TAKE_JSON};
use swsync_core::time::Timestamp;

use super::*;
use crate::remove_take::{collected_mark_path, hidden_prefix, hide_take, remove_hidden};

const FOLDER: &str = "/shots/o/pi";

/// A complete take of pictures or of videos, with a note and a mark.
fn complete(disk: &SimulatedDisk, videos: bool) -> Vec<PathBuf> {
    let (mut folder, _) = open(disk, Durability::Safe);
    match videos {
        true => {
            record(&mut folder, 0, &[100, 101, 102]).unwrap();
            record(&mut folder, 1, &[103, 104]).unwrap();
        }
        false => assert_eq!(save(&mut folder, &[100, 101, 102, 103, 104]).len(), 5),
    }
    folder.finish(5, Vec::new(), Timestamp::ZERO).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    for path in [Path::new(FOLDER).join(NOTE_JSON), collected_mark_path(Path::new(FOLDER), "")] {
        let mut file = WholeFile::create_on(&storage, &path, Durability::Safe).unwrap();
        file.write_all(b"{}").unwrap();
        file.commit().unwrap();
    }
    disk.files(Path::new(FOLDER)).unwrap()
}

fn remove(disk: &SimulatedDisk) -> io::Result<RemovedTake> {
    hide_take(disk, Path::new(FOLDER), "")?;
    remove_hidden(disk, Path::new(FOLDER), "", |_| true)
}

#[test]
fn all_files_of_a_take_are_removed_and_no_others() {
    for videos in [false, true] {
        let disk = SimulatedDisk::new();
        let files = complete(&disk, videos);
        disk.create(&Path::new(FOLDER).join("mine.txt")).unwrap();
        let bytes: u64 = files.iter().map(|path| disk.len(path).unwrap()).sum();
        // The mark is the device's own.
        let expected = RemovedTake { files: files.len() as u64 - 1, bytes: bytes - 2 };
        assert_eq!(remove(&disk).unwrap(), expected);
        assert_eq!(disk.files(Path::new(FOLDER)).unwrap(), [Path::new(FOLDER).join("mine.txt")]);
    }
}

#[test]
fn a_folder_that_is_not_ours_is_not_touched() {
    let disk = SimulatedDisk::new();
    let files = complete(&disk, false);
    hide_take(&disk, Path::new(FOLDER), "").unwrap();
    let removed = remove_hidden(&disk, Path::new(FOLDER), "", |_| false).unwrap();
    assert_eq!(removed, RemovedTake::default());
    assert_eq!(disk.files(Path::new(FOLDER)).unwrap().len(), files.len() - 1, "without the mark");
}

#[test]
fn a_crash_at_any_call_leaves_a_whole_take_or_one_that_goes_on_to_vanish() {
    for videos in [false, true] {
        let rehearsal = SimulatedDisk::new();
        complete(&rehearsal, videos);
        let before = rehearsal.calls();
        remove(&rehearsal).unwrap();
        let calls = rehearsal.calls() - before;
        assert!(calls > 8, "{calls}");
        // 0: the process is killed. Others: the power is cut, with other luck each time.
        for (call, luck) in (0..calls).flat_map(|call| (0..8).map(move |luck| (call, luck))) {
            let disk = SimulatedDisk::new();
            let files = complete(&disk, videos);
            disk.die_after(Some(call));
            remove(&disk).unwrap_err();
            if luck == 0 {
                disk.die_after(None);
            } else {
                let mut state = call * 8 + luck;
                disk.cut_power(&mut |below| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    usize::try_from(state >> 33).unwrap() % below
                });
            }
            let left = disk.files(Path::new(FOLDER)).unwrap();
            let is_hidden =
                |path: &PathBuf| hidden_prefix(path.file_name().unwrap().to_str().unwrap()).is_some();
            if left.contains(&Path::new(FOLDER).join(TAKE_JSON)) {
                assert_eq!(left, files, "call {call}, luck {luck}: it is whole");
                assert!(described(&disk).complete);
            } else if left.iter().any(is_hidden) {
                remove_hidden(&disk, Path::new(FOLDER), "", |_| true).unwrap();
            }
            let left = disk.files(Path::new(FOLDER)).unwrap();
            assert!(left == files || left.is_empty(), "call {call}, luck {luck}: {left:?}");
        }
    }
}

#[test]
fn a_hidden_take_is_recognized_by_its_name() {
    assert_eq!(hidden_prefix(".take.json.removed"), Some(""));
    assert_eq!(hidden_prefix(".o1.pi.take.json.removed"), Some("o1.pi."));
    for other in ["take.json.removed", ".take.json", ".mistake.json.removed", ".frames.jsonl.removed"] {
        assert_eq!(hidden_prefix(other), None, "{other}");
    }
}
