//! `swsyncsrc`: frames on the grid with their metas, states, events and queries.

#![cfg(all(feature = "libcamera", feature = "simulation"))]

mod common;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{CAMERA, LEADER, PATIENCE, Pipeline};
use gst::prelude::*;
use swsync_core::frame::LockState;

/// A camera on a leader's clock; the buffers that reach its end.
fn camera(properties: &str) -> (Pipeline, mpsc::Receiver<gst::Buffer>) {
    let source = CAMERA.replace("simulated", &format!("simulated {properties}"));
    let pipeline = Pipeline::launch(&format!("{LEADER} {source} ! fakesink name=k sync=false async=false"));
    let buffers = probe(&pipeline, "k");
    (pipeline, buffers)
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

/// Frame number by the reference time, at 30/s.
fn number(buffer: &gst::BufferRef) -> u64 {
    let time = gstswsync::meta::rig_time_of(buffer).expect("frames carry rig time");
    swsync_core::grid::FrameGrid::new(30, 1).unwrap().nearest(time)
}

/// Waits until the source has a format: it then says that its latency has changed.
fn wait_for_format(pipeline: &Pipeline) {
    let source = pipeline.element("s");
    pipeline.wait_for("latency", |message| {
        (message.type_() == gst::MessageType::Latency && message.src() == Some(source.upcast_ref()))
            .then_some(())
    });
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn scheduling_is_push_only_and_the_query_does_not_open_the_camera() {
    common::init();
    let source = gst::ElementFactory::make("swsyncsrc").property("camera-name", "no such camera").build();
    let source = source.unwrap();
    let bus = gst::Bus::new();
    source.set_bus(Some(&bus));
    let mut query = gst::query::Scheduling::new();
    assert!(source.static_pad("src").unwrap().query(&mut query));
    assert_eq!(query.result(), (gst::SchedulingFlags::SEQUENTIAL, 1, -1, 0));
    assert_eq!(query.scheduling_modes().collect::<Vec<_>>(), [gst::PadMode::Push]);
    assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_none(), "it looked for the camera");
    source.set_bus(None);
}

#[test]
fn message_handlers_may_read_stats() {
    let (pipeline, buffers) = camera("");
    let (tx, heard) = mpsc::channel();
    pipeline.0.bus().unwrap().set_sync_handler(move |_, message| {
        let source = message.src().filter(|source| source.name() == "s");
        if let (Some(source), Some("swsync-phase")) =
            (source, message.structure().map(|said| said.name().as_str()))
        {
            let _ = tx.send(source.property::<Option<gst::Structure>>("stats")); // the test is over
        }
        gst::BusSyncReply::Pass
    });
    pipeline.reach(gst::State::Playing);
    assert!(heard.recv_timeout(PATIENCE.into()).expect("stats in time").is_some());
    next(&buffers);
}

#[test]
fn frames_are_held_back_until_they_are_on_the_grid() {
    let (pipeline, buffers) = camera("tolerance=20000 simulated-skew-ppm=12");
    pipeline.reach(gst::State::Playing);
    let base_time = pipeline.0.base_time().unwrap();
    let mut last = None;
    for _ in 0..20 {
        let buffer = next(&buffers);
        let info = gstswsync::meta::details_of(&buffer).expect("frames carry the custom meta");
        let meta = gst::meta::CustomMeta::from_buffer(&buffer, gstswsync::meta::FRAME_META).unwrap();
        let phase: i64 = meta.structure().get("phase-error").unwrap();
        assert_eq!(info.lock, LockState::Locked);
        assert!(phase.abs() <= 60_000, "{phase} ns"); // the tolerance, with hysteresis
        assert_eq!(info.sync.as_str(), "leading");
        assert_eq!(info.clock_uncertainty.map(|u| u.as_nanos()), Some(0));
        let exposure = info.exposure.expect("the simulated sensor reports it").as_nanos();
        assert!((80_000..120_000).contains(&exposure), "100 us in whole lines: {exposure}");

        let number = number(&buffer);
        assert_eq!(meta.structure().get::<u64>("frame-number").unwrap(), number);
        assert_eq!((buffer.offset(), buffer.offset_end()), (number, number + 1));
        assert!(last.is_none_or(|last| number > last), "{last:?} {number}");
        last = Some(number);

        let references: Vec<_> = buffer.iter_meta::<gst::ReferenceTimestampMeta>().collect();
        let names: Vec<_> = references.iter().map(|m| m.reference().to_string()).collect();
        assert_eq!(names, ["timestamp/x-swsync", "timestamp/x-unix"]);
        assert!(references.iter().all(|m| m.timestamp() == base_time + buffer.pts().unwrap()));
        assert_eq!(buffer.duration(), Some(gst::ClockTime::from_nseconds(33_333_333)));
        assert_eq!(buffer.size(), 160 * 120 * 3 / 2);
    }
    let source = pipeline.element("s");
    assert!(source.property::<bool>("locked"));
    assert!(source.property::<i64>("phase-error").abs() <= 60_000);
    assert_eq!(source.property::<u32>("lock-count"), 1);
}

#[test]
fn frames_come_unlocked_without_wait_lock() {
    let (pipeline, buffers) = camera("wait-lock=false");
    pipeline.reach(gst::State::Playing);
    let first = gstswsync::meta::details_of(&next(&buffers)).unwrap();
    // The first frames may have come before the pipeline's clock.
    assert!(matches!(first.lock, LockState::Searching | LockState::Aligning), "{:?}", first.lock);
    while gstswsync::meta::details_of(&next(&buffers)).unwrap().lock != LockState::Locked {}
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "locked") {
        states.push(pipeline.wait_for_structure("swsync-phase").get::<String>("state").unwrap());
    }
    assert_eq!(states, ["searching", "aligning", "locked"]);
}

#[test]
fn any_clock_will_do() {
    let pipeline = Pipeline::launch(&format!("{CAMERA} ! fakesink name=k sync=false"));
    let buffers = probe(&pipeline, "k");
    pipeline.reach(gst::State::Playing);
    let buffer = next(&buffers);
    assert_eq!(gstswsync::meta::details_of(&buffer).unwrap().lock, LockState::Locked);
    let references = buffer.iter_meta::<gst::ReferenceTimestampMeta>();
    let names: Vec<_> = references.map(|m| m.reference().to_string()).collect();
    assert_eq!(names, ["timestamp/x-swsync"], "no Unix time without rig time");
}

#[test]
fn a_source_without_a_clock_is_an_error() {
    common::init();
    let mut harness = gst_check::Harness::new("swsyncsrc");
    let source = harness.element().unwrap();
    source.set_property_from_str("backend", "simulated");
    source.set_clock(None::<&gst::Clock>).unwrap();
    let bus = gst::Bus::new();
    source.set_bus(Some(&bus));
    harness.set_sink_caps_str("video/x-raw,width=160,height=120,framerate=30/1");
    harness.play();
    let error = bus.timed_pop_filtered(PATIENCE, &[gst::MessageType::Error]).expect("an error");
    let gst::MessageView::Error(error) = error.view() else { unreachable!("filtered") };
    assert!(error.error().matches(gst::CoreError::Clock), "{error:?}");
    source.set_bus(None);
}

#[test]
fn a_harness_gets_frames() {
    common::init();
    let mut harness = gst_check::Harness::new("swsyncsrc");
    harness.element().unwrap().set_property_from_str("backend", "simulated");
    harness.use_systemclock();
    harness.set_sink_caps_str("video/x-raw,width=160,height=120,framerate=30/1");
    harness.play();
    let first = harness.pull().unwrap();
    assert!(number(&harness.pull().unwrap()) > number(&first));
    assert!(harness.query_latency().unwrap_or_default() > gst::ClockTime::from_mseconds(33));
    harness.push_upstream_event(gst::event::Reconfigure::new());
    assert!(number(&harness.pull().unwrap()) > number(&first));
}

#[test]
fn formats_are_offered_fixed_and_refused() {
    let free = Pipeline::launch(&format!(
        "{LEADER} swsyncsrc name=s backend=simulated ! fakesink name=k sync=false async=false"
    ));
    let buffers = probe(&free, "k");
    free.reach(gst::State::Playing);
    next(&buffers);
    let caps = free.element("s").static_pad("src").unwrap().current_caps().unwrap();
    let expected: gst::Caps = "video/x-raw,format=I420,width=640,height=480,framerate=30/1".parse().unwrap();
    assert!(caps.is_subset(&expected), "{caps}");

    for (wrong, says) in [
        ("video/x-raw,width=8,height=8", "not-negotiated"),
        ("video/x-raw,format=RGB", "not-negotiated"),
        ("image/jpeg", "not-negotiated"),
    ] {
        let pipeline = Pipeline::launch(&format!(
            "{LEADER} swsyncsrc backend=simulated ! {wrong} ! fakesink async=false"
        ));
        let error = pipeline.try_reach(gst::State::Playing).err().unwrap_or_else(|| pipeline.error());
        assert!(error.contains(says), "{wrong}: {error}");
    }
}

#[test]
fn cameras_that_do_not_exist_are_errors_never_simulations() {
    let pipeline = Pipeline::launch("swsyncsrc camera-name=/no/such/camera ! fakesink");
    let error = pipeline.try_reach(gst::State::Paused).unwrap_err();
    assert!(error.contains("/no/such/camera"), "{error}");
    assert!(error.contains("gst-resource-error-quark, code: 3"), "not found: {error}");
    let pipeline = Pipeline::launch("swsyncsrc backend=simulated simulated-sensor=kodak ! fakesink");
    let error = pipeline.try_reach(gst::State::Paused).unwrap_err();
    assert!(error.contains("simulated-sensor") && error.contains("kodak"), "{error}");
}

#[test]
fn states_go_up_and_down_in_any_order() {
    use gst::State::{Null, Paused, Playing, Ready};
    let (pipeline, buffers) = camera("wait-lock=false");
    for state in [Ready, Null, Paused, Ready, Playing, Paused, Playing, Ready, Playing, Null, Paused, Null] {
        pipeline.reach(state);
        while buffers.try_recv().is_ok() {}
        if state == Playing {
            next(&buffers);
        }
    }
}

#[test]
fn downstreams_buffer_pool_is_not_used() {
    let (pipeline, buffers) = camera("wait-lock=false");
    let pad = pipeline.element("k").static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
        let Some(gst::QueryViewMut::Allocation(query)) = info.query_mut().map(gst::QueryRef::view_mut) else {
            return gst::PadProbeReturn::Ok;
        };
        // v4l2h264enc and v4l2convert offer such a pool, which its user would have to configure.
        query.add_allocation_pool(Some(&gst::BufferPool::new()), 160 * 120 * 3 / 2, 2, 4);
        query.add_allocation_param(None::<&gst::Allocator>, gst::AllocationParams::default());
        gst::PadProbeReturn::Handled
    });
    pipeline.reach(gst::State::Playing);
    for _ in 0..3 {
        next(&buffers);
    }
}

#[test]
fn dma_buf_caps_link_and_are_refused_if_the_camera_has_none() {
    for format in ["", ",format=NV12", ",format=DMA_DRM,drm-format=NV12"] {
        // launch fails if the caps do not link.
        let pipeline = Pipeline::launch(&format!(
            "{LEADER} swsyncsrc backend=simulated ! video/x-raw(memory:DMABuf){format} ! fakesink async=false"
        ));
        let error = pipeline.try_reach(gst::State::Playing).err().unwrap_or_else(|| pipeline.error());
        assert!(error.contains("not-negotiated"), "{format}: {error}");
    }
}

#[test]
fn running_times_rise_over_pauses_and_frames_exposed_meanwhile_are_dropped() {
    let (pipeline, buffers) = camera("wait-lock=false");
    assert_times_rise_over_pauses(&pipeline, &buffers, 8);
    let stats = pipeline.element("s").property::<Option<gst::Structure>>("stats").unwrap();
    assert!(stats.get::<u64>("not-playing").unwrap() > 0, "{stats}");
}

/// With `pauses` pauses. The next state is PLAYING.
fn assert_times_rise_over_pauses(pipeline: &Pipeline, buffers: &mpsc::Receiver<gst::Buffer>, pauses: u32) {
    let mut last = None;
    let mut left_out = 0;
    for _ in 0..pauses {
        pipeline.reach(gst::State::Playing);
        let since = pipeline.0.start_time();
        for _ in 0..3 {
            let buffer = next(buffers);
            let pts = buffer.pts().expect("a running time");
            assert!(last.is_none_or(|last| pts > last) && Some(pts) >= since, "{last:?} {since:?} {pts}");
            last = Some(pts);
            let gap = gstswsync::meta::details_of(&buffer).and_then(|details| details.gap);
            left_out += u32::from(gap.is_some_and(|gap| gap.cause == swsync_core::gap::GapCause::Paused));
        }
        pipeline.reach(gst::State::Paused);
        // The camera goes on meanwhile, and keeps some frames.
        let clock = pipeline.0.clock().unwrap();
        clock.new_single_shot_id(clock.time() + gst::ClockTime::from_mseconds(150)).wait().0.unwrap();
        for buffer in buffers.try_iter() {
            last = buffer.pts().max(last);
        }
    }
    // All but the frames before the first pause, and those that report a gap after one.
    assert!(left_out >= pauses, "{left_out}");
}

#[test]
fn an_eos_event_ends_the_stream() {
    let (pipeline, buffers) = camera("");
    pipeline.reach(gst::State::Playing);
    next(&buffers);
    assert!(pipeline.0.send_event(gst::event::Eos::new()));
    pipeline.wait_for_eos();
    let (pipeline, _buffers) = camera("num-buffers=5");
    pipeline.reach(gst::State::Playing);
    pipeline.wait_for_eos();
}

#[test]
fn a_state_change_interrupts_the_wait_for_a_frame() {
    // At a frame a second, a wait is nearly always interrupted.
    let slow = CAMERA.replace("30/1", "1/1");
    let pipeline = Pipeline::launch(&format!("{LEADER} {slow} ! fakesink sync=false async=false"));
    pipeline.element("s").set_property("wait-lock", false);
    for _ in 0..3 {
        pipeline.reach(gst::State::Playing);
        wait_for_format(&pipeline);
        let begun = Instant::now();
        pipeline.reach(gst::State::Ready);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}

#[test]
fn queries_do_not_wait_for_frames() {
    let slow = CAMERA.replace("30/1", "1/1");
    let pipeline = Pipeline::launch(&format!("{LEADER} {slow} ! fakesink sync=false async=false"));
    let source = pipeline.element("s");
    let mut latency = gst::query::Latency::new();
    assert!(!source.query(&mut latency), "nothing is known before there is a format");
    pipeline.reach(gst::State::Playing);
    wait_for_format(&pipeline);
    let pad = source.static_pad("src").unwrap();
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(source.query(&mut latency));
        let (live, least, most) = latency.result();
        assert!(live);
        assert!(least > gst::ClockTime::SECOND && least < gst::ClockTime::from_seconds(2), "{least}");
        // As much as the camera captures ahead.
        let ahead = most.expect("it is bounded") - least;
        assert!(ahead >= gst::ClockTime::SECOND && ahead < gst::ClockTime::from_seconds(10), "{ahead}");
        assert!(!pad.query_caps(None).is_any());
    }
    // Each would take most of a second if it waited for a frame.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_flush_is_survived() {
    let (pipeline, buffers) = camera("wait-lock=false");
    pipeline.reach(gst::State::Playing);
    next(&buffers);
    let source = pipeline.element("s");
    for _ in 0..5 {
        assert!(source.send_event(gst::event::FlushStart::new()));
        assert!(source.send_event(gst::event::FlushStop::new(true)));
        while buffers.try_recv().is_ok() {}
        next(&buffers);
    }
}

#[test]
fn twenty_restarts_leak_nothing() {
    let (pipeline, buffers) = camera("wait-lock=false");
    let cycle = || {
        pipeline.reach(gst::State::Playing);
        while buffers.try_recv().is_ok() {}
        next(&buffers);
        pipeline.reach(gst::State::Null);
    };
    // The first rounds start threads that stay: the executor, task pools. Other tests start threads too, so this one
    // runs in a process of its own.
    if std::env::var_os("SWSYNC_TEST_ALONE").is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "twenty_restarts_leak_nothing", "--nocapture"])
            .env("SWSYNC_TEST_ALONE", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    for _ in 0..3 {
        cycle();
    }
    let before = (threads(), descriptors());
    for round in 0..20 {
        if round % 5 == 0 {
            cycle();
        } else {
            pipeline.reach(gst::State::Playing);
            wait_for_format(&pipeline);
            pipeline.reach(gst::State::Null);
        }
    }
    common::eventually("threads that end", || threads() <= before.0 + 1);
    assert!(descriptors() <= before.1 + 2, "{before:?}, now {}", descriptors());
}

#[test]
fn metas_pass_through_encoders() {
    common::init();
    let encoders: Vec<_> = [
        "jpegenc",
        "jpegenc ! jpegparse",
        "videoconvert ! pngenc",
        "x264enc speed-preset=ultrafast tune=zerolatency",
        "x264enc speed-preset=ultrafast bframes=2 rc-lookahead=4 sync-lookahead=0 threads=1",
        "x264enc speed-preset=ultrafast tune=zerolatency ! h264parse",
        "openh264enc",
        "x265enc speed-preset=ultrafast tune=zerolatency",
        "vp8enc deadline=1",
    ]
    .into_iter()
    .filter(|encoder| encoder.split(" ! ").all(|e| common::installed(e.split(' ').next().unwrap_or(e))))
    .collect();
    let branches: String = encoders
        .iter()
        .enumerate()
        .map(|(index, encoder)| {
            format!(" t. ! queue ! {encoder} ! fakesink name=e{index} sync=false async=false")
        })
        .collect();
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} {CAMERA} ! tee name=t ! queue ! fakesink name=raw sync=false async=false {branches}"
    ));
    pipeline.element("s").set_property("wait-lock", false);
    let raw = probe(&pipeline, "raw");
    let ends: Vec<_> = (0..encoders.len()).map(|index| probe(&pipeline, &format!("e{index}"))).collect();
    pipeline.reach(gst::State::Playing);
    let mut known = std::collections::HashMap::new();
    for (encoder, end) in encoders.iter().zip(&ends) {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..8 {
            let encoded = next(end);
            let number = number(&encoded);
            assert!(seen.insert(number), "{encoder}: frame {number} twice");
            while !known.contains_key(&number) {
                let frame = next(&raw);
                known.insert(self::number(&frame), gstswsync::meta::details_of(&frame));
            }
            let details = gstswsync::meta::details_of(&encoded);
            assert!(details.is_some() && details == known[&number], "{encoder}: {details:?}");
        }
    }
}

#[test]
fn a_libcamera_camera_takes_its_frames_on_the_grid() {
    common::init();
    let cameras = gstswsync::camera::libcamera::list().unwrap_or_default();
    if !cameras.iter().any(|camera| camera.id == "Virtual0") {
        eprintln!("skipped: libcamera has no Virtual0");
        return;
    }
    let virtual0 = "swsyncsrc name=s camera-name=Virtual0 ! \
                    video/x-raw,format=NV12,width=640,height=480,framerate=30/1";
    let pipeline = Pipeline::launch(&format!("{LEADER} {virtual0} ! fakesink name=k sync=false async=false"));
    let buffers = probe(&pipeline, "k");
    for _ in 0..3 {
        pipeline.reach(gst::State::Playing);
        while buffers.try_recv().is_ok() {}
        let first = next(&buffers);
        assert_eq!(gstswsync::meta::details_of(&first).unwrap().lock, LockState::Free);
        assert!(number(&next(&buffers)) > number(&first));
        let begun = Instant::now();
        pipeline.reach(gst::State::Ready);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    while buffers.try_recv().is_ok() {}
    // More pauses than it has frame buffers.
    assert_times_rise_over_pauses(&pipeline, &buffers, 12);
    pipeline.reach(gst::State::Playing);
    let second = Pipeline::launch(&format!("{LEADER} {virtual0} ! fakesink"));
    let error = second.try_reach(gst::State::Paused).unwrap_err();
    assert!(error.contains("Virtual0") && error.contains("use"), "{error}");
}

#[test]
fn frames_go_on_after_every_pause() {
    let (pipeline, buffers) = camera("wait-lock=false");
    for _ in 0..30 {
        pipeline.reach(gst::State::Playing);
        while buffers.try_recv().is_ok() {}
        next(&buffers);
        pipeline.reach(gst::State::Paused);
    }
}
