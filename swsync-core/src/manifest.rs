//! The manifest: JSON Lines, one [`FrameRecord`] per saved frame.

use serde::{Deserialize, Serialize};

use crate::frame::FrameInfo;
use crate::name::{DeviceId, OrderId};

/// One line of the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameRecord {
    /// The order that asked for the frame.
    pub order: OrderId,
    /// The device that took it.
    pub device: DeviceId,
    /// The file, relative to the manifest's folder.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// What is known of the frame.
    #[serde(flatten)]
    pub info: FrameInfo,
}

impl FrameRecord {
    /// The record as one line of JSON, with its newline.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self)
            .expect("a record is a plain struct with string keys, which JSON can hold");
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FrameDetails, LockState, SyncQuality};
    use crate::name::Name;
    use crate::time::{Span, Timestamp};

    #[test]
    fn a_record_is_one_line_and_reads_back() {
        let record = FrameRecord {
            order: Name::new("o1").unwrap(),
            device: Name::new("pi\u{31}").unwrap(),
            file: "a\nb.jpg".into(),
            bytes: 7,
            info: FrameInfo {
                number: 54_000_000_001,
                rig_time_ns: Timestamp::from_nanos(1_800_000_000_033_333_400),
                phase_error_ns: Span::from_nanos(67),
                clock_uncertainty_ns: None,
                sync: SyncQuality::Leading,
                lock: LockState::Locked,
                exposure_ns: Some(Span::from_micros(100)),
                analogue_gain: Some(1.5),
                sensor_time_ns: None,
                details: FrameDetails::default(),
            },
        };
        let line = record.to_line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<FrameRecord>(&line).unwrap(), record);
    }
}
