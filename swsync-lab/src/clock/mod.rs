//! `swsync lab clock`: measures the errors of clock estimators against a known true offset.

mod args;
mod csv;
pub(crate) mod filter;
mod live;
mod peers;
mod replay;
mod row_output;
pub(crate) mod score;
mod simulate;

use std::process::ExitCode;

pub use args::ClockArgs;

/// Runs the command.
///
/// # Errors
/// A file cannot be read or written, or a row of a trace is invalid.
pub fn run(args: &ClockArgs) -> anyhow::Result<ExitCode> {
    match &args.trace {
        Some(trace) => replay::run(args, trace),
        None if args.live.live => live::run(&args.live, args.asymmetry, args.seed, args.json),
        None => simulate::run(args),
    }
}
