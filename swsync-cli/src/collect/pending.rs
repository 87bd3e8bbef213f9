//! Parts of takes that were expected and are not whole, remembered from one run to the next: a device that is gone cannot say
//! what it has.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use swsync_client::collect::check_case;
use swsync_client::pending::{Pending, is_here};
use swsync_client::share::TakeEntry;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::{Order, Targets};

use super::args::CollectArgs;
use super::listed_takes::case_conflict;
use super::report;
use super::result::{CollectResult, PartOutcome};
use crate::takes;

/// The parts of `order` below `out` that are remembered as not whole.
pub fn of(out: &Path, order: &OrderId) -> Vec<(DeviceId, Pending)> {
    Pending::of_take(&out.join(order.as_str()))
}

fn store(
    args: &CollectArgs,
    order: &OrderId,
    device: &DeviceId,
    why: &str,
    given_up: bool,
) -> anyhow::Result<()> {
    let pending = Pending { why: why.to_owned(), given_up };
    let written = pending.remember(&args.out, order, device);
    written.with_context(|| format!("cannot write to {}", args.out.join(order.as_str()).display()))
}

/// Marks the parts of devices named by --without as given up.
pub fn give_up(args: &CollectArgs) -> anyhow::Result<()> {
    let orders = if args.orders.is_empty() { takes::folders(&args.out) } else { args.orders.clone() };
    for order in &orders {
        for (device, pending) in of(&args.out, order) {
            if args.without.contains(&device) && !pending.given_up {
                store(args, order, &device, &pending.why, true)?;
            }
        }
    }
    Ok(())
}

/// Remembers all parts that are to be fetched now, and those that silent devices may have.
pub fn begin(
    args: &CollectArgs,
    listed: &[(DeviceId, TakeEntry)],
    silent: &[(DeviceId, String)],
    orders: &[OrderId],
) -> anyhow::Result<()> {
    let expect = |order, device, why: &str, is_known: &dyn Fn(Pending) -> bool| {
        // On a disk that ignores case its folder may be that of another part.
        let parent = args.out.join(OrderId::as_str(order));
        let is_alone = check_case(&args.out, order).is_ok() && check_case(&parent, device).is_ok();
        let is_known = Pending::recall(&args.out, order, device).is_some_and(is_known);
        if is_alone && !is_known && !is_here(&args.out, order, device) {
            store(args, order, device, why, false)
        } else {
            Ok(())
        }
    };
    for order in orders {
        for (device, take) in listed.iter().filter(|(_, take)| take.order == *order) {
            if case_conflict(listed, device, take).is_none() {
                // A device that was given up may have come back.
                expect(order, device, "not all of it has come", &|known| !known.given_up)?;
            }
        }
        for (device, why) in silent {
            expect(order, device, why, &|_| true)?;
        }
    }
    Ok(())
}

/// Prints what is missing, if there is no rig to ask.
pub fn print(args: &CollectArgs) {
    let orders = if args.orders.is_empty() { takes::folders(&args.out) } else { args.orders.clone() };
    for order in &orders {
        for (device, pending) in of(&args.out, order).iter().filter(|(_, pending)| !pending.given_up) {
            eprintln!("swsync: {}", report::missing(order, device, pending));
        }
    }
}

/// Updates what is remembered after all parts were tried. Returns parts that are still missing and have no row in the table.
pub fn update(
    args: &CollectArgs,
    devices: &[DeviceId],
    listed: &[(DeviceId, TakeEntry)],
    orders: &[OrderId],
    result: &CollectResult,
) -> anyhow::Result<Vec<(OrderId, DeviceId, Pending)>> {
    for part in &result.parts {
        let why = match &part.outcome {
            PartOutcome::Here { .. } => continue,
            PartOutcome::Partial(_) | PartOutcome::Unfinished => "the device is not done with it".to_owned(),
            PartOutcome::Failed(error) => error.to_string(),
        };
        if Pending::recall(&args.out, &part.order, &part.device).is_some() {
            store(args, &part.order, &part.device, &why, false)?;
        }
    }
    let is_all = args.orders.is_empty() && !args.last;
    let more = if is_all { takes::folders(&args.out) } else { args.orders.clone() };
    let orders: BTreeSet<_> = orders.iter().chain(&more).collect();
    let is_silent = |device: &DeviceId| result.silent.iter().any(|(silent, _)| silent == device);
    let mut missing = Vec::new();
    for order in orders {
        expect_targets(args, devices, order)?;
        for (device, pending) in of(&args.out, order) {
            let is_meant = args.device.is_empty() || args.device.contains(&device);
            let has = listed.iter().any(|(other, take)| *other == device && take.order == *order);
            if pending.given_up || !is_meant || has || is_silent(&device) {
                continue; // it has a row in the table, or a line of its own
            }
            if devices.contains(&device) {
                if is_nothing(&args.out.join(order.as_str()).join(device.as_str())) {
                    Pending::forget(&args.out, order, &device)?; // the device has nothing of this order
                    continue;
                }
                let why = format!("{device} has it no more, and not all of it had come");
                missing.push((order.clone(), device, Pending { why, given_up: false }));
                continue;
            }
            missing.push((order.clone(), device, pending));
        }
    }
    Ok(missing)
}

/// Remembers devices that `order` names and that are neither in the rig nor here.
fn expect_targets(args: &CollectArgs, devices: &[DeviceId], order: &OrderId) -> anyhow::Result<()> {
    let here = takes::devices(&args.out, order);
    let part = |device: &DeviceId| args.out.join(order.as_str()).join(device.as_str());
    let given = here.iter().find_map(|device| {
        let take = takes::read_take(&part(device)).ok()?;
        serde_json::from_value::<Order>(take.ordered).ok()
    });
    let Some(Targets::Devices(targets)) = given.as_ref().map(Order::targets) else { return Ok(()) };
    for device in targets {
        let is_known = here.contains(device) || devices.contains(device);
        if !is_known && Pending::recall(&args.out, order, device).is_none() {
            let why = "the order names it, and it was not in the rig when the others were collected";
            store(args, order, device, why, args.without.contains(device))?;
        }
    }
    Ok(())
}

/// Whether `folder` has nothing but hidden files of our own.
fn is_nothing(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    // A file that is being fetched is called `.NAME.part`.
    names.all(|name| name.starts_with('.') && !name.ends_with(".part"))
}
