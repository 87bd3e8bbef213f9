//! `swsyncsink`: saves exactly the frames that an order names, in the future or past.
//!
//! Keeps a ring of recent frames and joins the rig's control plane. An order (`swsync shoot`, or the
//! action signal [`shoot`](#shoot)) names instants in rig time; every device saves the frame whose
//! number is nearest, each file whole or not at all, with a line in the manifest beside it, and answers
//! saved or missed.
//!
//! Frames are numbered by their rig time, which `swsyncsrc` attaches and encoders pass on. Frames of
//! other sources are numbered by their time on the pipeline's clock.
//!
//! ```text
//! gst-launch-1.0 swsyncclock role=leader swsyncsrc ! videoconvert ! jpegenc ! swsyncsink location=shots
//! swsync shoot --in 500ms
//! ```
//!
//! # shoot
//!
//! The action signal `shoot (gint64 delay, guint count) -> gchararray` orders `count` frames from all
//! devices of the rig, the first one `delay` nanoseconds from now (negative: ago), and returns the
//! order's id. An element message `swsync-order` follows for each device, then `swsync-order-done`.
//! It returns NULL where rig time is not known yet, or the order names no frame or too many.
//!
//! For every order, whoever gave it, the element posts `swsync-served` once this device has answered:
//! `order`, `complete`, `files` and, for each frame without one, `problems`.

mod imp;
mod shoot;
mod station;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// Saves exactly the frames that an order names.
    pub struct SwsyncSink(ObjectSubclass<imp::SwsyncSink>)
        @extends gst_base::BaseSink, gst::Element, gst::Object;
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "swsyncsink", gst::Rank::NONE, SwsyncSink::static_type())
}
