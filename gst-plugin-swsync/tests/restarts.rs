//! A device that is stopped in good order while an order is open, and started again: the order goes on, as after a kill.

#![cfg(feature = "simulation")]

mod common;

use std::time::Duration;

use common::sink::{answer, manifest, place, rig, session, take};
use common::{CAMERA, LEADER, Pipeline};
use gst::prelude::*;
use swsync_core::grid::FrameGrid;
use swsync_core::name::Name;
use swsync_core::order::{Answer, Fill, Order, OrderCommand, OrderKind};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::DeviceOutcome;

fn now() -> Timestamp<Rig> {
    Timestamp::from_nanos(swsync_time::wall_clock().as_nanos())
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Another device, which leads: the rig's time outlives the one that is stopped.
fn leader(rig: &str) -> (Pipeline, String) {
    let leader = Pipeline::launch(&format!("{LEADER} rig={rig}"));
    leader.reach(gst::State::Playing);
    let address = leader.element("c").property("address");
    (leader, address)
}

/// A device of `rig` with files below `folder`, which follows `leader` and plays.
fn device(rig: &str, leader: &str, folder: &tempfile::TempDir, encoder: &str) -> Pipeline {
    let pipeline = Pipeline::launch(&format!(
        "swsyncclock role=client leader={leader} burst=20 bind-address=127.0.0.1 port=0 \
         {CAMERA} ! {encoder} ! swsyncsink device-id=pi rig={rig} listen=tcp/127.0.0.1:0 location={}",
        folder.path().display()
    ));
    pipeline.reach(gst::State::Playing);
    pipeline
}

/// Waits until the device has so many frames of the open order.
fn until_saved(rig: &str, frames: u64) {
    common::eventually("frames are saved", || {
        let reports = session(rig).statuses(Duration::from_secs(2));
        let open = reports.first().and_then(|report| report.status.open.first());
        open.is_some_and(|open| open.saved >= frames)
    });
}

/// Records a take, and stops the device in the middle of it by `stop`. The answer to all of it, and the first one.
fn stopped_in_a_take(encoder: &str, stop: impl Fn(&Pipeline)) -> (Answer, Answer) {
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let (_leader, leader) = leader(&rig);
    let before = device(&rig, &leader, &folder, encoder);
    let kind = OrderKind::Take { segment: None, fill: Fill::None };
    let order = Order::new(name("t"), now() + Span::from_millis(300), None, kind).unwrap();
    let placed = place(&rig, order.clone());
    until_saved(&rig, 20);
    stop(&before);
    drop(before);
    let first = answer(placed);
    assert!(!first.is_complete() && first.unfinished.is_some() && first.saved() >= 20, "{first:?}");
    let part = folder.path().join("t/pi");
    let described = take(&part);
    assert!(!described.complete && manifest(&part).len() as u64 == first.saved(), "{described:?}");
    let covered: u64 = described.segments.iter().map(|segment| segment.count).sum();
    assert!(described.segments.is_empty() || covered <= described.count, "{described:?}");

    let again = device(&rig, &leader, &folder, encoder);
    until_saved(&rig, first.saved() + 20);
    let at_ns = now() + Span::from_millis(200);
    let stop = OrderCommand::Stop { order: name("t"), at_ns };
    assert!(
        session(&rig)
            .command(&stop, order.targets(), Duration::from_secs(10))
            .iter()
            .all(|heard| heard.reply.is_ok())
    );
    let mut ended = order.clone();
    ended.stop_at(at_ns);
    let all = answer(place(&rig, ended.clone()));
    let named = ended.named(FrameGrid::new(30, 1).unwrap()).count().unwrap();
    assert_eq!((all.named(), all.deviation_from(&ended)), (named, None), "the whole order");
    assert!(all.unfinished.is_none() && all.saved() >= first.saved() + 20, "{all:?}");
    let absent =
        all.frames.iter().find(|run| run.why().is_some_and(|why| why.contains("restart of the device")));
    assert!(absent.is_some_and(|run| run.count > 0) && !all.is_complete(), "{all:?}");
    let described = take(&part);
    assert!(described.complete && described.count == named, "{described:?}");
    assert_eq!(manifest(&part).len() as u64, all.saved());
    assert_eq!(described.missing(), named - all.saved(), "{described:?}");

    // What it answered it answers again, to this order and to no other of that name.
    drop(again);
    let last = device(&rig, &leader, &folder, encoder);
    assert_eq!(answer(place(&rig, ended.clone())), all);
    let other = Order::burst(name("t"), now(), 1).unwrap();
    refused(&rig, &other);
    drop(last);

    // Nor does it where only its take remembers.
    std::fs::remove_dir_all(folder.path().join(".swsync")).unwrap();
    let last = device(&rig, &leader, &folder, encoder);
    refused(&rig, &other);
    let known = answer(place(&rig, ended));
    assert_eq!((known.named(), known.saved()), (all.named(), all.saved()), "{known:?}");
    drop(last);
    (all, first)
}

fn refused(rig: &str, order: &Order) {
    let summary = session(rig).place(order, Duration::from_secs(20), |_| {}).unwrap();
    let [DeviceOutcome::Refused { why, .. }] = &summary.outcomes[..] else { panic!("{summary:?}") };
    assert!(why.contains("asked for something else"), "{why}");
}

#[test]
fn pictures_and_the_end_of_the_stream() {
    if common::installed("jpegenc") {
        stopped_in_a_take("jpegenc", |pipeline| {
            pipeline.0.send_event(gst::event::Eos::new());
            pipeline.wait_for_eos();
        });
    }
}

#[test]
fn video_and_the_end_of_the_stream() {
    if common::installed("x264enc") {
        let encoder = "x264enc speed-preset=ultrafast tune=zerolatency key-int-max=3000";
        stopped_in_a_take(encoder, |pipeline| {
            pipeline.0.send_event(gst::event::Eos::new());
            pipeline.wait_for_eos();
        });
    }
}

#[test]
fn video_and_a_pipeline_that_is_simply_stopped() {
    if common::installed("x264enc") {
        stopped_in_a_take("x264enc speed-preset=ultrafast tune=zerolatency key-int-max=3000", |_| {});
    }
}
