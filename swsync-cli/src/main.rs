//! The `swsync` command.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use swsync_cli::{
    certify, collect, config, exit, forget, handover, key, list_takes, log, panel, record, remove_takes,
    shoot, status, take_note,
};

/// Orders, status, demo and laboratory of a camera rig.
#[derive(Debug, Parser)]
#[command(name = "swsync", version)]
struct Cli {
    #[command(flatten)]
    verbosity: log::Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Shoot(shoot::ShootArgs),
    Record(record::RecordArgs),
    Stop(record::StopArgs),
    Cancel(record::CancelArgs),
    Takes(list_takes::TakesArgs),
    Note(take_note::NoteArgs),
    Collect(collect::CollectArgs),
    Rm(remove_takes::RemoveArgs),
    Certify(certify::CertifyArgs),
    Status(status::StatusArgs),
    Forget(forget::ForgetArgs),
    Config(config::ConfigArgs),
    Key(key::KeyArgs),
    Panel(panel::PanelArgs),
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Err(error) = handover::run(arguments.get(1..).unwrap_or_default()) {
        return exit::report(Err(error.into()));
    }
    // External subcommands are there only to be listed.
    let matches = Cli::command().subcommands(handover::subcommands()).get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    log::init(cli.verbosity);
    exit::report(match &cli.command {
        Command::Shoot(args) => shoot::run(args),
        Command::Record(args) => record::run(args),
        Command::Stop(args) => record::stop(args),
        Command::Cancel(args) => record::cancel(args),
        Command::Takes(args) => list_takes::run(args),
        Command::Note(args) => take_note::run(args),
        Command::Collect(args) => collect::run(args),
        Command::Rm(args) => remove_takes::run(args),
        Command::Certify(args) => certify::run(args),
        Command::Status(args) => status::run(args),
        Command::Forget(args) => forget::run(args),
        Command::Config(args) => config::run(args),
        Command::Key(args) => key::run(args),
        Command::Panel(args) => panel::run(args),
    })
}
