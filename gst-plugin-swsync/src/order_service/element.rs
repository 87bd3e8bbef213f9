//! What the elements upstream are asked: for key frames where files begin, and how long they hold frames.

use gst::prelude::*;
use swsync_core::time::{Rig, Span, Timestamp};

use crate::clock::clock_time;

/// Asks the encoder upstream of `element`'s sink pad for a key frame of the frame at `at`, on a grid of `period`.
///
/// An encoder obeys with the first frame whose running time is no earlier than asked for (GstForceKeyUnit), and frames lie
/// a little before or after their instant: so half a period before it is asked for.
pub fn request_key_frame(element: &gst::Element, at: Timestamp<Rig>, period: Span) {
    let from = clock_time(at - period / 2);
    let running = element.base_time().and_then(|base| from.checked_sub(base));
    let Some(pad) = element.static_pad("sink") else { return };
    let event =
        gst_video::UpstreamForceKeyUnitEvent::builder().running_time(running).all_headers(true).build();
    if !pad.push_event(event) {
        tracing::debug!(?at, "no encoder upstream takes requests for key frames");
    }
}

/// How long the elements upstream of `element`'s sink pad hold frames, where they state it.
pub fn stated_latency(element: &gst::Element) -> Option<Span> {
    let mut query = gst::query::Latency::new();
    if !element.static_pad("sink")?.peer_query(&mut query) {
        return None;
    }
    let (_, least, _) = query.result();
    Some(Span::from_nanos(i64::try_from(least.nseconds()).ok()?))
}
