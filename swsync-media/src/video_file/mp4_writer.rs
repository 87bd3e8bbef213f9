//! Writes an MP4 file, of coded frames as they are or of pictures to be encoded.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, anyhow, bail, ensure};
use gst::prelude::*;
use swsync_core::mp4;
use swsync_core::time::{Rig, Span, Timestamp};

use super::pipeline::{PARSERS, error_on, launch};

/// H.264 encoders by preference. They are set to near-lossless quality, without B-frames.
const ENCODERS: [(&str, &str); 3] = [
    ("x264enc", "x264enc pass=qual quantizer=18 speed-preset=veryfast bframes=0 key-int-max=30"),
    ("openh264enc", "openh264enc rate-control=quality bitrate=20000000 gop-size=30"),
    ("v4l2h264enc", "v4l2h264enc extra-controls=\"controls,video_bitrate=20000000\""),
];

/// The muxer's time of the first picture. Frames that are decoded before it is shown have earlier times.
const ORIGIN: gst::ClockTime = gst::ClockTime::from_seconds(3600);

/// Longest wait for the end of the file.
const STALLED: gst::ClockTime = gst::ClockTime::from_seconds(60);

/// An MP4 file that is being written. It is whole only after [`finish`](Self::finish).
pub struct Mp4Writer<'a> {
    path: &'a Path,
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    input: gst::Pad,
    pushed: usize,
    written: Arc<AtomicUsize>,
}

impl<'a> Mp4Writer<'a> {
    /// A file of pictures that are encoded as H.264. `caps` are raw video or a picture format such as JPEG. Pictures of another
    /// size are scaled to `size`, with black borders if their aspect ratio differs.
    pub fn encoding(caps: &gst::Caps, size: (u32, u32), path: &'a Path) -> anyhow::Result<Self> {
        gst::init().context("cannot start GStreamer")?;
        let found = ENCODERS.iter().find(|(name, _)| gst::ElementFactory::find(name).is_some());
        let Some((_, encoder)) = found else {
            bail!(
                "no encoder of H.264 is installed: on Debian, install gstreamer1.0-plugins-ugly (x264enc) or \
                 gstreamer1.0-plugins-bad (openh264enc)"
            );
        };
        let decoder =
            if caps.structure(0).is_some_and(|s| s.name() == "video/x-raw") { "" } else { "decodebin ! " };
        let (width, height) = size;
        let elements = format!(
            "{decoder}videoconvert ! videoscale add-borders=true ! \
             video/x-raw,format=I420,width={width},height={height},pixel-aspect-ratio=1/1 ! {encoder} ! h264parse name=out"
        );
        Self::begin(&elements, caps, ORIGIN, path)
    }

    /// A file of coded frames as they are. The first is decoded `ahead` of its presentation.
    pub fn copying(caps: &gst::Caps, ahead: Span, path: &'a Path) -> anyhow::Result<Self> {
        gst::init().context("cannot start GStreamer")?;
        let media = caps.structure(0).map_or("", |structure| structure.name().as_str());
        let parse = PARSERS.iter().find(|(known, _)| *known == media).context("MP4 does not hold it")?.1;
        let parse = parse.split(' ').next().unwrap_or_default();
        Self::begin(&format!("{parse} name=out"), caps, after_origin(-ahead), path)
    }

    fn begin(
        elements: &str,
        caps: &gst::Caps,
        begins: gst::ClockTime,
        path: &'a Path,
    ) -> anyhow::Result<Self> {
        // The index is at the end. To put it first, mp4mux would write all data twice, once to the system's temporary folder.
        let pipeline = launch(&format!(
            "identity name=in silent=true ! {elements} ! mp4mux ! filesink name=to async=false"
        ))?;
        let element = |name: &str| pipeline.by_name(name).context("the description names it");
        let location = path.to_str().context("GStreamer takes paths in UTF-8 only")?;
        element("to")?.set_property("location", location);
        let written = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&written);
        let out = element("out")?.static_pad("src").context("a parser has an output")?;
        out.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            counter.fetch_add(1, Ordering::Relaxed);
            gst::PadProbeReturn::Ok
        });
        let entry = element("in")?.static_pad("sink").context("identity has an input")?;
        let input = gst::Pad::builder(gst::PadDirection::Src).build();
        input.link_full(&entry, gst::PadLinkCheck::empty()).map_err(|error| anyhow!("{error}"))?;
        let bus = pipeline.bus().context("a pipeline has a bus")?;
        let this = Self { path, pipeline, bus, input, pushed: 0, written };
        this.pipeline.set_state(gst::State::Playing).map_err(|_| this.error("it does not start"))?;
        this.input.set_active(true)?;
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_start(begins);
        segment.set_position(begins);
        let events = [
            gst::event::StreamStart::builder("swsync").group_id(gst::GroupId::next()).build(),
            gst::event::Caps::new(caps),
            gst::event::Segment::new(&segment),
        ];
        ensure!(
            events.into_iter().all(|event| this.input.push_event(event)),
            this.error("it refuses the stream")
        );
        Ok(this)
    }

    /// Sets the caps of the pictures that follow.
    pub fn change(&self, caps: &gst::Caps) -> anyhow::Result<()> {
        ensure!(
            self.input.push_event(gst::event::Caps::new(caps)),
            self.error("it refuses pictures of another size or kind")
        );
        Ok(())
    }

    /// Adds a picture or coded frame, in decoding order. `shown` and `decoded` count from the presentation of the first one.
    pub fn push(
        &mut self,
        buffer: &gst::Buffer,
        shown: Span,
        decoded: Span,
        duration: Span,
    ) -> anyhow::Result<()> {
        let mut buffer = buffer.copy();
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(after_origin(shown));
            buffer.set_dts(after_origin(decoded));
            buffer.set_duration(gst::ClockTime::from_nseconds(duration.as_nanos().unsigned_abs()));
        }
        self.pushed += 1;
        match self.input.push(buffer) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.error(&format!("it stopped ({error})"))),
        }
    }

    /// Ends the file, and writes into it that its first picture was taken `at`.
    pub fn finish(self, at: Timestamp<Rig>) -> anyhow::Result<()> {
        self.input.push_event(gst::event::Eos::new());
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = self.bus.timed_pop_filtered(STALLED, &kinds);
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) => {}
            Some(gst::MessageView::Error(error)) => bail!("{}", error.error()),
            _ => bail!("GStreamer does not finish the file"),
        }
        // filesink writes the last bytes when it closes the file.
        self.pipeline.set_state(gst::State::Null).map_err(|_| self.error("the file cannot be closed"))?;
        let (pushed, written) = (self.pushed, self.written.load(Ordering::Relaxed));
        ensure!(written == pushed, "the video has {written} frames, but should have {pushed}");
        set_creation_time(self.path, at)
    }

    fn error(&self, otherwise: &str) -> anyhow::Error {
        error_on(&self.bus).unwrap_or_else(|| anyhow!("{otherwise}"))
    }
}

fn after_origin(span: Span) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(ORIGIN.nseconds().saturating_add_signed(span.as_nanos()))
}

impl Drop for Mp4Writer<'_> {
    fn drop(&mut self) {
        // Failures have no consequence here.
        let _ = self.input.set_active(false);
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Sets the creation time in the MP4 file: mp4mux writes the wall clock's.
fn set_creation_time(path: &Path, at: Timestamp<Rig>) -> anyhow::Result<()> {
    use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
    let (mut begin, end) = (0, file.metadata()?.len());
    while begin < end {
        let mut head = Vec::new();
        file.seek(SeekFrom::Start(begin))?;
        std::io::Read::by_ref(&mut file).take(16).read_to_end(&mut head)?;
        let (kind, size) = mp4::box_at(&head).context("the file that was written is no MP4")?;
        if &kind == b"moov" {
            let mut index = vec![0; usize::try_from(size)?];
            file.seek(SeekFrom::Start(begin))?;
            file.read_exact(&mut index)?;
            ensure!(
                mp4::set_creation_time(&mut index, at),
                "the MP4 that was written has no place for its date"
            );
            file.seek(SeekFrom::Start(begin))?;
            return Ok(file.write_all(&index)?);
        }
        begin += size;
    }
    bail!("the MP4 that was written has no index")
}
