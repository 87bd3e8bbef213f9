//! What frames carry: reference timestamps that survive encoders, and a custom meta with the rest.
//!
//! Both pass through jpegenc, pngenc, x264enc (reordered frames too), x265enc, openh264enc, vp8enc, jpegparse
//! and h264parse of GStreamer 1.26: `tests/swsyncsrc.rs` checks those that are installed. An element that drops
//! them costs `swsyncsink` the details, or, without rig time, makes it number frames by their PTS.

use std::sync::LazyLock;

use swsync_core::frame::SyncQuality;
use swsync_core::frame::{FrameInfo, LockState};
use swsync_core::time::{Boottime, Rig, Span, Timestamp};

use crate::clock::{clock_time, rig_time};

/// Name of the custom meta, and of its structure.
pub const FRAME_META: &str = "SwsyncFrameMeta";

/// Caps of the GstReferenceTimestampMeta with a frame's rig time.
pub static RIG_TIME_CAPS: LazyLock<gst::Caps> =
    LazyLock::new(|| gst::Caps::new_empty_simple("timestamp/x-swsync"));

/// Caps of the GstReferenceTimestampMeta with a frame's Unix time.
pub static UNIX_TIME_CAPS: LazyLock<gst::Caps> =
    LazyLock::new(|| gst::Caps::new_empty_simple("timestamp/x-unix"));

/// Registers the custom meta. Once per process.
pub fn register() {
    if !gst::meta::CustomMeta::is_registered(FRAME_META) {
        gst::meta::CustomMeta::register_simple(FRAME_META);
    }
}

/// Attaches `info` to `buffer`; `unix` where rig time counts from the Unix epoch.
pub fn attach(buffer: &mut gst::BufferRef, info: &FrameInfo, period: Span, unix: bool) {
    let time = clock_time(info.rig_time_ns);
    let duration = gst::ClockTime::from_nseconds(period.as_nanos().unsigned_abs());
    let references = [Some(&RIG_TIME_CAPS), unix.then_some(&UNIX_TIME_CAPS)];
    for caps in references.into_iter().flatten() {
        gst::ReferenceTimestampMeta::add(buffer, caps, time, duration);
    }
    let mut meta =
        gst::meta::CustomMeta::add(buffer, FRAME_META).expect("registered when the plugin was loaded");
    let structure = meta.mut_structure();
    structure.set("frame-number", info.number);
    structure.set("phase-error", info.phase_error_ns.as_nanos());
    structure.set("sync", info.sync.as_str());
    structure.set("lock", info.lock.as_str());
    let optional = [
        ("clock-uncertainty", info.clock_uncertainty_ns.map(Span::as_nanos)),
        ("exposure", info.exposure_ns.map(Span::as_nanos)),
        ("sensor-time", info.sensor_time_ns.map(Timestamp::as_nanos)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            structure.set(name, value);
        }
    }
    if let Some(gain) = info.analogue_gain {
        structure.set("analogue-gain", gain);
    }
}

/// The rig time that `buffer` carries.
#[must_use]
pub fn rig_time_of(buffer: &gst::BufferRef) -> Option<Timestamp<Rig>> {
    buffer
        .iter_meta::<gst::ReferenceTimestampMeta>()
        .find(|meta| meta.reference() == RIG_TIME_CAPS.as_ref())
        .map(|meta| rig_time(meta.timestamp()))
}

/// What a buffer's custom meta says of the frame beside its number and time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Details {
    /// Uncertainty of the clock when the frame was taken.
    pub clock_uncertainty: Option<Span>,
    /// How well the device knew rig time.
    pub sync: SyncQuality,
    /// Whether the camera was on the grid.
    pub lock: LockState,
    /// Exposure time.
    pub exposure: Option<Span>,
    /// Analogue gain.
    pub analogue_gain: Option<f64>,
    /// The sensor's own timestamp.
    pub sensor_time: Option<Timestamp<Boottime>>,
}

/// The details that `buffer` carries, if its metas came through whatever is upstream.
#[must_use]
pub fn details_of(buffer: &gst::BufferRef) -> Option<Details> {
    let meta = gst::meta::CustomMeta::from_buffer(buffer, FRAME_META).ok()?;
    let structure = meta.structure();
    let span = |name: &str| structure.get::<i64>(name).ok().map(Span::from_nanos);
    Some(Details {
        clock_uncertainty: span("clock-uncertainty"),
        sync: SyncQuality::from_name(structure.get("sync").ok()?)?,
        lock: LockState::from_name(structure.get("lock").ok()?)?,
        exposure: span("exposure"),
        analogue_gain: structure.get("analogue-gain").ok(),
        sensor_time: structure.get::<i64>("sensor-time").ok().map(Timestamp::from_nanos),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_attached_reads_back() {
        gst::init().unwrap();
        register();
        let info = FrameInfo {
            number: 54_000_000_001,
            rig_time_ns: Timestamp::from_nanos(1_800_000_000_033_333_333),
            phase_error_ns: Span::from_nanos(-12),
            clock_uncertainty_ns: Some(Span::from_micros(20)),
            sync: SyncQuality::Synced,
            lock: LockState::Locked,
            exposure_ns: None,
            analogue_gain: Some(2.0),
            sensor_time_ns: Some(Timestamp::from_nanos(77)),
        };
        let mut buffer = gst::Buffer::new();
        attach(buffer.get_mut().unwrap(), &info, Span::from_millis(33), true);
        assert_eq!(rig_time_of(&buffer), Some(info.rig_time_ns));
        let details = details_of(&buffer).unwrap();
        assert_eq!(details.clock_uncertainty, info.clock_uncertainty_ns);
        assert_eq!((details.sync, details.lock), (info.sync, info.lock));
        assert_eq!((details.exposure, details.analogue_gain), (None, Some(2.0)));
        assert_eq!(details.sensor_time, info.sensor_time_ns);
        assert_eq!(details_of(&gst::Buffer::new()), None);
    }
}
