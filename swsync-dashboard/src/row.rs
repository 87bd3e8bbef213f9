//! A device as the page shows it: rounded, so that what has not changed for an eye has not changed.

use serde::Serialize;
use swsync_client::{RigSnapshot, StatusReport, rig_time};
use swsync_core::certificate;
use swsync_core::name::{DeviceId, Name, OrderId};
use swsync_core::order::OrderProgress;
use swsync_core::status::{FrameStatus, Status};
use swsync_core::time::Span;

/// What is known of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DeviceCondition {
    /// It could serve an order.
    Ready,
    /// It answers, and could not serve an order, or differs from the others: `problems` says why.
    NotReady,
    /// It does not answer. All other values are the last that it told.
    Silent,
}

/// A device at a glance. Values that are not known are null.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceRow {
    /// What is known of it.
    pub condition: DeviceCondition,
    /// For how long it has not answered, in seconds.
    pub silent_s: Option<u64>,
    /// Why it is not ready, or does not answer.
    pub problems: Vec<String>,
    /// What the operator should know although it could serve an order.
    pub warnings: Vec<String>,
    /// Its group.
    pub group: Option<Name>,
    /// Its place in the group.
    pub place: Option<u32>,
    /// How well its clock knows rig time.
    pub clock: Option<&'static str>,
    /// What the error of its clock may be, 1 sigma, in microseconds.
    pub clock_us: Option<f64>,
    /// The last round trip to its time server, in microseconds.
    pub round_trip_us: Option<f64>,
    /// The leader whose time it has.
    pub leader: Option<String>,
    /// Whether its camera is on the frame grid.
    pub lock: Option<&'static str>,
    /// Time of its newest frame minus the grid instant, in microseconds.
    pub phase_us: Option<f64>,
    /// How far its newest frame may be from the instant of its number, in microseconds. Null: nothing proves a bound.
    pub bound_us: Option<f64>,
    /// Frames per second of its grid.
    pub fps: Option<f64>,
    /// Exposure time of its newest frame, in microseconds.
    pub exposure_us: Option<f64>,
    /// Analogue gain of its newest frame.
    pub gain: Option<f64>,
    /// How far back orders can reach, in seconds.
    pub ring_s: Option<f64>,
    /// Memory of its ring, in megabytes.
    pub ring_mb: Option<f64>,
    /// Recording time until its disk is full, in seconds.
    pub left_s: Option<i64>,
    /// Its hottest sensor, in degrees Celsius.
    pub celsius: Option<f64>,
    /// The load of its processors, in percent.
    pub load_percent: Option<f64>,
    /// Strength of its WiFi signal, in dBm.
    pub signal_dbm: Option<i32>,
    /// Its version of swsync.
    pub version: Option<String>,
    /// Model and pictures of its camera.
    pub camera: Option<String>,
    /// Frames saved since it started.
    pub saved: u64,
    /// Frames missed or failed since it started.
    pub missed: u64,
    /// Orders that it has not answered yet.
    pub open: Vec<OpenOrder>,
}

/// How far a device is with an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OpenOrder {
    /// The order.
    pub order: OrderId,
    /// When it begins, in milliseconds of rig time since 1970.
    pub at_ms: i64,
    /// How many frames it names. Null: it goes on until it is stopped.
    pub named: Option<u64>,
    /// Frames saved.
    pub saved: u64,
    /// Frames lost.
    pub lost: u64,
    /// Why the last was lost.
    pub why: Option<String>,
}

/// `value` with so many digits behind the point.
fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

fn micros(span: Span) -> f64 {
    rounded(span.as_micros_f64(), 1)
}

impl From<&OrderProgress> for OpenOrder {
    fn from(progress: &OrderProgress) -> Self {
        Self {
            order: progress.order.clone(),
            at_ms: progress.at_ns.as_nanos() / 1_000_000,
            named: progress.named,
            saved: progress.saved,
            lost: progress.lost,
            why: progress.why.clone(),
        }
    }
}

impl DeviceRow {
    /// The row of a device that answered.
    pub fn of(report: &StatusReport, snapshot: &RigSnapshot) -> Self {
        let status = &report.status;
        let mut problems = snapshot.objections(status);
        problems.extend(status.refused.iter().cloned());
        let condition = match problems.is_empty() {
            true => DeviceCondition::Ready,
            false => DeviceCondition::NotReady,
        };
        let row = Self { condition, problems, warnings: status.warnings(), ..Self::silent(String::new(), 0) };
        let source = status.clock.and_then(|clock| clock.source);
        Self {
            silent_s: None,
            leader: source.map(|source| snapshot.common.leader_name(source.leader)),
            group: status.place.group.clone(),
            place: status.place.place,
            version: Some(status.software.clone()),
            left_s: status.recording_left_ns.map(|left| left.as_nanos() / 1_000_000_000),
            saved: status.saved,
            missed: status.missed,
            open: status.open.iter().map(Into::into).collect(),
            ..row
        }
        .with_clock(status)
        .with_frames(status)
        .with_host(status)
    }

    /// The row of a device that never answered.
    pub fn silent(why: String, seconds: u64) -> Self {
        Self {
            condition: DeviceCondition::Silent,
            silent_s: Some(seconds),
            problems: vec![why],
            warnings: Vec::new(),
            group: None,
            place: None,
            clock: None,
            clock_us: None,
            round_trip_us: None,
            leader: None,
            lock: None,
            phase_us: None,
            bound_us: None,
            fps: None,
            exposure_us: None,
            gain: None,
            ring_s: None,
            ring_mb: None,
            left_s: None,
            celsius: None,
            load_percent: None,
            signal_dbm: None,
            version: None,
            camera: None,
            saved: 0,
            missed: 0,
            open: Vec::new(),
        }
    }

    /// The same once the device has not answered for so long: what it told last, marked as such.
    #[must_use]
    pub fn fallen_silent(self, why: String, seconds: u64) -> Self {
        let condition = DeviceCondition::Silent;
        Self { condition, silent_s: Some(seconds), problems: vec![why], warnings: Vec::new(), ..self }
    }

    fn with_clock(self, status: &Status) -> Self {
        let Some(clock) = &status.clock else { return self };
        Self {
            clock: Some(clock.quality.as_str()),
            clock_us: clock.uncertainty_ns.map(micros),
            round_trip_us: clock.round_trip_ns.map(|trip| rounded(trip.as_micros_f64(), 0)),
            ..self
        }
    }

    fn with_frames(self, status: &Status) -> Self {
        let Some(frames) = &status.frames else { return self };
        let newest = &frames.newest;
        let (count, seconds) = frames.rate.rate();
        #[expect(clippy::cast_precision_loss, reason = "some hundred megabytes, for an eye")]
        let ring_mb = rounded(frames.ring_bytes as f64 / 1e6, 0);
        Self {
            lock: newest.lock.map(|lock| lock.as_str()),
            phase_us: Some(micros(newest.phase_error_ns)),
            bound_us: certificate::bound(newest).map(micros),
            fps: Some(rounded(f64::from(count) / f64::from(seconds), 3)),
            exposure_us: newest.exposure_ns.map(|exposure| rounded(exposure.as_micros_f64(), 0)),
            gain: newest.analogue_gain.map(|gain| rounded(gain, 2)),
            ring_s: ring(frames).map(|span| rounded(span.as_secs_f64(), 1)),
            ring_mb: Some(ring_mb),
            ..self
        }
    }

    fn with_host(self, status: &Status) -> Self {
        let host = status.host.as_ref();
        let camera = status.camera.as_ref().map(|camera| {
            let mode =
                camera.mode.as_ref().map(|mode| format!("{}x{} {}", mode.width, mode.height, mode.format));
            camera.model.iter().cloned().chain(mode).collect::<Vec<_>>().join(", ")
        });
        Self {
            celsius: host.and_then(|host| host.temperature_celsius).map(|celsius| rounded(celsius, 0)),
            load_percent: host.and_then(|host| host.cpu_load).map(|load| rounded(load * 100.0, 0)),
            signal_dbm: host.and_then(|host| host.wifi.iter().filter_map(|wifi| wifi.signal_dbm).min()),
            camera: camera.filter(|camera| !camera.is_empty()),
            ..self
        }
    }
}

/// From the oldest frame to the newest.
fn ring(frames: &FrameStatus) -> Option<Span> {
    let periods = frames.newest.number.checked_sub(frames.oldest)?;
    Some(rig_time::period(&frames.newest)? * i64::try_from(periods).ok()?)
}

/// The rows of all devices of a snapshot that answered.
pub fn rows(snapshot: &RigSnapshot) -> impl Iterator<Item = (DeviceId, DeviceRow)> {
    snapshot.reports.iter().map(|report| (report.status.device.clone(), DeviceRow::of(report, snapshot)))
}
