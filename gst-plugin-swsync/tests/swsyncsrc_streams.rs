//! Streams of `swsyncsrc`: several at once, without copies, renegotiated while playing.

#![cfg(all(feature = "libcamera", feature = "simulation"))]

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::{LEADER, PATIENCE, Pipeline};
use gst::prelude::*;

/// A simulated camera that does not wait for its lock.
const SIMULATED: &str = "swsyncsrc name=s backend=simulated wait-lock=false";
const SMALL: &str = "video/x-raw,width=160,height=120,framerate=30/1";
const LARGER: &str = "video/x-raw,width=320,height=240";

/// libcamera's first virtual camera, for one test at a time; `None` if there is none.
fn virtual_camera() -> Option<MutexGuard<'static, ()>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    common::init();
    let cameras = gstswsync::camera::libcamera::list().unwrap_or_default();
    if cameras.iter().any(|camera| camera.id == "Virtual0") {
        Some(guard)
    } else {
        eprintln!("skipped: libcamera has no Virtual0");
        None
    }
}

/// Buffers that reach the sink pad of `element`.
fn probe(pipeline: &Pipeline, element: &str) -> mpsc::Receiver<gst::Buffer> {
    let (tx, rx) = mpsc::channel();
    let pad = pipeline.element(element).static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let _ = tx.send(info.buffer().expect("a buffer probe").to_owned()); // the test is over
        gst::PadProbeReturn::Ok
    });
    rx
}

fn next(buffers: &mpsc::Receiver<gst::Buffer>) -> gst::Buffer {
    buffers.recv_timeout(PATIENCE.into()).expect("a frame in time")
}

/// Both ends of a camera with two streams.
fn two(source: &str, first: &str, second: &str) -> (Pipeline, [mpsc::Receiver<gst::Buffer>; 2]) {
    let sink = "fakesink sync=false async=false";
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} {source} s.src ! {first} ! {sink} name=a  s.src_0 ! {second} ! {sink} name=b"
    ));
    let ends = [probe(&pipeline, "a"), probe(&pipeline, "b")];
    (pipeline, ends)
}

fn stat(pipeline: &Pipeline, name: &str) -> u64 {
    let stats = pipeline.element("s").property::<Option<gst::Structure>>("stats");
    stats.map_or(0, |stats| stats.get(name).unwrap())
}

#[test]
fn both_streams_show_the_same_instants() {
    let (pipeline, [a, b]) = two(SIMULATED, SMALL, LARGER);
    pipeline.reach(gst::State::Playing);
    let mut first: HashMap<u64, gst::Buffer> = HashMap::new();
    let mut compared = 0;
    while compared < 20 {
        let second = next(&b);
        assert_eq!(second.size(), 320 * 240 * 3 / 2);
        while !first.contains_key(&second.offset()) && first.keys().all(|number| *number < second.offset()) {
            let frame = next(&a);
            first.insert(frame.offset(), frame);
        }
        let frame = &first[&second.offset()];
        assert_eq!(
            (frame.size(), frame.pts(), frame.duration()),
            (160 * 120 * 3 / 2, second.pts(), second.duration())
        );
        assert_eq!(gstswsync::meta::details_of(frame), gstswsync::meta::details_of(&second));
        assert!(gstswsync::meta::details_of(frame).is_some());
        assert_eq!(gstswsync::meta::rig_time_of(frame), gstswsync::meta::rig_time_of(&second));
        compared += 1;
    }
    let stream = |pad: &str| {
        let pad = pipeline.element("s").static_pad(pad).unwrap();
        let start = pad.sticky_event::<gst::event::StreamStart>(0).unwrap();
        assert!(pad.sticky_event::<gst::event::Segment>(0).is_some());
        (start.stream_id().to_string(), start.group_id())
    };
    let (first, second) = (stream("src"), stream("src_0"));
    assert_ne!(first.0, second.0);
    assert_eq!(first.1, second.1, "streams of one group");
}

#[test]
fn a_blocked_branch_does_not_delay_the_others() {
    let (pipeline, [a, b]) = two(SIMULATED, SMALL, LARGER);
    let pad = pipeline.element("b").static_pad("sink").unwrap();
    let block =
        pad.add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, |_, _| gst::PadProbeReturn::Ok);
    pipeline.reach(gst::State::Playing);
    for _ in 0..20 {
        next(&a);
    }
    common::eventually("frames that the branch is too slow for", || stat(&pipeline, "branch-dropped") >= 10);
    while b.try_recv().is_ok() {}
    pad.remove_probe(block.unwrap());
    let gap =
        std::iter::repeat_with(|| next(&b)).take(10).any(|b| b.flags().contains(gst::BufferFlags::DISCONT));
    assert!(gap, "the frames that were dropped show");

    // Blocked again, it does not delay the change to READY either.
    let pad = pipeline.element("b").static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, |_, _| gst::PadProbeReturn::Ok);
    next(&a);
    pipeline.reach(gst::State::Ready);
}

#[test]
fn both_streams_end_flush_pause_and_start_again() {
    let (pipeline, _ends) = two(&SIMULATED.replace("swsyncsrc", "swsyncsrc num-buffers=8"), SMALL, LARGER);
    pipeline.reach(gst::State::Playing);
    // EOS is posted when all sinks have it.
    pipeline.wait_for_eos();

    let (pipeline, [a, b]) = two(SIMULATED, SMALL, LARGER);
    let source = pipeline.element("s");
    for state in
        [gst::State::Playing, gst::State::Paused, gst::State::Playing, gst::State::Null, gst::State::Playing]
    {
        pipeline.reach(state);
        if state == gst::State::Playing {
            for end in [&a, &b] {
                while end.try_recv().is_ok() {}
                next(end);
            }
        }
    }
    for _ in 0..3 {
        assert!(source.send_event(gst::event::FlushStart::new()));
        assert!(source.send_event(gst::event::FlushStop::new(true)));
        for end in [&a, &b] {
            while end.try_recv().is_ok() {}
            next(end);
        }
    }
}

#[test]
fn streams_are_added_and_released_while_playing() {
    let pipeline =
        Pipeline::launch(&format!("{LEADER} {SIMULATED} ! {SMALL} ! fakesink name=a sync=false async=false"));
    let a = probe(&pipeline, "a");
    pipeline.reach(gst::State::Playing);
    next(&a);
    let source = pipeline.element("s");
    for _ in 0..3 {
        let sink =
            gst::ElementFactory::make("fakesink").property("sync", false).property("async", false).build();
        let sink = sink.unwrap();
        sink.set_property("name", "b");
        pipeline.0.add(&sink).unwrap();
        let b = probe(&pipeline, "b");
        sink.sync_state_with_parent().unwrap();
        let pad = source.request_pad_simple("src_%u").unwrap();
        assert_eq!(pad.name(), "src_0");
        pad.link(&sink.static_pad("sink").unwrap()).unwrap();
        assert_eq!(next(&b).size(), 640 * 480 * 3 / 2, "what nobody restricts is as the camera prefers");
        source.release_request_pad(&pad);
        sink.set_state(gst::State::Null).unwrap();
        pipeline.0.remove(&sink).unwrap();
        while a.try_recv().is_ok() {}
        next(&a);
    }
}

#[test]
fn roles_are_set_on_pads() {
    let pipeline = Pipeline::launch(&format!(
        "{SIMULATED} src::stream-role=view-finder src_0::stream-role=still-capture \
         s.src ! fakesink  s.src_0 ! fakesink"
    ));
    let role = |pad: &str| {
        let pad = pipeline.element("s").static_pad(pad).unwrap();
        format!("{:?}", pad.property_value("stream-role").serialize().unwrap())
    };
    assert!(role("src").contains("view-finder"), "{}", role("src"));
    assert!(role("src_0").contains("still-capture"), "{}", role("src_0"));
}

#[test]
fn a_stream_that_the_camera_does_not_have_is_an_error_that_names_the_pad() {
    let (pipeline, _ends) = two(SIMULATED, SMALL, "video/x-raw,width=8");
    let error = pipeline.try_reach(gst::State::Playing).err().unwrap_or_else(|| pipeline.error());
    assert!(error.contains("src_0") && error.contains("width=(int)[ 160, 1920 ]"), "{error}");
}

#[test]
fn a_virtual_camera_delivers_two_sizes() {
    let Some(_guard) = virtual_camera() else { return };
    let source = "swsyncsrc name=s camera-name=Virtual0";
    let sized = |width, height| format!("video/x-raw,format=NV12,width={width},height={height}");
    let (pipeline, [a, b]) = two(source, &sized(1280, 720), &sized(640, 480));
    pipeline.reach(gst::State::Playing);
    for _ in 0..20 {
        let (first, second) = (next(&a), next(&b));
        assert_eq!((first.size(), second.size()), (1280 * 720 * 3 / 2, 640 * 480 * 3 / 2));
    }
    pipeline.reach(gst::State::Null);
}

#[test]
fn a_frame_goes_through_without_a_copy() {
    let Some(_guard) = virtual_camera() else { return };
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} swsyncsrc name=s camera-name=Virtual0 ! fakesink name=k sync=false async=false"
    ));
    let (tx, places) = mpsc::channel();
    let pad = pipeline.element("k").static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().expect("a buffer probe");
        let memory = buffer.peek_memory(0);
        let fd =
            memory.downcast_memory_ref::<gst_allocators::FdMemory>().map(gst_allocators::FdMemoryRef::fd);
        let _ = tx.send((memory.as_ptr() as usize, fd)); // the test is over
        gst::PadProbeReturn::Ok
    });
    pipeline.reach(gst::State::Playing);
    let seen: HashSet<_> =
        std::iter::repeat_with(|| places.recv_timeout(PATIENCE.into()).expect("a frame")).take(60).collect();
    assert!(seen.iter().all(|(_, fd)| fd.is_some()), "in the memory that the camera writes to");
    assert!(seen.len() <= 8, "the same few come back: {}", seen.len());
    assert_eq!(stat(&pipeline, "copied"), 0);
    assert!(stat(&pipeline, "frames") >= 60);
}

#[test]
fn downstream_that_keeps_frames_does_not_stall_the_camera() {
    let Some(_guard) = virtual_camera() else { return };
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} swsyncsrc name=s camera-name=Virtual0 ! video/x-raw,width=640,height=480,framerate=60/1 ! \
         fakesink name=k sync=false async=false"
    ));
    // The channel keeps the frames.
    let buffers = probe(&pipeline, "k");
    pipeline.reach(gst::State::Playing);
    pipeline.wait_for_structure("swsync-frames-copied");
    let hoard: Vec<_> = (0..100).map(|_| next(&buffers)).collect();
    let places: HashSet<_> = hoard.iter().map(|buffer| buffer.peek_memory(0).as_ptr() as usize).collect();
    assert_eq!(places.len(), 100, "no memory is in two frames at once");
    assert!(stat(&pipeline, "copied") >= 90);
    let more = pipeline.bus().timed_pop_filtered(gst::ClockTime::ZERO, &[gst::MessageType::Error]);
    assert!(more.is_none());

    // Frame buffers that are back are used again.
    drop(hoard);
    while buffers.try_recv().is_ok() {}
    common::eventually("frames without copies", || {
        while buffers.try_recv().is_ok() {}
        let before = stat(&pipeline, "copied");
        next(&buffers);
        std::thread::sleep(Duration::from_millis(100));
        while buffers.try_recv().is_ok() {}
        stat(&pipeline, "copied") <= before + 6
    });
}

#[test]
fn caps_change_while_playing() {
    let Some(_guard) = virtual_camera() else { return };
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} swsyncsrc name=s camera-name=Virtual0 ! capsfilter name=f \
         caps=video/x-raw,width=640,height=480,framerate=30/1 ! fakesink name=k sync=false async=false"
    ));
    let buffers = probe(&pipeline, "k");
    pipeline.reach(gst::State::Playing);
    let mut last = 0;
    for (width, height) in [(640, 480), (1280, 720), (640, 480)] {
        let caps: gst::Caps =
            format!("video/x-raw,width={width},height={height},framerate=30/1").parse().unwrap();
        pipeline.element("f").set_property("caps", caps);
        let frame =
            std::iter::repeat_with(|| next(&buffers)).find(|b| b.size() == width * height * 3 / 2).unwrap();
        assert!(frame.offset() > last, "numbers go on: {} {last}", frame.offset());
        last = frame.offset();
    }
}

#[test]
fn caps_may_change_in_any_moment() {
    let sink = "fakesink sync=false async=false";
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} {SIMULATED} s.src ! capsfilter name=f ! {sink} name=a  s.src_0 ! capsfilter name=g ! {sink} name=b"
    ));
    let change = |filter: &str, width: i32| {
        let caps =
            format!("video/x-raw,width={width},height=120,framerate=45/1").parse::<gst::Caps>().unwrap();
        pipeline.element(filter).set_property("caps", caps);
    };
    change("f", 160);
    change("g", 160);
    let ends = [probe(&pipeline, "a"), probe(&pipeline, "b")];
    pipeline.reach(gst::State::Playing);
    // While a frame is pushed, while downstream is asked, and while the camera is started again.
    for round in 0..24_u32 {
        let (filter, end) = if round % 2 == 0 { ("f", &ends[0]) } else { ("g", &ends[1]) };
        next(end);
        std::thread::sleep(Duration::from_micros(u64::from(round) * 100));
        change(filter, 320);
        change(filter, if round % 3 == 0 { 320 } else { 160 });
    }
    change("f", 320);
    change("g", 160);
    for (end, width) in ends.iter().zip([320, 160]) {
        std::iter::repeat_with(|| next(end)).find(|frame| frame.size() == width * 120 * 3 / 2).unwrap();
    }
    let error = pipeline.bus().timed_pop_filtered(gst::ClockTime::ZERO, &[gst::MessageType::Error]);
    assert!(error.is_none(), "{error:?}");
}

#[test]
fn fifty_starts_and_stops() {
    let Some(_guard) = virtual_camera() else { return };
    let pipeline = Pipeline::launch(
        "swsyncsrc name=s camera-name=Virtual0 ! video/x-raw,width=640,height=480,framerate=60/1 ! \
         fakesink name=k sync=false async=false",
    );
    let buffers = probe(&pipeline, "k");
    for round in 0..50 {
        pipeline.reach(gst::State::Playing);
        if round % 3 == 0 {
            while buffers.try_recv().is_ok() {}
            next(&buffers);
        }
        pipeline.reach(if round % 2 == 0 { gst::State::Null } else { gst::State::Ready });
    }
}

#[test]
fn a_first_pad_that_is_not_linked_has_no_stream() {
    let end = "fakesink sync=false async=false name=b";
    let rig = |source: &str| {
        Pipeline::launch(&format!("{LEADER} {source} s.src_0 ! {LARGER},framerate=24/1 ! {end}"))
    };
    let pipeline = rig(&SIMULATED.replace("swsyncsrc", "swsyncsrc num-buffers=8"));
    let b = probe(&pipeline, "b");
    pipeline.reach(gst::State::Playing);
    pipeline.wait_for_eos();
    // The other pad's format sets the rate.
    let frames: Vec<gst::Buffer> = b.try_iter().collect();
    assert_eq!(frames.len(), 8);
    assert!(frames.iter().all(|frame| frame.size() == 320 * 240 * 3 / 2));
    assert_eq!(frames[0].duration(), Some(gst::ClockTime::from_nseconds(41_666_667)));

    // It is linked while the camera streams, and unlinked again.
    let pipeline = rig(SIMULATED);
    let b = probe(&pipeline, "b");
    pipeline.reach(gst::State::Playing);
    next(&b);
    let sink =
        gst::ElementFactory::make("fakesink").name("a").property("sync", false).property("async", false);
    let sink = sink.build().unwrap();
    pipeline.0.add(&sink).unwrap();
    let a = probe(&pipeline, "a");
    sink.sync_state_with_parent().unwrap();
    let source = pipeline.element("s");
    source.link_pads(Some("src"), &sink, Some("sink")).unwrap();
    let first = next(&a);
    assert!(first.size() > 0);
    let same = std::iter::repeat_with(|| next(&b)).find(|frame| frame.offset() >= first.offset()).unwrap();
    assert_eq!(same.pts(), first.pts(), "of the same frames");
    source.unlink(&sink);
    while b.try_recv().is_ok() {}
    for _ in 0..10 {
        next(&b);
    }
}
