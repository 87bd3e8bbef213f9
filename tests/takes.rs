//! Takes by rigs of real pipelines: every device's files hold the same frame numbers.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use swsync_core::frame::LockState;
use swsync_core::manifest::{FRAMES_JSONL, FrameRecord, Take};
use swsync_core::time::Span;

use crate::panel;
use crate::process::{Ended, Process, built, command, despite_drops, poll};
use crate::rig::{Lab, Rig};

/// Encoded video, from the same cameras.
const VIDEO: &str = "swsyncsrc ! videoconvert ! x264enc speed-preset=ultrafast tune=zerolatency";

/// The same, at a quality at which the panel can be read.
const PANEL: &str =
    "swsyncsrc ! videoconvert ! x264enc speed-preset=ultrafast tune=zerolatency pass=quant quantizer=10";

/// Longer than any command here takes that waits for answers.
const PATIENCE: Duration = Duration::from_secs(150);

#[test]
fn a_take_of_pictures_has_the_same_frame_numbers_on_every_device() {
    let lab = Lab::alone();
    let rig = lab.rig(&["left"]);
    let take = despite_drops(|| record(&rig, &["--for", "2s", "--segment", "1s"]));
    assert_eq!(take.count, 60, "two seconds of 30 frames each: {take:?}");
}

#[test]
fn a_take_of_video_is_cut_at_the_same_frames_on_every_device() {
    let lab = Lab::alone();
    let leader = lab.leader().simulated(1).frames(VIDEO).start();
    let left = lab.client("left").simulated(2).frames(VIDEO).start();
    let mut rig = Rig::with(&lab, vec![leader, left]);
    rig.wait_until_ready(LockState::Locked);
    let take = despite_drops(|| record(&rig, &["--for", "2s", "--segment", "1s"]));
    let cuts: Vec<_> = take.segments.iter().map(|segment| (segment.first, segment.count)).collect();
    assert_eq!(cuts, [(take.first, 30), (take.first + 30, 30)], "{take:?}");
}

#[test]
fn a_take_goes_on_until_it_is_stopped_from_elsewhere() {
    let lab = Lab::alone();
    let rig = lab.rig(&["left"]);
    let none = rig.swsync(&["stop"]).wait();
    assert_eq!(none.code, Some(5), "nothing is to be stopped: {none:#?}");
    let mut attempt = 0;
    despite_drops(|| {
        attempt += 1;
        let id = format!("endless{attempt}");
        let given = rig.swsync(&["record", "--detach", "--id", &id]).wait();
        assert_eq!(given.code, Some(0), "{given:#?}");
        assert!(given.out.contains(&format!("until `swsync stop {id}`")), "{given:#?}");
        poll("the take is under way everywhere", || {
            let statuses = rig.statuses();
            let begun = |open: &swsync_core::order::Progress| open.order.as_str() == id && open.saved >= 10;
            let all = statuses.len() == 2 && statuses.iter().all(|status| status.open.iter().any(begun));
            all.then_some(())
        });
        // So far ahead that every device hears of it by then, however busy the machine is.
        let stopped = rig.swsync(&["stop", "--in", "8s", "--json"]).wait_for_up_to(PATIENCE);
        let take = agreed(&lab, &id, &stopped)?;
        assert!(take.count >= 10, "{take:?}");
        Some(())
    });
}

#[test]
fn whoever_records_learns_that_the_take_was_stopped_elsewhere() {
    let lab = Lab::alone();
    let rig = lab.rig(&["left"]);
    let recording = rig.swsync(&["record", "--id", "attended"]);
    poll("the take is with all", || {
        let statuses = rig.statuses();
        (statuses.len() == 2 && statuses.iter().all(|status| status.open.len() == 1)).then_some(())
    });
    let stopped = rig.swsync(&["stop", "--in", "8s", "--json"]).wait_for_up_to(PATIENCE);
    agreed(&lab, "attended", &stopped);
    let recorded = recording.wait_for_up_to(PATIENCE);
    assert_eq!(recorded.code, stopped.code, "{recorded:#?} {stopped:#?}");
}

#[test]
fn a_take_that_is_cancelled_before_it_begins_leaves_nothing() {
    let lab = Lab::alone();
    let rig = lab.rig(&["left"]);
    for length in [&[][..], &["--for", "1s"]] {
        let args = [&["record", "--detach", "--in", "1h", "--id", "never"], length].concat();
        // An id is for one order: each has its own.
        let id = format!("never{}", length.len());
        let args: Vec<_> = args.into_iter().map(|arg| if arg == "never" { &*id } else { arg }).collect();
        let given = rig.swsync(&args).wait();
        assert_eq!(given.code, Some(0), "{given:#?}");
        let cancelled = rig.swsync(&["cancel"]).wait();
        assert_eq!(cancelled.code, Some(0), "every device has let go of it: {cancelled:#?}");
        assert!(!cancelled.out.contains("\nall saved"), "{cancelled:#?}");
        assert!(!lab.path("shots").join(&id).exists(), "{cancelled:#?}");
        let again = rig.swsync(&["cancel", &id]).wait();
        assert_eq!(again.code, Some(5), "it is open no more: {again:#?}");
    }
}

#[test]
fn an_armed_order_goes_if_enough_devices_are_ready() {
    let lab = Lab::alone();
    let mut rig = lab.rig(&["left"]);
    let go = despite_drops(|| record(&rig, &["--for", "500ms", "--arm=40s"]));
    assert_eq!(go.count, 15);

    let uncontrolled = "videotestsrc is-live=true ! video/x-raw,width=96,height=64,framerate=30/1 ! jpegenc";
    rig.add(lab.client("webcam").simulated(3).frames(uncontrolled).start());
    poll("the third device has frames", || {
        let statuses = rig.statuses();
        let there = statuses.iter().filter(|status| status.frames.is_some()).count();
        (statuses.len() == 3 && there == 3).then_some(())
    });
    let refused = rig.swsync(&["record", "--for", "500ms", "--id", "refused", "--arm=1s", "--json"]).wait();
    assert_eq!(refused.code, Some(4), "{refused:#?}");
    let json: Value = serde_json::from_str(&refused.out).unwrap();
    let webcam = json["devices"].as_array().unwrap().iter().find(|device| device["device"] == "webcam");
    let problems = webcam.unwrap()["problems"].to_string();
    assert!(
        json["ready"] == false && problems.contains("whether its camera is on the grid is not known"),
        "{json:#}"
    );
    let said = rig.swsync(&["shoot", "--id", "refused", "--arm=0s", "--to", "webcam,ghost"]).wait();
    said.assert_failed(
        4,
        &[
            "whether its camera is on the grid is not known",
            "ghost",
            "it is not in the rig",
            "NOT given: 0 of 2 devices",
        ],
    );
    assert!(!lab.path("shots/refused").exists(), "nothing was ordered");

    let quorum = rig
        .swsync(&["record", "--for", "500ms", "--id", "quorum", "--arm=40s", "--need", "2"])
        .wait_for_up_to(PATIENCE);
    assert!(matches!(quorum.code, Some(0 | 1)), "{quorum:#?}");
    assert!(lab.path("shots/quorum").exists(), "{quorum:#?}");
}

#[test]
fn exported_videos_show_one_instant_in_each_picture() {
    let lab = Lab::alone();
    let leader = lab.leader().simulated(1).frames(PANEL).start();
    let left = lab.client("left").simulated(2).frames(PANEL).start();
    let mut rig = Rig::with(&lab, vec![leader, left]);
    rig.wait_until_ready(LockState::Locked);
    poll("two seconds of frames are there", || {
        let frames: Vec<_> = rig.statuses().into_iter().filter_map(|status| status.frames).collect();
        (frames.len() == 2 && frames.iter().all(|frames| frames.ring_frames >= 70)).then_some(())
    });
    // Of the past: each device's files begin with what its own encoder's last key frame was.
    let take = despite_drops(|| record(&rig, &["--last", "1500ms", "--segment", "1s"]));
    let (shots, out) = (lab.path("shots").join(take.order.as_str()), lab.path("cut"));
    let mut export = command(built("swsync"));
    export.args(["export", "video"]).arg(&shots).arg("-o").arg(&out);
    let exported = Process::start("swsync-export", &lab.path(""), &mut export).wait();
    assert_eq!(exported.code, Some(0), "{exported:#?}");

    let numbers: Vec<_> = (take.first..take.first + take.count).collect();
    let devices = ["leader", "left"].map(|device| {
        let manifest = fs::read_to_string(shots.join(device).join(FRAMES_JSONL)).unwrap();
        let infos: Vec<_> = manifest.lines().map(|line| FrameRecord::from_line(line).unwrap().info).collect();
        assert!(infos.iter().map(|info| info.number).eq(numbers.iter().copied()));
        let video = out.join(take.order.as_str()).join(format!("{device}.mp4"));
        let pictures = lab.path(device).join("pictures");
        fs::create_dir_all(&pictures).unwrap();
        let mut decode = command("gst-launch-1.0");
        let line = format!(
            "filesrc location={} ! decodebin ! videoconvert ! jpegenc quality=95 ! multifilesink location={}/%d.jpg",
            video.display(),
            pictures.display()
        );
        let decoded = Process::start("decode", &lab.path(""), decode.args(line.split_whitespace())).wait();
        assert_eq!(decoded.code, Some(0), "{decoded:#?}");
        assert_eq!(fs::read_dir(&pictures).unwrap().count() as u64, take.count, "{device}");
        (pictures, infos)
    });
    for index in 0..numbers.len() {
        let path = |of: &(std::path::PathBuf, Vec<_>)| of.0.join(format!("{index}.jpg"));
        let paths = devices.each_ref().map(path);
        let pictures = paths.iter().zip(&devices).map(|(path, (_, infos))| (path.as_path(), &infos[index]));
        let apart = panel::spread(pictures);
        assert!(apart < Span::from_millis(1), "pictures {index} are {apart:?} apart");
    }
}

/// Records a take, and returns what the devices agree on of it; `None` where one has not all of its frames.
fn record(rig: &Rig<'_>, args: &[&str]) -> Option<Take> {
    let args = [&["record", "--json"], args].concat();
    let ended = rig.swsync(&args).wait_for_up_to(PATIENCE);
    let json: Value = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:#?}"));
    agreed(rig.lab(), json["order"].as_str().unwrap(), &ended)
}

/// What stands in both devices' folders must agree with each other and with the command's exit code.
fn agreed(lab: &Lab, id: &str, ended: &Ended) -> Option<Take> {
    let [one, other] = ["leader", "left"].map(|device| {
        let folder = lab.path("shots").join(id).join(device);
        let take = fs::read(folder.join("take.json")).unwrap_or_else(|e| panic!("{device}: {e}: {ended:#?}"));
        let take = Take::from_json(&take).unwrap();
        assert!(take.complete && take.count > 0, "{device}: {take:?}");
        let manifest = fs::read_to_string(folder.join(FRAMES_JSONL)).unwrap();
        let mut numbers: Vec<_> =
            manifest.lines().map(|line| FrameRecord::from_line(line).unwrap().info.number).collect();
        numbers.extend(take.holes.iter().flat_map(|hole| hole.first..hole.first + hole.count));
        numbers.sort_unstable();
        let all: Vec<_> = (take.first..take.first + take.count).collect();
        assert_eq!(numbers, all, "{device} has a frame or a hole for every number: {take:?}");
        take
    });
    assert_eq!((one.first, one.count), (other.first, other.count), "{ended:#?}");
    let cuts = |take: &Take| take.segments.iter().map(|s| (s.first, s.count)).collect::<Vec<_>>();
    assert_eq!(cuts(&one), cuts(&other), "{ended:#?}");
    let whole = one.holes.is_empty() && other.holes.is_empty();
    assert_eq!(ended.code, Some(i32::from(!whole)), "{ended:#?}");
    whole.then_some(one)
}
