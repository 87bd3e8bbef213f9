//! `swsync forget`: takes a device that is gone for good out of the rig.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use swsync_core::name::DeviceId;

use crate::error_report::failure;
use crate::exit;
use crate::output::{self, warn};
use crate::rig::RigArgs;

/// How long the hubs have to confirm it.
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
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// The document of `swsync forget --json`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ForgetDocument {
    /// The devices that the rig does not miss any more.
    forgotten: Vec<DeviceId>,
    /// Devices whose hubs have not heard it, and may bring the others up again.
    unconfirmed: Vec<DeviceId>,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  every hub of the rig has heard it
  1  some hub has not: it may bring the lost device up again
  2  wrong arguments
  3  no rig or no devices";

/// Runs the command.
///
/// # Errors
/// There is no rig.
pub fn run(args: &ForgetArgs) -> anyhow::Result<ExitCode> {
    let rig = args.rig.connect()?;
    let mut unconfirmed = Vec::new();
    for device in &args.devices {
        let Some(silent) = rig.forget(device, TIMEOUT) else {
            return Err(failure(
                format!(
                    "no hub of the rig was seen, so nobody has heard that {device} is not missed any more"
                ),
                "try again",
            ));
        };
        unconfirmed.extend(silent.into_iter().filter(|silent| !args.devices.contains(silent)));
        if !args.json {
            output::line(&format!("{device} is not missed any more"));
        }
    }
    unconfirmed.sort();
    unconfirmed.dedup();
    if args.json {
        output::json(&ForgetDocument { forgotten: args.devices.clone(), unconfirmed: unconfirmed.clone() });
    }
    for hub in &unconfirmed {
        warn(&format!("the hub on {hub} has not heard it, and may bring it up again"));
    }
    Ok(ExitCode::from(if unconfirmed.is_empty() { 0 } else { exit::INCOMPLETE }))
}
