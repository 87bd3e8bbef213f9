//! The arguments of `swsync lab scale`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::protocol::Part;

/// Count what a rig of many devices costs.
///
/// Needs the right to make network namespaces (`./x` and user namespaces have it), and ip (iproute2), unshare, nsenter and
/// setpriv (util-linux). Each device is a process without a camera, in a network namespace of its own behind a bridge: real
/// sockets, Zenoh, time service and elections. Counted from outside are its packets, memory and processor time while the rig is
/// idle; then the packets of further devices that join, and the time from an order to its last answer. All devices share the host's
/// clock, so that differences of rig time are errors. The exit code is 1 if a figure is not as wanted.
#[derive(Debug, Clone, Args)]
pub struct ScaleArgs {
    /// Devices, for one rig after the other.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "5,50,200",
        value_parser = clap::value_parser!(u16).range(2..=900)
    )]
    pub(super) devices: Vec<u16>,
    /// Count the idle rig for so long.
    #[arg(long, default_value = "20s", value_parser = humantime::parse_duration)]
    pub(super) idle: Duration,
    /// Wait so long before, once all devices are synced. Clients of a time server alone have three times as long.
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub(super) settle: Duration,
    /// Orders to each rig.
    #[arg(long, default_value_t = 200)]
    pub(super) orders: u32,
    /// Devices that join each rig, one after the other.
    #[arg(long, default_value_t = 3)]
    pub(super) joins: u16,
    /// Devices of one more rig whose servers take few clients, so that relays of relays are needed; 0: none.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(0..=900))]
    pub(super) relays: u16,
    /// Clients of a time server alone; 0: none.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(0..=20_000))]
    pub(super) clients: u16,
    /// Where the logs of the processes go; removed in the end unless given.
    #[arg(long, value_name = "FOLDER")]
    pub(super) out: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Be one of the lab's processes. Started by the command itself.
    #[arg(long, hide = true, value_name = "JSON", value_parser = parse_part)]
    pub(super) part: Option<Part>,
}

fn parse_part(text: &str) -> Result<Part, serde_json::Error> {
    serde_json::from_str(text)
}
