//! The properties that `swsyncsink` and `swsyncgate` share: the rig, the device's id, and the frame ring.

use gst::glib;
use gst::prelude::*;
use swsync_core::ring::RingLimits;
use swsync_core::time::Span;
use swsync_rig::ControlError;

use crate::rig_settings::RigProperties;

/// Half a minute of 1080p JPEG, and a tenth of the memory of a 1 GB Raspberry Pi. Half as much again may wait to be
/// written.
const DEFAULT_RING_BYTES: u64 = 96 << 20;
const DEFAULT_RING_TIME: gst::ClockTime = gst::ClockTime::from_seconds(5);

/// A copy is taken on the way to PAUSED.
#[derive(Debug, Clone)]
pub struct OrderSettings {
    pub rig: RigProperties,
    ring_time: gst::ClockTime,
    ring_bytes: u64,
}

impl Default for OrderSettings {
    fn default() -> Self {
        Self { rig: RigProperties::default(), ring_time: DEFAULT_RING_TIME, ring_bytes: DEFAULT_RING_BYTES }
    }
}

impl OrderSettings {
    pub fn properties() -> Vec<glib::ParamSpec> {
        let mut properties = RigProperties::properties();
        properties.extend([
            glib::ParamSpecUInt64::builder("ring-time")
                .nick("Ring time")
                .blurb("Time that frames are kept for orders in the past, in nanoseconds; of encoded video, whole groups of pictures that cover it")
                .maximum(i64::MAX.unsigned_abs())
                .default_value(DEFAULT_RING_TIME.nseconds())
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt64::builder("ring-bytes")
                .nick("Ring bytes")
                .blurb("Most memory that frames kept for orders in the past may take, in bytes; half as much again may wait for the disk, or for what is downstream")
                .default_value(DEFAULT_RING_BYTES)
                .mutable_ready()
                .build(),
        ]);
        properties
    }

    /// Sets one of [`properties`](Self::properties).
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        let number = || value.get::<u64>().expect("checked by GObject");
        match name {
            "ring-time" => self.ring_time = gst::ClockTime::from_nseconds(number()),
            "ring-bytes" => self.ring_bytes = number(),
            name => {
                let is_known = self.rig.set(name, value);
                debug_assert!(is_known, "no property {name}");
            }
        }
    }

    /// One of [`properties`](Self::properties).
    pub fn get(&self, name: &str) -> glib::Value {
        match name {
            "ring-time" => self.ring_time.nseconds().to_value(),
            "ring-bytes" => self.ring_bytes.to_value(),
            name => self.rig.get(name).unwrap_or_else(|| unreachable!("no property {name}")),
        }
    }

    pub fn ring_limits(&self) -> RingLimits {
        RingLimits {
            bytes: usize::try_from(self.ring_bytes).unwrap_or(usize::MAX),
            time: Span::from_nanos(i64::try_from(self.ring_time.nseconds()).unwrap_or(i64::MAX)),
        }
    }
}

pub fn control_error(error: &ControlError) -> gst::ErrorMessage {
    match error {
        ControlError::DuplicateDevice { .. } | ControlError::AlikeDevice { .. } => {
            gst::error_msg!(gst::ResourceError::Busy, ("{error}"))
        }
        ControlError::Endpoint { .. } => gst::error_msg!(gst::LibraryError::Settings, ("{error}")),
        _ => gst::error_msg!(gst::ResourceError::OpenReadWrite, ("{error}")),
    }
}
