//! Exit codes, the same for all commands of all of swsync's programs: docs/exit-codes.md has the table, and a test compares the two.
//! A command that a signal ended exits with 128 plus the signal's number, as shells do.

pub use crate::error_report::{ErrorReport, report, report_usage, tell};

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
        "every frame is saved, but pictures of one number may be further apart than the limit, or that is not known",
    ),
];

/// No order is open that could be meant, or several.
#[derive(Debug, thiserror::Error)]
pub enum NoOrder {
    /// None is open, or none of this name. The text for a person.
    #[error("{0}; {SEE_OPEN}")]
    None(String),
    /// Several are open. Their names.
    #[error("several orders are open: {NAME_ONE} {0}")]
    Several(String),
}

const SEE_OPEN: &str = "`swsync status` counts the open orders of each device";
const NAME_ONE: &str = "name one of";

impl NoOrder {
    /// What to do about it, as its text says too.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::None(_) => SEE_OPEN.into(),
            Self::Several(names) => format!("{NAME_ONE} {names}"),
        }
    }
}

/// No device knows rig time.
#[derive(Debug, thiserror::Error)]
#[error("no device knows rig time yet, so there is no instant to name: {}", Self::REMEDY)]
pub struct NoRigTime;

impl NoRigTime {
    /// What to do about it.
    pub const REMEDY: &str = "is one of the pipelines the leader (`swsyncclock role=leader`)? `swsync status` tells what each is \
         waiting for";
}
