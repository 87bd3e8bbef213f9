//! Takes with rigs of real pipelines: every device's files contain the same frame numbers.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use swsync_core::frame::LockState;
use swsync_core::manifest::{FRAMES_JSONL, FrameRecord, Take};
use swsync_core::order::OrderProgress;
use swsync_core::time::Span;

use crate::panel;
use crate::process::{COMMAND_TIMEOUT, Ended, Process, command, poll, retry_on_drops};
use crate::rig::{Rig, TestBed};

/// Encodes the frames of the simulated cameras as H.264.
const VIDEO: &str = "swsyncsrc ! videoconvert ! x264enc speed-preset=ultrafast tune=zerolatency";

/// The same, at a quality that keeps the LED panel readable.
const PANEL: &str =
    "swsyncsrc ! videoconvert ! x264enc speed-preset=ultrafast tune=zerolatency pass=quant quantizer=10";

#[test]
fn a_take_of_pictures_has_the_same_frame_numbers_on_every_device() {
    let bed = TestBed::exclusive();
    let rig = bed.rig(&["left"]);
    let take = retry_on_drops(|| record(&rig, &["--for", "2s", "--segment", "1s"]));
    assert_eq!(take.count, 60, "two seconds of 30 frames each: {take:?}");
}

#[test]
fn a_take_of_video_is_cut_at_the_same_frames_on_every_device() {
    let bed = TestBed::exclusive();
    let leader = bed.leader().simulated(1).frames(VIDEO).start();
    let left = bed.client("left").simulated(2).frames(VIDEO).start();
    let mut rig = Rig::with(&bed, vec![leader, left]);
    rig.wait_until_ready(LockState::Locked);
    let take = retry_on_drops(|| record(&rig, &["--for", "2s", "--segment", "1s"]));
    let cuts: Vec<_> = take.segments.iter().map(|segment| (segment.first, segment.count)).collect();
    assert_eq!(cuts, [(take.first, 30), (take.first + 30, 30)], "{take:?}");
}

#[test]
fn a_detached_take_continues_until_swsync_stop() {
    let bed = TestBed::exclusive();
    let rig = bed.rig(&["left"]);
    let none = rig.swsync(&["stop"]).wait();
    assert_eq!(none.code, Some(5), "there is nothing to stop: {none:#?}");
    let mut attempt = 0;
    retry_on_drops(|| {
        attempt += 1;
        let id = format!("endless{attempt}");
        let given = rig.swsync(&["record", "--detach", "--id", &id]).wait();
        assert_eq!(given.code, Some(0), "{given:#?}");
        assert!(given.out.contains(&format!("until `swsync stop {id}`")), "{given:#?}");
        poll("the take is under way everywhere", || {
            let statuses = rig.statuses();
            let begun = |open: &OrderProgress| open.order.as_str() == id && open.saved >= 10;
            let all = statuses.len() == 2 && statuses.iter().all(|status| status.open.iter().any(begun));
            all.then_some(())
        });
        // 8 s ahead: by then every device has the stop, however busy the machine is.
        let stopped = rig.swsync(&["stop", "--in", "8s", "--json"]).wait_for_up_to(COMMAND_TIMEOUT);
        let take = checked_take(&bed, &id, &stopped)?;
        assert!(take.count >= 10, "{take:?}");
        Some(())
    });
}

#[test]
fn the_record_command_ends_with_the_result_when_another_one_stops_the_take() {
    let bed = TestBed::exclusive();
    let rig = bed.rig(&["left"]);
    let recording = rig.swsync(&["record", "--id", "attended"]);
    poll("all devices have the order", || {
        let statuses = rig.statuses();
        (statuses.len() == 2 && statuses.iter().all(|status| status.open.len() == 1)).then_some(())
    });
    let stopped = rig.swsync(&["stop", "--in", "8s", "--json"]).wait_for_up_to(COMMAND_TIMEOUT);
    checked_take(&bed, "attended", &stopped);
    let recorded = recording.wait_for_up_to(COMMAND_TIMEOUT);
    assert_eq!(recorded.code, stopped.code, "{recorded:#?} {stopped:#?}");
}

#[test]
fn a_take_that_is_cancelled_before_it_begins_leaves_no_files() {
    let bed = TestBed::exclusive();
    let rig = bed.rig(&["left"]);
    for length in [&[][..], &["--for", "1s"]] {
        let args = [&["record", "--detach", "--in", "1h", "--id", "never"], length].concat();
        // An id stands for one order, so each order gets its own.
        let id = format!("never{}", length.len());
        let args: Vec<_> = args.into_iter().map(|arg| if arg == "never" { &*id } else { arg }).collect();
        let given = rig.swsync(&args).wait();
        assert_eq!(given.code, Some(0), "{given:#?}");
        let cancelled = rig.swsync(&["cancel"]).wait();
        assert_eq!(cancelled.code, Some(0), "every device has dropped the order: {cancelled:#?}");
        assert!(!cancelled.out.contains("\nall saved"), "{cancelled:#?}");
        assert!(!bed.path("shots").join(&id).exists(), "{cancelled:#?}");
        let again = rig.swsync(&["cancel", &id]).wait();
        assert_eq!(again.code, Some(5), "the order is not open any more: {again:#?}");
    }
}

#[test]
fn an_armed_order_is_given_only_if_enough_devices_are_ready() {
    let bed = TestBed::exclusive();
    let mut rig = bed.rig(&["left"]);
    let go = retry_on_drops(|| record(&rig, &["--for", "500ms", "--arm=40s"]));
    assert_eq!(go.count, 15);

    let uncontrolled = "videotestsrc is-live=true ! video/x-raw,width=96,height=64,framerate=30/1 ! jpegenc";
    rig.add(bed.client("webcam").simulated(3).frames(uncontrolled).start());
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
    assert!(!bed.path("shots/refused").exists(), "nothing was ordered");

    let quorum = rig
        .swsync(&["record", "--for", "500ms", "--id", "quorum", "--arm=40s", "--need", "2"])
        .wait_for_up_to(COMMAND_TIMEOUT);
    assert!(matches!(quorum.code, Some(0 | 1)), "{quorum:#?}");
    assert!(bed.path("shots/quorum").exists(), "{quorum:#?}");
}

#[test]
fn picture_k_of_all_exported_videos_shows_one_instant() {
    let bed = TestBed::exclusive();
    let leader = bed.leader().simulated(1).frames(PANEL).start();
    let left = bed.client("left").simulated(2).frames(PANEL).start();
    let mut rig = Rig::with(&bed, vec![leader, left]);
    rig.wait_until_ready(LockState::Locked);
    poll("two seconds of frames are there", || {
        let frames: Vec<_> = rig.statuses().into_iter().filter_map(|status| status.frames).collect();
        (frames.len() == 2 && frames.iter().all(|frames| frames.ring_frames >= 70)).then_some(())
    });
    // A take of the past: each device's files begin at its own encoder's last key frame.
    let take = retry_on_drops(|| record(&rig, &["--last", "1500ms", "--segment", "1s"]));
    let (shots, out) = (bed.path("shots").join(take.order.as_str()), bed.path("cut"));
    bed.export("video", std::slice::from_ref(&shots), &out);

    let numbers: Vec<_> = (take.first..take.first + take.count).collect();
    let devices = ["leader", "left"].map(|device| {
        let manifest = fs::read_to_string(shots.join(device).join(FRAMES_JSONL)).unwrap();
        let infos: Vec<_> = manifest.lines().map(|line| FrameRecord::from_line(line).unwrap().info).collect();
        assert!(infos.iter().map(|info| info.number).eq(numbers.iter().copied()));
        let video = out.join(take.order.as_str()).join(format!("{device}.mp4"));
        let pictures = bed.path(device).join("pictures");
        fs::create_dir_all(&pictures).unwrap();
        let mut decode = command("gst-launch-1.0");
        let line = format!(
            "filesrc location={} ! decodebin ! videoconvert ! jpegenc quality=95 ! multifilesink location={}/%d.jpg",
            video.display(),
            pictures.display()
        );
        let decoded = Process::start("decode", &bed.path(""), decode.args(line.split_whitespace())).wait();
        assert_eq!(decoded.code, Some(0), "{decoded:#?}");
        assert_eq!(fs::read_dir(&pictures).unwrap().count() as u64, take.count, "{device}");
        (pictures, infos)
    });
    for index in 0..numbers.len() {
        let path = |of: &(PathBuf, Vec<_>)| of.0.join(format!("{index}.jpg"));
        let paths = devices.each_ref().map(path);
        let pictures = paths.iter().zip(&devices).map(|(path, (_, infos))| (path.as_path(), &infos[index]));
        let apart = panel::spread(pictures);
        assert!(apart < Span::from_millis(1), "pictures {index} are {apart:?} apart");
    }
}

/// Records a take and returns its description. `None` if a device lacks frames.
fn record(rig: &Rig<'_>, args: &[&str]) -> Option<Take> {
    let args = [&["record", "--json"], args].concat();
    let ended = rig.swsync(&args).wait_for_up_to(COMMAND_TIMEOUT);
    let json: Value = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:#?}"));
    checked_take(rig.bed(), json["order"].as_str().unwrap(), &ended)
}

/// Asserts that both devices' folders agree with each other and with the command's exit code. Returns the take, or `None`
/// if a device lacks frames.
fn checked_take(bed: &TestBed, id: &str, ended: &Ended) -> Option<Take> {
    let [one, other] = ["leader", "left"].map(|device| {
        let folder = bed.path("shots").join(id).join(device);
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
