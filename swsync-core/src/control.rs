//! The control plane's messages: what travels between devices, apart from time itself.
//!
//! Every message carries [`VERSION`]; [`decode`] checks it, and each type validates its fields while it
//! is parsed, so that what the rest of the program sees can be trusted.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::frame::{FrameInfo, SyncState};
use crate::grid::{FrameGrid, FrameNumber};
use crate::name::DeviceId;
use crate::ntp::RigField;
use crate::order::Progress;
use crate::time::{Rig, Span, Timestamp};
use crate::time_service::ClockUpdate;

/// Version of the messages in this module. A receiver refuses others by name.
pub const VERSION: u16 = 2;

/// Longest message that is looked at, in bytes: the longest answer has a quarter of it.
pub const MAX_MESSAGE: usize = 8 << 20;

/// Why bytes from the network are not a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than any valid message.
    #[error("a message of {0} bytes is longer than the {MAX_MESSAGE} allowed")]
    TooLong(usize),
    /// Not JSON, or a field is missing, mistyped or out of range.
    #[error("malformed message: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Sent by another version of swsync.
    #[error("message version {got}, but this swsync speaks {VERSION}: update the older device")]
    Version {
        /// What the message says.
        got: u16,
    },
}

/// A message on its way.
#[derive(Serialize, Deserialize)]
struct Envelope<M> {
    #[serde(rename = "v")]
    version: u16,
    #[serde(flatten)]
    message: M,
}

#[derive(Deserialize)]
struct VersionOnly {
    #[serde(rename = "v")]
    version: u16,
}

/// The bytes of `message`, as JSON with a version.
#[must_use]
pub fn encode<M: Serialize>(message: &M) -> Vec<u8> {
    serde_json::to_vec(&Envelope { version: VERSION, message })
        .expect("messages are plain structs with string keys, which JSON can hold")
}

/// The message in `bytes`.
///
/// # Errors
/// [`MessageError`]: bytes from a network can be anything.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, MessageError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(MessageError::TooLong(bytes.len()));
    }
    let VersionOnly { version } = serde_json::from_slice(bytes)?;
    if version != VERSION {
        return Err(MessageError::Version { got: version });
    }
    Ok(serde_json::from_slice::<Envelope<M>>(bytes)?.message)
}

/// What a device says of its clock. Fields carry their unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// How well it knows rig time.
    pub quality: SyncState,
    /// Rig time when this was written.
    pub rig_time_ns: Timestamp<Rig>,
    /// Rig minus local time.
    pub offset_ns: Span,
    /// What the error of rig time may be, 1 sigma.
    pub uncertainty_ns: Option<Span>,
    /// Rate of the rig's clock against the local one.
    pub skew_ppm: f64,
    /// Last round trip to the server.
    pub round_trip_ns: Option<Span>,
    /// Where its time comes from; unknown to a pipeline with a foreign clock, and before it is synced.
    pub source: Option<TimeSource>,
}

/// Id of a time scale: a random number. Only devices with the same one mean the same by an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeScale(pub u64);

impl std::fmt::Display for TimeScale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where a device's time comes from. Devices with the same time scale mean the same by an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeSource {
    /// Servers between the device and the primary source: 1 for who follows the leader itself.
    pub stratum: u8,
    /// Id of the leader.
    pub leader: u64,
    /// Id of the time scale: a random number.
    pub timescale: u64,
    /// The least round trip to the server that the estimate rests on: what no two-way exchange can see is
    /// within half of it.
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

impl ClockStatus {
    /// The time scale that it reads, if it says which.
    #[must_use]
    pub fn timescale(&self) -> Option<TimeScale> {
        self.source.map(|source| TimeScale(source.timescale))
    }
}

/// What a device says of its camera and files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameStatus {
    /// The newest frame.
    pub newest: FrameInfo,
    /// Frames per second as (numerator, denominator): the grid that its frames are numbered on.
    pub rate: FrameGrid,
    /// Bytes of frames a second.
    pub bytes_per_second: u64,
    /// Frames in the ring.
    pub ring_frames: usize,
    /// Bytes in the ring.
    pub ring_bytes: usize,
    /// Number of the oldest frame in the ring.
    pub oldest: FrameNumber,
    /// How long after their instants frames arrive, at most: exposure, and what encoders hold back.
    #[serde(default)]
    pub latency_ns: Span,
}

/// What a device says of the place that its files go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageStatus {
    /// Bytes that are free there.
    pub free_bytes: u64,
    /// Bytes that wait to be written.
    pub queued_bytes: usize,
    /// Most bytes that may wait: when they do, frames wait in the ring, and are lost once they fall out of it.
    pub queue_limit_bytes: usize,
    /// Files that are kept of each order: when there are more, the oldest go. `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_files: Option<u32>,
}

/// A device's answer to "how are you".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Who speaks.
    pub device: DeviceId,
    /// Version of its swsync.
    pub software: String,
    /// Its clock, once its pipeline has one.
    pub clock: Option<ClockStatus>,
    /// Its frames, once there is one.
    pub frames: Option<FrameStatus>,
    /// Where its files go, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
    /// Orders not yet answered.
    pub open: Vec<Progress>,
    /// Frames saved since it started.
    pub saved: u64,
    /// Frames missed or failed since it started.
    pub missed: u64,
    /// What is wrong with it that nothing else here says, for a person: a folder that cannot be written, say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// Others that came with this device's id lately, and are not in the rig for that reason: what is known of each, for a
    /// person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

impl Status {
    /// Whether an order now would yield aligned frames that can be saved. Of this device alone: whether it agrees
    /// with the others of its rig is told by [`crate::order::Common`].
    #[must_use]
    pub fn is_ready(&self) -> bool {
        crate::order::Readiness::now(self).is_ready()
    }
}

/// Where the leader serves time: what a client without an address asks the rig for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeService {
    /// `address:port` candidates, to be tried in order.
    pub addresses: Vec<std::net::SocketAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn service() -> TimeService {
        TimeService { addresses: vec!["127.0.0.1:11123".parse().unwrap()] }
    }

    #[test]
    fn messages_survive_the_wire() {
        assert_eq!(decode::<TimeService>(&encode(&service())).unwrap(), service());
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let newer = encode(&service());
        let newer = String::from_utf8(newer).unwrap().replace("\"v\":2", "\"v\":7");
        let error = decode::<TimeService>(newer.as_bytes()).unwrap_err();
        assert!(matches!(error, MessageError::Version { got: 7 }), "{error}");
    }

    #[test]
    fn oversized_messages_are_not_even_parsed() {
        let error = decode::<TimeService>(&vec![b' '; MAX_MESSAGE + 1]).unwrap_err();
        assert!(matches!(error, MessageError::TooLong(_)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<crate::order::Order>(&bytes);
            let _ = decode::<crate::order::Answer>(&bytes);
            let _ = decode::<Status>(&bytes);
        }
    }
}
