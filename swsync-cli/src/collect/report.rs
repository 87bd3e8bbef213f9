//! The result of collecting, as a table and as JSON.

use swsync_client::collect::Collected;
use swsync_client::pending::Pending;
use swsync_client::share::Unreadable;
use swsync_core::manifest::MissingFrames;
use swsync_core::name::{DeviceId, OrderId};

use super::result::{CollectResult, PartOutcome, TakePart};
use crate::table::{Align, Column, NOTHING, Table, clean, size};

/// At most so many gaps are listed one by one.
const MAX_GAPS: usize = 20;

/// The table of parts.
pub fn table(device: usize, orders: &[OrderId]) -> Table<6> {
    let order = orders.iter().map(|order| order.as_str().len()).max().unwrap_or_default();
    Table::new([
        Column { heading: "device", width: device.max(6), align: Align::Left },
        Column { heading: "order", width: order.max(5), align: Align::Left },
        Column { heading: "files", width: 6, align: Align::Right },
        Column { heading: "size", width: 8, align: Align::Right },
        Column { heading: "new", width: 6, align: Align::Right },
        Column { heading: "state", width: 0, align: Align::Left },
    ])
}

/// One part's row.
pub fn row(part: &TakePart) -> [String; 6] {
    let (device, order) = (part.device.to_string(), part.order.to_string());
    let nothing = || NOTHING.to_owned();
    match &part.outcome {
        PartOutcome::Here { collected, deleted } => {
            let deleted = (*deleted > 0).then(|| format!(", {deleted} deleted there"));
            fetched(device, order, collected, &format!("whole{}", deleted.unwrap_or_default()))
        }
        PartOutcome::Partial(collected) => fetched(
            device,
            order,
            collected,
            "partial: what is whole is here; the device is not done with it",
        ),
        PartOutcome::Unfinished => [device, order, nothing(), nothing(), nothing(), "unfinished".into()],
        PartOutcome::Failed(error) => [device, order, nothing(), nothing(), nothing(), error.to_string()],
    }
}

/// The row of a part of which files are here.
fn fetched(device: String, order: String, collected: &Collected, state: &str) -> [String; 6] {
    let mut state = state.to_owned();
    if collected.gone > 0 {
        state.push_str(&format!(", less {} removed there meanwhile", collected.gone));
    }
    if !collected.kept.is_empty() {
        let kept = clean(&collected.kept.join(", "));
        state.push_str(&format!("; what was here and is not what the device has is kept as {kept}"));
    }
    let (files, new) = (collected.files.to_string(), collected.fetched.to_string());
    [device, order, files, size(collected.bytes), new, state]
}

/// The lines below the table.
pub fn verdict(result: &CollectResult) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(result.silent.iter().map(|(_, why)| clean(why)));
    lines.extend(result.unreadable.iter().map(|error| clean(error)));
    lines.extend(result.unreadable_there.iter().map(|(device, Unreadable { path, why })| {
        clean(&format!("{device} has {path}, which cannot be collected: {why}"))
    }));
    let missing = result.pending.iter().map(|(order, device, pending)| missing(order, device, pending));
    lines.extend(missing.take(MAX_GAPS));
    if let Some(more) = result.pending.len().checked_sub(MAX_GAPS).filter(|more| *more > 0) {
        lines.push(format!("and {more} parts more are not whole here: --json lists them all"));
    }
    if !result.gaps.is_empty() {
        let frames: u64 = result.gaps.iter().map(|(_, gap)| gap.count).sum();
        lines.push(format!("{frames} frames are missing on some devices:"));
        lines.extend(result.gaps.iter().take(MAX_GAPS).map(|(order, gap)| describe(order, gap)));
        if let Some(more) = result.gaps.len().checked_sub(MAX_GAPS).filter(|more| *more > 0) {
            lines.push(format!("  and {more} gaps more: --json lists them all"));
        }
    }
    let here = result.parts.iter().filter(|part| matches!(part.outcome, PartOutcome::Here { .. })).count();
    let all = result.parts.len();
    lines.push(match (result.is_whole(), all) {
        (true, 0) => "the devices have no files yet".into(),
        (true, _) if result.gaps.is_empty() => format!("all collected: {here} of {all} parts whole"),
        (true, _) => format!("all collected: {here} of {all} parts whole, less the frames above"),
        (false, _) => format!("NOT all collected: {here} of {all} parts whole; run again to go on"),
    });
    lines
}

/// The line for a part that was not whole before, and that no device has now.
pub fn missing(order: &OrderId, device: &DeviceId, pending: &Pending) -> String {
    let why = &pending.why;
    clean(&format!("{order} of {device} is not whole here: {why}; --without {device} gives it up"))
}

fn describe(order: &OrderId, gap: &MissingFrames) -> String {
    let MissingFrames { device, first, last, count, why } = gap;
    let frames = match count {
        1 => format!("frame {first}"),
        _ => format!("frames {first} to {last} ({count})"),
    };
    clean(&format!("  {order}  {device}  {frames}: {why}"))
}

/// Names separated by commas, for a message.
pub fn list<'a>(names: impl IntoIterator<Item = &'a swsync_core::name::Name>) -> String {
    let names: Vec<_> = names.into_iter().map(ToString::to_string).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::document::CollectDocument;
    use super::*;
    use crate::testing::name;

    fn gap(first: u64, count: u64) -> (OrderId, MissingFrames) {
        (
            name("o1"),
            MissingFrames {
                device: name("pi"),
                first,
                last: first + count - 1,
                count,
                why: "dropped".into(),
            },
        )
    }

    fn result(gaps: Vec<(OrderId, MissingFrames)>) -> CollectResult {
        CollectResult {
            parts: Vec::new(),
            silent: Vec::new(),
            gaps,
            unreadable: Vec::new(),
            unreadable_there: Vec::new(),
            pending: Vec::new(),
        }
    }

    #[test]
    fn gaps_are_listed_as_runs_up_to_a_limit() {
        let lines = verdict(&result(vec![gap(5, 1), gap(10, 3)]));
        assert_eq!(lines[0], "4 frames are missing on some devices:");
        assert_eq!(lines[1], "  o1  pi  frame 5: dropped");
        assert_eq!(lines[2], "  o1  pi  frames 10 to 12 (3): dropped");
        let many = verdict(&result((0..25).map(|n| gap(n * 2, 1)).collect()));
        assert_eq!(many.len(), 1 + MAX_GAPS + 1 + 1);
        assert!(many[MAX_GAPS + 1].contains("and 5 gaps more"), "{many:#?}");
    }

    #[test]
    fn parts_that_are_not_whole_are_listed() {
        let mut some = result(Vec::new());
        assert_eq!(verdict(&some), ["the devices have no files yet"]);
        some.parts.push(TakePart { device: name("pi"), order: name("o1"), outcome: PartOutcome::Unfinished });
        assert!(verdict(&some)[0].starts_with("NOT all collected: 0 of 1"));
        let json =
            |some: &CollectResult| serde_json::to_value(CollectDocument::new(Path::new("x"), some)).unwrap();
        assert_eq!(json(&some)["complete"], false);
        assert_eq!(json(&some)["parts"][0]["state"], "unfinished");
        assert_eq!(row(&some.parts[0])[5], "unfinished");
        let kept = vec!["a.kept1.jpg".to_owned()];
        let collected = Collected {
            folder: "x".into(),
            files: 3,
            bytes: 9,
            fetched: 3,
            gone: 2,
            kept,
            complete: true,
            sha256: None,
        };
        let outcome = PartOutcome::Here { collected, deleted: 0 };
        some.parts[0].outcome = outcome;
        let state = row(&some.parts[0])[5].clone();
        assert!(state.starts_with("whole, less 2 removed there meanwhile; what was here"), "{state}");
        assert!(state.ends_with("kept as a.kept1.jpg"), "{state}");
        assert!(some.is_whole());
        let pending = Pending { why: "it was switched off".into(), given_up: false };
        some.pending.push((name("o1"), name("left"), pending));
        let lines = verdict(&some);
        assert_eq!(lines[0], "o1 of left is not whole here: it was switched off; --without left gives it up");
        assert!(lines[1].starts_with("NOT all collected"), "{lines:?}");
        some.pending.clear();
        let unreadable = Unreadable { path: "o2/left/take.json".into(), why: "it is torn".into() };
        some.unreadable_there.push((name("left"), unreadable));
        assert!(
            verdict(&some)[0].starts_with("left has o2/left/take.json, which cannot"),
            "{some:?}",
            some = verdict(&some)
        );
        assert!(!some.is_whole());
        assert_eq!(json(&some)["parts"][0]["gone"], 2);
    }
}
