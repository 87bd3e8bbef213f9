//! `swsyncsink` on real file systems that become full, cannot be written, or vanish.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::Pipeline;
use common::own_process::{ignored_test, ignored_test_after, passes};
use common::sink::{CAPS, NOW, Sink, answer, content, files, frame, grid, manifest, rig, take};
use gst::prelude::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::Take;
use swsync_core::name::Name;
use swsync_core::order::{Answer, Fill, FrameOutcome, Order, OrderKind};
use swsync_core::time::Span;
use swsync_files::Location;

/// A small file system in memory that stands for a USB stick.
struct Stick {
    folder: tempfile::TempDir,
    plugged: Vec<PathBuf>,
}

impl Stick {
    /// `None` if this process may not mount; where `./x` runs tests it may.
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (stick, point) = (folder.path().join("stick"), folder.path().join("media"));
        [&stick, &point].iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        if !run(&["mount", "-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], &stick) {
            assert!(
                std::env::var_os("SWSYNC_NETNS").is_none(),
                "./x gives the right to mount, but it failed"
            );
            eprintln!("skipped: no right to mount a small file system");
            return None;
        }
        let mut this = Self { folder, plugged: vec![stick] };
        this.plug();
        Some(this)
    }

    /// The same folder, whether or not it is plugged in.
    fn content(&self) -> PathBuf {
        self.folder.path().join("stick/shots")
    }

    /// The folder on it where the sink saves, through the mount point.
    fn shots(&self) -> PathBuf {
        self.folder.path().join("media/shots")
    }

    fn plug(&mut self) {
        let (stick, point) = (self.folder.path().join("stick"), self.folder.path().join("media"));
        assert!(run(&["mount", "--bind", stick.to_str().unwrap()], &point));
        self.plugged.push(point);
    }

    /// Undoes the last `plug` or `lock`.
    fn unplug(&mut self) {
        assert!(run(&["umount", "-l"], &self.plugged.pop().expect("it is plugged in")));
    }

    fn grow(&self, size: &str) {
        assert!(run(&["mount", "-o", &format!("remount,size={size}")], &self.folder.path().join("stick")));
    }

    /// Makes a folder read-only for files that are opened from now on.
    fn lock(&mut self, folder: &Path) {
        assert!(run(&["mount", "--bind", "-o", "ro", folder.to_str().unwrap()], folder));
        self.plugged.push(folder.to_owned());
    }
}

impl Drop for Stick {
    fn drop(&mut self) {
        for point in self.plugged.iter().rev() {
            run(&["umount", "-l"], point);
        }
    }
}

fn run(command: &[&str], path: &Path) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

fn sink_at(location: &Path, caps: &str) -> Sink {
    sink_with(location, caps, &rig(), -1)
}

fn sink_with(location: &Path, caps: &str, rig: &str, keep_free: i64) -> Sink {
    Sink::reopen(tempfile::tempdir().unwrap(), rig, caps, |element, _| {
        element.set_property("location", location.to_str().unwrap());
        element.set_property("keep-free", keep_free);
    })
}

/// A stream without a container, so that tests can check a file's bytes.
const CODED: &str = "video/x-h264,stream-format=byte-stream,alignment=au,width=160,height=120,framerate=30/1";

/// A sink of bare video.
fn video_at(location: &Path) -> Sink {
    video_with(location, &rig(), -1)
}

fn video_with(location: &Path, rig: &str, keep_free: i64) -> Sink {
    sink_with(&location.join("{take}/{device}/{segment}.h264"), CODED, rig, keep_free)
}

fn burst(id: &str, first: FrameNumber, count: u32) -> Order {
    Order::burst(Name::new(id).unwrap(), grid().instant(first), count).unwrap()
}

/// A take in files of a second.
fn record(id: &str, first: FrameNumber, frames: u64) -> Order {
    let kind = OrderKind::Take { segment: Some(Span::from_secs(1)), fill: Fill::None };
    let stop = Some(grid().instant(first + frames));
    Order::new(Name::new(id).unwrap(), grid().instant(first), stop, kind).unwrap()
}

/// Bytes of a frame of video.
const FRAME_BYTES: usize = 4000;

fn push_video(sink: &mut Sink, number: FrameNumber) {
    let mut buffer = frame(number, number.is_multiple_of(10));
    let filling = vec![b'.'; FRAME_BYTES - buffer.size()];
    buffer.get_mut().unwrap().append_memory(gst::Memory::from_slice(filling));
    assert_eq!(sink.harness.push(buffer), Ok(gst::FlowSuccess::Ok));
}

/// Every reason in an answer for which frames are not saved.
fn reasons(answer: &Answer) -> Vec<&str> {
    answer.frames.iter().filter_map(|run| run.why()).collect()
}

/// The pictures in `folder` are those of its manifest, whole.
fn check_pictures(folder: &Path) -> u64 {
    let records = manifest(folder);
    let pictures: Vec<_> = files(folder).into_iter().filter(|name| name.ends_with(".jpg")).collect();
    assert_eq!(pictures, records.iter().map(|record| record.file.clone()).collect::<Vec<_>>());
    for record in &records {
        let text = std::fs::read_to_string(folder.join(&record.file)).unwrap();
        assert_eq!(text, content(record.info.number));
    }
    assert!(!files(folder).iter().any(|name| name.starts_with('.')), "{:?}", files(folder));
    records.len() as u64
}

/// The videos in `folder` are those of its manifest, whole.
fn check_videos(folder: &Path) -> u64 {
    let records = manifest(folder);
    for name in files(folder).iter().filter(|name| name.ends_with(".h264")) {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let of_file: Vec<_> = records.iter().filter(|record| record.file == *name).collect();
        assert!(!of_file.is_empty() && bytes.len().is_multiple_of(FRAME_BYTES), "{name}: {}", bytes.len());
        for record in of_file {
            let at = usize::try_from(record.offset).unwrap() * FRAME_BYTES;
            assert!(bytes[at..].starts_with(content(record.info.number).as_bytes()), "{name}: {record:?}");
        }
    }
    assert!(!files(folder).iter().any(|name| name.ends_with(".h264.part")), "{:?}", files(folder));
    records.len() as u64
}

#[test]
fn a_full_disk_fails_with_its_cause_and_the_next_order_is_saved() {
    let Some(stick) = Stick::mount("96k") else { return };
    let mut sink = sink_at(&stick.shots(), CAPS);
    (NOW - 60..=NOW).for_each(|number| sink.push(number));
    let full = answer(sink.place(burst("full", NOW - 50, 40)));
    assert!((1..40).contains(&full.saved()), "{full:?}");
    assert!(reasons(&full).iter().all(|why| why.contains("No space left")), "{full:?}");
    assert_eq!(check_pictures(&stick.shots().join("full/pi")), full.saved());
    stick.grow("4m");
    let later = answer(sink.place(burst("later", NOW - 50, 40)));
    assert!(later.is_complete(), "{later:?}");
    assert_eq!(check_pictures(&stick.shots().join("later/pi")), 40);
}

/// Waits until the device is done with the files of an order.
fn wait_until_complete(folder: &Path) {
    common::eventually("the files are closed", || {
        let text = std::fs::read(folder.join("take.json")).unwrap_or_default();
        Take::from_json(&text).is_ok_and(|take| take.complete)
    });
}

#[test]
fn a_disk_that_runs_full_in_a_take_costs_the_frames_of_that_time() {
    for is_restarted in [false, true] {
        let Some(stick) = Stick::mount("256k") else { return };
        let rig = rig();
        let mut sink = video_with(&stick.shots(), &rig, 0);
        (NOW - 100..=NOW).for_each(|number| push_video(&mut sink, number));
        let full = answer(sink.place(record("full", NOW - 100, 90)));
        assert!((30..90).contains(&full.saved()), "{full:?}");
        assert!(reasons(&full).iter().all(|why| why.contains("No space left")), "{full:?}");
        let folder = stick.shots().join("full/pi");
        assert!(!take(&folder).complete, "it cannot be closed");
        if is_restarted {
            drop(sink);
            stick.grow("8m");
            sink = video_with(&stick.shots(), &rig, 0);
            // By these it knows that earlier frames will not come any more.
            (NOW + 1..=NOW + 100).for_each(|number| push_video(&mut sink, number));
        } else {
            stick.grow("8m");
        }
        wait_until_complete(&folder);
        assert!(check_videos(&folder) >= full.saved() && files(&folder).len() > 3);
        let take = take(&folder);
        assert_eq!(take.missing() + check_videos(&folder), take.count, "{take:?}");
        let first = if is_restarted { NOW + 10 } else { NOW - 100 };
        let later = answer(sink.place(record("later", first, 90)));
        assert!(later.is_complete(), "{later:?}");
        assert_eq!(check_videos(&stick.shots().join("later/pi")), 90);
    }
}

/// Free bytes where `folder` is.
fn free(folder: &Path) -> u64 {
    Location::parse(folder.to_str().unwrap()).unwrap().space().unwrap().0
}

#[test]
fn recording_ends_while_what_is_to_be_kept_free_is_left() {
    let Some(stick) = Stick::mount("1m") else { return };
    let mut sink = video_with(&stick.shots(), &rig(), 800_000);
    (NOW - 100..=NOW).for_each(|number| push_video(&mut sink, number));
    let ended = answer(sink.place(record("ended", NOW - 100, 90)));
    assert!((10..90).contains(&ended.saved()), "{ended:?}");
    assert!(reasons(&ended).iter().all(|why| why.contains("keep-free is 800000")), "{ended:?}");
    let folder = stick.shots().join("ended/pi");
    assert_eq!(check_videos(&folder), ended.saved());
    let take = take(&folder);
    assert!(take.complete && take.missing() + ended.saved() == 90, "{take:?}");
    assert!(free(&stick.shots()) >= 800_000, "{}", free(&stick.shots()));
    let mut pictures = sink_with(&stick.shots(), CAPS, &rig(), 800_000);
    (NOW - 10..=NOW).for_each(|number| pictures.push(number));
    let refused = answer(pictures.place(burst("refused", NOW - 5, 5)));
    assert!(reasons(&refused).iter().all(|why| why.contains("No space left but")), "{refused:?}");
    stick.grow("8m");
    let later = answer(sink.place(record("later", NOW - 100, 90)));
    assert!(later.is_complete(), "{later:?}");
}

#[test]
fn side_files_that_cannot_be_written_never_decide_over_a_video() {
    let beside = ["take.json", "frames.jsonl", "frames.csv", "0000.pts", ".0001.h264.frames.part"];
    for name in beside {
        let shots = tempfile::tempdir().unwrap();
        let mut sink = video_at(shots.path());
        let folder = shots.path().join("o/pi");
        std::fs::create_dir_all(folder.join(name)).unwrap(); // instead of the file
        (NOW - 100..=NOW).for_each(|number| push_video(&mut sink, number));
        let answer = answer(sink.place(record("o", NOW - 90, 60)));
        // A frame that is not in the manifest is not saved.
        assert_eq!(answer.is_complete(), name != "frames.jsonl", "{name}: {answer:?}");
        assert!(reasons(&answer).iter().all(|why| why.contains("is kept")), "{name}: {answer:?}");
        let videos = files(&folder).into_iter().filter(|name| name.ends_with(".h264"));
        assert!(videos.count() >= 2, "{name}: {:?}", files(&folder));
        std::fs::remove_dir(folder.join(name)).unwrap();
        wait_until_complete(&folder);
        assert_eq!(check_videos(&folder), 60, "{name}");
        assert!(take(&folder).holes.is_empty() && take(&folder).segments.len() == 2, "{name}");
    }
}

#[test]
fn no_saved_file_is_replaced_where_rig_time_repeats() {
    let shots = tempfile::tempdir().unwrap();
    let mut saved = Vec::new();
    for id in ["one", "two"] {
        // The rig has the same time again.
        let mut sink = sink_at(&shots.path().join("{frame}.jpg"), CAPS);
        (NOW - 10..=NOW).for_each(|number| sink.push(number));
        let answer = answer(sink.place(burst(id, NOW - 5, 3)));
        assert!(answer.is_complete(), "{answer:?}");
        saved.extend(answer.frames.iter().map(|run| match &run.outcome {
            FrameOutcome::Saved { file, .. } => PathBuf::from(file),
            other => panic!("{other:?}"),
        }));
        let take = std::fs::read(shots.path().join(format!("{id}.pi.take.json"))).unwrap();
        assert!(Take::from_json(&take).unwrap().accepted_ns.is_some());
    }
    assert!(saved.len() == 6 && saved.iter().all(|path| path.exists()), "{saved:?}");
    saved.sort();
    saved.dedup();
    assert_eq!(saved.len(), 6, "{saved:?}");
}

#[test]
fn a_file_ends_at_a_key_frame_before_it_would_be_too_large() {
    // In blocks of 512 bytes.
    passes(&mut ignored_test_after("ulimit -f 400", "be_limited_to_files_of_200_kb"));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn be_limited_to_files_of_200_kb() {
    let shots = tempfile::tempdir().unwrap();
    let mut sink = video_at(shots.path());
    (NOW - 100..=NOW).for_each(|number| push_video(&mut sink, number));
    let kind = OrderKind::Take { segment: None, fill: Fill::None };
    let order = |id: &str, first: FrameNumber, frames: u64| {
        let stop = Some(grid().instant(first + frames));
        Order::new(Name::new(id).unwrap(), grid().instant(first), stop, kind).unwrap()
    };
    let whole = answer(sink.place(order("whole", NOW - 90, 80)));
    assert!(whole.is_complete(), "{whole:?}");
    let folder = shots.path().join("whole/pi");
    assert_eq!(check_videos(&folder), 80);
    let take = take(&folder);
    let covers: Vec<_> = take.segments.iter().map(|segment| (segment.first, segment.count)).collect();
    assert_eq!(covers, [(NOW - 90, 40), (NOW - 50, 40)]);
    assert!(take.complete && take.holes.is_empty(), "{take:?}");
    // Without another key frame the recording breaks off, and what was recorded stays.
    for number in NOW + 1..=NOW + 100 {
        let mut buffer = frame(number, number == NOW + 1);
        let filling = vec![b'.'; FRAME_BYTES - buffer.size()];
        buffer.get_mut().unwrap().append_memory(gst::Memory::from_slice(filling));
        assert_eq!(sink.harness.push(buffer), Ok(gst::FlowSuccess::Ok));
    }
    let broken = answer(sink.place(order("broken", NOW + 1, 100)));
    assert!((40..60).contains(&broken.saved()), "{broken:?}");
    assert!(reasons(&broken).iter().all(|why| why.contains("File too large")), "{broken:?}");
    assert_eq!(check_videos(&shots.path().join("broken/pi")), broken.saved());
}

#[test]
fn a_disk_that_cannot_be_written_says_so_until_it_can() {
    let Some(mut stick) = Stick::mount("4m") else { return };
    let mut sink = sink_at(&stick.shots(), CAPS);
    (NOW - 60..=NOW).for_each(|number| sink.push(number));
    stick.lock(&stick.shots());
    let late = Pipeline::launch(&format!(
        "fakesrc ! swsyncsink listen=tcp/127.0.0.1:0 rig={} location={}",
        rig(),
        stick.shots().join("other").display()
    ));
    let why = late.try_reach(gst::State::Playing).unwrap_err();
    assert!(why.contains("Read-only file system") && why.contains("Choose another `location`"), "{why}");
    let refused = answer(sink.place(burst("refused", NOW - 50, 10)));
    assert_eq!((refused.named(), refused.saved()), (10, 0), "{refused:?}");
    assert!(reasons(&refused).iter().all(|why| why.contains("Read-only file system")), "{refused:?}");
    stick.unplug();
    let later = answer(sink.place(burst("later", NOW - 50, 10)));
    assert!(later.is_complete(), "{later:?}");
    assert_eq!(check_pictures(&stick.shots().join("later/pi")), 10);
}

#[test]
fn a_disk_that_becomes_read_only_keeps_what_it_has() {
    let Some(mut stick) = Stick::mount("4m") else { return };
    let mut sink = sink_at(&stick.shots(), CAPS);
    (NOW - 10..=NOW).for_each(|number| sink.push(number));
    let placed = sink.place(burst("o", NOW, 60));
    (NOW + 1..NOW + 20).for_each(|number| sink.push(number));
    let folder = stick.shots().join("o/pi");
    common::eventually("it is in the middle", || {
        folder.exists() && files(&folder).iter().filter(|name| name.ends_with(".jpg")).count() == 20
    });
    stick.lock(&folder);
    (NOW + 20..=NOW + 60).for_each(|number| sink.push(number));
    let answer = answer(placed);
    assert_eq!((answer.named(), answer.saved()), (60, 20), "{answer:?}");
    assert!(reasons(&answer).iter().all(|why| why.contains("Read-only file system")), "{answer:?}");
    assert_eq!(check_pictures(&folder), 20);
    let later = common::sink::answer(sink.place(burst("later", NOW, 60)));
    assert!(later.is_complete(), "{later:?}");
}

#[test]
fn a_stick_that_is_pulled_in_a_burst_keeps_what_it_has() {
    let Some(mut stick) = Stick::mount("4m") else { return };
    let mut sink = sink_at(&stick.shots(), CAPS);
    (NOW - 10..=NOW).for_each(|number| sink.push(number));
    let placed = sink.place(burst("o", NOW, 60));
    (NOW + 1..NOW + 20).for_each(|number| sink.push(number));
    let on_stick = stick.content().join("o/pi");
    common::eventually("it is in the middle", || {
        on_stick.exists() && files(&on_stick).iter().filter(|name| name.ends_with(".jpg")).count() == 20
    });
    stick.unplug();
    (NOW + 20..=NOW + 60).for_each(|number| sink.push(number));
    let answer = answer(placed);
    assert_eq!(answer.named(), 60, "{answer:?}");
    let below = stick.shots().join("o/pi"); // where the stick was
    assert_eq!(check_pictures(&on_stick), 20);
    let elsewhere = if below.exists() { check_pictures(&below) } else { 0 };
    assert_eq!(answer.saved(), 20 + elsewhere, "{answer:?}");
    stick.plug();
    let later = common::sink::answer(sink.place(burst("later", NOW, 60)));
    assert!(later.is_complete(), "{later:?}");
    assert_eq!(check_pictures(&stick.content().join("later/pi")), 60);
}

#[test]
fn a_stick_that_is_pulled_in_a_take_costs_the_file_of_that_time() {
    let Some(mut stick) = Stick::mount("8m") else { return };
    let mut sink = video_at(&stick.shots());
    (NOW - 10..=NOW).for_each(|number| push_video(&mut sink, number));
    let placed = sink.place(record("o", NOW, 90));
    (NOW + 1..NOW + 45).for_each(|number| push_video(&mut sink, number));
    let on_stick = stick.content().join("o/pi");
    common::eventually("it is in the second file", || {
        on_stick.exists() && files(&on_stick).iter().any(|name| name == ".0001.h264.part")
    });
    stick.unplug();
    (NOW + 45..=NOW + 95).for_each(|number| push_video(&mut sink, number));
    let answer = answer(placed);
    assert_eq!(answer.named(), 90, "{answer:?}");
    assert!(reasons(&answer).iter().all(|why| why.contains("No such file")), "{answer:?}");
    assert!(manifest(&on_stick).iter().all(|record| record.info.number < NOW + 30));
    assert_eq!(manifest(&on_stick).len(), 30);
    let below = stick.shots().join("o/pi"); // where the stick was
    let elsewhere = if below.exists() { check_videos(&below) } else { 0 };
    assert_eq!(answer.saved(), 30 + elsewhere, "{answer:?}");
    stick.plug();
    let later = common::sink::answer(sink.place(record("later", NOW, 90)));
    assert!(later.is_complete(), "{later:?}");
    assert_eq!(check_videos(&stick.content().join("later/pi")), 90);
}

#[test]
fn a_folder_that_is_removed_is_made_anew_with_all_that_belongs_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let shots = folder.path().join("shots");
    let mut sink = sink_at(&shots, CAPS);
    (NOW - 10..=NOW).for_each(|number| sink.push(number));
    let placed = sink.place(burst("o", NOW, 60));
    (NOW + 1..NOW + 20).for_each(|number| sink.push(number));
    let of_order = shots.join("o/pi");
    common::eventually("it is in the middle", || {
        of_order.exists() && files(&of_order).iter().filter(|name| name.ends_with(".jpg")).count() == 20
    });
    std::fs::remove_dir_all(&shots).unwrap();
    (NOW + 20..=NOW + 60).for_each(|number| sink.push(number));
    let answer = answer(placed);
    assert!(answer.is_complete() && answer.named() == 60, "{answer:?}");
    assert_eq!(check_pictures(&of_order), 40);
    let take = take(&of_order);
    assert!(take.complete && (take.first, take.count) == (NOW, 60), "{take:?}");
    let later = common::sink::answer(sink.place(burst("later", NOW, 60)));
    assert!(later.is_complete(), "{later:?}");
    assert_eq!(check_pictures(&shots.join("later/pi")), 60);
}

#[test]
fn what_was_recorded_stays_while_no_more_files_can_be_opened() {
    passes(&mut ignored_test("be_short_of_open_files"));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn be_short_of_open_files() {
    let shots = tempfile::tempdir().unwrap();
    let mut sink = video_at(shots.path());
    (NOW - 30..=NOW).for_each(|number| push_video(&mut sink, number));
    let placed = sink.place(record("o", NOW - 20, 60));
    let folder = shots.path().join("o/pi");
    common::eventually("the first file is begun", || folder.join(".0000.h264.part").exists());
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..before }).unwrap();
    (NOW + 1..=NOW + 50).for_each(|number| push_video(&mut sink, number));
    let answer = answer(placed);
    setrlimit(Resource::Nofile, before).unwrap();
    assert!(!answer.is_complete() && !reasons(&answer).is_empty(), "{answer:?}");
    assert!(reasons(&answer).iter().all(|why| why.contains("open files")), "{answer:?}");
    wait_until_complete(&folder);
    let take = take(&folder);
    assert!((30..60).contains(&check_videos(&folder)), "{take:?}");
    assert_eq!(take.missing() + check_videos(&folder), take.count, "{take:?}");
}
