//! `swsync lab phase`: how cameras reach the frame grid and hold it, where the truth is known.

mod stdio;

use std::process::ExitCode;

use clap::Args;

/// Measure how cameras reach the frame grid and hold it.
#[derive(Debug, Clone, Args)]
pub struct PhaseArgs {
    /// Answers a judge's frames on standard input, line by line
    #[arg(long)]
    stdio: bool,
}

/// Runs the command.
///
/// # Errors
/// Where standard output cannot be written.
pub fn run(_args: &PhaseArgs) -> anyhow::Result<ExitCode> {
    stdio::run()
}
