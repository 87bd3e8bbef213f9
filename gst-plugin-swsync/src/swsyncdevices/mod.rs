//! `swsyncdeviceprovider`: lists the cameras for `gst-device-monitor-1.0 Video/Source` and applications.
//!
//! A device's properties say what `swsyncsrc`'s `camera-name` takes, its model, and how it is mounted. Its action signal
//! `list-modes` opens the camera for a moment and returns a structure `swsync-modes`: `modes`, an array of structures with
//! `width`, `height`, `min-frame-duration` and `max-frame-duration` (ns); `from-profile`, why they are the profile's and not the
//! camera's own; `error`, why there are none.
//!
//! Cameras that come and go are announced, except where libcamera's own device provider is installed: a process can have one
//! camera manager, theirs needs one while a monitor starts, and two of them abort the process. Ours is then only there
//! while it lists.

mod device;
mod provider;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// A camera that `swsyncsrc` can open.
    pub struct SwsyncDevice(ObjectSubclass<device::SwsyncDevice>) @extends gst::Device, gst::Object;
}

glib::wrapper! {
    /// What knows all cameras.
    pub struct SwsyncDeviceProvider(ObjectSubclass<provider::SwsyncDeviceProvider>)
        @extends gst::DeviceProvider, gst::Object;
}

/// Name of the provider.
const NAME: &str = "swsyncdeviceprovider";

/// What the devices are.
const CLASS: &str = "Source/Video";

pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    let provider = SwsyncDeviceProvider::static_type();
    // Device monitors leave out rank NONE. Others come first, as they do with cameras that are not to be synchronized.
    gst::DeviceProvider::register(Some(plugin), NAME, gst::Rank::MARGINAL, provider)
}
