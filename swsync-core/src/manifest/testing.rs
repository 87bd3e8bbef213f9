//! A valid record for tests. Each changes one field.

use super::FrameRecord;
use crate::frame::{FrameInfo, LockState, SyncState};
use crate::name::Name;
use crate::time::{Span, Timestamp};

/// A record of a device at 30 frames per second.
pub fn record() -> FrameRecord {
    let number = 54_000_000_001;
    FrameRecord {
        order: Name::new("o1").unwrap(),
        device: Name::new("pi1").unwrap(),
        file: format!("{number}.jpg"),
        offset: 0,
        bytes: 7,
        info: FrameInfo {
            sync: SyncState::Leading,
            lock: Some(LockState::Locked),
            exposure_ns: Some(Span::from_micros(100)),
            analogue_gain: Some(1.5),
            sensor_time_ns: Some(Timestamp::from_nanos(5_000_000_000)),
            ..FrameInfo::new(number, Timestamp::from_nanos(1_800_000_000_033_333_400), Span::from_nanos(67))
        },
    }
}
