//! Valid statuses for tests.

use super::{ClockStatus, FrameStatus, Status, TimeSource};
use crate::frame::SyncState;
use crate::order::testing::{info, name, rate};
use crate::time::Span;

/// A synced device on this time scale, with frames at this rate and no storage.
pub fn status(device: &str, timescale: Option<u64>, frames: u32) -> Status {
    let newest = info(54_000_000_000);
    let source = |timescale| TimeSource { stratum: 1, leader: 1, timescale, least_delay_ns: Span::ZERO };
    Status {
        clock: Some(ClockStatus {
            quality: SyncState::Synced,
            rig_time_ns: newest.rig_time_ns,
            offset_ns: Span::ZERO,
            uncertainty_ns: None,
            skew_ppm: 0.0,
            round_trip_ns: None,
            source: timescale.map(source),
            server: None,
            path_offset_ns: Span::ZERO,
        }),
        frames: Some(FrameStatus {
            newest,
            rate: rate(frames),
            bytes_per_second: 1,
            ring_frames: 1,
            ring_bytes: 1,
            oldest: 54_000_000_000,
            latency_ns: Span::ZERO,
        }),
        ..Status::new(name(device), "test")
    }
}
