//! `swsync export` of coded video: what other people's tools make of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use serde_json::Value;
use swsync_core::order::{Order, OrderKind};
use swsync_core::time::Span;

use swsync_cli::testing::{FIRST, Ran, TakeBuilder, info, name};

use crate::swsync_media;
use crate::videos::{
    PICTURE, Stream, decoded, grey, pictures_in, python, run_pipeline, shade, sized_video, video,
};

const H264: &str = "video/x-h264, width=(int)64, height=(int)48, framerate=(fraction)30/1";

/// A take of 40 frames of the past in two files, each with a lead-in of five frames. The encoder had made frames 0 to 44.
fn past(device: &str, stream: &Stream) -> TakeBuilder {
    let mut part = TakeBuilder::new("o1", device, 40);
    (part.take.caps, part.take.lead_in) = (H264.into(), 5);
    part.video_after(5, 0, 20, &[], stream.mp4(0..=24)).video_after(5, 20, 20, &[], stream.mp4(20..=44))
}

/// A take of 40 frames of the future in two files, which begin with key frames.
fn to_come(device: &str, stream: &Stream) -> TakeBuilder {
    let mut part = TakeBuilder::new("o1", device, 40);
    part.take.caps = H264.into();
    part.video(0, 20, &[], stream.mp4(0..=19)).video(20, 20, &[], stream.mp4(20..=39))
}

fn export(format: &str, takes: &[PathBuf], out: &Path, args: &[&str]) -> Ran {
    let takes: Vec<_> = takes.iter().map(|take| take.to_str().unwrap()).collect();
    let paths = [&["export", format][..], &takes, &["-o", out.to_str().unwrap()], args].concat();
    Ran::of(&mut swsync_media(&paths))
}

#[derive(Clone, PartialEq, prost::Message)]
struct Video {
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
}

/// Messages of an MCAP file in its order: log time, topic and data.
fn messages(path: &Path) -> Vec<(u64, String, Vec<u8>)> {
    let file = fs::read(path).unwrap();
    let messages = mcap::MessageStream::new(&file).unwrap().map(Result::unwrap);
    messages.map(|m| (m.log_time, m.channel.topic.clone(), m.data.into_owned())).collect()
}

/// The coded frames of a device, in the file's order, and their log times.
fn coded(messages: &[(u64, String, Vec<u8>)], device: &str) -> (Vec<u64>, Vec<Vec<u8>>) {
    let topic = format!("/{device}/video");
    let of_device = messages.iter().filter(|(_, other, _)| *other == topic);
    of_device.map(|(at, _, data)| (*at, Video::decode(&data[..]).unwrap().data)).unzip()
}

fn time(index: i64) -> u64 {
    let number = FIRST.checked_add_signed(index).unwrap();
    u64::try_from(info(number).rig_time_ns.as_nanos()).unwrap()
}

#[test]
fn mcap_decodes_to_the_recorded_pictures() {
    let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let streams = [Stream::of("ball", 45), Stream::of("snow", 45)];
    past("a", &streams[0]).write(root.path());
    to_come("b", &streams[1]).write(root.path());
    let file = out.path().join("out/o1.mcap");
    let ran = export("mcap", &[root.path().join("o1")], file.parent().unwrap(), &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");

    let messages = messages(&file);
    assert!(messages.is_sorted_by_key(|(at, ..)| *at), "file order is time order");
    let (times, frames) = coded(&messages, "a");
    assert_eq!(times.len(), 45, "each frame once, and the five that the first builds on");
    for (at, index) in times.iter().zip(-5..) {
        assert!(at.abs_diff(time(index)) < 1_000_000, "{index}: {at}");
    }
    assert_eq!(times[5..], (0..40).map(time).collect::<Vec<_>>());
    assert!(decoded(&frames.concat()) == streams[0].pictures(), "bit by bit");
    let (times, frames) = coded(&messages, "b");
    assert_eq!(times, (0..40).map(time).collect::<Vec<_>>());
    assert!(decoded(&frames.concat()) == streams[1].pictures()[..40 * PICTURE]);
    for frame in frames {
        assert_eq!(frame[..5], [0, 0, 0, 1, 9], "the delimiter comes first");
    }
    for device in ["a", "b"] {
        let topic = format!("/{device}/frame");
        assert_eq!(messages.iter().filter(|(_, other, _)| *other == topic).count(), 40);
    }

    // Read by the format's own library.
    let yuv = tempfile::tempdir().unwrap();
    let Some(read) = python("mcap_check.py", &[&file, yuv.path()]) else { return };
    let read: Value = serde_json::from_str(&read).unwrap();
    for (device, stream, count) in [("a", &streams[0], 45), ("b", &streams[1], 40)] {
        let pictures = fs::read(yuv.path().join(format!("{device}.yuv"))).unwrap();
        assert!(pictures == stream.pictures()[..count * PICTURE], "{device}");
    }
    let records = read["metadata"].as_array().unwrap();
    assert_eq!(
        (records[0]["name"].as_str(), records[0]["order"].as_str()),
        (Some("swsync.take"), Some("o1"))
    );
    assert_eq!((records[0]["devices"].as_str(), records[0]["count"].as_str()), (Some("a,b"), Some("40")));
    assert_eq!(records[0]["begin_ns"], time(0).to_string());
    assert_eq!(records[0]["worst_phase_error_ns"], "5000");
    assert_eq!(records[0]["worst_clock_uncertainty_ns"], "20000");
    assert_eq!(records.len(), 3);
}

#[test]
fn mcap_sorts_takes_and_has_shared_frames_once() {
    let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stream = Stream::of("ball", 45);
    past("a", &stream).write(root.path());
    // Frames 25 to 34 of the same take, and a picture.
    let mut part = TakeBuilder::new("o2", "a", 10);
    (part.take.caps, part.take.first) = (H264.into(), FIRST + 25);
    part.video_after(10, 25, 10, &[], stream.mp4(20..=39)).write(root.path());
    TakeBuilder::new("o0", "b", 1).pictures(&[], |_| grey(40)).write(root.path());
    let takes = ["o2", "o1", "o0"].map(|order| root.path().join(order));
    let ran = export("mcap", &takes, &out.path().join("out"), &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let messages = messages(&out.path().join("out/o2.mcap"));
    assert!(messages.is_sorted_by_key(|(at, ..)| *at));
    let (_, frames) = coded(&messages, "a");
    assert!(decoded(&frames.concat()) == stream.pictures());
    assert_eq!(messages.iter().filter(|(_, topic, _)| topic == "/a/frame").count(), 40);

    // From another encoder: no decoder could switch from one stream to the other.
    let other = Stream::of("snow", 45);
    let mut part = TakeBuilder::new("o3", "a", 10);
    (part.take.caps, part.take.first) = (H264.into(), FIRST + 10);
    part.video(10, 10, &[], other.mp4(0..=9)).write(root.path());
    let takes = ["o1", "o3"].map(|order| root.path().join(order));
    let ran = export("mcap", &takes, &out.path().join("other"), &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("coded in two ways"), "{ran:#?}");
    assert!(!out.path().join("other").exists());
}

#[test]
fn a_failed_export_leaves_nothing_and_can_be_repeated() {
    let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stream = Stream::of("ball", 45);
    for device in ["a", "b"] {
        past(device, &stream).write(root.path());
    }
    let (take, file) = (root.path().join("o1"), root.path().join("o1/b/0001.mp4"));
    let whole = fs::read(&file).unwrap();
    for bytes in [stream.mp4(20..=30), b"no video".to_vec()] {
        fs::write(&file, bytes).unwrap();
        for format in ["colmap", "freemocap", "mcap", "timecode", "video"] {
            let out = out.path().join("deep").join(format);
            let ran = export(format, std::slice::from_ref(&take), &out, &[]);
            assert_eq!(ran.code, 1, "{format}: {ran:#?}");
            assert!(ran.stderr.contains("0001.mp4"), "{format} names what is wrong: {ran:#?}");
            assert!(!out.parent().unwrap().exists(), "{format} leaves nothing");
        }
    }
    fs::write(&file, whole).unwrap();
    let ran = export("video", &[take], &out.path().join("deep/video"), &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
}

/// Shade of the picture of frame `index`.
fn tone(index: u64) -> u8 {
    u8::try_from(40 + 20 * index).unwrap()
}

fn near(shade: u8, expected: u8) {
    assert!(shade.abs_diff(expected) <= 6, "{shade}, not {expected}");
}

/// What OpenCV makes of videos: (pictures that it says there are, pictures, rate) of each.
fn played(videos: &[PathBuf]) -> Option<Vec<(usize, usize, f64)>> {
    let paths: Vec<_> = videos.iter().map(PathBuf::as_path).collect();
    let read = python("play.py", &paths)?;
    Some(read.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// When `video` says that it was made, in seconds since 1970.
fn made(video: &Path) -> i64 {
    let bytes = fs::read(video).unwrap();
    let at = bytes.windows(4).position(|window| window == b"mvhd").unwrap() + 8;
    i64::from(u32::from_be_bytes(*bytes[at..].first_chunk().unwrap())) - 2_082_844_800
}

#[test]
fn picture_k_is_the_same_instant_in_all_videos() {
    let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shades = |range: std::ops::Range<u64>| range.map(tone).collect::<Vec<_>>();
    let part = |device| {
        let mut part = TakeBuilder::new("o1", device, 8);
        part.take.caps = H264.into();
        part
    };
    // A video as it is; one with a lead-in; one with a hole; and pictures.
    part("a")
        .video(0, 4, &[], video(&shades(0..4)))
        .video(4, 4, &[], video(&shades(4..8)))
        .write(root.path());
    let before = video(&[&[16, 16][..], &shades(0..4)].concat());
    part("b").video_after(2, 0, 4, &[], before).video(4, 4, &[], video(&shades(4..8))).write(root.path());
    let holed = video(&[tone(1), tone(3)]);
    part("c").video(0, 4, &[0, 2], holed).video(4, 4, &[], video(&shades(4..8))).write(root.path());
    TakeBuilder::new("o1", "d", 8).pictures(&[5], |index| grey(tone(index))).write(root.path());
    let out = out.path().join("out");
    let ran = export("video", &[root.path().join("o1")], &out, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    for said in [
        "o1: a, copied as it is",
        "o1: b, coded anew (H.264): what it begins with builds on frames of before",
        "o1: c, coded anew (H.264): frames are filled in",
        "o1: d, coded anew (H.264): it saved pictures",
        "o1: 8 pictures each",
    ] {
        assert!(ran.stdout.contains(said), "{said}: {ran:#?}");
    }
    let videos = ["a", "b", "c", "d"].map(|device| out.join(format!("o1/{device}.mp4")));
    for video in &videos {
        assert_eq!(made(video), i64::try_from(time(0) / 1_000_000_000).unwrap());
        let times = fs::read_to_string(video.with_extension("pts")).unwrap();
        assert_eq!(times.lines().count(), 1 + 8);
    }
    let grid = fs::read_to_string(out.join("o1/o1-grid.csv")).unwrap();
    assert_eq!(grid.lines().count(), 1 + 8);
    let Some(played) = played(&videos) else { return };
    for (video, (said, count, rate)) in videos.iter().zip(played) {
        assert_eq!((said, count), (8, 8), "{}", video.display());
        assert!((rate - 30.0).abs() < 0.01, "{rate}");
        for index in 0..8 {
            let device = video.file_stem().unwrap().to_str().unwrap();
            let expected = match (device, index) {
                ("c", 0) => 0,
                ("c", 2) | ("d", 5) => tone(index - 1),
                _ => tone(index),
            };
            near(shade(&PathBuf::from(format!("{}.{index}.png", video.display()))), expected);
        }
    }
}

#[test]
fn a_camera_that_changed_its_size_in_a_take_can_be_exported() {
    let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shades = |range: std::ops::Range<u64>| range.map(tone).collect::<Vec<_>>();
    let mut part = TakeBuilder::new("o1", "a", 8);
    part.take.caps = H264.into();
    part.video(0, 3, &[], video(&shades(0..3)))
        .video(3, 5, &[3], sized_video(&shades(4..8), ",width=128,height=48"))
        .write(root.path());
    let takes = [root.path().join("o1")];
    for format in ["csv", "timecode", "mcap", "colmap", "freemocap", "video"] {
        let ran = export(format, &takes, &out.path().join(format), &[]);
        assert_eq!(ran.code, 0, "{format}: {ran:#?}");
        if format == "video" {
            assert!(ran.stdout.contains("pictures of 128x48 are scaled to"), "{ran:#?}");
        }
    }
    let video = out.path().join("video/o1/a.mp4");
    let Some(played) = played(std::slice::from_ref(&video)) else { return };
    assert_eq!((played[0].0, played[0].1), (7, 7));
    for (index, number) in [0, 1, 2, 4, 5, 6, 7].into_iter().enumerate() {
        near(shade(&PathBuf::from(format!("{}.{index}.png", video.display()))), tone(number));
    }
}

#[test]
fn copied_frames_are_those_of_the_take_with_b_frames_too() {
    let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stream = Stream::of("ball", 40);
    to_come("a", &stream).write(root.path());
    let mut part = TakeBuilder::new("o1", "b", 40);
    part.take.caps = H264.into();
    let folder = part.video(0, 40, &[], reordered(40)).write(root.path());
    let (takes, cut) = ([root.path().join("o1")], out.path().join("cut"));
    let ran = export("video", &takes, &cut, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    for (device, pictures) in [("a", stream.pictures()), ("b", pictures_in(&folder.join("0000.mp4")))] {
        assert!(ran.stdout.contains(&format!("o1: {device}, copied as it is")), "{ran:#?}");
        assert_eq!(pictures.len(), 40 * PICTURE);
        assert!(pictures_in(&cut.join(format!("o1/{device}.mp4"))) == pictures, "{device}, bit by bit");
    }
    let videos = ["a", "b"].map(|device| cut.join(format!("o1/{device}.mp4")));
    if let Some(played) = played(&videos) {
        assert!(
            played.iter().all(|(said, count, rate)| (*said, *count, *rate) == (40, 40, 30.0)),
            "{played:?}"
        );
    }
    let refused = export("mcap", &takes, &out.path().join("log"), &[]);
    assert!(refused.code == 1 && refused.stderr.contains("B-frames"), "{refused:#?}");
    assert!(!out.path().join("log").exists());
}

/// An MP4 whose frames are stored in another order than they are shown.
fn reordered(count: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.mp4");
    run_pipeline(&format!(
        "videotestsrc pattern=ball num-buffers={count} ! video/x-raw,format=I420,width=64,height=48,framerate=30/1 ! \
         x264enc bframes=2 b-adapt=false key-int-max=20 ! video/x-h264,profile=main ! h264parse ! mp4mux ! \
         filesink location={}",
        path.display()
    ));
    fs::read(path).unwrap()
}

#[test]
fn a_time_lapse_plays_at_its_own_rate() {
    let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kind = OrderKind::Still { every: Some(Span::from_millis(500)), count: Some(6) };
    let at = info(FIRST).rig_time_ns - Span::from_micros(5);
    let order = Order::new(name("o1"), at, None, kind).unwrap();
    let mut part = TakeBuilder::new("o1", "a", 6);
    part.take.ordered = serde_json::to_value(&order).unwrap();
    for index in 0..6 {
        part = part.picture(15 * index, grey(tone(index)));
    }
    part.write(root.path());
    for (format, path) in [("video", "o1/a.mp4"), ("freemocap", "o1/synchronized_videos/o1.id-a.idx-0.mp4")] {
        let out = out.path().join(format);
        let ran = export(format, &[root.path().join("o1")], &out, &[]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        let Some(played) = played(&[out.join(path)]) else { return };
        assert_eq!((played[0].0, played[0].1), (6, 6));
        assert!((played[0].2 - 2.0).abs() < 1e-6, "two pictures a second: {played:?}");
    }
    let times = out.path().join("freemocap/o1/synchronized_videos/timestamps/o1_timestamps.csv");
    let last = fs::read_to_string(times).unwrap().lines().last().unwrap().to_owned();
    assert!(last.ends_with(",500.000000,2.000000"), "{last}");
}

#[test]
fn timecodes_fit_their_files() {
    let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let stream = Stream::of("ball", 45);
    past("a", &stream).write(root.path());
    to_come("b", &stream).write(root.path());
    let out = out.path().join("out");
    let ran = export("timecode", &[root.path().join("o1")], &out, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let mut files = BTreeMap::new();
    for path in ["a/0000", "a/0001", "b/0000", "b/0001"] {
        let text = fs::read_to_string(out.join(format!("o1/{path}.pts"))).unwrap();
        let times: Vec<f64> = text.lines().skip(1).map(|line| line.parse().unwrap()).collect();
        files.insert(path, times);
    }
    let lines: Vec<_> = files.values().map(Vec::len).collect();
    assert_eq!(lines, [25, 25, 20, 20], "a line for each picture that is stored");
    // The take began with a's lead-in, five frames before its first number.
    for (path, first, lead_in) in [("a/0000", 0, 5), ("a/0001", 20, 5), ("b/0000", 0, 0), ("b/0001", 20, 0)] {
        for (index, at) in (0..).zip(&files[path]) {
            let expected = (5.0 + f64::from(first - lead_in + index)) * 1000.0 / 30.0;
            assert!((at - expected).abs() < 0.5, "{path}, {index}: {at}, not {expected}");
        }
    }
    let refused = export("timecode", &[root.path().join("o1")], &out.join("x"), &["--fill", "hold"]);
    assert!(refused.code == 1 && refused.stderr.contains("swsync export video"), "{refused:#?}");
}
