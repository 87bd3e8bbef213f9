//! Takes on disk, as devices write them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use swsync_core::frame::{FrameInfo, LockState, SyncState};
use swsync_core::grid::FrameGrid;
use swsync_core::manifest::{FRAMES_JSONL, FrameRecord, Hole, SCHEMA, TAKE_JSON, Take, TakeSegment};
use swsync_core::order::Fill;
use swsync_core::time::{Span, Timestamp};

use super::name;

/// The first frame number of takes.
pub const FIRST: u64 = 54_000_000_000;

/// The information on frame `number` of a camera at 30 frames per second whose frames are 5 us late.
pub fn info(number: u64) -> FrameInfo {
    FrameInfo {
        clock_uncertainty_ns: Some(Span::from_micros(20)),
        sync: SyncState::Synced,
        lock: Some(LockState::Locked),
        exposure_ns: Some(Span::from_millis(4)),
        analogue_gain: Some(1.5),
        ..FrameInfo::new(number, grid().instant(number) + Span::from_micros(5), Span::from_micros(5))
    }
}

fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).unwrap()
}

/// A device's part of a take, before it is written.
pub struct TakeBuilder {
    pub take: Take,
    pub records: Vec<FrameRecord>,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl TakeBuilder {
    /// A take of `count` frames on `device`, of which nothing is saved.
    pub fn new(order: &str, device: &str, count: u64) -> Self {
        let take = Take {
            schema: SCHEMA,
            order: name(order),
            ordered: serde_json::Value::Null,
            device: name(device),
            place: Default::default(),
            host: device.into(),
            software: "test".into(),
            camera: Some("imx708".into()),
            orientation: None,
            maker: None,
            settings: Default::default(),
            caps: "image/jpeg, width=16, height=16, framerate=30/1".into(),
            grid: grid(),
            first: FIRST,
            count,
            picture_bytes: None,
            segments: Vec::new(),
            holes: Vec::new(),
            lead_in: 0,
            removed: None,
            fill: Fill::Hold,
            started_ns: grid().instant(FIRST),
            accepted_ns: None,
            finished_ns: Some(grid().instant(FIRST + count)),
            date: None,
            complete: true,
        };
        Self { take, records: Vec::new(), files: BTreeMap::new() }
    }

    /// Adds a picture of each frame except `dropped`, which are holes.
    pub fn pictures(mut self, dropped: &[u64], picture: impl Fn(u64) -> Vec<u8>) -> Self {
        for index in 0..self.take.count {
            if dropped.contains(&index) {
                self = self.hole(index);
                continue;
            }
            self = self.picture(index, picture(index));
        }
        self
    }

    /// Adds a picture of frame `index`.
    pub fn picture(mut self, index: u64, bytes: Vec<u8>) -> Self {
        let file = format!("{:08}.jpg", FIRST + index);
        self.record(index, &file, 0, bytes.len());
        self.files.insert(file, bytes);
        self
    }

    /// Adds a video file of `count` frames from `index` on, without `dropped` ones.
    pub fn video(self, index: u64, count: u64, dropped: &[u64], bytes: Vec<u8>) -> Self {
        let lead_in = if self.take.segments.is_empty() { self.take.lead_in } else { 0 };
        self.video_after(lead_in, index, count, dropped, bytes)
    }

    /// As [`video`](Self::video), with a file that begins with `lead_in` earlier frames.
    pub fn video_after(
        mut self,
        lead_in: u64,
        index: u64,
        count: u64,
        dropped: &[u64],
        bytes: Vec<u8>,
    ) -> Self {
        let file = format!("{:04}.mp4", self.take.segments.len());
        let mut offset = lead_in;
        for index in index..index + count {
            if dropped.contains(&index) {
                self = self.hole(index);
            } else {
                self.record(index, &file, offset, 10);
                offset += 1;
            }
        }
        let segment = TakeSegment {
            file: file.clone(),
            first: FIRST + index,
            count,
            bytes: bytes.len() as u64,
            lead_in: Some(lead_in),
            sha256: None,
        };
        self.take.segments.push(segment);
        self.files.insert(file, bytes);
        self
    }

    fn hole(mut self, index: u64) -> Self {
        self.take.holes.push(Hole::run(FIRST + index, 1, "the camera dropped this frame"));
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

    /// Makes the take begin `secs` later.
    pub fn later(mut self, secs: i64) -> Self {
        self.take.started_ns = Timestamp::from_nanos(self.take.started_ns.as_nanos() + secs * 1_000_000_000);
        self
    }
}
