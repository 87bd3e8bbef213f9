//! `swsync stop` and `swsync cancel`: end an open order, whoever gave it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use swsync_core::name::OrderId;
use swsync_core::order::{Order, OrderCommand, OrderKind};
use swsync_core::time::Span;
use swsync_rig::{Session, Summary};

use crate::duration;
use crate::exit::{self, NoOrder};
use crate::orders::{
    MaxErrorArgs, RigSnapshot, STOP_LEAD, collect_answers, command, conclude, report, timeout,
};
use crate::output::{self, warn};
use crate::rig::RigArgs;

/// How long devices have to say which orders are open.
const TIMEOUT: Duration = Duration::from_millis(2_500);

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
/// [`NoOrder`], or there is no rig.
pub fn stop(args: &StopArgs) -> anyhow::Result<ExitCode> {
    let session = args.rig.visit()?;
    let snapshot = RigSnapshot::take(&session).require_time()?;
    let running =
        |order: &Order| matches!(order.kind(), OrderKind::Take { .. }) || order.ends_at(Span::ZERO).is_none();
    let mut order = args.which.find(&session, running)?;
    // Instants of another time scale would end it too early, or never.
    let at = snapshot.now_for(&order) + args.after.map_or(STOP_LEAD, Span::from);
    order.stop_at(at);
    command(&session, &OrderCommand::Stop { order: order.id().clone(), at_ns: at }, &order);
    if !args.which.json {
        let length = (at - order.at()).max(Span::ZERO).as_secs_f64();
        output::line(&format!("{}  stopped after {length:.3} s", order.id()));
    }
    let summary = args
        .which
        .answers(&session, &snapshot, &order, || timeout(&order, snapshot.now(), snapshot.settled(&order)))?;
    Ok(conclude(&session, &order, summary, &snapshot, args.max_error.limit(), args.which.json))
}

/// Runs `swsync cancel`.
///
/// # Errors
/// [`NoOrder`], or there is no rig.
pub fn cancel(args: &CancelArgs) -> anyhow::Result<ExitCode> {
    let session = args.rig.visit()?;
    let snapshot = RigSnapshot::take(&session).require_time()?;
    let order = args.which.find(&session, |_| true)?;
    command(&session, &OrderCommand::Cancel { order: order.id().clone() }, &order);
    if !args.which.json {
        output::line(&format!("{}  cancelled", order.id()));
    }
    let summary = args.which.answers(&session, &snapshot, &order, || Duration::from_secs(12))?;
    if args.which.json {
        output::line(&report::json(&order, &summary, &snapshot.common).to_string());
    } else {
        output::line(&report::cancelled(&summary));
    }
    let all = report::answers(&summary) == summary.outcomes.len();
    Ok(ExitCode::from(if all { 0 } else { exit::INCOMPLETE }))
}

impl Which {
    /// The answers to `order`, after a command for it: waits for as long as the arguments say, or else for `timeout`.
    fn answers(
        &self,
        session: &Session,
        snapshot: &RigSnapshot,
        order: &Order,
        timeout: impl FnOnce() -> Duration,
    ) -> anyhow::Result<Summary> {
        let (left, when) = (self.timeout.unwrap_or_else(timeout), snapshot.when(order.at()));
        collect_answers(session, order, when, left, self.json, snapshot, |_| ())
    }

    /// The order with the given name; without a name, the only open one that is `likely` meant.
    fn find(&self, session: &Session, likely: impl Fn(&Order) -> bool) -> Result<Order, NoOrder> {
        let known = session.known(TIMEOUT);
        for device in &known.silent {
            warn(&format!("{device} does not say which orders it has open"));
        }
        pick(known.registry.orders, self.order.as_ref(), likely)
    }
}

fn pick(open: Vec<Order>, name: Option<&OrderId>, likely: impl Fn(&Order) -> bool) -> Result<Order, NoOrder> {
    let ids =
        |orders: &[Order]| orders.iter().map(|order| order.id().to_string()).collect::<Vec<_>>().join(", ");
    let (some, what): (Vec<_>, _) = match name {
        Some(name) => {
            let missing = match &open[..] {
                [] => format!("no order {name} is open, nor any other"),
                open => format!("no order {name} is open; open are {}", ids(open)),
            };
            (open.into_iter().filter(|order| order.id() == name).collect(), missing)
        }
        None => {
            (open.into_iter().filter(|order| likely(order)).collect(), "no such order is open".to_owned())
        }
    };
    match <[Order; 1]>::try_from(some) {
        Ok([order]) => Ok(order),
        Err(none) if none.is_empty() => Err(NoOrder::None(what)),
        Err(several) => Err(NoOrder::Several(ids(&several))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;
    use swsync_core::time::Timestamp;

    fn take(id: &str) -> Order {
        let kind = OrderKind::Take { segment: None, fill: Default::default() };
        Order::new(name(id), Timestamp::from_nanos(5), None, kind).unwrap()
    }

    #[test]
    fn a_name_is_needed_only_if_several_orders_are_open() {
        let still = Order::still(name("s"), Timestamp::from_nanos(5)).unwrap();
        let endless = |order: &Order| order.ends_at(Span::ZERO).is_none();
        let open = vec![still, take("t")];
        assert_eq!(pick(open.clone(), None, endless).unwrap().id(), &name("t"));
        assert_eq!(pick(open.clone(), Some(&name("s")), endless).unwrap().id(), &name("s"));
        let error = pick(open.clone(), None, |_| true).unwrap_err().to_string();
        assert_eq!(error, "several orders are open: name one of s, t");
        let error = pick(open, Some(&name("x")), |_| true).unwrap_err().to_string();
        assert!(error.starts_with("no order x is open; open are s, t; `swsync status`"), "{error}");
        let error = pick(Vec::new(), None, |_| true).unwrap_err().to_string();
        assert!(error.starts_with("no such order is open; `swsync status`"), "{error}");
    }
}
