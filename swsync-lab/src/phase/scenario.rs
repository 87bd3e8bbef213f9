//! The cameras and clocks of the trials.

use std::str::FromStr;

use swsync_sim::sensor::SensorModel;

/// One kind of trial.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its description in the table.
    pub about: &'static str,
    /// The camera.
    pub camera: Camera,
    /// The error of the device's clock.
    pub clock: ClockError,
}

/// A kind of camera.
#[derive(Debug, Clone)]
pub enum Camera {
    /// Frame lengths can be set.
    Lengths(Box<Lengths>),
    /// Only exposures can be set.
    Exposures(Phones),
    /// Nothing can be set.
    Nothing,
}

/// Kinds of phones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phones {
    /// Requests take 2 or 3 frames, always the same; the slope of the response is anything from 1/2 to 2.
    Steady,
    /// The paper's Pixel 3: slope 2, and camera and clock on one crystal.
    Pixel3,
    /// Requests take a varying time, 3 to 6 frames and 5 to 30 ms; stamps and shifts scatter by 5 to 60 us.
    Varying,
}

/// A camera whose frame lengths can be set.
#[derive(Debug, Clone)]
pub struct Lengths {
    /// The model, as controllers get it.
    pub model: SensorModel,
    /// Whether controls act one frame earlier than the model says, or one later: half of the trials each.
    pub misleading: bool,
    /// Lines by which frames may differ from the nominal length.
    pub headroom: Option<u32>,
}

/// The error of a device's clock against rig time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClockError {
    /// No error.
    None,
    /// 20 us rms, with a time constant of 2 s.
    Wandering,
    /// 20 us rms, independent at every frame.
    Shaking,
}

/// RMS of clock errors, in ns.
pub const CLOCK_RMS_NS: f64 = 20_000.0;
/// Time constant of a wandering error, in seconds.
pub const CLOCK_TAU_S: f64 = 2.0;

impl Scenario {
    /// All scenarios.
    pub fn presets() -> Vec<Self> {
        let lengths = |name, about, model, misleading, headroom, clock| Self {
            name,
            about,
            camera: Camera::Lengths(Box::new(Lengths { model, misleading, headroom })),
            clock,
        };
        let (imx219, imx477, imx708) = (SensorModel::imx219, SensorModel::imx477, SensorModel::imx708);
        vec![
            lengths("imx219", "IMX219 1080p, exact 30 fps", imx219(), false, None, ClockError::None),
            lengths("imx477", "IMX477 1080p, exact 30 fps", imx477(), false, None, ClockError::None),
            lengths("imx708", "IMX708 1296p, exact 30 fps", imx708(), false, None, ClockError::None),
            lengths(
                "latency",
                "IMX477, lengths act a frame sooner or later than said",
                imx477(),
                true,
                None,
                ClockError::None,
            ),
            lengths("tight", "IMX219, 40 lines of headroom", imx219(), false, Some(40), ClockError::None),
            lengths(
                "clock",
                "IMX219, clock off by 20 us rms, wandering in 2 s",
                imx219(),
                false,
                None,
                ClockError::Wandering,
            ),
            lengths(
                "shaking",
                "IMX219, clock off by 20 us rms, anew every frame",
                imx219(),
                false,
                None,
                ClockError::Shaking,
            ),
            Self {
                name: "exposure",
                about: "a phone: only exposure, slope unknown within 2x, sigma 25 us",
                camera: Camera::Exposures(Phones::Steady),
                clock: ClockError::None,
            },
            Self {
                name: "phone",
                about: "a phone: requests take 3 to 6 frames and 5 to 30 ms, stamps and shifts scatter by 5 to 60 us",
                camera: Camera::Exposures(Phones::Varying),
                clock: ClockError::None,
            },
            Self {
                name: "reset",
                about: "no control at all: reset sampling, to 1 ms",
                camera: Camera::Nothing,
                clock: ClockError::None,
            },
        ]
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let presets = Self::presets();
        let names: Vec<&str> = presets.iter().map(|scenario| scenario.name).collect();
        let unknown = format!("expected one of {}", names.join(", "));
        presets.into_iter().find(|scenario| scenario.name == name).ok_or(unknown)
    }
}
