//! Saving pictures and videos on a disk that runs full, fails or is pulled out.

use std::io;
use std::path::{Path, PathBuf};

use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{Hole, Take};
use swsync_core::time::Timestamp;

use super::*;
use crate::storage::make_folders;

#[test]
fn pictures_are_saved_with_their_side_files() {
    let disk = SimulatedDisk::new();
    let (mut folder, saved) = open(&disk, Durability::Safe);
    assert!(
        saved.is_empty() && !disk.is_folder(Path::new("/shots")),
        "no folder is made before the first file"
    );
    assert_eq!(save(&mut folder, &[100, 101, 103]), [100, 101, 103]);
    folder.finish(4, Vec::new(), Timestamp::from_nanos(9)).unwrap();
    disk.cut_power(&mut |_| 0);
    let files = finished(&disk);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["00000100.raw", "00000101.raw", "00000103.raw"]);
    assert!(files.iter().all(|(name, bytes)| *bytes == content(name[..8].parse().unwrap())));
    let text =
        |name: &str| String::from_utf8(read(&disk, &Path::new("/shots/o/pi").join(name)).unwrap()).unwrap();
    assert_eq!(text("frames.jsonl").lines().count(), 3);
    assert_eq!(text("frames.csv").lines().count(), 4);
    assert_eq!(text("frames.pts"), "# timecode format v2\n0.000000\n33.333334\n100.000000\n");
    let take = Take::from_json(text("take.json").as_bytes()).unwrap();
    assert!(take.complete && take.count == 4 && take.finished_ns == Some(Timestamp::from_nanos(9)));
    let (_, again) = open(&disk, Durability::Safe);
    assert_eq!(again.iter().map(|record| record.info.number).collect::<Vec<_>>(), [100, 101, 103]);
}

#[test]
fn a_take_that_a_crash_left_without_a_file_can_be_completed() {
    let disk = SimulatedDisk::new();
    let (mut folder, _) = open(&disk, Durability::Safe);
    drop(folder.begin_segment(0, 100, "mp4").unwrap()); // it holds nothing playable
    let (mut folder, saved) = open(&disk, Durability::Safe);
    assert!(saved.is_empty());
    let hole = Hole::run(100, 10, "lost");
    folder.finish(10, vec![hole.clone()], Timestamp::from_nanos(9)).unwrap();
    let take = Take::from_json(&read(&disk, Path::new("/shots/o/pi/take.json")).unwrap()).unwrap();
    assert!(take.complete && take.holes == [hole], "{take:?}");
}

#[test]
fn a_video_does_not_cover_a_frame_that_a_crash_kept_out_of_it() {
    let disk = SimulatedDisk::new();
    let (mut folder, _) = open(&disk, Durability::Safe);
    let mut segment = folder.begin_segment(0, 100, "h264").unwrap();
    let mut offset = 0;
    for number in 100..105 {
        let (bytes, info) = (content(number), info(number));
        segment.note(MuxedPicture {
            rig_time_ns: info.rig_time_ns,
            bytes: bytes.len() as u64,
            info: Some(info),
        });
        segment.sync().unwrap();
        // The last one is on its way through the muxer.
        if number < 104 {
            segment.write_at(offset, &bytes).unwrap();
            offset += bytes.len() as u64;
        }
    }
    segment.sync().unwrap();
    drop(segment);
    let (mut folder, saved) = open(&disk, Durability::Safe);
    assert_eq!(saved.iter().map(|record| record.info.number).collect::<Vec<_>>(), [100, 101, 102, 103]);
    // The camera still delivers it.
    assert_eq!(record(&mut folder, 0, &[104, 105, 106, 107]).unwrap(), [104, 105, 106, 107]);
    folder.finish(8, Vec::new(), Timestamp::from_nanos(9)).unwrap();
    let take = Take::from_json(&read(&disk, Path::new("/shots/o/pi/take.json")).unwrap()).unwrap();
    let covered: Vec<_> = take.segments.iter().map(|of| (of.file.as_str(), of.first, of.count)).collect();
    assert_eq!(covered, [("0000.h264", 100, 4), ("0000-2.h264", 104, 4)]);
}

#[test]
fn a_failed_picture_has_its_cause_and_the_next_one_is_saved() {
    let disk = SimulatedDisk::new();
    let (mut folder, _) = open(&disk, Durability::Safe);
    assert_eq!(save(&mut folder, &[100]), [100]);
    let frames = [info(101)];
    let fails = |folder: &mut TakeFolder| {
        let picture = Picture { info: &frames[0], extension: "raw", bytes: &[1; 100] };
        folder.save_pictures(&[picture]).remove(0).unwrap_err()
    };
    let used: usize = finished(&disk).values().map(Vec::len).sum();
    disk.set_capacity(Some(used));
    assert_eq!(fails(&mut folder).error.kind(), io::ErrorKind::StorageFull);
    disk.set_capacity(None);
    for (fault, says) in [(DiskFault::ReadOnly, "read-only"), (DiskFault::Unplugged, "Input/output error")] {
        disk.set_fault(Some(fault));
        let error = fails(&mut folder).to_string();
        assert!(error.contains(says), "{error}");
        disk.set_fault(None);
    }
    assert_eq!(save(&mut folder, &[102]), [102]);
    assert_eq!(finished(&disk).keys().collect::<Vec<_>>(), ["00000100.raw", "00000102.raw"]);
    assert!(leftovers(&disk).is_empty());
    assert_eq!(open(&disk, Durability::Safe).1.len(), 2);
}

#[test]
fn a_full_disk_loses_the_end_of_a_video_but_not_its_beginning() {
    for capacity in (2000..12_000).step_by(300) {
        let disk = SimulatedDisk::new();
        let (mut folder, _) = open(&disk, Durability::Safe);
        folder.manifest().unwrap();
        disk.set_capacity(Some(capacity));
        let numbers: Vec<_> = (100..140).collect();
        let mut kept = record(&mut folder, 0, &numbers).unwrap_or_default();
        disk.set_capacity(None);
        kept.extend(retried(&mut folder));
        assert!(!kept.is_empty() || capacity < 3000, "recorded frames are kept: {capacity}");
        let later: Vec<_> = (140..150).collect();
        assert_eq!(record(&mut folder, 1, &later).unwrap(), later, "there is room again");
        folder.finish(50, Vec::new(), Timestamp::ZERO).unwrap();
        let (_, records) = open(&disk, Durability::Safe);
        let saved: Vec<_> = records.iter().map(|record| record.info.number).collect();
        assert_eq!(saved, [kept, later].concat(), "capacity {capacity}");
        assert_videos_are_whole(&disk, &records);
        assert!(leftovers(&disk).is_empty(), "{:?}", leftovers(&disk));
    }
}

/// Records two videos of four frames each, with a flush in the middle. Returns the frames that were written to the disk.
fn record_despite_errors(folder: &mut TakeFolder) -> Vec<FrameNumber> {
    let mut written = Vec::new();
    for index in 0..2_u32 {
        let first = 100 + 4 * u64::from(index);
        let Ok(mut segment) = folder.begin_segment(index, first, "h264") else { continue };
        let mut offset = 0;
        for number in first..first + 4 {
            let (bytes, info) = (content(number), info(number));
            segment.note(MuxedPicture {
                rig_time_ns: info.rig_time_ns,
                bytes: bytes.len() as u64,
                info: Some(info),
            });
            if segment.write_at(offset, &bytes).is_ok() {
                written.push(number);
            }
            offset += bytes.len() as u64;
            if number == first + 1 {
                let _ = segment.sync(); // after an error the next frame fails too
            }
        }
        let _ = folder.finish_segment(segment, Some((first, 4))); // retried later
    }
    written
}

#[test]
fn no_single_error_loses_a_frame_that_is_on_the_disk() {
    for (videos, durability) in [
        (true, Durability::Safe),
        (true, Durability::Fast),
        (false, Durability::Safe),
        (false, Durability::Fast),
    ] {
        for failing in 0.. {
            let disk = SimulatedDisk::new();
            let (mut folder, _) = open(&disk, durability);
            disk.fail_call(failing);
            let written = match videos {
                true => record_despite_errors(&mut folder),
                false => {
                    [100, 104].iter().flat_map(|n| save(&mut folder, &[*n, n + 1, n + 2, n + 3])).collect()
                }
            };
            let least = if videos { 4 } else { 7 };
            let case = format!("videos {videos}, {durability:?}, call {failing}");
            retried(&mut folder);
            let finished = folder.finish(8, Vec::new(), Timestamp::from_nanos(9));
            if finished.is_err() {
                retried(&mut folder);
                folder.finish(8, Vec::new(), Timestamp::from_nanos(9)).unwrap();
            }
            let is_past = disk.calls() <= failing;
            disk.fail_call(u64::MAX);
            let take = described(&disk);
            assert!(take.complete && take.count == 8, "{case}: {take:?}");
            let (_, records) = open(&disk, durability);
            let saved: Vec<_> = records.iter().map(|record| record.info.number).collect();
            assert!(written.iter().all(|number| saved.contains(number)), "{case}: {saved:?} of {written:?}");
            assert!(saved.len() >= least, "{case}: {saved:?}");
            assert_videos_are_whole(&disk, &records);
            assert!(leftovers(&disk).is_empty(), "{case}: {:?}", leftovers(&disk));
            if is_past {
                break;
            }
        }
    }
}

#[test]
fn unclosed_files_are_closed_at_the_next_start() {
    for durability in [Durability::Safe, Durability::Fast] {
        let disk = SimulatedDisk::new();
        let (mut folder, _) = open(&disk, durability);
        let numbers: Vec<_> = (100..108).collect();
        // A folder has the name of the manifest.
        disk.create_folder(Path::new("/shots")).unwrap();
        make_folders(&disk, Path::new("/shots/o/pi/frames.jsonl"), durability).unwrap();
        let error = record(&mut folder, 0, &numbers).unwrap_err();
        assert!(error.to_string().contains("directory"), "{error}");
        assert!(folder.finish(8, Vec::new(), Timestamp::ZERO).is_err(), "it is not complete");
        assert_eq!(
            finished(&disk)["0000.h264"],
            numbers.iter().flat_map(|n| content(*n)).collect::<Vec<_>>()
        );
        drop(folder);
        disk.remove_folder(Path::new("/shots/o/pi/frames.jsonl"));
        let (mut folder, records) = open(&disk, durability);
        assert_eq!(records.iter().map(|record| record.info.number).collect::<Vec<_>>(), numbers);
        folder.finish(8, Vec::new(), Timestamp::ZERO).unwrap();
        assert!(described(&disk).complete && leftovers(&disk).is_empty());
        assert_videos_are_whole(&disk, &records);
    }
}

#[test]
fn a_video_without_a_log_is_set_aside_and_not_removed() {
    for log in [None, Some("")] {
        let disk = SimulatedDisk::new();
        let folder = Path::new("/shots/o/pi");
        make_folders(&disk, folder, Durability::Safe).unwrap();
        let part = |name: &str, bytes: &[u8]| {
            disk.create(&folder.join(name)).unwrap().write_at(0, bytes).unwrap();
        };
        part(".0000.h264.part", b"pictures");
        part(".0001.h264.part", b"");
        part(".00000100.raw.part", b"half a picture");
        log.iter().for_each(|log| part(".0000.h264.frames.part", log.as_bytes()));
        open(&disk, Durability::Safe);
        assert_eq!(read(&disk, &folder.join("0000.h264.broken")).unwrap(), b"pictures", "{log:?}");
        assert!(leftovers(&disk).is_empty(), "{log:?}: {:?}", leftovers(&disk));
        assert!(disk.len(&folder.join("0001.h264.broken")).is_err());
    }
}

#[test]
fn a_video_without_a_log_is_listed_before_it_is_renamed() {
    for killed in [false, true] {
        let disk = SimulatedDisk::new();
        let (mut folder, _) = open(&disk, Durability::Safe);
        make_folders(&disk, Path::new("/shots/o/pi/.0000.h264.frames.part"), Durability::Safe).unwrap();
        assert_eq!(record(&mut folder, 0, &[100, 101]).unwrap(), [100, 101]);
        if killed {
            // Killed right before the rename.
            drop(folder);
            let path = |name: &str| Path::new("/shots/o/pi").join(name);
            disk.rename(&path("0000.h264"), &path(".0000.h264.part")).unwrap();
            disk.remove_folder(&path(".0000.h264.frames.part"));
        }
        let (_, records) = open(&disk, Durability::Safe);
        assert_eq!(records.iter().map(|record| record.info.number).collect::<Vec<_>>(), [100, 101]);
        assert_videos_are_whole(&disk, &records);
    }
}

#[test]
fn orders_that_share_a_folder_leave_each_other_alone() {
    let disk = SimulatedDisk::new();
    let store = |pattern: &str| TakeStore {
        location: Location::parse(pattern).unwrap(),
        ..super::store(&disk, Durability::Safe, None)
    };
    let folder = |pattern: &str, order: &str| {
        TakeFolder::open(store(pattern), Take { order: name(order), ..take() }).unwrap()
    };
    let bytes = |path: &str| read(&disk, Path::new(path)).unwrap();
    // The same frame numbers once more.
    let mut saved = Vec::new();
    for order in ["one", "two", "three"] {
        let frame = info(100);
        let picture = Picture { info: &frame, extension: "raw", bytes: order.as_bytes() };
        saved.push(folder("/p/{frame}.raw", order).save_pictures(&[picture]).remove(0).unwrap().path);
    }
    let names = ["/p/00000100.raw", "/p/00000100-2.raw", "/p/00000100-3.raw"];
    assert_eq!(saved, names.map(PathBuf::from));
    assert_eq!(names.map(bytes), ["one", "two", "three"].map(|order| order.as_bytes().to_vec()));
    // Two at once: the second order opens the folder while the first one records.
    let mut one = folder("/v/{segment}.h264", "one");
    let mut segment = one.begin_segment(0, 100, "h264").unwrap();
    let note = |number| {
        let (info, bytes) = (info(number), content(number));
        (MuxedPicture { rig_time_ns: info.rig_time_ns, bytes: bytes.len() as u64, info: Some(info) }, bytes)
    };
    let (noted, first) = note(100);
    segment.note(noted);
    segment.write_at(0, &first).unwrap();
    segment.sync().unwrap();
    let mut two = folder("/v/{segment}.h264", "two");
    assert_eq!(record(&mut two, 0, &[200, 201]).unwrap(), [200, 201]);
    let (noted, second) = note(101);
    segment.note(noted);
    segment.write_at(first.len() as u64, &second).unwrap();
    let path = one.finish_segment(segment, None).unwrap().file.path;
    assert_eq!(bytes(path.to_str().unwrap()), [first, second].concat());
    assert_eq!(bytes("/v/0000-2.h264"), [content(200), content(201)].concat());
}
