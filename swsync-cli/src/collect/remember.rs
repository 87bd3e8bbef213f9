//! What was to come and is not whole, from one run to the next: a device that is gone cannot say what it has.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::order::{Order, Targets};
use swsync_rig::share::collect::check_case;
use swsync_rig::share::pending::{Pending, is_here};
use swsync_rig::share::{RemoteError, TakeEntry};

use super::{CollectArgs, Harvest, Outcome, report, twin};
use crate::takes;

/// What is remembered of `order`'s parts below `out`, by device.
pub fn of(out: &Path, order: &OrderId) -> Vec<(DeviceId, Pending)> {
    Pending::of_take(&out.join(order.as_str()))
}

fn remember(
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

/// Nobody waits any more for devices that are to be done without.
pub fn give_up(args: &CollectArgs) -> anyhow::Result<()> {
    let orders = if args.orders.is_empty() { takes::folders(&args.out) } else { args.orders.clone() };
    for order in &orders {
        for (device, pending) in of(&args.out, order) {
            if args.without.contains(&device) && !pending.given_up {
                remember(args, order, &device, &pending.why, true)?;
            }
        }
    }
    Ok(())
}

/// What is to come now: until it has, it is missing.
pub fn begin(
    args: &CollectArgs,
    listed: &[(DeviceId, TakeEntry)],
    silent: &[(DeviceId, RemoteError)],
    orders: &[OrderId],
) -> anyhow::Result<()> {
    let note = |order, device, why: &str, is_known: &dyn Fn(Pending) -> bool| {
        // On some disks its folder would be another's.
        let parent = args.out.join(OrderId::as_str(order));
        let is_alone = check_case(&args.out, order).is_ok() && check_case(&parent, device).is_ok();
        let is_known = Pending::recall(&args.out, order, device).is_some_and(is_known);
        match is_alone && !is_known && !is_here(&args.out, order, device) {
            true => remember(args, order, device, why, false),
            false => Ok(()),
        }
    };
    for order in orders {
        for (device, take) in listed.iter().filter(|(_, take)| take.order == *order) {
            if twin(listed, device, take).is_none() {
                // Who was given up may have come back.
                note(order, device, "not all of it has come", &|known| !known.given_up)?;
            }
        }
        for (device, error) in silent {
            note(order, device, &error.to_string(), &|_| true)?;
        }
    }
    Ok(())
}

/// Says what is missing where nobody can be asked.
pub fn tell(args: &CollectArgs) {
    let orders = if args.orders.is_empty() { takes::folders(&args.out) } else { args.orders.clone() };
    for order in &orders {
        for (device, pending) in of(&args.out, order).iter().filter(|(_, pending)| !pending.given_up) {
            eprintln!("swsync: {}", report::missing(order, device, pending));
        }
    }
}

/// What came of it. Returned is what is still missing and of which nothing is said yet.
pub fn end(
    args: &CollectArgs,
    devices: &[DeviceId],
    listed: &[(DeviceId, TakeEntry)],
    orders: &[OrderId],
    harvest: &Harvest,
) -> anyhow::Result<Vec<(OrderId, DeviceId, Pending)>> {
    for part in &harvest.parts {
        let why = match &part.outcome {
            Outcome::Here { .. } => continue,
            Outcome::Partial(_) | Outcome::Unfinished => "the device is not done with it".to_owned(),
            Outcome::Failed(error) => error.to_string(),
        };
        if Pending::recall(&args.out, &part.order, &part.device).is_some() {
            remember(args, &part.order, &part.device, &why, false)?;
        }
    }
    let is_all = args.orders.is_empty() && !args.last;
    let more = if is_all { takes::folders(&args.out) } else { args.orders.clone() };
    let orders: BTreeSet<_> = orders.iter().chain(&more).collect();
    let is_silent = |device: &DeviceId| harvest.silent.iter().any(|(silent, _)| silent == device);
    let mut missing = Vec::new();
    for order in orders {
        expect_targets(args, devices, order)?;
        for (device, pending) in of(&args.out, order) {
            let is_meant = args.device.is_empty() || args.device.contains(&device);
            let has = listed.iter().any(|(other, take)| *other == device && take.order == *order);
            if pending.given_up || !is_meant || has || is_silent(&device) {
                continue; // it is told of as a part, or in a line of its own
            }
            if devices.contains(&device) {
                if is_nothing(&args.out.join(order.as_str()).join(device.as_str())) {
                    Pending::forget(&args.out, order, &device)?; // it says that it has nothing of it
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

/// Devices that `order` names one by one, and that are neither in the rig nor here, are missing.
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
            remember(args, order, device, why, args.without.contains(device))?;
        }
    }
    Ok(())
}

/// Whether nothing but notes is in `folder`.
fn is_nothing(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    // What has begun to come is `.NAME.part`.
    names.all(|name| name.starts_with('.') && !name.ends_with(".part"))
}
