//! A request to a device: to blink its board's LED, so that a person finds it.

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::name::DeviceId;

/// Longest time that a device blinks for one request, in milliseconds. Chosen: a walk around a large rig.
pub const MAX_IDENTIFY_MS: u32 = 600_000;

/// A request to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentifyRequest {
    /// How long it blinks from now on. Longer than [`MAX_IDENTIFY_MS`] counts as that; 0 ends it.
    pub for_ms: u32,
}

/// A device's reply: it blinks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentifyReply {
    /// The device.
    pub device: DeviceId,
    /// The LED.
    #[serde(deserialize_with = "bounded::text")]
    pub led: String,
    /// How long it blinks.
    pub for_ms: u32,
}
