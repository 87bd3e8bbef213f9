//! `swsync takes`: what the rig has taken, without fetching any of it.

mod json;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use jiff::tz::TimeZone;
use swsync_client::host_name;
use swsync_client::rig_takes::RigTakes;
use swsync_core::name::OrderId;

use crate::duration;
use crate::exit::{self, NoOrder};
use crate::orders::TargetArgs;
use crate::output::{self, warn};
use crate::rig::RigArgs;

pub use json::{CollectedJson, DatedJson, OrderJson, PartJson, SilentJson, TakesJson, UnreadableJson};
pub use report::{local_time, named};

/// List what the rig has taken, without fetching it.
///
/// One row per order, the newest last. With orders named, also what each device has of them, and to where it was collected.
/// It reads no frames, so it is quick however many there are, also while the rig records.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct TakesArgs {
    /// Only these orders, with what each device has.
    #[arg(value_name = "ORDER")]
    orders: Vec<OrderId>,
    #[command(flatten)]
    rig: RigArgs,
    #[command(flatten)]
    targets: TargetArgs,
    /// How long a device may be silent before it is given up, like 30s.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration::positive)]
    timeout: Duration,
    /// Print one JSON document instead of the tables. Its times are UTC.
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  swsync takes                            all orders, the newest last
  swsync takes walk                       what each device has of one, and where it was collected
  swsync takes --json | jq -r '.takes[] | select(.collected | not) | .order'

Columns:
  taken      when the first frame was taken, in this host's time zone; with * by a date that somebody gave for rig time
  frames     frames that the order names, on each device; of one that is under way, what is saved so far
  devices    how many devices have it, of how many that should
  holes      missing frames, of all devices together
  size       pictures or videos of all devices
  collected  whether all of it was collected, as far as the devices know: `swsync collect` tells them

Exit codes:
  0  every device said what it has
  1  some device of the rig is away or did not say it, or has something that cannot be read as a take
  2  wrong arguments
  3  no rig or no devices
  5  no device has an order that was named";

/// Runs the command.
///
/// # Errors
/// There is no rig, or no device has an order that was named.
pub fn run(args: &TakesArgs) -> anyhow::Result<ExitCode> {
    let session = args.rig.visit()?;
    let takes = RigTakes::list(&session, &args.targets.resolve_in(&session)?, args.timeout);
    if let Some(unknown) = args.orders.iter().find(|order| takes.find(order).is_none()) {
        return Err(unknown_order(unknown, &takes).into());
    }
    let host = host_name();
    if args.json {
        output::json(&TakesJson::of(&takes, &args.orders, &host));
    } else {
        let zone = TimeZone::system();
        for line in report::lines(&takes, &args.orders, &host, &zone) {
            output::line(&line);
        }
        report::shortfalls(&takes).iter().for_each(|line| warn(line));
    }
    let is_whole = takes.silent.is_empty() && takes.unreadable.is_empty();
    Ok(ExitCode::from(if is_whole { 0 } else { exit::INCOMPLETE }))
}

/// The error that no device has `order`.
#[must_use]
pub fn unknown_order(order: &OrderId, takes: &RigTakes) -> NoOrder {
    let away = match takes.silent.len() {
        0 => String::new(),
        _ => format!(" ({} cannot be asked, and may have it)", named(takes.silent.keys())),
    };
    NoOrder::Unknown(format!("no device has anything of an order {order}{away}"))
}
