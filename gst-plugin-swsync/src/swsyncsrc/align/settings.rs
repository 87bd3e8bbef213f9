//! Settings of alignment.

use gst::glib;
use gst::prelude::*;
use swsync_core::time::Span;

use super::super::aligned_camera::Alignment;
use super::{AlignMethod, AlignPointSetting, AlignTarget};

const DEFAULT_SETTLE_FRAMES: u32 = 3;
/// The largest phase offset, in ns: at all usual rates, more would be whole frames.
const MOST_OFFSET: i64 = 1_000_000_000;

#[derive(Debug, Clone)]
pub struct AlignSettings {
    pub wait_lock: bool,
    method: AlignMethod,
    point: AlignPointSetting,
    grid_period: gst::Fraction,
    phase_offset: Span,
    max_slew: f64,
    /// In ns; 0 is the method's default.
    tolerance: u64,
    settle_frames: u32,
}

impl Default for AlignSettings {
    fn default() -> Self {
        Self {
            wait_lock: true,
            method: AlignMethod::default(),
            point: AlignPointSetting::default(),
            grid_period: gst::Fraction::new(0, 1),
            phase_offset: Span::ZERO,
            max_slew: 0.0,
            tolerance: 0,
            settle_frames: DEFAULT_SETTLE_FRAMES,
        }
    }
}

impl AlignSettings {
    /// What frames are to be aligned to.
    pub fn target(&self) -> AlignTarget {
        let tolerance = i64::try_from(self.tolerance).unwrap_or(i64::MAX);
        AlignTarget {
            point: self.point.into(),
            phase_offset: self.phase_offset,
            tolerance: (tolerance > 0).then_some(Span::from_nanos(tolerance)),
            settle_frames: self.settle_frames,
            max_slew: (self.max_slew > 0.0).then_some(self.max_slew),
        }
    }

    /// How a camera is to be aligned.
    pub fn alignment(&self) -> Alignment {
        Alignment { method: self.method, grid_period: self.grid_period, target: self.target() }
    }

    /// Sets a property, if it is one of these. Its type is the ParamSpec's, which GObject has checked.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "wait-lock" => self.wait_lock = value.get().expect("checked"),
            "align-method" => self.method = value.get().expect("checked"),
            "align-point" => self.point = value.get().expect("checked"),
            "grid-period" => self.grid_period = value.get().expect("checked"),
            "phase-offset" => self.phase_offset = Span::from_nanos(value.get().expect("checked")),
            "max-slew" => self.max_slew = value.get().expect("checked"),
            "tolerance" => self.tolerance = value.get().expect("checked"),
            "settle-frames" => self.settle_frames = value.get().expect("checked"),
            _ => return false,
        }
        true
    }

    /// The value of a property, if it is one of these.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "wait-lock" => self.wait_lock.to_value(),
            "align-method" => self.method.to_value(),
            "align-point" => self.point.to_value(),
            "grid-period" => self.grid_period.to_value(),
            "phase-offset" => self.phase_offset.as_nanos().to_value(),
            "max-slew" => self.max_slew.to_value(),
            "tolerance" => self.tolerance.to_value(),
            "settle-frames" => self.settle_frames.to_value(),
            _ => return None,
        })
    }
}

/// The ParamSpecs of these settings.
pub fn properties() -> Vec<glib::ParamSpec> {
    let mut properties = what();
    properties.extend(how());
    properties
}

/// What frames are aligned to.
fn what() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecEnum::builder::<AlignMethod>("align-method")
            .nick("Align method")
            .blurb("How the camera is brought onto the frame grid; one that it cannot do is an error")
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder::<AlignPointSetting>("align-point")
            .nick("Align point")
            .blurb("Which instant of a frame lies on the grid: different sensors agree on one only")
            .mutable_playing()
            .build(),
        gst::ParamSpecFraction::builder("grid-period")
            .nick("Grid period")
            .blurb(
                "Period of the rig's frame grid in seconds, if its cameras have different rates: each has to be \
                 a multiple of the other (0/1: this camera's own)",
            )
            .minimum(gst::Fraction::new(0, 1))
            .maximum(gst::Fraction::new(i32::MAX, 1))
            .default_value(gst::Fraction::new(0, 1))
            .mutable_ready()
            .build(),
        glib::ParamSpecInt64::builder("phase-offset")
            .nick("Phase offset")
            .blurb(
                "Where frames lie after the grid's instants, in nanoseconds: N cameras a period / N apart take \
                 N times the rate",
            )
            .minimum(-MOST_OFFSET)
            .maximum(MOST_OFFSET)
            .mutable_playing()
            .build(),
    ]
}

/// How frames are brought there, and when they count as locked.
fn how() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecDouble::builder("max-slew")
            .nick("Largest slew")
            .blurb(
                "Largest part of the period by which a frame may be longer or shorter than it (0: any; 0.01 \
                 keeps a video's cadence smooth and takes a second)",
            )
            .minimum(0.0)
            .maximum(1.0)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("tolerance")
            .nick("Tolerance")
            .blurb(
                "Largest phase error of a locked camera, in nanoseconds (0: the method's own, 20 us, or 1 ms by \
                 reset)",
            )
            .maximum(10_000_000)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("settle-frames")
            .nick("Settle frames")
            .blurb("Frames within the tolerance, in a row, that make a lock")
            .minimum(1)
            .maximum(1_000)
            .default_value(DEFAULT_SETTLE_FRAMES)
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("wait-lock")
            .nick("Wait for lock")
            .blurb(
                "Hold frames back until the camera is on the frame grid (cameras whose phase cannot be \
                 controlled excepted)",
            )
            .default_value(true)
            .mutable_playing()
            .build(),
    ]
}
