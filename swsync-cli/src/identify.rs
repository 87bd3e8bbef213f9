//! `swsync identify`: a device blinks its board's LED, so that a person finds it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use swsync_core::identify::{IdentifyRequest, MAX_IDENTIFY_MS};
use swsync_core::name::DeviceId;

use crate::duration;
use crate::exit::DeviceAway;
use crate::orders::STATUS_TIMEOUT;
use crate::output;
use crate::rig::RigArgs;

/// How long the device has to answer.
const TIMEOUT: Duration = Duration::from_millis(2_500);

/// Blink the LED of a device's board, to find it among the others. Afterwards the LED is what it was before.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct IdentifyArgs {
    #[command(flatten)]
    rig: RigArgs,
    /// The device.
    device: DeviceId,
    /// For how long, 10 minutes at most; 0s ends it.
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = duration::any)]
    length: Duration,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
On a Raspberry Pi it is the green LED, ACT. The pipeline's user must be allowed to switch it: the error says how to allow that.

Exit codes:
  0  it blinks
  1  the device does not answer, or has no LED that it may switch
  2  wrong arguments
  3  no rig or no devices";

/// What `swsync identify --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Identified {
    /// The device.
    pub device: DeviceId,
    /// The LED that blinks.
    pub led: String,
    /// How long it blinks, in seconds.
    pub seconds: f64,
}

/// Runs the command.
///
/// # Errors
/// There is no rig, or the device does not blink.
pub fn run(args: &IdentifyArgs) -> anyhow::Result<ExitCode> {
    let session = args.rig.visit()?;
    let for_ms = u32::try_from(args.length.as_millis()).unwrap_or(u32::MAX).min(MAX_IDENTIFY_MS);
    let reply = session.identify(&args.device, IdentifyRequest { for_ms }, TIMEOUT).map_err(|why| {
        let presence = session.presence(STATUS_TIMEOUT);
        DeviceAway::new(&args.device, &why, presence.here.iter().chain(presence.missed.keys()))
    })?;
    let seconds = Duration::from_millis(reply.for_ms.into()).as_secs_f64();
    let identified = Identified { device: reply.device, led: reply.led, seconds };
    if args.json {
        output::json(&identified);
    } else if reply.for_ms == 0 {
        output::line(&format!("{}: its LED {} blinks no more", identified.device, identified.led));
    } else {
        output::line(&format!("{}: its LED {} blinks for {seconds} s", identified.device, identified.led));
    }
    Ok(ExitCode::SUCCESS)
}
