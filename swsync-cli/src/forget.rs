//! `swsync forget`: a device that is gone for good is not missed any more.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use swsync_core::name::DeviceId;

use crate::exit;
use crate::output::{self, warn};
use crate::rig::RigArgs;

/// How long devices have to say that they have heard it.
const TIMEOUT: Duration = Duration::from_millis(2_500);

/// Take devices out of the rig that are gone for good.
///
/// A device that is hung, killed or out of reach still belongs to the rig: it is named by every command, and nothing is
/// complete without it. One that is stopped in good order leaves by itself.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ForgetArgs {
    #[command(flatten)]
    rig: RigArgs,
    /// The devices that are not to come back. One that does is in the rig again.
    #[arg(required = true)]
    devices: Vec<DeviceId>,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  every device of the rig has heard it
  1  some device has not: it may bring the lost one up again
  2  wrong arguments
  3  no rig or no devices";

/// Runs the command.
///
/// # Errors
/// Where there is no rig.
pub fn run(args: &ForgetArgs) -> anyhow::Result<ExitCode> {
    let session = args.rig.visit()?;
    let mut deaf = Vec::new();
    for device in &args.devices {
        deaf.extend(session.forget(device, TIMEOUT).into_iter().filter(|deaf| !args.devices.contains(deaf)));
        output::line(&format!("{device} is not missed any more"));
    }
    deaf.sort();
    deaf.dedup();
    for device in &deaf {
        warn(&format!("{device} has not heard it, and may bring it up again"));
    }
    Ok(ExitCode::from(if deaf.is_empty() { 0 } else { exit::INCOMPLETE }))
}
