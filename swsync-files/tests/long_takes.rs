//! A take of any length is recorded, closed and taken up again in bounded memory, and `take.json` stays small.
//!
//! One test, since it measures the process. `SWSYNC_FRAMES=2000000` makes it so many frames, and prints what it measured
//! (docs/takes.md).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use swsync_core::frame::{FrameDetails, FrameInfo, LockState, SyncState};
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::{Holes, Take};
use swsync_core::name::Name;
use swsync_core::order::{Order, OrderKind};
use swsync_core::time::{Span, Timestamp};
use swsync_files::{Disk, Durability, Location, MuxedPicture, Picture, TakeFolder, TakeStore};

const FRAMES: u64 = 40_000;

/// Of each video file, and of the pictures that are written in one go.
const SEGMENT: u64 = 2_000;

/// How much more memory the whole may need than its first files did. One take of a hundred bytes a frame would be above it.
const MORE: u64 = 4 << 20;

const FIRST: FrameNumber = 54_000_000_000;

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).unwrap()
}

fn info(number: FrameNumber) -> FrameInfo {
    FrameInfo {
        number,
        rig_time_ns: grid().instant(number),
        phase_error_ns: Span::from_nanos(1_234),
        clock_uncertainty_ns: Some(Span::from_nanos(4_321)),
        sync: SyncState::Synced,
        timescale: None,
        lock: Some(LockState::Locked),
        exposure_ns: Some(Span::from_millis(10)),
        analogue_gain: Some(1.5),
        sensor_time_ns: Some(Timestamp::from_nanos(5_000_000_000)),
        details: FrameDetails::default(),
    }
}

fn take(order: &Order) -> Take {
    let named = order.named(grid());
    let take = serde_json::json!({
        "schema": 1, "order": order.id(), "ordered": order, "device": "pi", "host": "pi", "software": "test",
        "camera": null, "caps": "video/x-h264", "grid": [30, 1], "first": named.first(), "count": 0,
        "started_ns": 1, "finished_ns": null, "complete": false,
    });
    Take::from_json(take.to_string().as_bytes()).unwrap()
}

fn store(root: &Path) -> TakeStore {
    TakeStore {
        storage: Arc::new(Disk),
        durability: Durability::Fast,
        location: Location::parse(root.to_str().unwrap()).unwrap(),
        device: name("pi"),
        software: "test".into(),
        max_files: None,
    }
}

/// The most memory that the process had at once so far, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Runs `work`, of which no more than `MORE` bytes of memory are to be had in addition.
fn within<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (before, began) = (peak(), Instant::now());
    let result = work();
    let more = peak() - before;
    println!("{what}: {:.1?}, {} kB more at the peak", began.elapsed(), more >> 10);
    assert!(more < MORE, "{what} needs {more} bytes more");
    result
}

/// Records one video file of frames from `first` on.
fn video(folder: &mut TakeFolder, index: u64, first: FrameNumber) {
    let mut file = folder.begin_segment(u32::try_from(index).unwrap(), first, "h264").unwrap();
    let bytes = [7; 20];
    for (place, number) in (first..first + SEGMENT).enumerate() {
        let (info, length) = (info(number), bytes.len() as u64);
        file.note(MuxedPicture { rig_time_ns: info.rig_time_ns, bytes: length, info: Some(info) });
        file.write_at(place as u64 * length, &bytes).unwrap();
        if place % 30 == 0 {
            file.sync().unwrap();
        }
    }
    folder.finish_segment(file, Some((first, SEGMENT))).unwrap();
}

fn pictures(folder: &mut TakeFolder, numbers: impl Iterator<Item = FrameNumber>) {
    let infos: Vec<_> = numbers.map(info).collect();
    for infos in infos.chunks(32) {
        let pictures: Vec<_> =
            infos.iter().map(|info| Picture { info, extension: "raw", bytes: b"a picture" }).collect();
        assert!(folder.save_pictures(&pictures).iter().all(Result::is_ok));
    }
}

fn saved(folder: &TakeFolder) -> u64 {
    let mut count = 0;
    let counted = folder.saved(|_| {
        count += 1;
        Ok(())
    });
    counted.unwrap();
    count
}

fn small(root: &Path, order: &Order) -> Take {
    let json = fs::read(root.join(order.id().as_str()).join("pi/take.json")).unwrap();
    assert!(json.len() < 100_000, "take.json has {} bytes", json.len());
    Take::from_json(&json).unwrap()
}

#[test]
fn a_take_of_any_length_is_kept_in_bounded_memory() {
    let frames =
        std::env::var("SWSYNC_FRAMES").map_or(FRAMES, |frames| frames.parse().expect("a number of frames"));
    let disk = tempfile::tempdir().unwrap();
    let (root, at) = (disk.path(), grid().instant(FIRST));

    // Video, with every second number missing.
    let kind = OrderKind::Take { segment: None, fill: Default::default() };
    let order = Order::new(name("video"), at, None, kind).unwrap();
    let mut folder = TakeFolder::open(store(root), take(&order)).unwrap();
    let files = frames / SEGMENT;
    let mut holes = Holes::new(order.named(grid()));
    let mut first = FIRST;
    let mut record = |folder: &mut TakeFolder, files: std::ops::Range<u64>| {
        for index in files {
            video(folder, index, first);
            for number in (0..SEGMENT).map(|number| first + SEGMENT + 2 * number) {
                holes.add(number, number, 1, "dropped");
            }
            first += 3 * SEGMENT;
        }
    };
    record(&mut folder, 0..2);
    within("recording", || record(&mut folder, 2..files));
    drop(folder); // as in a crash
    let mut folder = within("taking up again", || TakeFolder::open(store(root), take(&order)).unwrap());
    assert_eq!(within("telling what is saved", || saved(&folder)), files * SEGMENT);
    within("closing", || folder.finish(3 * files * SEGMENT, holes.list(), at).unwrap());
    let described = small(root, &order);
    assert!(described.complete && described.missing() == files * SEGMENT);

    // A time lapse whose camera was away for long, in the middle.
    let stills = SEGMENT.min(frames);
    let kind = OrderKind::Still { every: Some(Span::from_millis(700)), count: Some(1_000_000) };
    let order = Order::new(name("lapse"), at, None, kind).unwrap();
    let named = order.named(grid());
    let mut folder = TakeFolder::open(store(root), take(&order)).unwrap();
    let mut holes = Holes::new(named);
    let numbers = |places: std::ops::Range<u64>| places.map(move |place| named.number_at(place));
    pictures(&mut folder, numbers(0..stills / 2));
    within("a long absence", || {
        numbers(stills / 2..950_000).for_each(|n| holes.add(n, n, 1, "switched off"))
    });
    pictures(&mut folder, numbers(950_000..950_000 + stills / 2));
    within("closing the time lapse", || folder.finish(950_000 + stills / 2, holes.list(), at).unwrap());
    let described = small(root, &order);
    let [hole] = &described.holes[..] else { panic!("{} holes", described.holes.len()) };
    assert_eq!((hole.first, hole.last()), (named.number_at(stills / 2), named.number_at(949_999)));
    assert_eq!(hole.count, 950_000 - stills / 2);
}
