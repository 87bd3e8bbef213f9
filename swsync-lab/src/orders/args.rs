//! The arguments of `swsync lab orders`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Where the devices' frames come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Source {
    #[default]
    /// Simulated rolling-shutter sensors and clocks: the LED panel in their pictures tells when they were taken.
    Simulated,
    /// videotestsrc: less work, and pictures prove no time.
    Test,
}

/// Give random orders to real pipelines, kill some now and then, and account for every file.
///
/// Needs gst-launch-1.0 with the swsync plugin. Orders are stills, bursts, time lapses and takes, future and past,
/// overlapping, stopped and cancelled. In the end every device is asked for its answers, and they are compared with what
/// is on disk: each frame that an order names is accounted for once, each file is whole, and each is named by an answer.
/// The frames that an order names are computed independently for that. `swsync collect` has to fetch all files, and
/// `swsync export` to write them in every format. If cameras are simulated, a picture of each order and device is read:
/// it must have been taken at the instant of its number.
#[derive(Debug, Clone, Args)]
pub struct OrdersArgs {
    /// Devices, the leader among them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=20))]
    pub(super) devices: u16,
    /// Orders.
    #[arg(long, default_value_t = 200)]
    pub(super) orders: u32,
    /// A device, at times the leader, is killed and started again after so many orders.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) kill_every: u32,
    /// Kill the leader only.
    #[arg(long)]
    pub(super) kill_leader: bool,
    /// Encode video, rather than pictures.
    #[arg(long)]
    pub(super) video: bool,
    /// With --video: with frames that are coded from later ones.
    #[arg(long, requires = "video")]
    pub(super) b_frames: bool,
    /// Keep so many files of each order, and remove older ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_files: Option<u32>,
    /// Where frames come from.
    #[arg(long, value_enum, default_value_t = Source::Simulated)]
    pub(super) source: Source,
    /// Probability with which each frame is lost between camera and encoder.
    #[arg(long, default_value_t = 0.01)]
    pub(super) drop: f64,
    /// What is random follows from it, but for the scheduling of processes.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Where files go; removed in the end unless given.
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(super) json: bool,
}
