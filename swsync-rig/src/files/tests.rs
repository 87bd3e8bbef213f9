//! Takes on a disk that fails: whatever happens when, files that have their name are whole, and what was said to
//! be saved is.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use swsync_core::frame::{FrameDetails, FrameInfo, LockState, SyncQuality};
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::{FrameRecord, Hole, Take};
use swsync_core::name::Name;
use swsync_core::time::{Span, Timestamp};

use super::simulated::{SimulatedDisk, Trouble};
use super::storage::read;
use super::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn info(number: FrameNumber) -> FrameInfo {
    FrameInfo {
        number,
        rig_time_ns: FrameGrid::new(30, 1).unwrap().instant(number),
        phase_error_ns: Span::ZERO,
        clock_uncertainty_ns: None,
        sync: SyncQuality::Synced,
        lock: Some(LockState::Locked),
        exposure_ns: None,
        analogue_gain: None,
        sensor_time_ns: None,
        details: FrameDetails::default(),
    }
}

fn take() -> Take {
    serde_json::from_value(serde_json::json!({
        "schema": 1, "order": "o", "ordered": {}, "device": "pi", "host": "pi", "software": "0", "camera": null,
        "caps": "image/jpeg", "grid": [30, 1], "first": 100, "count": 10, "started_ns": 0, "finished_ns": null,
        "complete": false,
    }))
    .unwrap()
}

fn shelf(disk: &SimulatedDisk, durability: Durability, max_files: Option<u32>) -> Shelf {
    Shelf {
        storage: Arc::new(disk.clone()),
        durability,
        location: Location::parse("/shots").unwrap(),
        device: name("pi"),
        software: "swsync".into(),
        max_files,
    }
}

fn open(disk: &SimulatedDisk, durability: Durability) -> (TakeFolder, Vec<FrameRecord>) {
    open_loop(disk, durability, None)
}

/// The folder of an order of which so many files are kept.
fn open_loop(
    disk: &SimulatedDisk,
    durability: Durability,
    max_files: Option<u32>,
) -> (TakeFolder, Vec<FrameRecord>) {
    let folder = TakeFolder::open(shelf(disk, durability, max_files), take()).unwrap();
    let mut saved = Vec::new();
    let result = folder.saved(|record| {
        saved.push(record);
        Ok(())
    });
    result.unwrap();
    (folder, saved)
}

/// What the file of frame `number` holds: never zeros, and of a length of its own.
fn content(number: FrameNumber) -> Vec<u8> {
    let length = 20 + usize::try_from(number % 7).unwrap();
    vec![u8::try_from(number % 200).unwrap() + 1; length]
}

/// Saves pictures of these frames in one go; the numbers of those that are said to be saved.
fn save(folder: &mut TakeFolder, numbers: &[FrameNumber]) -> Vec<FrameNumber> {
    let frames: Vec<_> = numbers.iter().map(|number| (info(*number), content(*number))).collect();
    let pictures: Vec<_> =
        frames.iter().map(|(info, bytes)| Picture { info, extension: "raw", bytes }).collect();
    let results = folder.save_pictures(&pictures);
    let saved = numbers.iter().zip(results).filter(|(_, result)| result.is_ok());
    saved.map(|(number, _)| *number).collect()
}

/// The files that have their final name, but for those beside the pictures and videos.
fn finished(disk: &SimulatedDisk) -> BTreeMap<String, Vec<u8>> {
    let files = disk.files(Path::new("/shots/o/pi")).unwrap_or_default();
    let named = files.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        let side = ["jsonl", "csv", "json", "pts", "broken"].iter().any(|end| name.ends_with(end));
        (!name.starts_with('.') && !side).then(|| (name, read(disk, &path).unwrap()))
    });
    named.collect()
}

fn leftovers(disk: &SimulatedDisk) -> Vec<PathBuf> {
    let files = disk.files(Path::new("/shots/o/pi")).unwrap_or_default();
    files.into_iter().filter(|path| path.to_str().unwrap().ends_with(".part")).collect()
}

#[test]
fn pictures_are_saved_with_all_that_belongs_to_them() {
    let disk = SimulatedDisk::new();
    let (mut folder, saved) = open(&disk, Durability::Safe);
    assert!(
        saved.is_empty() && !disk.is_folder(Path::new("/shots")),
        "nothing is made before the first file"
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
fn a_folder_that_a_crash_left_without_a_file_is_said_to_be_done_with() {
    let disk = SimulatedDisk::new();
    let (mut folder, _) = open(&disk, Durability::Safe);
    drop(folder.begin_segment(0, 100, "mp4").unwrap()); // nothing of it can be played
    let (mut folder, saved) = open(&disk, Durability::Safe);
    assert!(saved.is_empty());
    let hole = Hole::run(100, 10, "lost");
    folder.finish(10, vec![hole.clone()], Timestamp::from_nanos(9)).unwrap();
    let take = Take::from_json(&read(&disk, Path::new("/shots/o/pi/take.json")).unwrap()).unwrap();
    assert!(take.complete && take.holes == [hole], "{take:?}");
}

#[test]
fn a_frame_that_a_crash_kept_out_of_a_video_is_not_covered_by_it() {
    let disk = SimulatedDisk::new();
    let (mut folder, _) = open(&disk, Durability::Safe);
    let mut segment = folder.begin_segment(0, 100, "h264").unwrap();
    let mut offset = 0;
    for number in 100..105 {
        let (bytes, info) = (content(number), info(number));
        segment.note(Noted { rig_time_ns: info.rig_time_ns, bytes: bytes.len() as u64, info: Some(info) });
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
    // The camera still has it.
    assert_eq!(record(&mut folder, 0, &[104, 105, 106, 107]).unwrap(), [104, 105, 106, 107]);
    folder.finish(8, Vec::new(), Timestamp::from_nanos(9)).unwrap();
    let take = Take::from_json(&read(&disk, Path::new("/shots/o/pi/take.json")).unwrap()).unwrap();
    let covered: Vec<_> = take.segments.iter().map(|of| (of.file.as_str(), of.first, of.count)).collect();
    assert_eq!(covered, [("0000.h264", 100, 4), ("0000-2.h264", 104, 4)]);
}

#[test]
fn what_cannot_be_written_fails_with_its_cause_and_the_next_is_saved() {
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
    for (trouble, says) in [(Trouble::ReadOnly, "read-only"), (Trouble::Unplugged, "Input/output error")] {
        disk.set_trouble(Some(trouble));
        let error = fails(&mut folder).to_string();
        assert!(error.contains(says), "{error}");
        disk.set_trouble(None);
    }
    assert_eq!(save(&mut folder, &[102]), [102]);
    assert_eq!(finished(&disk).keys().collect::<Vec<_>>(), ["00000100.raw", "00000102.raw"]);
    assert!(leftovers(&disk).is_empty());
    assert_eq!(open(&disk, Durability::Safe).1.len(), 2);
}

/// A bare stream: what the muxer makes of a frame is the frame.
fn record(folder: &mut TakeFolder, index: u32, numbers: &[FrameNumber]) -> io::Result<Vec<FrameNumber>> {
    let mut segment = folder.begin_segment(index, numbers[0], "h264")?;
    let mut offset = 0;
    for (number, position) in numbers.iter().zip(0..) {
        let bytes = content(*number);
        let info = info(*number);
        let rig_time_ns = info.rig_time_ns;
        segment.note(Noted { rig_time_ns, bytes: bytes.len() as u64, info: Some(info) });
        // Errors come out at the end: a camera is not stopped for them.
        let _ = segment.write_at(offset, &bytes);
        offset += bytes.len() as u64;
        if position % 4 == 3 {
            let _ = segment.sync();
        }
    }
    let saved = folder.finish_segment(segment, Some((numbers[0], numbers.len() as u64)));
    let saved = saved.map_err(|not| not.error)?;
    Ok(saved.frames.iter().map(|record| record.info.number).collect())
}

/// Goes on with what could not be finished: frames that are saved by now.
fn retried(folder: &mut TakeFolder) -> Vec<FrameNumber> {
    let settled = folder.retry(false).into_iter().flat_map(|(_, settled)| match settled {
        Settled::Picture(record) => vec![record.info.number],
        Settled::Video(saved) => saved.frames.iter().map(|record| record.info.number).collect(),
        Settled::Lost(error) => panic!("{error}"),
    });
    settled.collect()
}

/// A video's bytes are those of its records, one frame after the other.
fn assert_videos_are_whole(disk: &SimulatedDisk, records: &[FrameRecord]) {
    for (file, bytes) in finished(disk).iter().filter(|(file, _)| file.ends_with("h264")) {
        let of_file = records.iter().filter(|record| record.file == *file);
        let expected: Vec<u8> = of_file.flat_map(|record| content(record.info.number)).collect();
        assert_eq!(*bytes, expected, "{file}");
    }
}

#[test]
fn a_full_disk_costs_the_end_of_a_video_and_not_its_beginning() {
    for capacity in (2000..12_000).step_by(300) {
        let disk = SimulatedDisk::new();
        let (mut folder, _) = open(&disk, Durability::Safe);
        folder.manifest().unwrap();
        disk.set_capacity(Some(capacity));
        let numbers: Vec<_> = (100..140).collect();
        let mut kept = record(&mut folder, 0, &numbers).unwrap_or_default();
        disk.set_capacity(None);
        kept.extend(retried(&mut folder));
        assert!(!kept.is_empty() || capacity < 3000, "what was recorded is kept: {capacity}");
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

/// Records videos of four frames each, in the middle of which they are flushed: the frames that the disk took.
fn record_as_far_as_possible(folder: &mut TakeFolder) -> Vec<FrameNumber> {
    let mut written = Vec::new();
    for index in 0..2_u32 {
        let first = 100 + 4 * u64::from(index);
        let Ok(mut segment) = folder.begin_segment(index, first, "h264") else { continue };
        let mut offset = 0;
        for number in first..first + 4 {
            let (bytes, info) = (content(number), info(number));
            segment.note(Noted {
                rig_time_ns: info.rig_time_ns,
                bytes: bytes.len() as u64,
                info: Some(info),
            });
            if segment.write_at(offset, &bytes).is_ok() {
                written.push(number);
            }
            offset += bytes.len() as u64;
            if number == first + 1 {
                let _ = segment.sync(); // the next frame fails with it
            }
        }
        let _ = folder.finish_segment(segment, Some((first, 4))); // to be tried again
    }
    written
}

#[test]
fn no_error_at_whatever_moment_costs_a_frame_that_the_disk_took() {
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
                true => record_as_far_as_possible(&mut folder),
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
fn a_device_that_dies_with_files_that_are_not_closed_closes_them_at_the_next_start() {
    for durability in [Durability::Safe, Durability::Fast] {
        let disk = SimulatedDisk::new();
        let (mut folder, _) = open(&disk, durability);
        let numbers: Vec<_> = (100..108).collect();
        // What is in its place cannot be the manifest.
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
fn a_video_that_nothing_tells_of_is_set_aside_and_not_removed() {
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
fn a_video_whose_log_cannot_be_written_has_its_lines_before_its_name() {
    for killed in [false, true] {
        let disk = SimulatedDisk::new();
        let (mut folder, _) = open(&disk, Durability::Safe);
        make_folders(&disk, Path::new("/shots/o/pi/.0000.h264.frames.part"), Durability::Safe).unwrap();
        assert_eq!(record(&mut folder, 0, &[100, 101]).unwrap(), [100, 101]);
        if killed {
            // Right before it had its name.
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
    let shelf = |pattern: &str| Shelf {
        location: Location::parse(pattern).unwrap(),
        ..shelf(&disk, Durability::Safe, None)
    };
    let folder = |pattern: &str, order: &str| {
        TakeFolder::open(shelf(pattern), Take { order: name(order), ..take() }).unwrap()
    };
    let bytes = |path: &str| read(&disk, Path::new(path)).unwrap();
    // The same frames once more, be it because rig time repeats.
    let mut saved = Vec::new();
    for order in ["one", "two", "three"] {
        let frame = info(100);
        let picture = Picture { info: &frame, extension: "raw", bytes: order.as_bytes() };
        saved.push(folder("/p/{frame}.raw", order).save_pictures(&[picture]).remove(0).unwrap().path);
    }
    let names = ["/p/00000100.raw", "/p/00000100-2.raw", "/p/00000100-3.raw"];
    assert_eq!(saved, names.map(PathBuf::from));
    assert_eq!(names.map(bytes), ["one", "two", "three"].map(|order| order.as_bytes().to_vec()));
    // Two at once: the second opens the folder while the first records.
    let mut one = folder("/v/{segment}.h264", "one");
    let mut segment = one.begin_segment(0, 100, "h264").unwrap();
    let note = |number| {
        let (info, bytes) = (info(number), content(number));
        (Noted { rig_time_ns: info.rig_time_ns, bytes: bytes.len() as u64, info: Some(info) }, bytes)
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

/// Numbers of the frames that are in the manifest.
fn listed(disk: &SimulatedDisk) -> Vec<FrameNumber> {
    let text = read(disk, Path::new("/shots/o/pi/frames.jsonl")).unwrap();
    let text = String::from_utf8(text).unwrap();
    text.lines().map(|line| FrameRecord::from_line(line).unwrap().info.number).collect()
}

fn described(disk: &SimulatedDisk) -> Take {
    Take::from_json(&read(disk, Path::new("/shots/o/pi/take.json")).unwrap()).unwrap()
}

#[test]
fn a_loop_keeps_its_newest_files_and_says_what_went() {
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
        // A stranger's file is none of the order's.
        disk.create(Path::new("/shots/o/pi/00000001.raw")).unwrap();

        disk.cut_power(&mut |_| 0); // nothing of the removals was flushed that need not be
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
fn what_another_wrote_stays() {
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
fn the_manifest_of_a_long_loop_stays_short_and_is_not_written_anew_each_time() {
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
fn what_cannot_be_told_of_is_not_removed_and_goes_the_next_time() {
    let disk = SimulatedDisk::new();
    let (mut folder, _) = open_loop(&disk, Durability::Safe, Some(1));
    save(&mut folder, &[100]);
    save(&mut folder, &[101]);
    disk.set_trouble(Some(Trouble::ReadOnly));
    folder.remove_surplus().unwrap_err();
    disk.set_trouble(None);
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

/// What a device does, and how.
#[derive(Debug, Clone)]
struct Work {
    videos: bool,
    durability: Durability,
    max_files: Option<u32>,
    /// Frames that are saved at a time: of videos a file each.
    sizes: Vec<u64>,
}

/// What it has said: frames that are saved, and the number before which they are gone again.
#[derive(Debug, Default)]
struct Said {
    saved: Vec<FrameNumber>,
    gone_before: FrameNumber,
}

/// All of it is done twice, the second time until the crash.
fn work(folder: &mut TakeFolder, work: &Work) -> Said {
    let mut said = Said::default();
    let mut next = 100;
    for (size, index) in work.sizes.iter().zip(0..) {
        let numbers: Vec<_> = (next..next + size).collect();
        next += size;
        match work.videos {
            true => said.saved.extend(record(folder, index, &numbers).unwrap_or_default()),
            false => said.saved.extend(save(folder, &numbers)),
        }
        if let Ok(Some(removal)) = folder.remove_surplus() {
            said.gone_before = removal.before;
        }
    }
    if folder.finish(next - 100, Vec::new(), Timestamp::ZERO).is_err() {
        // Whoever waits for the answer has it: what is missing beside the files is written at the next start.
    }
    said
}

/// What must be so after a crash and the next start, whatever happened.
fn assert_nothing_torn(disk: &SimulatedDisk, work: &Work, said: &Said) {
    let Work { durability, max_files, .. } = *work;
    let (folder, records) = open_loop(disk, durability, max_files);
    assert!(leftovers(disk).is_empty(), "{:?}", leftovers(disk));
    let recorded: Vec<_> = records.iter().map(|record| record.info.number).collect();
    let removed = folder.take().removed.as_ref().map_or(0, |removed| removed.before);
    assert!(removed >= said.gone_before, "what was said to be gone is known to be");
    assert!(recorded.iter().all(|number| *number >= removed), "{recorded:?}");
    for number in &said.saved {
        let is_there = recorded.contains(number) || *number < removed;
        assert!(is_there, "{number} was said to be saved: {recorded:?}");
    }
    let files = finished(disk);
    if let Some(max) = max_files {
        assert!(files.len() <= max as usize, "{:?}", files.keys());
        // What went made room for so many.
        assert!(removed == 0 || files.len() == max as usize, "{:?}", files.keys());
    } else {
        assert_eq!(removed, 0);
    }
    for record in &records {
        assert!(files.contains_key(&record.file), "{} is in the manifest", record.file);
    }
    for (file, bytes) in files.iter().filter(|(file, _)| file.ends_with("raw")) {
        let number = file[..8].parse().unwrap();
        assert_eq!(*bytes, content(number), "{file}");
        assert!(recorded.contains(&number), "{file} is not in the manifest");
    }
    assert_videos_are_whole(disk, &records);
    let (mut folder, again) = open_loop(disk, durability, max_files);
    assert_eq!(again, records, "a second start changes nothing");
    // And the device goes on.
    assert_eq!(save(&mut folder, &[900]), [900]);
}

fn works(durability: impl Strategy<Value = Durability>) -> impl Strategy<Value = Work> {
    let sizes = proptest::collection::vec(1_u64..6, 1..7);
    let parts = (any::<bool>(), durability, proptest::option::of(1_u32..5), sizes);
    parts.prop_map(|(videos, durability, max_files, sizes)| Work { videos, durability, max_files, sizes })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// `kill -9`: the system keeps what was written.
    #[test]
    fn a_killed_device_leaves_whole_files(
        work in works(prop_oneof![Just(Durability::Safe), Just(Durability::Fast)]), at in 0_u64..10_000,
    ) {
        let (disk, said) = crash(&work, at);
        disk.die_after(None);
        assert_nothing_torn(&disk, &work, &said);
    }

    /// A power cut: what was not flushed is there, or is not, or is zeros.
    #[test]
    fn a_power_cut_leaves_whole_files(
        work in works(Just(Durability::Safe)), at in 0_u64..10_000, seed in any::<u64>(),
    ) {
        let (disk, said) = crash(&work, at);
        let mut state = seed;
        disk.cut_power(&mut |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        });
        assert_nothing_torn(&disk, &work, &said);
    }
}

/// A device that dies at some call of those that change something; what it said to be saved.
fn crash(plan: &Work, at: u64) -> (SimulatedDisk, Said) {
    let rehearsal = SimulatedDisk::new();
    let (mut folder, _) = open_loop(&rehearsal, plan.durability, plan.max_files);
    work(&mut folder, plan);
    let disk = SimulatedDisk::new();
    let (mut folder, _) = open_loop(&disk, plan.durability, plan.max_files);
    disk.die_after(Some(at % (rehearsal.calls() + 1)));
    let said = work(&mut folder, plan);
    drop(folder); // its calls fail too
    (disk, said)
}
