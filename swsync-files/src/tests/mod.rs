//! Takes on a simulated disk.

mod crashes;
mod loop_recording;
mod removing;
mod saving;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use swsync_core::frame::{FrameInfo, LockState, SyncState};
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::{FrameRecord, Take};
use swsync_core::name::Name;
use swsync_core::time::Span;

use crate::simulated_disk::{DiskFault, SimulatedDisk};
use crate::storage::read;
use crate::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn info(number: FrameNumber) -> FrameInfo {
    FrameInfo {
        sync: SyncState::Synced,
        lock: Some(LockState::Locked),
        ..FrameInfo::new(number, FrameGrid::new(30, 1).unwrap().instant(number), Span::ZERO)
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

fn store(disk: &SimulatedDisk, durability: Durability, max_files: Option<u32>) -> TakeStore {
    TakeStore {
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

/// The folder of an order, of which at most `max_files` files are kept.
fn open_loop(
    disk: &SimulatedDisk,
    durability: Durability,
    max_files: Option<u32>,
) -> (TakeFolder, Vec<FrameRecord>) {
    let folder = TakeFolder::open(store(disk, durability, max_files), take()).unwrap();
    let mut saved = Vec::new();
    let result = folder.saved(|record| {
        saved.push(record);
        Ok(())
    });
    result.unwrap();
    (folder, saved)
}

/// Content of the file of frame `number`: no zeros, and a length that varies.
fn content(number: FrameNumber) -> Vec<u8> {
    let length = 20 + usize::try_from(number % 7).unwrap();
    vec![u8::try_from(number % 200).unwrap() + 1; length]
}

/// Saves pictures of these frames in one call. Returns the numbers of those reported as saved.
fn save(folder: &mut TakeFolder, numbers: &[FrameNumber]) -> Vec<FrameNumber> {
    let frames: Vec<_> = numbers.iter().map(|number| (info(*number), content(*number))).collect();
    let pictures: Vec<_> =
        frames.iter().map(|(info, bytes)| Picture { info, extension: "raw", bytes }).collect();
    let results = folder.save_pictures(&pictures);
    let saved = numbers.iter().zip(results).filter(|(_, result)| result.is_ok());
    saved.map(|(number, _)| *number).collect()
}

/// The pictures and videos that have their final name.
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

/// Records a stream without a container, which consists of the frames alone. Returns the saved frames.
fn record(folder: &mut TakeFolder, index: u32, numbers: &[FrameNumber]) -> io::Result<Vec<FrameNumber>> {
    let mut segment = folder.begin_segment(index, numbers[0], "h264")?;
    let mut offset = 0;
    for (number, position) in numbers.iter().zip(0..) {
        let bytes = content(*number);
        let info = info(*number);
        let rig_time_ns = info.rig_time_ns;
        segment.note(MuxedPicture { rig_time_ns, bytes: bytes.len() as u64, info: Some(info) });
        // Errors are reported at the end: a camera is not stopped for them.
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

/// Retries unsaved files, and returns the frames that are saved by that.
fn retried(folder: &mut TakeFolder) -> Vec<FrameNumber> {
    let settled = folder.retry(false).into_iter().flat_map(|(_, settled)| match settled {
        RetryResult::Picture(record) => vec![record.info.number],
        RetryResult::Video(saved) => saved.frames.iter().map(|record| record.info.number).collect(),
        RetryResult::Lost(error) => panic!("{error}"),
    });
    settled.collect()
}

/// Asserts that each video consists of its recorded frames.
fn assert_videos_are_whole(disk: &SimulatedDisk, records: &[FrameRecord]) {
    for (file, bytes) in finished(disk).iter().filter(|(file, _)| file.ends_with("h264")) {
        let of_file = records.iter().filter(|record| record.file == *file);
        let expected: Vec<u8> = of_file.flat_map(|record| content(record.info.number)).collect();
        assert_eq!(*bytes, expected, "{file}");
    }
}

fn described(disk: &SimulatedDisk) -> Take {
    Take::from_json(&read(disk, Path::new("/shots/o/pi/take.json")).unwrap()).unwrap()
}
