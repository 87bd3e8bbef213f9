//! The properties that `swsyncsink` and `swsyncgate` share: the rig, the device's id, and the frame ring.

use gst::glib;
use gst::prelude::*;
use swsync_core::name::{DeviceId, Name};
use swsync_core::ring::RingLimits;
use swsync_core::time::Span;
use swsync_rig::{ControlError, DEFAULT_RIG, RigConfig};

use crate::rig_settings::RigSettings;

/// Half a minute of 1080p JPEG, and a tenth of the memory of a 1 GB Raspberry Pi. Half as much again may wait to be
/// written.
const DEFAULT_RING_BYTES: u64 = 96 << 20;
const DEFAULT_RING_TIME: gst::ClockTime = gst::ClockTime::from_seconds(5);

/// A copy is taken on the way to PAUSED.
#[derive(Debug, Clone)]
pub struct OrderSettings {
    rig: RigSettings,
    device_id: Option<String>,
    ring_time: gst::ClockTime,
    ring_bytes: u64,
}

impl Default for OrderSettings {
    fn default() -> Self {
        Self {
            rig: RigSettings::default(),
            device_id: None,
            ring_time: DEFAULT_RING_TIME,
            ring_bytes: DEFAULT_RING_BYTES,
        }
    }
}

impl OrderSettings {
    pub fn properties() -> Vec<glib::ParamSpec> {
        vec![
            glib::ParamSpecString::builder("rig")
                .nick("Rig")
                .blurb("Name of the rig whose orders are served")
                .default_value(Some(DEFAULT_RIG))
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("device-id")
                .nick("Device id")
                .blurb("This device's id, unique in the rig; the host's name if not set")
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("listen")
                .nick("Listen")
                .blurb("Zenoh endpoints where other devices can connect, separated by commas, e.g. tcp/0.0.0.0:7447; with neither this nor `connect`, devices find each other by multicast")
                .mutable_ready()
                .build(),
            glib::ParamSpecString::builder("connect")
                .nick("Connect")
                .blurb("Zenoh endpoints of other devices to connect to, separated by commas, e.g. tcp/pi0.local:7447; one device leads to all")
                .mutable_ready()
                .build(),
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
        ]
    }

    /// Sets one of [`properties`](Self::properties).
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        let number = || value.get::<u64>().expect("checked by GObject");
        match name {
            "device-id" => self.device_id = value.get().expect("checked by GObject"),
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
            "device-id" => self.device_id.to_value(),
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

    pub fn device(&self) -> Result<DeviceId, gst::ErrorMessage> {
        match &self.device_id {
            Some(id) => Name::new(id.clone())
                .map_err(|e| gst::error_msg!(gst::LibraryError::Settings, ("device-id: {e}"))),
            None => Name::new(swsync_rig::host_name()).map_err(|e| {
                gst::error_msg!(
                    gst::LibraryError::Settings,
                    ("the host's name cannot be a device id: {e}"),
                    ["Set `device-id`."]
                )
            }),
        }
    }

    pub fn rig_config(&self) -> Result<RigConfig, gst::ErrorMessage> {
        self.rig.config()
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
