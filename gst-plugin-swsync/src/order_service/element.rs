//! What the order service and the outputs ask of the element that they run in: messages on its bus, and questions to what is
//! upstream of it.

use gst::glib;
use gst::prelude::*;
use swsync_core::log;
use swsync_core::time::{Rig, Span, Timestamp};

use crate::clock::clock_time;

/// Reaches the element as long as it exists.
#[derive(Debug, Clone)]
pub struct ElementHooks {
    element: glib::WeakRef<gst::Element>,
    category: gst::DebugCategory,
}

impl ElementHooks {
    pub fn new(element: &impl IsA<gst::Element>, category: gst::DebugCategory) -> Self {
        Self { element: element.upcast_ref().downgrade(), category }
    }

    pub fn element(&self) -> Option<gst::Element> {
        self.element.upgrade()
    }

    /// Posts an element message.
    pub fn post(&self, structure: gst::Structure) {
        let Some(element) = self.element() else { return };
        gst::info!(self.category, obj = element, "{structure}");
        let message = gst::message::Element::builder(structure).src(&element).build();
        // Fails only without a bus: then nobody reads messages.
        let _ = element.post_message(message);
    }

    /// Posts an error: the element cannot go on.
    pub fn fail(&self, error: gst::ErrorMessage) {
        if let Some(element) = self.element() {
            element.post_error_message(error);
        }
    }

    /// Asks the encoder upstream for a key frame at `at`, on a grid of `period`.
    ///
    /// An encoder obeys with the first frame whose running time is no earlier than asked for (GstForceKeyUnit). Frames lie
    /// a little before or after their instant, so the request is for half a period earlier.
    pub fn request_key_frame(&self, at: Timestamp<Rig>, period: Span) {
        let Some(element) = self.element() else { return };
        let from = clock_time(at - period / 2);
        let running = element.base_time().and_then(|base| from.checked_sub(base));
        let Some(pad) = element.static_pad("sink") else { return };
        let event =
            gst_video::UpstreamForceKeyUnitEvent::builder().running_time(running).all_headers(true).build();
        if !pad.push_event(event) {
            log::debug!(?at, "no encoder upstream takes requests for key frames");
        }
    }

    /// How long the elements upstream hold frames, if they state it.
    pub fn upstream_latency(&self) -> Option<Span> {
        let mut query = gst::query::Latency::new();
        if !self.element()?.static_pad("sink")?.peer_query(&mut query) {
            return None;
        }
        let (_, least, _) = query.result();
        Some(Span::from_nanos(i64::try_from(least.nseconds()).ok()?))
    }
}
