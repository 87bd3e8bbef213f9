//! The result of `swsync collect`.

use swsync_client::collect::{CollectError, Collected};
use swsync_client::pending::Pending;
use swsync_client::share::Unreadable;
use swsync_core::manifest::MissingFrames;
use swsync_core::name::{DeviceId, OrderId};

/// The outcome for one device's part of a take.
pub struct TakePart {
    pub device: DeviceId,
    pub order: OrderId,
    pub outcome: PartOutcome,
}

pub enum PartOutcome {
    /// It is here; `deleted` files of it were deleted on the device.
    Here { collected: Collected, deleted: usize },
    /// The device still writes it, or was switched off while it did; its whole files are here (--partial).
    Partial(Collected),
    /// The device still writes it, or was switched off while it did.
    Unfinished,
    /// Not all of it is here, or it could not be deleted on the device.
    Failed(CollectError),
}

/// The result of the command.
pub struct CollectResult {
    pub parts: Vec<TakePart>,
    /// Devices that do not say what they have, each with a text for a person.
    pub silent: Vec<(DeviceId, String)>,
    pub gaps: Vec<(OrderId, MissingFrames)>,
    /// Errors of parts that are here but cannot be read.
    pub unreadable: Vec<String>,
    /// Folders on devices that cannot be read as takes.
    pub unreadable_there: Vec<(DeviceId, Unreadable)>,
    /// Parts that were not whole before, and that no device has now.
    pub pending: Vec<(OrderId, DeviceId, Pending)>,
}

impl CollectResult {
    /// Whether everything is here.
    pub fn is_whole(&self) -> bool {
        let here = |part: &TakePart| matches!(part.outcome, PartOutcome::Here { .. });
        let others =
            self.unreadable.is_empty() && self.unreadable_there.is_empty() && self.pending.is_empty();
        self.silent.is_empty() && others && self.parts.iter().all(here)
    }
}
