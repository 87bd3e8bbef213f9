//! The program `swsync-media`, as a process.

mod browser;
mod calibrate;
mod cameras;
mod export;
mod export_pictures;
mod export_ring;
mod export_videos;
mod measure;
mod report;
mod scene;
mod schemas;
mod videos;

/// A run of it.
fn swsync_media(args: &[&str]) -> std::process::Command {
    swsync_cli::testing::command(env!("CARGO_BIN_EXE_swsync-media"), args)
}
