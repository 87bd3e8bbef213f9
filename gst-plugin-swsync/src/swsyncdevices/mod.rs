//! `swsyncdeviceprovider`: lists the cameras for applications that ask for it by name
//! (`gst_device_provider_factory_get_by_name`), as `swsync cameras` does.
//!
//! Its rank is NONE, so device monitors leave it out. Otherwise programs that look for cameras would start libcamera through
//! swsync, and find each camera twice. A program that wants it in its monitor raises the rank
//! (`gst_plugin_feature_set_rank`; the environment variable GST_PLUGIN_FEATURE_RANK is for elements only).
//!
//! A device's properties are the value for `swsyncsrc`'s `camera-name`, its model, and how it is mounted. Its action signal
//! `list-modes` opens the camera for a moment and returns a structure `swsync-modes`: `modes`, an array of structures with
//! `width`, `height`, `min-frame-duration` and `max-frame-duration` (ns); `from-profile`, why they come from the profile and not
//! from the camera; `error`, why there are none.
//!
//! A process can have one camera manager. If `libcamerasrc` or the program itself has one, the list is empty, with a warning.
//! While swsync has it, libcamera's own provider lists nothing, with a warning, instead of aborting the process.
//!
//! A plugin that was built without libcamera lists nothing, with a warning.
//!
//! Cameras that are added and removed are announced, unless libcamera's own device provider is installed. Then ours uses libcamera
//! only while it lists, so that theirs can list too.

#[cfg(feature = "libcamera")]
mod device;
#[cfg(feature = "libcamera")]
mod provider;
#[cfg(not(feature = "libcamera"))]
#[path = "without_libcamera.rs"]
mod provider;

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swsyncdevices", gst::DebugColorFlags::empty(), Some("swsync camera list"))
});

#[cfg(feature = "libcamera")]
glib::wrapper! {
    /// A camera that `swsyncsrc` can open.
    pub struct SwsyncDevice(ObjectSubclass<device::SwsyncDevice>) @extends gst::Device, gst::Object;
}

glib::wrapper! {
    /// Lists the cameras.
    pub struct SwsyncDeviceProvider(ObjectSubclass<provider::SwsyncDeviceProvider>)
        @extends gst::DeviceProvider, gst::Object;
}

/// Name of the provider.
const NAME: &str = "swsyncdeviceprovider";

/// Class of the devices.
const CLASS: &str = "Source/Video";

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    let provider = SwsyncDeviceProvider::static_type();
    // Device monitors leave out rank NONE: see the module's documentation.
    gst::DeviceProvider::register(Some(plugin), NAME, gst::Rank::NONE, provider)
}
