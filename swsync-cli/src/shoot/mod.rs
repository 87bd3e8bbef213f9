//! `swsync shoot`: every device saves the frames of one or several instants, and answers.

mod countdown;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use swsync_core::name::OrderId;
use swsync_core::order::{MAX_BURST, Order, OrderKind, Targets};
use swsync_core::time::{Rig, Span, Timestamp};

use crate::duration;
use crate::exit;
use crate::orders::{
    ArmArgs, FollowOrder, MaxErrorArgs, RigSnapshot, TargetArgs, default_id, relative, warn_of_unready,
};
use crate::rig::RigArgs;

/// When the frame is by default: late enough for the order to reach every device, on WiFi too.
const DEFAULT_IN: Span = Span::from_millis(500);

/// Take one shot with every camera of the rig, or a series of them.
///
/// Each device saves the frame (or frames) nearest to one instant of rig time: the same frame number
/// everywhere. The instant may be in the future, or in the past as far as the devices' ring buffers
/// reach. One row per device says what became of it.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ShootArgs {
    #[command(flatten)]
    rig: RigArgs,
    #[command(flatten)]
    when: When,
    /// Frames to save, one after another, from that instant on; with --every so many stills.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BURST)))]
    count: Option<u32>,
    /// A still every so often, until --count of them, for --for, or until Ctrl-C (SIGTERM, SIGHUP).
    #[arg(long, value_name = "DURATION", value_parser = duration::positive)]
    every: Option<Duration>,
    /// Stills for so long.
    #[arg(long = "for", value_name = "DURATION", requires = "every", conflicts_with = "count",
          value_parser = duration::positive)]
    length: Option<Duration>,
    /// Name of the order, and so of its folder or files. [default: shot-DATE-TIME-RANDOM, in UTC]
    #[arg(long, value_name = "NAME")]
    id: Option<OrderId>,
    #[command(flatten)]
    targets: TargetArgs,
    #[command(flatten)]
    arm: ArmArgs,
    #[command(flatten)]
    max_error: MaxErrorArgs,
    /// Give the order and return: nothing is saved yet. `swsync takes` and `swsync status` show what becomes of it.
    #[arg(long)]
    detach: bool,
    /// Longest wait for answers, like 30s. [default: until the last frame's instant, and 12 s]
    #[arg(long, value_name = "DURATION", value_parser = duration::positive)]
    timeout: Option<Duration>,
    /// Print one JSON document instead of the table.
    #[arg(long)]
    json: bool,
}

/// When the first frame is. [default: in 500ms]
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
struct When {
    /// So long from now, like 500ms, 2s or 1m30s. [default: 500ms]
    #[arg(long = "in", value_name = "DURATION", value_parser = duration::any)]
    after: Option<Duration>,
    /// So long ago: out of the ring buffers.
    #[arg(long, value_name = "DURATION", value_parser = duration::any)]
    ago: Option<Duration>,
    /// So long from now, and count down on the terminal, with its bell: the frame is of the countdown's end.
    #[arg(long, value_name = "DURATION", value_parser = countdown::parse)]
    countdown: Option<Duration>,
    /// At this rig time, in nanoseconds since 1970: `at_ns` of --json, to repeat an order exactly.
    #[arg(long, value_name = "NANOSECONDS", value_parser = clap::value_parser!(i64).range(0..))]
    at: Option<i64>,
}

const AFTER_HELP: &str = "\
Examples:
  swsync shoot                            one frame from every camera, half a second from now
  swsync shoot --ago 500ms                the moment that has just passed
  swsync shoot --in 2s --count 30         a burst of 30 frames
  swsync shoot --every 10s --for 1h       a time lapse; Ctrl-C ends it on all devices at one instant
  swsync shoot --countdown 5s             5, 4, 3, 2, 1, and the frame of that instant from every camera
  swsync shoot --detach --every 1m        a time lapse that goes on without this command; swsync stop ends it
  swsync shoot --arm --need all           only if every device is ready, else say which is not and why
  swsync shoot --to left,pi7              the devices of group left, and device pi7
  swsync shoot --connect tcp/pi0:7447     where the network passes no multicast
  swsync shoot --json | jq .complete      for scripts

Columns:
  frames     number of the first and the last frame: the same on all devices, or something is wrong
  phase us   frame time minus grid instant in microseconds; of several frames the largest
  clock us   what the error of the device's clock may be, 1 sigma, in microseconds

Exit codes:
  0  every device of the rig saved every frame, of the same instants
  1  some device missed or failed a frame, or gave no answer, or differs (frame numbers, rate, time scale, clock); with
     --detach: has not taken the order, or differs
  2  wrong arguments
  3  no rig, no devices, or none that knows rig time
  4  --arm: not enough devices are ready; nothing was ordered
  6  every frame is saved, but pictures of one number may be further apart than --max-error, or that is not known
  130  interrupted by Ctrl-C while answers were awaited (143: SIGTERM, 129: SIGHUP); the order stands";

impl When {
    fn instant(&self, now: Timestamp<Rig>) -> Timestamp<Rig> {
        match (self.after.or(self.countdown), self.ago, self.at) {
            (_, _, Some(at)) => Timestamp::from_nanos(at),
            (_, Some(ago), _) => now - Span::from(ago),
            (after, _, _) => now + after.map_or(DEFAULT_IN, Span::from),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// No order could be placed. What devices answer is an exit code, not an error.
pub fn run(args: &ShootArgs) -> anyhow::Result<ExitCode> {
    let rig = args.rig.connect_within(args.arm.patience())?;
    let order = |snapshot: &RigSnapshot, targets: &Targets| args.order(snapshot, targets);
    let Some((snapshot, targets)) = args.arm.arm(&rig, &args.targets, order, args.json)? else {
        return Ok(ExitCode::from(exit::NOT_READY));
    };
    warn_of_unready(&snapshot, &targets);
    let order = args.order(&snapshot, &targets)?;
    let now = snapshot.now();
    let again = args.again(&order);
    let what = describe(&order, now, args.detach);
    let end = Instant::now() + (order.at() - now).to_duration();
    let counting = args.when.countdown.and_then(|_| countdown::start(end));
    let follow = FollowOrder {
        rig: &rig,
        snapshot: &snapshot,
        json: args.json,
        timeout: args.timeout,
        again,
        is_cut: false,
        max_error: args.max_error.limit(),
    };
    let result = if args.detach { follow.detach(&order, &what) } else { follow.run(order, &what) };
    if let Some(counting) = counting.filter(|_| result.is_ok()) {
        let _ = counting.join(); // fails if it panicked, which has been printed
    }
    result
}

impl ShootArgs {
    fn order(&self, snapshot: &RigSnapshot, targets: &Targets) -> anyhow::Result<Order> {
        let at = self.when.instant(snapshot.now());
        let id = match &self.id {
            Some(id) => id.clone(),
            None => default_id("shot", at, rand::random())?,
        };
        let kind = match (self.every.map(Span::from), self.length.map(Span::from)) {
            (None, _) => OrderKind::Burst { count: self.count.unwrap_or(1) },
            (every @ Some(_), None) => OrderKind::Still { every, count: self.count },
            (Some(every), Some(length)) => {
                OrderKind::Still { every: Some(every), count: Some(stills(every, length)) }
            }
        };
        let order = Order::new(id, at, None, kind)?.with_targets(targets.clone())?;
        Ok(order.on_timescale(snapshot.common.timescale()))
    }

    /// The command that asks for the same order again.
    fn again(&self, order: &Order) -> String {
        let mut again = format!("swsync shoot --id {} --at {}", order.id(), order.at().as_nanos());
        match order.kind() {
            OrderKind::Burst { count } => again.push_str(&format!(" --count {count}")),
            OrderKind::Still { every, count } => {
                let every = every.map(|every| humantime::format_duration(every.to_duration()).to_string());
                again.extend(every.map(|every| format!(" --every '{every}'")));
                again.extend(count.map(|count| format!(" --count {count}")));
            }
            OrderKind::Take { .. } => {}
        }
        again
    }
}

/// The number of stills in `length`, the first at its beginning.
fn stills(every: Span, length: Span) -> u32 {
    let count = (length.as_nanos().max(1) - 1) / every.as_nanos().max(1) + 1;
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The order in words.
fn describe(order: &Order, now: Timestamp<Rig>, detached: bool) -> String {
    let when = relative(order.at(), now);
    match order.kind() {
        OrderKind::Burst { count } if count > 1 => format!("{count} frames, from {when}"),
        OrderKind::Still { every: Some(every), count } => {
            let every = humantime::format_duration(every.to_duration());
            match count {
                Some(count) => format!("{count} stills, one every {every}, from {when}"),
                None if detached => {
                    format!("a still every {every}, from {when}, until `swsync stop {}`", order.id())
                }
                None => format!("a still every {every}, from {when}, until Ctrl-C"),
            }
        }
        _ => when,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    const NOW: Timestamp<Rig> = Timestamp::from_nanos(1_800_000_000_000_000_000);

    fn order(at: Timestamp<Rig>, count: u32) -> Order {
        Order::burst(name("o1"), at, count).unwrap()
    }

    #[test]
    fn the_instant_is_ahead_behind_or_given() {
        let when = When { after: None, ago: None, countdown: None, at: None };
        assert_eq!(when.instant(NOW), NOW + Span::from_millis(500));
        let secs = Some(Duration::from_secs(2));
        assert_eq!(When { after: secs, ..when.clone() }.instant(NOW), NOW + Span::from_secs(2));
        assert_eq!(When { countdown: secs, ..when.clone() }.instant(NOW), NOW + Span::from_secs(2));
        assert_eq!(When { ago: secs, ..when.clone() }.instant(NOW), NOW - Span::from_secs(2));
        assert_eq!(When { at: Some(7), ..when }.instant(NOW), Timestamp::from_nanos(7));
    }

    #[test]
    fn a_time_lapse_has_a_still_at_its_beginning() {
        let secs = Span::from_secs;
        assert_eq!(stills(secs(10), secs(60)), 6);
        assert_eq!(stills(secs(10), secs(61)), 7);
        assert_eq!(stills(secs(10), secs(5)), 1);
    }

    #[test]
    fn an_order_is_described_in_words() {
        assert_eq!(describe(&order(NOW + Span::from_millis(500), 1), NOW, false), "in 0.500 s");
        let burst = order(NOW - Span::from_millis(1250), 3);
        assert_eq!(describe(&burst, NOW, false), "3 frames, from 1.250 s ago");
        let kind = OrderKind::Still { every: Some(Span::from_secs(90)), count: None };
        let lapse = Order::new(name("o1"), NOW, None, kind).unwrap();
        assert_eq!(describe(&lapse, NOW, false), "a still every 1m 30s, from in 0.000 s, until Ctrl-C");
        assert!(describe(&lapse, NOW, true).ends_with(", until `swsync stop o1`"));
    }
}
