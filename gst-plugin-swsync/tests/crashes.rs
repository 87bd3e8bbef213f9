//! `swsyncsink` is killed in the middle of an order: of pictures, and of video in every container that survives it.

mod common;

use std::path::Path;

use common::coded::{AV1, Codec, H264, H265, VP9};
use common::own_process::Device;
use common::sink::{files, grid, manifest, rig, rig_now, strings, take};
use common::{LEADER, Pipeline};
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::Take;
use swsync_core::name::Name;
use swsync_core::order::{Fill, Order, OrderKind};
use swsync_core::time::Span;
use swsync_rig::{RigConfig, Session};

/// A device's pipeline, with more `properties` of swsyncsink.
fn device(encoder: &str, rig: &str, location: &str, properties: &str) -> String {
    format!(
        "{LEADER} videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! queue ! {encoder} ! \
         swsyncsink device-id=pi rig={rig} location={location} {properties}"
    )
}

#[test]
#[ignore = "run by other tests, in a process of its own"]
fn be_a_device() {
    common::own_process::be_a_device();
}

/// Frame number of `delay` from now.
fn ahead(delay: Span) -> FrameNumber {
    grid().nearest(rig_now() + delay)
}

/// What a device saves, and how.
#[derive(Clone, Copy)]
struct Saving<'a> {
    encoder: &'a str,
    pattern: &'a str,
    /// The most files that are kept, if not all.
    max_files: Option<usize>,
}

/// Kills a device in the middle of an order and starts it again: its files must be whole, both times. Returns how many frames are saved.
fn kill_in_the_middle(
    Saving { encoder, pattern, max_files }: Saving<'_>,
    kind: OrderKind,
    frames: u64,
    middle: impl Fn(&Path) -> bool,
    is_whole: impl Fn(&Path, u64),
) -> u64 {
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let location = folder.path().join(pattern).display().to_string();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("tcp/127.0.0.1:{port}");
    let keep = format!("max-files={}", max_files.unwrap_or(0));
    let victim = Device::start(&device(encoder, &rig, &location, &format!("listen={endpoint} {keep}")));
    let config = RigConfig::new(Name::new(rig.as_str()).unwrap(), Vec::new(), vec![endpoint]);
    let mut session = None;
    common::eventually("the device is there", || {
        session = Session::visit(&config, std::time::Duration::from_secs(1)).ok();
        session.is_some()
    });
    let session = session.unwrap();
    let first = ahead(Span::from_millis(500));
    let stop = matches!(kind, OrderKind::Take { .. }).then(|| grid().instant(first + frames));
    let order = Order::new(Name::new("o").unwrap(), grid().instant(first), stop, kind).unwrap();
    std::thread::spawn(move || session.place(&order, std::time::Duration::from_secs(60), |_| {}));
    let of_order = folder.path().join("o/pi");
    common::eventually("it is in the middle", || of_order.exists() && middle(&of_order));
    drop(victim);
    let final_files = |folder: &Path| -> Vec<_> {
        files(folder)
            .into_iter()
            .filter(|name| !name.starts_with('.'))
            .map(|name| folder.join(name))
            .collect()
    };
    let before = final_files(&of_order);
    before.iter().for_each(|file| is_whole(file, 1));

    let properties = format!("listen=tcp/127.0.0.1:0 {keep}");
    let again = Pipeline::launch(&device(encoder, &rig, &location, &properties));
    again.reach(gst::State::Playing);
    let served = again.wait_for_structure("swsync-served");
    assert_eq!(served.get::<&str>("order").unwrap(), "o");
    let (named, saved) = (served.get::<u64>("named").unwrap(), served.get::<u64>("saved").unwrap());
    drop(again);
    let names = files(&of_order);
    assert!(!names.iter().any(|name| name.starts_with('.')), "leftovers: {names:?}");
    let (records, take) = (manifest(&of_order), take(&of_order));
    if let Some(max) = max_files {
        let mut kept: Vec<_> = records.iter().map(|record| record.file.clone()).collect();
        kept.dedup();
        let media = |name: &&String| ["jpg", "mp4"].iter().any(|extension| name.ends_with(extension));
        assert_eq!(names.iter().filter(media).collect::<Vec<_>>(), kept.iter().collect::<Vec<_>>());
        assert_eq!(kept.len(), max);
        let why = take.why_missing(first);
        assert_eq!(why, Some(&*format!("removed: {keep}")), "still known after the restart: {take:?}");
        let problems = strings(&served, "problems");
        assert!(problems.iter().any(|problem| Some(&**problem) == why), "{problems:?}");
    } else {
        assert!(take.removed.is_none() && before.iter().all(|file| file.exists()), "earlier files stay");
    }
    assert_eq!((named, saved), (frames, records.len() as u64), "{served}");
    assert!(take.complete && (take.first, take.count) == (first, frames), "{take:?}");
    assert_eq!(take.missing(), frames - saved, "each is saved or a hole: {take:?}");
    for record in &records {
        let file = of_order.join(&record.file);
        assert!(file.exists() && take.why_missing(record.info.number).is_none(), "{record:?}");
    }
    for file in final_files(&of_order) {
        let named = records.iter().filter(|record| of_order.join(&record.file) == file);
        is_whole(&file, named.map(|record| record.offset + 1).max().unwrap_or(0));
    }
    saved
}

/// The boxes of an MP4 file.
fn boxes(file: &Path) -> Vec<String> {
    let bytes = std::fs::read(file).unwrap();
    let (mut rest, mut kinds) = (&bytes[..], Vec::new());
    while let Some((kind, size)) = swsync_core::mp4::box_at(rest) {
        kinds.push(String::from_utf8_lossy(&kind).into_owned());
        rest = rest.get(usize::try_from(size).unwrap()..).unwrap_or_default();
    }
    kinds
}

/// Kills a device in a take, once `middle` is true of its folder. Returns how many frames are saved.
fn kill_in_a_take(
    codec: &Codec,
    extension: &str,
    segment: Option<Span>,
    max_files: Option<usize>,
    middle: impl Fn(&Path) -> bool,
) -> u64 {
    let pattern = format!("{{take}}/{{device}}/{{segment}}.{extension}");
    let kind = OrderKind::Take { segment, fill: Fill::None };
    let saving = Saving { encoder: codec.encoder, pattern: &pattern, max_files };
    kill_in_the_middle(saving, kind, 120, middle, |file, pictures| {
        if file.extension().is_some_and(|other| other == extension) {
            let played = codec.play(file);
            assert!(played.begins_with_key && played.pictures as u64 >= pictures, "{}", file.display());
            assert_eq!(codec.decode(file), played.pictures, "{}", file.display());
            if extension == "mp4" {
                assert_eq!(boxes(file), ["ftyp", "mdat", "moov"], "what a crash left has an index");
            }
        }
    })
}

/// Kills a device in a take: what was written of the video is saved, but for its last `lost` frames at most.
fn all_but_the_last_survives(codec: &Codec, extensions: &[&str], lost: usize) {
    if !common::installed(codec.element) {
        return;
    }
    for extension in extensions {
        let written = std::cell::Cell::new(0);
        let saved = kill_in_a_take(codec, extension, None, None, |folder| {
            let log = std::fs::read_to_string(folder.join(format!(".0000.{extension}.frames.part")));
            written.set(log.map_or(0, |log| log.lines().filter(|line| line.contains("\"number\"")).count()));
            written.get() >= 60
        });
        let least = written.get() - lost;
        assert!(saved >= least as u64, "{extension}: {saved} saved, {} were written", written.get());
    }
}

/// Frames of an unfinished fragment.
const FRAGMENT: usize = 32;
/// Frames of an unfinished cluster or packet.
const PICTURE: usize = 2;

/// Segments of a second, of which one is finished, and the one in the file `part` has something to be saved.
fn kill_in_a_segment(max_files: Option<usize>, part: &str) {
    if common::installed("x264enc") {
        kill_in_a_take(&H264, "mp4", Some(Span::from_secs(1)), max_files, |folder| {
            let names = files(folder);
            names.iter().any(|name| name.ends_with(".mp4")) && names.iter().any(|name| name == part)
        });
    }
}

#[test]
fn killed_in_the_second_file_of_a_take() {
    kill_in_a_segment(None, ".0001.mp4.part");
}

#[test]
fn killed_in_the_middle_of_a_loop() {
    kill_in_a_segment(Some(1), ".0002.mp4.part");
}

#[test]
fn h264_is_killed() {
    all_but_the_last_survives(&H264, &["mp4"], FRAGMENT);
    all_but_the_last_survives(&H264, &["mkv", "ts", "avi", "flv"], PICTURE);
}

#[test]
fn h265_is_killed() {
    all_but_the_last_survives(&H265, &["mp4"], FRAGMENT);
    all_but_the_last_survives(&H265, &["mkv", "ts"], PICTURE);
}

#[test]
fn vp9_is_killed() {
    all_but_the_last_survives(&VP9, &["mp4"], FRAGMENT);
    all_but_the_last_survives(&VP9, &["mkv"], PICTURE);
}

#[test]
fn av1_is_killed() {
    all_but_the_last_survives(&AV1, &["mp4"], FRAGMENT);
    all_but_the_last_survives(&AV1, &["mkv"], PICTURE);
}

fn kill_in_a_burst(max_files: Option<usize>, middle: impl Fn(&Path) -> bool) {
    if !common::installed("jpegenc") {
        return;
    }
    let saving = Saving { encoder: "jpegenc", pattern: "", max_files };
    kill_in_the_middle(saving, OrderKind::Burst { count: 200 }, 200, middle, |file, _| {
        if file.extension().is_some_and(|extension| extension == "jpg") {
            let bytes = std::fs::read(file).unwrap();
            assert!(bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9]), "{}", file.display());
        }
    });
}

#[test]
fn killed_in_the_middle_of_a_burst() {
    kill_in_a_burst(None, |folder| files(folder).iter().filter(|name| name.ends_with(".jpg")).count() >= 20);
}

#[test]
fn killed_in_the_middle_of_a_loop_of_pictures() {
    // At first there is no take.json.
    kill_in_a_burst(Some(10), |folder| {
        let described = std::fs::read(folder.join("take.json")).unwrap_or_default();
        Take::from_json(&described).is_ok_and(|take| take.is_removed(take.first + 20))
    });
}
