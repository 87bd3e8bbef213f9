//! The arguments of `swsync demo`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// Which cameras the devices have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Camera {
    /// A simulated rolling-shutter sensor that looks at an LED panel: its pictures tell their true time.
    Simulated,
    /// One of libcamera's cameras in each device (its virtual ones where there is no hardware).
    Libcamera,
}

/// Arguments of `swsync demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Devices in the rig, the leader included.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=32))]
    pub(super) cameras: u16,
    /// Seed of all clocks, links and cameras. Another seed is another rig.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Which cameras the devices have.
    #[arg(long, value_enum, default_value_t = Camera::Simulated)]
    pub(super) camera: Camera,
    /// Folder for pictures, contact sheet and logs.
    #[arg(long, default_value = "swsync-demo")]
    pub(super) out: PathBuf,
    /// Longest wait for all devices to be ready.
    #[arg(long, default_value = "90s", value_parser = humantime::parse_duration)]
    pub(super) timeout: Duration,
    /// Leave the rig running, and serve its page (`swsync dashboard`) until Ctrl-C, and open it if this is a desktop. Takes no
    /// photographs by itself.
    #[arg(long)]
    pub(super) dashboard: bool,
    /// Do not open the page.
    #[arg(long, requires = "dashboard")]
    pub(super) no_open: bool,
    /// Where the page is.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", requires = "dashboard")]
    pub(super) listen: SocketAddr,
}
