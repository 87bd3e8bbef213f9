//! `--to`: the devices that an order is for, and a warning of each that is not ready.

use clap::Args;
use swsync_client::RigSnapshot;
use swsync_core::name::DeviceId;
use swsync_core::order::Targets;

use crate::output::warn;

/// The devices that an order is for.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// Only these devices, separated by commas; without it all, also those that join later.
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    to: Vec<DeviceId>,
}

impl TargetArgs {
    pub fn targets(&self) -> Targets {
        match &self.to[..] {
            [] => Targets::All,
            devices => Targets::Devices(devices.iter().cloned().collect()),
        }
    }
}

/// Warns of each of the `targets` that is not ready.
pub fn warn_of_unready(snapshot: &RigSnapshot, targets: &Targets) {
    for report in snapshot.reports.iter().filter(|report| targets.include(&report.status.device)) {
        let problems = snapshot.objections(&report.status);
        if !problems.is_empty() {
            warn(&format!("{} is not ready: {}", report.status.device, problems.join("; ")));
        }
    }
    for (device, why) in snapshot.missed.iter().filter(|(device, _)| targets.include(device)) {
        warn(&format!("{device} is not ready: {why}"));
    }
}
