//! A frame as a small JPEG, by GStreamer's own elements.
//!
//! They are no pipeline: the frame is pushed through them by the thread that calls, so all the work is done at that thread's priority. A
//! pipeline's threads come from a pool of the whole process, whose priority must not be changed.

use std::sync::Arc;

use gst::prelude::*;
use parking_lot::Mutex;

use super::stored_frame::StoredFrame;

/// Chosen: the LEDs of the panel can be told apart, and 320 pixels take some ten kilobytes.
const QUALITY: i32 = 75;

/// The frame, `width` pixels wide at most, as JPEG; or why not, for a person.
pub fn render(frame: &StoredFrame, width: u16) -> Result<Vec<u8>, String> {
    let caps = &frame.stream.caps;
    let structure = caps.structure(0).ok_or("its frames have no format")?;
    if structure.name() == "video/x-raw" {
        return Chain::new(None, caps, width)?.run(frame, caps);
    }
    let decoders = decoders(caps);
    let none =
        || format!("its frames are {}, which nothing that is installed on it can show", structure.name());
    let mut failed = None;
    for decoder in decoders {
        match Chain::new(Some(&decoder), caps, width).and_then(|chain| chain.run(frame, caps)) {
            Ok(jpeg) => return Ok(jpeg),
            Err(why) => failed = Some(why),
        }
    }
    Err(failed.unwrap_or_else(none))
}

/// Decoders for `caps`, the best first. None that is hardware: there are few of these, and pipelines need them.
fn decoders(caps: &gst::Caps) -> Vec<gst::ElementFactory> {
    let all = gst::ElementFactory::factories_with_type(
        gst::ElementFactoryType::DECODER
            | gst::ElementFactoryType::MEDIA_IMAGE
            | gst::ElementFactoryType::MEDIA_VIDEO,
        gst::Rank::MARGINAL,
    );
    let fits = |factory: &gst::ElementFactory| {
        let class = factory.metadata("klass").unwrap_or_default();
        !class.contains("Hardware") && factory.can_sink_any_caps(caps)
    };
    let mut all: Vec<_> = all.into_iter().filter(fits).collect();
    all.sort_by_key(|factory| std::cmp::Reverse(factory.rank()));
    all
}

/// Elements that are linked, with a pad before the first and one behind the last. They stop when it is dropped.
struct Chain {
    elements: Vec<gst::Element>,
    entry: gst::Pad,
    exit: gst::Pad,
    made: Arc<Mutex<Option<gst::Buffer>>>,
}

impl Chain {
    fn new(decoder: Option<&gst::ElementFactory>, caps: &gst::Caps, width: u16) -> Result<Self, String> {
        let own = caps.structure(0).and_then(|structure| structure.get::<i32>("width").ok());
        let width = own.map_or(i32::from(width), |own| own.min(i32::from(width)));
        // The height follows from the width and square pixels.
        let small = gst::Caps::builder("video/x-raw")
            .field("width", width)
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .build();
        let mut elements = Vec::new();
        if let Some(decoder) = decoder {
            let decoder =
                decoder.create().build().map_err(|_| format!("{} cannot be made", decoder.name()))?;
            if decoder.has_property("max-threads") {
                decoder.set_property_from_str("max-threads", "1");
            }
            elements.push(decoder);
        }
        elements.push(make("videoconvertscale")?);
        let filter = make("capsfilter")?;
        filter.set_property("caps", &small);
        elements.push(filter);
        let encoder = make("jpegenc")?;
        encoder.set_property("quality", QUALITY);
        elements.push(encoder);

        let made = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&made);
        let exit = gst::Pad::builder(gst::PadDirection::Sink)
            .name("exit")
            .chain_function(move |_, _, buffer| {
                kept.lock().get_or_insert(buffer);
                Ok(gst::FlowSuccess::Ok)
            })
            .event_function(|_, _, _| true)
            .build();
        let entry = gst::Pad::builder(gst::PadDirection::Src).name("entry").build();
        let chain = Self { elements, entry, exit, made };
        chain.start().map_err(|error| format!("its frames cannot be made small: {error}"))?;
        Ok(chain)
    }

    fn start(&self) -> Result<(), gst::glib::BoolError> {
        let failed = || gst::glib::bool_error!("elements cannot be linked");
        let first = self.elements.first().and_then(|first| first.static_pad("sink")).ok_or_else(failed)?;
        let last = self.elements.last().and_then(|last| last.static_pad("src")).ok_or_else(failed)?;
        self.entry.link(&first).map_err(|_| failed())?;
        last.link(&self.exit).map_err(|_| failed())?;
        gst::Element::link_many(&self.elements)?;
        for element in self.elements.iter().rev() {
            element
                .set_state(gst::State::Playing)
                .map_err(|_| gst::glib::bool_error!("{} does not start", element.name()))?;
        }
        self.exit.set_active(true)?;
        self.entry.set_active(true)
    }

    /// Sends the frame through, and returns what comes out.
    fn run(self, frame: &StoredFrame, caps: &gst::Caps) -> Result<Vec<u8>, String> {
        let mut buffer = frame.buffer.copy();
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::ZERO);
            buffer.set_dts(gst::ClockTime::NONE);
            buffer.set_flags(gst::BufferFlags::DISCONT);
        }
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        self.entry.push_event(gst::event::StreamStart::new("thumbnail"));
        self.entry.push_event(gst::event::Caps::new(caps));
        self.entry.push_event(gst::event::Segment::new(&segment));
        let pushed = self.entry.push(buffer);
        // Decoders of video may wait for a frame to follow.
        self.entry.push_event(gst::event::Eos::new());
        let made = self.made.lock().take();
        match (made, pushed) {
            (Some(made), _) => {
                let map = made.map_readable().map_err(|error| error.to_string())?;
                Ok(map.to_vec())
            }
            (None, Err(gst::FlowError::NotNegotiated)) => {
                Err(format!("its frames cannot be made small: {}", short(caps)))
            }
            (None, _) => Err(format!("its frame cannot be decoded: {}", short(caps))),
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for pad in [&self.entry, &self.exit] {
            // Fails for no pad of ours.
            let _ = pad.set_active(false);
        }
        for element in &self.elements {
            let _ = element.set_state(gst::State::Null);
        }
    }
}

fn make(name: &str) -> Result<gst::Element, String> {
    gst::ElementFactory::make(name)
        .build()
        .map_err(|_| format!("it has no GStreamer element {name} to make a picture small with"))
}

/// What a person needs of `caps`.
fn short(caps: &gst::Caps) -> String {
    let Some(structure) = caps.structure(0) else { return "no format".into() };
    let format = structure.get::<String>("format").map(|format| format!(" {format}"));
    format!("{}{}", structure.name(), format.unwrap_or_default())
}
