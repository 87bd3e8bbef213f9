use std::sync::{LazyLock, OnceLock};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::{CAT, CLASS};
use crate::camera::libcamera::{CameraMode, FoundCamera, modes};

/// The action signal: see the module's documentation.
const LIST_MODES: &str = "list-modes";

#[derive(Default)]
pub struct SwsyncDevice {
    camera: OnceLock<FoundCamera>,
}

#[glib::object_subclass]
impl ObjectSubclass for SwsyncDevice {
    const NAME: &'static str = "GstSwsyncDevice";
    type Type = super::SwsyncDevice;
    type ParentType = gst::Device;
}

impl ObjectImpl for SwsyncDevice {
    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            let signal = glib::subclass::Signal::builder(LIST_MODES)
                .return_type::<gst::Structure>()
                .action()
                .class_handler(|arguments| {
                    let device = arguments[0].get::<super::SwsyncDevice>().ok()?;
                    Some(device.imp().list_modes().to_value())
                });
            vec![signal.build()]
        });
        &SIGNALS
    }
}

impl GstObjectImpl for SwsyncDevice {}

impl DeviceImpl for SwsyncDevice {
    fn create_element(&self, name: Option<&str>) -> Result<gst::Element, gst::LoggableError> {
        let factory = gst::ElementFactory::make("swsyncsrc").property("camera-name", self.id());
        let element = match name {
            Some(name) => factory.name(name).build(),
            None => factory.build(),
        };
        element.map_err(|error| gst::loggable_error!(CAT, "{error}"))
    }

    fn reconfigure_element(&self, element: &gst::Element) -> Result<(), gst::LoggableError> {
        if element.factory().is_none_or(|factory| factory.name() != "swsyncsrc") {
            return Err(gst::loggable_error!(CAT, "{} is no swsyncsrc", element.name()));
        }
        element.set_property("camera-name", self.id());
        Ok(())
    }
}

impl SwsyncDevice {
    fn id(&self) -> Option<&str> {
        self.camera.get().map(|camera| camera.id.as_str())
    }

    fn list_modes(&self) -> gst::Structure {
        let mut structure = gst::Structure::new_empty("swsync-modes");
        let Some(camera) = self.camera.get() else {
            return structure;
        };
        match modes(&camera.id, &camera.model) {
            Ok(found) => {
                structure.set("modes", gst::Array::new(found.modes.iter().map(mode)));
                structure.set_if_some("from-profile", found.from_profile);
            }
            Err(error) => structure.set("error", error.to_string()),
        }
        structure
    }
}

fn mode(mode: &CameraMode) -> gst::Structure {
    let side = |side: u32| i32::try_from(side).unwrap_or(i32::MAX);
    gst::Structure::builder("mode")
        .field("width", side(mode.width))
        .field("height", side(mode.height))
        .field_if_some("min-frame-duration", mode.frame.map(|(min, _)| min.as_nanos()))
        .field_if_some("max-frame-duration", mode.frame.map(|(_, max)| max.as_nanos()))
        .build()
}

impl super::SwsyncDevice {
    /// The device of `camera`.
    pub fn new(camera: FoundCamera) -> Self {
        let properties = gst::Structure::builder("swsync-camera")
            .field("device.api", "libcamera")
            .field("camera-name", &camera.id)
            .field("model", &camera.model)
            .field_if_some("location", camera.location)
            .field_if_some("rotation", camera.rotation)
            .build();
        let device: Self = glib::Object::builder()
            .property("display-name", display_name(&camera))
            .property("device-class", CLASS)
            .property("caps", &camera.caps)
            .property("properties", properties)
            .build();
        let fresh = device.imp().camera.set(camera).is_ok();
        debug_assert!(fresh, "a new device has no camera yet");
        device
    }

    /// The value for `camera-name`.
    pub fn id(&self) -> Option<&str> {
        self.imp().id()
    }
}

/// The model, with the id, which tells cameras of the same model apart.
fn display_name(camera: &FoundCamera) -> String {
    if camera.model == camera.id { camera.id.clone() } else { format!("{} ({})", camera.model, camera.id) }
}
