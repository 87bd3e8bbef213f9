//! `swsync collect`: fetches the files of orders from every device.

mod latest_order;
mod pending;
mod progress;
mod report;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use parking_lot::Mutex;
use swsync_core::manifest::{DeviceFrames, Gap, Runs, gaps};
use swsync_core::name::{DeviceId, Name, OrderId};
use swsync_core::order::Order;
use swsync_rig::control::Session;
use swsync_rig::share::collect::{CollectError, Collected, collect, delete};
use swsync_rig::share::pending::Pending;
use swsync_rig::share::{Listing, Remote, RemoteError, TakeEntry, Unreadable};

use crate::exit;
use crate::output;
use crate::rig::RigArgs;
use crate::takes;
use progress::{Bar, Bars};

/// How long to wait until all devices of the rig are known.
const SETTLE: Duration = Duration::from_secs(1);

/// Fetch the files of orders from every device of the rig.
///
/// They come to OUT/ORDER/DEVICE/, as they are on the devices. Each file appears whole, its SHA-256 being
/// that of the device's, or not at all. Whatever interrupts it, the same command goes on where it stopped, and
/// what is here already is not fetched again: it is read, and compared by its SHA-256. What is here under a file's name
/// and is not what the device has (an edited picture) is kept under another name. While a device records, it is waited
/// for. Who was not whole the last time is named until it is, or is given up with --without.
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
    /// Only what was ordered last, whenever it was taken.
    #[arg(long, conflicts_with = "orders")]
    last: bool,
    /// Only from this device. Repeatable, or separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    device: Vec<DeviceId>,
    /// Give this device up: it is not asked, and what is missing of it in OUT is no longer named. Repeatable, or separated by
    /// commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with = "device")]
    without: Vec<DeviceId>,
    /// Also fetch what is whole of takes that a device is not done with: it still writes, its disk is full, or it was
    /// switched off.
    #[arg(long)]
    partial: bool,
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
  swsync collect takes --last                  what was ordered last
  swsync collect takes run-3 --delete-verified one order, and make room on the devices
  swsync collect takes --without left          a device that will not come back
  swsync collect takes --json | jq .gaps       which frames some devices lack

Columns:
  new        files that came this time; the others were here already
  state      whole: all files are here, and are what the device has; unfinished: the device still writes, or was
             switched off while it did; partial: of such a take what is whole is here (--partial)

Exit codes:
  0  all files that the devices have of the orders are here, and can be read. Frames that a device never had are
     listed, but do not count
  1  not all of it: a file could not be fetched or read; a take is not finished (with --partial too); a device does
     not say what it has, or was not whole the last time and is not here now; or the command failed
  2  wrong arguments
  3  no rig or no devices
  130  interrupted by Ctrl-C; the same command goes on";

/// The outcome for one device's part of a take.
struct TakePart {
    device: DeviceId,
    order: OrderId,
    outcome: PartOutcome,
}

enum PartOutcome {
    /// It is here; `deleted` files of it were deleted on the device.
    Here { collected: Collected, deleted: usize },
    /// The device still writes it, or was switched off while it did; its whole files are here (--partial).
    Partial(Collected),
    /// The device still writes it, or was switched off while it did.
    Unfinished,
    /// Not all of it is here, or it could not be deleted on the device.
    Failed(CollectError),
}

/// The result of the command.
struct CollectResult {
    parts: Vec<TakePart>,
    /// Devices that do not say what they have.
    silent: Vec<(DeviceId, RemoteError)>,
    gaps: Vec<(OrderId, Gap)>,
    /// Errors of parts that are here but cannot be read.
    unreadable: Vec<String>,
    /// Folders on devices that cannot be read as takes.
    unreadable_there: Vec<(DeviceId, Unreadable)>,
    /// Parts that were not whole before, and that no device has now.
    pending: Vec<(OrderId, DeviceId, Pending)>,
}

impl CollectResult {
    fn is_whole(&self) -> bool {
        let here = |part: &TakePart| matches!(part.outcome, PartOutcome::Here { .. });
        let others =
            self.unreadable.is_empty() && self.unreadable_there.is_empty() && self.pending.is_empty();
        self.silent.is_empty() && others && self.parts.iter().all(here)
    }
}

/// Runs the command.
///
/// # Errors
/// There is no rig, or no device has an order that was named.
pub fn run(args: &CollectArgs) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    pending::give_up(args)?;
    let session = args.rig.visit().inspect_err(|_| pending::print(args))?;
    let devices = args.devices(&session)?;
    on_interrupt()?;
    let bars = Bars::new(args.json);
    let DeviceTakes { takes, unreadable: unreadable_there, silent } = list(args, &session, &devices);
    let orders = args.chosen(&takes)?;
    pending::begin(args, &takes, &silent, &orders)?;

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
    let mut result = CollectResult {
        parts,
        silent,
        gaps: Vec::new(),
        unreadable: Vec::new(),
        unreadable_there,
        pending: Vec::new(),
    };
    compare(args, &devices, &orders, &mut result);
    result.pending = pending::update(args, &devices, &takes, &orders, &result)?;
    if args.json {
        output::line(&report::json(&args.out, &result).to_string());
    } else {
        for line in report::verdict(&result) {
            output::line(&line);
        }
    }
    Ok(ExitCode::from(if result.is_whole() { 0 } else { exit::INCOMPLETE }))
}

impl CollectArgs {
    /// The devices to ask.
    fn devices(&self, session: &Session) -> anyhow::Result<Vec<DeviceId>> {
        let mut roster = session.roster(SETTLE);
        roster.retain(|device| !self.without.contains(device));
        if self.device.is_empty() {
            return Ok(roster);
        }
        if let Some(absent) = self.device.iter().find(|device| !roster.contains(device)) {
            anyhow::bail!("there is no device {absent} in the rig: there are {}", report::list(&roster));
        }
        let wanted: BTreeSet<_> = self.device.iter().cloned().collect();
        Ok(wanted.into_iter().collect())
    }

    /// The orders to fetch, of those that devices have.
    fn chosen(&self, takes: &[(DeviceId, TakeEntry)]) -> anyhow::Result<Vec<OrderId>> {
        let all: BTreeSet<_> = takes.iter().map(|(_, take)| take.order.clone()).collect();
        let unknown = |order: &&OrderId| !all.contains(order) && pending::of(&self.out, order).is_empty();
        if let Some(unknown) = self.orders.iter().find(unknown) {
            anyhow::bail!("no device has files of an order {unknown}; there are: {}", report::list(&all));
        }
        if self.last {
            return Ok(latest_order::find(takes).into_iter().cloned().collect());
        }
        let named: BTreeSet<_> = self.orders.iter().cloned().collect();
        Ok(if named.is_empty() { all } else { named }.into_iter().collect())
    }

    fn remote<'a>(&self, session: &'a Session, device: &DeviceId, bar: Bar) -> Remote<'a> {
        Remote::new(session, device.clone(), self.timeout, move |busy| bar.pause(busy))
    }
}

/// Runs `work` on each of `items`, in `parallel` threads.
fn in_parallel<T: Send, R: Send>(
    parallel: u8,
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let queue = Mutex::new(items.into_iter().collect::<Vec<_>>().into_iter());
    let next = || queue.lock().next();
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                while let Some(item) = next() {
                    let result = work(item);
                    results.lock().push(result);
                }
            });
        }
    });
    results.into_inner()
}

/// The takes that devices have.
#[derive(Default)]
struct DeviceTakes {
    takes: Vec<(DeviceId, TakeEntry)>,
    unreadable: Vec<(DeviceId, Unreadable)>,
    /// Devices that did not answer.
    silent: Vec<(DeviceId, RemoteError)>,
}

fn list(args: &CollectArgs, session: &Session, devices: &[DeviceId]) -> DeviceTakes {
    let answers = in_parallel(args.parallel, devices, |device| {
        (device.clone(), args.remote(session, device, Bar::none()).takes())
    });
    let mut listed = DeviceTakes::default();
    for (device, result) in answers {
        match result {
            Ok(Listing { takes, unreadable }) => {
                listed.takes.extend(takes.into_iter().map(|take| (device.clone(), take)));
                listed.unreadable.extend(unreadable.into_iter().map(|one| (device.clone(), one)));
            }
            Err(error) => listed.silent.push((device, error)),
        }
    }
    listed.takes.sort_by(|a, b| (&a.0, &a.1.order).cmp(&(&b.0, &b.1.order)));
    listed.unreadable.sort();
    listed.silent.sort_by(|a, b| a.0.cmp(&b.0));
    listed
}

/// Fetches the chosen orders: from each device one after the other, the oldest first.
fn fetch_all(
    args: &CollectArgs,
    session: &Session,
    takes: &[(DeviceId, TakeEntry)],
    orders: &[OrderId],
    bars: &Bars,
    on_part: &(impl Fn(&TakePart) + Sync),
) -> Vec<TakePart> {
    let devices: BTreeSet<_> = takes.iter().map(|(device, _)| device).collect();
    let parts = in_parallel(args.parallel, devices, |device| {
        let mut wanted: Vec<_> = takes
            .iter()
            .filter(|(of, take)| of == device && orders.contains(&take.order))
            .map(|(_, take)| take)
            .collect();
        wanted.sort_by_key(|take| (take.accepted_ns, take.started_ns));
        let bar = bars.add(device);
        let mut parts = Vec::new();
        let mut gone = None;
        for take in wanted {
            let outcome = match &gone {
                // A device that gave no answer once is not asked for its other takes.
                Some(error) => PartOutcome::Failed(CollectError::Remote(RemoteError::clone(error))),
                None => match case_conflict(takes, device, take) {
                    Some(name) => PartOutcome::Failed(CollectError::Alike {
                        there: args.out.join(name),
                        name: device.clone(),
                    }),
                    None => fetch(args, session, device, take, &bar),
                },
            };
            if let PartOutcome::Failed(CollectError::Remote(error @ RemoteError::NoAnswer { .. })) = &outcome
            {
                gone.get_or_insert_with(|| error.clone());
            }
            let part = TakePart { device: device.clone(), order: take.order.clone(), outcome };
            on_part(&part);
            parts.push(part);
        }
        bar.finish();
        parts
    });
    let mut parts: Vec<_> = parts.into_iter().flatten().collect();
    parts.sort_by(|a, b| (&a.order, &a.device).cmp(&(&b.order, &b.device)));
    parts
}

/// The folder that the part of `device` in `take` would share with another part on a disk that ignores case; `None` if there
/// is none, or this part comes first.
fn case_conflict(takes: &[(DeviceId, TakeEntry)], device: &DeviceId, take: &TakeEntry) -> Option<String> {
    let is_first = |other: &Name, name: &Name| other < name && other.is_folder_of(name);
    takes.iter().find_map(|(other, TakeEntry { order, .. })| {
        if is_first(order, &take.order) {
            return Some(order.to_string());
        }
        (*order == take.order && is_first(other, device)).then(|| format!("{order}/{other}"))
    })
}

fn fetch(
    args: &CollectArgs,
    session: &Session,
    device: &DeviceId,
    take: &TakeEntry,
    bar: &Bar,
) -> PartOutcome {
    if !take.complete && !args.partial {
        return PartOutcome::Unfinished;
    }
    let remote = args.remote(session, device, bar.clone());
    bar.begin(&take.order);
    match collect(&remote, &take.order, &args.out, |event| bar.show(event)) {
        Ok(collected) if !collected.complete => PartOutcome::Partial(collected),
        Ok(collected) if !args.delete_verified => PartOutcome::Here { collected, deleted: 0 },
        Ok(mut collected) => match delete(&remote, &take.order, &args.out) {
            Ok(deleted) => {
                collected.kept.extend(deleted.kept);
                PartOutcome::Here { collected, deleted: deleted.files }
            }
            Err(error) => PartOutcome::Failed(error),
        },
        Err(error) => PartOutcome::Failed(error),
    }
}

/// Compares the parts that are here: finds the frames that some devices lack, and the parts that cannot be read.
fn compare(args: &CollectArgs, devices: &[DeviceId], orders: &[OrderId], result: &mut CollectResult) {
    for order in orders {
        let here = takes::devices(&args.out, order);
        let mut frames = Vec::new();
        let mut given = None;
        for device in &here {
            match takes::read_frames(&args.out.join(order.as_str()).join(device.as_str())) {
                Ok(part) => {
                    let ordered = part.take.as_ref().map(|take| take.ordered.clone());
                    given = given.or_else(|| serde_json::from_value::<Order>(ordered?).ok());
                    frames.push(part);
                }
                Err(error) => result.unreadable.push(format!("take {order} of {device}: {error}")),
            }
        }
        // Devices that were asked and have nothing of this order.
        let is_target =
            |device: &DeviceId| given.as_ref().is_none_or(|order| order.targets().include(device));
        let has_none = |device: &DeviceId| {
            let is_silent = result.silent.iter().any(|(silent, _)| silent == device);
            let has_some = result.parts.iter().any(|part| part.device == *device && part.order == *order);
            !is_silent && !has_some
        };
        let absent =
            devices.iter().filter(|device| !here.contains(device) && has_none(device) && is_target(device));
        frames.extend(absent.map(|device| DeviceFrames {
            device: device.clone(),
            take: None,
            saved: Runs::default(),
        }));
        result.gaps.extend(gaps(&frames).into_iter().map(|gap| (order.clone(), gap)));
    }
}

/// From now on Ctrl-C ends the command with the message that nothing is lost.
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
