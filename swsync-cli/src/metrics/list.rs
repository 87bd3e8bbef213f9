//! The metrics: what each is called, what it means, and where it comes from.
//!
//! Names and units follow Prometheus's conventions: base units (seconds, bytes, celsius, ratios), and `_total` for counters.

use swsync_core::frame::{LockState, SyncState};
use swsync_core::status::{HostStatus, Status, WifiStatus};
use swsync_core::time::Span;

/// Whether a value goes up and down, or counts since the device was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    /// Its name is written with `_total`.
    Counter,
}

/// A metric of things of type `T`. A value that is not known has no sample.
pub struct Metric<T: ?Sized + 'static> {
    pub name: &'static str,
    pub kind: Kind,
    /// One line.
    pub help: &'static str,
    pub value: fn(&T) -> Option<f64>,
}

const fn gauge<T: ?Sized>(name: &'static str, help: &'static str, value: fn(&T) -> Option<f64>) -> Metric<T> {
    Metric { name, kind: Kind::Gauge, help, value }
}

const fn counter<T: ?Sized>(
    name: &'static str,
    help: &'static str,
    value: fn(&T) -> Option<f64>,
) -> Metric<T> {
    Metric { name, kind: Kind::Counter, help, value }
}

/// The rig as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub struct RigView {
    pub is_up: bool,
    pub devices: usize,
    pub ready: usize,
    pub is_alike: Option<bool>,
    pub scrape_secs: f64,
}

/// A device that belongs to the rig.
pub struct DeviceView {
    pub name: String,
    /// `None`: it did not answer.
    pub answered: Option<AnsweredView>,
}

/// A device that answered.
pub struct AnsweredView {
    pub status: Status,
    pub problems: usize,
    pub warnings: usize,
}

/// With the label `rig`.
pub const RIG: &[Metric<RigView>] = &[
    gauge("swsync_rig_up", "Whether any device of the rig answered this scrape (1)", |rig| flag(rig.is_up)),
    gauge("swsync_rig_devices", "Devices that belong to the rig, whether or not they answered", |rig| {
        count(rig.devices)
    }),
    gauge("swsync_rig_ready_devices", "Devices that are ready to serve an order", |rig| count(rig.ready)),
    gauge(
        "swsync_rig_agreement",
        "Whether all devices that answered are on one time scale with one frame rate (1)",
        |rig| flag(rig.is_alike?),
    ),
    gauge("swsync_rig_scrape_duration_seconds", "How long the devices took to answer this scrape", |rig| {
        Some(rig.scrape_secs)
    }),
];

/// With the labels `rig` and `device`, for every device that belongs to the rig.
pub const DEVICE: &[Metric<DeviceView>] = &[gauge(
    "swsync_device_up",
    "Whether the device answered this scrape (1); without an answer (0) it has no other values",
    |device| flag(device.answered.is_some()),
)];

/// With the labels `rig` and `device`, for devices that answered.
pub const ANSWERED: &[Metric<AnsweredView>] = &[
    gauge("swsync_device_ready", "Whether the device is ready to serve an order (1)", |it| {
        flag(it.problems == 0)
    }),
    gauge("swsync_device_problems", "Problems that keep the device from being ready", |it| {
        count(it.problems)
    }),
    gauge(
        "swsync_device_warnings",
        "Warnings: heat, throttling, low voltage, weak signal, little recording time, last error",
        |it| count(it.warnings),
    ),
];

/// With the labels `rig` and `device`, from the statuses of devices that answered.
pub const STATUS: &[Metric<Status>] = &[
    // The clock.
    gauge("swsync_clock_synced", "Whether the clock knows rig time (1): synced or leading", |status| {
        flag(matches!(status.clock?.quality, SyncState::Synced | SyncState::Leading))
    }),
    gauge("swsync_clock_leading", "Whether the device leads the rig's time (1)", |status| {
        flag(status.clock?.quality == SyncState::Leading)
    }),
    gauge("swsync_clock_uncertainty_seconds", "What the error of the clock may be, 1 sigma", |status| {
        seconds(status.clock?.uncertainty_ns?)
    }),
    gauge("swsync_clock_offset_seconds", "Rig time minus the device's own clock", |status| {
        seconds(status.clock?.offset_ns)
    }),
    gauge(
        "swsync_clock_skew_ratio",
        "Rate of rig time relative to the device's own clock, minus one",
        |status| Some(status.clock?.skew_ppm * 1e-6),
    ),
    gauge("swsync_clock_round_trip_seconds", "Last round trip to the leader", |status| {
        seconds(status.clock?.round_trip_ns?)
    }),
    // The camera and its frames.
    gauge("swsync_camera_locked", "Whether the camera's frames are on the grid (1)", |status| {
        flag(status.frames.as_ref()?.newest.lock? == LockState::Locked)
    }),
    gauge("swsync_camera_phase_error_seconds", "Time of the newest frame minus its grid instant", |status| {
        seconds(status.frames.as_ref()?.newest.phase_error_ns)
    }),
    gauge(
        "swsync_camera_frame_rate_hertz",
        "Frames per second of the grid that the frames are numbered on",
        |status| {
            let (frames, secs) = status.frames.as_ref()?.rate.rate();
            Some(f64::from(frames) / f64::from(secs))
        },
    ),
    gauge("swsync_camera_frame_age_seconds", "How long ago the newest frame was taken", |status| {
        seconds(status.clock?.rig_time_ns - status.frames.as_ref()?.newest.rig_time_ns)
    }),
    gauge("swsync_camera_exposure_seconds", "Exposure time of the newest frame", |status| {
        seconds(status.camera.as_ref()?.exposure_ns?)
    }),
    gauge("swsync_camera_analogue_gain_ratio", "Analogue gain of the newest frame", |status| {
        status.camera.as_ref()?.analogue_gain
    }),
    // Orders, memory and disk.
    gauge("swsync_orders_open", "Orders not yet answered", |status| count(status.open.len())),
    counter("swsync_frames_saved", "Frames saved since the device's pipeline was started", |status| {
        Some(float(status.saved))
    }),
    counter(
        "swsync_frames_missed",
        "Frames of orders missed or failed since the device's pipeline was started",
        |status| Some(float(status.missed)),
    ),
    gauge("swsync_stream_bytes_per_second", "Data rate of the frames", |status| {
        Some(float(status.frames.as_ref()?.bytes_per_second))
    }),
    gauge("swsync_ring_bytes", "Memory of the frame ring", |status| {
        count(status.frames.as_ref()?.ring_bytes)
    }),
    gauge("swsync_ring_seconds", "How far back orders can reach", |status| {
        let frames = status.frames.as_ref()?;
        seconds(frames.newest.rig_time_ns - frames.rate.instant(frames.oldest))
    }),
    gauge(
        "swsync_storage_free_bytes",
        "Free space of the file system that frames are written to",
        |status| Some(float(status.storage.as_ref()?.free_bytes)),
    ),
    gauge("swsync_storage_queued_bytes", "Bytes of frames that wait to be written", |status| {
        count(status.storage.as_ref()?.queued_bytes)
    }),
    gauge("swsync_storage_queue_limit_bytes", "Most bytes that may wait to be written", |status| {
        count(status.storage.as_ref()?.queue_limit_bytes)
    }),
    gauge(
        "swsync_recording_left_seconds",
        "Recording time until the disk is full, at the present data rate",
        |status| seconds(status.recording_left_ns?),
    ),
    gauge("swsync_device_last_error_age_seconds", "How long ago the pipeline's last error was", |status| {
        seconds(status.clock?.rig_time_ns - status.last_error.as_ref()?.rig_time_ns?)
    }),
];

/// With the labels `rig` and `device`, of hosts that were read.
pub const HOST: &[Metric<HostStatus>] = &[
    gauge("swsync_device_temperature_celsius", "Hottest sensor of processor or SoC", |host| {
        host.temperature_celsius
    }),
    gauge(
        "swsync_device_throttled",
        "Whether the processor is held down now (1), by heat or low voltage",
        |host| flag(host.throttled?),
    ),
    counter(
        "swsync_device_cpu_throttle_events",
        "How often the processor has throttled itself since the host was started",
        |host| Some(float(host.throttle_count?)),
    ),
    gauge(
        "swsync_device_undervoltage",
        "Whether the supply voltage is too low (1), now or within two seconds",
        |host| flag(host.undervoltage?),
    ),
    gauge(
        "swsync_device_cpu_frequency_limit_ratio",
        "Highest frequency that the processor may take, relative to the highest that it can",
        |host| host.frequency_limit,
    ),
    gauge(
        "swsync_device_cpu_load_ratio",
        "Part of all processors' time that was not idle, since the reading before",
        |host| host.cpu_load,
    ),
];

/// With the labels `rig`, `device` and `interface`, of WiFi links that are connected.
pub const WIFI: &[Metric<WifiStatus>] = &[
    gauge("swsync_wifi_signal_dbm", "Strength of the access point's signal", |wifi| {
        Some(f64::from(wifi.signal_dbm?))
    }),
    gauge("swsync_wifi_tx_bitrate_bits_per_second", "Bitrate to the access point", |wifi| {
        Some(float(wifi.tx_bitrate_bps?))
    }),
    gauge("swsync_wifi_power_save", "Whether the adapter sleeps between packets (1)", |wifi| {
        flag(wifi.power_save?)
    }),
];

/// The metric whose labels say what a device is. Its value is 1.
pub const INFO: (&str, &str) = (
    "swsync_device_info",
    "What the device is: labels software (version of swsync), board, camera, gstreamer, libcamera, kernel, os; empty where not known",
);

#[expect(clippy::unnecessary_wraps, reason = "as all values")]
fn flag(is_so: bool) -> Option<f64> {
    Some(f64::from(u8::from(is_so)))
}

#[expect(clippy::unnecessary_wraps, reason = "as all values")]
fn seconds(span: Span) -> Option<f64> {
    Some(span.as_secs_f64())
}

#[expect(clippy::unnecessary_wraps, reason = "as all values")]
fn count(number: usize) -> Option<f64> {
    Some(float(u64::try_from(number).unwrap_or(u64::MAX)))
}

/// Prometheus stores 64-bit floats: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn float(number: u64) -> f64 {
    number as f64
}
