//! Plays video files to see what is in them.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::Path;

use gst::prelude::*;

use super::Pipeline;

/// What a file has in it.
pub struct Played {
    pub pictures: usize,
    pub begins_with_key: bool,
    /// Of each picture, from the first.
    pub times: Vec<gst::ClockTime>,
    pub date: Option<String>,
}

/// Plays a file of H.264 to its end.
pub fn play(file: &Path, demuxer: &str) -> Played {
    play_through(file, &format!("{demuxer} ! h264parse ! video/x-h264,alignment=au"))
}

/// Plays a file to its end through elements that make a buffer of each picture.
pub fn play_through(file: &Path, elements: &str) -> Played {
    let pipeline = Pipeline::launch(&format!(
        "filesrc location={} ! {elements} ! fakesink name=f sync=false signal-handoffs=true",
        file.display()
    ));
    let (sender, buffers) = std::sync::mpsc::channel();
    pipeline.element("f").connect("handoff", false, move |values| {
        let buffer: gst::Buffer = values[1].get().unwrap();
        // Some containers only keep the time at which a picture is decoded.
        sender.send((buffer.dts_or_pts(), buffer.pts(), buffer.flags())).unwrap();
        None
    });
    pipeline.reach(gst::State::Playing);
    let mut date = None;
    pipeline.wait_for("the end", |message| {
        if let gst::MessageView::Tag(tags) = message.view()
            && let Some(tag) = tags.tags().get::<gst::tags::DateTime>()
        {
            date = Some(tag.get().to_iso8601_string().unwrap().to_string());
        }
        (message.type_() == gst::MessageType::Eos).then_some(())
    });
    drop(pipeline);
    let mut buffers: Vec<_> = buffers
        .into_iter()
        .map(|(decoded, shown, flags)| (shown.or(decoded).unwrap_or(gst::ClockTime::ZERO), flags))
        .collect();
    let begins_with_key =
        buffers.first().is_some_and(|(_, flags)| !flags.contains(gst::BufferFlags::DELTA_UNIT));
    buffers.sort_by_key(|(pts, _)| *pts);
    let times = buffers.iter().map(|(pts, _)| *pts - buffers[0].0).collect();
    Played { pictures: buffers.len(), begins_with_key, times, date }
}
