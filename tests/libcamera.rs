//! A rig with libcamera's virtual camera, which `./x` sets up in its root. Its pictures show no time, and its phase cannot be
//! controlled. The test checks its frame rate and its frame numbers.

use std::path::PathBuf;

use swsync_core::frame::{FrameInfo, LockState};
use swsync_core::time::Span;

use crate::process::retry_on_drops;
use crate::rig::{Rig, TestBed, is_saved_or_dropped};
use crate::shots::{assert_only_complete_files, files_below, saved};

#[test]
fn a_virtual_camera_streams_at_the_negotiated_rate() {
    if !crate::is_set("SWSYNC_VIRTUAL_CAMERA", "libcamera's virtual camera, which ./x sets up in its root") {
        return;
    }
    let bed = TestBed::exclusive();
    let leader = || {
        bed.leader()
            // Not the camera that tests/cameras.rs opens meanwhile.
            .camera("backend=libcamera camera-name=Virtual1")
            // Real cameras are timestamped by the host, whatever clock the device simulates.
            .env("SWSYNC_SIMULATED_CLOCK", "offset=100s,skew=30ppm")
            .env("SWSYNC_FORMAT", "video/x-raw,width=640,height=480,framerate=30/1")
            .start()
    };
    // This camera starts at any phase, and its timing depends on the machine's scheduler. If it is half a period off, its
    // jitter puts frames on either side of the border between two numbers.
    retry_on_drops(|| {
        let mut rig = Rig::of(&bed, leader());
        rig.wait_until_ready(LockState::Free);
        let shot = rig.shoot(&["--count", "30"]);
        let frames = shot.frames("leader");
        let numbers: Vec<_> = frames.iter().map(|frame| frame.first).collect();
        let first = numbers[0];
        assert_eq!(numbers, (first..first + 30).collect::<Vec<_>>());
        assert!(frames.iter().all(|frame| is_saved_or_dropped(&frame.outcome)), "{shot:?}");
        let saved = saved(frames);
        let error = median_interval(&saved)? - Span::from_nanos(33_333_333);
        println!("{} of 30 saved, their median interval is {error:?} off", saved.len());
        (saved.len() >= 20 && error.abs() < Span::from_millis(4)).then_some(())
    });
    assert_only_complete_files(&files_below(&bed.path("shots")));
}

/// The median time between frames of consecutive numbers.
fn median_interval(frames: &[(PathBuf, FrameInfo)]) -> Option<Span> {
    let neighbours = frames.windows(2).filter(|pair| pair[1].1.number == pair[0].1.number + 1);
    let mut intervals: Vec<_> =
        neighbours.map(|pair| pair[1].1.rig_time_ns - pair[0].1.rig_time_ns).collect();
    intervals.sort_unstable();
    intervals.get(intervals.len() / 2).copied()
}
