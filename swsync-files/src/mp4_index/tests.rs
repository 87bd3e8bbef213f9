//! Fragmented videos on a disk that fails become ordinary files, or stay as they are.

use std::sync::Arc;

use proptest::prelude::*;
use swsync_core::frame::{FrameInfo, LockState, SyncState};
use swsync_core::grid::FrameGrid;
use swsync_core::manifest::Take;
use swsync_core::name::Name;
use swsync_core::time::Span;

use super::*;
use crate::simulated_disk::SimulatedDisk;
use crate::storage::read;
use crate::{Durability, Location, MuxedPicture, TakeFolder, TakeStore};

/// A picture: its size, the time from its decoding to the next, the time from decoding to showing it, and whether it is a key
/// frame.
type Picture = (u32, u32, i32, bool);

/// Three pictures in the order of an encoder with B-frames.
const GROUP: [Picture; 3] = [(7, 100, 100, true), (5, 100, 200, false), (4, 100, 0, false)];

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    make(kind, content).unwrap()
}

/// The beginning of a fragmented file.
fn head() -> Vec<u8> {
    let header = |length: usize, timescale_at: usize| {
        let mut content = vec![0; length];
        content.get_mut(timescale_at..timescale_at + 4).unwrap().copy_from_slice(&3000_u32.to_be_bytes());
        content
    };
    let empty = |kind: &[u8; 4]| boxed(kind, &[0; 8]);
    let tables = [
        boxed(b"stsd", b"what it is"),
        empty(b"stts"),
        empty(b"stsc"),
        boxed(b"stsz", &[0; 12]),
        empty(b"stco"),
    ];
    let media = [boxed(b"mdhd", &header(24, 12)), boxed(b"minf", &boxed(b"stbl", &tables.concat()))];
    let track = [boxed(b"tkhd", &[0; 84]), boxed(b"mdia", &media.concat())];
    let moov = [
        boxed(b"mvhd", &header(100, 12)),
        boxed(b"trak", &track.concat()),
        boxed(b"mvex", &boxed(b"trex", &[0; 24])),
    ];
    [boxed(b"ftyp", b"isom\0\0\0\0isomiso2"), boxed(b"moov", &moov.concat())].concat()
}

/// A fragment of `pictures`, the first of which is decoded at `at`.
fn fragment(at: u32, pictures: &[Picture]) -> Vec<u8> {
    let run = |offset: usize| {
        let mut run = 0xf01_u32.to_be_bytes().to_vec();
        run.extend(u32::try_from(pictures.len()).unwrap().to_be_bytes());
        run.extend(u32::try_from(offset).unwrap().to_be_bytes());
        for (size, step, after, is_key) in pictures {
            let flags = if *is_key { 0_u32 } else { 0x1_0000 };
            [*step, *size, flags, after.cast_unsigned()]
                .iter()
                .for_each(|field| run.extend(field.to_be_bytes()));
        }
        let traf = [
            boxed(b"tfhd", &[0, 2, 0, 0, 0, 0, 0, 1]),
            boxed(b"tfdt", &[&[0; 4][..], &at.to_be_bytes()].concat()),
            boxed(b"trun", &run),
        ];
        boxed(b"moof", &boxed(b"traf", &traf.concat()))
    };
    let moof = run(run(0).len() + 8);
    let data: Vec<u8> =
        pictures.iter().zip(1..).flat_map(|((size, ..), n)| vec![n; *size as usize]).collect();
    [moof, boxed(b"mdat", &data)].concat()
}

const VIDEO: &str = "/shots/o/pi/0000.mp4";

fn store(disk: &SimulatedDisk, durability: Durability) -> TakeStore {
    TakeStore {
        storage: Arc::new(disk.clone()),
        durability,
        location: Location::parse("/shots").unwrap(),
        device: Name::new("pi").unwrap(),
        software: "swsync".into(),
        max_files: None,
    }
}

fn open(disk: &SimulatedDisk, durability: Durability) -> TakeFolder {
    let take: Take = serde_json::from_value(serde_json::json!({
        "schema": 1, "order": "o", "ordered": {}, "device": "pi", "host": "pi", "software": "0", "camera": null,
        "caps": "video/x-h264", "grid": [30, 1], "first": 100, "count": 10, "started_ns": 0, "finished_ns": null,
        "complete": false,
    }))
    .unwrap();
    TakeFolder::open(store(disk, durability), take).unwrap()
}

/// Records two flushed fragments and closes the file. If `dies` is given, the process dies after so many more calls from the
/// close on. Returns the number of the first of those calls, and whether closing succeeded.
fn record(disk: &SimulatedDisk, durability: Durability, dies: Option<u64>) -> (u64, bool) {
    let mut folder = open(disk, durability);
    let mut segment = folder.begin_segment(0, 100, "mp4").unwrap();
    let parts = [head(), fragment(0, &GROUP), fragment(300, &GROUP)];
    for (number, (size, ..)) in (100..).zip(GROUP.iter().chain(&GROUP)) {
        let info = FrameInfo {
            sync: SyncState::Synced,
            lock: Some(LockState::Locked),
            ..FrameInfo::new(number, FrameGrid::new(30, 1).unwrap().instant(number), Span::ZERO)
        };
        segment.note(MuxedPicture { rig_time_ns: info.rig_time_ns, bytes: (*size).into(), info: Some(info) });
    }
    let mut at = 0;
    for part in parts {
        segment.write_at(at, &part).unwrap();
        at += part.len() as u64;
    }
    segment.sync().unwrap();
    let begin = disk.calls();
    disk.die_after(dies);
    let is_saved = folder.finish_segment(segment, None).is_ok();
    disk.die_after(None);
    (begin, is_saved)
}

fn indexed(disk: &SimulatedDisk) -> Option<u64> {
    pictures(&VideoFile::open(disk, Path::new(VIDEO), u64::MAX).unwrap()).unwrap()
}

fn saved(folder: &TakeFolder) -> u64 {
    let mut count = 0;
    let counted = folder.saved(|record| {
        assert_eq!((record.file.as_str(), record.offset), ("0000.mp4", count));
        count += 1;
        Ok(())
    });
    counted.unwrap();
    count
}

#[test]
fn a_closed_file_has_one_index_whenever_closing_was_interrupted() {
    for durability in [Durability::Fast, Durability::Safe] {
        let disk = SimulatedDisk::new();
        let (begin, is_saved) = record(&disk, durability, None);
        assert!(is_saved && indexed(&disk) == Some(6));
        let calls = disk.calls() - begin;
        for dies in 0..calls {
            // Coin 0: killed. Others: the power is cut, and any of the unflushed data remains.
            for coin in 0..if durability == Durability::Safe { 7_usize } else { 1 } {
                let disk = SimulatedDisk::new();
                record(&disk, durability, Some(dies));
                if coin > 0 {
                    let mut toss = coin;
                    disk.cut_power(&mut |below| {
                        toss = toss.wrapping_mul(7) + 3;
                        toss % below
                    });
                }
                let folder = open(&disk, durability);
                assert_eq!(saved(&folder), 6, "{durability:?}: {dies}, {coin}");
                assert_eq!(indexed(&disk), Some(6), "{durability:?}: {dies}, {coin}");
            }
        }
    }
}

#[test]
fn a_file_stays_fragmented_if_the_index_cannot_be_written() {
    let disk = SimulatedDisk::new();
    let (begin, is_saved) = record(&disk, Durability::Safe, None);
    assert!(is_saved);
    let (end, whole) = (disk.calls(), disk.len(Path::new(VIDEO)).unwrap());
    let mut in_fragments = 0;
    for call in begin..end {
        let disk = SimulatedDisk::new();
        disk.fail_call(call);
        record(&disk, Durability::Safe, None);
        assert_eq!(saved(&open(&disk, Durability::Safe)), 6, "{call}");
        match (indexed(&disk), disk.len(Path::new(VIDEO)).unwrap()) {
            (Some(pictures), length) => assert_eq!((pictures, length), (6, whole), "{call}"),
            (None, length) => {
                let parts = head().len() + 2 * fragment(0, &GROUP).len();
                assert_eq!(length, parts as u64, "{call}: nothing of the index is left");
                in_fragments += 1;
            }
        }
    }
    assert_eq!(in_fragments, 2, "if the index cannot be written or flushed");
}

#[test]
fn the_index_agrees_with_the_fragments() {
    let disk = SimulatedDisk::new();
    // Pictures are missing between the fragments.
    let fragments = [head(), fragment(0, &GROUP), fragment(900, &GROUP[..2])];
    let bytes = fragments.concat();
    disk.create_folder(Path::new("/v")).unwrap();
    disk.create(Path::new("/v/f")).unwrap().write_at(0, &bytes).unwrap();
    let plan = plan(&disk, Path::new("/v/f")).unwrap().expect("it is fragmented");
    let [(kind, moov)] = boxes(&plan.index).collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!(&kind, b"moov");
    let entries = |path: &[&[u8; 4]]| {
        let content = table(moov, &[&[b"trak", b"mdia", b"minf", b"stbl"][..], path].concat()).unwrap();
        content[8..].chunks(4).map(|four| u32_at(four, 0).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(entries(&[b"stts"]), [2, 100, 1, 700, 2, 100]);
    assert_eq!(entries(&[b"ctts"]), [1, 100, 1, 200, 1, 0, 1, 100, 1, 200]);
    assert_eq!(entries(&[b"stss"]), [1, 4]);
    assert_eq!(entries(&[b"stsc"]), [1, 3, 1, 2, 2, 1]);
    assert_eq!(entries(&[b"stsz"]), [5, 7, 5, 4, 7, 5]);
    for (at, begin) in entries(&[b"stco"]).into_iter().zip([1_u8, 1]) {
        assert_eq!(bytes[at as usize..][..8], [begin, begin, begin, begin, begin, begin, begin, begin + 1]);
    }
    // From the first picture shown to the end of the last.
    let edit = table(moov, &[b"trak", b"edts", b"elst"]).unwrap();
    assert_eq!((u32_at(edit, 12), u32_at(edit, 20)), (Some(1_200), Some(100)));
    assert_eq!(u32_at(table(moov, &[b"mvhd"]).unwrap(), 16), Some(1_200));
    assert_eq!(u32_at(table(moov, &[b"trak", b"mdia", b"mdhd"]).unwrap(), 16), Some(1_100));
    assert!(table(moov, &[b"mvex"]).is_none());
    assert_eq!(read(&disk, Path::new("/v/f")).unwrap(), bytes, "planning writes nothing");
}

#[test]
fn a_file_of_a_fragmented_brand_stays_fragmented() {
    for (from, to) in [(b"isomiso2", b"isomcmfc"), (b"isomiso2", b"isomdash")] {
        let bytes = [head(), fragment(0, &GROUP)].concat();
        let at = bytes.windows(8).position(|window| window == from).unwrap();
        let bytes = [&bytes[..at], to, &bytes[at + 8..]].concat();
        let disk = SimulatedDisk::new();
        disk.create(Path::new("/f")).unwrap().write_at(0, &bytes).unwrap();
        assert!(plan(&disk, Path::new("/f")).unwrap().is_none());
    }
}

#[test]
fn long_takes_have_wide_fields() {
    let sample = Sample { size: 9, decoded: 0, duration: 1, shown_after: 0, is_key: true };
    let chunks = vec![(48, 1), (u64::from(u32::MAX) + 17, 1)];
    let samples = vec![sample, Sample { decoded: 1, ..sample }];
    let layout = Layout { at: 40, moov: Vec::new(), samples, chunks, end: 0 };
    let tables = tables(&layout, &Times::of(&layout.samples).unwrap()).unwrap();
    let offsets = table(&tables, &[b"co64"]).unwrap();
    assert_eq!(u64_at(offsets, 16), Some(u64::from(u32::MAX) + 17));
    assert!(table(&tables, &[b"stss"]).is_none(), "all of them are key frames");
    let long = u64::from(u32::MAX) + 5;
    for (kind, length, at) in [(b"mvhd", 100, 24), (b"mdhd", 24, 24), (b"tkhd", 84, 28)] {
        let mut content: Vec<u8> = (0..length).collect();
        content[0] = 0;
        let wide = with_duration(kind, &content, long).unwrap();
        let inner = &wide[8..];
        assert_eq!((inner.len(), inner[0], u64_at(inner, at)), (content.len() + 12, 1, Some(long)));
        assert_eq!(inner[4..20], [0, 0, 0, 0, 4, 5, 6, 7, 0, 0, 0, 0, 8, 9, 10, 11]);
        assert_eq!(inner[20..at], content[12..at - 8], "what lies between");
        assert_eq!(inner[at + 8..], content[at - 4..], "and behind");
        assert_eq!(u64_at(&with_duration(kind, inner, 7).unwrap()[8..], at), Some(7));
        assert_eq!(u32_at(&with_duration(kind, &content, 7).unwrap()[8..], at - 8), Some(7));
    }
}

proptest! {
    #[test]
    fn nothing_panics(at in 0_usize..1_000, to in any::<u8>(), length in 0_usize..1_000) {
        let mut bytes = [head(), fragment(0, &GROUP)].concat();
        let at = at % bytes.len();
        bytes[at] = to;
        bytes.truncate(length.max(8));
        let disk = SimulatedDisk::new();
        disk.create(Path::new("/f")).unwrap().write_at(0, &bytes).unwrap();
        let _ = plan(&disk, Path::new("/f"));
        let _ = pictures(&VideoFile::open(&disk, Path::new("/f"), 9).unwrap());
    }
}
