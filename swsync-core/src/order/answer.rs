//! What a device answers to an order.

use serde::{Deserialize, Serialize};

use crate::frame::FrameInfo;
use crate::grid::FrameNumber;
use crate::name::{DeviceId, OrderId};

/// What became of one frame of an order on one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "frames are saved, but for a few")]
pub enum Fate {
    /// It is on disk, whole.
    Saved {
        /// Path of the file on the device.
        file: String,
        /// Its size.
        bytes: u64,
        /// What is known of the frame.
        info: FrameInfo,
    },
    /// It cannot be had: never captured, or no longer held.
    Missed {
        /// Why, for a person.
        why: String,
    },
    /// It was there but could not be written.
    Failed {
        /// Why, for a person.
        why: String,
    },
}

/// One frame of an order, answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameAnswer {
    /// The frame that the order named; `None` where the device has not seen a frame yet and knows no
    /// grid.
    pub number: Option<FrameNumber>,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// A device's answer to an order: every frame that it named, accounted for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The order.
    pub order: OrderId,
    /// Who answers.
    pub device: DeviceId,
    /// Its frames, in order.
    pub frames: Vec<FrameAnswer>,
}

impl Answer {
    /// Whether every frame was saved.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.frames.is_empty() && self.frames.iter().all(|frame| matches!(frame.fate, Fate::Saved { .. }))
    }
}
