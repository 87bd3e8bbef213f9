//! Helpers of the tests of this crate and of those above it: valid values, of which a test changes one field.

#![expect(missing_docs, reason = "only for tests")]

use swsync_core::frame::SyncState;
use swsync_core::frame::{FrameDetails, FrameInfo, LockState};
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::name::Name;
use swsync_core::order::{Answer, FrameOutcome, FrameRun, OrderProgress, TimeBasis};
use swsync_core::status::{ClockStatus, FrameStatus, Status};
use swsync_core::time::{Span, Timestamp};

pub fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// A good frame of 30 frames per second.
pub fn frame(number: FrameNumber) -> FrameInfo {
    let grid = swsync_core::grid::FrameGrid::new(30, 1).unwrap();
    FrameInfo {
        clock_uncertainty_ns: Some(Span::from_micros(20)),
        sync: SyncState::Synced,
        lock: Some(LockState::Locked),
        details: FrameDetails {
            exposure_reference_error_ns: Some(Span::from_micros(15)),
            stamp_error_ns: Some(Span::from_micros(5)),
            ..FrameDetails::default()
        },
        ..FrameInfo::new(number, grid.instant(number) + Span::from_micros(3), Span::from_micros(3))
    }
}

/// A device that is ready.
pub fn status(device: &str) -> Status {
    let newest = frame(54_000_000_060);
    Status {
        clock: Some(ClockStatus {
            quality: SyncState::Synced,
            rig_time_ns: newest.rig_time_ns,
            offset_ns: Span::from_millis(1500),
            uncertainty_ns: Some(Span::from_micros(20)),
            skew_ppm: -12.3,
            round_trip_ns: Some(Span::from_millis(2)),
            source: None,
            server: None,
            path_offset_ns: Span::ZERO,
        }),
        frames: Some(FrameStatus {
            newest,
            rate: swsync_core::grid::FrameGrid::new(30, 1).unwrap(),
            bytes_per_second: 3_000_000,
            ring_frames: 60,
            ring_bytes: 6_000_000,
            oldest: 54_000_000_001,
            latency_ns: Span::ZERO,
        }),
        open: vec![progress("o1")],
        saved: 17,
        missed: 2,
        ..Status::new(name(device), "0.1.0")
    }
}

/// An open order.
pub fn progress(order: &str) -> OrderProgress {
    OrderProgress {
        order: name(order),
        at_ns: Timestamp::from_nanos(1_800_000_001_000_000_000),
        stop_ns: None,
        named: None,
        saved: 40,
        lost: 0,
        bytes: 4_000_000,
        why: None,
    }
}

/// Frame `number`, saved.
pub fn saved(number: FrameNumber) -> FrameRun {
    let outcome =
        FrameOutcome::Saved { file: format!("o1/a/{number}.jpg"), bytes: 100_000, info: frame(number) };
    FrameRun::one(number, outcome)
}

/// Frame `number`, missed.
pub fn missed(number: FrameNumber, why: &str) -> FrameRun {
    FrameRun::one(number, FrameOutcome::Missed { why: why.into() })
}

/// An answer of device `a`.
pub fn answer(frames: Vec<FrameRun>) -> Answer {
    Answer {
        order: name("o1"),
        device: name("a"),
        frames,
        unnumbered: None,
        unfinished: None,
        basis: TimeBasis { rate: FrameGrid::new(30, 1).ok(), timescale: None },
    }
}

/// Writes a device's part of a take of pictures below `root`, and returns its folder. Each file holds the frame's number.
pub fn device_take(
    root: &std::path::Path,
    order: &str,
    device: &str,
    numbers: &[FrameNumber],
) -> std::path::PathBuf {
    use swsync_core::manifest::{FRAMES_JSONL, FrameRecord, TAKE_JSON};
    let folder = root.join(order).join(device);
    std::fs::create_dir_all(&folder).unwrap();
    let mut manifest = String::new();
    for number in numbers {
        let file = format!("{number:08}.jpg");
        std::fs::write(folder.join(&file), number.to_string()).unwrap();
        let record = FrameRecord {
            order: name(order),
            device: name(device),
            file,
            offset: 0,
            bytes: number.to_string().len() as u64,
            info: frame(*number),
        };
        manifest.push_str(&record.to_line());
    }
    std::fs::write(folder.join(FRAMES_JSONL), manifest).unwrap();
    let (first, last) = (numbers.iter().min().unwrap(), numbers.iter().max().unwrap());
    let take = serde_json::json!({
        "schema": 1, "order": order, "ordered": {}, "device": device, "host": device, "software": "test",
        "camera": null, "caps": "image/jpeg", "grid": [30, 1], "first": first, "count": last - first + 1,
        "started_ns": 1, "finished_ns": 2, "complete": true,
    });
    std::fs::write(folder.join(TAKE_JSON), take.to_string()).unwrap();
    folder
}
