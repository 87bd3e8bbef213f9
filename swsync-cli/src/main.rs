//! The `swsync` command.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use swsync_cli::{
    camera_settings, certify, collect, config, doctor, exit, forget, handover, identify, install_device, key,
    list_takes, lock, log, manual, metrics, name, panel, preset, record, remove_takes, shoot, status,
    take_note,
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
    Doctor(doctor::DoctorArgs),
    Set(camera_settings::SetArgs),
    Get(camera_settings::GetArgs),
    Forget(forget::ForgetArgs),
    Name(name::NameArgs),
    Identify(identify::IdentifyArgs),
    Lock(lock::LockArgs),
    Unlock(lock::UnlockArgs),
    Preset(preset::PresetArgs),
    Config(config::ConfigArgs),
    Key(key::KeyArgs),
    InstallDevice(install_device::InstallDeviceArgs),
    Panel(panel::PanelArgs),
    Metrics(metrics::MetricsArgs),
    Completions(manual::CompletionsArgs),
    #[command(hide = true)]
    Man(manual::ManArgs),
}

/// The command with all its subcommands. Those that are programs of their own are there only to be listed.
fn command() -> clap::Command {
    Cli::command().subcommands(handover::subcommands())
}

fn main() -> ExitCode {
    swsync_client::zenoh_threads::set();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Err(error) = handover::run(arguments.get(1..).unwrap_or_default()) {
        return exit::report(Err(error.into()));
    }
    let cli =
        match command().try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches)) {
            Ok(cli) => cli,
            Err(error) => return exit::report_usage(&error),
        };
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
        Command::Doctor(args) => doctor::run(args),
        Command::Set(args) => camera_settings::set(args),
        Command::Get(args) => camera_settings::get(args),
        Command::Forget(args) => forget::run(args),
        Command::Name(args) => name::run(args),
        Command::Identify(args) => identify::run(args),
        Command::Lock(args) => lock::lock(args),
        Command::Unlock(args) => lock::unlock(args),
        Command::Preset(args) => preset::run(args),
        Command::Config(args) => config::run(args),
        Command::Key(args) => key::run(args),
        Command::InstallDevice(args) => install_device::run(args),
        Command::Panel(args) => panel::run(args),
        Command::Metrics(args) => metrics::run(args),
        Command::Completions(args) => manual::completions(args, &command()),
        Command::Man(args) => manual::man(args, &command()),
    })
}
