//! The controls that can be set for a rig, named as swsyncsrc's properties.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The type of a control's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlKind {
    /// Yes or no.
    Switch,
    /// A time; text and JSON have whole microseconds, as libcamera.
    Time,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// So many numbers.
    Numbers(usize),
    /// One of these names.
    Choice(&'static [&'static str]),
}

impl fmt::Display for ControlKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("true or false"),
            Self::Time => f.write_str("whole microseconds"),
            Self::Integer => f.write_str("a whole number"),
            Self::Number => f.write_str("a number"),
            Self::Numbers(count) => write!(f, "{count} numbers, separated by commas"),
            Self::Choice(names) => f.write_str(&names.join(", ")),
        }
    }
}

macro_rules! controls {
    ($($(#[$doc:meta])* $variant:ident $name:literal $kind:expr,)*) => {
        /// A control of a camera.
        ///
        /// Not among them are what swsync sets itself (frame durations), what is in the pixels of one sensor model (crops and
        /// windows), and what acts once (the trigger of autofocus).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum CameraControl {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl CameraControl {
            /// All of them, by their names.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name of swsyncsrc's property.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The type of its values.
            #[must_use]
            pub const fn kind(self) -> ControlKind {
                use ControlKind::{Choice, Integer, Number, Numbers, Switch, Time};
                match self { $(Self::$variant => $kind,)* }
            }
        }
    };
}

const AUTO_OR_MANUAL: &[&str] = &["auto", "manual"];

controls! {
    /// What auto exposure keeps within the range.
    AeConstraintMode "ae-constraint-mode" Choice(&["normal", "highlight", "shadows", "custom"]),
    /// Whether the camera sets exposure time and gain by itself.
    AeEnable "ae-enable" Switch,
    /// How auto exposure divides into time and gain.
    AeExposureMode "ae-exposure-mode" Choice(&["normal", "short", "long", "custom"]),
    /// Whether auto exposure avoids the light's flicker.
    AeFlickerMode "ae-flicker-mode" Choice(&["off", "manual", "auto"]),
    /// The period of that flicker.
    AeFlickerPeriod "ae-flicker-period" Time,
    /// Where auto exposure measures.
    AeMeteringMode "ae-metering-mode" Choice(&["centre-weighted", "spot", "matrix", "custom"]),
    /// Whether the camera focuses by itself.
    AfMode "af-mode" Choice(&["manual", "auto", "continuous"]),
    /// Distances that autofocus looks at.
    AfRange "af-range" Choice(&["normal", "macro", "full"]),
    /// How fast autofocus moves the lens.
    AfSpeed "af-speed" Choice(&["normal", "fast"]),
    /// Gain in the sensor, as a factor.
    AnalogueGain "analogue-gain" Number,
    /// Who sets the analogue gain.
    AnalogueGainMode "analogue-gain-mode" Choice(AUTO_OR_MANUAL),
    /// Whether the camera balances white by itself.
    AwbEnable "awb-enable" Switch,
    /// Light that the white balance expects.
    AwbMode "awb-mode" Choice(&[
        "auto", "incandescent", "tungsten", "fluorescent", "indoor", "daylight", "cloudy", "custom",
    ]),
    /// Brightness added, -1 to 1.
    Brightness "brightness" Number,
    /// Matrix from the sensor's RGB to sRGB, 3x3, row by row.
    ColourCorrectionMatrix "colour-correction-matrix" Numbers(9),
    /// Gains of red and of blue.
    ColourGains "colour-gains" Numbers(2),
    /// Colour temperature of the light, in kelvin.
    ColourTemperature "colour-temperature" Integer,
    /// Contrast, as a factor.
    Contrast "contrast" Number,
    /// Gain after the sensor, as a factor.
    DigitalGain "digital-gain" Number,
    /// Exposure time.
    ExposureTime "exposure-time" Time,
    /// Who sets the exposure time.
    ExposureTimeMode "exposure-time-mode" Choice(AUTO_OR_MANUAL),
    /// How much brighter auto exposure makes pictures, in powers of two.
    ExposureValue "exposure-value" Number,
    /// Gamma.
    Gamma "gamma" Number,
    /// Whether and how pictures of high dynamic range are made.
    HdrMode "hdr-mode" Choice(&["off", "multi-exposure-unmerged", "multi-exposure", "single-exposure", "night"]),
    /// Distance in focus, in dioptres.
    LensPosition "lens-position" Number,
    /// Saturation, as a factor.
    Saturation "saturation" Number,
    /// Sharpening, as a factor.
    Sharpness "sharpness" Number,
}

impl CameraControl {
    /// The control of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|control| control.name() == name)
    }
}

impl fmt::Display for CameraControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_read_back_from_their_names() {
        for control in CameraControl::ALL {
            assert_eq!(CameraControl::from_name(control.name()), Some(*control));
            let json = serde_json::to_string(control).unwrap();
            assert_eq!(json, format!("\"{}\"", control.name()));
        }
        assert!(CameraControl::ALL.is_sorted_by_key(|control| control.name()));
        assert_eq!(CameraControl::from_name("exposure-tyme"), None);
    }
}
