//! Loop recordings: which files stay, which are removed, and what says so.

use std::path::Path;

use swsync_core::grid::FrameNumber;
use swsync_core::manifest::FrameRecord;
use swsync_core::time::Timestamp;

use super::*;

/// Numbers of the frames in the manifest.
fn listed(disk: &SimulatedDisk) -> Vec<FrameNumber> {
    let text = read(disk, Path::new("/shots/o/pi/frames.jsonl")).unwrap();
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|line| FrameRecord::from_line(line).unwrap().info.number).collect()
}

#[test]
fn a_loop_keeps_its_newest_files_and_reports_removed_ones() {
    for videos in [false, true] {
        let disk = SimulatedDisk::new();
        let (mut folder, _) = open_loop(&disk, Durability::Safe, Some(3));
        let mut gone = Vec::new();
        for index in 0..8_u32 {
            let first = 100 + 10 * u64::from(index);
            match videos {
                true => drop(record(&mut folder, index, &[first, first + 2]).unwrap()),
                false => drop(save(&mut folder, &[first])),
            }
            let removal = folder.remove_surplus().unwrap();
            gone.extend(removal.iter().flat_map(|removal| removal.frames.iter().map(|(number, _)| number)));
            let bytes = removal.map_or(0, |removal| removal.bytes);
            assert_eq!(bytes > 0, index >= 3, "{index}");
            assert_eq!(finished(&disk).len(), (index as usize + 1).min(3));
        }
        let frames = |from: u64| (from..180).step_by(10).flat_map(move |first| [first, first + 2]);
        let frames = |from| frames(from).filter(move |number| videos || number % 10 == 0).collect::<Vec<_>>();
        assert_eq!(gone, frames(100)[..frames(100).len() - frames(150).len()]);
        let take = described(&disk);
        let removed = take.removed.clone().unwrap();
        assert_eq!(removed.why, "removed: max-files=3");
        assert_eq!(removed.before, gone.last().unwrap() + 1);
        assert_eq!(take.segments.len(), if videos { 3 } else { 0 });
        // A stranger's file.
        disk.create(Path::new("/shots/o/pi/00000001.raw")).unwrap();

        disk.cut_power(&mut |_| 0); // of unflushed removals none remains
        let (mut folder, records) = open_loop(&disk, Durability::Safe, Some(3));
        assert_eq!(records.iter().map(|record| record.info.number).collect::<Vec<_>>(), frames(150));
        folder.finish(80, Vec::new(), Timestamp::ZERO).unwrap();
        assert_eq!(listed(&disk), frames(150));
        let timed = disk.files(Path::new("/shots/o/pi")).unwrap();
        let timed = timed.iter().filter(|path| path.extension().is_some_and(|e| e == "pts"));
        assert_eq!(timed.count(), if videos { 3 } else { 1 }, "timecodes go with their videos");
        let table = read(&disk, Path::new("/shots/o/pi/frames.csv")).unwrap();
        assert_eq!(String::from_utf8(table).unwrap().lines().count(), 1 + frames(150).len());
    }
}

#[test]
fn files_of_strangers_stay() {
    let disk = SimulatedDisk::new();
    let (mut folder, _) = open_loop(&disk, Durability::Safe, Some(1));
    save(&mut folder, &[100]);
    for name in ["00000099.raw", "00000100.pts", "0000.h264"] {
        disk.create(&Path::new("/shots/o/pi").join(name)).unwrap();
    }
    save(&mut folder, &[101]);
    folder.remove_surplus().unwrap();
    let files = finished(&disk);
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["0000.h264", "00000099.raw", "00000101.raw"]);
    assert!(disk.len(Path::new("/shots/o/pi/00000100.pts")).is_ok());
}

#[test]
fn the_manifest_of_a_long_loop_stays_short_and_is_rewritten_rarely() {
    let disk = SimulatedDisk::new();
    let (mut folder, _) = open_loop(&disk, Durability::Fast, Some(2));
    let (mut longest, mut anew, mut before) = (0, 0, 0);
    for number in 100..1_400 {
        save(&mut folder, &[number]);
        folder.remove_surplus().unwrap();
        let lines = listed(&disk).len();
        longest = longest.max(lines);
        anew += u32::from(lines < before);
        before = lines;
    }
    assert!(longest < 300, "{longest} lines");
    assert!(anew <= 6, "written anew {anew} times");
}

#[test]
fn files_whose_removal_cannot_be_announced_are_removed_the_next_time() {
    let disk = SimulatedDisk::new();
    let (mut folder, _) = open_loop(&disk, Durability::Safe, Some(1));
    save(&mut folder, &[100]);
    save(&mut folder, &[101]);
    disk.set_fault(Some(DiskFault::ReadOnly));
    folder.remove_surplus().unwrap_err();
    disk.set_fault(None);
    assert_eq!(finished(&disk).len(), 2);
    assert_eq!(described(&disk).removed, None);
    save(&mut folder, &[102]);
    let removal = folder.remove_surplus().unwrap().unwrap();
    assert_eq!((removal.before, removal.frames.count()), (102, 2));
    assert_eq!(finished(&disk).keys().collect::<Vec<_>>(), ["00000102.raw"]);
    // A smaller limit after a restart.
    let (mut folder, _) = open_loop(&disk, Durability::Safe, Some(5));
    save(&mut folder, &[103, 104]);
    let (_, records) = open_loop(&disk, Durability::Safe, Some(1));
    assert_eq!(records.iter().map(|record| record.info.number).collect::<Vec<_>>(), [104]);
}
