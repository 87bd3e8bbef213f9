//! GStreamer elements that make cameras on many devices see the same instant.
//!
//! - `swsyncclock`: keeps the pipeline's clock in rig time.
//! - `swsyncsrc`: a camera whose frames lie on the rig's frame grid.
//! - `swsyncsink`: saves exactly the frames that an order names.
//! - `swsyncgate`: passes them on, and drops the rest.

pub mod camera;
mod caps;
#[cfg_attr(
    not(any(feature = "libcamera", feature = "simulation")),
    allow(dead_code, reason = "only cameras need sensor time")
)]
mod clock;
mod lock;
mod logging;
pub mod meta;
mod signals;
mod station;
mod swsyncclock;
mod swsyncdevices;
mod swsyncgate;
mod swsyncsink;
#[cfg(any(feature = "libcamera", feature = "simulation"))]
mod swsyncsrc;

pub use clock::SwsyncClock;

use gst::glib;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    logging::init();
    meta::register();
    swsyncclock::register(plugin)?;
    #[cfg(any(feature = "libcamera", feature = "simulation"))]
    swsyncsrc::register(plugin)?;
    swsyncsink::register(plugin)?;
    swsyncgate::register(plugin)?;
    swsyncdevices::register(plugin)?;
    Ok(())
}

mod plugin {
    #![expect(missing_docs, reason = "the macro's items have none")]

    use super::plugin_init;

    gst::plugin_define!(
        swsync,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
        env!("CARGO_PKG_VERSION"),
        "MPL",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_REPOSITORY"),
        env!("BUILD_REL_DATE")
    );
}

/// Registers the elements in an application that links this crate, once `gst::init` is done.
pub use plugin::plugin_register_static;
