//! `swsyncsrc`: a camera whose frames lie on the rig's frame grid.
//!
//! Works on any pipeline clock: it maps the camera's sensor timestamps to that clock, and shifts the
//! camera's free-running frames until each begins at a multiple of the frame period since the
//! clock's epoch. On `swsyncclock`'s clock all devices of a rig therefore expose at the same instants.
//!
//! Each buffer has the frame's time as PTS and in a GstReferenceTimestampMeta (caps `timestamp/x-swsync`,
//! and `timestamp/x-unix` on a `swsyncclock`), and a custom meta `SwsyncFrameMeta` with frame number, phase
//! error, clock uncertainty, exposure, gain and lock state.
//!
//! ```text
//! gst-launch-1.0 swsyncclock role=leader swsyncsrc ! videoconvert ! autovideosink
//! gst-launch-1.0 swsyncclock role=leader swsyncsrc backend=simulated ! videoconvert ! autovideosink
//! ```

mod align;
mod controls;
mod exposure;
mod framer;
mod imp;
mod settings;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

pub use align::{AlignMethod, AlignPoint};

use crate::camera::simulated::SimulatedControl;

glib::wrapper! {
    /// A camera whose frames lie on the rig's frame grid.
    pub struct SwsyncSrc(ObjectSubclass<imp::SwsyncSrc>)
        @extends gst_base::PushSrc, gst_base::BaseSrc, gst::Element, gst::Object;
}

impl SwsyncSrc {
    /// Where its controls are set.
    fn desk(&self) -> &controls::Desk {
        self.imp().desk()
    }
}

/// Where frames come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstSwsyncBackend")]
pub enum Backend {
    /// A camera that libcamera finds.
    #[default]
    #[enum_value(name = "libcamera: a real camera", nick = "libcamera")]
    Libcamera,
    /// A simulated sensor that looks at an LED panel.
    #[enum_value(name = "Simulated: a rolling-shutter sensor that looks at an LED panel", nick = "simulated")]
    Simulated,
}

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    let simulated = SimulatedControl::static_type();
    for api in [Backend::static_type(), AlignMethod::static_type(), AlignPoint::static_type(), simulated] {
        api.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    gst::Element::register(Some(plugin), "swsyncsrc", gst::Rank::NONE, SwsyncSrc::static_type())
}
