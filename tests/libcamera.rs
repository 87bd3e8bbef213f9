//! libcamera, with the virtual camera that `./x` sets up in its root. What its pictures show proves
//! nothing of time, and its phase cannot be controlled; its pace and its numbers can be checked.

use swsync_core::manifest::LockState;
use swsync_core::time::Span;

use crate::rig::{Lab, Rig};
use crate::shots::{assert_only_whole_files, files_below, saved};

#[test]
fn a_virtual_camera_streams_at_the_negotiated_pace() {
    if !crate::is_set("SWSYNC_VIRTUAL_CAMERA", "libcamera's virtual camera, which ./x sets up in its root") {
        return;
    }
    let lab = Lab::alone();
    let leader = lab
        .leader()
        .camera("backend=libcamera")
        .env("SWSYNC_FORMAT", "video/x-raw,width=640,height=480,framerate=30/1");
    let mut rig = Rig::of(&lab, leader.start());
    rig.wait_until_ready(LockState::Free);

    let shot = rig.shoot(&["--count", "30"]);
    assert_eq!(shot.code, Some(0), "{shot:#?}");
    let frames = saved(shot.frames("leader"));
    let first = frames[0].1;
    let numbers: Vec<_> = frames.iter().map(|(_, info)| info.number).collect();
    assert_eq!(numbers, (first.number..first.number + 30).collect::<Vec<_>>());
    let mean = (frames[29].1.rig_time_ns - first.rig_time_ns) / 29;
    let error = mean - Span::from_nanos(33_333_333);
    assert!(error.abs() < Span::from_millis(1), "{mean:?} from frame to frame");
    assert_only_whole_files(&files_below(&lab.path("shots")));
}
