//! Arm, ready, go: the order is given only once enough devices are ready for it.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use swsync_core::order::{Need, Order, Readiness};
use swsync_core::time::Span;
use swsync_rig::control::Session;

use super::Look;
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
          default_missing_value = "5s", value_parser = humantime::parse_duration)]
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
    /// Waits until the quorum is ready for what `order` makes of a look at the rig, or says who is not and why.
    pub fn arm(
        &self,
        session: &Session,
        first: Look,
        order: impl Fn(&Look) -> anyhow::Result<Order>,
        json: bool,
    ) -> anyhow::Result<Armed> {
        let Some(patience) = self.arm else { return Ok(Armed::Go(Box::new(first))) };
        let deadline = Instant::now() + patience;
        let mut look = first;
        loop {
            let order = order(&look)?;
            let all = readiness(&look, &order);
            let ready = all.iter().filter(|ready| ready.is_ready()).count();
            if self.need.is_met(ready, all.len()) {
                return Ok(Armed::Go(Box::new(look)));
            }
            if Instant::now() >= deadline {
                say(&all, ready, json);
                return Ok(Armed::NotReady);
            }
            std::thread::sleep(LOOK_AGAIN);
            look = Look::at(session)?;
        }
    }
}

/// How ready each device is that the order is for.
fn readiness(look: &Look, order: &Order) -> Vec<Readiness> {
    let now = look.now();
    let targets = order.targets();
    let said = look.reports.iter().filter(|report| targets.include(&report.status.device));
    let mut all: Vec<_> = said.map(|report| Readiness::of(&report.status, order, now)).collect();
    let named = match targets {
        swsync_core::order::Targets::All => Vec::new(),
        swsync_core::order::Targets::Devices(devices) => devices.iter().cloned().collect(),
    };
    let silent = look.roster.iter().filter(|device| targets.include(device)).cloned();
    for device in silent {
        if !all.iter().any(|ready| ready.device == device) {
            all.push(Readiness::unknown(device, "it does not say how it is"));
        }
    }
    for device in named {
        if !all.iter().any(|ready| ready.device == device) {
            all.push(Readiness::unknown(device, "it is not in the rig"));
        }
    }
    all.sort_by(|a, b| a.device.cmp(&b.device));
    all
}

/// Says who is ready, and what stands in the others' way.
fn say(all: &[Readiness], ready: usize, json: bool) {
    if json {
        let devices: Vec<Value> = all.iter().map(|ready| json!(ready)).collect();
        output::line(&json!({ "ready": false, "devices": devices }).to_string());
        return;
    }
    let width = all.iter().map(|ready| ready.device.as_str().len()).max().unwrap_or_default();
    let table = table(width);
    output::line(&table.headings());
    for ready in all {
        output::line(&table.row(&row(ready)));
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
