//! Exit codes, the same for all commands of all of swsync's programs: docs/exit-codes.md has the table, and a test compares the two.
//! A command that a signal ended exits with 128 plus the signal's number, as shells do.

use std::collections::BTreeSet;

use swsync_core::name::DeviceId;

pub use crate::error_report::{ErrorReport, interrupted, report, report_usage, tell};
use crate::table::clean;
pub use swsync_client::{NoOrder, NoRigTime};

/// Not everything went well on every device: a frame was missed, a device gave no answer or differs from the others. Or the
/// command itself failed.
pub const INCOMPLETE: u8 = 1;
/// The arguments, or the settings of the rig, are wrong. clap exits with this code too.
pub const USAGE: u8 = 2;
/// No rig, no devices, or no device that knows rig time.
pub const NO_RIG: u8 = 3;
/// Not enough devices are ready; nothing was ordered.
pub const NOT_READY: u8 = 4;
/// No order is open that the command could mean, or more than one.
pub const NO_ORDER: u8 = 5;
/// Every frame is saved, but pictures of one number may be further apart than `--max-error`, or that is not known.
pub const NOT_PROVEN: u8 = 6;

/// Interrupted by Ctrl-C: 128 + SIGINT.
pub const INTERRUPTED: u8 = 130;

/// All codes but those of signals, and what each means, as docs/exit-codes.md has it.
pub const ALL: [(u8, &str); 7] = [
    (0, "done, and all is well"),
    (INCOMPLETE, "something is missing or differs, or the command failed"),
    (USAGE, "the arguments or the settings of the rig are wrong; nothing was done"),
    (NO_RIG, "no rig, no device, or none that knows rig time"),
    (NOT_READY, "not enough devices are ready; nothing was ordered"),
    (NO_ORDER, "no such order is open, or several are and none was named"),
    (
        NOT_PROVEN,
        "every frame is saved, but pictures of one number may be further apart than the limit, or that is not known; `doctor`: \
         nothing was found, but some check could not be done",
    ),
];

/// A device that was named does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{device}: {why}{remedy}")]
pub struct DeviceAway {
    device: DeviceId,
    why: String,
    remedy: String,
}

impl DeviceAway {
    /// `why`: what the device says, or why it says nothing. `known`: the devices of the rig.
    #[must_use]
    pub fn new<'a>(device: &DeviceId, why: &str, known: impl IntoIterator<Item = &'a DeviceId>) -> Self {
        let known: BTreeSet<_> = known.into_iter().collect();
        let remedy = if known.contains(device) {
            String::new()
        } else {
            let known: Vec<_> = known.into_iter().map(DeviceId::as_str).collect();
            format!(
                "; it must be running and in the rig, which has {}: start its pipeline, or see whether the name is right",
                known.join(", ")
            )
        };
        Self { device: device.clone(), why: clean(why), remedy }
    }
}

/// A name after `--to` is that of no device and no group.
#[derive(Debug, thiserror::Error)]
#[error(
    "{names} is no device and no group of the rig; devices: {devices}; groups: {groups} (`swsync name` gives a device its group; \
     a device that is away must join first)"
)]
pub struct UnknownTarget {
    /// The names that nobody has.
    pub names: String,
    /// The devices of the rig.
    pub devices: String,
    /// The groups of these devices.
    pub groups: String,
}
