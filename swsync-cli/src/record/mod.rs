//! `swsync record`: a take with every camera, from one instant to another; `swsync stop` and `swsync cancel`.

mod stop;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use swsync_core::name::OrderId;
use swsync_core::order::{DEFAULT_SEGMENT, Fill, Order, OrderKind, Targets};
use swsync_core::time::{Rig, Span, Timestamp};

pub use stop::{CancelArgs, StopArgs, cancel, stop};

use crate::duration;
use crate::exit;
use crate::orders::{
    ArmArgs, FollowOrder, MaxErrorArgs, RigSnapshot, TargetArgs, default_id, relative, warn_of_unready,
};
use crate::rig::RigArgs;

/// When a take begins by default: late enough for the order to reach every device, and for a key frame.
const DEFAULT_IN: Span = Span::from_secs(1);

/// Record a take with every camera of the rig.
///
/// Begins and ends at instants of rig time, so that every device's files hold the same frame numbers: until Ctrl-C
/// (or `swsync stop`, from anywhere in the rig), for a while, or out of the ring buffers what has just passed. What a
/// device lacks is written down, and stood in for as --fill says.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct RecordArgs {
    #[command(flatten)]
    rig: RigArgs,
    #[command(flatten)]
    length: Length,
    /// Begin so long from now. [default: 1s]
    #[arg(long = "in", value_name = "DURATION", conflicts_with_all = ["last", "at"],
          value_parser = duration::any)]
    after: Option<Duration>,
    /// Begin at this rig time, in nanoseconds since 1970.
    #[arg(long, value_name = "NANOSECONDS", conflicts_with = "last",
          value_parser = clap::value_parser!(i64).range(0..))]
    at: Option<i64>,
    /// A new file of video every so often, on all devices at the same frame; `none`: one file, however long it grows. [default: 10m]
    #[arg(long, value_name = "DURATION|none")]
    segment: Option<Segment>,
    /// What stands in for a frame that is missing: hold (the one before), black, or none.
    #[arg(long, value_name = "hold|black|none", default_value = "hold")]
    fill: Fill,
    /// Name of the take, and so of its folder. [default: take-DATE-TIME-RANDOM, in UTC]
    #[arg(long, value_name = "NAME")]
    id: Option<OrderId>,
    #[command(flatten)]
    targets: TargetArgs,
    #[command(flatten)]
    arm: ArmArgs,
    #[command(flatten)]
    max_error: MaxErrorArgs,
    /// Give the order and return: `swsync stop` ends the take.
    #[arg(long)]
    detach: bool,
    /// Longest wait for answers once the take is over. [default: 12s]
    #[arg(long, value_name = "DURATION", value_parser = duration::positive)]
    timeout: Option<Duration>,
    /// Print one JSON document instead of the table.
    #[arg(long)]
    json: bool,
}

/// The length of each video file; `None`: one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment(Option<Span>);

impl std::str::FromStr for Segment {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let length = humantime::parse_duration(text);
        let length =
            length.map_err(|error| format!("{error}; a length is like 10m, or none for one file"))?;
        // A length of zero means no cuts, too.
        Ok(Self(Some(Span::from(length)).filter(|length| *length > Span::ZERO)))
    }
}

/// How long the take is. [default: until Ctrl-C]
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
struct Length {
    /// Record for so long.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::positive)]
    duration: Option<Duration>,
    /// Record until this rig time, in nanoseconds since 1970.
    #[arg(long, value_name = "NANOSECONDS", value_parser = clap::value_parser!(i64).range(0..))]
    until: Option<i64>,
    /// Save the last so long, out of the ring buffers.
    #[arg(long, value_name = "DURATION", value_parser = duration::positive)]
    last: Option<Duration>,
}

const AFTER_HELP: &str = "\
Examples:
  swsync record                           from one second from now until Ctrl-C
  swsync record --for 10s --in 2s         ten seconds, two seconds from now
  swsync record --last 5s                 the five seconds that have just passed
  swsync record --segment 60s             a new file every minute, on all devices at the same frame
  swsync record --segment none            one file, of up to 216 000 pictures; else one every ten minutes
  swsync record --segment 60s             where swsyncsink has max-files=10: the last ten minutes, as a dash-cam
  swsync record --arm --need 4            only if four devices are ready
  swsync record --detach                  and later, from any device: swsync stop

Progress is shown on standard error. Columns and files are those of `swsync shoot`; a file's name is its segment.

Ctrl-C, SIGTERM and SIGHUP (a closed terminal, a lost SSH connection) stop the take on all devices at one instant;
with --detach, or below nohup for SIGHUP, it goes on until `swsync stop`.

Exit codes:
  0  every device of the rig recorded every frame, of the same instants
  1  some device missed or failed a frame, or gave no answer, or differs (frame numbers, rate, time scale, clock); with
     --detach: has not taken the order, or differs
  2  wrong arguments
  3  no rig, no devices, or none that knows rig time
  4  --arm: not enough devices are ready; nothing was ordered
  6  every frame is saved, but pictures of one number may be further apart than --max-error, or that is not known
  130  interrupted by Ctrl-C a second time, or while answers were awaited (143: SIGTERM, 129: SIGHUP); see what it said";

/// Runs the command.
///
/// # Errors
/// No order could be placed. What devices answer is an exit code, not an error.
pub fn run(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    let rig = args.rig.connect_within(args.arm.patience())?;
    let order = |snapshot: &RigSnapshot, targets: &Targets| args.order(snapshot, targets);
    let Some((snapshot, targets)) = args.arm.arm(&rig, &args.targets, order, args.json)? else {
        return Ok(ExitCode::from(exit::NOT_READY));
    };
    warn_of_unready(&snapshot, &targets);
    let order = args.order(&snapshot, &targets)?;
    let what = describe(&order, snapshot.now(), args.detach);
    let again = format!("swsync stop {}", order.id());
    let is_cut = args.segment.is_some_and(|segment| segment.0.is_some());
    let follow = FollowOrder {
        rig: &rig,
        snapshot: &snapshot,
        json: args.json,
        timeout: args.timeout,
        again,
        is_cut,
        max_error: args.max_error.limit(),
    };
    if args.detach {
        return follow.detach(&order, &what);
    }
    follow.run(order, &what)
}

impl RecordArgs {
    fn order(&self, snapshot: &RigSnapshot, targets: &Targets) -> anyhow::Result<Order> {
        let now = snapshot.now();
        let (at, stop) = self.instants(now, |at| snapshot.snap_to_grid(at));
        let id = match &self.id {
            Some(id) => id.clone(),
            None => default_id("take", at, rand::random())?,
        };
        let kind = OrderKind::Take {
            segment: self.segment.map_or(Some(DEFAULT_SEGMENT), |segment| segment.0),
            fill: self.fill,
        };
        let order = Order::new(id, at, stop, kind)?.with_targets(targets.clone())?;
        Ok(order.on_timescale(snapshot.common.timescale()))
    }

    /// Start and stop. `snap_to_grid` moves an instant to the nearest one that suits all cameras.
    fn instants(
        &self,
        now: Timestamp<Rig>,
        snap_to_grid: impl Fn(Timestamp<Rig>) -> Timestamp<Rig>,
    ) -> (Timestamp<Rig>, Option<Timestamp<Rig>>) {
        if let Some(last) = self.length.last {
            let end = snap_to_grid(now);
            return (end - Span::from(last), Some(end));
        }
        let at = match self.at {
            Some(at) => Timestamp::from_nanos(at),
            None => snap_to_grid(now + self.after.map_or(DEFAULT_IN, Span::from)),
        };
        let stop = match (self.length.duration, self.length.until) {
            (Some(duration), _) => Some(at + Span::from(duration)),
            (None, until) => until.map(Timestamp::from_nanos),
        };
        (at, stop)
    }
}

/// The order in words.
fn describe(order: &Order, now: Timestamp<Rig>, detached: bool) -> String {
    let from = relative(order.at(), now);
    match order.stop() {
        Some(stop) => format!("a take of {:.3} s, from {from}", (stop - order.at()).as_secs_f64()),
        None if detached => format!("a take from {from}, until `swsync stop {}`", order.id()),
        None => format!("a take from {from}, until Ctrl-C or `swsync stop {}`", order.id()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: RecordArgs,
    }

    const NOW: Timestamp<Rig> = Timestamp::from_nanos(1_800_000_000_000_000_000);

    fn instants(args: &[&str]) -> (Span, Option<Span>) {
        let args = Cli::try_parse_from([&["record"], args].concat()).unwrap().args;
        let (at, stop) = args.instants(NOW, |at| at + Span::from_millis(3));
        (at - NOW, stop.map(|stop| stop - at))
    }

    #[test]
    fn a_take_is_in_the_future_in_the_past_or_at_given_instants() {
        let ms = Span::from_millis;
        assert_eq!(instants(&[]), (ms(1003), None));
        assert_eq!(instants(&["--for", "10s", "--in", "2s"]), (ms(2003), Some(ms(10_000))));
        assert_eq!(instants(&["--last", "5s"]), (ms(-4997), Some(ms(5000))));
        let args = ["--at", "1800000000500000000", "--until", "1800000001000000000"];
        assert_eq!(instants(&args), (ms(500), Some(ms(500))));
    }

    #[test]
    fn files_have_a_length_unless_none_is_asked_for() {
        let segment = |args: &[&str]| {
            Cli::try_parse_from([&["record"], args].concat())
                .map(|cli| cli.args.segment.map_or(Some(DEFAULT_SEGMENT), |segment| segment.0))
                .map_err(|e| e.to_string())
        };
        assert_eq!(segment(&[]), Ok(Some(DEFAULT_SEGMENT)));
        assert_eq!(segment(&["--segment", "90s"]), Ok(Some(Span::from_secs(90))));
        for none in ["none", "0", "0s"] {
            assert_eq!(segment(&["--segment", none]), Ok(None), "{none}");
        }
        assert!(segment(&["--segment", "long"]).unwrap_err().contains("or none for one file"));
    }

    #[test]
    fn contradictory_arguments_are_refused() {
        for args in [
            &["--last", "5s", "--in", "1s"][..],
            &["--for", "1s", "--last", "1s"],
            &["--fill", "white"],
            &["--need", "3"],
            &["--arm", "--need", "0"],
        ] {
            assert!(Cli::try_parse_from([&["record"], args].concat()).is_err(), "{args:?}");
        }
        assert!(Cli::try_parse_from(["record", "--arm=10s", "--need", "3"]).is_ok());
    }

    #[test]
    fn a_take_is_described_in_words() {
        let kind = OrderKind::Take { segment: None, fill: Fill::Hold };
        let id = OrderId::new("t1").unwrap();
        let at = NOW + Span::from_secs(1);
        let take = Order::new(id.clone(), at, Some(at + Span::from_secs(10)), kind).unwrap();
        assert_eq!(describe(&take, NOW, false), "a take of 10.000 s, from in 1.000 s");
        let open = Order::new(id, at, None, kind).unwrap();
        assert!(describe(&open, NOW, false).ends_with(", until Ctrl-C or `swsync stop t1`"));
        assert!(describe(&open, NOW, true).ends_with(", until `swsync stop t1`"));
    }
}
