//! Valid values for tests.

use crate::frame::{FrameInfo, LockState, SyncState};
use crate::grid::{FrameGrid, FrameNumber};
use crate::name::Name;
use crate::time::{Span, Timestamp};

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The grid of so many frames per second.
pub fn rate(frames: u32) -> FrameGrid {
    FrameGrid::new(frames, 1).unwrap()
}

/// A frame of a synced device whose camera is locked.
pub fn info(number: FrameNumber) -> FrameInfo {
    FrameInfo {
        clock_uncertainty_ns: Some(Span::from_micros(20)),
        sync: SyncState::Synced,
        lock: Some(LockState::Locked),
        ..FrameInfo::new(number, Timestamp::from_nanos(1_800_000_000_000_000_000), Span::from_nanos(67))
    }
}
