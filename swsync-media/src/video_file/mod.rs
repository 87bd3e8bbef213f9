//! Coded video, by GStreamer's elements: files into coded frames or pictures ([`Units`]), and those into files ([`Mp4`]).

mod annexb;
mod mp4;
mod units;

use anyhow::anyhow;
use gst::prelude::*;

pub use annexb::pictures_of;
pub use mp4::Mp4;
pub use units::{Index, Pictures, Unit, Units, decode};

/// The parser of a stream of `media`, a caps' name, and the form in which its frames are handed on: H.264 and H.265 as a byte
/// stream, which needs nothing beside it.
const PARSERS: [(&str, &str); 4] = [
    ("video/x-h264", "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au"),
    ("video/x-h265", "h265parse config-interval=-1 ! video/x-h265,stream-format=byte-stream,alignment=au"),
    ("video/x-vp9", "vp9parse ! video/x-vp9,alignment=super-frame"),
    ("video/x-av1", "av1parse ! video/x-av1,stream-format=obu-stream,alignment=tu"),
];

/// Whether an MP4 file can hold a stream of `media` as it is.
pub fn fits_mp4(media: &str) -> bool {
    PARSERS.iter().any(|(known, _)| *known == media)
}

/// What to say where fewer pictures are decoded than a video has, though it may be whole; empty where nothing is known.
///
/// openh264dec gives nothing of a video with B-frames that ends before its first picture came out (seen with 1.26: its `finish`
/// drains only what has a size by then).
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

fn launch(description: &str) -> anyhow::Result<gst::Pipeline> {
    let element = gst::parse::launch(description)
        .map_err(|error| anyhow!("{error}; on Debian, install gstreamer1.0-plugins-good, -bad and -libav"))?;
    element.downcast().map_err(|_| anyhow!("{description} is no pipeline"))
}

/// The error that `bus` tells of, if there is one.
fn error_on(bus: &gst::Bus) -> Option<anyhow::Error> {
    let message = bus.pop_filtered(&[gst::MessageType::Error])?;
    match message.view() {
        gst::MessageView::Error(error) => Some(anyhow!("{}", error.error())),
        _ => None,
    }
}
