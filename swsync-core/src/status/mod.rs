//! What a device reports about itself: its clock, frames, storage and open orders.
//!
//! [`Readiness`] judges from a status whether the device could serve an order, and [`RigAgreement`] whether the devices of
//! a rig agree on time scale and frame rate.

mod agreement;
mod clock_log;
mod host;
mod ready;
#[cfg(test)]
mod testing;
mod timescale_change;

use serde::{Deserialize, Serialize};

pub use agreement::{LeaderSplit, RigAgreement, TimedStatus};
pub use clock_log::ClockLog;
pub use host::{
    CameraMode, CameraStatus, HOT_CELSIUS, HostStatus, LITTLE_RECORDING, MAX_WIFI, TimedError, Versions,
    WEAK_SIGNAL_DBM, WifiStatus,
};
pub use ready::{MAX_SILENCE, MAX_UNCERTAINTY, MIN_RECORDING, Quorum, Readiness};
pub use timescale_change::{TimeScaleChange, TimeScaleHistory};

use crate::bounded;
use crate::frame::{FrameInfo, SyncState};
use crate::grid::{FrameGrid, FrameNumber};
use crate::message::TimeScale;
use crate::name::DeviceId;
use crate::ntp::RigField;
use crate::order::{MAX_OPEN, OrderProgress};
use crate::place::DevicePlace;
use crate::rig_date::RigDate;
use crate::time::{Rig, Span, Timestamp};
use crate::time_service::ClockUpdate;

/// Most lines of text of one kind in a status.
pub const MAX_LINES: usize = 64;

/// The clock of a device.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClockStatus {
    /// How well it knows rig time.
    pub quality: SyncState,
    /// Rig time when this was written.
    pub rig_time_ns: Timestamp<Rig>,
    /// Rig time minus local time.
    pub offset_ns: Span,
    /// Uncertainty of rig time, 1 sigma.
    pub uncertainty_ns: Option<Span>,
    /// Rate of the rig clock relative to the local clock, minus one, in parts per million.
    pub skew_ppm: f64,
    /// Last round trip to the server.
    pub round_trip_ns: Option<Span>,
    /// The server. `None`: the clock is not synced, or is not swsync's.
    pub source: Option<TimeSource>,
    /// Id of the time server on this device, as [`TimeSource::leader`] names it. `None`: it serves no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<u64>,
    /// The [`path_offset`](crate::time_service::ClientConfig::path_offset) that is set on this device.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub path_offset_ns: Span,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(span: &Span) -> bool {
    *span == Span::ZERO
}

impl ClockStatus {
    /// The time scale of the clock, if it states one.
    #[must_use]
    pub fn timescale(&self) -> Option<TimeScale> {
        self.source.map(|source| TimeScale(source.timescale))
    }
}

/// The server that a clock follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TimeSource {
    /// Servers between the device and the primary source: 1 for a client of the leader itself.
    pub stratum: u8,
    /// Id of the leader.
    pub leader: u64,
    /// Id of the time scale.
    pub timescale: u64,
    /// Least round trip among the exchanges that the estimate rests on. An asymmetry of the path, which no two-way
    /// exchange can see, is within half of it.
    pub least_delay_ns: Span,
}

impl ClockUpdate {
    /// The source of this time, if the server states it.
    #[must_use]
    pub fn source(&self) -> Option<TimeSource> {
        let RigField { leader, timescale, .. } = self.upstream.field?;
        let least_delay_ns = self.estimate.least_delay;
        Some(TimeSource { stratum: self.upstream.stratum, leader, timescale, least_delay_ns })
    }
}

/// The frames of a device, and its frame ring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FrameStatus {
    /// The newest frame.
    pub newest: FrameInfo,
    /// Frames per second as (numerator, denominator): the grid that the frames are numbered on.
    pub rate: FrameGrid,
    /// Bytes of frames per second.
    pub bytes_per_second: u64,
    /// Frames in the ring.
    pub ring_frames: usize,
    /// Bytes in the ring.
    pub ring_bytes: usize,
    /// Number of the oldest frame in the ring.
    pub oldest: FrameNumber,
    /// Longest time from a frame's instant to its arrival: exposure, and what encoders hold back.
    #[serde(default)]
    pub latency_ns: Span,
}

/// The file system that a device writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StorageStatus {
    /// Free bytes.
    pub free_bytes: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: usize,
    /// Most bytes that may wait. Beyond it frames wait in the ring, and are lost once they leave it.
    pub queue_limit_bytes: usize,
    /// Files that are kept of each order; beyond it the oldest are removed. `None`: all are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_files: Option<u32>,
}

impl StorageStatus {
    /// How long frames of so many bytes per second fit on the disk. `None`: there are no frames.
    #[must_use]
    pub fn recording_left(&self, bytes_per_second: u64) -> Option<Span> {
        let seconds = self.free_bytes.checked_div(bytes_per_second)?;
        Some(Span::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)))
    }
}

/// A device's answer to a status query.
///
/// Fields that came later than version 0.1.0 are optional, and fields that are not known are ignored: older and newer versions
/// understand each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// The device.
    pub device: DeviceId,
    /// Its version of swsync.
    #[serde(deserialize_with = "bounded::text")]
    pub software: String,
    /// Its clock, once its pipeline has one.
    pub clock: Option<ClockStatus>,
    /// Its frames, once there is one.
    pub frames: Option<FrameStatus>,
    /// Its storage, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
    /// The machine that it runs on, if that was read lately: it is read while somebody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostStatus>,
    /// Its camera, once there is a frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub camera: Option<CameraStatus>,
    /// How long it can record until its disk is full, at the data rate of the frames in its ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording_left_ns: Option<Span>,
    /// What else it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<Versions>,
    /// The last error of its pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<TimedError>,
    /// Orders that it has not answered yet.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_OPEN>")]
    pub open: Vec<OrderProgress>,
    /// Frames saved since it started.
    pub saved: u64,
    /// Frames missed or failed since it started.
    pub missed: u64,
    /// Other problems, as text for the operator: a folder that cannot be written to, for instance.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::texts::<_, MAX_LINES>"
    )]
    pub problems: Vec<String>,
    /// Devices that were refused lately because they came with this device's id: a line of text for each.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::texts::<_, MAX_LINES>"
    )]
    pub refused: Vec<String>,
    /// The time scale that its clock has left lately, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timescale_change: Option<TimeScaleChange>,
    /// What date the time scale of its clock stands for, if somebody has said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<RigDate>,
    /// Its group and place in the rig, as far as it has been given any.
    #[serde(default, skip_serializing_if = "DevicePlace::is_unset")]
    pub place: DevicePlace,
}

impl Status {
    /// That of `device`, which runs this version of swsync, before anything else is known.
    #[must_use]
    pub fn new(device: DeviceId, software: impl Into<String>) -> Self {
        Self {
            device,
            software: software.into(),
            clock: None,
            frames: None,
            storage: None,
            host: None,
            camera: None,
            recording_left_ns: None,
            versions: None,
            last_error: None,
            open: Vec::new(),
            saved: 0,
            missed: 0,
            problems: Vec::new(),
            refused: Vec::new(),
            timescale_change: None,
            date: None,
            place: DevicePlace::default(),
        }
    }

    /// What the operator should do something about although the device is ready, as text: what its host complains of, little recording
    /// time, the last error.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.host.as_ref().map(HostStatus::warnings).unwrap_or_default();
        warnings.extend(self.little_recording());
        warnings.extend(self.last_error.as_ref().map(|error| self.describe(error)));
        warnings
    }

    /// Below [`MIN_RECORDING`] the device is not ready, which is said elsewhere. A loop recording makes room for itself.
    fn little_recording(&self) -> Option<String> {
        let is_loop = self.storage.as_ref().is_some_and(|storage| storage.max_files.is_some());
        let left = self.recording_left_ns.filter(|_| !is_loop)?;
        (MIN_RECORDING..LITTLE_RECORDING).contains(&left).then(|| {
            format!("its disk has room for {:.0} min of recording", (left.as_secs_f64() / 60.0).floor())
        })
    }

    fn describe(&self, error: &TimedError) -> String {
        let since = self.clock.zip(error.rig_time_ns).map(|(clock, then)| clock.rig_time_ns - then);
        match since.filter(|since| !since.is_negative()) {
            Some(since) => format!("last error, {:.0} s ago: {}", since.as_secs_f64(), error.text),
            None => format!("last error: {}", error.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{decode, encode};
    use crate::status::testing::status;

    /// All fields that came later than 0.1.0.
    fn full() -> Status {
        let mut full = status("pi", Some(7), 30);
        full.host = Some(HostStatus {
            age_ns: Span::from_millis(700),
            board: Some("Raspberry Pi 5".into()),
            temperature_celsius: Some(61.5),
            throttled: Some(false),
            cpu_load: Some(0.25),
            wifi: vec![WifiStatus { interface: "wlan0".into(), signal_dbm: Some(-60), ..Default::default() }],
            ..HostStatus::default()
        });
        full.camera = Some(CameraStatus {
            model: Some("imx708".into()),
            mode: Some(CameraMode {
                width: 2304,
                height: 1296,
                rate: FrameGrid::new(30, 1).unwrap(),
                format: "image/jpeg".into(),
            }),
            exposure_ns: Some(Span::from_micros(5_000)),
            analogue_gain: Some(2.0),
        });
        full.recording_left_ns = Some(Span::from_secs(4_000));
        full.versions = Some(Versions { kernel: Some("6.12".into()), ..Versions::default() });
        full.last_error = Some(TimedError { text: "no".into(), rig_time_ns: Some(Timestamp::ZERO) });
        full
    }

    #[test]
    fn a_status_keeps_all_fields() {
        assert_eq!(decode::<Status>(&encode(&full())).unwrap(), full());
    }

    #[test]
    fn a_status_of_an_older_version_lacks_what_came_later() {
        // As version 0.1.0 wrote it.
        let old = r#"{"v":2,"device":"pi","software":"0.1.0","clock":null,"frames":null,"open":[],"saved":1,"missed":2}"#;
        let old: Status = decode(old.as_bytes()).unwrap();
        assert_eq!((old.saved, old.missed, old.host.as_ref(), old.camera.as_ref()), (1, 2, None, None));
        assert!(old.warnings().is_empty() && old.recording_left_ns.is_none() && old.versions.is_none());
    }

    #[test]
    fn a_status_of_a_newer_version_has_fields_that_are_ignored() {
        let mut newer: serde_json::Value = serde_json::from_slice(&encode(&full())).unwrap();
        newer["mood"] = "fine".into();
        newer["host"]["fan_rpm"] = 900.into();
        newer["host"]["wifi"][0]["ssid"] = "rig".into();
        newer["camera"]["mode"]["bits"] = 10.into();
        newer["versions"]["zenoh"] = "1.5".into();
        assert_eq!(decode::<Status>(newer.to_string().as_bytes()).unwrap(), full());
    }

    #[test]
    fn an_older_version_reads_a_status_of_this_one() {
        /// The required fields of a status in version 0.1.0.
        #[derive(serde::Deserialize)]
        struct OldStatus {
            device: DeviceId,
            clock: Option<ClockStatus>,
            frames: Option<FrameStatus>,
            saved: u64,
        }
        let old: OldStatus = decode(&encode(&full())).unwrap();
        assert_eq!((old.device, old.saved), (full().device, 0));
        assert_eq!((old.clock, old.frames), (full().clock, full().frames));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let why = |json: &str| decode::<Status>(json.as_bytes()).unwrap_err().to_string();
        let newer = why(r#"{"v":3,"device":"pi"}"#);
        assert_eq!(newer, "message version 3, but this swsync speaks 2: update the older device");
        let lacks =
            why(r#"{"v":2,"device":"pi","software":"0.1.0","clock":null,"frames":null,"open":[],"saved":1}"#);
        assert!(lacks.contains("missing field `missed`"), "{lacks}");
    }

    #[test]
    fn little_recording_time_is_a_warning_until_it_is_a_problem() {
        let left = |secs| {
            let recording_left_ns = Some(Span::from_secs(secs));
            Status { recording_left_ns, ..status("pi", None, 30) }.warnings().join("; ")
        };
        assert_eq!(left(600), "");
        assert_eq!(left(599), "its disk has room for 9 min of recording");
        assert_eq!(left(60), "its disk has room for 1 min of recording");
        assert_eq!(left(59), "", "the device is not ready, and says why");
        let mut looping = Status { recording_left_ns: Some(Span::from_secs(99)), ..status("pi", None, 30) };
        looping.storage =
            Some(StorageStatus { free_bytes: 1, queued_bytes: 0, queue_limit_bytes: 1, max_files: Some(3) });
        assert!(looping.warnings().is_empty());
    }

    #[test]
    fn the_last_error_is_told_with_its_age() {
        let mut failed = status("pi", None, 30);
        let now = failed.clock.unwrap().rig_time_ns;
        let error = |rig_time_ns| Some(TimedError { text: "the camera is gone".into(), rig_time_ns });
        failed.last_error = error(Some(now - Span::from_secs(12)));
        assert_eq!(failed.warnings(), ["last error, 12 s ago: the camera is gone"]);
        failed.last_error = error(None);
        assert_eq!(failed.warnings(), ["last error: the camera is gone"]);
    }
}
