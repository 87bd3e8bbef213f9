//! Small pictures of frames in the ring of `swsyncsink`, as other programs of the rig get them.

mod common;

use std::time::{Duration, Instant};

use common::coded::H264;
use common::sink::{grid, rig, rig_now, session};
use common::{LEADER, Pipeline};
use gst::prelude::*;
use swsync_core::name::Name;
use swsync_core::thumbnail::{ThumbnailReply, ThumbnailRequest};

/// Generous: only a failing test waits this long.
const TIMEOUT: Duration = Duration::from_secs(20);

struct Device {
    rig: String,
    _pipeline: Pipeline,
    _folder: tempfile::TempDir,
}

impl Device {
    /// A device whose frames are made by `elements`.
    fn new(elements: &str) -> Self {
        let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
        let pipeline = Pipeline::launch(&format!(
            "{LEADER} {elements} ! swsyncsink name=a listen=tcp/127.0.0.1:0 rig={rig} device-id=pi location={}",
            folder.path().display()
        ));
        pipeline.reach(gst::State::Playing);
        Self { rig, _pipeline: pipeline, _folder: folder }
    }

    fn ask(&self, frame: Option<u64>, width: u16) -> Result<ThumbnailReply, String> {
        let (session, pi) = (session(&self.rig), Name::new("pi").unwrap());
        session.thumbnail(&pi, ThumbnailRequest { frame, width }, TIMEOUT).map_err(|error| error.to_string())
    }

    /// The first picture of the newest frame, once there is a frame.
    fn first(&self, width: u16) -> Result<ThumbnailReply, String> {
        let begun = Instant::now();
        loop {
            match self.ask(None, width) {
                Err(why) if why.contains("no frame yet") && begun.elapsed() < TIMEOUT => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                result => return result,
            }
        }
    }
}

const SOURCE: &str = "videotestsrc is-live=true pattern=smpte75";

fn caps(format: &str) -> String {
    format!("video/x-raw,format={format},width=640,height=480,framerate=30/1")
}

/// Width and height of a JPEG, and the colour of the middle of its first bar, which is grey, and of its last, which is blue.
fn seen(jpeg: &[u8]) -> (i32, i32, [u8; 3], [u8; 3]) {
    let mut harness =
        gst_check::Harness::new_parse("jpegdec ! videoconvert ! capsfilter caps=video/x-raw,format=RGB");
    harness.set_src_caps_str("image/jpeg");
    harness.play();
    harness.push(gst::Buffer::from_slice(jpeg.to_vec())).unwrap();
    let buffer = harness.pull().unwrap();
    let caps = harness.sinkpad().unwrap().current_caps().unwrap();
    let structure = caps.structure(0).unwrap();
    let (width, height): (i32, i32) = (structure.get("width").unwrap(), structure.get("height").unwrap());
    let map = buffer.map_readable().unwrap();
    let stride = map.len() / usize::try_from(height).unwrap();
    let pixel = |x: i32| {
        let at = 20 * stride + usize::try_from(x).unwrap() * 3;
        [map[at], map[at + 1], map[at + 2]]
    };
    (width, height, pixel(width / 14), pixel(width * 13 / 14))
}

fn is_near(colour: [u8; 3], expected: [u8; 3]) -> bool {
    colour.iter().zip(expected).all(|(value, expected)| value.abs_diff(expected) < 25)
}

/// The bars of 75 %: grey at the left end, blue at the right one.
fn check(picture: &ThumbnailReply, what: &str) {
    let (width, height, grey, blue) = seen(&picture.jpeg);
    assert_eq!((width, height), (160, 120), "{what}");
    assert!(is_near(grey, [191; 3]) && is_near(blue, [0, 0, 191]), "{what}: {grey:?} {blue:?}");
    let late = rig_now() - picture.at_ns;
    assert!(!late.is_negative() && late < swsync_core::time::Span::from_secs(30), "{what}: {late:?}");
    assert_eq!(grid().nearest(picture.at_ns), picture.frame, "{what}");
}

#[test]
fn frames_of_many_formats_are_shown() {
    for format in ["I420", "NV12", "YUY2", "RGB"] {
        let device = Device::new(&format!("{SOURCE} ! {}", caps(format)));
        check(&device.first(160).unwrap(), format);
    }
    let device = Device::new(&format!("{SOURCE} ! {} ! jpegenc", caps("I420")));
    let newest = device.first(160).unwrap();
    check(&newest, "JPEG");
    assert_eq!(seen(&device.ask(None, 640).unwrap().jpeg).0, 640);
    // A frame of the past, by its number.
    let old = device.ask(Some(newest.frame), 160).unwrap();
    assert_eq!((old.frame, old.at_ns), (newest.frame, newest.at_ns));
    let why = device.ask(Some(5), 160).unwrap_err();
    assert!(why.contains("and not 5"), "{why}");
}

#[test]
fn a_picture_is_never_larger_than_the_frame() {
    let device =
        Device::new(&format!("{SOURCE} ! video/x-raw,format=I420,width=96,height=64,framerate=30/1"));
    let (width, height, ..) = seen(&device.first(640).unwrap().jpeg);
    assert_eq!((width, height), (96, 64));
}

#[test]
fn of_encoded_video_the_last_key_frame_is_shown() {
    if !common::installed(H264.element) {
        return;
    }
    // A key frame every second.
    let encoder = H264.encoder.replace("3000", "30");
    let device = Device::new(&format!("{SOURCE} ! {} ! queue ! {encoder} ! h264parse", caps("I420")));
    let first = device.first(160).unwrap();
    check(&first, "H.264");
    let between = || {
        let picture = device.ask(Some(first.frame + 7), 160);
        picture.is_ok_and(|picture| {
            assert_eq!(picture.frame, first.frame, "the key frame before");
            true
        })
    };
    common::eventually("a frame that follows the key frame", between);
}

#[test]
fn what_cannot_be_shown_is_named() {
    // Raw data of a sensor, whose colours nothing decodes by its rank.
    let device = Device::new(&format!("{SOURCE} ! {} ! rgb2bayer", caps("ARGB")));
    let why = device.first(160).unwrap_err();
    assert_eq!(why, "its frames are video/x-bayer, which nothing that is installed on it can show");
}
