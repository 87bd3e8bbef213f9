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

/// A device's answer to a status query.
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
}
