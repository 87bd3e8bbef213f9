//! Alignment of `swsyncsrc` in pipelines: methods, properties and messages. What depends on time is
//! tested on simulated time, in `src/swsyncsrc/align`.

#![cfg(feature = "simulation")]

mod common;

use std::sync::mpsc;

use common::{CAMERA, LEADER, PATIENCE, Pipeline};
use gst::prelude::*;
use gstswsync::meta::{Details, details_of};
use swsync_core::frame::LockState;

/// A simulated camera on a leader's clock, and the details of the frames that it delivers.
fn camera(properties: &str) -> (Pipeline, mpsc::Receiver<Details>) {
    let source = CAMERA.replace("simulated", &format!("simulated {properties}"));
    let pipeline = Pipeline::launch(&format!("{LEADER} {source} ! fakesink name=k sync=false async=false"));
    let (tx, rx) = mpsc::channel();
    let pad = pipeline.element("k").static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let details = details_of(info.buffer().expect("a buffer probe")).expect("frames carry the meta");
        let _ = tx.send(details); // the test is over
        gst::PadProbeReturn::Ok
    });
    (pipeline, rx)
}

/// The next frame that is `wanted`.
fn wait_for(frames: &mpsc::Receiver<Details>, wanted: impl Fn(&Details) -> bool) -> Details {
    loop {
        let frame = frames.recv_timeout(PATIENCE.into()).expect("a frame in time");
        if wanted(&frame) {
            return frame;
        }
    }
}

fn locked(frame: &Details) -> bool {
    frame.lock == LockState::Locked
}

/// The first `swsync-phase` message from now on that says `state`.
fn phase(pipeline: &Pipeline, state: &str) -> gst::Structure {
    loop {
        let message = pipeline.wait_for_structure("swsync-phase");
        if message.get::<&str>("state") == Ok(state) {
            return message;
        }
    }
}

fn stats(pipeline: &Pipeline) -> gst::Structure {
    pipeline.element("s").property::<Option<gst::Structure>>("stats").expect("there were frames")
}

#[test]
fn frame_durations_are_used_where_they_can_be_set() {
    let (pipeline, frames) = camera("");
    assert!(pipeline.element("s").property::<Option<gst::Structure>>("stats").is_none());
    pipeline.reach(gst::State::Playing);
    let first = pipeline.wait_for_structure("swsync-phase");
    assert_eq!((first.get::<&str>("cause"), first.get::<&str>("method")), (Ok("start"), Ok("inject")));
    let message = phase(&pipeline, "locked");
    assert_eq!(message.get::<u32>("lock-count"), Ok(1));
    assert_eq!(message.get::<i64>("tolerance"), Ok(20_000));
    assert!(message.get::<i64>("phase-uncertainty").is_ok_and(|ns| ns > 0));
    wait_for(&frames, locked);
    let stats = stats(&pipeline);
    assert_eq!(stats.get::<&str>("align-method"), Ok("inject"));
    assert!(stats.get::<u64>("frames").is_ok_and(|n| n > 0));
    for field in ["lost", "off-grid", "lock", "phase-error", "control-latency", "missed-writes", "trouble"] {
        assert!(stats.has_field(field), "{field}: {stats}");
    }
}

#[test]
fn long_exposures_align_a_camera_without_frame_durations() {
    // A sensor whose long exposures lengthen its frames, and a phone.
    for camera_is in ["simulated-control=exposure", "simulated-sensor=phone"] {
        let (pipeline, frames) = camera(&format!("tolerance=200000 {camera_is}"));
        pipeline.reach(gst::State::Playing);
        assert_eq!(phase(&pipeline, "locked").get::<&str>("method"), Ok("inject-exposure"), "{camera_is}");
        wait_for(&frames, locked);
        let stats = stats(&pipeline);
        // One camera in a hundred happens to be on the grid.
        assert!(stats.has_field("injections"), "{camera_is}: {stats}");
        assert!(stats.get::<f64>("response-slope").is_ok_and(|slope| (0.3..3.0).contains(&slope)), "{stats}");
    }
}

#[test]
fn a_profile_saves_learning_the_effect_of_long_exposures() {
    let profile = tempfile::NamedTempFile::new().unwrap();
    let line = r#"{"model": "phone", "responses": [{"period_ns": 33333333, "periods": 2, "slope": 2.0,
        "overhead_ns": 200000, "min_exposure_ns": 34000000, "scatter_ns": 25000}]}"#;
    std::fs::write(profile.path(), line).unwrap();
    let file = profile.path().display();
    let (pipeline, _frames) = camera(&format!("simulated-sensor=phone tolerance=100000 profile={file}"));
    pipeline.reach(gst::State::Playing);
    pipeline.wait_for_structure("swsync-phase");
    let known = stats(&pipeline).get::<f64>("response-slope").unwrap();
    assert!((known - 2.0).abs() < 0.1, "{known}");
    phase(&pipeline, "locked");

    let (pipeline, _frames) = camera("profile=/no/such/file");
    let error = pipeline.try_reach(gst::State::Playing).err().unwrap_or_else(|| pipeline.error());
    assert!(error.contains("/no/such/file"), "{error}");
}

#[test]
fn restarts_align_a_camera_without_controls() {
    // Six in ten restarts come out within the tolerance.
    let (pipeline, frames) = camera("simulated-control=none align-method=reset tolerance=10000000");
    pipeline.reach(gst::State::Playing);
    assert_eq!(phase(&pipeline, "locked").get::<&str>("method"), Ok("reset"));
    wait_for(&frames, locked);
    assert!(pipeline.element("s").property::<bool>("locked"));

    // With this tolerance none does. A stop waits neither for that nor for the pause between restarts.
    let (pipeline, _frames) = camera("simulated-control=none align-method=reset tolerance=1");
    pipeline.reach(gst::State::Playing);
    for _ in 0..2 {
        common::eventually("a restart", || {
            let stats = pipeline.element("s").property::<Option<gst::Structure>>("stats");
            stats.is_some_and(|stats| stats.get::<u32>("restarts").is_ok_and(|n| n > 0))
        });
        pipeline.reach(gst::State::Paused);
        pipeline.reach(gst::State::Playing);
    }
    pipeline.reach(gst::State::Null);
}

#[test]
fn a_camera_is_not_aligned_with_method_none() {
    let (pipeline, frames) = camera("simulated-control=none");
    pipeline.reach(gst::State::Playing);
    assert_eq!(phase(&pipeline, "free").get::<&str>("method"), Ok("none"));
    assert_eq!(wait_for(&frames, |_| true).lock, LockState::Free);
    let (pipeline, frames) = camera("align-method=none");
    pipeline.reach(gst::State::Playing);
    assert_eq!(wait_for(&frames, |_| true).lock, LockState::Free);
    assert!(!pipeline.element("s").property::<bool>("locked"));
}

#[test]
fn a_method_that_the_camera_cannot_do_is_an_error() {
    for (properties, says) in [
        ("simulated-control=none align-method=inject", "align-method=reset"),
        ("simulated-control=none align-method=inject-exposure", "align-method=reset"),
        ("simulated-sensor=phone align-method=inject", "align-method=inject-exposure"),
        ("align-method=inject-exposure", "longest exposure"),
        ("grid-period=1/25", "grid-period=1/25"),
    ] {
        let (pipeline, _frames) = camera(properties);
        let error = pipeline.try_reach(gst::State::Playing).err().unwrap_or_else(|| pipeline.error());
        assert!(error.contains(says), "{properties}: {error}");
    }
}

#[test]
fn the_target_can_be_changed_while_playing() {
    let (pipeline, frames) = camera("wait-lock=false");
    pipeline.reach(gst::State::Playing);
    wait_for(&frames, locked);
    phase(&pipeline, "locked");
    let source = pipeline.element("s");

    source.set_property("phase-offset", 8_000_000_i64);
    assert_eq!(phase(&pipeline, "aligning").get::<&str>("cause"), Ok("target"));
    phase(&pipeline, "locked");
    source.set_property_from_str("align-point", "exposure-center");
    assert_eq!(phase(&pipeline, "aligning").get::<&str>("cause"), Ok("target"));
    phase(&pipeline, "locked");
    source.set_property("tolerance", 50_000_u64);
    source.set_property("settle-frames", 5_u32);
    source.set_property("max-slew", 0.01_f64);
    common::eventually("the tolerance in effect", || stats(&pipeline).get::<i64>("tolerance") == Ok(50_000));
    wait_for(&frames, |frame| locked(frame) && frame.phase_error.abs().as_nanos() <= 150_000);
    assert!(source.property::<u32>("lock-count") >= 3);
}

#[test]
fn a_change_of_exposure_is_followed_and_reported() {
    let (pipeline, frames) = camera("");
    pipeline.reach(gst::State::Playing);
    phase(&pipeline, "locked");
    wait_for(&frames, locked);
    pipeline.element("s").set_property_from_str("exposure-time", "6000");
    assert_eq!(phase(&pipeline, "aligning").get::<&str>("cause"), Ok("exposure"));
    // The stream goes on meanwhile.
    wait_for(&frames, |frame| frame.lock == LockState::Aligning);
    wait_for(&frames, |frame| locked(frame) && frame.exposure.is_some_and(|e| e.as_micros_f64() > 5_000.0));
}

#[test]
fn a_new_frame_rate_while_playing_brings_a_new_grid() {
    let source = CAMERA.split(" ! ").next().unwrap();
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} {source} wait-lock=false ! capsfilter name=f \
         caps=video/x-raw,width=160,height=120,framerate=30/1 ! fakesink name=k sync=false async=false"
    ));
    let (tx, frames) = mpsc::channel();
    let pad = pipeline.element("k").static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().expect("a buffer probe");
        let _ = tx.send((details_of(buffer).expect("the meta"), buffer.duration())); // the test is over
        gst::PadProbeReturn::Ok
    });
    pipeline.reach(gst::State::Playing);
    let wait = |period: u64| loop {
        let (frame, duration) = frames.recv_timeout(PATIENCE.into()).expect("a frame in time");
        if locked(&frame) && duration == Some(gst::ClockTime::from_nseconds(period)) {
            return frame;
        }
    };
    let before = wait(33_333_333);
    let caps: gst::Caps = "video/x-raw,width=320,height=240,framerate=20/1".parse().unwrap();
    pipeline.element("f").set_property("caps", caps);
    let after = wait(50_000_000);
    // 20/s instead of 30/s since the epoch
    assert!(after.number < before.number / 3 * 2 + 20_000, "{before:?} {after:?}");
    assert!(pipeline.element("s").property::<u32>("lock-count") >= 2);
}

#[test]
fn rates_that_divide_the_rigs_share_its_grid() {
    for (rate, period) in [("15/1", "1/30"), ("30/1", "1/120"), ("30/1", "1/10")] {
        let source =
            CAMERA.replace("30/1", rate).replace("simulated", &format!("simulated grid-period={period}"));
        let pipeline = Pipeline::launch(&format!("{LEADER} {source} ! fakesink sync=false async=false"));
        pipeline.reach(gst::State::Playing);
        phase(&pipeline, "locked");
    }
}

#[test]
fn cameras_with_phase_offsets_share_frame_numbers() {
    // Half a period off the grid, jitter decides which instant is nearest.
    let (pipeline, frames) = camera("phase-offset=16666667");
    pipeline.reach(gst::State::Playing);
    let mut last = wait_for(&frames, locked).number;
    let mut steps = 0;
    for _ in 0..20 {
        let frame = wait_for(&frames, |_| true);
        assert!(frame.number > last, "{} after {last}", frame.number);
        steps += u64::from(frame.number == last + 1);
        last = frame.number;
    }
    assert!(steps > 0);
}

#[test]
fn issues_of_alignment_are_reported() {
    // Corrections of a line a frame: the way to the grid is long, unless it happens to begin near it.
    let trouble = (0..20).find_map(|seed| {
        let properties = format!("max-slew=0.0006 wait-lock=false simulated-seed={seed}");
        let (pipeline, _frames) = camera(&properties);
        pipeline.reach(gst::State::Playing);
        pipeline.wait_for("trouble, or a lock", |message| {
            let structure = message.structure().filter(|_| message.type_() == gst::MessageType::Element)?;
            match structure.name().as_str() {
                "swsync-phase-trouble" => Some(Some(structure.to_owned())),
                "swsync-phase" if structure.get("state") == Ok("locked") => Some(None),
                _ => None,
            }
        })
    });
    let trouble = trouble.expect("trouble");
    assert_eq!(trouble.get::<&str>("kind"), Ok("little-headroom"));
    assert_eq!(trouble.get::<bool>("active"), Ok(true));
    assert!(trouble.get::<&str>("text").is_ok_and(|text| text.contains("max-slew")));
    assert!(trouble.get::<u32>("frames").is_ok_and(|frames| frames > 90));
}

#[test]
fn a_warning_says_why_no_frame_comes() {
    // Restarts do not reach a microsecond.
    let (pipeline, frames) = camera("simulated-control=none align-method=reset tolerance=1000");
    pipeline.reach(gst::State::Playing);
    let source = pipeline.element("s");
    let (text, remedy) = pipeline.wait_for("a warning", |message| match message.view() {
        gst::MessageView::Warning(warning) if message.src() == Some(source.upcast_ref()) => {
            Some((warning.error().to_string(), warning.debug().unwrap_or_default().to_string()))
        }
        _ => None,
    });
    assert!(text.contains("No frame") && text.contains("not on the frame grid"), "{text}");
    assert!(remedy.contains("wait-lock=false") && remedy.contains("reset"), "{remedy}");
    assert_eq!(frames.try_iter().count(), 0);
}
