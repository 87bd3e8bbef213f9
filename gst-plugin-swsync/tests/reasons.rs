//! The reasons for missing frames in a device's answer and in `take.json` are the true ones.

#![cfg(feature = "simulation")]

mod common;

use std::time::Duration;

use common::own_process::Device;
use common::sink::{answer, place, rig, rig_now, take};
use common::{CAMERA, LEADER, Pipeline};
use gst::prelude::*;
use swsync_core::gap::{GapCause, LOST_DOWNSTREAM, UNKNOWN};
use swsync_core::name::Name;
use swsync_core::order::{Answer, Order};
use swsync_core::time::{Span, Timestamp};

/// An order for `count` frames from half a second from now on.
fn soon(count: u32) -> Order {
    Order::burst(Name::new("o").unwrap(), rig_now() + Span::from_millis(500), count).unwrap()
}

/// A device whose camera has `properties`, with `elements` behind it, and its folder.
fn device(properties: &str, elements: &str) -> (Pipeline, String, tempfile::TempDir) {
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let camera = CAMERA.replace("name=s", &format!("name=s {properties}"));
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} {camera} ! {elements} ! swsyncsink name=sink device-id=pi rig={rig} listen=tcp/127.0.0.1:0 location={}",
        folder.path().display()
    ));
    pipeline.reach(gst::State::Playing);
    (pipeline, rig, folder)
}

/// Each reason in an answer, and for how many frames.
fn reasons(answer: &Answer) -> Vec<(u64, &str)> {
    let mut reasons: Vec<(u64, &str)> = Vec::new();
    for run in answer.frames.iter().filter(|run| run.saved() == 0) {
        let why = run.why().unwrap();
        match reasons.iter_mut().find(|(_, known)| *known == why) {
            Some((count, _)) => *count += run.count,
            None => reasons.push((run.count, why)),
        }
    }
    reasons
}

/// Reasons that a busy machine adds, and a camera that has to be aligned anew: they are true as well.
fn may_occur_anyway(why: &str) -> bool {
    [GapCause::Blocked, GapCause::Stopped, GapCause::HeldBack, GapCause::AlignLonger]
        .iter()
        .any(|cause| cause.why() == why)
}

/// Places an order during which `happens`: frames are missing because of `why`, and for no other reason.
fn missing_because(properties: &str, elements: &str, why: &str, happens: impl FnOnce(&Pipeline)) {
    let (pipeline, rig, folder) = device(properties, elements);
    while pipeline.wait_for_structure("swsync-phase").get::<&str>("state") != Ok("locked") {}
    let placed = place(&rig, soon(120));
    happens(&pipeline);
    let answer = answer(placed);
    let found = reasons(&answer);
    assert!(found.iter().any(|(_, found)| *found == why), "{why}: {found:?}");
    assert!(found.iter().all(|(_, found)| *found == why || may_occur_anyway(found)), "{why}: {found:?}");
    let take = take(&folder.path().join("o/pi"));
    assert!(take.holes.iter().any(|hole| hole.why == why), "{:?}", take.holes);
}

#[test]
fn the_camera_drops_frames() {
    // swsyncsrc knows it by the camera's frame count, and by the times.
    missing_because("simulated-fault=drop@100:3", "identity", GapCause::Camera.why(), |_| {});
    missing_because("simulated-fault=lose@100:3", "identity", GapCause::Camera.why(), |_| {});
}

#[test]
fn the_camera_stands_still() {
    missing_because(
        "simulated-fault=stall@100 on-stall=restart stall-periods=5",
        "identity",
        GapCause::CameraRestarted.why(),
        |_| {},
    );
}

#[test]
fn a_queue_leaks() {
    let elements = "queue leaky=downstream max-size-buffers=1 ! identity sleep-time=80000";
    missing_because("", elements, LOST_DOWNSTREAM, |_| {});
}

#[test]
fn a_source_reports_no_gaps() {
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} videotestsrc is-live=true ! video/x-raw,width=16,height=16,framerate=30/1 ! \
         identity drop-probability=0.3 ! swsyncsink device-id=pi rig={rig} listen=tcp/127.0.0.1:0 location={}",
        folder.path().display()
    ));
    pipeline.reach(gst::State::Playing);
    let answer = answer(place(&rig, soon(60)));
    assert!(reasons(&answer).iter().all(|(_, why)| *why == UNKNOWN) && answer.saved() < 60, "{answer:?}");
}

#[test]
fn the_pipeline_is_paused() {
    missing_because("", "identity", GapCause::Paused.why(), |pipeline| {
        std::thread::sleep(Duration::from_millis(1_500)); // what happens here is that time passes
        pipeline.reach(gst::State::Paused);
        std::thread::sleep(Duration::from_millis(700));
        pipeline.reach(gst::State::Playing);
    });
}

#[test]
fn the_clock_is_set_forward() {
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let camera = CAMERA;
    let pipeline = Pipeline::launch(&format!(
        "{camera} ! swsyncsink device-id=pi rig={rig} listen=tcp/127.0.0.1:0 location={}",
        folder.path().display()
    ));
    let clock: gst::SystemClock =
        gst::glib::Object::builder().property("clock-type", gst::ClockType::Monotonic).build();
    pipeline.0.use_clock(Some(&clock));
    pipeline.reach(gst::State::Playing);
    let now = Timestamp::from_nanos(i64::try_from(clock.time().nseconds()).unwrap());
    let order = Order::burst(Name::new("o").unwrap(), now + Span::from_millis(500), 150).unwrap();
    let placed = place(&rig, order);
    common::eventually("it is in the middle", || folder.path().join("o/pi/frames.jsonl").exists());
    let (internal, external, num, denom) = clock.calibration();
    clock.set_calibration(internal, external + gst::ClockTime::SECOND, num, denom);
    let answer = answer(placed);
    let found = reasons(&answer);
    let (count, _) =
        found.iter().find(|(_, why)| *why == GapCause::Clock.why()).unwrap_or_else(|| panic!("{found:?}"));
    assert!(*count >= 25, "{found:?}");
    assert!(found.iter().all(|(_, why)| *why != GapCause::Camera.why()), "{found:?}");
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn be_a_device() {
    common::own_process::be_a_device();
}

#[test]
fn the_process_is_stopped() {
    use swsync_rig::{RigConfig, Session};
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("tcp/127.0.0.1:{port}");
    let description = format!(
        "{LEADER} {CAMERA} ! swsyncsink device-id=pi rig={rig} listen={endpoint} location={}",
        folder.path().display()
    );
    let device = Device::start(&description);
    let config = RigConfig::new(Name::new(rig.as_str()).unwrap(), Vec::new(), vec![endpoint]);
    let mut session = None;
    common::eventually("the device is there", || {
        session = Session::visit(&config, Duration::from_secs(1)).ok();
        session.is_some()
    });
    let session = session.unwrap();
    let placed =
        std::thread::spawn(move || session.place(&soon(120), Duration::from_secs(60), |_| {}).unwrap());
    common::eventually("it is in the middle", || folder.path().join("o/pi/frames.jsonl").exists());
    device.signal("STOP");
    std::thread::sleep(Duration::from_millis(1_500)); // what happens here is that time passes
    device.signal("CONT");
    let answer = answer(placed);
    let found = reasons(&answer);
    let (count, _) =
        found.iter().find(|(_, why)| *why == GapCause::Stopped.why()).unwrap_or_else(|| panic!("{found:?}"));
    assert!(*count >= 20, "{found:?}");
    assert!(found.iter().all(|(_, why)| *why != GapCause::Camera.why()), "{found:?}");
}
