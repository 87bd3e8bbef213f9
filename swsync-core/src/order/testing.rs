//! Valid values for tests.

use crate::frame::FrameInfo;
use crate::grid::FrameNumber;

/// What is known of a good frame.
pub fn info(number: FrameNumber) -> FrameInfo {
    // From JSON, so that what else becomes known of frames does not concern these tests.
    serde_json::from_value(serde_json::json!({
        "number": number,
        "rig_time_ns": 1_800_000_000_000_000_000_i64,
        "phase_error_ns": 67,
        "clock_uncertainty_ns": 20_000,
        "sync": "synced",
        "lock": "locked",
        "exposure_ns": null,
        "analogue_gain": null,
        "sensor_time_ns": null,
    }))
    .unwrap()
}
