//! A `swsyncsink` in a harness, with its own rig and folder; orders, and what they leave on the disk.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gst::prelude::*;
use swsync_core::frame::{FrameDetails, FrameInfo, LockState, SyncState};
use swsync_core::grid::FrameGrid;
use swsync_core::manifest::{FrameRecord, Take};
use swsync_core::name::Name;
use swsync_core::order::{Answer, Order};
use swsync_core::status::Status;
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::{DeviceOutcome, RigConfig, Session, Summary};

use super::PATIENCE;
use crate::common;

pub const CAPS: &str = "image/jpeg,width=160,height=120,framerate=30/1";
/// The number of the newest frame when a test begins.
pub const NOW: u64 = 50_000_000_000;

/// A rig of this test's own.
pub fn rig() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).unwrap()
}

/// Rig time now, in pipelines whose leader takes the wall clock.
pub fn rig_now() -> Timestamp<Rig> {
    Timestamp::from_nanos(swsync_time::wall_clock().as_nanos())
}

pub fn time_of(number: u64) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(u64::try_from(grid().instant(number).as_nanos()).unwrap())
}

/// A sink on a test clock that reads the time of frame `NOW`, with its own rig and folder.
pub struct Sink {
    pub harness: gst_check::Harness,
    pub element: gst::Element,
    pub bus: gst::Bus,
    rig: String,
    pub folder: tempfile::TempDir,
}

impl Sink {
    pub fn with(set: impl FnOnce(&gst::Element, &Path)) -> Self {
        common::init();
        let folder = tempfile::tempdir().unwrap();
        Self::reopen(folder, &rig(), CAPS, set)
    }

    /// A sink in a folder with earlier files.
    pub fn reopen(
        folder: tempfile::TempDir,
        rig: &str,
        caps: &str,
        set: impl FnOnce(&gst::Element, &Path),
    ) -> Self {
        common::init();
        let element = gst::ElementFactory::make("swsyncsink")
            .property("rig", rig)
            .property("device-id", "pi")
            .property("listen", "tcp/127.0.0.1:0")
            .property("location", folder.path().to_str().unwrap())
            .build()
            .unwrap();
        set(&element, folder.path());
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let mut harness = gst_check::Harness::with_element(&element, Some("sink"), None);
        harness.use_testclock();
        harness.set_time(time_of(NOW)).unwrap();
        harness.set_src_caps_str(caps);
        harness.play();
        Self { harness, element, bus, rig: rig.into(), folder }
    }

    pub fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// Pushes a frame that `swsyncsrc` numbered.
    pub fn push(&mut self, number: u64) {
        self.push_coded(number, true);
    }

    /// Pushes a frame of a video.
    pub fn push_coded(&mut self, number: u64, is_key: bool) {
        let buffer = frame(number, is_key);
        assert_eq!(self.harness.push(buffer), Ok(gst::FlowSuccess::Ok));
    }

    /// Places an order in the rig, and does not wait.
    pub fn place(&self, order: Order) -> JoinHandle<Summary> {
        place(&self.rig, order)
    }

    /// The device's status.
    pub fn status(&self) -> Status {
        status(&self.rig)
    }

    pub fn shoot(&self, delay: Span, count: u32) -> Option<String> {
        self.element.emit_by_name("shoot", &[&delay.as_nanos(), &count])
    }

    pub fn wait_for(&self, name: &str) -> gst::Structure {
        loop {
            let message = self.bus.timed_pop_filtered(PATIENCE, &[gst::MessageType::Element]);
            let structure = message.expect(name).structure().expect("an element message").to_owned();
            if structure.name() == name {
                return structure;
            }
        }
    }

    /// The folder of an order's files.
    pub fn order(&self, id: &str) -> PathBuf {
        self.folder.path().join(id).join("pi")
    }
}

/// A frame that `swsyncsrc` numbered.
pub fn frame(number: u64, is_key: bool) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(content(number));
    let info = FrameInfo {
        number,
        rig_time_ns: grid().instant(number) + Span::from_micros(3),
        phase_error_ns: Span::from_micros(3),
        clock_uncertainty_ns: Some(Span::from_micros(7)),
        sync: SyncState::Synced,
        timescale: None,
        lock: Some(LockState::Locked),
        exposure_ns: Some(Span::from_millis(5)),
        analogue_gain: Some(2.0),
        sensor_time_ns: Some(Timestamp::from_nanos(5)),
        details: FrameDetails::default(),
    };
    let writable = buffer.get_mut().unwrap();
    writable.set_pts(pts_of(number));
    if !is_key {
        writable.set_flags(gst::BufferFlags::DELTA_UNIT);
    }
    gstswsync::meta::attach(writable, &info, None, grid().period(), gstswsync::meta::WallTime::Unix);
    buffer
}

/// The bytes of frame `number`.
pub fn content(number: u64) -> String {
    format!("frame {number}")
}

/// The running time of frame `number`: the pipeline began some seconds before frame `NOW`.
pub fn pts_of(number: u64) -> gst::ClockTime {
    time_of(number) - time_of(NOW - 300)
}

/// The session that the sinks of `rig` in this process share.
pub fn session(rig: &str) -> Arc<Session> {
    let listen = vec!["tcp/127.0.0.1:0".to_owned()];
    let config = RigConfig::new(Name::new(rig).unwrap(), listen, Vec::new());
    Session::open(&config).unwrap()
}

/// Places an order in `rig`, and does not wait.
pub fn place(rig: &str, order: Order) -> JoinHandle<Summary> {
    let session = session(rig);
    std::thread::spawn(move || session.place(&order, Duration::from_secs(30), |_| {}).unwrap())
}

/// The status of the rig's one device.
pub fn status(rig: &str) -> Status {
    let mut reports = session(rig).statuses(PATIENCE.into());
    assert_eq!(reports.len(), 1);
    reports.remove(0).status
}

/// The one device's answer.
pub fn answer(placed: JoinHandle<Summary>) -> Answer {
    let outcomes = placed.join().unwrap().outcomes;
    match &outcomes[..] {
        [DeviceOutcome::Answered(answer)] => answer.clone(),
        other => panic!("{other:?}"),
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.element.set_bus(None);
    }
}

pub fn strings(structure: &gst::Structure, field: &str) -> Vec<String> {
    let array: gst::Array = structure.get(field).unwrap();
    array.iter().map(|value| value.get().unwrap()).collect()
}

pub fn complete(structure: &gst::Structure) -> bool {
    structure.get("complete").unwrap()
}

/// The side files of pictures.
pub const BESIDE: [&str; 4] = ["frames.csv", "frames.jsonl", "frames.pts", "take.json"];

/// Names of the files in `folder` and below, without the journal.
pub fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_name() == ".swsync" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            names.extend(files(&entry.path()));
        } else {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    names
}

pub fn manifest(folder: &Path) -> Vec<FrameRecord> {
    let text = std::fs::read_to_string(folder.join("frames.jsonl")).unwrap();
    let mut records: Vec<FrameRecord> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    records.sort_by_key(|record| record.info.number);
    records
}

/// The contents of `take.json`.
pub fn take(folder: &Path) -> Take {
    let text = std::fs::read_to_string(folder.join("take.json")).unwrap();
    Take::from_json(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Every manifest in `folder` and below that is not empty.
pub fn manifests(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(manifests(&entry.path()));
        } else if entry.file_name().to_str().unwrap().ends_with("frames.jsonl") {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            found.extend((!text.is_empty()).then_some(text));
        }
    }
    found
}
