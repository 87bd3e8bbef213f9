//! `swsync export`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use prost::Message as _;
use swsync_core::manifest::{FrameRecord, RemovedFrames};

use swsync_cli::testing::schemas::OfSchema as _;
use swsync_cli::testing::{FIRST, Ran, TakeBuilder, info};

use crate::swsync_media;
use crate::videos::{grey, run_pipeline, shade, video};

/// Shade of the picture of frame `index`.
fn tone(index: u64) -> u8 {
    u8::try_from(40 + 20 * index).unwrap()
}

/// A take of five frames: `a` has them all, `b` lacks the third and the fourth.
fn pictures() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    TakeBuilder::new("o1", "a", 5).pictures(&[], |index| grey(tone(index))).write(root.path());
    TakeBuilder::new("o1", "b", 5).pictures(&[2, 3], |index| grey(tone(index))).write(root.path());
    root
}

/// A take of eight frames in two segments: `a`'s begins with a lead-in, `b` lacks the third frame.
fn videos() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let shades = |range: std::ops::Range<u64>| range.map(tone).collect::<Vec<_>>();
    let mut a = TakeBuilder::new("o1", "a", 8);
    a.take.lead_in = 1;
    a.take.caps = "video/x-h264, width=(int)64, height=(int)48, framerate=(fraction)30/1".into();
    let caps = a.take.caps.clone();
    a.video(0, 4, &[], video(&[&[16][..], &shades(0..4)].concat()))
        .video(4, 4, &[], video(&shades(4..8)))
        .write(root.path());
    let mut b = TakeBuilder::new("o1", "b", 8);
    b.take.caps = caps;
    b.video(0, 4, &[2], video(&[tone(0), tone(1), tone(3)]))
        .video(4, 4, &[], video(&shades(4..8)))
        .write(root.path());
    root
}

fn export(format: &str, root: &Path, out: &Path, args: &[&str]) -> Ran {
    let take = root.join("o1");
    let paths = ["export", format, take.to_str().unwrap(), "-o", out.to_str().unwrap()];
    Ran::of(&mut swsync_media(&[&paths, args].concat()))
}

/// Files below `folder`, relative to it.
fn tree(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    files.sort();
    files
}

fn out() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    (folder, out)
}

fn near(shade: u8, expected: u8) {
    assert!(shade.abs_diff(expected) <= 6, "{shade}, not {expected}");
}

#[test]
fn a_loop_begins_where_the_first_camera_has_files() {
    let root = tempfile::tempdir().unwrap();
    for (device, gone) in [("a", 2), ("b", 3)] {
        let mut part =
            TakeBuilder::new("o1", device, 5).pictures(&[0, 1, 2][..gone], |index| grey(tone(index)));
        let before = FIRST + gone as u64;
        part.take.removed = Some(RemovedFrames { before, why: "removed: max-files=3".into() });
        part.write(root.path());
    }
    let (_folder, out) = out();
    assert_eq!(export("csv", root.path(), &out, &[]).code, 0);
    let grid = fs::read_to_string(out.join("o1-grid.csv")).unwrap();
    let numbers: Vec<_> = grid.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(numbers, [2, 3, 4].map(|index| (FIRST + index).to_string()));
}

#[test]
fn colmap_gets_pictures_of_one_name_and_a_rig() {
    let (root, (_keep, out)) = (pictures(), out());
    let ran = export("colmap", root.path(), &out, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let images = |device: &str, indices: &[u64]| {
        let path = |index: &u64| format!("images/rig1/{device}/{}.jpg", FIRST + index);
        indices.iter().map(path).collect::<Vec<_>>()
    };
    let expected =
        [images("a", &[0, 1, 2, 3, 4]), images("b", &[0, 1, 4]), vec!["rig_config.json".into()]].concat();
    assert_eq!(tree(&out), expected);
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("rig_config.json")).unwrap()).unwrap();
    let cameras = json[0]["cameras"].as_array().unwrap();
    assert_eq!(cameras.iter().filter(|camera| camera["ref_sensor"] == true).count(), 1);
    for camera in cameras {
        let prefix = camera["image_prefix"].as_str().unwrap();
        assert!(prefix.ends_with('/') && out.join("images").join(prefix).is_dir(), "{prefix}");
    }
    let picture = images("a", &[3])[0].clone();
    assert_eq!(fs::metadata(out.join(&picture)).unwrap().nlink(), 2, "linked");
    assert!(ran.stdout.contains("colmap rig_configurator"), "{ran:#?}");

    // A second export needs --force, and never writes into the collected pictures.
    let again = export("colmap", root.path(), &out, &[]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("is there already") && again.stderr.contains("--force"), "{again:#?}");
    assert_eq!(export("colmap", root.path(), &out, &["--force", "--copy", "--fill", "black"]).code, 0);
    assert_eq!(fs::metadata(out.join(&picture)).unwrap().nlink(), 1, "copied");
    near(shade(&out.join(&images("b", &[2])[0])), 0);
    near(shade(&root.path().join(format!("o1/a/{}.jpg", FIRST + 3))), tone(3));
}

#[test]
fn a_dry_run_lists_files_and_writes_none() {
    for (format, root) in
        [("colmap", pictures()), ("colmap", videos()), ("freemocap", pictures()), ("mcap", pictures())]
    {
        let (_keep, out) = out();
        let ran = export(format, root.path(), &out, &["--dry-run"]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        assert!(
            ran.stdout.contains("would write") && ran.stdout.contains("files would be written"),
            "{ran:#?}"
        );
        assert!(!out.exists(), "{format}");
    }
}

#[test]
fn colmap_gets_the_right_pictures_out_of_videos() {
    let (root, (_keep, out)) = (videos(), out());
    let ran = export("colmap", root.path(), &out, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    for device in ["a", "b"] {
        for index in 0..8 {
            let path = out.join(format!("images/rig1/{device}/{}.jpg", FIRST + index));
            if device == "b" && index == 2 {
                assert!(!path.exists(), "a hole");
            } else {
                near(shade(&path), tone(index));
            }
        }
    }
    fs::remove_dir_all(&out).unwrap();
    assert_eq!(export("colmap", root.path(), &out, &["--every", "4", "--fill", "hold"]).code, 0);
    // FIRST is a multiple of 4.
    let files =
        ["a", "b"].map(|device| [0, 4].map(|index| format!("images/rig1/{device}/{}.jpg", FIRST + index)));
    assert_eq!(tree(&out), [files.concat(), vec!["rig_config.json".into()]].concat());
}

#[test]
fn a_video_that_is_cut_short_is_an_error() {
    let (root, (_keep, out)) = (videos(), out());
    fs::write(root.path().join("o1/b/0001.mp4"), video(&[tone(4), tone(5)])).unwrap();
    let ran = export("colmap", root.path(), &out, &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("0001.mp4 can be decoded, and picture 2 (from 0)"), "{ran:#?}");
}

/// Counts a video's frames by decoding it, and leaves them beside it.
fn frames(video: &Path) -> usize {
    let path = video.display();
    run_pipeline(&format!(
        "filesrc location={path} ! decodebin ! videoconvert ! jpegenc ! multifilesink name=out location={path}.%d.jpg"
    ))
}

#[test]
fn freemocap_gets_the_same_number_of_frames_of_each_camera() {
    for (root, count) in [(pictures(), 5), (videos(), 8)] {
        let (_keep, out) = out();
        let ran = export("freemocap", root.path(), &out, &[]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        let videos = out.join("o1/synchronized_videos");
        let files = [
            "o1.id-a.idx-0.mp4",
            "o1.id-b.idx-1.mp4",
            "timestamps/camera_timestamps/o1.cameraa.timestamps.csv",
            "timestamps/camera_timestamps/o1.camerab.timestamps.csv",
            "timestamps/o1.id-a.idx-0_binary.npy",
            "timestamps/o1.id-b.idx-1_binary.npy",
            "timestamps/o1_timestamps.csv",
        ];
        assert_eq!(tree(&videos), files);
        for device in ["o1.id-a.idx-0.mp4", "o1.id-b.idx-1.mp4"] {
            assert_eq!(frames(&videos.join(device)), count, "{device}");
        }
        // b's third frame is its second one again.
        for (index, tone) in [(0, tone(0)), (1, tone(1)), (2, tone(1)), (4, tone(4))] {
            near(shade(&videos.join(format!("o1.id-b.idx-1.mp4.{index}.jpg"))), tone);
        }
        near(shade(&videos.join("o1.id-a.idx-0.mp4.2.jpg")), tone(2));
        let table = fs::read_to_string(videos.join("timestamps/o1_timestamps.csv")).unwrap();
        let column = table.lines().next().unwrap().split(',').position(|c| c == "from_previous.framerate.hz");
        let rates: Vec<f64> = table
            .lines()
            .skip(2)
            .map(|row| row.split(',').nth(column.unwrap()).unwrap().parse().unwrap())
            .collect();
        assert_eq!(rates.len(), count - 1);
        assert!(rates.iter().all(|rate| (rate - 30.0).abs() < 0.1), "{rates:?}");
    }
}

#[test]
fn freemocap_without_a_fill_gets_the_frames_that_all_have() {
    let (root, (_keep, out)) = (pictures(), out());
    assert_eq!(export("freemocap", root.path(), &out, &["--fill", "none"]).code, 0);
    let videos = out.join("o1/synchronized_videos");
    for device in ["id-a.idx-0", "id-b.idx-1"] {
        assert_eq!(frames(&videos.join(format!("o1.{device}.mp4"))), 3);
        near(shade(&videos.join(format!("o1.{device}.mp4.2.jpg"))), tone(4));
    }
}

#[test]
fn freemocap_gets_a_whole_video_unchanged() {
    let (root, (_keep, out)) = (tempfile::tempdir().unwrap(), out());
    let mut part = TakeBuilder::new("o1", "a", 4);
    part.take.caps = "video/x-h264, width=64, height=48".into();
    part.video(0, 4, &[], video(&[40, 60, 80, 100])).write(root.path());
    let ran = export("freemocap", root.path(), &out, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(frames(&out.join("o1/synchronized_videos/o1.id-a.idx-0.mp4")), 4);
}

/// Foxglove's messages, as far as they are looked at.
#[derive(Clone, PartialEq, prost::Message)]
struct Image {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<prost_types::Timestamp>,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
    #[prost(string, tag = "3")]
    format: String,
    #[prost(string, tag = "4")]
    frame_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Video {
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
    #[prost(string, tag = "4")]
    format: String,
}

/// Messages by topic: log time and data.
fn messages(path: &Path) -> BTreeMap<String, Vec<(u64, Vec<u8>)>> {
    let file = fs::read(path).unwrap();
    let mut topics: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for message in mcap::MessageStream::new(&file).unwrap() {
        let message = message.unwrap();
        let schema = message.channel.schema.as_ref().unwrap();
        let encodings = (message.channel.message_encoding.as_str(), schema.encoding.as_str());
        assert!(matches!(encodings, ("protobuf", "protobuf") | ("json", "jsonschema")), "{encodings:?}");
        assert_eq!(message.log_time, message.publish_time);
        let topic = topics.entry(format!("{} {}", message.channel.topic, schema.name)).or_default();
        topic.push((message.log_time, message.data.into_owned()));
    }
    topics
}

fn time(index: u64) -> u64 {
    u64::try_from(info(FIRST + index).rig_time_ns.as_nanos()).unwrap()
}

#[test]
fn mcap_has_pictures_at_their_frame_times() {
    let (root, (_keep, out)) = (pictures(), out());
    let ran = export("mcap", root.path(), &out, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(tree(&out), ["o1.mcap"]);
    let topics = messages(&out.join("o1.mcap"));
    let names: Vec<_> = topics.keys().map(String::as_str).collect();
    let expected = [
        "/a/frame swsync.Frame",
        "/a/image foxglove.CompressedImage",
        "/b/frame swsync.Frame",
        "/b/image foxglove.CompressedImage",
    ];
    assert_eq!(names, expected);
    let of_b = &topics["/b/image foxglove.CompressedImage"];
    assert_eq!(of_b.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1, 4].map(time));
    let image = Image::decode(&of_b[2].1[..]).unwrap();
    assert_eq!((image.format.as_str(), image.frame_id.as_str()), ("jpeg", "b"));
    assert_eq!(image.data, grey(tone(4)));
    let at = image.timestamp.unwrap();
    assert_eq!(u64::try_from(at.seconds * 1_000_000_000 + i64::from(at.nanos)).unwrap(), time(4));
    let record = FrameRecord::from_line(std::str::from_utf8(&topics["/b/frame swsync.Frame"][1].1).unwrap());
    assert_eq!(record.unwrap().info, info(FIRST + 1));

    let note = r#"{"text": "second try", "at_ns": 1, "by": "laptop"}"#;
    fs::write(root.path().join("o1/b/note.json"), note).unwrap();
    assert_eq!(export("mcap", root.path(), &out, &["--force", "--fill", "hold"]).code, 0);
    let file = fs::read(out.join("o1.mcap")).unwrap();
    let note = mcap::read::LinearReader::new(&file).unwrap().find_map(|record| match record.unwrap() {
        mcap::records::Record::Metadata(take) if take.name == "swsync.take" => {
            take.metadata.get("note").cloned()
        }
        _ => None,
    });
    assert_eq!(note.as_deref(), Some("second try"));
    let filled = messages(&out.join("o1.mcap"));
    let of_b = &filled["/b/image foxglove.CompressedImage"];
    assert_eq!(of_b.len(), 5);
    assert_eq!(Image::decode(&of_b[3].1[..]).unwrap().data, grey(tone(1)));
}

#[test]
fn mcap_has_coded_frames_that_begin_with_a_key_frame() {
    let (root, (_keep, out)) = (videos(), out());
    let ran = export("mcap", root.path(), &out, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let topics = messages(&out.join("o1.mcap"));
    let of_b = &topics["/b/video foxglove.CompressedVideo"];
    assert_eq!(of_b.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1, 3, 4, 5, 6, 7].map(time));
    for key in [0, 3] {
        let frame = Video::decode(&of_b[key].1[..]).unwrap();
        assert_eq!(frame.format, "h264");
        let kinds: Vec<_> = nal_units(&frame.data);
        assert!(kinds.contains(&7) && kinds.contains(&8) && kinds.contains(&5), "SPS, PPS, IDR: {kinds:?}");
    }
    // The lead-in comes first: without it the first frame cannot be decoded.
    let of_a = &topics["/a/video foxglove.CompressedVideo"];
    assert_eq!((of_a.len(), of_a[1].0), (9, time(0)));
    assert!(of_a[0].0 < time(0));
    assert_eq!(topics["/a/frame swsync.Frame"].len(), 8);
    let refused = export("mcap", root.path(), &out, &["--force", "--fill", "hold"]);
    assert!(refused.stderr.contains("nothing can be put into coded video"), "{refused:#?}");
}

/// Kinds of the NAL units in a byte stream (H.264, annex B).
fn nal_units(bytes: &[u8]) -> Vec<u8> {
    let starts = bytes.windows(4).filter(|window| window[..3] == [0, 0, 1]);
    starts.map(|window| window[3] & 0x1f).collect()
}

#[test]
fn tables_and_timecodes_are_on_one_time_line() {
    let (root, (_keep, out)) = (pictures(), out());
    let ran = export("csv", root.path(), &out, &["--json"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert_eq!(tree(&out), ["o1-frames.csv", "o1-grid.csv"]);
    let said = ran.json_of("export");
    let paths: Vec<_> = said["files"].as_array().unwrap().iter().map(|file| &file["path"]).collect();
    assert_eq!(paths, ["o1-frames.csv", "o1-grid.csv"]);
    let bytes: u64 = tree(&out).iter().map(|file| fs::metadata(out.join(file)).unwrap().len()).sum();
    assert_eq!((&said["complete"], &said["bytes"]), (&true.into(), &bytes.into()), "{said:#}");
    let frames = fs::read_to_string(out.join("o1-frames.csv")).unwrap();
    assert_eq!(frames.lines().count(), 1 + 5 + 3);
    let grid = fs::read_to_string(out.join("o1-grid.csv")).unwrap();
    assert!(grid.contains(&format!(",a/{0}.jpg,b/{0}.jpg\r\n", FIRST + 1)), "{grid}");
    assert!(grid.contains(&format!(",a/{0}.jpg,\r\n", FIRST + 2)), "{grid}");

    assert_eq!(export("timecode", root.path(), &out, &["--force", "--fill", "hold"]).code, 0);
    let times = fs::read_to_string(out.join("o1/b.pts")).unwrap();
    let expected = "# timecode format v2\n0.005000\n33.338333\n66.666667\n100.000000\n133.338333\n";
    assert_eq!(times, expected);
}

#[test]
fn contradictory_arguments_are_refused() {
    let (root, (_keep, out)) = (pictures(), out());
    for args in [&["--fill", "white"][..], &["--every", "0"]] {
        assert_eq!(export("colmap", root.path(), &out, args).code, 2, "{args:?}");
    }
    assert_eq!(Ran::of(&mut swsync_media(&["export", "colmap", "-o", "x"])).code, 2);
    let absent = export("csv", root.path(), &out, &["--device", "c"]);
    assert!(absent.code == 1 && absent.stderr.contains("no device c"), "{absent:#?}");
    let empty = export("csv", &root.path().join("o1"), &out, &[]);
    assert_eq!(empty.code, 1, "{empty:#?}");
    assert!(!out.exists());
}
