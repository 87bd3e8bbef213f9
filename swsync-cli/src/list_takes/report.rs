//! The tables of `swsync takes`: 80 columns wide with names of the usual length.

use jiff::tz::TimeZone;
use swsync_client::rig_takes::RigTakes;
use swsync_core::name::{DeviceId, OrderId};
use swsync_core::time::Span;

use super::json::{CollectedJson, DatedJson, OrderJson, PartJson};
use crate::table::{Align, Column, NOTHING, Table, clean, size};

/// Longest line of a note in the list.
const WIDTH: usize = 80;

/// Most names in a line.
const MOST_NAMES: usize = 6;

/// The lines: one per order, or with `orders` these and what each device has of them.
pub fn lines(takes: &RigTakes, orders: &[OrderId], host: &str, zone: &TimeZone) -> Vec<String> {
    let devices = takes.devices.len() + takes.silent.len();
    let meant = takes.orders.iter().filter(|take| orders.is_empty() || orders.contains(&take.order));
    let rows: Vec<_> = meant.map(|take| OrderJson::of(take, devices, host)).collect();
    if rows.is_empty() {
        return vec!["no takes yet: `swsync shoot` and `swsync record` make some".into()];
    }
    let table = table(rows.iter().map(|row| row.order.as_str().len()).max().unwrap_or_default());
    let mut lines = vec![table.headings()];
    for row in &rows {
        lines.push(table.row(&cells(row, zone)));
        lines.extend(remarks(row, !orders.is_empty()));
        if !orders.is_empty() {
            lines.extend(parts(row, zone));
        }
    }
    lines.push(total(&rows, takes.devices.len()));
    lines
}

fn table(width: usize) -> Table<7> {
    let column = |heading, width, align| Column { heading, width, align };
    Table::new([
        column("order", width.max(5), Align::Left),
        column("taken", 13, Align::Left),
        column("frames", 6, Align::Right),
        column("devices", 7, Align::Right),
        column("holes", 5, Align::Right),
        column("size", 7, Align::Right),
        column("collected", 9, Align::Left),
    ])
}

fn cells(row: &OrderJson, zone: &TimeZone) -> [String; 7] {
    [
        row.order.to_string(),
        taken(row, zone),
        row.frames.map_or_else(|| NOTHING.to_owned(), |frames| frames.to_string()),
        format!("{}/{}", row.devices, row.targets),
        row.holes.to_string(),
        row.bytes.map_or_else(|| NOTHING.to_owned(), size),
        collected(row),
    ]
}

/// When an order was begun. The star says that rig time had another date.
fn taken(row: &OrderJson, zone: &TimeZone) -> String {
    match &row.dated {
        Some(dated) => format!("{}*", local_time(row.started_ns.saturating_add(dated.ahead_ns), zone)),
        None => local_time(row.started_ns, zone),
    }
}

/// Whether an order is collected, in a word.
fn collected(row: &OrderJson) -> String {
    let is_collected = |part: &&PartJson| {
        part.collected.as_ref().is_some_and(|collected| matches!(collected.state, "here" | "elsewhere"))
    };
    match row.parts.iter().filter(is_collected).count() {
        _ if row.open => "under way".into(),
        0 => "no".into(),
        some if some < row.parts.len() => format!("{some}/{}", row.parts.len()),
        _ => "yes".into(),
    }
}

/// What is unusual about an order.
fn remarks(row: &OrderJson, whole_note: bool) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(note) = &row.note {
        let line = clean(&format!("    note: {note}"));
        remarks.push(if whole_note { line } else { cut(&line, WIDTH) });
    }
    if let Some(DatedJson { uncertainty_ns, by, .. }) = row.dated.as_ref().filter(|_| whole_note) {
        let uncertainty = Span::from_nanos(*uncertainty_ns).as_secs_f64() * 1e3;
        let rig_time = &row.utc[..row.utc.len().min(19)];
        remarks.push(clean(&format!(
            "    * by the date that {by} gave, +- {uncertainty:.1} ms; by rig time {rig_time} UTC"
        )));
    }
    if !row.lacking.is_empty() {
        remarks.push(format!("    not on {}", named(&row.lacking)));
    }
    let unfinished: Vec<_> =
        row.parts.iter().filter(|part| part.state == "unfinished").map(|part| &part.device).collect();
    if !unfinished.is_empty() {
        remarks.push(format!("    unfinished on {}", named(unfinished)));
    }
    remarks
}

/// `line`, cut after so many characters.
fn cut(line: &str, most: usize) -> String {
    match line.char_indices().nth(most) {
        None => line.to_owned(),
        Some(_) => line.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// A table of what each device has.
fn parts(row: &OrderJson, zone: &TimeZone) -> Vec<String> {
    let width = row.parts.iter().map(|part| part.device.as_str().len()).max().unwrap_or_default();
    let column = |heading, width, align| Column { heading, width, align };
    let table = Table::new([
        column("    device", width.max(6) + 4, Align::Left),
        column("state", 10, Align::Left),
        column("frames", 6, Align::Right),
        column("holes", 5, Align::Right),
        column("size", 7, Align::Right),
        column("collected", 9, Align::Left),
    ]);
    let mut lines = vec![table.headings()];
    for part in &row.parts {
        lines.push(table.row(&[
            format!("    {}", part.device),
            part.state.into(),
            part.frames.map_or_else(|| NOTHING.to_owned(), |frames| frames.to_string()),
            part.holes.to_string(),
            part.bytes.map_or_else(|| NOTHING.to_owned(), size),
            part.collected.as_ref().map_or_else(|| "no".into(), |mark| where_collected(mark, zone)),
        ]));
    }
    lines
}

/// Where a part was collected, in words.
fn where_collected(mark: &CollectedJson, zone: &TimeZone) -> String {
    let CollectedJson { by, folder, utc, state } = mark;
    let at = utc.parse::<jiff::Timestamp>().ok();
    let at = at.map_or_else(String::new, |at| {
        format!(", {}", local_time(i64::try_from(at.as_nanosecond()).unwrap_or_default(), zone))
    });
    match *state {
        "here" => format!("here{at}, in {folder}"),
        "gone" => format!("no: it was here in {folder}{at}"),
        "note-is-newer" => format!("no: by {by}{at}, before the note"),
        _ => format!("by {by}{at}, in {folder}"),
    }
}

/// The last line.
fn total(rows: &[OrderJson], devices: usize) -> String {
    let bytes: u64 = rows.iter().filter_map(|row| row.bytes).fold(0, u64::saturating_add);
    let open = rows.iter().filter(|row| row.open).count();
    let left = rows.iter().filter(|row| !row.collected && !row.open).count();
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut total =
        format!("{} on {}, {}", plural(rows.len(), "take"), plural(devices, "device"), size(bytes));
    if left > 0 {
        total.push_str(&format!("; {left} not collected"));
    }
    if open > 0 {
        total.push_str(&format!("; {open} under way"));
    }
    total
}

/// What the list cannot tell.
pub fn shortfalls(takes: &RigTakes) -> Vec<String> {
    let silent = takes.silent.iter().map(|(device, why)| format!("what {device} has is not listed: {why}"));
    let unreadable = takes
        .unreadable
        .iter()
        .map(|(device, one)| format!("{device} has {}, which is no take: {}", one.path, one.why));
    silent.chain(unreadable).collect()
}

/// Names of devices: the first ones, and how many more there are.
pub fn named<'a>(devices: impl IntoIterator<Item = &'a DeviceId>) -> String {
    let devices: Vec<_> = devices.into_iter().map(DeviceId::as_str).collect();
    match devices.len().saturating_sub(MOST_NAMES) {
        0 | 1 => devices.join(", "),
        more => format!("{} and {more} more", devices[..MOST_NAMES].join(", ")),
    }
}

/// An instant in nanoseconds since 1970 in `zone`, to the minute; of another year with that instead of the time of day, as ls
/// shows it.
pub fn local_time(nanos: i64, zone: &TimeZone) -> String {
    local_time_at(nanos, zone, jiff::Timestamp::now())
}

fn local_time_at(nanos: i64, zone: &TimeZone, now: jiff::Timestamp) -> String {
    let Ok(at) = jiff::Timestamp::from_nanosecond(nanos.into()) else { return NOTHING.into() };
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    at.strftime(if at.year() == now.year() { "%b %d %H:%M" } else { "%b %d, %Y" }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    fn part(device: &str, collected: Option<&'static str>) -> PartJson {
        PartJson {
            device: name(device),
            state: "complete",
            frames: Some(5),
            holes: 0,
            bytes: Some(1000),
            collected: collected.map(|state| CollectedJson {
                by: "laptop".into(),
                folder: "/home/me/takes".into(),
                utc: "2026-11-30T12:00:00.000000000Z".into(),
                state,
            }),
        }
    }

    fn row() -> OrderJson {
        OrderJson {
            order: name("shot-20261130-112200-beef"),
            started_ns: 1_796_037_720_000_000_000,
            utc: "2026-11-30T11:22:00.000000000Z".into(),
            dated: None,
            frames: Some(5),
            devices: 2,
            targets: 2,
            holes: 0,
            bytes: Some(2000),
            open: false,
            collected: false,
            note: None,
            parts: vec![part("left", Some("here")), part("right", None)],
            lacking: Vec::new(),
        }
    }

    #[test]
    fn a_row_says_how_much_is_collected() {
        assert_eq!(collected(&row()), "1/2");
        let with =
            |left, right| collected(&OrderJson { parts: vec![part("l", left), part("r", right)], ..row() });
        assert_eq!(with(Some("here"), Some("elsewhere")), "yes");
        assert_eq!(with(Some("gone"), Some("note-is-newer")), "no");
        assert_eq!(collected(&OrderJson { open: true, ..row() }), "under way");
    }

    #[test]
    fn a_date_that_somebody_gave_is_marked() {
        let dated = DatedJson {
            utc: String::new(),
            ahead_ns: 2 * 366 * 86_400 * 1_000_000_000,
            uncertainty_ns: 8_000_000,
            by: "browser at 10.0.0.7".into(),
        };
        let row = OrderJson { dated: Some(dated), ..row() };
        assert_eq!(taken(&row, &TimeZone::UTC), "Dec 01, 2028*");
        let remark = remarks(&row, true).concat();
        assert!(remark.contains("* by the date that browser at 10.0.0.7 gave, +- 8.0 ms"), "{remark}");
    }

    #[test]
    fn a_row_of_a_usual_name_fits_82_columns() {
        let table = table(25);
        let line = table.row(&cells(&row(), &TimeZone::UTC));
        assert!(line.chars().count() <= 82, "{line}");
        assert!(table.headings().chars().count() <= 82 + 9, "{}", table.headings());
    }

    #[test]
    fn times_are_local_and_of_other_years_have_the_year() {
        let now = "2026-12-24T18:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let at = |text: &str| {
            let at: jiff::Timestamp = text.parse().unwrap();
            local_time_at(i64::try_from(at.as_nanosecond()).unwrap(), &zone, now)
        };
        assert_eq!(at("2026-11-30T11:22:05Z"), "Nov 30 13:22");
        assert_eq!(at("2025-12-31T23:00:00Z"), "Jan 01 01:00", "it is the new year there");
        assert_eq!(at("2025-12-31T20:00:00Z"), "Dec 31, 2025");
    }

    #[test]
    fn what_is_unusual_is_said_below_the_row() {
        assert!(remarks(&row(), false).is_empty());
        let long = OrderJson { note: Some("x".repeat(100)), lacking: vec![name("c")], ..row() };
        let [note, lacking] = &remarks(&long, false)[..] else { panic!() };
        assert!(note.chars().count() == WIDTH && note.ends_with('…'), "{note}");
        assert_eq!(lacking, "    not on c");
        assert_eq!(remarks(&long, true)[0], format!("    note: {}", "x".repeat(100)));
        let many: Vec<_> = (0..100).map(|index| name(&format!("pi{index}"))).collect();
        assert_eq!(named(&many), "pi0, pi1, pi2, pi3, pi4, pi5 and 94 more");
    }

    #[test]
    fn the_total_counts_what_is_left_to_collect() {
        assert_eq!(total(&[row()], 2), "1 take on 2 devices, 2.00 kB; 1 not collected");
        let done = OrderJson { collected: true, ..row() };
        let open = OrderJson { open: true, ..row() };
        assert_eq!(total(&[done, open], 1), "2 takes on 1 device, 4.00 kB; 1 under way");
    }
}
