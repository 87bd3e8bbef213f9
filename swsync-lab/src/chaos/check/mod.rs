//! What must hold of a run, whatever was done to the rig. Each check looks at the record and says what it has found.

mod agreement;
mod answers;
mod elections;
mod files;
mod pictures;
mod runs;
mod steps;

use serde_json::{Value, json};
use swsync_core::time::{Host, Timestamp};

use agreement::Agreement;
use elections::HandOver;
use runs::Runs;

use super::record::Record;
use super::rig::Rig;

/// At most so many violations of a check are printed.
const SHOWN: usize = 12;

/// What a check has found.
pub struct Finding {
    /// What must hold.
    pub what: &'static str,
    /// In words, with figures.
    pub figures: String,
    /// The same for programs.
    pub json: Value,
    /// Where it does not hold.
    pub violations: Vec<String>,
}

impl Finding {
    /// Its lines in the report.
    pub fn lines(&self) -> Vec<String> {
        let verdict = if self.violations.is_empty() { "ok" } else { "WRONG" };
        let mut lines = vec![format!("{verdict:<5}  {}: {}", self.what, self.figures)];
        lines.extend(self.violations.iter().take(SHOWN).map(|what| format!("         {what}")));
        if let Some(more) = self.violations.len().checked_sub(SHOWN + 1) {
            lines.push(format!("         and {} more", more + 1));
        }
        lines
    }

    pub fn json(&self) -> Value {
        json!({
            "check": self.what, "ok": self.violations.is_empty(), "figures": self.json, "violations": self.violations,
        })
    }
}

/// Everything that is found in a run.
pub struct Findings {
    pub findings: Vec<Finding>,
    pub agreement: Agreement,
    pub hand_overs: Vec<Option<HandOver>>,
}

/// When something was, for people.
pub struct When(pub Timestamp<Host>);

impl When {
    /// `at` in seconds of the run.
    pub fn seconds(&self, at: Timestamp<Host>) -> String {
        format!("{:.1} s", (at - self.0).as_secs_f64())
    }
}

/// Checks a run that `began` when all devices were ready. With `elects` the devices elect their leader; with `is_whole` the run was not
/// interrupted.
pub fn all(rig: &Rig, record: &Record, began: Timestamp<Host>, elects: bool, is_whole: bool) -> Findings {
    let when = When(began);
    let runs = Runs::of(rig, record);
    let agreement = Agreement::of(&runs, &when);
    let hand_overs: Vec<_> = record
        .faults
        .iter()
        .map(|fault| elections::hand_over(fault, &rig.timeline, record, &agreement))
        .collect();
    let mut findings = vec![
        answers::check(&rig.timeline, record, &when, is_whole),
        steps::check(&runs, record, &when),
        agreement.finding(),
        pictures::check(&runs, &when),
        files::check(rig, record),
    ];
    if elects {
        findings.push(elections::check(record, &hand_overs, &when));
    }
    findings.push(Finding {
        what: "the devices run",
        figures: format!("{} troubles", record.troubles.len()),
        json: json!({ "troubles": record.troubles.len() }),
        violations: record.troubles.clone(),
    });
    Findings { findings, agreement, hand_overs }
}
