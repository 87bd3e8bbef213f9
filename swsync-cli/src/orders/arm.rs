//! Arm, ready, go: the order is given only once enough devices are ready for it.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use swsync_core::order::{Need, Order, Readiness, Targets};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_rig::control::{Session, StatusReport};

use super::Look;
use crate::duration;
use crate::output;
use crate::table::{Align, Column, NOTHING, Table, micros, micros_unsigned};

/// Between two looks at devices that are not ready.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

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
    need: Need,
}

/// What came of arming.
pub enum Armed {
    /// Go. The look at the rig that says so.
    Go(Box<Look>),
    /// Not enough devices are ready; it was said which, and why.
    NotReady,
}

impl ArmArgs {
    /// How long devices are waited for, if they are.
    pub fn patience(&self) -> Option<Duration> {
        self.arm
    }

    /// Waits until the quorum is ready for what `order` makes of a look at the rig, or says who is not and why.
    ///
    /// # Errors
    /// Where the order cannot be meant, or, without `--arm`, no device knows rig time.
    pub fn arm(
        &self,
        session: &Session,
        targets: &Targets,
        order: impl Fn(&Look) -> anyhow::Result<Order>,
        json: bool,
    ) -> anyhow::Result<Armed> {
        let Some(patience) = self.arm else {
            return Ok(Armed::Go(Box::new(Look::at(session).knowing_time()?)));
        };
        let deadline = Instant::now() + patience;
        loop {
            let look = Look::at(session);
            let order = look.time().map(|now| Ok::<_, anyhow::Error>((order(&look)?, now))).transpose()?;
            let all = readiness(&look, targets, order.as_ref());
            let ready = all.iter().filter(|ready| ready.is_ready()).count();
            if order.is_some() && self.need.is_met(ready, all.len()) {
                return Ok(Armed::Go(Box::new(look)));
            }
            if Instant::now() >= deadline {
                say(&look, &all, ready, json);
                return Ok(Armed::NotReady);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// How ready each device is that is meant, for `order` if it can be told already.
fn readiness(look: &Look, targets: &Targets, order: Option<&(Order, Timestamp<Rig>)>) -> Vec<Readiness> {
    let said = look.reports.iter().filter(|report| targets.include(&report.status.device));
    let of = |report: &StatusReport| {
        let status = &report.status;
        let mut ready = match order {
            Some((order, now)) => Readiness::of(status, order, *now),
            None => Readiness::now(status),
        };
        ready.problems.extend(look.common.objections(status));
        ready
    };
    let mut all: Vec<_> = said.map(of).collect();
    let missed = look.missed.iter().filter(|(device, _)| targets.include(device));
    all.extend(missed.map(|(device, why)| Readiness::unknown(device.clone(), why.clone())));
    if let Targets::Devices(devices) = targets {
        let absent = devices.iter().filter(|device| !look.devices().any(|known| known == *device));
        all.extend(absent.map(|device| Readiness::unknown(device.clone(), "it is not in the rig")));
    }
    all.sort_by(|a, b| a.device.cmp(&b.device));
    all
}

/// Says who is ready, and what stands in the others' way.
fn say(look: &Look, all: &[Readiness], ready: usize, json: bool) {
    if json {
        let devices: Vec<Value> = all.iter().map(|ready| json!(ready)).collect();
        let differences = look.common.differences();
        output::line(&json!({ "ready": false, "devices": devices, "differences": differences }).to_string());
        return;
    }
    let width = all.iter().map(|ready| ready.device.as_str().len()).max().unwrap_or_default();
    let table = table(width);
    output::line(&table.headings());
    for ready in all {
        output::line(&table.row(&row(ready)));
    }
    for difference in look.common.differences() {
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
