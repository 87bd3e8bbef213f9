//! Exit codes, the same for every command that asks a rig: docs/orders.md has the table. One that a signal ended exits with 128
//! and the signal's number, as shells have it.

use std::process::ExitCode;

use swsync_core::order::OrderError;
use swsync_rig::control::ControlError;

use crate::record::NoOrder;

/// Not all is well on every device of the rig: a frame was missed, an answer not given, devices differ; or the command
/// itself failed.
pub const INCOMPLETE: u8 = 1;
/// The arguments cannot be meant. Also what clap exits with.
pub const USAGE: u8 = 2;
/// No rig, no devices, or none that knows what time it is there.
pub const NO_RIG: u8 = 3;
/// Not enough devices are ready; nothing was ordered.
pub const NOT_READY: u8 = 4;
/// There is no one order that could be meant.
pub const NO_ORDER: u8 = 5;

/// Interrupted by Ctrl-C: 128 + SIGINT.
pub const INTERRUPTED: u8 = 130;

/// The exit code that says of what kind `error` is.
#[must_use]
pub fn code(error: &anyhow::Error) -> ExitCode {
    if error.is::<NoRigTime>() {
        return ExitCode::from(NO_RIG);
    }
    if error.is::<NoOrder>() {
        return ExitCode::from(NO_ORDER);
    }
    if error.is::<OrderError>() {
        return ExitCode::from(USAGE);
    }
    ExitCode::from(match error.downcast_ref::<ControlError>() {
        Some(ControlError::NobodyThere { .. } | ControlError::Connect { .. }) => NO_RIG,
        Some(ControlError::Endpoint { .. }) => USAGE,
        _ => INCOMPLETE,
    })
}

/// There are devices, but none of them knows rig time.
#[derive(Debug, thiserror::Error)]
#[error(
    "no device knows rig time yet, so there is no instant to name: is one of the pipelines the \
     leader (`swsyncclock role=leader`)? `swsync status` tells what each is waiting for"
)]
pub struct NoRigTime;

#[cfg(test)]
mod tests {
    use swsync_rig::control::RigConfig;

    use super::*;

    #[test]
    fn errors_have_their_codes() {
        let of = |error: anyhow::Error| format!("{:?}", code(&error));
        let expect = |code: u8| format!("{:?}", ExitCode::from(code));
        let connect = ControlError::Connect { endpoints: Vec::new(), waited: Default::default() };
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
        assert_eq!(of(anyhow::anyhow!("anything")), expect(INCOMPLETE));
    }
}
