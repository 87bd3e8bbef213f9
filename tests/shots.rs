//! Stills and bursts with rigs of the shipped pipelines, also while devices are killed.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use swsync_core::frame::{FrameInfo, LockState};
use swsync_core::manifest::FrameRecord;
use swsync_core::order::{FrameOutcome, FrameRun};
use swsync_core::time::Span;

use crate::panel;
use crate::process::{Ended, poll, retry_on_drops};
use crate::rig::{Rig, Shot, TestBed, is_saved_or_dropped};

/// Largest allowed time between pictures of one instant. Simulated cameras are aligned to tens of us on an idle machine. A
/// frame of another number would be 33,000 us off.
const MAX_SPREAD: Span = Span::from_micros(250);

#[test]
fn a_rig_shoots_one_instant_in_the_future_and_in_the_past() {
    let bed = TestBed::exclusive();
    let rig = bed.rig(&["left", "right"]);
    assert_shoots_one_instant(&rig, &["--in", "700ms"]);
    assert_shoots_one_instant(&rig, &["--ago", "500ms"]);
}

#[test]
fn devices_that_find_each_other_by_multicast_shoot_one_instant() {
    if !crate::is_set("SWSYNC_NETNS", "discovery, as it sends multicast on every interface") {
        return;
    }
    let bed = TestBed::exclusive().discovering();
    let rig = bed.rig(&["left", "right"]);
    assert_shoots_one_instant(&rig, &[]);
}

#[test]
fn malformed_datagrams_to_the_leader_do_not_disturb_its_clients() {
    let bed = TestBed::exclusive();
    let rig = bed.rig(&["left"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(bed.time_address()).unwrap();
    for datagram in malformed_datagrams() {
        // An error here (connection refused) means that the leader listens no more.
        socket.send(&datagram).unwrap();
    }
    assert_shoots_one_instant(&rig, &[]);
    let statuses = rig.statuses();
    assert!(
        statuses.len() == 2
            && statuses.iter().all(|status| swsync_core::status::Readiness::judge(status, None).is_ready()),
        "{statuses:#?}"
    );
}

#[test]
fn a_client_killed_during_an_order_is_named_and_the_others_save_their_frames() {
    let bed = TestBed::exclusive();
    let mut rig = bed.rig(&["left", "victim"]);
    let shoot = rig.swsync(&["shoot", "--in", "3s", "--count", "15"]);
    poll("all devices have the order", || {
        let statuses = rig.statuses();
        (statuses.len() == 3 && statuses.iter().all(|status| status.open.len() == 1)).then_some(())
    });
    let victim = rig.take_last();
    victim.signal(Signal::KILL);
    assert_eq!(victim.wait().code, None, "killed");
    let ended = shoot.wait();
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    assert!(row(&ended, "victim").contains("no answer"), "{ended:#?}");
    for device in ["leader", "left"] {
        assert!(row(&ended, device).contains("saved"), "{ended:#?}");
    }
    assert!(ended.out.contains("NOT all saved"), "{ended:#?}");
    assert!(
        !bed.path("shots").read_dir().unwrap().any(|order| order.unwrap().path().join("victim").exists())
    );
    assert_only_complete_files(&files_below(&bed.path("shots")));
}

#[test]
fn a_pipeline_interrupted_during_an_order_leaves_only_complete_files() {
    let bed = TestBed::exclusive();
    let mut rig = bed.rig(&["victim"]);
    let shoot = rig.swsync(&["shoot", "--in", "200ms", "--count", "120", "--id", "burst", "--json"]);
    let folder = bed.path("shots/burst/victim");
    poll("the burst is being written", || {
        let pictures = fs::read_dir(&folder).ok()?.filter(|file| is_picture(&file.as_ref().unwrap().path()));
        (pictures.count() >= 5).then_some(())
    });
    let victim = rig.take_last();
    victim.signal(Signal::INT);
    let ended = victim.wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");

    let shot = Shot::of(&shoot.wait());
    assert_eq!(shot.code, Some(1), "{shot:?}");
    assert!(shot.frames("leader").iter().all(|frame| is_saved_or_dropped(&frame.outcome)), "{shot:?}");
    let frames = shot.frames("victim");
    let saved = saved(frames);
    let accounted: u64 = frames.iter().map(|run| run.count).sum();
    assert!(saved.len() >= 5 && accounted == 120, "every frame is accounted for: {shot:?}");
    let last = |saved: &[(PathBuf, FrameInfo)]| saved.last().map(|(_, info)| info.number);
    assert!(last(&self::saved(shot.frames("leader"))) > last(&saved), "the leader went on: {shot:?}");
    let files: BTreeSet<_> = files_below(&folder).into_iter().filter(|file| is_picture(file)).collect();
    assert_eq!(
        files,
        saved.iter().map(|(file, _)| file.clone()).collect(),
        "its answer agrees with its files"
    );
    for (file, info) in &saved {
        assert_eq!(record(&shot, "victim", file).info, *info);
    }
    assert_only_complete_files(&files_below(&bed.path("shots")));
}

/// Shoots, and asserts that answers agree with the files, and that the pictures show one instant.
fn assert_shoots_one_instant(rig: &Rig<'_>, args: &[&str]) {
    let shot = &retry_on_drops(|| Some(rig.shoot(args)).filter(|shot| !shot.has_drops()));
    assert_eq!(shot.code, Some(0), "{shot:?}");
    let pictures: Vec<_> = shot.answers.iter().flat_map(|(_, frames)| saved(frames)).collect();
    assert_eq!(pictures.len(), rig.statuses().len(), "{shot:?}");
    let numbers: BTreeSet<_> = pictures.iter().map(|(_, info)| info.number).collect();
    assert_eq!(numbers.len(), 1, "one frame number everywhere: {shot:?}");
    for (device, frames) in &shot.answers {
        for (file, info) in saved(frames) {
            assert_eq!(info.lock, Some(LockState::Locked), "{device}");
            let record = record(shot, device, &file);
            assert_eq!(record.info, info, "{device}");
            assert_eq!(record.bytes, fs::metadata(&file).unwrap().len(), "{device}");
        }
    }
    let spread = panel::spread(pictures.iter().map(|(file, info)| (file.as_path(), info)));
    println!("{}: {:.1} us between {} pictures", shot.order, spread.as_micros_f64(), pictures.len());
    assert!(spread <= MAX_SPREAD, "{:.1} us between the pictures: {shot:?}", spread.as_micros_f64());
    assert_only_complete_files(&files_below(&rig.bed().path("shots")));
}

/// The files of the saved frames, and their metadata.
pub fn saved(frames: &[FrameRun]) -> Vec<(PathBuf, FrameInfo)> {
    let saved = frames.iter().filter_map(|frame| match &frame.outcome {
        FrameOutcome::Saved { file, info, .. } => Some((PathBuf::from(file), *info)),
        _ => None,
    });
    saved.collect()
}

/// The line of `file` in the manifest.
fn record(shot: &Shot, device: &str, file: &Path) -> FrameRecord {
    let manifest = fs::read_to_string(file.with_file_name("frames.jsonl")).unwrap();
    let records = manifest.lines().map(|line| serde_json::from_str::<FrameRecord>(line).unwrap());
    let name = file.file_name().unwrap().to_str().unwrap();
    let found: Vec<_> = records.filter(|record| record.file == name).collect();
    let [record] = &found[..] else { panic!("one line of {name}: {manifest}") };
    assert_eq!((record.order.as_str(), record.device.as_str()), (shot.order.as_str(), device));
    record.clone()
}

fn row<'a>(ended: &'a Ended, device: &str) -> &'a str {
    let row = ended.out.lines().find(|line| line.split_whitespace().next() == Some(device));
    row.unwrap_or_else(|| panic!("no row of {device}: {ended:#?}"))
}

fn is_picture(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "jpg")
}

/// All files in `folder` and its folders, without journals.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let entries = entries.filter(|path| !path.ends_with(".swsync"));
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The files beside the pictures of a take.
const SIDE_FILES: [&str; 4] = ["frames.jsonl", "frames.csv", "frames.pts", "take.json"];

/// Asserts that there are no temporary files, and that every picture is complete.
pub fn assert_only_complete_files(files: &[PathBuf]) {
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(is_picture(file) || SIDE_FILES.contains(&name), "left behind: {}", file.display());
        if is_picture(file) {
            let bytes = fs::read(file).unwrap();
            // JPEG's markers for start and end of image
            let complete = bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9]);
            assert!(complete, "{} is not complete", file.display());
            image::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }
}

/// Datagrams that are not NTP, or are barely NTP.
fn malformed_datagrams() -> Vec<Vec<u8>> {
    let header = |first: u8| {
        let mut datagram = vec![0; 48];
        datagram[0] = first;
        datagram
    };
    let mut datagrams: Vec<Vec<u8>> = (0..=100).map(|length| vec![0xff; length]).collect();
    // every mode of every version, with every leap indicator
    datagrams.extend((0..=255).map(header));
    // Client requests with extension fields that are truncated, longer than the datagram, empty, or of length zero.
    for field in [&[0][..], &[0xf5, 0, 0xff, 0xfc], &[0xf5, 0, 0, 0], &[0xf5, 0, 0, 4], &[1, 4, 0, 17]] {
        let mut datagram = header(0x23);
        datagram.extend(field);
        datagrams.push(datagram.clone());
        datagram.resize(1400, 0xaa);
        datagrams.push(datagram);
    }
    datagrams.push(vec![0x23; 60_000]);
    datagrams
}
