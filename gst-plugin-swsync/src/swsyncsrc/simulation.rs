//! Settings of the simulated camera.

use std::path::Path;

use gst::glib;
use gst::prelude::*;
use swsync_core::time::{Skew, Span};
use swsync_files::profiles;
use swsync_sim::sensor::SensorModel;

use crate::camera::faults::Faults;
use crate::camera::simulated::{SimulatedControl, SimulatedStamps, Simulation};

const DEFAULT_SENSOR: &str = "imx219";
/// A camera whose stream shifts as phones' do, and the sensor whose rows it has.
const PHONE: &str = "phone";
const PHONE_SENSOR: &str = "imx708";
/// The paper's exposure for the LED panel, in us.
const DEFAULT_EXPOSURE: u32 = 100;

#[derive(Debug, Clone)]
pub struct SimulationSettings {
    sensor: String,
    control: SimulatedControl,
    seed: u64,
    skew_ppm: f64,
    view: u32,
    exposure: u32,
    fault: Option<String>,
    stamps: SimulatedStamps,
    light: f64,
}

impl Default for SimulationSettings {
    fn default() -> Self {
        Self {
            sensor: DEFAULT_SENSOR.into(),
            control: SimulatedControl::default(),
            seed: 0,
            skew_ppm: 0.0,
            view: 0,
            exposure: DEFAULT_EXPOSURE,
            fault: None,
            stamps: SimulatedStamps::default(),
            light: 0.0,
        }
    }
}

impl SimulationSettings {
    /// The simulated camera, with the profile in the file `profile`.
    pub fn simulation(&self, profile: Option<&String>) -> Result<Simulation, gst::ErrorMessage> {
        let phone = self.sensor == PHONE;
        let name = if phone { PHONE_SENSOR } else { &self.sensor };
        let model: SensorModel = name.parse().map_err(|error| {
            gst::error_msg!(gst::LibraryError::Settings, ("simulated-sensor: {error}, or {PHONE}"))
        })?;
        let read = |file: &String| profiles::read(Path::new(file), if phone { PHONE } else { model.name });
        let profile = profile.map(read).transpose();
        let profile = profile
            .map_err(|error| gst::error_msg!(gst::LibraryError::Settings, ("profile: {error}")))?
            .map(|found| found.profile);
        Ok(Simulation {
            model,
            phone,
            profile,
            control: self.control,
            seed: self.seed,
            skew: Skew::from_ppm(self.skew_ppm),
            view: self.view,
            exposure: Span::from_micros(i64::from(self.exposure)),
            stamps: self.stamps,
            #[expect(clippy::cast_possible_truncation, reason = "a factor of few digits")]
            light: (self.light > 0.0).then_some(self.light as f32),
        })
    }

    /// The faults that the camera is to have, if any.
    pub fn faults(&self) -> Result<Option<Faults>, gst::ErrorMessage> {
        let Some(plan) = &self.fault else {
            return Ok(None);
        };
        let faults = plan.parse();
        faults
            .map(Some)
            .map_err(|error| gst::error_msg!(gst::LibraryError::Settings, ("simulated-fault: {error}")))
    }

    /// Sets a property, if it is one of these. Its type is the ParamSpec's, which GObject has checked.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "simulated-sensor" => {
                let sensor: Option<String> = value.get().expect("checked");
                self.sensor = sensor.unwrap_or_else(|| DEFAULT_SENSOR.into());
            }
            "simulated-control" => self.control = value.get().expect("checked"),
            "simulated-seed" => self.seed = value.get().expect("checked"),
            "simulated-skew-ppm" => self.skew_ppm = value.get().expect("checked"),
            "simulated-view" => self.view = value.get().expect("checked"),
            "simulated-exposure" => self.exposure = value.get().expect("checked"),
            "simulated-fault" => self.fault = value.get().expect("checked"),
            "simulated-stamps" => self.stamps = value.get().expect("checked"),
            "simulated-light" => self.light = value.get().expect("checked"),
            _ => return false,
        }
        true
    }

    /// The value of a property, if it is one of these.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "simulated-sensor" => self.sensor.to_value(),
            "simulated-control" => self.control.to_value(),
            "simulated-seed" => self.seed.to_value(),
            "simulated-skew-ppm" => self.skew_ppm.to_value(),
            "simulated-view" => self.view.to_value(),
            "simulated-exposure" => self.exposure.to_value(),
            "simulated-fault" => self.fault.to_value(),
            "simulated-stamps" => self.stamps.to_value(),
            "simulated-light" => self.light.to_value(),
            _ => return None,
        })
    }
}

/// The ParamSpecs of these settings.
pub fn properties() -> Vec<glib::ParamSpec> {
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
        glib::ParamSpecDouble::builder("simulated-light")
            .nick("Simulated light")
            .blurb("Light on the simulated scene, as a factor: pictures get brighter with exposure, and at 1 and an exposure of 1 ms are as bright as without it; 0: no exposure makes them brighter")
            .minimum(0.0)
            .maximum(1_000.0)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("simulated-exposure")
            .nick("Simulated exposure")
            .blurb("Exposure time of the simulated sensor, in microseconds")
            .minimum(20)
            .maximum(1_000_000)
            .default_value(DEFAULT_EXPOSURE)
            .mutable_ready()
            .build(),
    ]
}
