//! GStreamer elements that make cameras on many devices see the same instant.
//!
//! - `swsyncclock`: keeps the pipeline's clock in rig time.
//! - `swsyncsrc`: a camera whose frames are aligned to the rig's frame grid.
//! - `swsyncsink`: saves exactly the frames that an order names.
//! - `swsyncgate`: passes the frames that an order names downstream, and drops the rest.
//!
//! A device provider, `swsyncdevices`, lists the cameras. Decisions are made in `swsync-core`; the elements translate properties, buffers
//! and events to calls of it. Start reading with an element's module, or with `order_service` for the way of a frame to a file.

pub mod camera;
mod caps;
#[cfg_attr(
    not(any(feature = "libcamera", feature = "simulation")),
    allow(dead_code, reason = "only cameras answer it")
)]
mod centre_query;
#[cfg_attr(
    not(any(feature = "libcamera", feature = "simulation")),
    allow(dead_code, reason = "only cameras need sensor time")
)]
mod clock;
mod logging;
pub mod meta;
mod order_service;
mod rig_settings;
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
    swsync_rig::zenoh_threads::set();
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
