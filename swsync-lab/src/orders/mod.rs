//! `swsync lab orders`: gives random orders to a rig of real pipelines, and kills some of them now and then. Then it checks every
//! answer against the frames that the order names, every file against its answer, and pictures against the time at which they were
//! taken. What was saved is collected, and exported in every format.

mod args;
mod check;
mod collect_export;
mod devices;
mod oracle;
mod picture_times;
mod random_order;
mod run_orders;
mod saved_part;

use std::process::ExitCode;

pub use args::{OrdersArgs, Source};
use check::Report;
pub use devices::{Devices, RigSetup};
use picture_times::PictureTimes;
pub(crate) use saved_part::SavedPart;
use swsync_cli::exit;
use swsync_cli::output;

/// Runs the command.
///
/// # Errors
/// The rig cannot be set up. Wrong files and answers are an exit code.
pub fn run(args: &OrdersArgs) -> anyhow::Result<ExitCode> {
    let temporary = match &args.out {
        Some(_) => None,
        None => Some(std::env::temp_dir().join(format!("swsync-orders-{}", std::process::id()))),
    };
    let out = args.out.clone().or_else(|| temporary.clone()).expect("one of the two is there");
    let OrdersArgs { devices, source, video, b_frames, max_files, drop, seed, .. } = *args;
    let setup = RigSetup { count: devices, source, video, b_frames, max_files, drop, seed };
    let mut devices = Devices::start(setup, &out)?;
    let picture_times = (args.source == Source::Simulated).then(PictureTimes::new);
    let run = run_orders::run_orders(args, &mut devices);
    let collected = collect_export::collect(&devices);
    std::mem::drop(devices); // the checks need the processors
    let mut report = Report::of(args, &run?, picture_times, &out);
    match collected {
        Ok(()) => {
            collect_export::export(&out, b_frames).into_iter().for_each(|why| report.add_violation(why))
        }
        Err(why) => report.add_violation(format!("{why:#}")),
    }
    if args.json {
        output::line(&report.json().to_string());
    } else {
        for line in report.lines() {
            output::line(&line);
        }
    }
    if let Some(folder) = temporary.filter(|_| report.is_clean()) {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(ExitCode::from(if report.is_clean() { 0 } else { exit::INCOMPLETE }))
}
