//! What `swsyncsrc`'s properties set.

use std::path::Path;

use gst::glib;
use gst::prelude::*;
use swsync_core::time::{Skew, Span};
use swsync_rig::profiles;
use swsync_sim::sensor::SensorModel;

use super::align::settings::AlignSettings;
use super::{Backend, OnStall};
use crate::camera::Patience;
use crate::camera::faults::Faults;
use crate::camera::mode::{Mode, Orientation, SensorConfig};
use crate::camera::simulated::{SimulatedControl, SimulatedStamps, Simulation};

const DEFAULT_SENSOR: &str = "imx219";
/// A camera whose stream shifts as phones' do, and the sensor whose rows it has.
const PHONE: &str = "phone";
const PHONE_SENSOR: &str = "imx708";
/// The paper's exposure for the LED panel, in us.
const DEFAULT_SIMULATED_EXPOSURE: u32 = 100;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Frames until the stream ends; negative: any number.
    pub num_buffers: i32,
    pub backend: Backend,
    pub camera_name: Option<String>,
    /// File with the camera's profile, instead of the one that is found by its model.
    pub profile: Option<String>,
    /// How the camera is to read its sensor, as asked for.
    sensor_config: Option<gst::Structure>,
    pub orientation: Orientation,
    pub on_stall: OnStall,
    pub stall_periods: Patience,
    pub align: AlignSettings,
    simulated_sensor: String,
    simulated_control: SimulatedControl,
    simulated_seed: u64,
    simulated_skew_ppm: f64,
    simulated_view: u32,
    simulated_exposure: u32,
    simulated_fault: Option<String>,
    simulated_stamps: SimulatedStamps,
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
            stall_periods: Patience::default(),
            align: AlignSettings::default(),
            simulated_sensor: DEFAULT_SENSOR.into(),
            simulated_control: SimulatedControl::default(),
            simulated_seed: 0,
            simulated_skew_ppm: 0.0,
            simulated_view: 0,
            simulated_exposure: DEFAULT_SIMULATED_EXPOSURE,
            simulated_fault: None,
            simulated_stamps: SimulatedStamps::default(),
        }
    }
}

impl Settings {
    /// What the simulated camera is to be like.
    pub fn simulation(&self) -> Result<Simulation, gst::ErrorMessage> {
        let phone = self.simulated_sensor == PHONE;
        let name = if phone { PHONE_SENSOR } else { &self.simulated_sensor };
        let model: SensorModel = name.parse().map_err(|error| {
            gst::error_msg!(gst::LibraryError::Settings, ("simulated-sensor: {error}, or {PHONE}"))
        })?;
        let read = |file: &String| profiles::read(Path::new(file), if phone { PHONE } else { model.name });
        let profile = self.profile.as_ref().map(read).transpose();
        let profile = profile
            .map_err(|error| gst::error_msg!(gst::LibraryError::Settings, ("profile: {error}")))?
            .map(|found| found.profile);
        Ok(Simulation {
            model,
            phone,
            profile,
            control: self.simulated_control,
            seed: self.simulated_seed,
            skew: Skew::from_ppm(self.simulated_skew_ppm),
            view: self.simulated_view,
            exposure: Span::from_micros(i64::from(self.simulated_exposure)),
            stamps: self.simulated_stamps,
        })
    }

    /// The mode that the camera is to be in.
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

    /// The faults that the camera is to have, if any.
    pub fn faults(&self) -> Result<Option<Faults>, gst::ErrorMessage> {
        let Some(plan) = &self.simulated_fault else {
            return Ok(None);
        };
        let faults = plan.parse();
        faults
            .map(Some)
            .map_err(|error| gst::error_msg!(gst::LibraryError::Settings, ("simulated-fault: {error}")))
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
            "stall-periods" => self.stall_periods = Patience(value.get().expect("checked")),
            "simulated-fault" => self.simulated_fault = value.get().expect("checked"),
            "profile" => self.profile = value.get().expect("checked"),
            "simulated-sensor" => {
                let sensor: Option<String> = value.get().expect("checked");
                self.simulated_sensor = sensor.unwrap_or_else(|| DEFAULT_SENSOR.into());
            }
            "simulated-control" => self.simulated_control = value.get().expect("checked"),
            "simulated-seed" => self.simulated_seed = value.get().expect("checked"),
            "simulated-skew-ppm" => self.simulated_skew_ppm = value.get().expect("checked"),
            "simulated-view" => self.simulated_view = value.get().expect("checked"),
            "simulated-exposure" => self.simulated_exposure = value.get().expect("checked"),
            "simulated-stamps" => self.simulated_stamps = value.get().expect("checked"),
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
            "simulated-fault" => self.simulated_fault.to_value(),
            "profile" => self.profile.to_value(),
            "simulated-sensor" => self.simulated_sensor.to_value(),
            "simulated-control" => self.simulated_control.to_value(),
            "simulated-seed" => self.simulated_seed.to_value(),
            "simulated-skew-ppm" => self.simulated_skew_ppm.to_value(),
            "simulated-view" => self.simulated_view.to_value(),
            "simulated-exposure" => self.simulated_exposure.to_value(),
            "simulated-stamps" => self.simulated_stamps.to_value(),
            name => self.align.get(name).unwrap_or_else(|| unreachable!("no property {name}")),
        }
    }
}

/// The ParamSpecs of these settings.
pub fn properties() -> Vec<glib::ParamSpec> {
    let mut properties = camera_properties();
    properties.extend(super::align::settings::properties());
    properties.extend(simulation_properties());
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
    ]
}

fn simulation_properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecString::builder("simulated-sensor")
            .nick("Simulated sensor")
            .blurb(
                "Model of the simulated sensor: imx219, imx477, imx708, or phone (only exposures can be set)",
            )
            .default_value(Some(DEFAULT_SENSOR))
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder::<SimulatedControl>("simulated-control")
            .nick("Simulated control")
            .blurb("What can be set of the simulated sensor, and so how it can be aligned")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("simulated-seed")
            .nick("Simulated seed")
            .blurb("Seed of everything random about the simulated sensor")
            .mutable_ready()
            .build(),
        glib::ParamSpecDouble::builder("simulated-skew-ppm")
            .nick("Simulated skew")
            .blurb("Rate error of the simulated sensor's own crystal, in parts per million")
            .minimum(-1_000.0)
            .maximum(1_000.0)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("simulated-view")
            .nick("Simulated view")
            .blurb("Which of the rig's views the simulated camera has: shifts its viewpoint")
            .maximum(1_000)
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("simulated-fault")
            .nick("Simulated fault")
            .blurb("Faults for the camera to have, for tests: stall@FRAME, vanish@FRAME:TIMES, drop@FRAME:COUNT, lose@FRAME:COUNT, with commas")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder::<SimulatedStamps>("simulated-stamps")
            .nick("Simulated stamps")
            .blurb("Which clock the simulated sensor's driver stamps frames by")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("simulated-exposure")
            .nick("Simulated exposure")
            .blurb("Exposure time of the simulated sensor, in microseconds")
            .minimum(20)
            .maximum(1_000_000)
            .default_value(DEFAULT_SIMULATED_EXPOSURE)
            .mutable_ready()
            .build(),
    ]
}
