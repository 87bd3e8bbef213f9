//! `swsyncgate`: passes exactly the frames that orders name, in the future or past, and drops the rest.
//!
//! The gate is [`swsyncsink`](super::swsyncsink) for an application's own sinks: it keeps a ring of
//! recent frames, joins the rig's control plane, and pushes the frames that an order names as they came: the same buffers with their
//! metas and their own PTS.
//!
//! ```text
//! gst-launch-1.0 swsyncclock role=leader swsyncsrc ! videoconvert ! x264enc tune=zerolatency ! swsyncgate ! h264parse ! \
//!     mp4mux fragment-duration=1000 ! filesink location=take.mp4
//! swsync record --for 10s
//! ```
//!
//! Encoded video is kept by groups of pictures and begins with a key frame: the gate requests one from the encoder at the very
//! frame that an order, or a segment of it, begins with (GstForceKeyUnit upstream). For a frame that has passed it releases the
//! frames from the last key frame on; those that are not named carry GST_BUFFER_FLAG_DECODE_ONLY.
//!
//! While frames come, nothing upstream waits for what is downstream: the gate has a thread of its own, and frames that are released wait
//! in bounded memory. Frames that fall out of the ring before downstream has taken those before them are lost, and the answer
//! names them. At EOS, and on the way to READY, the gate waits up to 5 s until downstream has taken the frames of open orders.
//!
//! The rig is set as in `swsyncsink`: once for the pipeline, on any of its swsync elements (docs/settings.md).
//!
//! # Events
//!
//! Serialized custom events go downstream (GST_EVENT_CUSTOM_DOWNSTREAM), with these structures:
//!
//! - `swsync-order-begin`: `order`, and `first-frame`. Before the order's first buffer.
//! - `swsync-segment-begin`: `order`, `segment` (counted from 0), `first-frame`. Before the first buffer of each file that
//!   the order wants, lead-in included.
//! - `swsync-in-point`: `order`, `segment`, `lead-in`: how many buffers came since `swsync-segment-begin` that the order
//!   does not name. Before the first buffer that it names; not sent if the lead-in is empty.
//! - `swsync-hole`: `order`, `first-frame`, `frames`, `why`: frames that will not come. As soon as that is known.
//! - `swsync-order-end`: `order`, `released`, `missing`. After its last buffer.
//!
//! Between orders the stream is sparse: GAP events, five times a second, say how far the stream has come, so that sinks preroll and
//! a muxer goes on with its other streams. Caps and segment come before the first frame, or gap, of theirs. Frames of the past have
//! a PTS before gaps that were already sent. At the end of the stream, open orders end with what there is, and EOS follows.
//!
//! `mp4mux` and `qtmux` cannot mux such a stream with others: they keep each stream's last frame, and take no data of the other streams until
//! the next frame has come. `matroskamux` and `mpegtsmux` can:
//!
//! ```text
//! gst-launch-1.0 -e swsyncclock role=leader swsyncsrc ! videoconvert ! x264enc tune=zerolatency ! h264parse ! swsyncgate ! queue ! \
//!     matroskamux name=m ! filesink location=take.mkv alsasrc ! audioconvert ! opusenc ! queue ! m.
//! ```
//!
//! Put the parser before the gate: behind it, it would have to set caps before it has seen a frame, and muxers take no other
//! caps later.
//!
//! # Orders
//!
//! The answer to an order says `saved` for frames that were released. An order that begins before the oldest frame in the ring yields what
//! there is, and the answer names the missing frames and the range in the ring; with `on-short=missed` it yields nothing.
//! The gate keeps no journal: orders that are open when the element stops are answered with what became of them so far.

mod imp;
mod output;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// Passes exactly the frames that orders name.
    pub struct SwsyncGate(ObjectSubclass<imp::SwsyncGate>) @extends gst::Element, gst::Object;
}

/// What an order yields that begins before the oldest frame in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncGateOnShort")]
pub enum OnShort {
    #[enum_value(name = "Nothing is released", nick = "missed")]
    Missed,
    #[default]
    #[enum_value(name = "What there is is released", nick = "partial")]
    Partial,
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    OnShort::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(Some(plugin), "swsyncgate", gst::Rank::NONE, SwsyncGate::static_type())
}
