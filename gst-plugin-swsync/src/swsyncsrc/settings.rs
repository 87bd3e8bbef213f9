//! Settings of `swsyncsrc`: its properties that can be changed in READY.

use gst::glib;
use gst::prelude::*;

use super::align::settings::AlignSettings;
#[cfg(feature = "simulation")]
use super::simulation::SimulationSettings;
use super::{Backend, OnStall};
use crate::camera::StallLimit;
use crate::camera::mode::{Mode, Orientation, SensorConfig};

#[derive(Debug, Clone)]
pub struct Settings {
    /// Frames until the stream ends; negative: any number.
    pub num_buffers: i32,
    pub backend: Backend,
    pub camera_name: Option<String>,
    /// File with the camera's profile; by default one is found by the camera's model.
    pub profile: Option<String>,
    /// The sensor's mode, not parsed yet.
    sensor_config: Option<gst::Structure>,
    pub orientation: Orientation,
    pub on_stall: OnStall,
    pub stall_periods: StallLimit,
    /// Frames carry their NTP time, for RTP.
    pub add_ntp_timestamp_meta: bool,
    pub align: AlignSettings,
    #[cfg(feature = "simulation")]
    pub simulation: SimulationSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            num_buffers: -1,
            backend: Backend::default(),
            camera_name: None,
            profile: None,
            sensor_config: None,
            orientation: Orientation::default(),
            on_stall: OnStall::default(),
            stall_periods: StallLimit::default(),
            add_ntp_timestamp_meta: false,
            align: AlignSettings::default(),
            #[cfg(feature = "simulation")]
            simulation: SimulationSettings::default(),
        }
    }
}

impl Settings {
    /// The mode to ask the camera for.
    pub fn mode(&self) -> Result<Mode, gst::ErrorMessage> {
        let sensor = self.sensor_config.as_ref().map(|structure| SensorConfig::parse(structure)).transpose();
        let sensor = sensor.map_err(|reason| {
            gst::error_msg!(
                gst::LibraryError::Settings,
                ("sensor-config: {reason}. As an example: sensor/config,width=2304,height=1296,depth=10")
            )
        })?;
        Ok(Mode { sensor, orientation: self.orientation })
    }

    /// Sets a property. Its type is the ParamSpec's, which GObject has checked.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "num-buffers" => self.num_buffers = value.get().expect("checked"),
            "backend" => self.backend = value.get().expect("checked"),
            "camera-name" => self.camera_name = value.get().expect("checked"),
            "sensor-config" => self.sensor_config = value.get().expect("checked"),
            "orientation" => self.orientation = value.get().expect("checked"),
            "on-stall" => self.on_stall = value.get().expect("checked"),
            "stall-periods" => self.stall_periods = StallLimit(value.get().expect("checked")),
            "profile" => self.profile = value.get().expect("checked"),
            "add-ntp-timestamp-meta" => self.add_ntp_timestamp_meta = value.get().expect("checked"),
            #[cfg(feature = "simulation")]
            name if self.simulation.set(name, value) => {}
            name => assert!(self.align.set(name, value), "no property {name}"),
        }
    }

    pub fn get(&self, name: &str) -> glib::Value {
        match name {
            "num-buffers" => self.num_buffers.to_value(),
            "backend" => self.backend.to_value(),
            "camera-name" => self.camera_name.to_value(),
            "sensor-config" => self.sensor_config.to_value(),
            "orientation" => self.orientation.to_value(),
            "on-stall" => self.on_stall.to_value(),
            "stall-periods" => self.stall_periods.0.to_value(),
            "profile" => self.profile.to_value(),
            "add-ntp-timestamp-meta" => self.add_ntp_timestamp_meta.to_value(),
            name => {
                let value = self.align.get(name);
                #[cfg(feature = "simulation")]
                let value = value.or_else(|| self.simulation.get(name));
                value.unwrap_or_else(|| unreachable!("no property {name}"))
            }
        }
    }
}

/// The ParamSpecs of these settings.
pub fn properties() -> Vec<glib::ParamSpec> {
    let mut properties = camera_properties();
    properties.extend(super::align::settings::properties());
    #[cfg(feature = "simulation")]
    properties.extend(super::simulation::properties());
    properties
}

fn camera_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecEnum::builder::<Backend>("backend")
            .nick("Backend")
            .blurb("Where frames come from; a missing camera is an error, never a simulation")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("camera-name")
            .nick("Camera name")
            .blurb("Id of the libcamera camera, as `cam -l` lists it; the first one if not set")
            .mutable_ready()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("sensor-config")
            .nick("Sensor configuration")
            .blurb("How the camera reads its sensor: sensor/config,width=2304,height=1296,depth=10, also bin-x, bin-y, x-odd-inc, x-even-inc, y-odd-inc, y-even-inc, analog-crop-x, -y, -width, -height; if not set, libcamera chooses by the size of the streams")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder::<Orientation>("orientation")
            .nick("Orientation")
            .blurb("Which way round pictures are, seen from how the camera is mounted; what the camera cannot do is left to readers (tag image-orientation), with a warning")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder::<OnStall>("on-stall")
            .nick("On stall")
            .blurb("What happens when the camera stands still or is gone")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("stall-periods")
            .nick("Stall periods")
            .blurb("Frame periods without a frame after which the camera counts as standing still: 2 at least; 0: a second more than one")
            .maximum(1_000_000)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("profile")
            .nick("Camera profile")
            .blurb("File with the camera's profile (timing, control latencies); if not set, the one found by its model")
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("add-ntp-timestamp-meta")
            .nick("Add NTP timestamp meta")
            .blurb("Frames also carry a GstReferenceTimestampMeta timestamp/x-ntp, which rtphdrextntp64 sends: their rig time as NTP time (ns since 1900, that is, rig time and 2208988800 s). Only while the pipeline's clock is a swsyncclock's, whose time counts from 1970")
            .mutable_playing()
            .build(),
    ]
}
