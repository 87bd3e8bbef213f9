//! The arguments of `swsync lab chaos`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use swsync_core::name::Name;

use super::faults::{self, FaultKind};

/// How the devices share out the role of the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Roles {
    /// All elect one.
    Auto,
    /// The first device is the leader, and the others are clients. There is no election to check.
    Fixed,
}

/// Disturb a rig of real devices while it takes orders, and check that time goes on as it must.
///
/// Needs gst-launch-1.0 with the swsync plugin, and the right to make network namespaces (`./x` and user namespaces have it).
/// Each device is a process with a simulated camera and clock, in a network of its own behind a bridge. Devices are killed,
/// stopped, restarted with other wall clocks, and cut off. An order is given every --every. As the simulated
/// clocks are known, the true instant of every frame is too. Checked is that every device that lives answers every order; that
/// no rig time is stepped; that frames marked synced are; and that a lost leader is replaced in time. A check that fails
/// makes the exit code 1.
#[derive(Debug, Clone, Args)]
pub struct ChaosArgs {
    /// Devices.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(2..=40))]
    pub(super) devices: u16,
    /// How long to disturb them, once all are ready.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    pub(super) duration: Duration,
    /// Time between two orders.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub(super) every: Duration,
    /// The faults to choose from, e.g. kill,leader-killed; `none` for none, `list` to list them.
    #[arg(long, default_value = "all", value_parser = faults::parse)]
    pub(super) faults: FaultList,
    /// How the devices share out the role of the leader.
    #[arg(long, value_enum, default_value_t = Roles::Auto)]
    pub(super) roles: Roles,
    /// Clocks, cameras, faults and orders follow from it, but for the scheduling of processes.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Further properties of every swsyncclock, as in a gst-launch-1.0 line.
    #[arg(long, value_name = "PROPERTIES", default_value = "", allow_hyphen_values = true)]
    pub(super) clock: String,
    /// Where files and logs go; removed in the end unless given, or a check fails.
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: Option<PathBuf>,
    /// Print the report as lines of JSON: one for each fault, one for each check.
    #[arg(long)]
    pub(super) json: bool,
    /// Be the process that asks and orders in this rig. Started by the command itself.
    #[arg(long, hide = true, value_name = "RIG")]
    pub(super) observe: Option<Name>,
}

/// The faults to choose from.
#[derive(Debug, Clone)]
pub struct FaultList(pub Vec<&'static FaultKind>);
