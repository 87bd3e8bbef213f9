//! Camera controls: their properties, their effect on a simulated camera, and refusals.

#![cfg(all(feature = "libcamera", feature = "simulation"))]

mod common;

use std::time::{Duration, Instant};

use common::{CAMERA, LEADER, PATIENCE, Pipeline, eventually, init};
use gst::glib;
use gst::prelude::*;
use gstswsync::meta::{Details, details_of};
use swsync_core::frame::LockState;
use swsync_core::time::Span;

/// `libcamerasrc` of libcamera 0.4.0 (Debian 13, gstreamer1.0-libcamera 0.4.0-7): its properties for controls, as
/// gst-inspect-1.0 lists them, with their types and the nicks of its enums.
const LIBCAMERASRC: [(&str, &str); 25] = [
    ("ae-constraint-mode", "normal highlight shadows custom"),
    ("ae-enable", "gboolean"),
    ("ae-exposure-mode", "normal short long custom"),
    ("ae-flicker-period", "gint"),
    ("ae-metering-mode", "centre-weighted spot matrix custom"),
    ("af-metering", "auto windows"),
    ("af-mode", "manual auto continuous"),
    ("af-range", "normal macro full"),
    ("af-speed", "normal fast"),
    ("af-windows", "GstValueArray of GstValueArray"),
    ("analogue-gain", "gfloat"),
    ("awb-enable", "gboolean"),
    ("awb-mode", "auto incandescent tungsten fluorescent indoor daylight cloudy custom"),
    ("brightness", "gfloat"),
    ("colour-correction-matrix", "GstValueArray of gfloat"),
    ("colour-gains", "GstValueArray of gfloat"),
    ("contrast", "gfloat"),
    ("digital-gain", "gfloat"),
    ("exposure-time", "gint"),
    ("exposure-value", "gfloat"),
    ("gamma", "gfloat"),
    ("lens-position", "gfloat"),
    ("saturation", "gfloat"),
    ("scaler-crop", "GstValueArray of gint"),
    ("sharpness", "gfloat"),
];

/// What gst-inspect-1.0 says of a property's type, as above.
fn type_of(pspec: &glib::ParamSpec) -> String {
    if let Some(array) = pspec.downcast_ref::<gst::ParamSpecArray>() {
        let element = array.element_spec().expect("it says what it holds").value_type();
        return format!("{} of {}", pspec.value_type(), element);
    }
    match glib::EnumClass::with_type(pspec.value_type()) {
        Some(class) => class.values().iter().map(|value| value.nick()).collect::<Vec<_>>().join(" "),
        None => pspec.value_type().name().to_owned(),
    }
}

#[test]
fn properties_of_libcamerasrc_exist_with_their_types() {
    init();
    let src = gst::ElementFactory::make("swsyncsrc").build().unwrap();
    for (name, wanted) in LIBCAMERASRC {
        let pspec = src.find_property(name).unwrap_or_else(|| panic!("no property {name}"));
        assert_eq!(type_of(&pspec), wanted, "{name}");
        assert!(pspec.flags().contains(glib::ParamFlags::READWRITE), "{name}");
        assert!(pspec.flags().contains(gst::PARAM_FLAG_CONTROLLABLE), "{name}");
    }
    // If libcamerasrc is installed, in whatever version: all of its properties exist here.
    let Ok(peer) = gst::ElementFactory::make("libcamerasrc").build() else { return };
    for theirs in peer.list_properties().iter().filter(|pspec| pspec.owner_type() == peer.type_()) {
        let name = theirs.name();
        let ours = src.find_property(name).unwrap_or_else(|| panic!("no property {name}"));
        assert_eq!(type_of(&ours), type_of(theirs), "{name}");
    }
}

/// A simulated camera in a rig of its own, whose frames are seen by `sink`.
fn playing(properties: &str) -> Pipeline {
    let camera =
        CAMERA.replace("backend=simulated", &format!("backend=simulated wait-lock=false {properties}"));
    let pipeline =
        Pipeline::launch(&format!("{LEADER} {camera} ! appsink name=sink sync=false max-buffers=4"));
    pipeline.reach(gst::State::Playing);
    pipeline
}

fn pull(pipeline: &Pipeline) -> (u64, Details) {
    let sample =
        pipeline.element("sink").emit_by_name::<Option<gst::Sample>>("try-pull-sample", &[&PATIENCE]);
    let sample = sample.expect("a frame");
    let buffer = sample.buffer().unwrap();
    (buffer.offset(), details_of(buffer).unwrap())
}

/// Pulls frames until `wanted`; the frame before, if any, and the first that is.
fn pull_until(pipeline: &Pipeline, what: &str, wanted: impl Fn(&Details) -> bool) -> (u64, Details) {
    let deadline = Instant::now() + Duration::from(PATIENCE);
    loop {
        let (number, details) = pull(pipeline);
        if wanted(&details) {
            return (number, details);
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE}, but {details:?}");
    }
}

fn exposed_for(us: i64) -> impl Fn(&Details) -> bool {
    move |details| {
        let exposure = details.exposure.expect("the simulated camera says so");
        (exposure - Span::from_micros(us)).abs() < Span::from_micros(40)
    }
}

/// A warning that names all of `words`, and its control.
fn refused(pipeline: &Pipeline, control: &str, words: &[&str]) {
    let (said, details) = pipeline.wait_for(control, |message| match message.view() {
        gst::MessageView::Warning(warning) => {
            let details = warning.details()?.to_owned();
            (details.get::<&str>("control") == Ok(control)).then(|| (warning.error().to_string(), details))
        }
        _ => None,
    });
    assert_eq!(details.name(), "swsync-control-refused");
    assert_eq!(details.get::<&str>("reason").unwrap(), said);
    for word in words {
        assert!(said.contains(word), "{word:?}: {said}");
    }
}

#[test]
fn exposure_and_gain_are_set_while_playing() {
    let pipeline = playing("exposure-time=2000 analogue-gain=2");
    let src = pipeline.element("s");
    let (_, first) = pull_until(&pipeline, "lock", |details| details.lock == LockState::Locked);
    assert!(exposed_for(2_000)(&first), "it starts with what was set before: {first:?}");
    assert_eq!(first.analogue_gain, Some(2.0));
    for us in [5_000, 100, 20_000] {
        src.set_property("exposure-time", us);
        let exposed = exposed_for(i64::from(us));
        pull_until(&pipeline, "the exposure, and its lock again", |details| {
            exposed(details) && details.lock == LockState::Locked
        });
        let used: i32 = src.property("exposure-time");
        assert!((used - us).abs() < 40, "the property says what the camera used: {used}");
    }
    src.set_property("analogue-gain", 4.0_f32);
    pull_until(&pipeline, "the gain", |details| details.analogue_gain == Some(4.0));
    let stats: gst::Structure = src.property("stats");
    let newest = stats.get::<gst::Structure>("newest-frame").unwrap();
    assert_eq!(newest.get::<f64>("analogue-gain"), Ok(4.0), "{newest}");
    assert!(newest.get::<i64>("exposure-middle").unwrap() > newest.get::<i64>("exposure-start").unwrap());
    pipeline.reach(gst::State::Ready);
    assert_eq!(src.property::<f32>("analogue-gain"), 4.0);
}

/// What the message of controls for a frame says: the frame they were for, and the one that had them.
fn in_effect(pipeline: &Pipeline) -> (u64, u64) {
    let message = pipeline.wait_for_structure("swsync-controls");
    assert_eq!(message.get::<bool>("in-effect"), Ok(true), "{message}");
    (message.get("asked-frame").unwrap(), message.get("frame-number").unwrap())
}

#[test]
fn the_first_frame_with_new_controls_is_reported() {
    let pipeline = playing("exposure-time=2000");
    let src = pipeline.element("s");
    // On a busy machine frames are taken late, controls go out late, and the message says so. That controls go out in time
    // is tested on simulated time, in `src/swsyncsrc/controls`.
    for attempt in 0..8 {
        let us = if attempt % 2 == 0 { 8_000 } else { 2_000 };
        let (now, _) = pull(&pipeline);
        let asked = now + 15;
        let controls = gst::Structure::builder("controls").field("exposure-time", us).build();
        if attempt % 4 < 2 {
            assert!(src.emit_by_name::<bool>("set-controls", &[&asked, &controls]));
        } else {
            let event = gst::Structure::builder("swsync-controls")
                .field("frame-number", asked)
                .field("exposure-time", us)
                .build();
            assert!(pipeline.element("sink").send_event(gst::event::CustomUpstream::new(event)));
        }
        let (first, _) = pull_until(&pipeline, "the exposure", exposed_for(us.into()));
        let (said_asked, said_first) = in_effect(&pipeline);
        assert_eq!((said_asked, said_first), (asked, first), "the message tells the truth");
    }
}

#[test]
fn a_simulated_camera_refuses_unsupported_controls() {
    let pipeline = playing("exposure-time=50000 contrast=1.5");
    let src = pipeline.element("s");
    refused(&pipeline, "contrast", &["simulated imx219", "no such control", "analogue-gain, exposure-time"]);
    refused(&pipeline, "exposure-time", &["50000", "simulated imx219", "to 33"]);
    pull(&pipeline);
    src.set_property("exposure-time", 40_000);
    refused(&pipeline, "exposure-time", &["40000"]);
    src.set_property("analogue-gain", 0.5_f32);
    refused(&pipeline, "analogue-gain", &["0.5", "1 to 10.66"]);
    src.set_property("frame-duration-limits", gst::Array::new([33_333_i64, 33_333]));
    refused(&pipeline, "frame-duration-limits", &["frame grid", "caps"]);
    for (field, word) in [("exposure-tyme", "There are: ae-constraint-mode"), ("awb-mode", "no such control")]
    {
        let controls = gst::Structure::builder("controls").field(field, 1).build();
        assert!(!src.emit_by_name::<bool>("set-controls", &[&0_u64, &controls]));
        refused(&pipeline, field, &[word]);
    }
    // It goes on with the previous values.
    eventually("a frame", || exposed_for(100)(&pull(&pipeline).1));
}

#[test]
fn a_virtual_camera_refuses_controls_that_it_lacks() {
    init();
    let cameras = gstswsync::camera::libcamera::list().unwrap();
    if !cameras.iter().any(|camera| camera.id == "Virtual1") {
        eprintln!("skipped: libcamera has no Virtual1, but {cameras:?}");
        return;
    }
    let pipeline = Pipeline::launch(
        "swsyncsrc name=s camera-name=Virtual1 exposure-time=10000 ! video/x-raw,format=NV12,width=640,height=480,\
         framerate=30/1 ! appsink name=sink sync=false max-buffers=4",
    );
    pipeline.reach(gst::State::Playing);
    refused(&pipeline, "exposure-time", &["Virtual camera 1", "no such control", "frame-duration-limits"]);
    let (_, details) = pull(&pipeline);
    assert_eq!(details.exposure, None, "nothing is invented");
    assert!(details.frame.exposure_start_ns.is_some() && details.frame.exposure_middle_ns.is_none());
    let src = pipeline.element("s");
    src.set_property_from_str("af-mode", "continuous");
    refused(&pipeline, "af-mode", &["Virtual camera 1", "no such control"]);
    pull(&pipeline);
}
