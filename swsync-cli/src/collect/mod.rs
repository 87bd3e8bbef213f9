//! `swsync collect`: fetches the files of orders from every device.

mod args;
mod listed_takes;
mod marks;
mod pending;
mod progress;
mod report;
mod result;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use swsync_client::collect::{CollectError, collect, delete};
use swsync_client::share::{TakeEntry, Unreadable};
use swsync_client::{Presence, RemoteError, RemoteTakes, Session, in_parallel};
use swsync_core::manifest::{DeviceFrames, NumberSet, missing_frames};
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::Order;

use crate::certify;
use crate::exit;
use crate::output;
use crate::takes;
pub use args::CollectArgs;
use listed_takes::{case_conflict, latest_order};
use progress::{Bar, Bars};
use result::{CollectResult, PartOutcome, TakePart};

/// How long to wait until all devices of the rig are known.
const SETTLE: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
/// There is no rig, or no device has an order that was named.
pub fn run(args: &CollectArgs) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
    pending::give_up(args)?;
    let rig = args.rig.connect().inspect_err(|_| pending::print(args))?;
    let (devices, missed) = args.devices(rig.session())?;
    on_interrupt()?;
    let bars = Bars::new(args.json);
    let DeviceTakes { takes, notes, unreadable: unreadable_there, mut silent } =
        list(args, rig.session(), &devices);
    silent.extend(missed);
    silent.sort();
    let orders = args.chosen(&takes)?;
    pending::begin(args, &takes, &silent, &orders)?;
    marks::spread_notes(&notes, &orders, |device| args.remote(rig.session(), device, Bar::none()));

    let width = devices.iter().map(|device| device.as_str().len()).max().unwrap_or_default();
    let table = report::table(width, &orders);
    if !args.json {
        output::line(&table.headings());
    }
    let parts = fetch_all(args, rig.session(), &takes, &orders, &bars, &|part| {
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
    certify_all(args, &result);
    if args.json {
        output::line(&report::json(&args.out, &result).to_string());
    } else {
        for line in report::verdict(&result) {
            output::line(&line);
        }
    }
    Ok(ExitCode::from(if result.is_whole() { 0 } else { exit::INCOMPLETE }))
}

/// Writes certificate.json of each order of which something is here.
fn certify_all(args: &CollectArgs, result: &CollectResult) {
    let is_here =
        |part: &&TakePart| matches!(part.outcome, PartOutcome::Here { .. } | PartOutcome::Partial(_));
    let orders: BTreeSet<_> = result.parts.iter().filter(is_here).map(|part| &part.order).collect();
    for order in orders {
        if let Err(error) = certify::renew(&args.out.join(order.as_str())) {
            output::warn(&format!("{order} has no certificate.json: {error:#}"));
        }
    }
}

impl CollectArgs {
    /// The devices to ask, and those that belong to the rig and cannot be asked, each with a text for a person.
    fn devices(&self, session: &Session) -> anyhow::Result<(Vec<DeviceId>, SilentDevices)> {
        let Presence { here, missed } = session.presence(SETTLE);
        if let Some(absent) =
            self.device.iter().find(|device| !here.contains(*device) && !missed.contains_key(*device))
        {
            anyhow::bail!("there is no device {absent} in the rig: there are {}", report::list(&here));
        }
        let is_meant = |device: &DeviceId| {
            !self.without.contains(device) && (self.device.is_empty() || self.device.contains(device))
        };
        let missed = missed.into_iter().filter(|(device, _)| is_meant(device));
        let unasked = |(device, why)| {
            let text =
                format!("{device} cannot be asked for its files: {why}; --without {device} gives it up");
            (device, text)
        };
        Ok((here.into_iter().filter(is_meant).collect(), missed.map(unasked).collect()))
    }

    /// The orders to fetch, of those that devices have.
    fn chosen(&self, takes: &[(DeviceId, TakeEntry)]) -> anyhow::Result<Vec<OrderId>> {
        let all: BTreeSet<_> = takes.iter().map(|(_, take)| take.order.clone()).collect();
        let unknown = |order: &&OrderId| !all.contains(order) && pending::of(&self.out, order).is_empty();
        if let Some(unknown) = self.orders.iter().find(unknown) {
            anyhow::bail!("no device has files of an order {unknown}; there are: {}", report::list(&all));
        }
        if self.last {
            return Ok(latest_order(takes).into_iter().cloned().collect());
        }
        let named: BTreeSet<_> = self.orders.iter().cloned().collect();
        Ok(if named.is_empty() { all } else { named }.into_iter().collect())
    }

    fn remote<'a>(&self, session: &'a Session, device: &DeviceId, bar: Bar) -> RemoteTakes<'a> {
        RemoteTakes::new(session, device.clone(), self.timeout, move |busy| bar.pause(busy))
    }
}

/// Devices that do not say what they have, each with a text for a person.
type SilentDevices = Vec<(DeviceId, String)>;

/// The takes that devices have.
#[derive(Default)]
struct DeviceTakes {
    takes: Vec<(DeviceId, TakeEntry)>,
    notes: marks::Notes,
    unreadable: Vec<(DeviceId, Unreadable)>,
    /// Devices that did not answer, each with a text for a person.
    silent: SilentDevices,
}

fn list(args: &CollectArgs, session: &Session, devices: &[DeviceId]) -> DeviceTakes {
    let answers = in_parallel(args.parallel, devices, |device| {
        (device.clone(), args.remote(session, device, Bar::none()).summaries())
    });
    let mut listed = DeviceTakes::default();
    for (device, result) in answers {
        match result {
            Ok((takes, unreadable)) => {
                for take in takes {
                    let (entry, note) = marks::split(take);
                    listed.notes.entry(entry.order.clone()).or_default().insert(device.clone(), note);
                    listed.takes.push((device.clone(), entry));
                }
                listed.unreadable.extend(unreadable.into_iter().map(|one| (device.clone(), one)));
            }
            Err(error) => listed.silent.push((device, error.to_string())),
        }
    }
    listed.takes.sort_by(|a, b| (&a.0, &a.1.order).cmp(&(&b.0, &b.1.order)));
    listed.unreadable.sort();
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
    let result = collect(&remote, &take.order, &args.out, |event| bar.show(event));
    if let Ok(collected) = &result {
        marks::mark(&remote, &take.order, &args.out, collected);
    }
    match result {
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
            saved: NumberSet::default(),
        }));
        result.gaps.extend(missing_frames(&frames).into_iter().map(|gap| (order.clone(), gap)));
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
