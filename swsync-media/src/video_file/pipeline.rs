//! What reader and writer share: media types with their parsers, and pipelines from descriptions.

use anyhow::anyhow;
use gst::prelude::*;

/// Per media type the parser, and the form of the frames that it outputs. H.264 and H.265 are a byte stream, which has its
/// parameters in itself.
pub const PARSERS: [(&str, &str); 4] = [
    ("video/x-h264", "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au"),
    ("video/x-h265", "h265parse config-interval=-1 ! video/x-h265,stream-format=byte-stream,alignment=au"),
    ("video/x-vp9", "vp9parse ! video/x-vp9,alignment=super-frame"),
    ("video/x-av1", "av1parse ! video/x-av1,stream-format=obu-stream,alignment=tu"),
];

/// Whether an MP4 file can hold coded frames of `media`.
pub fn fits_mp4(media: &str) -> bool {
    PARSERS.iter().any(|(known, _)| *known == media)
}

/// Advice for a message if fewer pictures can be decoded than a whole video has; empty if there is none.
///
/// openh264dec outputs nothing of a video with B-frames that ends before its first output (seen with 1.26: its `finish` drains
/// only if the picture size is known by then).
pub fn decoder_remedy(media: &str) -> &'static str {
    let is_there = |name: &str| gst::ElementFactory::find(name).is_some();
    match media {
        "video/x-h264" if !is_there("avdec_h264") && is_there("openh264dec") => {
            " (OpenH264, which decodes here, gives nothing of short videos with B-frames: on Debian, install \
             gstreamer1.0-libav)"
        }
        _ => "",
    }
}

/// A pipeline from its description.
pub fn launch(description: &str) -> anyhow::Result<gst::Pipeline> {
    let element = gst::parse::launch(description)
        .map_err(|error| anyhow!("{error}; on Debian, install gstreamer1.0-plugins-good, -bad and -libav"))?;
    element.downcast().map_err(|_| anyhow!("{description} is no pipeline"))
}

/// The error message on `bus`, if there is one.
pub fn error_on(bus: &gst::Bus) -> Option<anyhow::Error> {
    let message = bus.pop_filtered(&[gst::MessageType::Error])?;
    match message.view() {
        gst::MessageView::Error(error) => Some(anyhow!("{}", error.error())),
        _ => None,
    }
}
