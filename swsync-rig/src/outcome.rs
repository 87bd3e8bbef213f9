//! The outcome of an order: on each device, and in the rig.

use swsync_core::name::DeviceId;
use swsync_core::order::{Answer, Disagreement, Order, disagreements};

/// The outcome of an order on one device.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceOutcome {
    /// The device has accounted for every frame.
    Answered(Answer),
    /// The device does not answer: it left, died, is too slow or cannot be reached.
    NoAnswer {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
    /// The device replies, but without an answer to the order.
    Refused {
        /// The device.
        device: DeviceId,
        /// Why, for a person.
        why: String,
    },
}

impl DeviceOutcome {
    /// The device.
    #[must_use]
    pub const fn device(&self) -> &DeviceId {
        match self {
            Self::Answered(answer) => &answer.device,
            Self::NoAnswer { device, .. } | Self::Refused { device, .. } => device,
        }
    }

    /// Whether every frame was saved.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Answered(answer) if answer.is_complete())
    }
}

/// The outcome of an order in the rig: one for every device, sorted by device.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The outcomes; at least one.
    pub outcomes: Vec<DeviceOutcome>,
    /// Where devices saved frames of different instants.
    pub differences: Vec<Disagreement>,
}

impl Summary {
    /// Sums up all `outcomes` of `order`.
    #[must_use]
    pub fn new(order: &Order, mut outcomes: Vec<DeviceOutcome>) -> Self {
        outcomes.sort_by(|a, b| a.device().cmp(b.device()));
        let answers = outcomes.iter().filter_map(|outcome| match outcome {
            DeviceOutcome::Answered(answer) => Some(answer),
            DeviceOutcome::NoAnswer { .. } | DeviceOutcome::Refused { .. } => None,
        });
        let differences = disagreements(order, answers);
        Self { outcomes, differences }
    }

    /// Whether every device saved every frame, and all of the same instants.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.outcomes.iter().all(DeviceOutcome::is_complete) && self.differences.is_empty()
    }

    /// Number of devices that saved every frame, of the same instants as most devices.
    #[must_use]
    pub fn complete(&self) -> usize {
        let is_odd = |device| self.differences.iter().any(|difference| difference.devices.contains(device));
        self.outcomes.iter().filter(|outcome| outcome.is_complete() && !is_odd(outcome.device())).count()
    }
}
