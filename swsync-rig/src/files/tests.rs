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
        lock: LockState::Locked,
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

fn shelf(disk: &SimulatedDisk, durability: Durability) -> Shelf {
    Shelf {
        storage: Arc::new(disk.clone()),
        durability,
        location: Location::parse("/shots").unwrap(),
        device: name("pi"),
        camera: (String::new(), String::new()),
        software: "swsync".into(),
    }
}

fn open(disk: &SimulatedDisk, durability: Durability) -> (TakeFolder, Vec<FrameRecord>) {
    TakeFolder::open(shelf(disk, durability), take()).unwrap()
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
        let side = ["jsonl", "csv", "json", "pts"].iter().any(|end| name.ends_with(end));
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
    let hole = Hole { first: 100, count: 10, why: "lost".into() };
    folder.finish(10, vec![hole.clone()], Timestamp::from_nanos(9)).unwrap();
    let take = Take::from_json(&read(&disk, Path::new("/shots/o/pi/take.json")).unwrap()).unwrap();
    assert!(take.complete && take.holes == [hole], "{take:?}");
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
    assert_eq!(fails(&mut folder).kind(), io::ErrorKind::StorageFull);
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
    let saved = folder.finish_segment(segment, (numbers[0], numbers.len() as u64))?;
    Ok(saved.frames.iter().map(|record| record.info.number).collect())
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
        let kept = record(&mut folder, 0, &numbers).unwrap_or_default();
        disk.set_capacity(None);
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

/// What a device does; all of it is done twice, the second time until the crash.
fn work(folder: &mut TakeFolder, videos: bool, batches: &[Vec<FrameNumber>]) -> Vec<FrameNumber> {
    let mut said = Vec::new();
    for (numbers, index) in batches.iter().zip(0..) {
        match videos {
            true => said.extend(record(folder, index, numbers).unwrap_or_default()),
            false => said.extend(save(folder, numbers)),
        }
    }
    if folder.finish(10, Vec::new(), Timestamp::ZERO).is_err() {
        // Whoever waits for the answer has it: what is missing beside the files is written at the next start.
    }
    said
}

/// What must be so after a crash and the next start, whatever happened.
fn assert_nothing_torn(disk: &SimulatedDisk, durability: Durability, said: &[FrameNumber]) {
    let (_, records) = open(disk, durability);
    assert!(leftovers(disk).is_empty(), "{:?}", leftovers(disk));
    let recorded: Vec<_> = records.iter().map(|record| record.info.number).collect();
    for number in said {
        assert!(recorded.contains(number), "{number} was said to be saved: {recorded:?}");
    }
    let files = finished(disk);
    for record in &records {
        assert!(files.contains_key(&record.file), "{} is in the manifest", record.file);
    }
    for (file, bytes) in files.iter().filter(|(file, _)| file.ends_with("raw")) {
        let number = file[..8].parse().unwrap();
        assert_eq!(*bytes, content(number), "{file}");
        assert!(recorded.contains(&number), "{file} is not in the manifest");
    }
    assert_videos_are_whole(disk, &records);
    let (mut folder, again) = open(disk, durability);
    assert_eq!(again, records, "a second start changes nothing");
    // And the device goes on.
    assert_eq!(save(&mut folder, &[900]), [900]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// `kill -9`: the system keeps what was written.
    #[test]
    fn a_killed_device_leaves_whole_files(
        videos in any::<bool>(), safe in any::<bool>(), sizes in proptest::collection::vec(1_u64..6, 1..5), at in 0_u64..10_000,
    ) {
        let durability = if safe { Durability::Safe } else { Durability::Fast };
        let (disk, said) = crash(videos, durability, &sizes, at);
        disk.die_after(None);
        assert_nothing_torn(&disk, durability, &said);
    }

    /// A power cut: what was not flushed is there, or is not, or is zeros.
    #[test]
    fn a_power_cut_leaves_whole_files(
        videos in any::<bool>(), sizes in proptest::collection::vec(1_u64..6, 1..5), at in 0_u64..10_000, seed in any::<u64>(),
    ) {
        let (disk, said) = crash(videos, Durability::Safe, &sizes, at);
        let mut state = seed;
        disk.cut_power(&mut |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        });
        assert_nothing_torn(&disk, Durability::Safe, &said);
    }
}

/// A device that dies at some call of those that change something; what it said to be saved.
fn crash(videos: bool, durability: Durability, sizes: &[u64], at: u64) -> (SimulatedDisk, Vec<FrameNumber>) {
    let mut next = 100;
    let batches: Vec<Vec<_>> = sizes
        .iter()
        .map(|size| {
            let batch = (next..next + size).collect();
            next += size;
            batch
        })
        .collect();
    let rehearsal = SimulatedDisk::new();
    let (mut folder, _) = open(&rehearsal, durability);
    work(&mut folder, videos, &batches);
    let disk = SimulatedDisk::new();
    let (mut folder, _) = open(&disk, durability);
    disk.die_after(Some(at % (rehearsal.calls() + 1)));
    let said = work(&mut folder, videos, &batches);
    drop(folder); // its calls fail too
    (disk, said)
}
