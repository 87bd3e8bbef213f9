//! `swsync lab scale`: what a rig of many devices costs, measured at several sizes, and what follows for a thousand.
//!
//! The lab makes a network namespace for each process and counts what passes the bridge between them (`lab`, `capture`, `frames`).
//! A process is a device without a camera (`device`), one that gives orders (`visitor`), or many clients of a time server (`load`).
//! What is measured of a rig is in `measure`, of a leader with many clients in `clients`; `figures` names the numbers and what is wanted
//! of them.

mod args;
mod capture;
mod clients;
mod device;
mod figures;
mod frames;
mod lab;
mod load;
mod measure;
mod protocol;
mod report;
mod resources;
mod visitor;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use args::ScaleArgs;
use lab::Lab;
use measure::Plan;
use protocol::{Part, Told};
use report::Report;
use swsync_cli::{exit, output};
use swsync_core::name::Name;

/// Runs the command.
///
/// # Errors
/// A rig cannot be set up. Figures that are not as wanted are an exit code.
pub fn run(args: &ScaleArgs) -> anyhow::Result<ExitCode> {
    if let Some(part) = &args.part {
        run_part(part)?;
        return Ok(ExitCode::SUCCESS);
    }
    crate::network::enter()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    let temporary = std::env::temp_dir().join(format!("swsync-scale-{}", std::process::id()));
    let out = args.out.clone().unwrap_or_else(|| temporary.clone());
    let most = args.devices.iter().map(|devices| devices + args.joins).chain([args.relays]).max();
    // One more for the visitor; and two for the leader with many clients.
    let nodes = usize::from(most.unwrap_or_default().max(2)) + 1;
    let mut lab = Lab::new(nodes, out, interrupted)?;
    let report = measure_all(args, &mut lab)?;
    drop(lab);
    report.print(args.json);
    if args.out.is_none() {
        std::fs::remove_dir_all(temporary)?;
    }
    Ok(ExitCode::from(if report.is_good() { 0 } else { exit::INCOMPLETE }))
}

fn run_part(part: &Part) -> anyhow::Result<()> {
    match part {
        Part::Device { rig, id, max_clients } => device::run(rig, id, *max_clients),
        Part::Visitor { rig } => visitor::run(rig),
        Part::Load { rig, server, clients, over_ms } => {
            load::run(rig, *server, *clients, Duration::from_millis((*over_ms).into()))
        }
    }
}

fn measure_all(args: &ScaleArgs, lab: &mut Lab) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let rig = |what: &str| Name::new(format!("scale-{}-{what}", std::process::id()));
    for devices in &args.devices {
        let plan = Plan {
            rig: rig(&devices.to_string())?,
            devices: (*devices).into(),
            max_clients: None,
            settle: args.settle,
            idle: args.idle,
            orders: args.orders,
            joins: args.joins.into(),
        };
        report.rigs.push(lab.measure(&plan)?);
    }
    if args.relays > 0 {
        let plan = Plan {
            rig: rig("relays")?,
            devices: args.relays.into(),
            max_clients: Some(few_clients(args.relays)),
            settle: args.settle,
            idle: args.idle,
            orders: 0,
            joins: 0,
        };
        report.relays = Some(lab.measure(&plan)?);
    }
    if args.clients > 0 {
        report.served = Some(lab.serve(&rig("clients")?, args.clients, args.settle * 3, args.idle)?);
    }
    Ok(report)
}

/// So few clients of each server that relays of relays are needed: the leader and its clients cannot serve all `devices`.
fn few_clients(devices: u16) -> usize {
    let devices = usize::from(devices);
    (1..).take_while(|most| 1 + most + most * most < devices).last().unwrap_or(1)
}

/// Tells the lab.
fn tell(told: &Told) {
    output::line(&serde_json::to_string(told).expect("plain data"));
}

/// A count as a float.
fn float(count: impl TryInto<u64>) -> f64 {
    let count = count.try_into().unwrap_or(u64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "counts of packets and devices are far below 2^53")]
    let float = count as f64;
    float
}

#[cfg(test)]
mod tests {
    use super::few_clients;

    #[test]
    fn relays_of_relays_are_needed() {
        // The leader, 6 clients of it and 36 of those are 43 devices; with 7 they would be 57.
        assert_eq!(few_clients(50), 6);
        assert_eq!([few_clients(2), few_clients(3), few_clients(4)], [1, 1, 1]);
    }
}
