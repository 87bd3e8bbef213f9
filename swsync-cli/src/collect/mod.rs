//! `swsync collect`: brings what orders yielded home from every device.

mod progress;
mod report;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use swsync_core::manifest::{DeviceFrames, Gap, Runs, gaps};
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::Order;
use swsync_rig::control::Session;
use swsync_rig::share::collect::{CollectError, Collected, collect, delete};
use swsync_rig::share::{Remote, RemoteError, TakeEntry};

use crate::exit;
use crate::output;
use crate::rig::RigArgs;
use crate::takes::{self, DeviceTake};
use progress::{Bar, Bars};

/// How long the picture of who is in the rig may take to settle.
const SETTLE: Duration = Duration::from_secs(1);

/// Fetch the files of orders from every device of the rig.
///
/// They come to OUT/ORDER/DEVICE/, as they are on the devices. Each file appears whole, its SHA-256 being
/// that of the device's, or not at all. Whatever interrupts it, the same command goes on where it stopped, and
/// what is here already is not fetched again. While a device records, it is waited for.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct CollectArgs {
    /// Where the files go.
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Orders to fetch, by name. [default: all that the devices have]
    #[arg(value_name = "ORDER")]
    orders: Vec<OrderId>,
    #[command(flatten)]
    rig: RigArgs,
    /// Only the order that began last.
    #[arg(long, conflicts_with = "orders")]
    last: bool,
    /// Only from this device. Repeatable, or separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    device: Vec<DeviceId>,
    /// Devices to fetch from at once: on WiFi more only share the same air.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    parallel: u8,
    /// Delete on the device what is here, once all of an order's files there are, and their SHA-256 was compared
    /// once more.
    #[arg(long)]
    delete_verified: bool,
    /// How long a device may be silent before it is given up, like 30s.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print one JSON document instead of the tables.
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  swsync collect takes                         everything that is not here yet
  swsync collect takes --last                  what was taken last
  swsync collect takes run-3 --delete-verified one order, and make room on the devices
  swsync collect takes --json | jq .gaps       which frames some devices lack

Columns:
  new        files that came this time; the others were here already
  state      whole: all files are here; unfinished: the device still writes, or was switched off while it did

Exit codes:
  0  all files of the orders are here (frames that a device never had are listed, but do not count)
  1  some files could not be fetched
  2  wrong arguments
  3  no rig or no devices
  130  interrupted by Ctrl-C; the same command goes on";

/// What became of one device's part of a take.
struct Part {
    device: DeviceId,
    order: OrderId,
    outcome: Outcome,
}

enum Outcome {
    /// It is here, and so many files of it are deleted there.
    Here { collected: Collected, deleted: usize },
    /// The device is not done with it.
    Unfinished,
    /// It is not here, or not all of it, or could not be deleted.
    Failed(CollectError),
}

/// What came of it all.
struct Harvest {
    parts: Vec<Part>,
    /// Devices that do not say what they have.
    silent: Vec<(DeviceId, RemoteError)>,
    gaps: Vec<(OrderId, Gap)>,
    /// Parts that are here but cannot be read.
    unreadable: Vec<String>,
}

impl Harvest {
    fn is_whole(&self) -> bool {
        let here = |part: &Part| matches!(part.outcome, Outcome::Here { .. });
        self.silent.is_empty() && self.unreadable.is_empty() && self.parts.iter().all(here)
    }
}

/// Runs the command.
///
/// # Errors
/// Where there is no rig, or no device has an order that was named.
pub fn run(args: &CollectArgs) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    let session = args.rig.visit()?;
    let devices = args.devices(&session)?;
    on_interrupt()?;
    let bars = Bars::new(args.json);
    let (takes, silent) = list(args, &session, &devices);
    let orders = args.chosen(&takes)?;

    let width = devices.iter().map(|device| device.as_str().len()).max().unwrap_or_default();
    let table = report::table(width, &orders);
    if !args.json {
        output::line(&table.headings());
    }
    let parts = fetch_all(args, &session, &takes, &orders, &bars, &|part| {
        if !args.json {
            bars.print(&table.row(&report::row(part)));
        }
    });
    let (gaps, unreadable) = compare(args, &devices, &silent, &orders);
    let harvest = Harvest { parts, silent, gaps, unreadable };
    if args.json {
        output::line(&report::json(&args.out, &harvest).to_string());
    } else {
        for line in report::verdict(&harvest) {
            output::line(&line);
        }
    }
    Ok(ExitCode::from(if harvest.is_whole() { 0 } else { exit::INCOMPLETE }))
}

impl CollectArgs {
    /// The devices to ask.
    fn devices(&self, session: &Session) -> anyhow::Result<Vec<DeviceId>> {
        let roster = session.roster(SETTLE);
        if self.device.is_empty() {
            return Ok(roster);
        }
        if let Some(absent) = self.device.iter().find(|device| !roster.contains(device)) {
            anyhow::bail!("there is no device {absent} in the rig: there are {}", report::list(&roster));
        }
        let wanted: BTreeSet<_> = self.device.iter().cloned().collect();
        Ok(wanted.into_iter().collect())
    }

    /// The orders to fetch, out of those that devices have.
    fn chosen(&self, takes: &[(DeviceId, TakeEntry)]) -> anyhow::Result<Vec<OrderId>> {
        let all: BTreeSet<_> = takes.iter().map(|(_, take)| take.order.clone()).collect();
        if let Some(unknown) = self.orders.iter().find(|order| !all.contains(order)) {
            anyhow::bail!("no device has files of an order {unknown}; there are: {}", report::list(&all));
        }
        if self.last {
            let last = takes.iter().max_by_key(|(_, take)| take.started_ns);
            return Ok(last.map(|(_, take)| take.order.clone()).into_iter().collect());
        }
        let named: BTreeSet<_> = self.orders.iter().cloned().collect();
        Ok(if named.is_empty() { all } else { named }.into_iter().collect())
    }

    fn remote<'a>(&self, session: &'a Session, device: &DeviceId, bar: Bar) -> Remote<'a> {
        Remote::new(session, device.clone(), self.timeout, move |busy| bar.pause(busy))
    }
}

/// Runs `work` on each of `items`, a few at a time.
fn in_parallel<T: Send, R: Send>(
    parallel: u8,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let queue = Mutex::new(items.into_iter().collect::<Vec<_>>().into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                while let Some(item) = next() {
                    let result = work(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

type Silent = Vec<(DeviceId, RemoteError)>;

/// The takes that devices have, and the devices that do not say.
fn list(args: &CollectArgs, session: &Session, devices: &[DeviceId]) -> (Vec<(DeviceId, TakeEntry)>, Silent) {
    let listed = in_parallel(args.parallel, devices, |device| {
        (device.clone(), args.remote(session, device, Bar::none()).takes())
    });
    let (mut takes, mut silent) = (Vec::new(), Vec::new());
    for (device, result) in listed {
        match result {
            Ok(entries) => takes.extend(entries.into_iter().map(|take| (device.clone(), take))),
            Err(error) => silent.push((device, error)),
        }
    }
    silent.sort_by(|a, b| a.0.cmp(&b.0));
    (takes, silent)
}

/// Fetches the chosen orders: of each device one after the other, the oldest first.
fn fetch_all(
    args: &CollectArgs,
    session: &Session,
    takes: &[(DeviceId, TakeEntry)],
    orders: &[OrderId],
    bars: &Bars,
    on_part: &(impl Fn(&Part) + Sync),
) -> Vec<Part> {
    let devices: BTreeSet<_> = takes.iter().map(|(device, _)| device).collect();
    let parts = in_parallel(args.parallel, devices, |device| {
        let mut wanted: Vec<_> = takes
            .iter()
            .filter(|(of, take)| of == device && orders.contains(&take.order))
            .map(|(_, take)| take)
            .collect();
        wanted.sort_by_key(|take| take.started_ns);
        let bar = bars.add(device);
        let mut parts = Vec::new();
        for take in wanted {
            let outcome = fetch(args, session, device, take, &bar);
            // A device that is gone will not have come back for its next take.
            let gone =
                matches!(&outcome, Outcome::Failed(CollectError::Remote(RemoteError::NoAnswer { .. })));
            let part = Part { device: device.clone(), order: take.order.clone(), outcome };
            on_part(&part);
            parts.push(part);
            if gone {
                break;
            }
        }
        bar.finish();
        parts
    });
    let mut parts: Vec<_> = parts.into_iter().flatten().collect();
    parts.sort_by(|a, b| (&a.order, &a.device).cmp(&(&b.order, &b.device)));
    parts
}

fn fetch(args: &CollectArgs, session: &Session, device: &DeviceId, take: &TakeEntry, bar: &Bar) -> Outcome {
    if !take.complete {
        return Outcome::Unfinished;
    }
    let remote = args.remote(session, device, bar.clone());
    bar.begin(&take.order);
    match collect(&remote, &take.order, &args.out, |event| bar.show(event)) {
        Ok(collected) => {
            let deleted = if args.delete_verified { delete(&remote, &take.order, &args.out) } else { Ok(0) };
            deleted.map_or_else(Outcome::Failed, |deleted| Outcome::Here { collected, deleted })
        }
        Err(error) => Outcome::Failed(error),
    }
}

/// The frames that some devices lack, out of what is here; and what of that cannot be read.
fn compare(
    args: &CollectArgs,
    devices: &[DeviceId],
    silent: &[(DeviceId, RemoteError)],
    orders: &[OrderId],
) -> (Vec<(OrderId, Gap)>, Vec<String>) {
    let (mut all, mut unreadable) = (Vec::new(), Vec::new());
    for order in orders {
        let here = takes::devices(&args.out, order);
        let mut frames = Vec::new();
        let mut given = None;
        for device in &here {
            match DeviceTake::read(&args.out.join(order.as_str()).join(device.as_str())) {
                Ok(part) => {
                    given = given.or_else(|| serde_json::from_value::<Order>(part.take.ordered.clone()).ok());
                    frames.push(part.frames());
                }
                Err(error) => unreadable.push(error.to_string()),
            }
        }
        // Those that were asked, and say that they have nothing of it.
        let meant = |device: &&DeviceId| given.as_ref().is_none_or(|order| order.targets().include(device));
        let absent = devices.iter().filter(|device| {
            !here.contains(device) && !silent.iter().any(|(silent, _)| silent == *device) && meant(device)
        });
        frames.extend(absent.map(|device| DeviceFrames {
            device: device.clone(),
            take: None,
            saved: Runs::default(),
        }));
        all.extend(gaps(&frames).into_iter().map(|gap| (order.clone(), gap)));
    }
    (all, unreadable)
}

/// Has Ctrl-C say that nothing is lost, and end the command.
fn on_interrupt() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        // Standard error may be closed.
        let _ = writeln!(
            std::io::stderr(),
            "\nswsync: interrupted; what has come stays, and the same command goes on where it stopped"
        );
        std::process::exit(i32::from(exit::INTERRUPTED));
    })
    .context("cannot catch Ctrl-C")
}
