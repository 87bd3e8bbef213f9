//! Muxes the frames of one video file: encoded frames in, the file's bytes out.
//!
//! The muxer is in no pipeline, but between two pads of this module. Its output is collected and written on the thread that
//! puts frames in, so disk errors are returned there, and no other thread waits for the disk.

use std::str::FromStr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use swsync_core::mp4;
use swsync_core::time::{Rig, Timestamp};
use swsync_files::SegmentFile;

use crate::camera::mode::RemainingTransform;
use crate::order_service::{StoredFrame, Stream};

/// The first frame's time in the muxer: not zero, since it may be decoded before it is shown.
const ORIGIN: gst::ClockTime = gst::ClockTime::from_seconds(3600);

/// Longest time without output from the muxer while a file is finished.
const FINISH_TIMEOUT: Duration = Duration::from_secs(20);

/// Length of a fragment: a power cut takes the last one.
const FRAGMENT: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// How the frames of a stream are saved.
#[derive(Debug, Clone, PartialEq)]
pub enum Container {
    /// A file for each frame.
    Picture,
    /// A file of frames one after the other, as they come from the encoder.
    Elementary,
    /// A file that this element muxes, with these properties.
    Muxer { factory: String, properties: Option<gst::Structure> },
}

/// What comes out of the muxer.
enum Output {
    Data(gst::Buffer),
    /// The next data goes to this position.
    Seek(u64),
    End,
}

/// A muxer between two pads.
pub struct Muxer {
    /// The muxer, and a parser before it if it needs one.
    elements: Vec<gst::Element>,
    input: gst::Pad,
    output: gst::Pad,
    received: mpsc::Receiver<Output>,
    bus: gst::Bus,
    origin: Timestamp<Rig>,
    position: u64,
}

impl Container {
    /// The container for a stream of `caps`, and the extension of its files. `extension` and `factory` are the user's choice, if any.
    ///
    /// # Errors
    /// What does not fit together, for a person.
    pub fn choose(
        caps: &gst::CapsRef,
        extension: Option<&str>,
        factory: Option<&str>,
        properties: Option<&gst::Structure>,
    ) -> Result<(Self, String), String> {
        let name = caps.structure(0).map_or("", |structure| structure.name().as_str());
        let bare = crate::caps::extension_of(caps);
        let is_coded = name.starts_with("video/") && !matches!(name, "video/x-raw" | "video/x-bayer");
        let by_extension = extension.and_then(muxer_of);
        let muxer = match (factory, by_extension) {
            (Some(factory), _) => factory,
            (None, Some(factory)) => factory,
            (None, None) if !is_coded => {
                return Ok((Self::Picture, extension.unwrap_or(bare).to_owned()));
            }
            (None, None) if extension.is_some() => {
                return Ok((Self::Elementary, extension.unwrap_or(bare).to_owned()));
            }
            (None, None) if name == "video/x-vp8" => "matroskamux",
            (None, None) => "mp4mux",
        };
        let found = gst::ElementFactory::find(muxer).ok_or_else(|| {
            format!("there is no element {muxer}: install its plugin, or set `muxer-factory`")
        })?;
        if parser_for(&found, caps).is_none() {
            return Err(format!(
                "{muxer} does not take {caps}: set another `muxer-factory`, or another extension in `location`"
            ));
        }
        let extension = extension.or_else(|| extension_of(muxer)).unwrap_or(bare).to_owned();
        Ok((Self::Muxer { factory: muxer.to_owned(), properties: properties.cloned() }, extension))
    }
}

/// Muxers by the extension of their files.
const MUXERS: [(&str, &str); 8] = [
    ("mp4", "mp4mux"),
    ("m4v", "mp4mux"),
    ("mkv", "matroskamux"),
    ("webm", "webmmux"),
    ("mov", "qtmux"),
    ("avi", "avimux"),
    ("ts", "mpegtsmux"),
    ("flv", "flvmux"),
];

/// Whether what a crash or a power cut leaves of this muxer's file can be made playable: swsync-rig does that.
pub fn is_salvaged(muxer: &str) -> bool {
    MUXERS.iter().any(|(_, known)| *known == muxer)
}

fn muxer_of(extension: &str) -> Option<&'static str> {
    MUXERS.iter().find(|(known, _)| *known == extension).map(|(_, muxer)| *muxer)
}

fn extension_of(muxer: &str) -> Option<&'static str> {
    MUXERS.iter().find(|(_, known)| *known == muxer).map(|(extension, _)| *extension)
}

/// The parser that the muxer needs before it to take `caps`, if any; `None`: it cannot take them.
fn parser_for(muxer: &gst::ElementFactory, caps: &gst::CapsRef) -> Option<Option<&'static str>> {
    let takes = |caps: &gst::CapsRef| {
        let mut templates = muxer.static_pad_templates().into_iter();
        templates.any(|t| t.direction() == gst::PadDirection::Sink && t.caps().can_intersect(caps))
    };
    let structure = caps.structure(0)?;
    let name = structure.name();
    // mp4mux's template takes the caps of vp9enc, but they lack what it needs.
    let is_vague = name == "video/x-vp9" && !structure.has_field("chroma-format");
    if takes(caps) && !is_vague {
        return Some(None);
    }
    let parsers = [
        ("video/x-h264", "h264parse"),
        ("video/x-h265", "h265parse"),
        ("video/x-av1", "av1parse"),
        ("video/x-vp9", "vp9parse"),
        ("image/jpeg", "jpegparse"),
    ];
    let (_, parser) = parsers.into_iter().find(|(known, _)| known == name)?;
    let is_there = gst::ElementFactory::find(parser).is_some();
    (is_there && takes(&gst::Caps::new_empty_simple(name))).then_some(Some(parser))
}

impl Muxer {
    /// Begins a file whose first frame is `first`.
    ///
    /// # Errors
    /// What the muxer cannot do, for a person.
    pub fn begin(
        factory: &str,
        properties: Option<&gst::Structure>,
        first: &StoredFrame,
        left: Option<RemainingTransform>,
    ) -> Result<Self, String> {
        let Stream { caps, .. } = first.stream.as_ref();
        let known =
            gst::ElementFactory::find(factory).ok_or_else(|| format!("there is no element {factory}"))?;
        let parser = parser_for(&known, caps).ok_or_else(|| format!("{factory} does not take {caps}"))?;
        let make = |factory: &str| {
            gst::ElementFactory::make(factory).build().map_err(|error| format!("{factory}: {error}"))
        };
        let muxer = make(factory)?;
        let is_seekable = configure(&muxer, first.info.rig_time_ns);
        if let Some(properties) = properties {
            set_properties(&muxer, properties)?;
        }
        let mut elements = Vec::new();
        if let Some(parser) = parser {
            elements.push(make(parser)?);
        }
        let bus = gst::Bus::new();
        let sink =
            request_video_pad(&muxer, caps).ok_or_else(|| format!("{factory} has no pad for {caps}"))?;
        let (output, received) = output_pad(is_seekable);
        let failed = |what: &str| format!("{factory}: {what}");
        let source = muxer.static_pad("src").ok_or_else(|| failed("it has no output"))?;
        source.link(&output).map_err(|error| failed(&error.to_string()))?;
        let input = gst::Pad::builder(gst::PadDirection::Src).build();
        let entry = match elements.first() {
            Some(parser) => {
                let exit = parser.static_pad("src").ok_or_else(|| failed("the parser has no output"))?;
                exit.link_full(&sink, gst::PadLinkCheck::empty())
                    .map_err(|error| failed(&error.to_string()))?;
                parser.static_pad("sink").ok_or_else(|| failed("the parser has no input"))?
            }
            None => sink,
        };
        input.link_full(&entry, gst::PadLinkCheck::empty()).map_err(|error| failed(&error.to_string()))?;
        elements.push(muxer);
        let this =
            Self { elements, input, output, received, bus, origin: first.info.rig_time_ns, position: 0 };
        this.start(first, left)?;
        Ok(this)
    }

    fn start(&self, first: &StoredFrame, left: Option<RemainingTransform>) -> Result<(), String> {
        self.output.set_active(true).map_err(|error| error.to_string())?;
        for element in self.elements.iter().rev() {
            element.set_bus(Some(&self.bus));
            element.set_state(gst::State::Playing).map_err(|_| self.error("it does not start"))?;
        }
        self.input.set_active(true).map_err(|error| error.to_string())?;
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        // The segment begins when the first frame is decoded. If it began when that is shown, mp4mux would cut the difference off
        // the end (seen with 1.26: an edit list as long as the fragments, less that).
        let begin =
            ORIGIN.saturating_sub(gst::ClockTime::from_nseconds(ahead_of(&first.buffer).unsigned_abs()));
        segment.set_start(begin);
        segment.set_position(begin);
        let mut tags = gst::TagList::new();
        if let Some(date) = date_time(first.info.rig_time_ns) {
            tags.make_mut().add::<gst::tags::DateTime>(&date, gst::TagMergeMode::Replace);
        }
        if let Some(left) = left {
            tags.make_mut().add::<gst::tags::ImageOrientation>(&left.tag(), gst::TagMergeMode::Replace);
        }
        let events = [
            gst::event::StreamStart::builder("swsync").group_id(gst::GroupId::next()).build(),
            gst::event::Caps::new(&first.stream.caps),
            gst::event::Segment::new(&segment),
            gst::event::Tag::new(tags),
        ];
        match events.into_iter().all(|event| self.input.push_event(event)) {
            true => Ok(()),
            false => Err(self.error("it refuses the stream")),
        }
    }

    /// Puts a frame in, and writes what comes out.
    ///
    /// # Errors
    /// What the muxer or the disk said.
    pub fn push(
        &mut self,
        frame: &StoredFrame,
        duration: gst::ClockTime,
        out: &mut SegmentFile,
    ) -> Result<(), String> {
        let mut buffer = frame.buffer.copy();
        {
            let buffer = buffer.make_mut();
            // Rig time, unlike running time, goes on when the pipeline is restarted.
            let since = (frame.info.rig_time_ns - self.origin).as_nanos();
            let shown = ORIGIN.nseconds().saturating_add_signed(since);
            let ahead = ahead_of(buffer);
            buffer.set_pts(gst::ClockTime::from_nseconds(shown));
            buffer.set_dts(gst::ClockTime::from_nseconds(shown.saturating_add_signed(-ahead)));
            if buffer.duration().is_none() {
                buffer.set_duration(duration);
            }
        }
        self.input.push(buffer).map_err(|error| self.error(&format!("it stopped ({error})")))?;
        while let Ok(output) = self.received.try_recv() {
            self.write(output, out)?;
        }
        Ok(())
    }

    /// No more frames: has the muxer write its end.
    ///
    /// # Errors
    /// What the muxer or the disk said.
    pub fn finish(mut self, out: &mut SegmentFile) -> Result<(), String> {
        self.input.push_event(gst::event::Eos::new());
        let mut last_output = Instant::now();
        loop {
            match self.received.recv_timeout(Duration::from_millis(100)) {
                Ok(Output::End) => return Ok(()),
                Ok(output) => {
                    last_output = Instant::now();
                    self.write(output, out)?;
                }
                Err(RecvTimeoutError::Timeout) if last_output.elapsed() < FINISH_TIMEOUT => {
                    if let Some(error) = self.posted() {
                        return Err(error);
                    }
                }
                Err(_) => return Err(self.error("it does not finish the file")),
            }
        }
    }

    fn write(&mut self, output: Output, out: &mut SegmentFile) -> Result<(), String> {
        match output {
            Output::Data(buffer) => {
                let map = buffer.map_readable().map_err(|error| error.to_string())?;
                let changed = with_creation_time(&map, self.origin);
                out.write_at(self.position, changed.as_deref().unwrap_or(&map))
                    .map_err(|error| error.to_string())?;
                self.position += map.len() as u64;
            }
            Output::Seek(position) => self.position = position,
            Output::End => {}
        }
        Ok(())
    }

    /// The error that the muxer posted.
    fn posted(&self) -> Option<String> {
        let message = self.bus.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(format!(
                "{}: {} ({})",
                error.src().map_or_else(Default::default, |source| source.name().to_string()),
                error.error(),
                error.debug().unwrap_or_default()
            )),
            _ => None,
        }
    }

    fn error(&self, otherwise: &str) -> String {
        let name = self.elements.last().map_or_else(Default::default, |muxer| muxer.name().to_string());
        self.posted().unwrap_or_else(|| format!("{name}: {otherwise}"))
    }
}

impl Drop for Muxer {
    fn drop(&mut self) {
        // Failures have no consequences any more.
        let _ = self.input.set_active(false);
        let _ = self.output.set_active(false);
        for element in &self.elements {
            let _ = element.set_state(gst::State::Null);
        }
    }
}

/// The pad that takes the muxer's output; `is_seekable`: the muxer may go back and overwrite.
fn output_pad(is_seekable: bool) -> (gst::Pad, mpsc::Receiver<Output>) {
    let (sender, received) = mpsc::channel();
    let events = sender.clone();
    let pad = gst::Pad::builder(gst::PadDirection::Sink)
        .chain_function(move |_, _, buffer| match sender.send(Output::Data(buffer)) {
            Ok(()) => Ok(gst::FlowSuccess::Ok),
            Err(_) => Err(gst::FlowError::Flushing),
        })
        .event_function(move |_, _, event| {
            let output = match event.view() {
                gst::EventView::Eos(_) => Some(Output::End),
                gst::EventView::Segment(segment) => {
                    let segment = segment.segment().downcast_ref::<gst::format::Bytes>();
                    segment.and_then(|segment| Some(Output::Seek(*segment.start()?)))
                }
                _ => None,
            };
            output.is_none_or(|output| events.send(output).is_ok())
        })
        .query_function(move |_, _, query| match query.view_mut() {
            // Some muxers write sizes into the beginning once they know them. mp4mux then writes the length of the fragments, and
            // players cut off frames that are shown later than they are decoded.
            gst::QueryViewMut::Seeking(query) if query.format() == gst::Format::Bytes => {
                query.set(is_seekable, gst::format::Bytes::ZERO, gst::format::Bytes::NONE);
                true
            }
            _ => false,
        })
        .build();
    (pad, received)
}

/// Sets the muxer's properties for a file that begins at `begins`: if possible, what is on the disk can be played but for the last
/// second. Returns whether the muxer may go back and overwrite.
///
/// Most muxers write index and duration when a file is closed. mp4mux does not with fragments: swsync-rig does it then.
fn configure(muxer: &gst::Element, begins: Timestamp<Rig>) -> bool {
    let has = |name: &str| muxer.find_property(name).is_some();
    let in_fragments = has("fragment-duration");
    if in_fragments {
        muxer.set_property("fragment-duration", u32::try_from(FRAGMENT.mseconds()).unwrap_or(1000));
    }
    if has("streamable") {
        muxer.set_property("streamable", in_fragments);
    }
    if has("start-gap-threshold") {
        // Reordered frames are shown somewhat later than the file begins: that is no gap.
        muxer.set_property("start-gap-threshold", gst::ClockTime::from_seconds(1).nseconds());
    }
    if has("creation-time") {
        let micros = begins.as_nanos().div_euclid(1000);
        let date = glib::DateTime::from_unix_utc(micros.div_euclid(1_000_000))
            .and_then(|date| date.add(glib::TimeSpan::from_microseconds(micros.rem_euclid(1_000_000))));
        if let Ok(date) = date {
            muxer.set_property("creation-time", date);
        }
    }
    !in_fragments
}

/// The `ftyp` or `moov` of an MP4 file with the time of its first picture as creation time: mp4mux writes the wall clock's.
fn with_creation_time(bytes: &[u8], begins: Timestamp<Rig>) -> Option<Vec<u8>> {
    if !matches!(mp4::box_at(bytes)?.0, [b'f', b't', b'y', b'p'] | [b'm', b'o', b'o', b'v']) {
        return None;
    }
    let mut bytes = bytes.to_vec();
    mp4::set_creation_time(&mut bytes, begins).then_some(bytes)
}

/// Rig time as a date, to the microsecond.
fn date_time(at: Timestamp<Rig>) -> Option<gst::DateTime> {
    gst::DateTime::from_unix_epoch_utc_usecs(at.as_nanos().div_euclid(1000)).ok()
}

/// How long a frame is decoded before it is shown, in nanoseconds.
fn ahead_of(buffer: &gst::BufferRef) -> i64 {
    match (buffer.pts(), buffer.dts()) {
        (Some(pts), Some(dts)) => {
            i64::try_from(i128::from(pts.nseconds()) - i128::from(dts.nseconds())).unwrap_or(0)
        }
        _ => 0,
    }
}

/// Sets properties as splitmuxsink's `muxer-properties` does.
fn set_properties(muxer: &gst::Element, properties: &gst::Structure) -> Result<(), String> {
    for (name, value) in properties.iter() {
        let pspec = muxer
            .find_property(name)
            .ok_or_else(|| format!("muxer-properties: {} has no property {name}", muxer.name()))?;
        let fits = value.transform_with_type(pspec.value_type()).ok().or_else(|| {
            let text = value.get::<String>().ok()?;
            glib::Value::deserialize_with_pspec(&text, &pspec).ok()
        });
        match fits {
            Some(value) => muxer.set_property_from_value(name, &value),
            None => return Err(format!("muxer-properties: {name} cannot be {value:?}")),
        }
    }
    Ok(())
}

/// A sink pad of the muxer for `caps`, or for what a parser makes of them.
fn request_video_pad(muxer: &gst::Element, caps: &gst::CapsRef) -> Option<gst::Pad> {
    let name = caps.structure(0)?.name();
    let any_form = gst::Caps::from_str(name).ok()?;
    let templates = muxer.pad_template_list();
    let fits = |template: &&gst::PadTemplate| {
        template.direction() == gst::PadDirection::Sink && template.caps().can_intersect(&any_form)
    };
    // Prefer video pads to those that take anything.
    let template = templates.iter().filter(fits).min_by_key(|t| !t.name_template().starts_with("video"))?;
    match template.presence() {
        gst::PadPresence::Request => muxer.request_pad(template, None, None),
        _ => muxer.static_pad(template.name_template()),
    }
}
