//! The program `swsync-lab`: `swsync lab` and `swsync demo`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use swsync_cli::{exit, log, manual};
use swsync_lab::paper::{fig_phase, table1, table2, table3};
use swsync_lab::{chaos, clock, demo, orders, phase, relay, scale, shutter, soak, steady};

/// Parts of the laboratory.
#[derive(Debug, Parser)]
#[command(name = "swsync-lab", version)]
struct Cli {
    #[command(flatten)]
    verbosity: log::Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Relay UDP datagrams as a simulated link would: delayed, and lost now and then.
    Relay(Box<relay::RelayArgs>),
    /// Measure clock estimators: on a recorded trace, in simulation, or live.
    Clock(Box<clock::ClockArgs>),
    /// Measure how cameras reach the frame grid and hold it: in simulation, or for a judge.
    Phase(phase::PhaseArgs),
    /// Give random orders to real pipelines, kill some now and then, and account for every file.
    Orders(orders::OrdersArgs),
    /// Disturb a rig of real devices while it takes orders, and check that its time goes on.
    Chaos(Box<chaos::ChaosArgs>),
    /// Count what a rig of many devices costs: packets, memory, processors, and the time of an order.
    Scale(Box<scale::ScaleArgs>),
    /// Time the way from an order to its files on all devices.
    Shutter(shutter::ShutterArgs),
    /// Let rigs of cameras run for an hour in simulated time, and read from their pictures how far apart they are.
    Steady(Box<steady::SteadyArgs>),
    /// Let a rig run for days in simulated time, and measure its clocks, what they state, and its cameras' phase.
    Soak(soak::SoakArgs),
    /// Reproduce the paper's Table I: naive triggers, and swsync.
    Table1(table1::Table1Args),
    /// Reproduce the paper's Table II: errors of clock, phase and both together.
    Table2(table2::Table2Args),
    /// Reproduce the paper's Table III: delays of messages, and the bias of clock filters.
    Table3(table3::Table3Args),
    /// Reproduce how soon the paper's two methods align a camera: injection and reset sampling.
    FigPhase(fig_phase::FigPhaseArgs),
    /// Run a rig of cameras on this machine, take two synchronized photographs, and prove it.
    Demo(demo::DemoArgs),
}

fn main() -> ExitCode {
    swsync_rig::zenoh_threads::set();
    if manual::describe_if_asked(Cli::command) {
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::report_usage(&error),
    };
    log::init(cli.verbosity);
    exit::report(match &cli.command {
        Command::Relay(args) => relay::run(args),
        Command::Clock(args) => clock::run(args),
        Command::Phase(args) => phase::run(args),
        Command::Orders(args) => orders::run(args),
        Command::Chaos(args) => chaos::run(args),
        Command::Scale(args) => scale::run(args),
        Command::Shutter(args) => shutter::run(args),
        Command::Steady(args) => steady::run(args),
        Command::Soak(args) => soak::run(args),
        Command::Table1(args) => table1::run(args),
        Command::Table2(args) => table2::run(args),
        Command::Table3(args) => table3::run(args),
        Command::FigPhase(args) => fig_phase::run(args),
        Command::Demo(args) => demo::run(args),
    })
}
