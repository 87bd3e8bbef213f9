//! `swsyncclock`: keeps the pipeline's clock in rig time.
//!
//! An element without pads, so that it fits into any `gst-launch-1.0` line. It provides a clock that
//! every device of the rig agrees on to microseconds, measured over ordinary UDP. The leader defines
//! rig time; a client reaches PAUSED once its clock is synced, or fails after `sync-timeout` and says
//! what it looked for.
//!
//! That wait happens in the state change itself: setting the state of a waiting client's pipeline from
//! another thread waits too, for `sync-timeout` at most. With `port=0` a leader serves at any free port;
//! `address` says at which, once it is started.
//!
//! ```text
//! gst-launch-1.0 swsyncclock role=leader swsyncsrc ! videoconvert ! jpegenc ! swsyncsink
//! gst-launch-1.0 swsyncclock role=client leader=pi0.local swsyncsrc ! videoconvert ! jpegenc ! swsyncsink
//! ```

mod imp;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// Keeps the pipeline's clock in rig time.
    pub struct SwsyncClockElement(ObjectSubclass<imp::SwsyncClockElement>)
        @extends gst::Element, gst::Object;
}

/// What a device is to the rig's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncRole")]
pub enum Role {
    /// Follows the leader's clock.
    #[default]
    #[enum_value(name = "Client: follow the leader's clock", nick = "client")]
    Client,
    /// Defines rig time.
    #[enum_value(name = "Leader: define rig time and serve it", nick = "leader")]
    Leader,
}

/// How exchanges become an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncEstimator")]
pub enum Estimator {
    /// Offset and skew from the lower envelopes of both directions.
    #[default]
    #[enum_value(name = "Track: offset and skew from the lower envelopes of both directions", nick = "track")]
    Track,
    /// The mean of the exchanges' offsets.
    #[enum_value(name = "Mean: the mean of the exchanges' offsets, as in the paper", nick = "mean")]
    Mean,
    /// The exchange with the least delay.
    #[enum_value(name = "Min: the exchange with the least delay, as in the paper", nick = "min")]
    Min,
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    Role::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    Estimator::static_type().mark_as_plugin_api(gst::PluginAPIFlags::empty());
    gst::Element::register(Some(plugin), "swsyncclock", gst::Rank::NONE, SwsyncClockElement::static_type())
}
