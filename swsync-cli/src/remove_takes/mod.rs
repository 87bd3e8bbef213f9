//! `swsync rm`: removes takes from the devices, once somebody has collected them.

mod plan;
mod report;

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use swsync_client::rig_takes::RigTakes;
use swsync_client::{RemoteTakes, Session, host_name, in_parallel};
use swsync_core::name::OrderId;

use crate::duration;
use crate::exit;
use crate::list_takes::unknown_order;
use crate::orders::TargetArgs;
use crate::output::{self, tell, warn};
use crate::rig::RigArgs;

use plan::{Plan, RemovablePart};
pub use report::{NotAskedJson, RefusedJson, RemovedJson, RemovedPartJson};

/// Devices that remove at once.
const PARALLEL: u8 = 8;

/// Remove takes from the devices.
///
/// A take that is still recorded is never removed, nor one that was not collected from every device that has it, unless
/// with --force. The device reads each of its files once more before that, and compares it with what was collected; so does
/// this host if it was collected here. A device removes all of its part or nothing, also if it crashes meanwhile.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct RemoveArgs {
    /// The orders whose takes go.
    #[arg(value_name = "ORDER", required = true)]
    orders: Vec<OrderId>,
    #[command(flatten)]
    rig: RigArgs,
    #[command(flatten)]
    targets: TargetArgs,
    /// Also what was not collected: it is lost then.
    #[arg(long)]
    force: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// How long a device may be silent before it is given up, like 30s.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::positive)]
    timeout: Duration,
    /// Print one JSON document instead of the table; needs --yes.
    #[arg(long, requires = "yes")]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  swsync collect takes && swsync rm walk  fetch all takes, then make room
  swsync rm --yes walk run-3              in a script, where nobody can answer
  swsync rm --force test-1                a take that nobody wants
  swsync rm --to left walk                only what the devices of group left have of it

Exit codes:
  0  the takes are gone from every device of the rig, or from all those after --to
  1  something stays: not collected, still recorded, on a device that is away, the answer was no; or the rig has no key
  2  wrong arguments; or there is no terminal to ask on, and no --yes
  3  no rig or no devices
  5  no device has an order that was named; nothing is removed";

/// Runs the command.
///
/// # Errors
/// There is no rig, it has no key, or no device has an order that was named.
pub fn run(args: &RemoveArgs) -> anyhow::Result<ExitCode> {
    let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !args.yes && !can_ask {
        tell("rm asks before it removes anything, and there is no terminal to ask on: give --yes");
        return Ok(ExitCode::from(exit::USAGE));
    }
    let session = args.rig.visit()?;
    if session.is_open() {
        anyhow::bail!(
            "the rig is open (it has no key), so nothing is removed from afar, since anybody could: give its devices and this \
             command a key (`swsync key new`, then key-file= and --key-file), or delete the folders on the devices"
        );
    }
    let takes = RigTakes::list(&session, &args.targets.resolve_in(&session)?, args.timeout);
    let orders: BTreeSet<_> = args.orders.iter().collect();
    if let Some(unknown) = orders.iter().find(|order| takes.find(order).is_none()) {
        return Err(unknown_order(unknown, &takes).into());
    }
    let meant: Vec<_> = takes.orders.iter().filter(|take| orders.contains(&take.order)).collect();
    let host = host_name();
    let frames =
        meant.iter().flat_map(|take| take.parts.values()).filter_map(|part| part.summary.named).sum();
    let bar = bar(frames, args.force || args.json);
    let plan = Plan::make(&meant, args.force, |take, device, part| {
        let remote = RemoteTakes::new(&session, device.clone(), args.timeout, |busy| {
            bar.set_message(busy.map(crate::table::clean).unwrap_or_default());
        });
        plan::verify(&remote, &take.order, part, &host, || bar.inc(1))
    });
    bar.finish_and_clear();
    for refused in &plan.refused {
        warn(&format!("{} stays: {}", refused.order, refused.why.join("; ")));
    }
    for (device, why) in &takes.silent {
        warn(&format!("{device} is away, and what it has of these orders stays: {why}"));
    }
    if !args.json && !plan.parts.is_empty() {
        report::table(&plan.parts).iter().for_each(|line| output::line(line));
    }
    let goes_on = !plan.parts.is_empty() && (args.yes || ask(&report::question(&plan.parts))?);
    let removed = if goes_on { remove(&session, args, &plan.parts) } else { Vec::new() };
    Ok(report::conclude(&takes, &plan, removed, args.json))
}

/// The progress of verification, on terminals.
fn bar(frames: u64, hidden: bool) -> ProgressBar {
    if hidden {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("comparing {bar:30} {pos}/{len} files {eta:>4}  {wide_msg}");
    ProgressBar::new(frames).with_style(style.expect("the template is a constant"))
}

/// Asks on the terminal.
fn ask(question: &str) -> anyhow::Result<bool> {
    let mut stderr = std::io::stderr();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Removes the parts, several devices at a time, and prints a row as each has answered.
fn remove(session: &Session, args: &RemoveArgs, parts: &[RemovablePart]) -> Vec<RemovedPartJson> {
    let table = report::removed_table(parts);
    if !args.json {
        output::line(&table.headings());
    }
    let mut removed = in_parallel(PARALLEL, parts, |part| {
        let remote = RemoteTakes::new(session, part.device.clone(), args.timeout, |_| ());
        let result = remote.remove(&part.order, part.sha256.as_deref(), part.frames.unwrap_or_default());
        let row = RemovedPartJson::of(part, result);
        if !args.json {
            output::line(&table.row(&report::removed_row(&row)));
        }
        row
    });
    removed.sort_by(|a, b| (&a.order, &a.device).cmp(&(&b.order, &b.device)));
    removed
}
