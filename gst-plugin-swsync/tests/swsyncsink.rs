//! `swsyncsink`: saves the frames that orders name, whole or not at all, and accounts for every frame.

mod common;

use std::path::Path;

use common::sink::{
    BESIDE, CAPS, NOW, Sink, complete, files, grid, manifest, manifests, rig, strings, take, time_of,
};
use common::{CAMERA, LEADER, Pipeline};
use gst::prelude::*;
use swsync_core::frame::{LockState, SyncState};
use swsync_core::time::Span;

#[test]
fn frames_of_the_past_are_saved() {
    let mut sink = Sink::new();
    for number in NOW - 30..=NOW {
        sink.push(number);
    }
    // The middle between two instants, less a little: frame NOW - 10.
    let id = sink.shoot(grid().period() * -10 + Span::from_millis(16), 3).expect("an order");
    let served = sink.wait_for("swsync-served");
    assert_eq!(served.get::<String>("order").unwrap(), id);
    assert!(complete(&served), "{served}");
    assert_eq!(strings(&served, "files").len(), 3);
    let outcome = sink.wait_for("swsync-order");
    assert_eq!(outcome.get::<String>("device").unwrap(), "pi");
    assert!(complete(&outcome), "{outcome}");
    let done = sink.wait_for("swsync-order-done");
    assert!(complete(&done) && done.get::<u32>("devices").unwrap() == 1, "{done}");

    let folder = sink.order(&id);
    let numbers = [NOW - 10, NOW - 9, NOW - 8];
    let mut expected: Vec<_> = numbers.iter().map(|number| format!("{number}.jpg")).collect();
    expected.extend(BESIDE.map(String::from));
    assert_eq!(files(sink.folder.path()), expected);
    for (record, number) in manifest(&folder).iter().zip(numbers) {
        let text = format!("frame {number}");
        assert_eq!(std::fs::read_to_string(folder.join(&record.file)).unwrap(), text);
        assert_eq!((record.order.as_str(), record.device.as_str()), (id.as_str(), "pi"));
        assert_eq!((record.info.number, record.bytes), (number, text.len() as u64));
        assert_eq!(record.info.phase_error_ns, Span::from_micros(3));
        assert_eq!((record.info.lock, record.info.sync), (Some(LockState::Locked), SyncState::Synced));
        assert_eq!(record.info.exposure_ns, Some(Span::from_millis(5)));
    }
}

#[test]
fn half_of_the_frames_have_numbers_of_their_own_and_a_warning_says_that_they_are_off_the_grid() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = Sink::reopen(folder, &rig(), &CAPS.replace("30/1", "15/1"), |_, _| {});
    // As videorate passes them on: in the middle between two instants of 15 per second.
    for number in (NOW - 59..NOW).step_by(2) {
        sink.push(number);
    }
    let mut said = common::warnings(&sink.bus);
    said.retain(|(_, text)| text.contains("off the grid"));
    assert!(said.len() == 1 && said[0].1.contains("videorate"), "{said:?}");
    let id = sink.shoot(grid().period() * -40, 12).expect("an order");
    assert!(complete(&sink.wait_for("swsync-served")));
    let records = manifest(&sink.order(&id));
    let first = records[0].info.number;
    assert!(records.iter().map(|record| record.info.number).eq(first..first + 12), "{records:?}");
    assert!(records.iter().all(|record| record.info.lock == Some(LockState::Free)
        && record.info.phase_error_ns.abs() > Span::from_millis(33)));
    let phases = |record: &swsync_core::manifest::FrameRecord| record.info.phase_error_ns;
    assert!(
        records.windows(2).all(|pair| (phases(&pair[0]) - phases(&pair[1])).abs() < Span::from_micros(1))
    );
}

#[test]
fn frames_to_come_are_saved_as_they_come() {
    let mut sink = Sink::new();
    sink.push(NOW);
    let id = sink.shoot(grid().period() * 5, 2).expect("an order");
    // The order reaches the queue on a thread of its own: frames before its instant change nothing.
    for number in NOW + 1..=NOW + 6 {
        sink.push(number);
    }
    assert!(complete(&sink.wait_for("swsync-served")));
    assert!(complete(&sink.wait_for("swsync-order-done")));
    let numbers: Vec<_> = manifest(&sink.order(&id)).iter().map(|r| r.info.number).collect();
    assert_eq!(numbers, [NOW + 5, NOW + 6]);
}

#[test]
fn frames_older_than_the_ring_are_missed() {
    for (property, limit) in [("ring-bytes", 150_u64), ("ring-time", 300_000_000)] {
        let mut sink = Sink::with(|element, _| element.set_property(property, limit));
        for number in NOW - 60..=NOW {
            sink.push(number);
        }
        let id = sink.shoot(grid().period() * -40, 1).expect("an order");
        let served = sink.wait_for("swsync-served");
        assert!(!complete(&served));
        let problems = strings(&served, "problems");
        assert!(problems[0].contains("older than the ring") && problems[0].contains(&NOW.to_string()));
        assert!(!complete(&sink.wait_for("swsync-order-done")));
        assert!(!sink.order(&id).exists(), "nothing is written for it");
    }
}

#[test]
fn a_dropped_frame_is_missed_and_the_others_saved() {
    let mut sink = Sink::new();
    for number in (NOW - 20..=NOW).filter(|number| *number != NOW - 9) {
        sink.push(number);
    }
    let id = sink.shoot(grid().period() * -10, 3).expect("an order");
    let served = sink.wait_for("swsync-served");
    assert_eq!(strings(&served, "problems"), [swsync_core::gap::UNKNOWN]);
    let numbers: Vec<_> = manifest(&sink.order(&id)).iter().map(|r| r.info.number).collect();
    assert_eq!(numbers, [NOW - 10, NOW - 8]);
}

/// A sink in whose folder `make` makes something first; and its answer to an order of one picture.
fn shoot_with(make: impl Fn(&Path)) -> (Sink, gst::Structure) {
    let mut sink = Sink::with(|element, folder| {
        let pattern = format!("{}/{{device}}/{{frame}}.{{ext}}", folder.display());
        element.set_property("location", pattern);
        make(folder);
    });
    sink.push(NOW);
    sink.shoot(Span::ZERO, 1).expect("an order");
    let served = sink.wait_for("swsync-served");
    (sink, served)
}

#[test]
fn a_file_that_cannot_be_written_fails_and_leaves_nothing() {
    // A file instead of the device's folder.
    let (sink, served) = shoot_with(|folder| std::fs::write(folder.join("pi"), "").unwrap());
    assert!(!complete(&served));
    let problems = strings(&served, "problems");
    assert!(problems[0].contains("cannot write") && problems[0].contains(".jpg"), "{problems:?}");
    assert_eq!(files(sink.folder.path()), ["pi"]);
    assert!(manifests(sink.folder.path()).is_empty());
}

#[test]
fn a_picture_whose_name_is_taken_gets_another() {
    let name = format!("{NOW}.jpg");
    let (sink, served) = shoot_with(|folder| std::fs::create_dir_all(folder.join("pi").join(&name)).unwrap());
    assert!(complete(&served), "{served:?}");
    let device = sink.folder.path().join("pi");
    assert!(device.join(&name).is_dir() && device.join(format!("{NOW}-2.jpg")).is_file());
}

#[test]
fn orders_that_are_open_when_the_device_stops_are_answered() {
    let mut sink = Sink::new();
    sink.push(NOW);
    sink.shoot(Span::ZERO, 3).expect("an order");
    common::eventually("the first file", || files(sink.folder.path()).len() == 3);
    sink.element.set_state(gst::State::Null).unwrap();
    let served = sink.wait_for("swsync-served");
    assert_eq!(strings(&served, "files").len(), 1);
    let problems = strings(&served, "problems");
    assert!(problems.len() == 2 && problems.iter().all(|why| why.contains("stopped")), "{problems:?}");
    assert!(!served.get::<bool>("finished").unwrap(), "it goes on when the device is back");
    let done = sink.wait_for("swsync-order-done");
    assert!(!complete(&done), "{done}");
}

#[test]
fn orders_that_cannot_be_placed_are_not() {
    let mut sink = Sink::new();
    sink.element.set_clock(None::<&gst::Clock>).unwrap();
    assert_eq!(sink.shoot(Span::ZERO, 1), None, "rig time is unknown");
    sink.harness.use_testclock();
    sink.harness.set_time(time_of(NOW)).unwrap();
    sink.push(NOW);
    assert_eq!(sink.shoot(Span::ZERO, 0), None);
    assert_eq!(sink.shoot(Span::ZERO, u32::MAX), None);
    assert_eq!(sink.shoot(Span::from_nanos(i64::MIN), 1), None);
    sink.element.set_state(gst::State::Null).unwrap();
    assert_eq!(sink.shoot(Span::ZERO, 1), None);
    assert_eq!(files(sink.folder.path()), [""; 0]);
}

#[test]
fn a_flush_keeps_the_ring_and_another_rate_empties_it() {
    let mut sink = Sink::new();
    sink.push(NOW - 1);
    assert!(sink.harness.push_event(gst::event::FlushStart::new()));
    assert!(sink.harness.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(sink.harness.push_event(gst::event::Segment::new(&segment)));
    sink.harness.set_src_caps_str(CAPS); // the same again
    sink.push(NOW);
    sink.shoot(grid().period() * -1, 1).expect("an order");
    assert!(complete(&sink.wait_for("swsync-served")));

    sink.harness.set_src_caps_str(&CAPS.replace("30/1", "60/1"));
    sink.push(NOW + 1);
    sink.shoot(Span::ZERO, 1).expect("an order");
    let served = sink.wait_for("swsync-served");
    assert!(!complete(&served), "frames of 30/s are not numbered as those of 60/s: {served}");
}

#[test]
fn caps_without_a_rate_are_refused() {
    let pipeline = Pipeline::launch(&format!(
        "fakesrc num-buffers=1 ! capsfilter caps=image/jpeg,width=8,height=8 ! \
         swsyncsink listen=tcp/127.0.0.1:0 rig={} location={}",
        rig(),
        tempfile::tempdir().unwrap().path().display()
    ));
    let error = pipeline.try_reach(gst::State::Playing).err().unwrap_or_else(|| pipeline.error());
    assert!(error.contains("no framerate") && error.contains("image/jpeg"), "{error}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (file, good) = (file.display(), folder.path().join("shots"));
    for (properties, says) in [
        (format!("location={file}/below"), format!("{file}/below")),
        (format!("location={file}/{{frame}}"), "cannot write to".into()),
        ("location=/tmp/{shot}/{frame}".into(), "{shot}".into()),
        ("location=/tmp/{device}.jpg".into(), "needs {frame}".into()),
        ("location=/tmp/{device}-{frame}.jpg max-files=3".into(), "it needs {take}".into()),
        (format!("location={} device-id=a/b", good.display()), "device-id".into()),
        (format!("location={} device-id=com1.x", good.display()), "Windows keeps COM1".into()),
        (format!("location={} device-id=cam1.", good.display()), "ends with a dot".into()),
        (format!("location={} rig=../x", good.display()), "rig: ".into()),
        (format!("location={} connect=pi0", good.display()), "tcp/HOST:PORT".into()),
    ] {
        let pipeline = Pipeline::launch(&format!(
            "fakesrc ! swsyncsink listen=tcp/127.0.0.1:0 rig={} device-id=pi {properties}",
            rig()
        ));
        let error = pipeline.try_reach(gst::State::Paused).unwrap_err();
        assert!(error.contains(&says), "{properties}: {error}");
    }
    assert!(files(folder.path()) == ["file"]);
}

#[test]
fn two_devices_of_one_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sink = format!(
        "fakesrc ! swsyncsink listen=tcp/127.0.0.1:0 rig={} device-id=pi location={}",
        rig(),
        folder.path().display()
    );
    let first = Pipeline::launch(&sink);
    first.reach(gst::State::Paused);
    let second = Pipeline::launch(&sink);
    let error = second.try_reach(gst::State::Paused).unwrap_err();
    assert!(error.contains("\"pi\"") && error.contains("device-id"), "{error}");
    drop(first);
    second.reach(gst::State::Null);
    second.reach(gst::State::Paused);
}

#[test]
fn states_go_up_and_down_in_any_order() {
    use gst::State::{Null, Paused, Playing, Ready};
    let folder = tempfile::tempdir().unwrap();
    let pipeline = Pipeline::launch(&format!(
        "videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1 ! \
         swsyncsink listen=tcp/127.0.0.1:0 rig={} device-id=pi location={}",
        rig(),
        folder.path().display()
    ));
    for state in [Ready, Null, Paused, Ready, Playing, Paused, Playing, Null, Playing, Ready, Null] {
        pipeline.reach(state);
    }
}

#[test]
fn eos_passes() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = Pipeline::launch(&format!(
        "videotestsrc num-buffers=5 ! video/x-raw,width=64,height=48,framerate=30/1 ! \
         swsyncsink listen=tcp/127.0.0.1:0 rig={} device-id=pi location={}",
        rig(),
        folder.path().display()
    ));
    pipeline.reach(gst::State::Playing);
    pipeline.wait_for_eos();
}

/// A camera, an encoder and the sink `name`.
fn device(name: &str, rig: &str, encoder: &str, folder: &Path) -> String {
    let source = CAMERA.replace("name=s", &format!("name=s{name} simulated-seed=7"));
    format!(
        "{source} ! queue ! {encoder} ! swsyncsink name={name} listen=tcp/127.0.0.1:0 rig={rig} \
         device-id={name} location={}",
        folder.display()
    )
}

/// Waits until so many cameras are locked.
fn wait_for_locks(pipeline: &Pipeline, cameras: usize) {
    for _ in 0..cameras {
        while pipeline.wait_for_structure("swsync-phase").get::<&str>("state") != Ok("locked") {}
    }
}

/// Orders until all `devices` have saved every frame: a busy machine drops some. Returns the last order's id.
fn shoot(pipeline: &Pipeline, devices: u32, delay: Span, count: u32) -> String {
    let mut id = None;
    common::eventually("a complete order", || {
        id = pipeline.element("a").emit_by_name("shoot", &[&delay.as_nanos(), &count]);
        assert!(id.is_some(), "it can be placed");
        let done = pipeline.wait_for_structure("swsync-order-done");
        assert_eq!(done.get::<u32>("devices").unwrap(), devices);
        complete(&done)
    });
    id.expect("placed above")
}

#[cfg_attr(not(feature = "simulation"), ignore = "needs the simulated camera")]
#[test]
fn every_device_saves_the_frame_of_the_same_number() {
    if !common::installed("jpegenc") {
        return;
    }
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let devices = ["a", "b"].map(|name| device(name, &rig, "jpegenc", folder.path()));
    let pipeline = Pipeline::launch(&format!("{LEADER} {} {}", devices[0], devices[1]));
    pipeline.reach(gst::State::Playing);
    let numbers = |id: &str, name: &str| -> Vec<u64> {
        let records = manifest(&folder.path().join(id).join(name));
        for record in &records {
            let picture = std::fs::read(folder.path().join(id).join(name).join(&record.file)).unwrap();
            assert!(picture.starts_with(&[0xff, 0xd8]) && picture.ends_with(&[0xff, 0xd9]));
            assert_eq!(record.info.lock, Some(LockState::Locked), "{record:?}");
            assert_eq!(record.info.number, grid().nearest(record.info.rig_time_ns));
        }
        records.iter().map(|record| record.info.number).collect()
    };
    wait_for_locks(&pipeline, 2);
    // The second order is of the past: both rings have to reach that far back.
    for (delay, count) in [(Span::from_millis(700), 3), (Span::from_millis(-200), 2)] {
        let id = shoot(&pipeline, 2, delay, count);
        assert_eq!(numbers(&id, "a").len(), count as usize);
        assert_eq!(numbers(&id, "a"), numbers(&id, "b"));
    }
}

#[cfg_attr(not(feature = "simulation"), ignore = "needs the simulated camera")]
#[test]
fn take_json_and_pictures_name_the_camera_and_its_settings() {
    if !common::installed("jpegenc") {
        return;
    }
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let device = device("a", &rig, "jpegenc name=enc quality=70", folder.path());
    let pipeline = Pipeline::launch(&format!("{LEADER} {device}"));
    pipeline.reach(gst::State::Playing);
    let id = shoot(&pipeline, 1, Span::from_millis(500), 1);
    let taken = take(&folder.path().join(&id).join("a"));
    assert_eq!(taken.camera.as_deref(), Some("simulated imx219"));
    assert_eq!(taken.settings["enc"]["quality"], 70);
    assert_eq!(taken.settings["sa"]["simulated-seed"], 7);
    assert_eq!(taken.settings["c"]["role"], "leader");
    assert_eq!(taken.settings["a"]["rig"], rig);
    assert_eq!(taken.settings["a"]["factory"], "swsyncsink");
    let picture = folder.path().join(&id).join("a").join(format!("{}.jpg", taken.first));
    let output = std::process::Command::new("exiftool")
        .args(["-validate", "-warning", "-a", "-s3", "-Model", "-SerialNumber", "-ISO"])
        .arg(&picture)
        .output()
        .expect("exiftool, of Debian's libimage-exiftool-perl (tools/packages.txt)");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().collect::<Vec<_>>(), ["OK", "simulated imx219", "a", "100"]);
}

#[test]
fn frames_of_other_sources_are_numbered_by_the_clock() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=30/1 ! \
         swsyncsink name=a listen=tcp/127.0.0.1:0 rig={} device-id=a location={}",
        rig(),
        folder.path().display()
    ));
    pipeline.reach(gst::State::Playing);
    let before = swsync_time::wall_clock().as_nanos();
    let id = shoot(&pipeline, 1, Span::from_millis(500), 1);
    let records = manifest(&folder.path().join(&id).join("a"));
    let info = records[0].info;
    assert!((info.rig_time_ns.as_nanos() - before).abs() < 60_000_000_000, "{info:?}");
    assert_eq!((info.sync, info.lock), (SyncState::Leading, None));
    assert!(records[0].file.ends_with(".raw"));
}
