//! The report: a table with a column for each rig, what is wanted of the figures, and what follows for a thousand devices.

use serde_json::{Value, json};
use swsync_cli::output;
use swsync_cli::table::NOTHING;

use super::clients::Served;
use super::figures::{self, Growth, KINDS, Kind};
use super::float;
use super::measure::Measured;

/// What is extrapolated to.
const MANY: f64 = 1_000.0;
/// The leader with its clients should use less of a processor, in per cent.
const LEADER_CPU: f64 = 5.0;
/// A figure that grows with a higher power of the number of devices does not grow linearly.
const LINEAR: f64 = 1.3;
/// The processor of the lab may lose so small a part of the frames unnoticed.
const LOST: f64 = 0.01;

/// All that was measured.
#[derive(Debug, Default)]
pub struct Report {
    pub rigs: Vec<Measured>,
    /// The rig whose servers take few clients.
    pub relays: Option<Measured>,
    pub served: Option<Served>,
}

/// A figure that something is wanted of.
struct Verdict {
    what: String,
    value: Option<f64>,
    wanted: f64,
}

impl Verdict {
    /// `None`: it was not measured.
    fn passes(&self) -> Option<bool> {
        self.value.map(|value| value <= self.wanted)
    }
}

impl Report {
    /// Whether all that was measured is as it is wanted.
    pub fn is_good(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.passes() != Some(false))
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for measured in self.columns() {
            for (kind, value) in KINDS.iter().zip(figures::figures(measured)) {
                if let Some(wanted) = kind.wanted {
                    let what = format!("{} devices: {}", heading(measured), kind.name);
                    verdicts.push(Verdict { what, value, wanted });
                }
            }
        }
        if let Some(served) = &self.served {
            verdicts.push(Verdict {
                what: format!("leader with {} clients: processor, % of one", served.clients),
                value: Some(served.cpu_percent),
                wanted: LEADER_CPU,
            });
        }
        verdicts
    }

    fn columns(&self) -> impl Iterator<Item = &Measured> {
        self.rigs.iter().chain(&self.relays)
    }

    /// A figure in the rigs that it was measured in, by size.
    fn sizes(&self, figure: usize) -> Vec<(f64, f64)> {
        let value = |rig: &Measured| Some((float(rig.devices), figures::figures(rig)[figure]?));
        let mut sizes: Vec<_> = self.rigs.iter().filter_map(value).collect();
        sizes.sort_by(|one, other| one.0.total_cmp(&other.0));
        sizes.dedup_by_key(|(size, _)| *size);
        sizes
    }

    fn of_many(&self, figure: usize) -> Option<f64> {
        figures::extrapolate(KINDS[figure].growth, &self.sizes(figure), MANY)
    }

    /// What the reader has to know beside the figures.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if cfg!(debug_assertions) {
            notes.push(
                "a debug build: processor times and latencies are larger than a release build's".into(),
            );
        }
        for rig in self.columns() {
            let (counted, kernel) = (float(rig.idle.packets.frames), float(rig.idle.frames));
            if counted < kernel * (1.0 - LOST) {
                notes.push(format!(
                    "{} devices: only {counted} of {kernel} frames were counted: packets are too few",
                    heading(rig)
                ));
            }
            let mut reasons: Vec<_> = rig.orders.incomplete.iter().collect();
            reasons.dedup();
            notes.extend(
                reasons.iter().take(3).map(|why| format!("{} devices: an order: {why}", heading(rig))),
            );
        }
        for (figure, kind) in KINDS.iter().enumerate() {
            let power = figures::power(&self.sizes(figure)).filter(|power| *power > LINEAR);
            if let (Some(power), Growth::Linear) = (power, kind.growth) {
                notes.push(format!(
                    "{}: grows with the power {power:.1} of the number of devices; a thousand would have more",
                    kind.name
                ));
            }
        }
        notes
    }

    /// The report as text.
    pub fn lines(&self) -> Vec<String> {
        let columns: Vec<_> = self.columns().map(|rig| (heading(rig), figures::figures(rig))).collect();
        let cell = |text: String| format!("{text:>9}");
        let mut lines = vec![format!(
            "{:<58}{}{}{}  of all measured",
            "devices without a camera",
            columns.iter().map(|(heading, _)| cell(heading.clone())).collect::<String>(),
            cell("-> 1000".into()),
            cell("wanted".into()),
        )];
        for (index, Kind { name, wanted, .. }) in KINDS.iter().enumerate() {
            let values: Vec<_> = columns.iter().map(|(_, values)| values[index]).collect();
            let shown: String = values.iter().map(|value| cell(number(*value))).collect();
            let verdict = wanted.map_or("", |wanted| verdict(values.iter().flatten(), wanted));
            let line = format!(
                "{name:<58}{shown}{}{}  {verdict}",
                cell(number(self.of_many(index))),
                cell(wanted.map_or(String::new(), |wanted| format!("<= {}", number(Some(wanted)))))
            );
            lines.push(line.trim_end().to_owned());
        }
        if let Some(served) = &self.served {
            let Served { clients, requests, lost, span, cpu_percent, alone_percent, .. } = served;
            lines.push(format!(
                "a leader with {clients} clients (a load generator that speaks the protocol), {:.0} requests/s, {lost} of \
                 {} unanswered: {cpu_percent:.2} % of a processor (without clients {alone_percent:.2} %), {} MB; wanted < \
                 {LEADER_CPU} %: {}",
                float(*requests) / span.as_secs_f64(),
                requests + lost,
                number(Some(float(served.resident_kb) / 1_000.0)),
                verdict([cpu_percent].into_iter(), LEADER_CPU)
            ));
        }
        lines.push("-> 1000: on the line through the two largest rigs, not measured".into());
        if let Some(rig) = &self.relays {
            let most = rig.max_clients.unwrap_or_default();
            lines.push(format!("{}: each time server takes {most} clients", heading(rig)));
        }
        lines.extend(self.notes().into_iter().map(|note| format!("note: {note}")));
        lines
    }

    /// The report as JSON.
    pub fn json(&self) -> Value {
        let rig = |rig: &Measured| {
            let values = figures::figures(rig);
            let figures = KINDS.iter().zip(values).map(|(kind, value)| (kind.key.to_owned(), json!(value)));
            json!({
                "devices": rig.devices,
                "max_clients": rig.max_clients,
                "figures": figures.collect::<serde_json::Map<_, _>>(),
                "frames_counted": rig.idle.packets.frames,
                "frames_of_kernel": rig.idle.frames,
                "orders": rig.orders.times.len() + rig.orders.incomplete.len(),
                "join_messages": rig.joins.iter().map(|join| join.messages).collect::<Vec<_>>(),
            })
        };
        let many = KINDS
            .iter()
            .enumerate()
            .filter_map(|(index, kind)| Some((kind.key.to_owned(), json!(self.of_many(index)?))));
        let verdicts = self.verdicts();
        let verdicts = verdicts.iter().map(|verdict| {
            let Verdict { what, value, wanted } = verdict;
            json!({ "what": what, "value": value, "wanted": wanted, "passes": verdict.passes() })
        });
        json!({
            "label": super::device::LABEL,
            "debug_build": cfg!(debug_assertions),
            "rigs": self.rigs.iter().map(rig).collect::<Vec<_>>(),
            "relays": self.relays.as_ref().map(rig),
            "leader": self.served.as_ref().map(|served| json!({
                "clients": served.clients,
                "synced": served.synced,
                "requests_per_second": float(served.requests) / served.span.as_secs_f64(),
                "lost": served.lost,
                "cpu_percent": served.cpu_percent,
                "cpu_percent_alone": served.alone_percent,
                "resident_kb": served.resident_kb,
            })),
            "of_1000": many.collect::<serde_json::Map<_, _>>(),
            "wanted": verdicts.collect::<Vec<_>>(),
            "notes": self.notes(),
        })
    }

    /// Prints the report.
    pub fn print(&self, as_json: bool) {
        if as_json {
            return output::line(&self.json().to_string());
        }
        self.lines().iter().for_each(|line| output::line(line));
    }
}

fn heading(rig: &Measured) -> String {
    let relays = if rig.max_clients.is_some() { " relays" } else { "" };
    format!("{}{relays}", rig.devices)
}

fn verdict<'a>(mut values: impl Iterator<Item = &'a f64>, wanted: f64) -> &'static str {
    match values.next() {
        None => "not measured",
        Some(first) if *first <= wanted && values.all(|value| *value <= wanted) => "pass",
        Some(_) => "MISS",
    }
}

/// With three digits or so.
fn number(value: Option<f64>) -> String {
    match value {
        None => NOTHING.to_owned(),
        Some(value) if value.abs() >= 100.0 || value == value.trunc() => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}
