//! `swsyncsink` where things go wrong: killed in the middle, and on a disk that is full.

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::play::play;
use common::sink::{CAPS, NOW, Sink, answer, content, files, grid, manifest, rig, strings, take};
use common::{LEADER, Pipeline};
use gst::prelude::*;
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::{FrameRecord, Take};
use swsync_core::name::Name;
use swsync_core::order::{Fill, Kind, Order};
use swsync_core::time::{Span, Timestamp};
use swsync_rig::control::{RigConfig, Session};

/// What tells a process of this test that it is to be the device, and how.
const DEVICE: &str = "SWSYNC_TEST_DEVICE";

/// A device of a rig, in files below `folder`.
fn device(encoder: &str, rig: &str, folder: &Path, place: &str) -> String {
    format!(
        "{LEADER} videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=30/1 ! queue ! {encoder} ! \
         swsyncsink device-id=pi rig={rig} location={} {place}",
        folder.display()
    )
}

#[test]
#[ignore = "run by others, as a process of its own"]
fn be_a_device() {
    let Ok(description) = std::env::var(DEVICE) else { return };
    let pipeline = Pipeline::launch(&description);
    pipeline.reach(gst::State::Playing);
    loop {
        std::thread::park(); // until it is killed
    }
}

/// A process that is killed when the test ends.
struct Device(Child);

impl Device {
    fn start(description: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "be_a_device", "--ignored"]).env(DEVICE, description);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Frame number of `delay` from now.
fn ahead(delay: Span) -> FrameNumber {
    grid().nearest(Timestamp::from_nanos(swsync_rig::clock::wall_clock().as_nanos()) + delay)
}

/// Kills a device in the middle of `order` and starts it again: what is there must be whole, then and afterwards.
fn kill_in_the_middle(
    encoder: &str,
    kind: Kind,
    frames: u64,
    max_files: Option<usize>,
    middle: impl Fn(&Path, &[String]) -> bool,
    is_whole: impl Fn(&Path),
) {
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("tcp/127.0.0.1:{port}");
    let keep = format!("max-files={}", max_files.unwrap_or(0));
    let victim = Device::start(&device(encoder, &rig, folder.path(), &format!("listen={endpoint} {keep}")));
    let config =
        RigConfig { rig: Name::new(rig.as_str()).unwrap(), listen: Vec::new(), connect: vec![endpoint] };
    let mut session = None;
    common::eventually("the device is there", || {
        session = Session::visit(&config, std::time::Duration::from_secs(1)).ok();
        session.is_some()
    });
    let session = session.unwrap();
    let first = ahead(Span::from_millis(500));
    let stop = matches!(kind, Kind::Take { .. }).then(|| grid().instant(first + frames));
    let order = Order::new(Name::new("o").unwrap(), grid().instant(first), stop, kind).unwrap();
    std::thread::spawn(move || session.place(&order, std::time::Duration::from_secs(60), |_| {}));
    let of_order = folder.path().join("o/pi");
    common::eventually("it is in the middle", || of_order.exists() && middle(&of_order, &files(&of_order)));
    drop(victim);
    let final_files = |folder: &Path| -> Vec<_> {
        files(folder)
            .into_iter()
            .filter(|name| !name.starts_with('.'))
            .map(|name| folder.join(name))
            .collect()
    };
    let before = final_files(&of_order);
    before.iter().for_each(|file| is_whole(file));

    let place = format!("listen=tcp/127.0.0.1:0 {keep}");
    let again = Pipeline::launch(&device(encoder, &rig, folder.path(), &place));
    again.reach(gst::State::Playing);
    let served = again.wait_for_structure("swsync-served");
    assert_eq!(served.get::<&str>("order").unwrap(), "o");
    let (named, saved) = (served.get::<u64>("named").unwrap(), served.get::<u64>("saved").unwrap());
    drop(again);
    let names = files(&of_order);
    assert!(!names.iter().any(|name| name.starts_with('.')), "leftovers: {names:?}");
    final_files(&of_order).iter().for_each(|file| is_whole(file));
    let (records, take) = (manifest(&of_order), take(&of_order));
    let Some(max) = max_files else {
        assert!(take.removed.is_none() && before.iter().all(|file| file.exists()), "what was there stays");
        return check(&of_order, &records, &take, (named, saved, frames, first));
    };
    let mut kept: Vec<_> = records.iter().map(|record| record.file.clone()).collect();
    kept.dedup();
    let media = |name: &&String| ["jpg", "mp4"].iter().any(|extension| name.ends_with(extension));
    assert_eq!(names.iter().filter(media).collect::<Vec<_>>(), kept.iter().collect::<Vec<_>>());
    assert_eq!(kept.len(), max);
    let why = take.why_missing(first);
    assert_eq!(why, Some(&*format!("removed: {keep}")), "known after the restart too: {take:?}");
    let problems = strings(&served, "problems");
    assert!(problems.iter().any(|problem| Some(&**problem) == why), "{problems:?}");
    check(&of_order, &records, &take, (named, saved, frames, first));
}

/// Every frame is accounted for in `take`, and every file plays.
fn check(
    of_order: &Path,
    records: &[FrameRecord],
    take: &Take,
    (named, saved, frames, first): (u64, u64, u64, FrameNumber),
) {
    assert_eq!((named, saved), (frames, records.len() as u64));
    assert!(take.complete && (take.first, take.count) == (first, frames), "{take:?}");
    assert_eq!(take.missing(), frames - saved, "each is saved or a hole: {take:?}");
    for record in records {
        let file = of_order.join(&record.file);
        assert!(file.exists() && take.why_missing(record.info.number).is_none(), "{record:?}");
    }
    for segment in &take.segments {
        let named = records.iter().filter(|record| record.file == segment.file);
        let played = play(&of_order.join(&segment.file), "qtdemux");
        let last = named.map(|record| record.offset).max().unwrap();
        assert!(
            played.begins_with_key && played.pictures as u64 > last,
            "{}: {}",
            segment.file,
            played.pictures
        );
    }
}

/// Segments of two seconds, one of which is finished, and the next one has something to be saved.
fn kill_a_take(max_files: Option<usize>, part: &str) {
    let encoder = "x264enc speed-preset=ultrafast tune=zerolatency key-int-max=15";
    if !common::installed("x264enc") || !common::installed("mp4mux") {
        return;
    }
    let kind = Kind::Take { segment: Some(Span::from_secs(2)), fill: Fill::None };
    let is_video = |name: &&String| name.ends_with(".mp4");
    let middle = |_: &Path, names: &[String]| {
        names.iter().filter(is_video).count() >= 1 && names.iter().any(|name| name == part)
    };
    kill_in_the_middle(encoder, kind, 240, max_files, middle, |file| {
        if file.extension().is_some_and(|extension| extension == "mp4") {
            assert!(play(file, "qtdemux").pictures > 0, "{}", file.display());
        }
    });
}

#[test]
fn killed_in_the_middle_of_a_take() {
    kill_a_take(None, ".0001.mp4.part");
}

#[test]
fn killed_in_the_middle_of_a_loop() {
    kill_a_take(Some(1), ".0002.mp4.part");
}

fn kill_a_burst(max_files: Option<usize>, middle: impl Fn(&Path, &[String]) -> bool) {
    if !common::installed("jpegenc") {
        return;
    }
    kill_in_the_middle("jpegenc", Kind::Burst { count: 200 }, 200, max_files, middle, |file| {
        if file.extension().is_some_and(|extension| extension == "jpg") {
            let bytes = std::fs::read(file).unwrap();
            assert!(bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9]), "{}", file.display());
        }
    });
}

#[test]
fn killed_in_the_middle_of_a_burst() {
    kill_a_burst(None, |_, names| names.iter().filter(|name| name.ends_with(".jpg")).count() >= 20);
}

#[test]
fn killed_in_the_middle_of_a_loop_of_pictures() {
    // It is not read while it is replaced, but there is none at first.
    kill_a_burst(Some(10), |folder, _| {
        let described = std::fs::read(folder.join("take.json")).unwrap_or_default();
        Take::from_json(&described).is_ok_and(|take| take.is_removed(take.first + 20))
    });
}

/// A small file system of memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(size: &str) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        disk.run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).then_some(disk)
    }

    fn grow(&self, size: &str) {
        assert!(self.run("mount", &["-o", &format!("remount,size={size}")]));
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let command = Command::new(program).args(arguments).arg(self.0.path()).output();
        command.is_ok_and(|output| output.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run("umount", &["-l"]);
    }
}

#[test]
fn a_full_disk_fails_with_its_cause_and_the_next_order_is_saved() {
    let Some(disk) = SmallDisk::mount("96k") else {
        eprintln!("skipped: no right to mount a small file system");
        return;
    };
    let shots = disk.0.path().join("shots");
    let folder = tempfile::tempdir().unwrap();
    let mut sink = Sink::reopen(folder, &rig(), CAPS, |element, _| {
        element.set_property("location", shots.to_str().unwrap());
    });
    for number in NOW - 60..=NOW {
        sink.push(number);
    }
    let burst =
        |id: &str, count| Order::burst(Name::new(id).unwrap(), grid().instant(NOW - 50), count).unwrap();
    let full = answer(sink.place(burst("full", 40)));
    assert!((1..40).contains(&full.saved()), "{full:?}");
    let why: Vec<_> = full.frames.iter().filter_map(|run| run.why()).collect();
    assert!(why.iter().all(|why| why.contains("No space left")), "{why:?}");
    let folder = shots.join("full/pi");
    let records = manifest(&folder);
    assert_eq!(records.len() as u64, full.saved());
    let pictures = || files(&folder).into_iter().filter(|name| name.ends_with(".jpg"));
    assert_eq!(pictures().count() as u64, full.saved(), "no torn picture has its name");
    for name in pictures() {
        assert_eq!(
            std::fs::read_to_string(folder.join(&name)).unwrap(),
            content(name[..11].parse().unwrap())
        );
    }
    disk.grow("4m");
    let later = answer(sink.place(burst("later", 40)));
    assert!(later.is_complete(), "{later:?}");
    sink.element.set_state(gst::State::Null).unwrap();
}
