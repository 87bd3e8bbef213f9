//! Valid values for tests, each of which changes one field.

use super::FrameRecord;

/// A record as a device of a rig at 30 frames per second writes it.
pub fn record() -> FrameRecord {
    // From JSON, so that what else becomes known of frames does not concern these tests.
    serde_json::from_value(serde_json::json!({
        "order": "o1",
        "device": "pi1",
        "file": "54000000001.jpg",
        "offset": 0,
        "bytes": 7,
        "number": 54_000_000_001_u64,
        "rig_time_ns": 1_800_000_000_033_333_400_i64,
        "phase_error_ns": 67,
        "clock_uncertainty_ns": null,
        "sync": "leading",
        "lock": "locked",
        "exposure_ns": 100_000,
        "analogue_gain": 1.5,
        "sensor_time_ns": 5_000_000_000_i64,
    }))
    .unwrap()
}
