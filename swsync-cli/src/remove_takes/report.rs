//! Tables, JSON and the last line of `swsync rm`.

use std::process::ExitCode;

use serde::Serialize;
use swsync_client::RemoteError;
use swsync_client::rig_takes::RigTakes;
use swsync_core::name::{DeviceId, OrderId};

use super::plan::{Plan, RemovablePart};
use crate::exit;
use crate::output;
use crate::table::{Align, Column, NOTHING, Table, size};

/// What `swsync rm` did.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RemovedJson {
    /// Whether all that was named is gone.
    pub complete: bool,
    /// What was removed.
    pub removed: Vec<RemovedPartJson>,
    /// Orders that stay.
    pub refused: Vec<RefusedJson>,
    /// Devices that could not be asked.
    pub silent: Vec<NotAskedJson>,
}

/// A part that was removed, or not.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RemovedPartJson {
    /// The order.
    pub order: OrderId,
    /// The device.
    pub device: DeviceId,
    /// Number of files that are gone; 0 if there was nothing any more.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why it was not removed. null: it was.
    pub error: Option<String>,
}

/// An order that stays.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RefusedJson {
    /// The order.
    pub order: OrderId,
    /// Why, for a person.
    pub why: Vec<String>,
}

/// A device that could not be asked.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotAskedJson {
    /// The device.
    pub device: DeviceId,
    /// Why, for a person.
    pub why: String,
}

impl RemovedPartJson {
    /// Of `part`, as its device answered.
    pub fn of(part: &RemovablePart, result: Result<(u64, u64), RemoteError>) -> Self {
        let (files, bytes) = *result.as_ref().unwrap_or(&(0, 0));
        let error = result.err().map(|error| error.to_string());
        Self { order: part.order.clone(), device: part.device.clone(), files, bytes, error }
    }
}

/// What would go: a row per order and device.
pub fn table(parts: &[RemovablePart]) -> Vec<String> {
    let (order, device) = widths(parts);
    let column = |heading, width, align| Column { heading, width, align };
    let table = Table::new([
        column("order", order, Align::Left),
        column("device", device, Align::Left),
        column("frames", 6, Align::Right),
        column("size", 7, Align::Right),
        column("collected", 9, Align::Left),
    ]);
    let row = |part: &RemovablePart| {
        table.row(&[
            part.order.to_string(),
            part.device.to_string(),
            part.frames.map_or_else(|| NOTHING.to_owned(), |frames| frames.to_string()),
            part.bytes.map_or_else(|| NOTHING.to_owned(), size),
            match (&part.sha256, &part.collected_by) {
                (Some(_), Some(by)) => format!("by {by}, verified"),
                (_, Some(by)) => format!("by {by}, not verified"),
                (_, None) => "no".into(),
            },
        ])
    };
    std::iter::once(table.headings()).chain(parts.iter().map(row)).collect()
}

fn widths(parts: &[RemovablePart]) -> (usize, usize) {
    let longest = |name: fn(&RemovablePart) -> &str| parts.iter().map(|part| name(part).len()).max();
    let order = longest(|part| part.order.as_str()).unwrap_or_default().max(5);
    (order, longest(|part| part.device.as_str()).unwrap_or_default().max(6))
}

/// What the terminal is asked.
pub fn question(parts: &[RemovablePart]) -> String {
    let orders: std::collections::BTreeSet<_> = parts.iter().map(|part| &part.order).collect();
    let devices: std::collections::BTreeSet<_> = parts.iter().map(|part| &part.device).collect();
    let bytes: Option<u64> = parts.iter().map(|part| part.bytes).sum();
    let frames: Option<u64> = parts.iter().map(|part| part.frames).sum();
    let mut question = format!(
        "Remove {}: {}, {} on {}?",
        plural(orders.len() as u64, "take"),
        frames.map_or_else(|| "frames of unknown number".into(), |frames| plural(frames, "frame")),
        bytes.map_or_else(|| "of unknown size".into(), size),
        plural(devices.len() as u64, "device"),
    );
    let lost = parts.iter().filter(|part| part.sha256.is_none()).count() as u64;
    if lost > 0 {
        question.push_str(&format!(" {} of them NOT verified to be collected.", plural(lost, "part")));
    }
    question
}

fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The table of what devices answered.
pub fn removed_table(parts: &[RemovablePart]) -> Table<5> {
    let (order, device) = widths(parts);
    let column = |heading, width, align| Column { heading, width, align };
    Table::new([
        column("device", device, Align::Left),
        column("order", order, Align::Left),
        column("files", 6, Align::Right),
        column("size", 7, Align::Right),
        column("state", 7, Align::Left),
    ])
}

/// The row of one part.
pub fn removed_row(row: &RemovedPartJson) -> [String; 5] {
    [
        row.device.to_string(),
        row.order.to_string(),
        row.files.to_string(),
        size(row.bytes),
        match &row.error {
            None => "removed".into(),
            Some(error) => format!("NOT removed: {error}"),
        },
    ]
}

/// Prints the last line or the JSON, and returns the exit code.
pub fn conclude(takes: &RigTakes, plan: &Plan, removed: Vec<RemovedPartJson>, json: bool) -> ExitCode {
    let gone = removed.iter().filter(|row| row.error.is_none()).count();
    let complete = gone == plan.parts.len() && plan.refused.is_empty() && takes.silent.is_empty();
    if json {
        let refused = plan.refused.iter();
        let silent = takes.silent.iter();
        let json = RemovedJson {
            complete,
            removed,
            refused: refused
                .map(|refused| RefusedJson { order: refused.order.clone(), why: refused.why.clone() })
                .collect(),
            silent: silent
                .map(|(device, why)| NotAskedJson { device: device.clone(), why: why.clone() })
                .collect(),
        };
        output::json(&json);
    } else {
        let (files, bytes) = removed
            .iter()
            .fold((0, 0_u64), |(files, bytes), row| (files + row.files, bytes.saturating_add(row.bytes)));
        let verdict = match (complete, gone) {
            (true, _) => "all removed",
            (false, 0) => "nothing removed",
            (false, _) => "NOT all removed",
        };
        output::line(&format!("{verdict}: {}, {}", plural(files, "file"), size(bytes)));
    }
    ExitCode::from(if complete { 0 } else { exit::INCOMPLETE })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    fn part(device: &str, sha256: Option<&str>) -> RemovablePart {
        RemovablePart {
            order: name("o1"),
            device: name(device),
            frames: Some(5),
            bytes: Some(1000),
            sha256: sha256.map(str::to_owned),
            collected_by: Some("laptop".into()),
        }
    }

    #[test]
    fn the_question_says_what_goes_and_what_is_not_verified() {
        assert_eq!(
            question(&[part("a", Some("00")), part("b", Some("00"))]),
            "Remove 1 take: 10 frames, 2.00 kB on 2 devices?"
        );
        let forced = question(&[part("a", None)]);
        assert!(forced.ends_with("on 1 device? 1 part of them NOT verified to be collected."), "{forced}");
        let rows = table(&[part("a", None), part("b", Some("00"))]);
        assert!(
            rows[1].ends_with("by laptop, not verified") && rows[2].ends_with("by laptop, verified"),
            "{rows:?}"
        );
    }

    #[test]
    fn a_device_that_fails_is_said_in_its_row() {
        let refused = RemoteError::Refused { device: name("a"), why: "the disk is full".into() };
        let row = RemovedPartJson::of(&part("a", None), Err(refused));
        assert_eq!(removed_row(&row)[4], "NOT removed: a refuses: the disk is full");
        assert_eq!(
            removed_row(&RemovedPartJson::of(&part("a", None), Ok((7, 9))))[2..],
            ["7", "9 B", "removed"]
        );
    }
}
