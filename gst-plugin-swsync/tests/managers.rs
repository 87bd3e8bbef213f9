//! swsync beside libcamera's own GStreamer plugin. A second camera manager would abort the process, so each case runs in a
//! process of its own.
//!
//! Without that plugin (Debian: gstreamer1.0-libcamera) or libcamera's virtual cameras each test says so and passes.

#![cfg(feature = "libcamera")]

mod common;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use common::{Pipeline, init, installed};
use gst::prelude::*;

/// Environment variable that tells a child process which case to run.
const CASE: &str = "SWSYNC_TEST_CASE";

const OURS: &str = "swsyncsrc camera-name=Virtual0 align-method=none ! fakesink";
const THEIRS: &str = "libcamerasrc camera-name=Virtual1 ! fakesink";

fn monitor() -> gst::DeviceMonitor {
    let monitor = gst::DeviceMonitor::new();
    monitor.add_filter(Some("Video/Source"), None).expect("libcamera has a provider");
    monitor
}

/// How many cameras libcamera's own provider lists.
fn listed_by(monitor: &gst::DeviceMonitor) -> usize {
    monitor.start().unwrap();
    let listed =
        monitor.devices().iter().filter(|device| device.type_().name() == "GstLibcameraDevice").count();
    monitor.stop();
    listed
}

fn our_provider() -> gst::DeviceProvider {
    gst::DeviceProviderFactory::find("swsyncdeviceprovider").and_then(|factory| factory.get()).unwrap()
}

fn listed_by_ours() -> usize {
    our_provider().devices().len()
}

fn a_monitor_beside_a_playing_swsyncsrc() {
    let before = monitor();
    let all = listed_by(&before);
    assert!(all >= 2, "{all}");
    let ours = Pipeline::launch(OURS);
    ours.reach(gst::State::Playing);
    // One monitor was made before, one is made now.
    assert_eq!((listed_by(&before), listed_by(&monitor())), (0, 0), "theirs must not start");
    assert_eq!(listed_by_ours(), all);
    ours.reach(gst::State::Null);
    assert_eq!((listed_by(&before), listed_by_ours()), (all, all));
}

fn swsyncsrc_beside_libcamerasrc() {
    let theirs = Pipeline::launch(THEIRS);
    theirs.reach(gst::State::Ready);
    let ours = Pipeline::launch(OURS);
    let error = ours.try_reach(gst::State::Playing).unwrap_err();
    for part in ["libcamerasrc", "one camera manager", "swsyncsrc for all"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(listed_by_ours(), 0);
    assert_ne!(listed_by(&monitor()), 0, "theirs share their own");
    let provider = our_provider();
    provider.start().unwrap();
    provider.stop();
    theirs.reach(gst::State::Null);
    ours.reach(gst::State::Null);
    ours.reach(gst::State::Playing);
}

fn libcamerasrc_beside_swsyncsrc() {
    let ours = Pipeline::launch(OURS);
    ours.reach(gst::State::Playing);
    let theirs = Pipeline::launch(THEIRS);
    let error = theirs.try_reach(gst::State::Ready).unwrap_err();
    for part in ["swsync's elements have libcamera", "Use swsyncsrc"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    ours.reach(gst::State::Null);
    theirs.reach(gst::State::Null);
    theirs.reach(gst::State::Ready);
}

/// Both start and end again and again, at any moment: neither may make its manager between the other's check and its manager.
fn both_at_the_same_time() {
    let (done, all) = (AtomicBool::new(false), listed_by_ours());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let listed = listed_by(&monitor());
                assert!([0, all].contains(&listed), "{listed}");
            }
        });
        for _ in 0..30 {
            let ours = Pipeline::launch(OURS);
            // One of them has it.
            let _ = ours.0.set_state(gst::State::Ready);
            let _ = ours.0.set_state(gst::State::Paused);
        }
        done.store(true, Ordering::Relaxed);
    });
}

const CASES: [(&str, fn()); 4] = [
    ("monitor", a_monitor_beside_a_playing_swsyncsrc),
    ("ours-second", swsyncsrc_beside_libcamerasrc),
    ("theirs-second", libcamerasrc_beside_swsyncsrc),
    ("both", both_at_the_same_time),
];

#[test]
#[ignore = "run by others, as a process of its own"]
fn be_a_case() {
    let Ok(name) = std::env::var(CASE) else { return };
    init();
    let (_, case) = CASES.into_iter().find(|(known, _)| *known == name).unwrap();
    case();
}

/// Runs a case; one that aborts fails the test.
fn survives(name: &str) {
    /// A camera has one user at a time.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    init();
    if !installed("libcamerasrc") {
        return;
    }
    let cameras = gstswsync::camera::libcamera::list().unwrap();
    if !["Virtual0", "Virtual1"].iter().all(|id| cameras.iter().any(|camera| camera.id == *id)) {
        eprintln!("skipped: libcamera has no Virtual0 and Virtual1, but {cameras:?}");
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "be_a_case", "--ignored", "--nocapture"])
        .env(CASE, name)
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{}: {said}{errors}", output.status);
}

#[test]
fn a_device_monitor_beside_swsyncsrc_does_not_abort() {
    survives("monitor");
}

#[test]
fn swsyncsrc_beside_libcamerasrc_is_an_error() {
    survives("ours-second");
}

#[test]
fn libcamerasrc_beside_swsyncsrc_is_an_error() {
    survives("theirs-second");
}

#[test]
fn concurrent_starts_do_not_abort() {
    survives("both");
}
