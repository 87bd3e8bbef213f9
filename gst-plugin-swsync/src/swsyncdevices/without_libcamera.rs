//! The camera list of a plugin that was built without libcamera: empty, and says why.

use std::sync::LazyLock;

use gst::glib;
use gst::subclass::prelude::*;

use super::{CAT, CLASS};

#[derive(Default)]
pub struct SwsyncDeviceProvider;

#[glib::object_subclass]
impl ObjectSubclass for SwsyncDeviceProvider {
    const NAME: &'static str = "GstSwsyncDeviceProvider";
    type Type = super::SwsyncDeviceProvider;
    type ParentType = gst::DeviceProvider;
}

impl ObjectImpl for SwsyncDeviceProvider {}
impl GstObjectImpl for SwsyncDeviceProvider {}

impl DeviceProviderImpl for SwsyncDeviceProvider {
    fn metadata() -> Option<&'static gst::subclass::DeviceProviderMetadata> {
        static METADATA: LazyLock<gst::subclass::DeviceProviderMetadata> = LazyLock::new(|| {
            gst::subclass::DeviceProviderMetadata::new(
                "swsync camera list",
                CLASS,
                "Lists no cameras: this plugin was built without libcamera",
                "The swsync developers",
            )
        });
        Some(&METADATA)
    }

    fn probe(&self) -> Vec<gst::Device> {
        gst::warning!(CAT, imp = self, "no camera is listed: this plugin was built without libcamera");
        Vec::new()
    }
}
