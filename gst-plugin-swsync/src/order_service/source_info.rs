//! What take.json says of where frames come from: the camera, by the stream's tags, and the settings of the elements upstream.

use std::collections::BTreeMap;

use gst::glib;
use gst::prelude::*;
use serde_json::Value;
use swsync_core::manifest::PipelineSettings;
use swsync_rig::settings::without_secrets;

use crate::camera::controls;
use crate::camera::mode::RemainingTransform;

/// Elements that are visited on the way upstream, at most.
const MAX_ELEMENTS: usize = 64;

/// The camera, as far as the stream's tags describe it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CameraInfo {
    pub maker: Option<String>,
    pub model: Option<String>,
    /// How its pictures have to be turned to be upright.
    pub orientation: Option<RemainingTransform>,
}

impl CameraInfo {
    /// Adds what `tags` say.
    pub fn update(&mut self, tags: &gst::TagListRef) {
        let maker = tags.get::<gst::tags::DeviceManufacturer>().map(|tag| tag.get().to_owned());
        let model = tags.get::<gst::tags::DeviceModel>().map(|tag| tag.get().to_owned());
        self.maker = maker.or(self.maker.take());
        self.model = model.or(self.model.take());
        // An element that turns pictures changes this tag.
        if let Some(tag) = tags.get::<gst::tags::ImageOrientation>() {
            self.orientation = RemainingTransform::of_tag(tag.get());
        }
    }
}

/// Settings other than the defaults, of `last`, of the elements that its frames come through, and of the element that
/// provides the pipeline's clock.
///
/// Only those that [`is_public`] allows: take.json goes to other machines, and anybody in the rig may fetch it.
pub fn settings_of(last: &gst::Element) -> PipelineSettings {
    let mut elements = all_upstream(last);
    elements.extend(clock_provider(last).filter(|provider| !elements.contains(provider)));
    elements.iter().map(|element| (element.name().to_string(), settings_on(element))).collect()
}

/// `last`, and the elements that its frames come through, nearest first.
pub(super) fn all_upstream(last: &gst::Element) -> Vec<gst::Element> {
    let mut elements = vec![last.clone()];
    let mut next = 0;
    while let Some(element) = elements.get(next).cloned().filter(|_| next < MAX_ELEMENTS) {
        next += 1;
        for before in element.sink_pads().iter().filter_map(upstream_of) {
            if !elements.contains(&before) {
                elements.push(before);
            }
        }
    }
    elements
}

/// The element whose frames arrive at `pad`, through ghost pads.
fn upstream_of(pad: &gst::Pad) -> Option<gst::Element> {
    let mut pad = pad.peer()?;
    loop {
        // Out of a bin: a pad inside is linked to the inner half of the bin's own pad.
        if let Some(ghost) = pad.parent().and_downcast::<gst::GhostPad>() {
            pad = ghost.peer()?;
        } else if let Some(ghost) = pad.downcast_ref::<gst::GhostPad>() {
            pad = ghost.target()?;
        } else {
            return pad.parent_element();
        }
    }
}

fn clock_provider(element: &gst::Element) -> Option<gst::Element> {
    let mut top = element.clone().upcast::<gst::Object>();
    while let Some(parent) = top.parent() {
        top = parent;
    }
    let bin = top.downcast::<gst::Bin>().ok()?;
    let clock = element.clock()?;
    let provides = |candidate: &gst::Element| {
        candidate.element_flags().contains(gst::ElementFlags::PROVIDE_CLOCK)
            && candidate.provide_clock().as_ref() == Some(&clock)
    };
    bin.iterate_recurse().into_iter().flatten().find(provides)
}

/// Properties that may be published, by element. Others may hold a password, a key, an address or a path. Of elements that are
/// not listed only the name and the factory are published.
const PUBLIC: &[(&str, &[&str])] = &[
    (
        "swsyncclock",
        &[
            "role",
            "rig",
            "source",
            "wait-sync",
            "sync-timeout",
            "burst",
            "estimator",
            "threshold",
            "interleaved",
            "accuracy",
            "max-slew-ppm",
            "step-threshold",
            "ptp-domain",
        ],
    ),
    (
        "swsyncsink",
        &[
            "rig",
            "device-id",
            "durability",
            "max-files",
            "muxer-factory",
            "muxer-properties",
            "ring-time",
            "ring-bytes",
        ],
    ),
    ("swsyncgate", &["rig", "device-id", "on-short", "ring-time", "ring-bytes"]),
    // And the controls of its camera.
    (
        "swsyncsrc",
        &[
            "backend",
            "camera-name",
            "sensor-config",
            "orientation",
            "on-stall",
            "stall-periods",
            "num-buffers",
            "align-method",
            "align-point",
            "grid-period",
            "phase-offset",
            "max-slew",
            "tolerance",
            "settle-frames",
            "wait-lock",
            "simulated-sensor",
            "simulated-control",
            "simulated-exposure",
            "simulated-fault",
            "simulated-seed",
            "simulated-skew-ppm",
            "simulated-light",
            "simulated-stamps",
            "simulated-view",
        ],
    ),
    ("capsfilter", &["caps"]),
    ("queue", &["leaky", "max-size-buffers", "max-size-bytes", "max-size-time"]),
    ("videotestsrc", &["pattern", "animation-mode", "motion", "horizontal-speed", "flip", "is-live"]),
    ("videoconvert", &["dither", "chroma-resampler", "matrix-mode", "primaries-mode", "n-threads"]),
    ("videoconvertscale", &["dither", "method", "add-borders", "n-threads"]),
    ("videoscale", &["method", "add-borders", "n-threads"]),
    ("videorate", &["drop-only", "skip-to-first", "max-rate", "rate", "average-period"]),
    ("videocrop", &["top", "bottom", "left", "right"]),
    ("videoflip", &["method", "video-direction"]),
    ("videobalance", &["brightness", "contrast", "hue", "saturation"]),
    ("gamma", &["gamma"]),
    ("libcamerasrc", &["auto-focus-mode", "ae-enable", "exposure-time", "analogue-gain", "awb-enable"]),
    ("v4l2src", &["io-mode", "extra-controls", "brightness", "contrast", "hue", "saturation"]),
    ("h264parse", &["config-interval"]),
    ("h265parse", &["config-interval"]),
];

/// Properties of any encoder that may be published.
const PUBLIC_OF_ENCODERS: &[&str] = &[
    "bitrate",
    "target-bitrate",
    "bitrate-mode",
    "rate-control",
    "pass",
    "quality",
    "qp",
    "quantizer",
    "qp-min",
    "qp-max",
    "min-quantizer",
    "max-quantizer",
    "speed-preset",
    "preset",
    "tune",
    "profile",
    "level",
    "key-int-max",
    "gop-size",
    "keyframe-max-dist",
    "bframes",
    "b-adapt",
    "b-pyramid",
    "ref",
    "rc-lookahead",
    "sliced-threads",
    "threads",
    "vbv-buf-capacity",
    "option-string",
    "extra-controls",
    "byte-stream",
    "deadline",
    "cpu-used",
    "end-usage",
    "lag-in-frames",
    "usage-profile",
    "idct-method",
    "smoothing",
    "compression-level",
    "complexity",
    "multi-thread",
    "insert-vui",
];

/// Whether `property` of elements that `factory` makes may be published.
fn is_public(factory: &gst::ElementFactory, property: &str) -> bool {
    let name = factory.name();
    let listed = |known: &[&str]| known.contains(&property);
    match PUBLIC.iter().find(|(element, _)| *element == name) {
        Some((_, known)) => listed(known) || name == "swsyncsrc" && controls::by_property(property).is_some(),
        None => {
            factory.metadata("klass").is_some_and(|klass| klass.contains("Encoder"))
                && listed(PUBLIC_OF_ENCODERS)
        }
    }
}

/// Public properties of `element` that are not at their defaults, and its factory.
fn settings_on(element: &gst::Element) -> BTreeMap<String, Value> {
    let Some(factory) = element.factory() else { return BTreeMap::new() };
    let properties = element.list_properties();
    let set = properties.iter().filter_map(|pspec| {
        if !pspec.flags().contains(glib::ParamFlags::READWRITE) || matches!(pspec.name(), "name" | "parent") {
            return None;
        }
        if !is_public(&factory, pspec.name()) {
            return None;
        }
        let value = to_json(&element.property_value(pspec.name()))?;
        (to_json(pspec.default_value()).as_ref() != Some(&value)).then(|| (pspec.name().to_owned(), value))
    });
    let name = [("factory".to_owned(), Value::from(factory.name().as_str()))];
    name.into_iter().chain(resolved_of(element, &factory)).chain(set).collect()
}

/// The rig that a swsync element is in, and the path offset that a clock applies, whichever way they were set.
fn resolved_of(element: &gst::Element, factory: &gst::ElementFactory) -> Vec<(String, Value)> {
    let resolved = || {
        element.find_property("rig-settings")?;
        element.property::<Option<gst::Structure>>("rig-settings")
    };
    let Some(settings) = resolved() else { return Vec::new() };
    let names: &[&str] = if factory.name() == "swsyncclock" { &["rig", "path-offset"] } else { &["rig"] };
    let known = names
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), settings.get::<Option<String>>(*name).ok()??.into())));
    known.collect()
}

/// A property's value, without what may be secret in URIs; `None` if it has none, or is no setting: an object, a pointer.
fn to_json(value: &glib::Value) -> Option<Value> {
    Some(match read(value)? {
        Value::String(text) => without_secrets(&text).into(),
        other => other,
    })
}

fn read(value: &glib::Value) -> Option<Value> {
    if let Some((_, value)) = glib::EnumValue::from_value(value) {
        return Some(value.nick().into());
    }
    match value.type_() {
        glib::Type::STRING => Some(value.get::<Option<String>>().ok()??.into()),
        glib::Type::BOOL => Some(value.get::<bool>().ok()?.into()),
        glib::Type::I32 => Some(value.get::<i32>().ok()?.into()),
        glib::Type::U32 => Some(value.get::<u32>().ok()?.into()),
        glib::Type::I64 => Some(value.get::<i64>().ok()?.into()),
        glib::Type::U64 => Some(value.get::<u64>().ok()?.into()),
        glib::Type::F32 => Some(value.get::<f32>().ok()?.into()),
        glib::Type::F64 => Some(value.get::<f64>().ok()?.into()),
        other if other == gst::Caps::static_type() => {
            Some(value.get::<Option<gst::Caps>>().ok()??.to_string().into())
        }
        other if other == gst::Structure::static_type() => {
            Some(value.get::<Option<gst::Structure>>().ok()??.to_string().into())
        }
        // As in a gst-launch-1.0 line.
        other if other.is_a(glib::Type::FLAGS) || other == gst::Fraction::static_type() => {
            Some(value.serialize().ok()?.as_str().into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GStreamer with the elements, which are registered once.
    fn init() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            gst::init().unwrap();
            crate::plugin_register_static().unwrap();
        });
    }

    fn names(settings: &PipelineSettings) -> Vec<&str> {
        settings.keys().map(String::as_str).collect()
    }

    #[test]
    fn settings_upstream_are_published_and_no_others() {
        gst::init().unwrap();
        let line = "videotestsrc name=src pattern=ball horizontal-speed=-3 ! tee name=t ! \
                    bin.( capsfilter name=inner caps=video/x-raw,width=64 ) ! fakesink name=last dump=true \
                    t. ! queue name=elsewhere ! fakesink";
        let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let settings = settings_of(&pipeline.by_name("last").unwrap());
        assert_eq!(names(&settings), ["inner", "last", "src", "t"], "{settings:?}");
        let src = &settings["src"];
        assert_eq!(src["factory"], "videotestsrc");
        assert_eq!((&src["pattern"], &src["horizontal-speed"]), (&"ball".into(), &(-3).into()));
        assert!(!src.contains_key("num-buffers"), "defaults are not published: {src:?}");
        assert_eq!(settings["inner"]["caps"], "video/x-raw, width=(int)64");
        assert_eq!(settings["last"].keys().collect::<Vec<_>>(), ["factory"], "fakesink is not listed");
    }

    #[test]
    fn secrets_are_not_published() {
        init();
        let secret = "HEX:00112233445566778899aabbccddeeff";
        let clock = format!(
            "swsyncclock name=clock key={secret} key-file=/home/me/{secret} leader={secret} connect={secret}  \
             estimator=min"
        );
        let clock = gst::parse::launch(&clock).unwrap();
        let published = settings_on(&clock);
        assert_eq!(published.keys().map(String::as_str).collect::<Vec<_>>(), ["estimator", "factory"]);
        assert!(!clock.find_property("key").unwrap().flags().contains(glib::ParamFlags::READABLE));
        let pipeline = gst::Pipeline::new();
        let clock = gst::ElementFactory::make("swsyncclock").property("key", secret).build().unwrap();
        pipeline.add(&clock).unwrap();
        let graph = pipeline.debug_to_dot_data(gst::DebugGraphDetails::VERBOSE);
        assert!(graph.contains("swsyncclock") && !graph.contains("0011"), "{graph}");
        let stats = clock.property::<Option<gst::Structure>>("stats");
        assert!(!format!("{stats:?}").contains("0011"), "{stats:?}");

        for line in [
            format!("souphttpsrc user-pw={secret} location=http://me:{secret}@host/a cookies=<{secret}>"),
            format!("rtspsrc user-pw={secret} location=rtsp://me:{secret}@host/a"),
            format!("srtsrc passphrase={secret} uri=srt://host:1?passphrase={secret}"),
            format!("filesink location={secret}"),
            format!("rtmpsink location={secret}"),
            format!("udpsrc uri=udp://{secret}:5"),
            format!("swsyncsink location=/home/{secret} connect=tcp/{secret}:1"),
        ] {
            let Ok(element) = gst::parse::launch(&line) else { continue };
            let published = settings_on(&element);
            assert!(!format!("{published:?}").contains("0011"), "{line}: {published:?}");
        }
    }

    #[test]
    fn a_camera_publishes_what_is_listed() {
        init();
        let Some(factory) = gst::ElementFactory::find("swsyncsrc") else { return };
        let camera = factory.create().property("profile", "/home/me/HEX:0011").build().unwrap();
        camera.set_property("camera-name", "imx219");
        camera.set_property("exposure-time", 200_i32);
        let published = settings_on(&camera);
        assert_eq!(published.keys().collect::<Vec<_>>(), ["camera-name", "exposure-time", "factory"]);
        let secret_by_name =
            ["user-pw", "location", "uri", "key", "key-file", "passphrase", "cookies", "connect", "listen"];
        let mut lists = PUBLIC.iter().map(|(_, known)| *known).chain([PUBLIC_OF_ENCODERS]);
        assert!(lists.all(|known| known.iter().all(|property| !secret_by_name.contains(property))));
    }

    #[test]
    fn uris_in_what_is_published_have_no_secrets() {
        init();
        let sink = gst::ElementFactory::make("swsyncsink").build().unwrap();
        let pipeline = "rtspsrc location=rtsp://me:s3cret@host/x?token=s3cret ! fakesink";
        let properties = gst::Structure::builder("properties")
            .field("pipeline", pipeline)
            .field("location", "https://host/hls?key=s3cret")
            .build();
        sink.set_property("muxer-properties", properties);
        let caps = "video/x-raw,from=(string)\"srt://host:5?passphrase=s3cret\",width=64";
        let filter = gst::ElementFactory::make("capsfilter").property_from_str("caps", caps).build().unwrap();
        for element in [sink, filter] {
            let published = format!("{:?}", settings_on(&element));
            assert!(published.contains("//host") && !published.contains("s3cret"), "{published}");
        }
    }

    #[test]
    fn the_last_tags_describe_the_camera() {
        gst::init().unwrap();
        let mut camera = CameraInfo::default();
        let mut tags = gst::TagList::new();
        tags.make_mut().add::<gst::tags::DeviceModel>(&"imx219", gst::TagMergeMode::Replace);
        camera.update(&tags);
        camera.update(&gst::TagList::new());
        assert_eq!(camera, CameraInfo { maker: None, model: Some("imx219".into()), orientation: None });
    }
}
