//! `swsync shoot`: every device saves the frames of one instant, and every device answers.

mod report;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use swsync_core::name::DeviceId;
use swsync_core::name::OrderId;
use swsync_core::order::{GRACE, Kind, MAX_BURST, Order};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::control::StatusReport;

use crate::clock::{self, RigClock};
use crate::exit::{self, NoRigTime};
use crate::output;
use crate::rig::RigArgs;
use crate::table::clean;

/// When the frame is if nobody says: late enough for the order to be everywhere, on WiFi too.
const DEFAULT_IN: Span = Span::from_millis(500);
/// How long to wait for everyone's status beforehand.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// The slowest frames that are waited for where no device tells its own.
const SLOWEST_PERIOD: Span = Span::from_millis(100);
/// How long writing the files may take, beyond the time in which frames come.
const WRITING: Duration = Duration::from_secs(10);

/// Take one shot with every camera of the rig.
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
    /// Frames to save, one after another, from that instant on.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BURST)))]
    count: u32,
    /// Name of the order, and so of its folder or files. [default: shot-DATE-TIME-RANDOM, in UTC]
    #[arg(long, value_name = "NAME")]
    id: Option<OrderId>,
    /// Longest wait for answers, like 30s. [default: until the last frame's instant, and 12 s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
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
    #[arg(long = "in", value_name = "DURATION", value_parser = humantime::parse_duration)]
    after: Option<Duration>,
    /// So long ago: out of the ring buffers.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ago: Option<Duration>,
    /// At this rig time, in nanoseconds since 1970: `at_ns` of --json, to repeat an order exactly.
    #[arg(long, value_name = "NANOSECONDS", value_parser = clap::value_parser!(i64).range(0..))]
    at: Option<i64>,
}

const AFTER_HELP: &str = "\
Examples:
  swsync shoot                            one frame from every camera, half a second from now
  swsync shoot --ago 500ms                the moment that has just passed
  swsync shoot --in 2s --count 30         a burst of 30 frames
  swsync shoot --connect tcp/pi0:7447     where the network passes no multicast
  swsync shoot --json | jq .complete      for scripts

Columns:
  frames     number of the first and the last frame: the same on all devices, or something is wrong
  phase us   frame time minus grid instant in microseconds; of several frames the largest
  clock us   what the error of the device's clock may be, 1 sigma, in microseconds

Exit codes:
  0  every device saved every frame
  1  some device missed or failed a frame, or gave no answer
  2  wrong arguments
  3  no rig, no devices, or none that knows rig time
  130  interrupted by Ctrl-C; the order stands";

impl When {
    fn instant(&self, now: Timestamp<Rig>) -> Timestamp<Rig> {
        match (self.after, self.ago, self.at) {
            (_, _, Some(at)) => Timestamp::from_nanos(at),
            (_, Some(ago), _) => now - Span::from(ago),
            (after, _, _) => now + after.map_or(DEFAULT_IN, Span::from),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Where no order could be placed. What devices answer is an exit code, not an error.
pub fn run(args: &ShootArgs) -> anyhow::Result<ExitCode> {
    let session = args.rig.visit()?;
    let roster = session.roster(STATUS_TIMEOUT);
    let reports = session.statuses(STATUS_TIMEOUT);
    warn_of_unready(&roster, &reports);
    let now = RigClock::best(&reports).ok_or(NoRigTime)?.at(Instant::now());
    let order = args.order(now)?;
    let timeout = args.timeout.unwrap_or_else(|| timeout(&order, now, slowest(&reports)));

    let width = roster.iter().map(|device| device.as_str().len()).max().unwrap_or_default();
    let progress = Arc::new(Mutex::new(Progress::default()));
    on_interrupt(&order, Arc::clone(&progress), roster.len())?;
    let table = report::table(width);
    if !args.json {
        output::line(&format!("{}  {}", order.id(), describe(&order, now)));
        output::line(&table.headings());
    }
    let summary = session.place(&order, timeout, |outcome| {
        let mut progress = lock(&progress);
        progress.answered.push(outcome.device().clone());
        if !args.json {
            output::line(&table.row(&report::row(outcome)));
        }
    });
    let summary = summary.with_context(|| format!("order {}", order.id()))?;
    // From here on Ctrl-C is too late to say anything that is not on the screen already.
    let _progress = lock(&progress);
    if args.json {
        output::line(&report::json(&order, &summary).to_string());
    } else {
        output::line(&report::verdict(&summary));
    }
    Ok(ExitCode::from(if summary.is_complete() { 0 } else { exit::INCOMPLETE }))
}

impl ShootArgs {
    fn order(&self, now: Timestamp<Rig>) -> anyhow::Result<Order> {
        let at = self.when.instant(now);
        let id = match &self.id {
            Some(id) => id.clone(),
            None => default_id(at, rand::random())?,
        };
        Ok(Order::burst(id, at, self.count)?)
    }
}

/// `shot-<UTC date>-<time>-<random>`: sorts by the time that the shot shows.
fn default_id(at: Timestamp<Rig>, random: u16) -> anyhow::Result<OrderId> {
    let time = jiff::Timestamp::from_nanosecond(at.as_nanos().into())?;
    Ok(OrderId::new(format!("shot-{}-{random:04x}", time.strftime("%Y%m%d-%H%M%S")))?)
}

/// When the order's instant is, in words.
fn describe(order: &Order, now: Timestamp<Rig>) -> String {
    let from_now = order.at() - now;
    let secs = from_now.abs().as_secs_f64();
    let when = if from_now.is_negative() { format!("{secs:.3} s ago") } else { format!("in {secs:.3} s") };
    match order.kind() {
        Kind::Burst { count } if count > 1 => format!("{count} frames, from {when}"),
        _ => when,
    }
}

/// The longest of the devices' periods.
fn slowest(reports: &[StatusReport]) -> Span {
    let periods = reports
        .iter()
        .filter_map(|report| report.status.frames.as_ref().and_then(|frames| clock::period(&frames.newest)));
    periods.max().unwrap_or(SLOWEST_PERIOD)
}

/// Until the frames are there, or known not to come, and written.
fn timeout(order: &Order, now: Timestamp<Rig>, period: Span) -> Duration {
    let settled = order.settled_at(period).unwrap_or(order.at()) - now;
    settled.max(GRACE).to_duration() + WRITING
}

/// Names those from whom good frames are not to be expected.
fn warn_of_unready(roster: &[DeviceId], reports: &[StatusReport]) {
    for report in reports {
        if let Some(why) = clock::unready(&report.status) {
            eprintln!("swsync: warning: {} is not ready: {why}", report.status.device);
        }
    }
    for device in roster {
        if !reports.iter().any(|report| report.status.device == *device) {
            eprintln!("swsync: warning: {device} does not say how it is");
        }
    }
}

/// Who has answered so far.
#[derive(Debug, Default)]
struct Progress {
    answered: Vec<DeviceId>,
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has Ctrl-C say that the order stands, and end the command.
fn on_interrupt(order: &Order, progress: Arc<Mutex<Progress>>, devices: usize) -> anyhow::Result<()> {
    let order = order.clone();
    ctrlc::set_handler(move || {
        let progress = lock(&progress);
        let text = interrupted(&order, progress.answered.len(), devices);
        let _ = writeln!(std::io::stderr(), "\nswsync: {}", clean(&text)); // it may be closed
        std::process::exit(i32::from(exit::INTERRUPTED));
    })
    .context("cannot catch Ctrl-C")
}

fn interrupted(order: &Order, answered: usize, devices: usize) -> String {
    let (id, at) = (order.id(), order.at().as_nanos());
    let count = match order.kind() {
        Kind::Burst { count } => count,
        Kind::Still { .. } | Kind::Take { .. } => 1,
    };
    format!(
        "interrupted, but the order stands: {answered} of {devices} devices had answered, and the others \
         still save their frames. To ask again: swsync shoot --id {id} --at {at} --count {count}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{name, status};

    const NOW: Timestamp<Rig> = Timestamp::from_nanos(1_800_000_000_000_000_000);

    fn order(at: Timestamp<Rig>, count: u32) -> Order {
        Order::burst(name("o1"), at, count).unwrap()
    }

    #[test]
    fn the_instant_is_ahead_behind_or_given() {
        let when = When { after: None, ago: None, at: None };
        assert_eq!(when.instant(NOW), NOW + Span::from_millis(500));
        let secs = Some(Duration::from_secs(2));
        assert_eq!(When { after: secs, ..when.clone() }.instant(NOW), NOW + Span::from_secs(2));
        assert_eq!(When { ago: secs, ..when.clone() }.instant(NOW), NOW - Span::from_secs(2));
        assert_eq!(When { at: Some(7), ..when }.instant(NOW), Timestamp::from_nanos(7));
    }

    #[test]
    fn ids_sort_by_time_and_differ() {
        assert_eq!(default_id(NOW, 0xbeef).unwrap().as_str(), "shot-20270115-080000-beef");
        assert_eq!(default_id(Timestamp::ZERO, 7).unwrap().as_str(), "shot-19700101-000000-0007");
    }

    #[test]
    fn the_timeout_covers_instant_frames_and_writing() {
        let period = Span::from_millis(100);
        let in_5_s = order(NOW + Span::from_secs(5), 30);
        assert_eq!(timeout(&in_5_s, NOW, period), Duration::from_secs(5 + 3 + 2 + 10));
        let long_ago = order(NOW - Span::from_secs(3600), 1);
        assert_eq!(timeout(&long_ago, NOW, period), Duration::from_secs(12));
    }

    #[test]
    fn the_slowest_camera_sets_the_pace() {
        assert_eq!(slowest(&[]), SLOWEST_PERIOD);
        let now = Instant::now();
        let report = StatusReport { status: status("a"), asked: now, heard: now };
        assert_eq!(slowest(&[report]), Span::from_nanos(33_333_333));
    }

    #[test]
    fn when_is_said_in_words() {
        assert_eq!(describe(&order(NOW + Span::from_millis(500), 1), NOW), "in 0.500 s");
        let burst = order(NOW - Span::from_millis(1250), 3);
        assert_eq!(describe(&burst, NOW), "3 frames, from 1.250 s ago");
    }

    #[test]
    fn whoever_interrupts_can_ask_again() {
        let text = interrupted(&order(NOW, 2), 1, 3);
        assert!(text.contains("1 of 3"), "{text}");
        assert!(text.ends_with("--id o1 --at 1800000000000000000 --count 2"), "{text}");
    }
}
