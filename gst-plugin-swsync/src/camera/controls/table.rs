//! The table of controls, named as in libcamera.
//!
//! Their properties have the names, types and nicks of `libcamerasrc`'s (libcamera 0.4 and 0.5: `exposed_controls` of
//! `gen-gst-controls.py`). Only the names of the enum types differ, because GObject allows one type of a name in a
//! process. It lacks `ae-flicker-mode`, `af-trigger`, `colour-temperature`, `frame-duration-limits` and `hdr-mode`.

use gst::glib;
use gst::prelude::*;

use super::{Control, EnumKind, Kind};

/// Enums of libcamera, with its numbers.
macro_rules! enums {
    ($($name:ident $type:literal {
        $first:ident = $first_value:literal $first_nick:literal $first_text:literal,
        $($variant:ident = $value:literal $nick:literal $text:literal,)*
    })*) => {$(
        #[derive(Debug, Clone, Copy, PartialEq, Eq, glib::Enum)]
        #[enum_type(name = $type)]
        enum $name {
            #[enum_value(name = $first_text, nick = $first_nick)] $first = $first_value,
            $(#[enum_value(name = $text, nick = $nick)] $variant = $value,)*
        }

        impl $name {
            const KIND: Kind = Kind::Enum(EnumKind {
                type_: $name::static_type,
                property: |name, nick, blurb| {
                    glib::ParamSpecEnum::builder_with_default(name, $name::$first)
                        .nick(nick)
                        .blurb(blurb)
                        .controllable()
                        .mutable_playing()
                        .build()
                },
            });
        }
    )*};
}

enums! {
    AeConstraintMode "GstSwsyncAeConstraintMode" {
        Normal = 0 "normal" "Normal: a reasonable average brightness",
        Highlight = 1 "highlight" "Highlight: the brightest parts are not overexposed",
        Shadows = 2 "shadows" "Shadows: the dark parts are not underexposed",
        Custom = 3 "custom" "Custom: as the camera's tuning has it",
    }
    AeExposureMode "GstSwsyncAeExposureMode" {
        Normal = 0 "normal" "Normal",
        Short = 1 "short" "Short: short exposures only",
        Long = 2 "long" "Long: long exposures too",
        Custom = 3 "custom" "Custom: as the camera's tuning has it",
    }
    AeFlickerMode "GstSwsyncAeFlickerMode" {
        Off = 0 "off" "Off: flicker is not avoided",
        Manual = 1 "manual" "Manual: that of ae-flicker-period is",
        Auto = 2 "auto" "Auto: the camera finds its period",
    }
    AeMeteringMode "GstSwsyncAeMeteringMode" {
        CentreWeighted = 0 "centre-weighted" "Centre-weighted",
        Spot = 1 "spot" "Spot: the centre alone",
        Matrix = 2 "matrix" "Matrix: the whole picture",
        Custom = 3 "custom" "Custom: as the camera's tuning has it",
    }
    AfMetering "GstSwsyncAfMetering" {
        Auto = 0 "auto" "Auto: the camera decides where it measures",
        Windows = 1 "windows" "Windows: in those of af-windows",
    }
    AfMode "GstSwsyncAfMode" {
        Manual = 0 "manual" "Manual: the lens stays where lens-position puts it",
        Auto = 1 "auto" "Auto: one scan when triggered",
        Continuous = 2 "continuous" "Continuous: the camera focuses by itself",
    }
    AfRange "GstSwsyncAfRange" {
        Normal = 0 "normal" "Normal: infinity to close by",
        Macro = 1 "macro" "Macro: close distances only",
        Full = 2 "full" "Full: everything",
    }
    AfSpeed "GstSwsyncAfSpeed" {
        Normal = 0 "normal" "Normal",
        Fast = 1 "fast" "Fast: for stills",
    }
    AfTrigger "GstSwsyncAfTrigger" {
        Start = 0 "start" "Start: a scan begins, if none is under way",
        Cancel = 1 "cancel" "Cancel: it ends, and the lens stays where it is",
    }
    AutoOrManual "GstSwsyncAutoOrManual" {
        Auto = 0 "auto" "Auto: the camera decides",
        Manual = 1 "manual" "Manual: as it is set",
    }
    AwbMode "GstSwsyncAwbMode" {
        Auto = 0 "auto" "Auto: any light",
        Incandescent = 1 "incandescent" "Incandescent lamps",
        Tungsten = 2 "tungsten" "Tungsten lamps",
        Fluorescent = 3 "fluorescent" "Fluorescent lamps",
        Indoor = 4 "indoor" "Indoor light",
        Daylight = 5 "daylight" "Daylight",
        Cloudy = 6 "cloudy" "Cloudy sky",
        Custom = 7 "custom" "Custom: as the camera's tuning has it",
    }
    HdrMode "GstSwsyncHdrMode" {
        Off = 0 "off" "Off: one exposure is one picture",
        MultiExposureUnmerged = 1 "multi-exposure-unmerged" "Multi-exposure unmerged: long and short ones by turns",
        MultiExposure = 2 "multi-exposure" "Multi-exposure: several exposures become one picture",
        SingleExposure = 3 "single-exposure" "Single exposure: several equal exposures become one picture",
        Night = 4 "night" "Night: several exposures become one picture of a dark scene",
    }
}

const fn row(name: &'static str, property: &'static str, kind: Kind, blurb: &'static str) -> Control {
    Control { name, property, kind, blurb }
}

/// All of them, by the names of their properties.
pub(super) static CONTROLS: [Control; 32] = [
    row(
        "AeConstraintMode",
        "ae-constraint-mode",
        AeConstraintMode::KIND,
        "What auto exposure keeps within the range",
    ),
    row("AeEnable", "ae-enable", Kind::Bool, "Whether the camera sets exposure time and gain by itself"),
    row(
        "AeExposureMode",
        "ae-exposure-mode",
        AeExposureMode::KIND,
        "How auto exposure divides into time and gain",
    ),
    row(
        "AeFlickerMode",
        "ae-flicker-mode",
        AeFlickerMode::KIND,
        "Whether auto exposure avoids the light's flicker, and which",
    ),
    row(
        "AeFlickerPeriod",
        "ae-flicker-period",
        Kind::Int,
        "Period of the light's flicker that auto exposure avoids, in microseconds: 10000 for mains of 50 Hz",
    ),
    row("AeMeteringMode", "ae-metering-mode", AeMeteringMode::KIND, "Where auto exposure measures"),
    row("AfMetering", "af-metering", AfMetering::KIND, "Where autofocus measures"),
    row("AfMode", "af-mode", AfMode::KIND, "Whether the camera focuses by itself"),
    row("AfRange", "af-range", AfRange::KIND, "Distances that autofocus looks at"),
    row("AfSpeed", "af-speed", AfSpeed::KIND, "How fast autofocus moves the lens"),
    row(
        "AfTrigger",
        "af-trigger",
        AfTrigger::KIND,
        "Starts or ends a scan where af-mode is auto: each time it is set",
    ),
    row(
        "AfWindows",
        "af-windows",
        Kind::Rectangles,
        "Where autofocus measures, as rectangles <x, y, width, height> in pixels of the sensor",
    ),
    row(
        "AnalogueGain",
        "analogue-gain",
        Kind::Float,
        "Gain in the sensor, as a factor; 0 leaves it to auto exposure",
    ),
    row("AnalogueGainMode", "analogue-gain-mode", AutoOrManual::KIND, "Who sets the analogue gain"),
    row("AwbEnable", "awb-enable", Kind::Bool, "Whether the camera balances white by itself"),
    row("AwbMode", "awb-mode", AwbMode::KIND, "Light that the white balance expects"),
    row("Brightness", "brightness", Kind::Float, "Brightness added, -1 to 1; 0 changes nothing"),
    row(
        "ColourCorrectionMatrix",
        "colour-correction-matrix",
        Kind::Floats(9),
        "Matrix from the sensor's RGB to sRGB, 3x3, row by row",
    ),
    row(
        "ColourGains",
        "colour-gains",
        Kind::Floats(2),
        "White balance without awb-enable: gains of red and of blue, as factors",
    ),
    row(
        "ColourTemperature",
        "colour-temperature",
        Kind::Int,
        "White balance without awb-enable: colour temperature of the light, in kelvin",
    ),
    row("Contrast", "contrast", Kind::Float, "Contrast, as a factor; 1 changes nothing"),
    row("DigitalGain", "digital-gain", Kind::Float, "Gain after the sensor, as a factor"),
    row(
        "ExposureTime",
        "exposure-time",
        Kind::Int,
        "Exposure time, in microseconds; 0 leaves it to auto exposure",
    ),
    row("ExposureTimeMode", "exposure-time-mode", AutoOrManual::KIND, "Who sets the exposure time"),
    row(
        "ExposureValue",
        "exposure-value",
        Kind::Float,
        "How much brighter auto exposure makes pictures, in powers of two",
    ),
    row(
        "FrameDurationLimits",
        "frame-duration-limits",
        Kind::Longs(2),
        "Shortest and longest frame, in microseconds; refused where swsyncsrc shifts the camera's frames",
    ),
    row("Gamma", "gamma", Kind::Float, "Gamma, 2.2 being sRGB's"),
    row("HdrMode", "hdr-mode", HdrMode::KIND, "How pictures of high dynamic range are made, if they are"),
    row(
        "LensPosition",
        "lens-position",
        Kind::Float,
        "Distance in focus, in dioptres: 1 / metres, 0 at infinity",
    ),
    row("Saturation", "saturation", Kind::Float, "Saturation, as a factor; 1 changes nothing, 0 is grey"),
    row(
        "ScalerCrop",
        "scaler-crop",
        Kind::Rectangle,
        "Part of the sensor that becomes the picture, as <x, y, width, height> in its pixels",
    ),
    row(
        "Sharpness",
        "sharpness",
        Kind::Float,
        "Sharpening, as a factor; 1 is the camera's usual one, 0 none",
    ),
];
