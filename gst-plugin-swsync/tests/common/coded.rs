//! Codecs: encoders that make key frames only on request, and elements that read their files.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::Path;

use super::play::{Played, play_through};

pub struct Codec {
    /// The encoder's element, and its description for gst-launch.
    pub element: &'static str,
    pub encoder: &'static str,
    /// Makes one buffer of each picture.
    parser: &'static str,
    decoder: &'static str,
}

pub const H264: Codec = Codec {
    element: "x264enc",
    encoder: "x264enc speed-preset=ultrafast tune=zerolatency key-int-max=3000",
    parser: "h264parse ! video/x-h264,alignment=au",
    decoder: "openh264dec",
};
pub const H265: Codec = Codec {
    element: "x265enc",
    encoder: "x265enc speed-preset=ultrafast tune=zerolatency key-int-max=3000 option-string=open-gop=0 ! \
              h265parse config-interval=-1",
    parser: "h265parse ! video/x-h265,alignment=au",
    decoder: "libde265dec",
};
pub const VP8: Codec = Codec {
    element: "vp8enc",
    encoder: "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=3000",
    parser: "identity",
    decoder: "vp8dec",
};
pub const VP9: Codec = Codec {
    element: "vp9enc",
    encoder: "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=3000",
    parser: "vp9parse",
    decoder: "vp9dec",
};
pub const AV1: Codec = Codec {
    element: "av1enc",
    encoder: "av1enc usage-profile=realtime cpu-used=8 lag-in-frames=0 keyframe-max-dist=3000",
    parser: "av1parse ! video/x-av1,alignment=tu",
    decoder: "av1dec",
};

impl Codec {
    /// Plays a file.
    pub fn play(&self, file: &Path) -> Played {
        play_through(file, &format!("{} ! {}", demuxer(file), self.parser))
    }

    /// How many pictures of a file can be decoded.
    pub fn decode(&self, file: &Path) -> usize {
        play_through(file, &format!("{} ! {} ! {}", demuxer(file), self.parser, self.decoder)).pictures
    }

    /// Whether the container keeps the creation date in a form that GStreamer reads.
    pub fn has_date(&self, extension: &str) -> bool {
        matches!(extension, "mp4" | "mkv" | "webm")
    }
}

fn demuxer(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("mp4") => "qtdemux",
        Some("mkv" | "webm") => "matroskademux",
        Some("ts") => "tsdemux",
        Some("avi") => "avidemux",
        Some("flv") => "flvdemux",
        other => panic!("{other:?}"),
    }
}
