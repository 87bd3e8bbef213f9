//! `swsync status`: the state of every device of the rig.

mod details;
mod report;
mod watch;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use swsync_client::{Rig, RigSnapshot};

use crate::duration;
use crate::exit;
use crate::output;
use crate::rig::RigArgs;
pub use report::{RigStatus, StatusDocument};

/// How long devices have to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Clears a terminal and goes to its top left corner (ECMA-48: ED, CUP).
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Show how every device of the rig is: its clock, its camera, its files.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct StatusArgs {
    #[command(flatten)]
    rig: RigArgs,
    /// Print one JSON document; with --watch one per line.
    #[arg(long)]
    json: bool,
    /// Also show hosts and cameras: temperature, load, WiFi, pictures, exposure, recording time left, versions.
    #[arg(long, conflicts_with = "json")]
    long: bool,
    /// Repeat until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// Time from one repetition to the next.
    #[arg(long, value_name = "DURATION", default_value = "1s", requires = "watch",
          value_parser = duration::positive)]
    every: Duration,
}

const AFTER_HELP: &str = "\
Examples:
  swsync status
  swsync status --long
  swsync status --watch --every 500ms
  swsync status --json | jq '.devices[] | select(.ready | not)'

Columns:
  place      group and place (`swsync name`), by which devices are sorted; there if any device has one
  clock      leading, synced, foreign (another clock than swsync's): good; unsynced, acquiring,
             holdover (the leader is not heard): not
  offset s   rig time minus the device's own clock, in seconds
  +- us      what the error of its clock may be, 1 sigma, in microseconds
  skew ppm   how much faster rig time runs than its own clock
  fps        frames per second; ! marks a device that differs from most
  camera     locked: its frames are on the grid; searching, aligning, lost: not; free: cannot be aligned
  phase us   its newest frame's time minus the grid instant, in microseconds
  ring       what orders in the past can reach: seconds, and memory
  open       orders not yet answered
  saved, missed   frames since the device started

Below the table each device has lines about what keeps it from being ready, and with `warning:` what should be looked at all the
same: 80 C and hotter, throttled, low voltage, WiFi at -75 dBm and weaker, less than 10 min of recording left, the last error.

Columns with --long (- is: not known):
  temp C     hottest sensor of processor or SoC
  load       part of all processors' time that was not idle
  throttled  whether the processor is held down now, by heat or low voltage
  voltage    low: the supply voltage is too low, now or within two seconds
  wifi, dBm, Mbit/s, sleeps   the link, its signal, its bitrate, whether it sleeps between packets
  left       recording time until the disk is full, at the present data rate

Exit codes:
  0  every device of the rig answered, all are on one time scale with one leader and take frames at one rate; they need not
     be ready
  1  some device belongs to the rig but did not answer (see the line about it), or differs from the others (time scale,
     leader for more than 5 s, clock, rate), or was refused
  2  wrong arguments
  3  no rig or no devices";

/// Runs the command.
///
/// # Errors
/// There is no rig.
pub fn run(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let rig = args.rig.connect()?;
    if args.watch && !args.json && watch::is_possible() {
        return watch::run(&rig, args.every);
    }
    if args.watch {
        repeat(args, &rig);
    }
    let mut rig_status = ask(&rig);
    if rig_status.is_empty() {
        return Err(rig.nobody_there(TIMEOUT).into());
    }
    rig_status.wait_for_handover(&rig);
    print(args, &rig_status);
    let is_good = rig_status.is_whole() && rig_status.is_alike();
    Ok(ExitCode::from(if is_good { 0 } else { exit::INCOMPLETE }))
}

fn ask(rig: &Rig) -> RigStatus {
    RigStatus::new(RigSnapshot::take_with_hosts(rig.session())).open(rig.is_open())
}

fn print(args: &StatusArgs, rig_status: &RigStatus) {
    if args.json {
        output::json(&rig_status.document());
    } else {
        for line in rig_status.lines(args.long) {
            output::line(&line);
        }
    }
}

/// Repeats until Ctrl-C, which ends the process: there is nothing to clean up.
fn repeat(args: &StatusArgs, rig: &Rig) -> ! {
    let clear = !args.json && std::io::stdout().is_terminal();
    loop {
        let rig_status = ask(rig);
        if clear {
            print!("{CLEAR}");
        }
        print(args, &rig_status);
        if !args.json {
            output::line("");
        }
        std::thread::sleep(args.every);
    }
}
