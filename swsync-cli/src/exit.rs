//! Exit codes, the same for all commands. docs/orders.md has the table. A command that a signal ended exits with 128 plus the
//! signal's number, as shells do.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;

use swsync_core::name::DeviceId;
use swsync_core::order::OrderError;
use swsync_rig::ControlError;
use swsync_rig::key_file::KeyFileError;
use swsync_rig::settings::SettingsError;

use crate::handover::HandoverError;
use crate::table::clean;

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

/// The end of every `main`: prints an error to standard error, and returns the exit code.
#[must_use]
pub fn report(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "swsync: {error:#}"); // standard error may be closed
        code(&error)
    })
}

/// The exit code for `error`.
#[must_use]
pub fn code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(if error.is::<NoRigTime>() {
        NO_RIG
    } else if error.is::<NoOrder>() {
        NO_ORDER
    } else if error.is::<OrderError>()
        || error.is::<UnknownTarget>()
        || error.is::<SettingsError>()
        || error.is::<KeyFileError>()
        || matches!(error.downcast_ref(), Some(HandoverError::NotInstalled { .. }))
    {
        USAGE
    } else {
        match error.downcast_ref::<ControlError>() {
            Some(
                ControlError::NobodyThere { .. } | ControlError::Connect { .. } | ControlError::Key { .. },
            ) => NO_RIG,
            Some(ControlError::Endpoint { .. } | ControlError::KeyFile(_)) => USAGE,
            _ => INCOMPLETE,
        }
    })
}

/// No order is open that could be meant, or several.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoOrder(pub String);

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

/// No device knows rig time.
#[derive(Debug, thiserror::Error)]
#[error(
    "no device knows rig time yet, so there is no instant to name: is one of the pipelines the \
     leader (`swsyncclock role=leader`)? `swsync status` tells what each is waiting for"
)]
pub struct NoRigTime;

#[cfg(test)]
mod tests {
    use swsync_rig::RigConfig;

    use super::*;

    #[test]
    fn each_kind_of_error_has_its_code() {
        let of = |error: anyhow::Error| format!("{:?}", code(&error));
        let expect = |code: u8| format!("{:?}", ExitCode::from(code));
        let connect =
            ControlError::Connect { endpoints: Vec::new(), failure: None, waited: Default::default() };
        assert_eq!(of(connect.into()), expect(NO_RIG));
        let config = RigConfig::default();
        let nobody = ControlError::NobodyThere {
            search: config.search(),
            rig: config.rig,
            waited: Default::default(),
        };
        assert_eq!(of(anyhow::Error::new(nobody).context("while looking")), expect(NO_RIG));
        assert_eq!(of(NoRigTime.into()), expect(NO_RIG));
        let endpoint = ControlError::Endpoint { endpoint: "x".into(), why: "y" };
        assert_eq!(of(endpoint.into()), expect(USAGE));
        assert_eq!(of(OrderError::NoTargets.into()), expect(USAGE));
        assert_eq!(of(SettingsError::NotText("SWSYNC_RIG").into()), expect(USAGE));
        assert_eq!(of(anyhow::anyhow!("anything")), expect(INCOMPLETE));
    }
}
