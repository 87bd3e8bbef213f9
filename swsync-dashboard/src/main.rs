//! The program `swsync-dashboard`: `swsync dashboard`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use swsync_cli::{exit, log, manual};
use swsync_dashboard::DashboardArgs;

/// The page of a rig; `swsync` runs this program for it.
#[derive(Debug, Parser)]
#[command(name = "swsync-dashboard", version)]
struct Cli {
    #[command(flatten)]
    verbosity: log::Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dashboard(DashboardArgs),
}

fn main() -> ExitCode {
    swsync_client::zenoh_threads::set();
    if manual::describe_if_asked(Cli::command) {
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::report_usage(&error),
    };
    log::init(cli.verbosity);
    exit::report(match &cli.command {
        Command::Dashboard(args) => swsync_dashboard::run(args),
    })
}
