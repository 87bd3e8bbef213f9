//! `swsyncsrc` with cameras that stall, vanish, come back and lose frames. The faults are simulated.

#![cfg(feature = "simulation")]

mod common;

use std::sync::mpsc;

use common::{LEADER, PATIENCE, Pipeline};
use gst::prelude::*;

/// A small simulated camera with these faults.
fn faulty(faults: &str, properties: &str) -> (Pipeline, mpsc::Receiver<gst::Buffer>) {
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} swsyncsrc name=s backend=simulated wait-lock=false stall-periods=5 \
         simulated-fault={faults} {properties} ! \
         video/x-raw,width=160,height=120,framerate=30/1 ! fakesink name=k sync=false async=false"
    ));
    let (tx, rx) = mpsc::channel();
    let pad = pipeline.element("k").static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let _ = tx.send(info.buffer().expect("a buffer probe").to_owned()); // the test is over
        gst::PadProbeReturn::Ok
    });
    (pipeline, rx)
}

fn next(buffers: &mpsc::Receiver<gst::Buffer>) -> gst::Buffer {
    buffers.recv_timeout(PATIENCE.into()).expect("a frame in time")
}

fn stat(pipeline: &Pipeline, name: &str) -> u64 {
    let stats = pipeline.element("s").property::<Option<gst::Structure>>("stats");
    stats.map_or(0, |stats| stats.get(name).unwrap())
}

/// Checks that each frame's number is the one of its time.
fn checked(buffer: &gst::BufferRef) -> u64 {
    let time = gstswsync::meta::rig_time_of(buffer).expect("frames carry rig time");
    let number = swsync_core::grid::FrameGrid::new(30, 1).unwrap().nearest(time);
    assert_eq!(buffer.offset(), number);
    number
}

#[test]
fn a_stalled_camera_is_an_error() {
    let (pipeline, buffers) = faulty("stall@5", "");
    pipeline.reach(gst::State::Playing);
    let error = pipeline.error();
    assert!(error.contains("stands still") && error.contains("no frame for 0.167 s"), "{error}");
    assert!(buffers.try_iter().count() <= 5);
    pipeline.reach(gst::State::Null);
}

#[test]
fn a_camera_that_vanishes_is_an_error() {
    let (pipeline, _buffers) = faulty("vanish@5", "");
    pipeline.reach(gst::State::Playing);
    let error = pipeline.error();
    assert!(error.contains("is gone"), "{error}");
}

#[test]
fn a_stalled_camera_is_started_again() {
    let (pipeline, buffers) = faulty("stall@10:1", "on-stall=restart");
    pipeline.reach(gst::State::Playing);
    let lost = pipeline.wait_for_structure("swsync-camera-lost");
    assert!(lost.get::<String>("reason").unwrap().contains("stands still"));
    pipeline.wait_for_structure("swsync-camera-back");
    assert_frames_go_on(&buffers);
    // The first start does not help: it stalls again.
    assert!(stat(&pipeline, "recoveries") >= 1);
    let missing = pipeline.wait_for_structure("swsync-frames-lost").get::<u64>("count").unwrap();
    assert!(missing > 0);
}

#[test]
fn a_camera_that_vanishes_is_opened_again_when_it_is_back() {
    let (pipeline, buffers) = faulty("vanish@10:2", "on-stall=restart");
    pipeline.reach(gst::State::Playing);
    let lost = pipeline.wait_for_structure("swsync-camera-lost");
    assert!(lost.get::<String>("reason").unwrap().contains("gone"));
    pipeline.wait_for_structure("swsync-camera-back");
    assert_frames_go_on(&buffers);
    assert_eq!(stat(&pipeline, "recoveries"), 1);
}

/// Waits for a frame after a gap and some more, and checks that all numbers are right.
fn assert_frames_go_on(buffers: &mpsc::Receiver<gst::Buffer>) {
    let first = checked(&next(buffers));
    let mut last = first;
    let mut gap = false;
    for _ in 0..30 {
        let buffer = next(buffers);
        let number = checked(&buffer);
        assert!(number > last, "{last} {number}");
        if number > last + 1 {
            assert!(buffer.flags().contains(gst::BufferFlags::DISCONT), "{last} {number}");
            gap = true;
        }
        last = number;
    }
    assert!(gap, "the fault shows");
}

#[test]
fn a_camera_that_is_gone_can_be_stopped_paused_and_flushed() {
    let (pipeline, _buffers) = faulty("vanish@3:1000000", "on-stall=restart");
    pipeline.reach(gst::State::Playing);
    pipeline.wait_for_structure("swsync-camera-lost");
    let source = pipeline.element("s");
    assert!(source.send_event(gst::event::FlushStart::new()));
    assert!(source.send_event(gst::event::FlushStop::new(true)));
    for state in [gst::State::Paused, gst::State::Playing, gst::State::Paused, gst::State::Null] {
        pipeline.reach(state);
    }
    assert_eq!(stat(&pipeline, "recoveries"), 0);
}

#[test]
fn lost_frames_are_reported_and_do_not_shift_numbers() {
    for faults in ["drop@40:3", "lose@40:3"] {
        // The camera is locked long before, so frames have the expected length.
        let (pipeline, buffers) = faulty(faults, "");
        pipeline.reach(gst::State::Playing);
        let mut last = checked(&next(&buffers));
        let missing = std::iter::repeat_with(|| next(&buffers))
            .take(100)
            .find_map(|buffer| {
                let number = checked(&buffer);
                let missing = number - last - 1;
                last = number;
                (missing >= 3).then_some((missing, buffer))
            })
            .expect("frames are missing");
        assert!(missing.1.flags().contains(gst::BufferFlags::DISCONT), "{faults}");
        let said = pipeline.wait_for("swsync-frames-lost", |message| {
            let structure = message.structure()?;
            let count = structure.get::<u64>("count").ok()?;
            (structure.name() == "swsync-frames-lost" && count >= 3).then_some(count)
        });
        assert_eq!(said, missing.0, "{faults}");
        assert!(stat(&pipeline, "lost") >= 3, "{faults}");
    }
}

#[test]
fn a_malformed_fault_is_refused() {
    let pipeline = Pipeline::launch("swsyncsrc backend=simulated simulated-fault=explode@3 ! fakesink");
    let error = pipeline.try_reach(gst::State::Paused).unwrap_err();
    assert!(error.contains("simulated-fault") && error.contains("explode"), "{error}");
}
