//! `swsync stop` and `swsync cancel`: end an open order, whoever gave it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use swsync_client::{Ordered, Rig, is_stoppable};
use swsync_core::name::OrderId;
use swsync_core::order::Order;
use swsync_core::time::Span;

use crate::duration;
use crate::exit;
use crate::orders::report::OrderDocument;
use crate::orders::{MaxErrorArgs, STOP_LEAD, conclude, print_answers, report, warn_of};
use crate::output::{self, warn};
use crate::rig::RigArgs;

/// Stop a take (or a time lapse) on every device at one instant, and wait for whole files.
#[derive(Debug, Clone, Args)]
#[command(after_help = STOP_HELP)]
pub struct StopArgs {
    #[command(flatten)]
    rig: RigArgs,
    #[command(flatten)]
    which: Which,
    /// Stop so long from now: every device must have heard of it by then. [default: 500ms]
    #[arg(long = "in", value_name = "DURATION", value_parser = duration::any)]
    after: Option<Duration>,
    #[command(flatten)]
    max_error: MaxErrorArgs,
}

/// Cancel an order on every device: what is not on disk need not be. What is there stays.
#[derive(Debug, Clone, Args)]
#[command(after_help = CANCEL_HELP)]
pub struct CancelArgs {
    #[command(flatten)]
    rig: RigArgs,
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Clone, Args)]
struct Which {
    /// The order; may be left out where one is open only.
    order: Option<OrderId>,
    /// Longest wait for answers. [default: until the last frame is there, and 12 s]
    #[arg(long, value_name = "DURATION", value_parser = duration::positive)]
    timeout: Option<Duration>,
    /// Print one JSON document instead of the table.
    #[arg(long)]
    json: bool,
}

const STOP_HELP: &str = "\
Examples:
  swsync stop                      the take or time lapse that is open, also one of a given length
  swsync stop take-20270115-080000-beef

Exit codes:
  0  every device of the rig recorded every frame, of the same instants
  1  some device missed or failed a frame, or gave no answer, or differs (frame numbers, rate, time scale, clock)
  2  wrong arguments
  3  no rig, no devices, or none that knows rig time
  5  no such order is open, or several are and none was named
  6  every frame is saved, but pictures of one number may be further apart than --max-error, or that is not known";

const CANCEL_HELP: &str = "\
Exit codes:
  0  every device of the rig has let go of the order, whatever it had saved
  1  some device gave no answer
  2  wrong arguments
  3  no rig, no devices, or none that knows rig time
  5  no such order is open, or several are and none was named";

/// Runs `swsync stop`.
///
/// # Errors
/// [`NoOrder`](exit::NoOrder), or there is no rig.
pub fn stop(args: &StopArgs) -> anyhow::Result<ExitCode> {
    let mut ordered = args.which.find(&args.rig.connect()?, is_stoppable)?;
    let (at, problems) = ordered.stop_in(args.after.map_or(STOP_LEAD, Span::from));
    warn_of(&problems);
    if !args.which.json {
        let order = ordered.order();
        let length = (at - order.at()).max(Span::ZERO).as_secs_f64();
        output::line(&format!("{}  stopped after {length:.3} s", order.id()));
    }
    let summary = print_answers(&mut ordered, args.which.json, |_| ())?;
    Ok(conclude(&ordered, summary, args.max_error.limit(), args.which.json))
}

/// Runs `swsync cancel`.
///
/// # Errors
/// [`NoOrder`](exit::NoOrder), or there is no rig.
pub fn cancel(args: &CancelArgs) -> anyhow::Result<ExitCode> {
    let mut ordered = args.which.find(&args.rig.connect()?, |_| true)?;
    warn_of(&ordered.cancel());
    if !args.which.json {
        output::line(&format!("{}  cancelled", ordered.order().id()));
    }
    let summary = print_answers(&mut ordered, args.which.json, |_| ())?;
    if args.which.json {
        output::json(&OrderDocument::new(ordered.order(), &summary, &ordered.snapshot().common, None));
    } else {
        output::line(&report::cancelled(&summary));
    }
    let all = report::answers(&summary) == summary.outcomes.len();
    Ok(ExitCode::from(if all { 0 } else { exit::INCOMPLETE }))
}

impl Which {
    /// The order with the given name; without a name, the only open one that is `likely` meant.
    fn find(&self, rig: &Rig, likely: impl Fn(&Order) -> bool) -> anyhow::Result<Ordered> {
        let snapshot = rig.timed_snapshot()?;
        let open = rig.open_orders();
        for device in &open.silent {
            warn(&format!("{device} does not say which orders it has open"));
        }
        let order = open.pick(self.order.as_ref(), likely)?;
        Ok(rig.follow(order, snapshot)?.with_timeout(self.timeout))
    }
}
