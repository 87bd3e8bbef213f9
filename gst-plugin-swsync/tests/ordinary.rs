//! Videos that `swsyncsink` has closed are ordinary files to other programs: these read duration and number of pictures, can
//! seek in them, and join them as they are.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::coded::{Codec, H264, H265, VP8};
use common::sink::{answer, grid, manifest, place, rig, rig_now};
use common::{LEADER, Pipeline};
use serde::Deserialize;
use swsync_core::name::Name;
use swsync_core::order::{Fill, Order, OrderKind};
use swsync_core::time::Span;

/// Frames of a take in two files of the same length.
const FRAMES: u64 = 60;

/// What OpenCV and FFmpeg read in a file.
#[derive(Debug, Deserialize)]
struct Read {
    opencv_count: usize,
    opencv_shown: usize,
    seconds: Option<f64>,
    stream_frames: usize,
    packets: usize,
    decoded: usize,
    sought: f64,
}

/// What FFmpeg reads in joined files.
#[derive(Debug, Deserialize)]
struct Joined {
    packets: usize,
    rising: bool,
}

/// Records a take with `encoder`. Returns its files, and how many pictures each has.
fn record(encoder: &str, extension: &str, folder: &Path) -> Vec<(PathBuf, usize)> {
    let rig = rig();
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! queue ! \
         {encoder} ! swsyncsink listen=tcp/127.0.0.1:0 rig={rig} device-id=pi \
         location={}/{{take}}/{{device}}/{{segment}}.{extension}",
        folder.display()
    ));
    pipeline.reach(gst::State::Playing);
    let mut files = Vec::new();
    // A busy machine drops frames.
    common::eventually("a complete take", || {
        let now = rig_now();
        let first = grid().nearest(now) + 30;
        let id = format!("t{first}");
        let kind = OrderKind::Take { segment: Some(Span::from_secs(1)), fill: Fill::None };
        let (at, stop) = (grid().instant(first), Some(grid().instant(first + FRAMES)));
        let order = Order::new(Name::new(&*id).unwrap(), at, stop, kind).unwrap();
        let answer = answer(place(&rig, order));
        let folder = folder.join(id).join("pi");
        let Ok(entries) = std::fs::read_dir(&folder) else { return false };
        files = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|other| other == extension));
        files.sort();
        answer.is_complete() && {
            assert_eq!(manifest(&folder).len() as u64, FRAMES);
            true
        }
    });
    let pictures = |file: &Path| {
        let times = std::fs::read_to_string(file.with_extension("pts")).unwrap();
        times.lines().count() - 1 // its head
    };
    files.iter().map(|file| (file.clone(), pictures(file))).collect()
}

/// What gst-discoverer-1.0 says of a file: its duration, and whether it is seekable.
fn discovered(file: &Path) -> (f64, bool) {
    let ran = Command::new("gst-discoverer-1.0").arg("-v").arg(file).output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} {text}")).trim().to_owned()
    };
    let duration = field("Duration:");
    let [hours, minutes, seconds] = duration.split(':').collect::<Vec<_>>()[..] else { panic!("{duration}") };
    let part = |part: &str| part.parse::<f64>().unwrap();
    (3600.0 * part(hours) + 60.0 * part(minutes) + part(seconds), field("Seekable:") == "yes")
}

/// Whether a container has the number of its pictures.
#[derive(Clone, Copy, PartialEq)]
enum Counts {
    /// Its index has it.
    Exact,
    /// Readers work it out from duration and rate, one of which is rounded.
    Estimated,
}

fn is_ordinary(codec: &Codec, encoder: &str, extension: &str, counts: Counts) {
    if !common::installed(codec.element) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let files = record(encoder, extension, folder.path());
    let what = format!("{encoder} in {extension}");
    assert_eq!(files.len(), 2, "{what}");
    for (file, pictures) in &files {
        let (seconds, is_seekable) = discovered(file);
        let expected = f64::from(u32::try_from(*pictures).unwrap()) / 30.0;
        assert!(is_seekable && (seconds - expected).abs() < 0.07, "{what}: {seconds} s, not {expected}");
    }
    let paths: Vec<_> = files.iter().map(|(path, _)| path.as_path()).collect();
    let Some(printed) = common::python("ordinary.py", &paths) else { return };
    let mut lines = printed.lines();
    for (_, pictures) in &files {
        let read: Read = serde_json::from_str(lines.next().unwrap()).unwrap();
        let expected = f64::from(u32::try_from(*pictures).unwrap()) / 30.0;
        let all = [read.packets, read.decoded, read.opencv_shown];
        assert_eq!(all, [*pictures; 3], "{what}: {read:?}");
        let seconds = read.seconds.expect("the file has a duration");
        assert!((seconds - expected).abs() < 0.07, "{what}: {read:?}");
        if counts == Counts::Exact {
            assert_eq!([read.stream_frames, read.opencv_count], [*pictures; 2], "{what}: {read:?}");
        } else {
            assert!(read.opencv_count.abs_diff(*pictures) <= 1, "{what}: {read:?}");
        }
        assert!(read.sought <= seconds / 2.0 + 0.05, "{what}: {read:?}");
    }
    let joined: Joined = serde_json::from_str(lines.next().unwrap()).unwrap();
    let all: usize = files.iter().map(|(_, pictures)| pictures).sum();
    assert!(joined.rising && joined.packets == all, "{what}: {joined:?}");
}

const REORDERED: &str = "x264enc speed-preset=ultrafast bframes=2 key-int-max=15";

#[test]
fn mp4() {
    is_ordinary(&H264, H264.encoder, "mp4", Counts::Exact);
    is_ordinary(&H264, REORDERED, "mp4", Counts::Exact);
    is_ordinary(&H265, H265.encoder, "mp4", Counts::Exact);
}

#[test]
fn quicktime() {
    is_ordinary(&H264, REORDERED, "mov", Counts::Exact);
}

#[test]
fn matroska() {
    is_ordinary(&H264, H264.encoder, "mkv", Counts::Estimated);
    is_ordinary(&H264, REORDERED, "mkv", Counts::Estimated);
    is_ordinary(&VP8, VP8.encoder, "webm", Counts::Estimated);
}

#[test]
fn avi_and_flv() {
    is_ordinary(&H264, H264.encoder, "avi", Counts::Exact);
    is_ordinary(&H264, H264.encoder, "flv", Counts::Estimated);
}
