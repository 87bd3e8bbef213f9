//! `swsync lab phase`: measures how cameras reach the frame grid and hold it, against their true phase error.

mod args;
mod charts;
mod method;
pub(crate) mod scenario;
mod score;
mod simulate;
mod stdio;
pub(crate) mod trial;

use std::process::ExitCode;

pub use args::PhaseArgs;

/// Runs the command.
///
/// # Errors
/// Standard output, a picture or a trace cannot be written.
pub fn run(args: &PhaseArgs) -> anyhow::Result<ExitCode> {
    if args.stdio { stdio::run() } else { simulate::run(args) }
}
