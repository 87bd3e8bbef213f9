//! The `swsync` command.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use swsync_cli::{calibrate, cameras, collect, demo, exit, export, forget, lab, log, record, shoot, status};

/// Orders, status, demo and laboratory of a camera rig.
#[derive(Debug, Parser)]
#[command(name = "swsync", version)]
struct Cli {
    /// Say more on standard error: -v decisions, -vv every packet.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Shoot(shoot::ShootArgs),
    Record(record::RecordArgs),
    Stop(record::StopArgs),
    Cancel(record::CancelArgs),
    Collect(collect::CollectArgs),
    Export(export::ExportArgs),
    Status(status::StatusArgs),
    Forget(forget::ForgetArgs),
    Cameras(cameras::CamerasArgs),
    /// Run a rig of cameras on this machine, take two synchronized photographs, and prove it.
    Demo(demo::DemoArgs),
    Calibrate(calibrate::CalibrateArgs),
    #[command(subcommand)]
    Lab(lab::Lab),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::init(cli.verbose);
    match run(&cli.command) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "swsync: {error:#}"); // it may be closed
            exit::code(&error)
        }
    }
}

fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Shoot(args) => shoot::run(args),
        Command::Record(args) => record::run(args),
        Command::Stop(args) => record::stop(args),
        Command::Cancel(args) => record::cancel(args),
        Command::Collect(args) => collect::run(args),
        Command::Export(args) => export::run(args),
        Command::Status(args) => status::run(args),
        Command::Forget(args) => forget::run(args),
        Command::Cameras(args) => cameras::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Lab(lab) => lab::run(lab),
    }
}
