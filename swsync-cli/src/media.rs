//! Coded video, by GStreamer's elements: into pictures, into frames, out of pictures, into another container.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use gst::prelude::*;
use swsync_core::grid::FrameGrid;

/// Frames that may wait between GStreamer's thread and this one.
const QUEUE: usize = 8;

/// How often errors are looked for while no frame comes.
const POLL: Duration = Duration::from_millis(50);

/// How long no frame may come before the file or the machine is given up.
const STALLED: Duration = Duration::from_secs(60);

/// Encoders of H.264, by preference, set to lose as little as is worth the space, without frames that are shown in
/// another order than they are stored.
const ENCODERS: [(&str, &str); 3] = [
    ("x264enc", "x264enc pass=qual quantizer=18 speed-preset=veryfast bframes=0 key-int-max=30"),
    ("openh264enc", "openh264enc rate-control=quality bitrate=20000000 gop-size=30"),
    ("v4l2h264enc", "v4l2h264enc extra-controls=\"controls,video_bitrate=20000000\""),
];

/// A coded frame.
pub struct Unit {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// When it is shown, in the file's own time.
    pub pts: Option<gst::ClockTime>,
    /// Whether it builds on no other.
    pub is_key: bool,
}

/// Decodes `video` and hands each picture as a JPEG of this quality to `on_picture`, in the order in which they are
/// shown, for as long as it answers `true`.
pub fn decode(
    video: &Path,
    quality: u8,
    mut on_picture: impl FnMut(&[u8]) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let tail = format!("decodebin ! videoconvert ! jpegenc quality={quality} ! fakesink name=out sync=false");
    run(&source(&tail)?, video, |unit| on_picture(&unit.bytes))
}

/// Hands each coded frame of `video`, whose media type is `media`, to `on_unit`, in the order in which they are stored.
/// H.264 and H.265 as a byte stream whose key frames bring their parameters.
pub fn units(
    video: &Path,
    media: &str,
    on_unit: impl FnMut(Unit) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let parse = match media {
        "video/x-h264" => {
            "h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au"
        }
        "video/x-h265" => {
            "h265parse config-interval=-1 ! video/x-h265,stream-format=byte-stream,alignment=au"
        }
        _ => "identity",
    };
    let tail = format!("parsebin ! {parse} ! fakesink name=out sync=false");
    run(&source(&tail)?, video, on_unit)
}

/// Encodes `folder`'s pictures, called 0.EXTENSION and so on, as an MP4 of `count` frames.
pub fn encode(
    folder: &Path,
    extension: &str,
    count: usize,
    grid: FrameGrid,
    out: &Path,
) -> anyhow::Result<()> {
    gst::init().context("cannot start GStreamer")?;
    let found = ENCODERS.iter().find(|(name, _)| gst::ElementFactory::find(name).is_some());
    let Some((_, encoder)) = found else {
        bail!(
            "no encoder of H.264 is installed: on Debian, install gstreamer1.0-plugins-ugly (x264enc) or \
             gstreamer1.0-plugins-bad (openh264enc)"
        );
    };
    let media = match extension {
        "png" => "image/png",
        "webp" => "image/webp",
        _ => "image/jpeg",
    };
    let (frames, seconds) = grid.rate();
    let last = count.checked_sub(1).context("there are no pictures")?;
    let pipeline = launch(&format!(
        "multifilesrc name=in start-index=0 stop-index={last} caps={media},framerate={frames}/{seconds} ! decodebin ! \
         videoconvert ! video/x-raw,format=I420 ! {encoder} ! h264parse name=out ! mp4mux faststart=true ! \
         filesink name=to"
    ))?;
    set_location(&pipeline, "in", &folder.join(format!("%d.{extension}")))?;
    set_location(&pipeline, "to", out)?;
    count_frames(&pipeline, count)
}

/// Puts the video of `video` into an MP4 as it is, provided that it has `count` frames.
pub fn remux(video: &Path, media: &str, count: usize, out: &Path) -> anyhow::Result<()> {
    let parse = match media {
        "video/x-h264" => "h264parse",
        "video/x-h265" => "h265parse",
        _ => "identity",
    };
    let pipeline =
        launch(&source(&format!("parsebin ! {parse} name=out ! mp4mux faststart=true ! filesink name=to"))?)?;
    set_location(&pipeline, "from", video)?;
    set_location(&pipeline, "to", out)?;
    count_frames(&pipeline, count)
}

/// A pipeline that reads a file, to be named later.
fn source(tail: &str) -> anyhow::Result<String> {
    gst::init().context("cannot start GStreamer")?;
    Ok(format!("filesrc name=from ! {tail}"))
}

fn launch(description: &str) -> anyhow::Result<gst::Pipeline> {
    let element = gst::parse::launch(description)
        .map_err(|error| anyhow!("{error}; on Debian, install gstreamer1.0-plugins-good, -bad and -libav"))?;
    element.downcast().map_err(|_| anyhow!("{description} is no pipeline"))
}

/// As a property, which needs no quoting.
fn set_location(pipeline: &gst::Pipeline, name: &str, path: &Path) -> anyhow::Result<()> {
    let element = pipeline.by_name(name).context("the description names it")?;
    element.set_property("location", path.to_str().context("GStreamer takes paths in UTF-8 only")?);
    Ok(())
}

/// Runs a pipeline to its end and compares the frames that pass `out`.
fn count_frames(pipeline: &gst::Pipeline, count: usize) -> anyhow::Result<()> {
    let mut frames = 0;
    drive(pipeline, "src", |_| {
        frames += 1;
        Ok(true)
    })?;
    ensure!(frames == count, "the video has {frames} frames, but should have {count}");
    Ok(())
}

/// Runs the pipeline on `video`, and hands what reaches `out` to `on_unit`.
fn run(
    description: &str,
    video: &Path,
    on_unit: impl FnMut(Unit) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let pipeline = launch(description)?;
    set_location(&pipeline, "from", video)?;
    drive(&pipeline, "sink", on_unit)
}

/// Runs the pipeline until its end, or until `on_unit`, which gets what passes this pad of `out`, has enough.
fn drive(
    pipeline: &gst::Pipeline,
    pad: &str,
    on_unit: impl FnMut(Unit) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let (units, inbox) = mpsc::sync_channel(QUEUE);
    tap(pipeline, pad, units)?;
    // A pipeline that cannot start says why on its bus, too.
    let _ = pipeline.set_state(gst::State::Playing);
    let result = listen(pipeline, &inbox, on_unit);
    // Whoever waits to hand over a frame must not keep the pipeline from stopping.
    drop(inbox);
    let _ = pipeline.set_state(gst::State::Null);
    result
}

/// Sends what passes a pad of `out`.
fn tap(pipeline: &gst::Pipeline, pad: &str, units: SyncSender<anyhow::Result<Unit>>) -> anyhow::Result<()> {
    let pad =
        pipeline.by_name("out").and_then(|out| out.static_pad(pad)).context("the description has it")?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
        let unit = match buffer.map_readable() {
            Ok(map) => {
                let is_key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
                Ok(Unit { bytes: map.to_vec(), pts: buffer.pts(), is_key })
            }
            Err(error) => Err(anyhow!("a frame cannot be read: {error}")),
        };
        // Nobody listens any more: the pipeline is being stopped.
        let _ = units.send(unit);
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Until the end of the stream, an error, or until there is enough.
fn listen(
    pipeline: &gst::Pipeline,
    inbox: &Receiver<anyhow::Result<Unit>>,
    mut on_unit: impl FnMut(Unit) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let bus = pipeline.bus().context("a pipeline has a bus")?;
    let mut silent = Duration::ZERO;
    loop {
        match inbox.recv_timeout(POLL) {
            Ok(unit) => {
                silent = Duration::ZERO;
                if !on_unit(unit?)? {
                    return Ok(());
                }
                continue;
            }
            Err(RecvTimeoutError::Timeout) => silent += POLL,
            // The pad is gone; the bus says why.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(POLL),
        }
        if let Some(message) = bus.pop_filtered(&[gst::MessageType::Eos, gst::MessageType::Error]) {
            match message.view() {
                gst::MessageView::Error(error) => bail!("{}", error.error()),
                // Everything has passed the pad before.
                _ => {
                    for unit in inbox.try_iter() {
                        if !on_unit(unit?)? {
                            break;
                        }
                    }
                    return Ok(());
                }
            }
        }
        ensure!(silent < STALLED, "GStreamer gave no frame for {STALLED:?}");
    }
}
