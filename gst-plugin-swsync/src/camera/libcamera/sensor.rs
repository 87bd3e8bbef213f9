//! Reads a sensor's timing from libcamera's controls, properties and metadata, and sets it.
//!
//! libcamera counts in whole microseconds, sensors in lines, the rest of swsync in nanoseconds. The conversions are here.

use std::fmt;

use ::libcamera::control::{ControlEntry, ControlInfoMap, ControlList, PropertyList};
use ::libcamera::control_value::ControlValue;
use ::libcamera::controls as ids;
use ::libcamera::framebuffer::{AsFrameBuffer, FrameMetadataStatus, OwnedFrameBuffer};
use ::libcamera::framebuffer_allocator::FrameBuffer;
use ::libcamera::properties;
use ::libcamera::request::Request;
use ::libcamera::stream::Stream;
use swsync_core::frame::FrameDetails;
use swsync_core::profile::{CameraProfile, FrameLimits, SensorMode};
use swsync_core::stamps::StampedBy;
use swsync_core::time::{Boottime, Span, Timestamp};
use swsync_time::DeviceClock;

use super::controls;
use crate::camera::{Controls, ExposureControl, Frame, FrameDurationControl};

/// Requests in flight: as many as libcamera's pipeline handlers ask for. At 30 fps that leaves time to take a frame even while
/// another camera is being started.
pub(super) const REQUESTS: u32 = 4;

/// Line time if the sensor or its mode is unknown: the step of libcamera's own control.
const UNKNOWN_LINE_TIME_NS: f64 = 1_000.0;

/// The range of frame durations within libcamera's `limits`, in `mode` if that is known.
pub(super) fn frame_duration_control(
    profile: &CameraProfile,
    mode: Option<&SensorMode>,
    limits: Limits,
) -> FrameDurationControl {
    let line_time_ns = mode.map_or(UNKNOWN_LINE_TIME_NS, |mode| mode.line_time_ns);
    let min_lines = lines((to_nanos(limits.min_us) / line_time_ns).ceil());
    let max_lines = lines((to_nanos(limits.max_us) / line_time_ns).floor());
    // Drivers make longer frames than the mode's longest by doubling the line time.
    let max_lines = mode.map_or(max_lines, |mode| max_lines.min(mode.max_lines));
    FrameDurationControl {
        line_time_ns,
        min_lines,
        // Limits that are less than a line apart have no whole line between them.
        max_lines: max_lines.max(min_lines),
        // A request waits until those queued before it have had their frames.
        latency: REQUESTS + profile.delays.vblank,
        exposure_margin: if mode.is_some() { profile.exposure_margin_lines } else { 0 },
    }
}

/// The range of ExposureTime; `None` if the camera has no such control.
pub(super) fn exposure_control(controls: &ControlInfoMap) -> Option<ExposureControl> {
    let info = controls.find(ids::ExposureTime::ID).ok()?;
    let span = |value| match value {
        ControlValue::Int32(values) => values.first().map(|us| Span::from_micros(i64::from(*us))),
        _ => None,
    };
    let (min, max) = (span(info.min())?, span(info.max())?);
    (min <= max && max > Span::ZERO).then_some(ExposureControl { min, max })
}

fn to_nanos(us: i64) -> f64 {
    Span::from_micros(us).as_nanos_f64()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to int casts saturate, which is what a limit does"
)]
fn lines(lines: f64) -> u32 {
    lines as u32
}

/// `span` in whole microseconds, halves away from zero, at least one.
pub(super) fn to_micros(span: Span) -> i64 {
    let ns = span.as_nanos();
    ns.saturating_add(500).div_euclid(1_000).max(1)
}

/// Shortest and longest frame, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) min_us: i64,
    pub(super) max_us: i64,
}

impl From<Limits> for FrameLimits {
    fn from(Limits { min_us, max_us }: Limits) -> Self {
        Self { min: Span::from_micros(min_us), max: Span::from_micros(max_us) }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one frame takes {} to {} us in this mode", self.min_us, self.max_us)
    }
}

/// The range of FrameDurationLimits; `None` if the camera has no such control.
///
/// Before a camera is configured, a Raspberry Pi states placeholders (33333 to 120000 us).
pub(super) fn frame_duration_limits(controls: &ControlInfoMap) -> Option<Limits> {
    let info = controls.find(ids::FrameDurationLimits::ID).ok()?;
    let first = |value| match value {
        ControlValue::Int64(values) => values.first().copied(),
        _ => None,
    };
    let (min_us, max_us) = (first(info.min())?, first(info.max())?);
    (0 < min_us && min_us <= max_us).then_some(Limits { min_us, max_us })
}

/// The sensor's model name, or `unknown`.
pub(super) fn model(properties: &PropertyList) -> String {
    properties.get::<properties::Model>().map_or_else(|_| "unknown".to_owned(), |model| model.0)
}

/// Whether the camera takes a frame whenever a request is queued, instead of running freely.
///
/// Only libcamera's virtual cameras do. libcamera does not tell which pipeline handler a camera
/// has, and a virtual camera's id and model are free text in `virtual.yaml`. But every hardware camera
/// lists its device nodes in the property SystemDevices, and virtual ones have none.
pub(super) fn takes_frames_on_request(properties: &PropertyList) -> bool {
    properties.get::<properties::SystemDevices>().is_err()
}

/// Sets `wanted` in `list`: a request's controls, or those that a camera starts with.
///
/// A frame duration is set as both shortest and longest, so that auto exposure cannot change it.
/// An exposure also switches auto exposure off: otherwise libcamera would ignore it.
pub(super) fn set_controls(list: &mut ControlList, wanted: Controls, can: Controllable) {
    // `set` does not fail for controls that the camera does not have: libcamera ignores them. Hence `can`.
    if let (Some(duration), true) = (wanted.frame_duration, can.frame_duration) {
        let us = to_micros(duration);
        let _ = list.set(ids::FrameDurationLimits([us, us]));
    }
    if let (Some(exposure), true) = (wanted.exposure, can.exposure) {
        let us = i32::try_from(to_micros(exposure)).unwrap_or(i32::MAX);
        let _ = list.set(ids::AeEnable(false));
        let _ = list.set(ids::ExposureTime(us));
    }
}

/// Which of [`Controls`] the camera has, and whether its frames may report any controls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Controllable {
    frame_duration: bool,
    exposure: bool,
    reports: bool,
}

impl Controllable {
    pub(super) fn of(infos: &ControlInfoMap) -> Self {
        // `count` counts in libcamera's list of all controls, so it does not tell.
        let has = |id| infos.find(id).is_ok();
        Self {
            frame_duration: has(ids::FrameDurationLimits::ID),
            exposure: has(ids::ExposureTime::ID),
            reports: controls::may_be_reported(infos),
        }
    }
}

/// The driver's metadata of a filled frame buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct BufferMetadata {
    /// Its count of frames.
    pub(super) sequence: u32,
    /// In ns.
    pub(super) timestamp: u64,
    /// Part of the picture is damaged.
    pub(super) damaged: bool,
    /// Bytes used in the first plane.
    pub(super) bytes_used: Option<usize>,
}

/// The metadata of the stream's frame buffer in `request`; libcamera has `allocated` it, or swsync has. The virtual camera of
/// libcamera 0.4 gives none.
pub(super) fn filled(request: &Request, stream: &Stream, allocated: bool) -> Option<BufferMetadata> {
    let metadata = if allocated {
        request.buffer::<FrameBuffer>(stream)?.metadata()?
    } else {
        request.buffer::<OwnedFrameBuffer>(stream)?.metadata()?
    };
    Some(BufferMetadata {
        sequence: metadata.sequence(),
        timestamp: metadata.timestamp(),
        damaged: metadata.status() == FrameMetadataStatus::Error,
        bytes_used: metadata.planes().get(0).map(|plane| plane.bytes_used as usize),
    })
}

/// The pictures of one instant.
pub(super) struct Pictures {
    /// By stream.
    pub(super) pictures: Vec<gst::Buffer>,
    /// See [`Frame::copied`].
    pub(super) copied: bool,
    /// The driver's metadata of the first stream's buffer.
    pub(super) filled: Option<BufferMetadata>,
}

/// The driver's time stamp of a frame, by whichever clock it uses, in ns; `None` if it has none.
pub(super) fn stamp(request: &Request, filled: Option<BufferMetadata>) -> Option<i64> {
    let stamp = request.metadata().get::<ids::SensorTimestamp>().map_or(0, |stamp| stamp.0);
    let stamp = match filled {
        Some(filled) if stamp <= 0 => i64::try_from(filled.timestamp).ok()?,
        _ => stamp,
    };
    (stamp > 0).then_some(stamp)
}

/// The frame with these pictures and the host's stamp, and with the metadata of `request`.
pub(super) fn frame(
    pictures: Pictures,
    request: &Request,
    (stamp, stamped_by): (Timestamp<Boottime>, StampedBy),
    sequence: &mut Sequence,
    can: Controllable,
) -> Frame {
    let (metadata, filled) = (request.metadata(), pictures.filled);
    // A virtual camera reports only the time.
    let more = (metadata.len() > 1).then_some(metadata);
    let exposure = more.and_then(|metadata| metadata.get::<ids::ExposureTime>().ok());
    let analogue_gain = more.and_then(|metadata| metadata.get::<ids::AnalogueGain>().ok());
    Frame {
        pictures: pictures.pictures,
        copied: pictures.copied,
        sequence: sequence.next(filled.map(|filled| filled.sequence)),
        sensor_time: boottime(stamp),
        stamped_by,
        exposure: exposure.map(|us| Span::from_micros(i64::from(us.0))),
        analogue_gain: analogue_gain.map(|gain| f64::from(gain.0)),
        reported: if can.reports { controls::reported(metadata) } else { Vec::new() },
        details: more.map_or_else(FrameDetails::default, details),
    }
}

/// Boot time of this process's device, whose clocks may be simulated, at the host's boot time `stamp`.
fn boottime(stamp: Timestamp<Boottime>) -> Timestamp<Boottime> {
    // If the simulation cannot be set up, the element does not start.
    DeviceClock::of_this_process().map_or(stamp, |device| device.boottime_from_host(stamp))
}

/// What `metadata` says of a frame, except for exposure and analogue gain. Names and units are those of libcamera's
/// `control_ids_core.yaml`.
fn details(metadata: &ControlList) -> FrameDetails {
    let frame_duration = metadata.get::<ids::FrameDuration>().ok();
    let colour_gains = metadata.get::<ids::ColourGains>().ok();
    FrameDetails {
        frame_duration_ns: frame_duration.map(|us| Span::from_micros(us.0)),
        digital_gain: metadata.get::<ids::DigitalGain>().ok().map(|gain| gain.0),
        colour_gains: colour_gains.map(|gains| gains.0),
        colour_temperature_k: metadata.get::<ids::ColourTemperature>().ok().map(|kelvin| kelvin.0),
        sensor_temperature_c: metadata.get::<ids::SensorTemperature>().ok().map(|celsius| celsius.0),
        lens_position_dpt: metadata.get::<ids::LensPosition>().ok().map(|dioptres| dioptres.0),
        focus_fom: metadata.get::<ids::FocusFoM>().ok().map(|fom| fom.0),
        lux: metadata.get::<ids::Lux>().ok().map(|lux| lux.0),
        ..FrameDetails::default()
    }
}

/// Controls that libcamera's own synchronisation of cameras reports while it is on (Raspberry Pi's, since
/// libcamera 0.5.2). Their ids differ from version to version.
const SYNC_REPORTS: [&str; 2] = ["SyncReady", "SyncTimer"];

/// Whether libcamera itself synchronises this camera with others (`rpi::SyncMode`).
pub(super) fn is_synchronised_elsewhere(metadata: &ControlList) -> bool {
    reports_any(metadata, &SYNC_REPORTS)
}

/// Whether `metadata` has a control of one of these names.
fn reports_any(metadata: &ControlList, names: &[&str]) -> bool {
    let known = metadata.id_map().and_then(|known| known.iter());
    known.is_some_and(|mut known| {
        known.any(|(id, control)| names.contains(&control.name()) && metadata.contains(id))
    })
}

/// The driver's 32 bit frame count, extended to 64 bit. If the driver has none, frames are counted here.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    last: Option<u64>,
}

impl Sequence {
    /// The number of a frame that the driver numbers `raw`. It is larger than the one before.
    pub(super) fn next(&mut self, raw: Option<u32>) -> u64 {
        const MODULUS: u64 = 1 << 32;
        let next = match (self.last, raw) {
            (None, raw) => u64::from(raw.unwrap_or(0)),
            (Some(last), None) => last + 1,
            (Some(last), Some(raw)) => {
                let step = (u64::from(raw) + MODULUS - last % MODULUS) % MODULUS;
                // A count that stands still or goes backwards is not used.
                let step = if (1..MODULUS / 2).contains(&step) { step } else { 1 };
                last + step
            }
        };
        self.last = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_controls_are_found_by_name() {
        let mut metadata = ControlList::new();
        assert!(!reports_any(&metadata, &["ExposureTime"]));
        metadata.set(ids::ExposureTime(100)).unwrap();
        if metadata.id_map().is_some() {
            assert!(reports_any(&metadata, &["SyncReady", "ExposureTime"]));
        }
        assert!(!reports_any(&metadata, &["AnalogueGain"]));
        assert!(!is_synchronised_elsewhere(&metadata));
    }

    #[test]
    fn spans_become_whole_microseconds() {
        let micros = |ns| to_micros(Span::from_nanos(ns));
        assert_eq!(micros(33_333_333), 33_333);
        assert_eq!(micros(33_333_499), 33_333);
        assert_eq!(micros(33_333_500), 33_334);
        assert_eq!(micros(0), 1);
        assert_eq!(micros(-7_000), 1);
        assert_eq!(micros(i64::MAX), i64::MAX / 1_000);
    }

    fn control(model: &str, limits: Limits) -> FrameDurationControl {
        let profile = CameraProfile::of_model(model);
        frame_duration_control(&profile, profile.mode_by_limits(limits.into()).as_ref(), limits)
    }

    #[test]
    fn limits_round_inwards_to_lines() {
        // 1336 and 65535 lines of 13.3607 us, as libcamera truncates them.
        let limits = Limits { min_us: 17_849, max_us: 875_590 };
        let control = control("imx708_wide", limits);
        assert!((control.line_time_ns - 13_360.66).abs() < 0.02, "{control:?}");
        assert_eq!((control.min_lines, control.latency, control.exposure_margin), (1336, REQUESTS + 3, 48));
        assert!((65_534..=65_535).contains(&control.max_lines), "{control:?}");
    }

    #[test]
    fn frames_are_no_longer_than_the_modes_longest() {
        // The driver doubles exposures and lines up to 128 times.
        let limits = Limits { min_us: 19_989, max_us: 654_000_000 };
        assert_eq!(control("imx477", limits).max_lines, 0xffdc);
    }

    #[test]
    fn frames_of_unknown_sensors_are_set_in_microseconds() {
        for model in ["imx219", "ov9281", "imx999"] {
            let control = control(model, Limits { min_us: 16_666, max_us: i64::MAX });
            assert!((control.line_time_ns - 1_000.0).abs() < 1e-9, "{model}");
            assert_eq!(
                (control.min_lines, control.max_lines, control.latency),
                (16_666, u32::MAX, REQUESTS + 2)
            );
        }
        let single = control("imx999", Limits { min_us: 33_333, max_us: 33_333 });
        assert_eq!((single.min_lines, single.max_lines), (33_333, 33_333));
    }

    #[test]
    fn sequence_numbers_continue_over_wraps_and_always_rise() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.next(Some(u32::MAX - 1)), 0xffff_fffe);
        assert_eq!(sequence.next(Some(2)), 0x1_0000_0002, "four frames, one wrap");
        assert_eq!(sequence.next(Some(2)), 0x1_0000_0003, "stands still");
        assert_eq!(sequence.next(Some(0)), 0x1_0000_0004, "runs backwards");
        assert_eq!(sequence.next(None), 0x1_0000_0005);
        assert_eq!(Sequence::default().next(None), 0);
    }
}
