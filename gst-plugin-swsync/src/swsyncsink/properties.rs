//! The properties of `swsyncsink` that are about files.

use gst::glib;
use gst::prelude::*;

use super::{DEFAULT_LOCATION, DEFAULT_MAX_FILES, SinkDurability};

pub fn storage_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("location")
            .nick("Location")
            .blurb("Folder of what is saved, or a pattern with {take} (or {order}), {device}, {frame}, {segment} and {ext}; a folder gets {take}/{device}/{frame}.{ext} for pictures and {take}/{device}/{segment}.{ext} for video. An extension that is spelt out chooses the muxer")
            .default_value(Some(DEFAULT_LOCATION))
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("durability", SinkDurability::default())
            .nick("Durability")
            .blurb("What a file goes through before an order is answered: safe survives a power cut, fast only a crash of the program")
            .mutable_ready()
            .build(),
        glib::ParamSpecInt64::builder("keep-free")
            .nick("Keep free")
            .blurb("Room on the disk that is kept free, in bytes: recording ends before, so that what was recorded can be closed and answered for, and goes on when there is room again. -1: a twentieth of the disk, 256 MiB at most; 0: none")
            .minimum(-1)
            .default_value(-1)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("max-files")
            .nick("Max files")
            .blurb("Most pictures, or video files, that are kept of one order: when one more is finished, the oldest of that order is removed. 0: all are kept")
            .default_value(DEFAULT_MAX_FILES)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("muxer-factory")
            .nick("Muxer factory")
            .blurb("The muxer that video is saved with; else by the extension in `location`, else mp4mux")
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("muxer-properties")
            .nick("Muxer properties")
            .blurb("Properties of the muxer, e.g. {properties,fragment-duration=500}; by default it writes fragments of a second, so that a power cut takes no more than that")
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("post-messages")
            .nick("Post messages")
            .blurb("Post an element message swsync-file for each picture saved; messages of video files, swsync-fragment-opened and swsync-fragment-closed, are posted anyway")
            .mutable_ready()
            .build(),
    ]
}
