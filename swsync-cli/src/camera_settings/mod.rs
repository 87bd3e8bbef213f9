//! `swsync set` and `swsync get`: the settings of the rig's cameras, from one frame number on.

pub mod report;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use swsync_client::camera_settings::{ChangeError, ChangeRequest, change_cameras, read_cameras};
use swsync_core::camera_settings::{Assignments, CameraControl, ChangePart, ControlValues, ValueError};
use swsync_core::name::Name;
use swsync_core::order::Targets;
use swsync_core::time::{Rig, Timestamp};

use crate::duration;
use crate::exit;
use crate::orders::{TargetArgs, default_id};
use crate::output;
use crate::rig::RigArgs;

/// Set the cameras of the rig: exposure, gain, white balance, focus and others, all at one frame number.
///
/// Every device is asked first whether its camera takes the values. If one does not, or gives no answer, nothing is
/// changed on any. Then all change at one frame, and each says what its camera really used in that frame, and whether
/// it stayed on the frame grid. Devices keep the settings over a restart, and devices that join later get them too.
/// Of several settings of one control the latest holds, whether it was for all devices or for some.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_SET)]
pub struct SetArgs {
    #[command(flatten)]
    rig: RigArgs,
    /// What to set, like exposure-time=5000. The controls are swsyncsrc's properties; times are in microseconds,
    /// lists have commas (colour-gains=1.8,1.5). With --reset: names of controls.
    #[arg(value_name = "CONTROL=VALUE", required_unless_present = "reset")]
    controls: Vec<String>,
    /// Back to what the pipeline's properties say: these controls, or all.
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    targets: TargetArgs,
    /// Set what can be set, on the devices that can, even if others cannot or give no answer.
    #[arg(long)]
    partial: bool,
    /// Longest wait for confirmations, once the frame has come; and for a camera that has lost the grid to be back.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::positive)]
    timeout: Duration,
    /// Print one JSON document instead of the table.
    #[arg(long)]
    json: bool,
}

const AFTER_SET: &str = "\
Examples:
  swsync set exposure-time=5000 analogue-gain=2         5 ms and gain 2 on all cameras, from one frame on
  swsync set awb-enable=false colour-gains=1.8,1.5      the same white balance everywhere
  swsync set --to left,right exposure-time=8000         two of the devices
  swsync set --reset exposure-time                      back to what the pipelines say
  swsync set --reset                                    the same for all controls
  swsync get                                            what is set, and what the cameras use

Columns:
  result  in effect: in use from the change's frame on; early, late: from another frame on; no effect: the
          camera uses other values; not set, no answer: see the last column
  used    what the camera used in that frame, as it reports it: cameras round
  phase   kept: every frame stayed on the frame grid; else when the lock was lost, and when it was back

Exit codes:
  0  in effect on every device from the same frame on, and every camera is on the frame grid (or cannot be)
  1  some device did it late or not at all, gave no answer, or is off the frame grid
  2  wrong arguments
  3  no rig or no devices
  4  some device cannot do it: nothing was changed on any";

/// Show what the cameras of the rig are set to, and what they use.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_GET)]
pub struct GetArgs {
    #[command(flatten)]
    rig: RigArgs,
    #[command(flatten)]
    targets: TargetArgs,
    /// Show what each camera takes, too.
    #[arg(long)]
    ranges: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

const AFTER_GET: &str = "\
Examples:
  swsync get
  swsync get --ranges --to left
  swsync get --json | jq '.devices[].used[\"exposure-time\"]'

Columns:
  frame       number of the newest frame
  set         what `swsync set` has set; all else is as the pipeline has it
  uses        what the camera used in that frame, as far as it reports it

Exit codes:
  0  every device answered
  1  some device gave no answer, or has no camera that can be set
  2  wrong arguments
  3  no rig or no devices";

/// Runs `swsync set`.
///
/// # Errors
/// There is no rig, or an argument is wrong.
pub fn set(args: &SetArgs) -> anyhow::Result<ExitCode> {
    let assign = args.assignments()?;
    let session = args.rig.visit()?;
    let targets = args.targets.resolve_in(&session)?;
    let request = ChangeRequest {
        id: new_id()?,
        parts: vec![ChangePart { targets: targets.clone(), assign: assign.clone() }],
        partial: args.partial,
        patience: args.timeout,
    };
    match change_cameras(&session, &request) {
        Ok(changed) => {
            if args.json {
                output::json(&report::SetDocument::of(&changed));
            } else {
                report::lines(&assign, &changed).iter().for_each(|line| output::line(line));
            }
            Ok(ExitCode::from(if report::is_good(&changed) { 0 } else { exit::INCOMPLETE }))
        }
        Err(ChangeError::Nobody) if targets == Targets::All => {
            Err(session.nobody_there(Duration::ZERO).into())
        }
        Err(error) => {
            if args.json {
                output::json(&report::NotSetDocument::new(&error));
            }
            output::tell(&error.to_string());
            report::objections(&error).iter().for_each(|line| output::tell(line));
            Ok(ExitCode::from(exit::NOT_READY))
        }
    }
}

impl SetArgs {
    /// What is to be set.
    fn assignments(&self) -> Result<Assignments, ValueError> {
        if !self.reset {
            return Ok(ControlValues::parse(self.controls.iter().map(String::as_str))?.into());
        }
        if self.controls.is_empty() {
            return Ok(Assignments::reset(CameraControl::ALL.iter().copied()));
        }
        let named = self.controls.iter().map(|name| {
            CameraControl::from_name(name).ok_or_else(|| match name.contains('=') {
                true => ValueError::Form(format!("--reset {name}")),
                false => ValueError::Control(name.clone()),
            })
        });
        Ok(Assignments::reset(named.collect::<Result<Vec<_>, _>>()?))
    }
}

/// An id that sorts by time and that nobody else chooses.
fn new_id() -> anyhow::Result<Name> {
    let now = jiff::Timestamp::now().as_nanosecond();
    let now = Timestamp::<Rig>::from_nanos(i64::try_from(now).unwrap_or(0));
    Ok(default_id("set", now, rand::random())?)
}

/// Runs `swsync get`.
///
/// # Errors
/// There is no rig.
pub fn get(args: &GetArgs) -> anyhow::Result<ExitCode> {
    let session = args.rig.visit()?;
    let replies = read_cameras(&session, &args.targets.resolve_in(&session)?);
    if replies.is_empty() {
        return Err(session.nobody_there(Duration::ZERO).into());
    }
    if args.json {
        output::json(&report::GetDocument::of(&replies));
    } else {
        report::camera_lines(&replies, args.ranges).iter().for_each(|line| output::line(line));
    }
    let whole = replies.iter().all(|reply| reply.reply.as_ref().is_ok_and(|report| report.camera.is_some()));
    Ok(ExitCode::from(if whole { 0 } else { exit::INCOMPLETE }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SetArgs,
    }

    fn assignments(args: &[&str]) -> Result<String, String> {
        let cli = Cli::try_parse_from(["set"].iter().chain(args)).map_err(|error| error.to_string())?;
        cli.args.assignments().map(|assign| assign.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn values_and_names_to_reset_are_read() {
        let set = assignments(&["exposure-time=5000", "colour-gains=1.8,1.5", "--to", "left"]);
        assert_eq!(set.as_deref(), Ok("colour-gains=1.8,1.5 exposure-time=5000"));
        let reset = assignments(&["--reset", "exposure-time"]);
        assert_eq!(reset.as_deref(), Ok("exposure-time as the pipeline has it"));
        let all = assignments(&["--reset"]).unwrap();
        assert_eq!(all.matches("as the pipeline has it").count(), CameraControl::ALL.len());
        assert!(assignments(&[]).unwrap_err().contains("CONTROL=VALUE"));
        assert!(assignments(&["--reset", "gamma=1"]).unwrap_err().contains("control=value"));
        assert!(assignments(&["--reset", "gama"]).unwrap_err().contains("no control `gama`"));
    }
}
