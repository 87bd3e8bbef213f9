//! libcamera, with the virtual camera that `./x` sets up in its root. What its pictures show proves
//! nothing of time, and its phase cannot be controlled; its pace and its numbers can be checked.

use swsync_core::frame::LockState;
use swsync_core::time::Span;

use crate::process::despite_drops;
use crate::rig::{Lab, Rig};
use crate::shots::{assert_only_whole_files, files_below, saved};

#[test]
fn a_virtual_camera_streams_at_the_negotiated_pace() {
    if !crate::is_set("SWSYNC_VIRTUAL_CAMERA", "libcamera's virtual camera, which ./x sets up in its root") {
        return;
    }
    let lab = Lab::alone();
    let leader = || {
        lab.leader()
            .camera("backend=libcamera")
            .env("SWSYNC_FORMAT", "video/x-raw,width=640,height=480,framerate=30/1")
            .start()
    };
    // This camera starts at any phase. Where that is half a period off, its jitter has every other frame
    // on one side of the border between two numbers or the other, which are then missed as if dropped.
    let frames = despite_drops(|| {
        let mut rig = Rig::of(&lab, leader());
        rig.wait_until_ready(LockState::Free);
        let shot = rig.shoot(&["--count", "30"]);
        if shot.has_drops() {
            return None;
        }
        assert_eq!(shot.code, Some(0), "{shot:?}");
        Some(saved(shot.frames("leader")))
    });
    let first = frames[0].1;
    let numbers: Vec<_> = frames.iter().map(|(_, info)| info.number).collect();
    assert_eq!(numbers, (first.number..first.number + 30).collect::<Vec<_>>());
    let mut intervals: Vec<_> =
        frames.windows(2).map(|pair| pair[1].1.rig_time_ns - pair[0].1.rig_time_ns).collect();
    intervals.sort_unstable();
    let error = intervals[intervals.len() / 2] - Span::from_nanos(33_333_333);
    assert!(error.abs() < Span::from_millis(2), "{intervals:?} from frame to frame");
    assert_only_whole_files(&files_below(&lab.path("shots")));
}
