//! The program `swsync-lab`, as a process.

mod clock;
mod paper;
mod phase;
mod relay;
mod scale;
mod simulated_time;

/// A run of it.
fn swsync_lab(args: &[&str]) -> std::process::Command {
    swsync_cli::testing::command(env!("CARGO_BIN_EXE_swsync-lab"), args)
}
