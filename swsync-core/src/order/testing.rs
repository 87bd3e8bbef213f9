//! Valid values for tests.

use crate::frame::{FrameInfo, LockState, SyncQuality};
use crate::grid::FrameNumber;
use crate::time::{Span, Timestamp};

/// A frame of a synced device whose camera is locked.
pub fn info(number: FrameNumber) -> FrameInfo {
    FrameInfo {
        clock_uncertainty_ns: Some(Span::from_micros(20)),
        sync: SyncQuality::Synced,
        lock: Some(LockState::Locked),
        ..FrameInfo::new(number, Timestamp::from_nanos(1_800_000_000_000_000_000), Span::from_nanos(67))
    }
}
