//! `swsyncsink` on a disk that hangs: a real file system in user space (FUSE) whose other side never answers.
//!
//! If this process may not mount, the tests print that and pass.

mod common;

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::sink::{CAPS, NOW, Sink, answer, content, files, grid, manifest, rig};
use gst::prelude::*;
use swsync_core::name::Name;
use swsync_core::order::Order;

/// A file system over the sink's folder: calls that use the folder's path hang while this exists.
struct Hung {
    /// The other side, which answers nothing. When it is closed, the calls that hang fail.
    silent: Option<File>,
    point: PathBuf,
}

impl Hung {
    fn over(point: &Path) -> Option<Self> {
        let silent = OpenOptions::new().read(true).write(true).open("/dev/fuse").ok()?;
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40000,user_id=0,group_id=0", "hung"])
            .arg(point)
            .stdin(silent.try_clone().unwrap())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no right to mount a file system in user space");
            return None;
        }
        Some(Self { silent: Some(silent), point: point.to_owned() })
    }
}

impl Drop for Hung {
    /// The disk is back: the folder is accessible again, and calls that hang fail.
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.point).status();
        drop(self.silent.take());
    }
}

fn burst(id: &str, first: u64, count: u32) -> Order {
    Order::burst(Name::new(id).unwrap(), grid().instant(first), count).unwrap()
}

fn open_at(shots: &Path, rig: &str) -> Sink {
    Sink::reopen(tempfile::tempdir().unwrap(), rig, CAPS, |element, _| {
        element.set_property("location", shots.to_str().unwrap());
    })
}

/// The next error on the bus.
fn error(sink: &Sink) -> String {
    let message = sink.bus.timed_pop_filtered(common::PATIENCE, &[gst::MessageType::Error]);
    match message.expect("an error").view() {
        gst::MessageView::Error(error) => {
            format!("{} {}", error.error(), error.debug().unwrap_or_default())
        }
        _ => unreachable!("it was filtered"),
    }
}

/// Checks that the pictures in `folder` are those of its manifest, and whole. Returns how many.
fn check_pictures(folder: &Path) -> usize {
    let records = manifest(folder);
    for record in &records {
        let text = std::fs::read_to_string(folder.join(&record.file)).unwrap();
        assert_eq!(text, content(record.info.number));
    }
    let pictures = files(folder).into_iter().filter(|name| name.ends_with(".jpg")).count();
    assert_eq!(pictures, records.len());
    records.len()
}

/// The longest that a state change may take: the wait for the disk, and as much again and more on a busy machine.
const LONGEST: Duration = Duration::from_secs(90);

#[test]
fn null_is_reached_with_an_error_and_the_rest_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let shots = folder.path().join("shots");
    let rig = rig();
    let mut sink = open_at(&shots, &rig);
    let order = sink.place(burst("long", NOW + 1, 60));
    common::eventually("the order is taken", || !sink.status().open.is_empty());
    (NOW - 5..NOW + 20).for_each(|number| sink.push(number));
    let saved = || files(&shots.join("long/pi")).into_iter().filter(|name| name.ends_with(".jpg")).count();
    common::eventually("pictures", || shots.join("long/pi").exists() && saved() >= 15);
    let Some(hung) = Hung::over(&shots) else { return };
    (NOW + 20..NOW + 40).for_each(|number| sink.push(number));
    common::eventually("the disk is said to hang", || {
        sink.status().problems.iter().any(|problem| problem.contains("the disk has not answered"))
    });
    let begun = Instant::now();
    sink.element.set_state(gst::State::Null).unwrap();
    let took = begun.elapsed();
    assert!(took < LONGEST, "{took:?}");
    println!("NULL after {took:?}");
    let said = error(&sink);
    for part in [
        "Not all is written below",
        shots.to_str().unwrap(),
        "long/pi",
        "Open are long",
        "bytes of frames wait",
        "dmesg",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Two writers would damage each other's files.
    assert!(sink.element.set_state(gst::State::Paused).is_err());
    let said = error(&sink);
    assert!(said.contains("is still being written below"), "{said}");
    order.join().unwrap(); // its outcome is that the device is gone
    drop(hung);
    // Frames that waited are written; then another run goes on with the order.
    common::eventually("the element starts again", || {
        let _ = sink.element.set_state(gst::State::Null);
        sink.element.set_state(gst::State::Paused).is_ok()
    });
    sink.element.set_state(gst::State::Null).unwrap();
    assert!(check_pictures(&shots.join("long/pi")) >= 30, "{:?}", files(&shots.join("long/pi")));
    drop(sink);
    let mut sink = open_at(&shots, &rig);
    (NOW + 40..NOW + 70).for_each(|number| sink.push(number));
    let whole = answer(sink.place(burst("long", NOW + 1, 60)));
    // The call that hung has failed, and its frame with it.
    assert!(whole.saved() >= 55, "{whole:?}");
    assert_eq!(check_pictures(&shots.join("long/pi")), usize::try_from(whole.saved()).unwrap());
}

#[test]
fn a_disk_that_hangs_at_the_start_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let shots = folder.path().join("shots");
    std::fs::create_dir(&shots).unwrap();
    common::init();
    let sink = gst::ElementFactory::make("swsyncsink")
        .property("rig", rig())
        .property("device-id", "pi")
        .property("listen", "tcp/127.0.0.1:0")
        .property("location", shots.to_str().unwrap())
        .build()
        .unwrap();
    let bus = gst::Bus::new();
    sink.set_bus(Some(&bus));
    let Some(hung) = Hung::over(&shots) else { return };
    let begun = Instant::now();
    assert!(sink.set_state(gst::State::Paused).is_err());
    assert!(begun.elapsed() < LONGEST, "{:?}", begun.elapsed());
    let message = bus.timed_pop_filtered(common::PATIENCE, &[gst::MessageType::Error]).expect("an error");
    let gst::MessageView::Error(error) = message.view() else { unreachable!("it was filtered") };
    let said = error.error().to_string();
    assert!(said.contains("Cannot save below") && said.contains("has not answered"), "{said}");
    sink.set_state(gst::State::Null).unwrap();
    drop(hung);
    common::eventually("it starts", || {
        let _ = sink.set_state(gst::State::Null);
        sink.set_state(gst::State::Paused).is_ok()
    });
    sink.set_state(gst::State::Null).unwrap();
}
