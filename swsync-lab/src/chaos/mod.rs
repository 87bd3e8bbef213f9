//! `swsync lab chaos`: a rig of real devices takes orders while it is disturbed. Devices are killed, stopped, restarted with other wall
//! clocks and cut off; time has to go on.
//!
//! The lab makes a network namespace for each device (`crate::network`), and lets faults begin and end (`faults`, a list to which others can be
//! added) while observers, processes of their own on both sides of a cut, ask and order (`observer`). Everything seen is taken down
//! (`record`), and judged in the end (`check`). Truth is the host's monotonic clock: the devices' simulated
//! oscillators are known, so that their frames' sensor times give true instants (`reading`), and pictures of the LED panel prove those.

mod args;
mod busy_disk;
mod check;
mod device;
mod event;
mod faults;
mod observer;
mod progress;
mod protocol;
mod reading;
mod record;
mod report;
mod rig;
mod run;
mod timeline;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use args::{ChaosArgs, Roles};
use device::Setup;
use run::Run;
use swsync_cli::{exit, output};

/// Runs the command.
///
/// # Errors
/// The rig cannot be set up. Checks that fail are an exit code.
pub fn run(args: &ChaosArgs) -> anyhow::Result<ExitCode> {
    if let Some(rig) = &args.observe {
        observer::run(rig)?;
        return Ok(ExitCode::SUCCESS);
    }
    crate::network::enter()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = interrupted.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))?;
    let temporary = std::env::temp_dir().join(format!("swsync-chaos-{}", std::process::id()));
    let out = args.out.clone().unwrap_or(temporary);
    let setup = Setup {
        rig: format!("chaos-{}", std::process::id()),
        out: out.clone(),
        clock: args.clock.clone(),
        seed: args.seed,
    };
    let mut run = Run::start(args, setup, interrupted.clone())?;
    run.go()?;
    run.settle()?;
    run.end()?;
    let is_whole = !interrupted.load(Ordering::Relaxed);
    let Run { rig, record, began, .. } = &run;
    record.write_readings(&out.join("readings.csv"), *began)?;
    let findings = check::all(rig, record, *began, args.roles == Roles::Auto, is_whole);
    report::print(record, &findings, *began, args.json);
    let is_good = findings.findings.iter().all(|finding| finding.violations.is_empty());
    if args.out.is_none() {
        if is_good {
            std::fs::remove_dir_all(&out)?;
        } else {
            output::tell(&format!("files and logs are in {}", out.display()));
        }
    }
    Ok(ExitCode::from(match (is_good, is_whole) {
        (true, true) => 0,
        (_, false) => exit::INTERRUPTED,
        (false, true) => exit::INCOMPLETE,
    }))
}
