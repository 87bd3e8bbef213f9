//! `swsyncgate`: passes exactly the frames that orders name, unchanged.

mod common;

use std::time::Duration;

use common::sink::{NOW, answer, content, frame, grid, place, pts_of, rig, rig_now, status, time_of};
use common::{CAMERA, LEADER, PATIENCE, Pipeline};
use gst::prelude::*;
use swsync_core::grid::FrameNumber;
use swsync_core::name::Name;
use swsync_core::order::{Fill, FrameOutcome, Order, OrderKind};
use swsync_core::time::Span;

const PICTURES: &str = "image/jpeg,width=160,height=120,framerate=30/1";
const CODED: &str = "video/x-h264,stream-format=byte-stream,alignment=au,width=160,height=120,framerate=30/1";

/// A gate on a test clock that reads the time of frame `NOW`, in a rig of its own.
struct Gate {
    harness: gst_check::Harness,
    rig: String,
}

/// A frame that came out of a gate.
#[derive(Debug, PartialEq)]
struct Out {
    text: String,
    pts: gst::ClockTime,
    is_shown: bool,
}

impl Gate {
    fn new(caps: &str, on_short: &str) -> Self {
        common::init();
        let rig = rig();
        let element = gst::ElementFactory::make("swsyncgate")
            .property("rig", &rig)
            .property("device-id", "pi")
            .property("listen", "tcp/127.0.0.1:0")
            .property_from_str("on-short", on_short)
            .build()
            .unwrap();
        let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
        harness.use_testclock();
        harness.set_time(time_of(NOW)).unwrap();
        harness.set_src_caps_str(caps);
        harness.play();
        Self { harness, rig }
    }

    fn push(&mut self, numbers: impl Iterator<Item = FrameNumber>, is_key: impl Fn(FrameNumber) -> bool) {
        for number in numbers {
            assert_eq!(self.harness.push(frame(number, is_key(number))), Ok(gst::FlowSuccess::Ok));
        }
    }

    /// Buffers that came out, once there are `count`.
    fn frames(&mut self, count: usize) -> Vec<Out> {
        let mut frames = Vec::new();
        common::eventually("frames come out", || {
            while let Some(buffer) = self.harness.try_pull() {
                let map = buffer.map_readable().unwrap();
                frames.push(Out {
                    text: String::from_utf8(map.to_vec()).unwrap(),
                    pts: buffer.pts().unwrap(),
                    is_shown: !buffer.flags().contains(gst::BufferFlags::DECODE_ONLY),
                });
                assert!(gstswsync::meta::details_of(&buffer).is_some(), "metas come along");
            }
            frames.len() >= count
        });
        frames
    }

    /// The gate's custom events up to `until`.
    fn events(&mut self, until: &str) -> Vec<gst::Structure> {
        let mut events = Vec::new();
        common::eventually(until, || {
            while let Some(event) = self.harness.try_pull_event() {
                if let gst::EventView::CustomDownstream(event) = event.view() {
                    events.push(event.structure().unwrap().to_owned());
                }
            }
            events.iter().any(|event| event.name() == until)
        });
        events
    }
}

fn shown(number: FrameNumber) -> Out {
    Out { text: content(number), pts: pts_of(number), is_shown: true }
}

fn lead_in(number: FrameNumber) -> Out {
    Out { text: content(number), pts: pts_of(number), is_shown: false }
}

fn burst(first: FrameNumber, count: u32) -> Order {
    Order::burst(Name::new("o").unwrap(), grid().instant(first), count).unwrap()
}

fn names(events: &[gst::Structure]) -> Vec<&str> {
    events.iter().map(|event| event.name().as_str()).collect()
}

#[test]
fn frames_of_the_past_come_out_unchanged() {
    let mut gate = Gate::new(PICTURES, "partial");
    gate.push(NOW - 30..NOW, |_| true);
    let placed = place(&gate.rig, burst(NOW - 10, 3));
    assert_eq!(gate.frames(3), [shown(NOW - 10), shown(NOW - 9), shown(NOW - 8)]);
    let answer = answer(placed);
    assert!(answer.is_complete());
    assert!(
        matches!(&answer.frames[0].outcome, FrameOutcome::Saved { file, .. } if file.starts_with("swsyncgate"))
    );
    let events = gate.events("swsync-order-end");
    assert_eq!(names(&events), ["swsync-order-begin", "swsync-segment-begin", "swsync-order-end"]);
    assert_eq!(events[0].get::<u64>("first-frame").unwrap(), NOW - 10);
    assert_eq!(events[2].get::<u64>("released").unwrap(), 3);
    assert!(gate.harness.try_pull().is_none(), "and nothing else");
}

#[test]
fn future_frames_come_out_when_they_come() {
    let mut gate = Gate::new(PICTURES, "partial");
    gate.push(NOW - 5..NOW, |_| true);
    let placed = place(&gate.rig, burst(NOW + 20, 2));
    gate.push(NOW..NOW + 40, |_| true);
    // Whether the order arrives before its frames or after.
    assert_eq!(gate.frames(2), [shown(NOW + 20), shown(NOW + 21)]);
    assert!(answer(placed).is_complete());
}

#[test]
fn video_comes_with_the_frames_to_decode_it() {
    let mut gate = Gate::new(CODED, "partial");
    gate.push(NOW - 60..NOW, |number| number.is_multiple_of(20));
    let kind = OrderKind::Take { segment: Some(Span::from_secs(1)), fill: Fill::None };
    let (first, end) = (NOW - 35, NOW - 3); // key frames are NOW - 40 and NOW - 20; the second file begins with NOW - 5
    let order =
        Order::new(Name::new("o").unwrap(), grid().instant(first), Some(grid().instant(end)), kind).unwrap();
    let placed = place(&gate.rig, order);
    let mut expected: Vec<_> = (NOW - 40..first).map(lead_in).chain((first..NOW - 5).map(shown)).collect();
    expected.extend((NOW - 20..NOW - 5).map(lead_in).chain((NOW - 5..end).map(shown)));
    assert_eq!(gate.frames(expected.len()), expected);
    assert!(answer(placed).is_complete());
    let events = gate.events("swsync-order-end");
    let segment = ["swsync-segment-begin", "swsync-in-point"];
    assert_eq!(
        names(&events),
        [&["swsync-order-begin"], &segment[..], &segment, &["swsync-order-end"]].concat()
    );
    assert_eq!(events[2].get::<u32>("lead-in").unwrap(), 5);
    assert_eq!(events[4].get::<u32>("lead-in").unwrap(), 15);
}

#[test]
fn an_order_for_more_than_the_ring_has_yields_part_or_nothing() {
    for (on_short, released) in [("partial", 20), ("missed", 0)] {
        let mut gate = Gate::new(PICTURES, on_short);
        gate.push(NOW - 20..NOW, |_| true);
        let answer = answer(place(&gate.rig, burst(NOW - 30, 30)));
        assert_eq!((answer.named(), answer.saved()), (30, released), "{on_short}: {answer:?}");
        let why = answer.frames[0].why().unwrap();
        assert!(why.contains(&(NOW - 20).to_string()), "it says what the ring holds: {why}");
        let events = gate.events("swsync-order-end");
        let hole = events.iter().find(|event| event.name() == "swsync-hole").unwrap();
        assert_eq!(
            (hole.get::<u64>("first-frame").unwrap(), hole.get::<u64>("frames").unwrap()),
            (NOW - 30, 10)
        );
        assert_eq!(events.last().unwrap().get::<u64>("missing").unwrap(), 30 - released);
        let frames = std::iter::from_fn(|| gate.harness.try_pull()).count() as u64;
        assert_eq!(frames, released);
    }
}

#[test]
fn sinks_preroll_without_an_order_and_get_eos() {
    let rig = rig();
    let pipeline = Pipeline::launch(&format!(
        "videotestsrc num-buffers=20 ! video/x-raw,width=64,height=48,framerate=30/1 ! \
         swsyncgate listen=tcp/127.0.0.1:0 rig={rig} device-id=pi ! fakesink name=f"
    ));
    pipeline.reach(gst::State::Paused);
    pipeline.reach(gst::State::Playing);
    pipeline.wait_for_eos();
    let stats: gst::Structure = pipeline.element("f").property("stats");
    assert_eq!(stats.get::<u64>("rendered").unwrap(), 0, "nothing was ordered");
}

#[test]
fn orders_end_before_eos() {
    let mut gate = Gate::new(PICTURES, "partial");
    gate.push(NOW - 5..NOW, |_| true);
    let placed = place(&gate.rig, burst(NOW - 3, 100));
    assert_eq!(gate.frames(3).len(), 3);
    assert!(gate.harness.push_event(gst::event::Eos::new()));
    assert_eq!(answer(placed).saved(), 3);
    let mut types = Vec::new();
    common::eventually("the end", || {
        while let Some(event) = gate.harness.try_pull_event() {
            let name = event.structure().map(|structure| structure.name().to_string());
            types.push((event.type_(), name.unwrap_or_default()));
        }
        types.last().is_some_and(|(kind, _)| *kind == gst::EventType::Eos)
    });
    let end = types.iter().position(|(_, name)| name == "swsync-order-end");
    assert!(end.is_some_and(|end| end + 1 < types.len()), "{types:?}");
}

#[test]
fn blocked_downstream_does_not_block_upstream() {
    let rig = rig();
    let pipeline = Pipeline::launch(&format!(
        "appsrc name=s format=time caps={PICTURES} ! \
         swsyncgate name=g ring-bytes=4000 listen=tcp/127.0.0.1:0 rig={rig} device-id=pi ! identity name=i ! fakesink sync=false async=false"
    ));
    let (block, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    pipeline.element("i").static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let _ = wait.lock().unwrap().recv();
        gst::PadProbeReturn::Ok
    });
    pipeline.reach(gst::State::Playing);
    let source = pipeline.element("s");
    let push = |number| {
        let flow: gst::FlowReturn = source.emit_by_name("push-buffer", &[&frame(number, true)]);
        assert_eq!(flow, gst::FlowReturn::Ok);
    };
    push(NOW - 1);
    let placed = place(&rig, burst(NOW, 2000));
    common::eventually("the order is open", || !status(&rig).open.is_empty());
    for number in NOW..NOW + 2010 {
        push(number);
    }
    let gate = pipeline.element("g").static_pad("sink").unwrap();
    let taken = |number: FrameNumber| {
        let (sender, arrived) = std::sync::mpsc::channel();
        gate.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            let _ = sender.send(());
            gst::PadProbeReturn::Ok
        });
        push(number);
        arrived.recv_timeout(Duration::from(PATIENCE)).expect("the gate takes what comes");
    };
    taken(NOW + 2010);
    drop(block);
    let answer = answer(placed);
    assert_eq!(answer.named(), 2000);
    assert!(
        answer.saved() < 2000 && answer.frames.iter().any(|run| run.why().is_some()),
        "lost frames are named"
    );
}

#[cfg_attr(not(feature = "simulation"), ignore = "needs the simulated camera")]
#[test]
fn an_applications_muxer_writes_a_take() {
    if !common::installed("x264enc") || !common::installed("matroskamux") {
        return;
    }
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let file = folder.path().join("take.mkv");
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} {CAMERA} ! queue ! x264enc speed-preset=ultrafast tune=zerolatency ! swsyncgate name=g \
         listen=tcp/127.0.0.1:0 rig={rig} device-id=pi ! matroskamux ! filesink sync=false location={}",
        file.display()
    ));
    pipeline.reach(gst::State::Playing);
    while pipeline.wait_for_structure("swsync-phase").get::<&str>("state") != Ok("locked") {}
    let now = rig_now();
    let answer = answer(place(&rig, burst(grid().nearest(now + Span::from_millis(800)), 30)));
    assert!(answer.saved() > 0, "{answer:?}");
    pipeline.0.send_event(gst::event::Eos::new());
    pipeline.wait_for_eos();
    drop(pipeline);
    let reader = Pipeline::launch(&format!(
        "filesrc location={} ! matroskademux ! fakesink name=f sync=false",
        file.display()
    ));
    reader.reach(gst::State::Playing);
    reader.wait_for_eos();
    let stats: gst::Structure = reader.element("f").property("stats");
    assert!(stats.get::<u64>("rendered").unwrap() >= answer.saved());
}

/// Waits until so many buffers have passed `pad` from now on.
fn wait_for_buffers(pad: &gst::Pad, count: usize) {
    let (sender, passed) = std::sync::mpsc::channel();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| match sender.send(()) {
        Ok(()) => gst::PadProbeReturn::Ok,
        Err(_) => gst::PadProbeReturn::Remove,
    });
    for buffer in 0..count {
        passed
            .recv_timeout(Duration::from(PATIENCE))
            .unwrap_or_else(|_| panic!("only {buffer} buffers pass {}", pad.path_string()));
    }
}

#[cfg_attr(not(feature = "simulation"), ignore = "needs the simulated camera")]
#[test]
fn audio_beside_a_gate_goes_on_without_an_order() {
    // mp4mux keeps a stream's last frame, and takes nothing of another stream before the next frame.
    for (muxer, opens) in [("matroskamux", true), ("mpegtsmux", true), ("mp4mux", false)] {
        if ["x264enc", "opusenc", "h264parse", muxer].iter().any(|name| !common::installed(name)) {
            return;
        }
        let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
        let file = folder.path().join("take");
        let pipeline = Pipeline::launch(&format!(
            "{LEADER} {CAMERA} ! queue ! x264enc speed-preset=ultrafast tune=zerolatency ! h264parse ! swsyncgate \
             listen=tcp/127.0.0.1:0 rig={rig} device-id=pi ! queue ! {muxer} name=m ! \
             filesink sync=false location={} audiotestsrc is-live=true ! opusenc ! queue name=audio ! m.",
            file.display()
        ));
        pipeline.reach(gst::State::Playing);
        let audio = pipeline.element("audio").static_pad("src").unwrap();
        // The queue holds a second of it.
        wait_for_buffers(&audio, 100);
        let mut saved = 0;
        if opens {
            let now = rig_now();
            saved = answer(place(&rig, burst(grid().nearest(now + Span::from_millis(800)), 10))).saved();
            assert!(saved > 0, "{muxer}");
            wait_for_buffers(&audio, 100);
        }
        pipeline.0.send_event(gst::event::Eos::new());
        pipeline.wait_for_eos();
        drop(pipeline);
        if muxer != "matroskamux" {
            continue;
        }
        let reader = Pipeline::launch(&format!(
            "filesrc location={} ! matroskademux name=d d.video_0 ! queue ! fakesink name=video sync=false async=false \
             d.audio_0 ! queue ! fakesink name=audio sync=false async=false",
            file.display()
        ));
        reader.reach(gst::State::Playing);
        reader.wait_for_eos();
        let rendered =
            |name| reader.element(name).property::<gst::Structure>("stats").get::<u64>("rendered").unwrap();
        let (video, audio) = (rendered("video"), rendered("audio"));
        assert!(video >= saved && audio >= 200, "{muxer}: {video} of {saved}, {audio}");
    }
}

#[test]
fn eos_passes_without_any_frame() {
    let pipeline = Pipeline::launch(&format!(
        "appsrc name=s format=time caps={CODED} ! swsyncgate listen=tcp/127.0.0.1:0 rig={} device-id=pi ! \
         fakesink async=false",
        rig()
    ));
    pipeline.reach(gst::State::Playing);
    let flow: gst::FlowReturn = pipeline.element("s").emit_by_name("end-of-stream", &[]);
    assert_eq!(flow, gst::FlowReturn::Ok);
    pipeline.wait_for_eos();
}

#[test]
fn states_go_up_and_down_in_any_order() {
    use gst::State::{Null, Paused, Playing, Ready};
    let pipeline = Pipeline::launch(&format!(
        "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1 ! \
         swsyncgate listen=tcp/127.0.0.1:0 rig={} device-id=pi ! fakesink",
        rig()
    ));
    for state in [Ready, Null, Paused, Ready, Playing, Paused, Playing, Null, Playing, Ready, Null] {
        pipeline.reach(state);
    }
}
