//! `--arm`: the order is given only once enough devices are ready for it.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use swsync_core::order::{Order, Targets};
use swsync_core::status::{Quorum, Readiness};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::{Session, StatusReport};

use super::snapshot::RigSnapshot;
use super::targets::TargetArgs;
use crate::duration;
use crate::output;
use crate::table::{Align, Column, NOTHING, Table, micros, micros_unsigned};

/// Time from one question to devices that are not ready to the next.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

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

/// The result of arming.
pub enum Armed {
    /// The order can be given to these devices; with the snapshot of the rig that shows it.
    Go(Box<RigSnapshot>, Targets),
    /// Not enough devices are ready. Which are not, and why, has been printed.
    NotReady,
}

impl ArmArgs {
    /// How long to wait for devices; `None` without `--arm`.
    pub fn patience(&self) -> Option<Duration> {
        self.arm
    }

    /// Waits until enough of the devices after `--to` are ready for the order that `order` makes from a snapshot of the rig and
    /// from the devices meant; prints which are not and why if they do not get ready in time.
    ///
    /// # Errors
    /// The order is invalid; or, without `--arm`, no device knows rig time, or a name is that of no device and no group.
    pub fn arm(
        &self,
        session: &Session,
        to: &TargetArgs,
        order: impl Fn(&RigSnapshot, &Targets) -> anyhow::Result<Order>,
        json: bool,
    ) -> anyhow::Result<Armed> {
        let Some(patience) = self.arm else {
            let snapshot = RigSnapshot::take(session).require_time()?;
            let targets = to.resolve(&snapshot)?;
            return Ok(Armed::Go(Box::new(snapshot), targets));
        };
        let deadline = Instant::now() + patience;
        loop {
            let snapshot = RigSnapshot::take(session);
            // Devices may still join: what is not known yet counts as one that is not ready.
            let (targets, _) = to.resolve_early(&snapshot);
            let order = snapshot
                .time()
                .map(|now| Ok::<_, anyhow::Error>((order(&snapshot, &targets)?, now)))
                .transpose()?;
            let all = readiness(&snapshot, &targets, order.as_ref());
            let ready = all.iter().filter(|ready| ready.is_ready()).count();
            if order.is_some() && self.need.is_met(ready, all.len()) {
                to.warn_of_doubts(&snapshot);
                return Ok(Armed::Go(Box::new(snapshot), targets));
            }
            if Instant::now() >= deadline {
                print(&snapshot, &all, ready, json);
                return Ok(Armed::NotReady);
            }
            std::thread::sleep(ASK_INTERVAL);
        }
    }
}

/// The readiness of each target, for `order` if rig time is known already.
fn readiness(
    snapshot: &RigSnapshot,
    targets: &Targets,
    order: Option<&(Order, Timestamp<Rig>)>,
) -> Vec<Readiness> {
    let reports = snapshot.reports.iter().filter(|report| targets.include(&report.status.device));
    let of = |report: &StatusReport| {
        let status = &report.status;
        let mut ready = match order {
            Some((order, now)) => Readiness::judge(status, Some((order, *now))),
            None => Readiness::judge(status, None),
        };
        ready.problems.extend(snapshot.common.objections(status));
        ready
    };
    let mut all: Vec<_> = reports.map(of).collect();
    let missed = snapshot.missed.iter().filter(|(device, _)| targets.include(device));
    all.extend(missed.map(|(device, why)| Readiness::unknown(device.clone(), why.clone())));
    if let Targets::Devices(devices) = targets {
        let absent = devices.iter().filter(|device| !snapshot.devices().any(|known| known == *device));
        all.extend(absent.map(|device| {
            Readiness::unknown(device.clone(), "it is not in the rig, nor is there a group of this name")
        }));
    }
    all.sort_by(|a, b| a.device.cmp(&b.device));
    all
}

/// Prints which devices are ready, and what the others lack.
fn print(snapshot: &RigSnapshot, all: &[Readiness], ready: usize, json: bool) {
    if json {
        let devices: Vec<Value> = all.iter().map(|ready| json!(ready)).collect();
        let differences = snapshot.common.disagreements();
        output::line(&json!({ "ready": false, "devices": devices, "differences": differences }).to_string());
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
    output::line(&format!("NOT given: {ready} of {} devices are ready", all.len()));
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
