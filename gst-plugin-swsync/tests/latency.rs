//! Orders for frames that arrive long after they were taken: encoders with lookahead, exposures of seconds.

#![cfg(feature = "simulation")]

mod common;

use common::sink::{answer, place, rig, rig_now};
use common::{LEADER, Pipeline};
use swsync_core::grid::FrameGrid;
use swsync_core::name::Name;
use swsync_core::order::Order;
use swsync_core::time::Span;

/// Has a burst of `count` frames saved that begins `ahead` from now, behind these elements.
fn shoot(source: &str, rate: (u32, u32), elements: &str, count: u32, ahead: Span) {
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let (frames, seconds) = rate;
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} {source} ! video/x-raw,width=160,height=120,framerate={frames}/{seconds} ! {elements} ! \
         swsyncsink listen=tcp/127.0.0.1:0 rig={rig} device-id=pi location={}",
        folder.path().display()
    ));
    pipeline.reach(gst::State::Playing);
    let grid = FrameGrid::new(frames, seconds).unwrap();
    // A busy machine drops frames, and the answer says so.
    common::eventually(elements, || {
        let now = rig_now();
        let id = Name::new(format!("o{}", now.as_nanos())).unwrap();
        let first = grid.instant(grid.nearest(now + ahead));
        let answer = answer(place(&rig, Order::burst(id, first, count).unwrap()));
        if !answer.is_complete() {
            eprintln!(
                "{elements}: {:?}",
                answer.frames.iter().filter_map(|run| run.why()).collect::<Vec<_>>()
            );
        }
        answer.is_complete()
    });
}

#[test]
fn orders_wait_for_an_encoder_with_lookahead() {
    if common::installed("x264enc") {
        // By default it holds more than 40 frames: over 2.7 s.
        shoot(
            "swsyncsrc backend=simulated",
            (15, 1),
            "videoconvert ! queue ! x264enc",
            10,
            Span::from_millis(500),
        );
    }
}

#[test]
fn orders_wait_for_long_exposures() {
    // The simulated sensor exposes for less than two seconds. The queue stands for a longer exposure: it passes a frame
    // on when the next has begun, and states no latency.
    let exposure = "queue min-threshold-time=2000000000 ! jpegenc";
    shoot("videotestsrc is-live=true", (1, 3), exposure, 1, Span::from_secs(4));
}
