//! `orientation` and `sensor-config`: what cameras can do, what is left to readers, and what is refused.

#![cfg(all(feature = "libcamera", feature = "simulation"))]

mod common;

use std::sync::{Arc, Mutex};

use common::{LEADER, Pipeline, init};
use gst::prelude::*;
use gst_video::prelude::*;

const SIZE: (usize, usize) = (320, 240);

/// The picture of frame `number`, turned as asked for.
fn picture(orientation: &str) -> (Pipeline, gst::Sample) {
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} swsyncsrc name=s backend=simulated orientation={orientation} wait-lock=false ! \
         video/x-raw,width=320,height=240 ! fakesink name=k sync=false"
    ));
    pipeline.reach(gst::State::Playing);
    let sink = pipeline.element("k");
    common::eventually("a frame", || sink.property::<Option<gst::Sample>>("last-sample").is_some());
    let sample = sink.property::<Option<gst::Sample>>("last-sample").unwrap();
    (pipeline, sample)
}

/// Luma, row by row.
fn luma(sample: &gst::Sample) -> Vec<u8> {
    let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer().unwrap(), &info).unwrap();
    let (data, stride) = (frame.plane_data(0).unwrap(), usize::try_from(frame.plane_stride()[0]).unwrap());
    (0..SIZE.1).flat_map(|row| data[row * stride..][..SIZE.0].to_vec()).collect()
}

/// Mean difference of luma.
fn difference(one: &[u8], other: &[u8]) -> f64 {
    let sum: f64 = one.iter().zip(other).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    sum / f64::from(u32::try_from(one.len()).unwrap())
}

fn flipped(picture: &[u8], columns: bool, rows: bool) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = picture.chunks(SIZE.0).map(<[u8]>::to_vec).collect();
    if columns {
        lines.iter_mut().for_each(|line| line.reverse());
    }
    if rows {
        lines.reverse();
    }
    lines.concat()
}

/// The warnings and the orientation tag so far.
fn said(pipeline: &Pipeline) -> (Vec<String>, Option<String>) {
    let mut warnings = Vec::new();
    while let Some(message) = pipeline.bus().pop_filtered(&[gst::MessageType::Warning]) {
        if let gst::MessageView::Warning(warning) = message.view() {
            warnings.push(format!("{} {}", warning.error(), warning.debug().unwrap_or_default()));
        }
    }
    let pad = pipeline.element("k").static_pad("sink").unwrap();
    let tag = pad.sticky_event::<gst::event::Tag>(0).and_then(|event| {
        let tags = event.tag_owned();
        tags.get::<gst::tags::ImageOrientation>().map(|tag| tag.get().to_owned())
    });
    (warnings, tag)
}

#[test]
fn a_simulated_sensor_flips_pictures() {
    let plain = luma(&picture("rotate-0").1);
    for (orientation, columns, rows) in
        [("rotate-0-mirror", true, false), ("rotate-180", true, true), ("rotate-180-mirror", false, true)]
    {
        let (pipeline, sample) = picture(orientation);
        let turned = luma(&sample);
        // LEDs and the ball differ in each frame, so the nearest of all orientations counts.
        let off = |columns, rows| difference(&flipped(&plain, columns, rows), &turned);
        let as_asked = off(columns, rows);
        for other in [(false, false), (true, false), (false, true), (true, true)] {
            if other != (columns, rows) {
                let off = off(other.0, other.1);
                assert!(as_asked < off, "{orientation}: {as_asked}, {other:?}: {off}");
            }
        }
        assert_eq!(said(&pipeline), (Vec::new(), None), "{orientation}");
        let stats = pipeline.element("s").property::<gst::Structure>("stats");
        assert_eq!(stats.get::<String>("orientation").unwrap(), orientation);
    }
}

#[test]
fn an_orientation_that_a_sensor_cannot_do_is_a_warning_and_left_to_readers() {
    let plain = luma(&picture("rotate-0").1);
    for (orientation, tag) in [
        ("rotate-90", "rotate-90"),
        ("rotate-270", "rotate-270"),
        ("rotate-90-mirror", "flip-rotate-270"),
        ("rotate-270-mirror", "flip-rotate-90"),
    ] {
        let (pipeline, sample) = picture(orientation);
        assert!(
            difference(&plain, &luma(&sample)) < difference(&flipped(&plain, true, true), &luma(&sample))
        );
        let (warnings, left) = said(&pipeline);
        assert_eq!(left.as_deref(), Some(tag));
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        for part in [orientation, "they are rotate-0", tag, "videoflip video-direction=auto"] {
            assert!(warning.contains(part), "{part}: {warning}");
        }
        let stats = pipeline.element("s").property::<gst::Structure>("stats");
        assert_eq!(stats.get::<&str>("orientation"), Ok("rotate-0"));
    }
}

/// The remedy in the warning yields the picture that was asked for.
#[test]
fn videoflip_does_what_is_left_to_readers() {
    if !common::installed("videoflip") {
        return;
    }
    // The same frame, before it and behind.
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} swsyncsrc name=s backend=simulated orientation=rotate-90 wait-lock=false num-buffers=5 ! \
         video/x-raw,width=320,height=240 ! identity name=before signal-handoffs=true ! videoflip video-direction=auto ! \
         fakesink name=k sync=false"
    ));
    let seen = Arc::new(Mutex::new(None));
    let keep = seen.clone();
    pipeline.element("before").connect("handoff", false, move |values| {
        *keep.lock().unwrap() = Some(values[1].get::<gst::Buffer>().unwrap());
        None
    });
    pipeline.reach(gst::State::Playing);
    pipeline.wait_for_eos();
    let turned = pipeline.element("k").property::<Option<gst::Sample>>("last-sample").unwrap();
    let caps = turned.caps().unwrap().structure(0).unwrap().to_owned();
    assert_eq!((caps.get::<i32>("width").unwrap(), caps.get::<i32>("height").unwrap()), (240, 320), "{caps}");
    let (before, map) =
        (seen.lock().unwrap().take().unwrap(), turned.buffer().unwrap().map_readable().unwrap());
    assert_eq!(before.pts(), turned.buffer().unwrap().pts());
    let before = before.map_readable().unwrap();
    for (x, y) in [(0, 0), (17, 100), (319, 239), (200, 3)] {
        // A quarter turn clockwise takes the left column to the top.
        assert_eq!(before[y * SIZE.0 + x], map[x * SIZE.1 + (SIZE.1 - 1 - y)], "{x},{y}");
    }
}

#[test]
fn cameras_without_modes_refuse_a_sensor_config_with_a_remedy() {
    init();
    let structure = "sensor/config,width=2304,height=1296,depth=10";
    let mut cameras = vec!["backend=simulated"];
    if gstswsync::camera::libcamera::list().unwrap().iter().any(|camera| camera.id == "Virtual0") {
        cameras.push("camera-name=Virtual0");
    }
    for camera in cameras {
        let error = |config: &str| {
            let pipeline =
                Pipeline::launch(&format!("swsyncsrc {camera} sensor-config=\"{config}\" ! fakesink"));
            pipeline.try_reach(gst::State::Playing).unwrap_err()
        };
        let refused = error(structure);
        for part in ["width=(int)2304", "sensor-config unset", "by caps", "gst-library-error-quark, code: 5"]
        {
            assert!(refused.contains(part), "{part}: {refused}");
        }
        let wrong = error("sensor/config,width=2304,height=1296,bit-depth=10");
        assert!(wrong.contains("no field bit-depth"), "{wrong}");
    }
}

/// libcamera's virtual camera accepts any orientation and ignores it.
#[test]
fn an_orientation_that_a_virtual_camera_ignores_is_left_to_readers() {
    init();
    if !gstswsync::camera::libcamera::list().unwrap().iter().any(|camera| camera.id == "Virtual1") {
        eprintln!("skipped: libcamera has no Virtual1");
        return;
    }
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} swsyncsrc name=s camera-name=Virtual1 orientation=rotate-180 ! fakesink name=k sync=false"
    ));
    pipeline.reach(gst::State::Playing);
    common::eventually("a frame", || {
        pipeline.element("k").property::<Option<gst::Sample>>("last-sample").is_some()
    });
    let (warnings, tag) = said(&pipeline);
    assert_eq!((warnings.len(), tag.as_deref()), (1, Some("rotate-180")), "{warnings:?}");
}

/// Files below `folder` with this extension.
fn files_of(folder: &std::path::Path, extension: &str) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| if path.is_dir() { files_of(&path, extension) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|own| own == extension))
        .collect()
}

/// Saves frames of a camera that cannot turn its pictures as it is asked to, and returns the folder.
fn saved(encoder: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rig = common::sink::rig();
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} rig={rig} swsyncsrc name=s backend=simulated orientation=rotate-90 ! \
         video/x-raw,width=320,height=240 ! {encoder} ! \
         swsyncsink name=k rig={rig} device-id=pi listen=tcp/127.0.0.1:0 location={}",
        folder.path().display()
    ));
    pipeline.reach(gst::State::Playing);
    let (sink, source) = (pipeline.element("k"), pipeline.element("s"));
    common::eventually("frames on the grid", || source.property::<bool>("locked"));
    common::eventually("an order", || {
        sink.emit_by_name::<Option<String>>("shoot", &[&2_000_000_000_i64, &5_u32]).is_some()
    });
    let served = pipeline.wait_for_structure("swsync-served");
    assert!(served.get::<bool>("complete").unwrap(), "{served}");
    folder
}

#[test]
fn files_have_the_orientation_that_is_left_to_readers() {
    let pictures = saved("jpegenc");
    let jpegs = files_of(pictures.path(), "jpg");
    assert_eq!(jpegs.len(), 5);
    for jpeg in jpegs {
        let bytes = std::fs::read(jpeg).unwrap();
        // Exif's Orientation, a short in a little-endian directory: 6, turn clockwise.
        let field = [0x12, 0x01, 0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x06, 0x00];
        assert!(bytes.windows(field.len()).any(|window| window == field));
    }
    if !common::installed("x264enc") || !common::installed("qtdemux") {
        return;
    }
    let videos = saved("x264enc tune=zerolatency key-int-max=10");
    let [video] = &files_of(videos.path(), "mp4")[..] else { panic!("{:?}", files_of(videos.path(), "mp4")) };
    let reader = Pipeline::launch(&format!("filesrc location={} ! qtdemux ! fakesink", video.display()));
    reader.reach(gst::State::Paused);
    let left = reader.wait_for("the tag", |message| match message.view() {
        gst::MessageView::Tag(tags) => {
            tags.tags().get::<gst::tags::ImageOrientation>().map(|tag| tag.get().to_owned())
        }
        _ => None,
    });
    assert_eq!(left, "rotate-90");
}
