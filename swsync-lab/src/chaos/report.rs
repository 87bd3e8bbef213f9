//! The report: what was done over time, and what the checks have found.

use serde_json::json;
use swsync_core::time::{Host, Span, Timestamp};

use super::check::{Findings, When};
use super::record::{FaultEntry, Record};
use swsync_cli::output;
use swsync_cli::table::{Align, Column, NOTHING, Table};

/// How long after its repair a fault may still be felt.
const FELT: Span = Span::from_secs(10);

/// Prints the report.
pub fn print(record: &Record, findings: &Findings, began: Timestamp<Host>, as_json: bool) {
    if as_json {
        for line in fault_lines(record, findings, began) {
            output::line(&line.to_string());
        }
        for finding in &findings.findings {
            output::line(&finding.json().to_string());
        }
        return;
    }
    if !record.faults.is_empty() {
        output::line(
            "What was done, and how far apart devices were from then until 10 s after it was repaired:",
        );
        output::line(&table().headings());
        for row in rows(record, findings, began) {
            output::line(&table().row(&row));
        }
        output::line("");
    }
    for line in findings.findings.iter().flat_map(super::check::Finding::lines) {
        output::line(&line);
    }
}

fn table() -> Table<7> {
    let right = |heading, width| Column { heading, width, align: Align::Right };
    let left = |heading, width| Column { heading, width, align: Align::Left };
    Table::new([
        right("at s", 6),
        right("for s", 6),
        left("fault", 14),
        right("new leader s", 12),
        right("synced us", 9),
        right("holdover us", 11),
        left("what", 1),
    ])
}

/// The worst differences while a fault lasts and is felt: of synced devices, and of all whose clocks are in use.
fn worst(findings: &Findings, fault: &FaultEntry) -> [Option<Span>; 2] {
    let until = fault.repaired.unwrap_or(Timestamp::MAX - FELT) + FELT;
    [true, false].map(|is_synced| findings.agreement.worst(fault.began, until, None, is_synced))
}

fn rows(record: &Record, findings: &Findings, began: Timestamp<Host>) -> Vec<[String; 7]> {
    let micros =
        |span: Option<Span>| span.map_or(NOTHING.to_owned(), |span| format!("{:.1}", span.as_micros_f64()));
    let rows = record.faults.iter().zip(&findings.hand_overs).map(|(fault, hand_over)| {
        let [synced, in_use] = worst(findings, fault);
        let lasted = fault.repaired.map(|repaired| repaired - fault.began);
        let took = match hand_over {
            None => NOTHING.to_owned(),
            Some(hand_over) => {
                hand_over.took.map_or("none".to_owned(), |took| format!("{:.2}", took.as_secs_f64()))
            }
        };
        [
            When(began).seconds(fault.began).trim_end_matches(" s").to_owned(),
            lasted.map_or(NOTHING.to_owned(), |span| format!("{:.1}", span.as_secs_f64())),
            fault.kind.to_owned(),
            took,
            micros(synced),
            micros(in_use),
            fault.what.clone(),
        ]
    });
    rows.collect()
}

fn fault_lines(record: &Record, findings: &Findings, began: Timestamp<Host>) -> Vec<serde_json::Value> {
    let lines = record.faults.iter().zip(&findings.hand_overs).map(|(fault, hand_over)| {
        let [synced, in_use] = worst(findings, fault);
        json!({
            "fault": fault.kind,
            "what": fault.what,
            "at_ns": fault.began - began,
            "lasted_ns": fault.repaired.map(|repaired| repaired - fault.began),
            "lost_leader": fault.leaderless.and(fault.leader),
            "new_leader_after_ns": hand_over.as_ref().and_then(|hand_over| hand_over.took),
            "apart_ns": synced,
            "apart_with_holdover_ns": in_use,
        })
    });
    lines.collect()
}
