//! The program `swsync-media`: `swsync export`, `swsync report`, `swsync cameras`, `swsync calibrate` and `swsync measure`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use swsync_cli::{exit, log, manual};
use swsync_media::{calibrate, cameras, export, measure, report};

/// The commands of swsync that need GStreamer or pictures; `swsync` runs this program for them.
#[derive(Debug, Parser)]
#[command(name = "swsync-media", version)]
struct Cli {
    #[command(flatten)]
    verbosity: log::Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Export(export::ExportArgs),
    Report(report::ReportArgs),
    Cameras(cameras::CamerasArgs),
    Calibrate(calibrate::CalibrateArgs),
    Measure(measure::MeasureArgs),
}

fn main() -> ExitCode {
    if manual::describe_if_asked(Cli::command) {
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::report_usage(&error),
    };
    log::init(cli.verbosity);
    exit::report(match &cli.command {
        Command::Export(args) => export::run(args),
        Command::Report(args) => report::run(args),
        Command::Cameras(args) => cameras::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Measure(args) => measure::run(args),
    })
}
