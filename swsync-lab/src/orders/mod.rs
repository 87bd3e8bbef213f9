//! `swsync lab orders`: gives random orders to a rig of real pipelines, and kills some of them now and then. Then it checks every
//! answer against the frames that the order names, every file against its answer, and pictures against the time at which they were
//! taken. What was saved is collected, and exported in every format.

mod check;
mod collect_export;
mod devices;
mod oracle;
mod picture_times;
mod random_order;
mod run_orders;
mod saved_part;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use check::Report;
pub use devices::{Devices, RigSetup};
use picture_times::PictureTimes;
use swsync_cli::exit;
use swsync_cli::output;

/// Where the devices' frames come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Source {
    #[default]
    /// Simulated rolling-shutter sensors and clocks: the LED panel in their pictures tells when they were taken.
    Simulated,
    /// videotestsrc: less work, and pictures prove no time.
    Test,
}

/// Give random orders to real pipelines, kill some now and then, and account for every file.
///
/// Needs gst-launch-1.0 with the swsync plugin. Orders are stills, bursts, time lapses and takes, future and past,
/// overlapping, stopped and cancelled. In the end every device is asked for its answers, and they are held against what
/// is on disk: each frame that an order names is accounted for once, each file is whole, none is there that no answer
/// names. What an order names is worked out anew for that. `swsync collect` has to bring home all of it, and
/// `swsync export` to write it in every format. A picture of each order and device is read, if cameras are
/// simulated: it was taken at the instant that its number stands for.
#[derive(Debug, Clone, Args)]
pub struct OrdersArgs {
    /// Devices, the leader among them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=20))]
    devices: u16,
    /// Orders.
    #[arg(long, default_value_t = 200)]
    orders: u32,
    /// A device, at times the leader, is killed and started again after so many orders.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    kill_every: u32,
    /// Kill the leader only.
    #[arg(long)]
    kill_leader: bool,
    /// Encode video, rather than pictures.
    #[arg(long)]
    video: bool,
    /// With --video: with frames that are coded from later ones.
    #[arg(long, requires = "video")]
    b_frames: bool,
    /// Keep so many files of each order, and remove older ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_files: Option<u32>,
    /// Where frames come from.
    #[arg(long, value_enum, default_value_t = Source::Simulated)]
    source: Source,
    /// Probability with which each frame is lost between camera and encoder.
    #[arg(long, default_value_t = 0.01)]
    drop: f64,
    /// What is random follows from it, but for the scheduling of processes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where files go; removed in the end unless given.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

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
