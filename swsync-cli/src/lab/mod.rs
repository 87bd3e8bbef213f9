//! `swsync lab`: parts of the laboratory.

pub mod clock;
pub mod orders;
pub mod phase;
mod relay;
mod shutter;

use std::process::ExitCode;

use clap::Subcommand;

/// Parts of the laboratory.
#[derive(Debug, Clone, Subcommand)]
pub enum Lab {
    /// Relay UDP datagrams as a simulated link would: delayed, and lost now and then.
    Relay(Box<relay::RelayArgs>),
    /// Measure clock estimators: on a recorded trace, in simulation, or live.
    Clock(Box<clock::ClockArgs>),
    /// Measure how cameras reach the frame grid and hold it: in simulation, or for a judge.
    Phase(phase::PhaseArgs),
    /// Give random orders to real pipelines, kill some now and then, and account for every file.
    Orders(orders::OrdersArgs),
    /// Time the way from an order to its files on all devices.
    Shutter(shutter::ShutterArgs),
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps the part from working.
pub fn run(lab: &Lab) -> anyhow::Result<ExitCode> {
    match lab {
        Lab::Relay(args) => relay::run(args),
        Lab::Clock(args) => clock::run(args),
        Lab::Phase(args) => phase::run(args),
        Lab::Orders(args) => orders::run(args),
        Lab::Shutter(args) => shutter::run(args),
    }
}
