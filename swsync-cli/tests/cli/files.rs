//! Takes on disk, as devices write them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use swsync_core::frame::{FrameDetails, FrameInfo, LockState, SyncQuality};
use swsync_core::grid::FrameGrid;
use swsync_core::manifest::{FRAMES_JSONL, FrameRecord, Hole, SCHEMA, TAKE_JSON, Take};
use swsync_core::name::Name;
use swsync_core::order::Fill;
use swsync_core::time::{Span, Timestamp};

pub fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// The first frame number of takes.
pub const FIRST: u64 = 54_000_000_000;

/// What is known of frame `number` of a camera at 30 frames per second whose frames are 5 us late.
pub fn info(number: u64) -> FrameInfo {
    FrameInfo {
        number,
        rig_time_ns: grid().instant(number) + Span::from_micros(5),
        phase_error_ns: Span::from_micros(5),
        clock_uncertainty_ns: Some(Span::from_micros(20)),
        sync: SyncQuality::Synced,
        lock: LockState::Locked,
        exposure_ns: Some(Span::from_millis(4)),
        analogue_gain: Some(1.5),
        sensor_time_ns: None,
        details: FrameDetails::default(),
    }
}

fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).unwrap()
}

/// A device's part of a take, before it is written.
pub struct Part {
    pub take: Take,
    pub records: Vec<FrameRecord>,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Part {
    /// A take of `count` frames on `device`, of which nothing is saved.
    pub fn new(order: &str, device: &str, count: u64) -> Self {
        let take = Take {
            schema: SCHEMA,
            order: name(order),
            ordered: serde_json::Value::Null,
            device: name(device),
            host: device.into(),
            software: "test".into(),
            camera: Some("imx708".into()),
            caps: "image/jpeg, width=16, height=16, framerate=30/1".into(),
            grid: grid(),
            first: FIRST,
            count,
            segments: Vec::new(),
            holes: Vec::new(),
            lead_in: 0,
            fill: Fill::Hold,
            started_ns: grid().instant(FIRST),
            finished_ns: Some(grid().instant(FIRST + count)),
            complete: true,
        };
        Self { take, records: Vec::new(), files: BTreeMap::new() }
    }

    /// A picture of each frame but for `dropped`, which are holes.
    pub fn pictures(mut self, dropped: &[u64], picture: impl Fn(u64) -> Vec<u8>) -> Self {
        for index in 0..self.take.count {
            if dropped.contains(&index) {
                self = self.hole(index);
                continue;
            }
            let file = format!("{:08}.jpg", FIRST + index);
            let bytes = picture(index);
            self.record(index, &file, 0, bytes.len());
            self.files.insert(file, bytes);
        }
        self
    }

    fn hole(mut self, index: u64) -> Self {
        let why = "the camera dropped this frame".into();
        self.take.holes.push(Hole { first: FIRST + index, count: 1, why });
        self
    }

    fn record(&mut self, index: u64, file: &str, offset: u64, bytes: usize) {
        self.records.push(FrameRecord {
            order: self.take.order.clone(),
            device: self.take.device.clone(),
            file: file.into(),
            offset,
            bytes: bytes as u64,
            info: info(FIRST + index),
        });
    }

    /// Writes it below `root` and returns its folder.
    pub fn write(&self, root: &Path) -> PathBuf {
        let folder = root.join(self.take.order.as_str()).join(self.take.device.as_str());
        fs::create_dir_all(&folder).unwrap();
        for (file, bytes) in &self.files {
            fs::write(folder.join(file), bytes).unwrap();
        }
        let manifest: String = self.records.iter().map(FrameRecord::to_line).collect();
        fs::write(folder.join(FRAMES_JSONL), manifest).unwrap();
        fs::write(folder.join(TAKE_JSON), self.take.to_json()).unwrap();
        folder
    }

    /// As of a take that began `secs` later.
    pub fn later(mut self, secs: i64) -> Self {
        self.take.started_ns = Timestamp::from_nanos(self.take.started_ns.as_nanos() + secs * 1_000_000_000);
        self
    }
}
