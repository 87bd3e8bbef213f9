//! Encoded frames that are lost before `swsyncsink`, and parameter sets in buffers of their own.

mod common;

use common::coded::H264;
use common::sink::{Sink, answer, grid, manifest, place, rig, rig_now, take};
use common::{LEADER, Pipeline};
use gst::prelude::*;
use swsync_core::gap::LOST_AFTER_ENCODER;
use swsync_core::name::Name;
use swsync_core::order::{Fill, Order, OrderKind};

fn order(first: u64, frames: u64) -> Order {
    let kind = OrderKind::Take { segment: None, fill: Fill::None };
    let (at, stop) = (grid().instant(first), Some(grid().instant(first + frames)));
    Order::new(Name::new("t").unwrap(), at, stop, kind).unwrap()
}

/// A leaky queue drops encoded frames.
#[test]
fn after_a_dropped_frame_there_is_a_hole_until_the_requested_key_frame() {
    if !common::installed(H264.element) {
        return;
    }
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    // identity is slow for about a second of the take.
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! queue ! \
         {} ! queue name=q leaky=downstream max-size-buffers=1 ! identity name=i sleep-time=0 ! swsyncsink \
         listen=tcp/127.0.0.1:0 rig={rig} device-id=pi location={}",
        H264.encoder,
        folder.path().display()
    ));
    pipeline.reach(gst::State::Playing);
    let identity = pipeline.element("i");
    let now = || grid().nearest(rig_now());
    let first = now() + 45;
    let placed = place(&rig, order(first, 150));
    common::eventually("the take has begun", || now() >= first + 20);
    identity.set_property("sleep-time", 100_000_u32);
    common::eventually("frames were dropped", || now() >= first + 50);
    identity.set_property("sleep-time", 0_u32);
    let answer = answer(placed);
    drop(pipeline);
    let folder = folder.path().join("t/pi");
    let (take, records) = (take(&folder), manifest(&folder));
    assert_eq!(records.len() as u64, answer.saved());
    let mut pictures = 0;
    for segment in &take.segments {
        let file = folder.join(&segment.file);
        let played = H264.play(&file);
        assert_eq!(H264.decode(&file), played.pictures, "all saved frames decode");
        pictures += played.pictures;
    }
    assert_eq!(pictures, records.len());
    let why = |number| take.why_missing(number);
    let lost: Vec<_> =
        (first..first + 150).filter(|number| why(*number) == Some(LOST_AFTER_ENCODER)).collect();
    let useless = (first..first + 150)
        .filter(|n| why(*n).is_some_and(|why| why.contains("it builds on a frame")))
        .count();
    assert!(lost.len() > 5 && useless > 0, "{take:?}");
    assert!(!take.holes.iter().any(|hole| hole.why.contains("the camera")), "{take:?}");
    // The encoder makes a key frame by itself only every 100 s.
    let last = *lost.last().unwrap();
    let again = records.iter().map(|record| record.info.number).find(|number| *number > last);
    let again = again.expect("it goes on with the requested key frame");
    assert!(again < last + 45, "{again} after {last}");
}

const H264_CAPS: &str =
    "video/x-h264,stream-format=byte-stream,alignment=au,width=160,height=120,framerate=30/1";

#[test]
fn a_key_frame_is_requested_after_a_loss_even_without_an_order() {
    let mut sink = Sink::reopen(tempfile::tempdir().unwrap(), &rig(), H264_CAPS, |_, _| {});
    let now = common::sink::NOW;
    let push = |sink: &mut Sink, number: u64, is_key: bool, is_apart: bool| {
        let mut buffer = common::sink::frame(number, is_key);
        if is_apart {
            buffer.make_mut().set_flags(gst::BufferFlags::DISCONT);
        }
        sink.harness.push(buffer).unwrap();
    };
    let asked = |sink: &mut Sink| {
        let events = std::iter::from_fn(|| sink.harness.try_pull_upstream_event());
        events.filter(|event| gst_video::UpstreamForceKeyUnitEvent::parse(event).is_ok()).count()
    };
    push(&mut sink, now, true, true);
    push(&mut sink, now + 1, false, false);
    assert_eq!(asked(&mut sink), 0);
    push(&mut sink, now + 3, false, true);
    push(&mut sink, now + 4, false, false);
    assert_eq!(asked(&mut sink), 1);
    (5..40).for_each(|number| push(&mut sink, now + number, false, false));
    assert_eq!(asked(&mut sink), 1, "again after a second without a key frame");
    push(&mut sink, now + 40, true, false);
    push(&mut sink, now + 41, false, false);
    assert_eq!(asked(&mut sink), 0);
}

/// Hardware encoders send them once, before the first frame.
#[test]
fn parameter_sets_in_a_buffer_of_their_own_belong_to_the_next_frame() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = Sink::reopen(folder, &rig(), H264_CAPS, |element, folder| {
        element
            .set_property("location", format!("{}/{{take}}/{{device}}/{{segment}}.h264", folder.display()));
    });
    let now = common::sink::NOW;
    let parameters = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3];
    let coded = |number: u64, unit: u8| {
        let mut buffer = common::sink::frame(number, unit == 0x65);
        let bytes = gst::Buffer::from_slice([0, 0, 0, 1, unit, 9]);
        let writable = buffer.make_mut();
        writable.remove_all_memory();
        writable.append_memory(bytes.peek_memory(0).to_owned());
        buffer
    };
    let mut header = gst::Buffer::from_slice(parameters);
    header.make_mut().set_flags(gst::BufferFlags::HEADER);
    header.make_mut().set_pts(common::sink::pts_of(now - 3));
    sink.harness.push(header).unwrap();
    for (number, unit) in [(now - 3, 0x65), (now - 2, 0x41), (now - 1, 0x41)] {
        sink.harness.push(coded(number, unit)).unwrap();
    }
    let answer = answer(sink.place(order(now - 3, 3)));
    assert!(answer.is_complete() && answer.named() == 3, "{answer:?}");
    let bytes = std::fs::read(sink.order("t").join("0000.h264")).unwrap();
    let slice = |unit| vec![0, 0, 0, 1, unit, 9];
    assert_eq!(bytes, [parameters.to_vec(), slice(0x65), slice(0x41), slice(0x41)].concat());
    let offsets: Vec<_> = manifest(&sink.order("t")).iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [0, 1, 2]);
}

#[test]
fn buffers_with_parts_of_frames_are_refused_with_a_remedy() {
    if !common::installed("h264parse") {
        return;
    }
    let run = |behind: &str| -> Result<(), String> {
        let pipeline = Pipeline::launch(&format!(
            "{LEADER} videotestsrc is-live=true num-buffers=30 ! video/x-raw,width=160,height=120,framerate=30/1 ! x264enc \
             tune=zerolatency ! h264parse ! video/x-h264,stream-format=byte-stream,alignment=nal ! {behind} swsyncsink listen=tcp/127.0.0.1:0 rig={} \
             location={}",
            rig(),
            std::env::temp_dir().join("swsync-test-nal").display(),
        ));
        pipeline.0.set_state(gst::State::Playing).map_err(|_| pipeline.error())?;
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = pipeline.bus().timed_pop_filtered(common::PATIENCE, &kinds).expect("an end");
        match message.view() {
            gst::MessageView::Error(error) => Err(error.error().to_string()),
            _ => Ok(()),
        }
    };
    if common::installed("x264enc") {
        let remedy = "h264parse ! video/x-h264,stream-format=byte-stream,alignment=au";
        let error = run("").unwrap_err();
        assert!(error.contains(remedy), "{error}");
        assert_eq!(run(&format!("{remedy} !")), Ok(()), "the remedy helps");
    }
}
