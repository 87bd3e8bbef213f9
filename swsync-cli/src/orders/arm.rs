//! `--arm`: the order is given only once enough devices are ready for it.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use swsync_client::{Armed, Arming, NotReady, Rig, RigSnapshot};
use swsync_core::order::{Order, Targets};
use swsync_core::status::{Quorum, Readiness};
use swsync_core::time::Span;

use super::targets::TargetArgs;
use crate::duration;
use crate::output;
use crate::table::{Align, Column, NOTHING, Table, micros, micros_unsigned};

/// Who must be ready.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Arm")]
pub struct ArmArgs {
    /// Go only once the devices are ready (clock, lock, ring, disk); wait so long for that. [default: 5s]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true,
          default_missing_value = "5s", value_parser = duration::any)]
    arm: Option<Duration>,
    /// How many devices must be ready: all, or a number.
    #[arg(long, value_name = "all|N", default_value = "all", requires = "arm")]
    need: Quorum,
}

/// The document of an order with `--arm` that was not given.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotReadyDocument {
    /// Always false.
    ready: bool,
    /// Each device, and what stands in its way.
    devices: Vec<Readiness>,
    /// In what devices differ, for a person.
    differences: Vec<String>,
}

impl NotReadyDocument {
    /// The document of an order for which not enough devices were ready.
    #[must_use]
    pub fn of(not_ready: &NotReady) -> Self {
        let differences = not_ready.snapshot.common.disagreements();
        Self { ready: false, devices: not_ready.devices.clone(), differences }
    }
}

impl ArmArgs {
    /// How long to wait for devices; `None` without `--arm`.
    pub fn patience(&self) -> Option<Duration> {
        self.arm
    }

    /// Waits until enough of the devices after `--to` are ready for the order that `order` makes from a snapshot of the rig and
    /// from the devices meant. `None`: they did not get
    /// ready in time; which are not, and why, has been printed.
    ///
    /// # Errors
    /// The order is invalid; or, without `--arm`, no device knows rig time, or a name is that of no device and no group.
    pub fn arm(
        &self,
        rig: &Rig,
        to: &TargetArgs,
        order: impl Fn(&RigSnapshot, &Targets) -> anyhow::Result<Order>,
        json: bool,
    ) -> anyhow::Result<Option<(RigSnapshot, Targets)>> {
        let Some(patience) = self.arm else {
            let snapshot = rig.timed_snapshot()?;
            let targets = to.resolve(&snapshot)?;
            return Ok(Some((snapshot, targets)));
        };
        // Devices may still join: what is not known yet counts as one that is not ready.
        let targets = |snapshot: &RigSnapshot| to.resolve_early(snapshot).0;
        match rig.arm(Arming { need: self.need, patience }, targets, order)? {
            Armed::Go(snapshot, targets) => {
                to.warn_of_doubts(&snapshot);
                Ok(Some((*snapshot, targets)))
            }
            Armed::NotReady(not_ready) => {
                print(&not_ready, json);
                Ok(None)
            }
        }
    }
}

/// Prints which devices are ready, and what the others lack.
fn print(not_ready: &NotReady, json: bool) {
    let NotReady { snapshot, devices: all, .. } = not_ready;
    if json {
        output::json(&NotReadyDocument::of(not_ready));
        return;
    }
    let width = all.iter().map(|ready| ready.device.as_str().len()).max().unwrap_or_default();
    let table = table(width);
    output::line(&table.headings());
    for ready in all {
        output::line(&table.row(&row(ready)));
    }
    for difference in snapshot.common.disagreements() {
        output::line(&difference);
    }
    output::line(&format!("NOT given: {} of {} devices are ready", not_ready.ready(), all.len()));
}

fn table(width: usize) -> Table<8> {
    let column = |heading, width, align| Column { heading, width, align };
    Table::new([
        column("device", width.max(6), Align::Left),
        column("clock", 9, Align::Left),
        column("+- us", 8, Align::Right),
        column("camera", 9, Align::Left),
        column("phase us", 8, Align::Right),
        column("ring s", 6, Align::Right),
        column("disk s", 7, Align::Right),
        column("ready", 5, Align::Left),
    ])
}

fn row(ready: &Readiness) -> [String; 8] {
    let nothing = || NOTHING.to_owned();
    let secs = |span: Option<Span>, digits| {
        span.map_or_else(nothing, |span| format!("{:.digits$}", span.as_secs_f64()))
    };
    [
        ready.device.to_string(),
        ready.sync.map_or_else(nothing, |sync| sync.as_str().into()),
        ready.clock_uncertainty_ns.map_or_else(nothing, micros_unsigned),
        ready.lock.map_or_else(nothing, |lock| lock.as_str().into()),
        ready.phase_error_ns.map_or_else(nothing, micros),
        secs(ready.ring_ns, 1),
        secs(ready.disk_ns, 0),
        if ready.is_ready() { "yes".into() } else { format!("no: {}", ready.problems.join("; ")) },
    ]
}
