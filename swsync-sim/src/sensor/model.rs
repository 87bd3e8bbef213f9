//! Models of sensors: timing, limits and faults, and the presets with their sources.

use std::str::FromStr;

use swsync_core::time::Span;

use crate::noise::{hash, uniform};
use crate::num;

/// Series of hashed numbers that determines the bias of a camera's stamps; the next one determines its exposure reference.
const CAMERA_ERRORS: u64 = 40;

/// A model of a rolling-shutter sensor in one mode, with its driver and interrupt handler.
///
/// Numbers of the presets come from the Linux drivers (`drivers/media/i2c/imx219.c`, `imx477.c`,
/// `imx708.c` of raspberrypi/linux) and libcamera (`camera_sensor_properties.cpp`,
/// `cam_helper_*.cpp`), except where a field says "assumed".
#[derive(Debug, Clone, PartialEq)]
pub struct SensorModel {
    /// Its name for `FromStr`.
    pub name: &'static str,
    /// Columns of the mode.
    pub width: u32,
    /// Rows of the mode. All are read out, one a line.
    pub height: u32,
    /// Nominal time of one line, in ns: line length over pixel rate.
    pub line_time_ns: f64,
    /// Nominal frame length, in lines: 30 frames per second.
    pub frame_length: u32,
    /// Least frame length, in lines.
    pub min_frame_length: u32,
    /// Largest frame length, in lines.
    pub max_frame_length: u32,
    /// Least exposure, in lines.
    pub min_exposure: u32,
    /// Least number of lines between an exposure and the end of its frame.
    pub exposure_margin: u32,
    /// How late controls take effect.
    pub delays: ControlDelays,
    /// The meaning of a frame's timestamp.
    pub timestamp_point: TimestampPoint,
    /// What happens when an exposure does not fit into the frame's length.
    pub long_exposure: LongExposure,
    /// Error of timestamps, whose median is zero.
    pub stamp_jitter: StampJitter,
    /// Constant error of timestamps on top: positive if they are late.
    pub stamp_bias: Span,
    /// How much later exposure is than its lines and the frame-start event say.
    pub exposure_reference: Span,
    /// Share of frames that are lost together with their frame-start event. Assumed: 0.1 %.
    pub drop_probability: f64,
    /// Share of register writes that miss their frame: half are lost, half come one frame late. Assumed: 0.3 %.
    pub missed_write_probability: f64,
    /// Least time from the end of readout to delivery. Assumed: 5 ms.
    pub isp_latency: Span,
    /// Mean time above that, exponential. Assumed: 2 ms.
    pub isp_mean_excess: Span,
    /// Least time from start to readout of the first frame. The paper, section V.A: 600 ms.
    pub min_start_up: Span,
    /// Largest time from start to readout of the first frame: 800 ms. It is uniform in between, so that the phase is random.
    pub max_start_up: Span,
}

/// Number of frames from the frame-start event at which a control is written to the first frame that it affects (libcamera's
/// `sensorDelays`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlDelays {
    /// At least 2: while frame `s` is read out, frame `s + 1` is already being exposed.
    pub exposure: u32,
    /// At least 1. A write at frame `s` changes the time from frame `s + vblank` to the next. (Assumed: real hardware may differ by
    /// one.)
    pub vblank: u32,
    /// Not simulated: the panel is always well exposed.
    pub gain: u32,
}

/// The meaning of a frame's timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampPoint {
    /// Start of readout of the first row, after its exposure: the Raspberry Pi's receivers stamp in the frame-start interrupt.
    FirstRowReadout,
    /// Start of exposure of the first row: Android's convention.
    FirstRowExposure,
}

/// What happens when an exposure does not fit into the frame's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LongExposure {
    /// It is cut to the frame length minus the margin, as V4L2 drivers do.
    Cut,
    /// The previous frame grows until the exposure fits: the paper's way to inject a phase shift (section V.B).
    ExtendFrame,
}

/// Timestamp error: `N(0, normal) + Exp(exponential) - median`, plus rare late ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StampJitter {
    /// Standard deviation of the normal part.
    pub normal: Span,
    /// Mean of the exponential part.
    pub exponential: Span,
    /// Median of the sum of the two parts. It is subtracted, so that the median error is zero.
    pub median: Span,
    /// Share of stamps late by 20 to 200 us more.
    pub late_probability: f64,
    /// Share of stamps late by 200 to 1000 us more.
    pub very_late_probability: f64,
}

impl StampJitter {
    /// Stamps of an interrupt handler. Assumed.
    pub const INTERRUPT: Self = Self {
        normal: Span::from_micros(3),
        exponential: Span::from_micros(4),
        median: Span::from_nanos(3360),
        late_probability: 0.02,
        very_late_probability: 0.001,
    };
    /// Exact stamps.
    pub const NONE: Self = Self {
        normal: Span::ZERO,
        exponential: Span::ZERO,
        median: Span::ZERO,
        late_probability: 0.0,
        very_late_probability: 0.0,
    };
}

/// No preset has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown sensor `{name}`: use imx219, imx477 or imx708")]
pub struct UnknownSensor {
    /// The name as given.
    pub name: String,
}

impl FromStr for SensorModel {
    type Err = UnknownSensor;

    fn from_str(name: &str) -> Result<Self, UnknownSensor> {
        Self::presets()
            .into_iter()
            .find(|model| model.name == name)
            .ok_or_else(|| UnknownSensor { name: name.to_owned() })
    }
}

impl SensorModel {
    /// All presets.
    #[must_use]
    pub fn presets() -> [Self; 3] {
        [Self::imx219(), Self::imx477(), Self::imx708()]
    }

    /// `imx219`, Raspberry Pi camera module 2: 1920x1080, 3448 pixels a line at 182.4 MHz.
    #[must_use]
    pub fn imx219() -> Self {
        Self {
            name: "imx219",
            width: 1920,
            height: 1080,
            line_time_ns: 3448.0 / 0.1824,
            frame_length: 1763,
            min_frame_length: 1080 + 32,
            max_frame_length: 65_535,
            min_exposure: 4,
            exposure_margin: 4,
            delays: ControlDelays { exposure: 2, vblank: 2, gain: 1 },
            timestamp_point: TimestampPoint::FirstRowReadout,
            long_exposure: LongExposure::Cut,
            stamp_jitter: StampJitter::INTERRUPT,
            stamp_bias: Span::ZERO,
            exposure_reference: Span::ZERO,
            drop_probability: 0.001,
            missed_write_probability: 0.003,
            isp_latency: Span::from_millis(5),
            isp_mean_excess: Span::from_millis(2),
            min_start_up: Span::from_millis(600),
            max_start_up: Span::from_millis(800),
        }
    }

    /// `imx477`, Raspberry Pi HQ camera: 2028x1080, 12740 pixels a line at 840 MHz. Frames longer
    /// than 65 500 lines (the driver's `x 2^n`) and HBLANK trim are not simulated.
    #[must_use]
    pub fn imx477() -> Self {
        Self {
            name: "imx477",
            width: 2028,
            height: 1080,
            line_time_ns: 12_740.0 / 0.840,
            frame_length: 2197,
            min_frame_length: 1318,
            max_frame_length: 0xffdc,
            min_exposure: 4,
            exposure_margin: 22,
            delays: ControlDelays { exposure: 2, vblank: 3, gain: 2 },
            ..Self::imx219()
        }
    }

    /// `imx708`, Raspberry Pi camera module 3: 2304x1296, 7824 pixels a line at 585.6 MHz. The
    /// driver's exposure step of 2 lines when binned is not simulated.
    #[must_use]
    pub fn imx708() -> Self {
        Self {
            name: "imx708",
            width: 2304,
            height: 1296,
            line_time_ns: 7824.0 / 0.5856,
            frame_length: 2494,
            min_frame_length: 1296 + 40,
            max_frame_length: 0xffff,
            min_exposure: 1,
            exposure_margin: 48,
            delays: ControlDelays { exposure: 2, vblank: 3, gain: 2 },
            ..Self::imx219()
        }
    }

    /// The same sensor with a line time for frames of exactly `period`.
    #[must_use]
    pub fn at_exactly(mut self, period: Span) -> Self {
        let lines = num::lines(period.as_nanos_f64() / self.line_time_ns).max(self.min_frame_length);
        self.line_time_ns = period.as_nanos_f64() / f64::from(lines);
        self.frame_length = lines;
        self
    }

    /// The same sensor without faults: stamps are exact, nothing is dropped, every write arrives.
    #[must_use]
    pub fn without_faults(self) -> Self {
        Self {
            stamp_jitter: StampJitter::NONE,
            stamp_bias: Span::ZERO,
            exposure_reference: Span::ZERO,
            drop_probability: 0.0,
            missed_write_probability: 0.0,
            ..self
        }
    }

    /// The same sensor as one camera of many, with constant errors of its own, which no software on the device can see.
    ///
    /// Assumed, not measured: stamps are 0 to 15 us late, uniform, for the least latency of an interrupt on a device and its load;
    /// exposure is within 10 us of where its lines put it, uniform, about half a line of these sensors. The shipped profiles allow
    /// 20 us and two lines.
    #[must_use]
    pub fn of_camera(self, seed: u64, camera: u64) -> Self {
        let draw = |series, most| Span::from_micros(most).mul_f64(uniform(hash(seed, series, camera)));
        Self {
            stamp_bias: draw(CAMERA_ERRORS, 15),
            exposure_reference: draw(CAMERA_ERRORS + 1, 20) - Span::from_micros(10),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_have_names_and_the_drivers_line_times() {
        let line_times = [18_903.5, 15_166.7, 13_360.7];
        for (model, line_time) in SensorModel::presets().into_iter().zip(line_times) {
            assert_eq!(model.name.parse::<SensorModel>().unwrap(), model);
            assert!((model.line_time_ns - line_time).abs() < 0.1, "{}", model.line_time_ns);
            let period = model.line_time_ns * f64::from(model.frame_length);
            assert!((period - 33_333_333.0).abs() < model.line_time_ns, "{period}");
        }
        let exact = SensorModel::imx219().at_exactly(Span::from_micros(33_333));
        assert_eq!(exact.frame_length, 1763);
        assert!((exact.line_time_ns * 1763.0 - 33_333_000.0).abs() < 1e-3);
        assert!("imx999".parse::<SensorModel>().unwrap_err().to_string().contains("`imx999`"));
    }

    #[test]
    fn presets_agree_with_the_shipped_profiles() {
        for model in SensorModel::presets() {
            let profile = swsync_core::profile::shipped(model.name).unwrap();
            let ControlDelays { exposure, vblank, gain } = model.delays;
            assert_eq!(
                profile.delays,
                swsync_core::profile::Delays { exposure, vblank, gain },
                "{}",
                model.name
            );
            assert_eq!(profile.exposure_margin_lines, model.exposure_margin);
            let size = (model.width, model.height);
            let mode = profile.modes.iter().find(|mode| (mode.width, mode.height) == size).unwrap();
            assert!((mode.line_time_ns - model.line_time_ns).abs() < 1e-3, "{mode:?}");
            assert_eq!((mode.min_lines, mode.max_lines), (model.min_frame_length, model.max_frame_length));
        }
    }
}
