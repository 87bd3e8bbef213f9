//! The page of a run of the laboratory.

use serde_json::Value;

use super::super::html::{Html, note, paragraph, section, table};
use super::super::page::Page;
use super::super::stats::Summary;
use super::csv::Table;
use super::{LAB_JSON, LabData, known, plots};

/// Most rows of a table of figures.
const ROWS: usize = 400;

/// The page of `lab`.
pub fn page(lab: &LabData, command: String, made: String) -> Page {
    let about = &lab.about;
    let known = known::of(&about.lab);
    let title =
        known.as_ref().map_or_else(|| format!("Laboratory: {}", about.lab), |known| known.title.to_owned());
    let mut body = Html::new();
    body.push(match &known {
        Some(known) => paragraph(known.about),
        None => note("This version of swsync does not know this experiment; its tables are drawn by the names of their columns."),
    });
    body.push(paragraph("This was simulated: no camera or network of this host was measured."));
    let mut again = Html::text("The same again: ");
    again.push(match &about.command {
        Some(command) => Html::tagged("code", command),
        None => Html::text("lab.json has no command."),
    });
    body.push(Html::element("p", &[], again));
    body.push(lab.problems.iter().map(note).collect());
    body.push(section("errors", "How large errors were", errors(lab, known.as_ref())));
    for (name, data) in &lab.tables {
        let drawn = plots::all(data);
        let mut content = Html::tagged("h2", name);
        content.push(paragraph(format!("{} rows.", data.rows)));
        content.push(if drawn.is_empty() {
            not_drawn(data)
        } else {
            Html::element("div", &[("class", "plots")], drawn.into_iter().collect())
        });
        body.push(Html::element("section", &[], content));
    }
    body.push(section("figures", "All figures", figures(&about.figures)));
    let tables = lab.tables.iter().map(|(name, data)| format!("{name}: {} rows", data.rows));
    Page {
        title,
        note: None,
        subtitle: format!(
            "swsync lab {}, seed {}.",
            about.lab,
            about.seed.map_or_else(|| "not known".into(), |seed| seed.to_string())
        ),
        contents: vec![("errors", "Errors"), ("figures", "All figures"), ("sources", "Sources")],
        body,
        sources: std::iter::once(LAB_JSON.to_owned()).chain(tables).collect(),
        command,
        made,
    }
}

/// A table without plots: how often its words occur, or what its columns are.
fn not_drawn(data: &Table) -> Html {
    /// So many different words are kinds, and not texts.
    const KINDS: usize = 40;
    let counted: Html = data
        .columns
        .iter()
        .filter_map(|(name, column)| Some((name, column.counts().filter(|counts| counts.len() <= KINDS)?)))
        .map(|(name, counts)| {
            let rows = counts.into_iter().map(|(word, count)| vec![Html::text(word), Html::text(count)]);
            table(&[name, "rows"], rows)
        })
        .collect();
    if !counted.is_empty() {
        return counted;
    }
    let names = data.columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    note(format!("No plot is known for its columns, or they have no values: {names}."))
}

/// The figures of all columns of errors, computed from their rows; and the paper's.
fn errors(lab: &LabData, known: Option<&known::Known>) -> Html {
    let mut rows = Vec::new();
    for (file, table) in &lab.tables {
        let groups = plots::populations(table);
        for column in plots::errors(table) {
            for (group, members) in &groups {
                let group = if group.is_empty() { "all" } else { group };
                let values =
                    members.iter().filter_map(|row| table.numbers(column)?.get(*row).copied().flatten());
                let Some(summary) = Summary::of(values) else { continue };
                let figures = [summary.max_abs, summary.mean_abs, summary.stdev, summary.mean].map(span);
                let cells =
                    [file.clone(), plots::spoken(column), group.to_owned(), summary.count.to_string()];
                rows.push(cells.into_iter().chain(figures).map(Html::text).collect::<Vec<_>>());
            }
        }
    }
    let mut html = Html::new();
    if rows.is_empty() {
        html.push(note("No table has a column of errors (..._error_ns): see all figures below."));
    } else {
        html.push(paragraph("Computed from the rows of the tables below."));
        rows.truncate(ROWS);
        html.push(table(&["table", "error", "of", "values", "max", "mean abs", "stdev", "bias"], rows));
    }
    if let Some(known) = known {
        html.push(known.paper());
    }
    html
}

/// A span of `nanos`, with its unit.
fn span(nanos: f64) -> String {
    let (unit, divisor) = plots::unit(nanos.abs());
    // Without a negative zero.
    let tenths = (nanos / divisor * 10.0).round() + 0.0;
    format!("{:.1} {unit}", tenths / 10.0)
}

/// All of `figures`, a row each.
fn figures(figures: &Value) -> Html {
    let mut rows = Vec::new();
    flatten("", figures, &mut rows);
    if rows.is_empty() {
        return note("lab.json has no figures.");
    }
    let count = rows.len();
    let mut details =
        Html::tagged("summary", format!("The {count} figures of {LAB_JSON}; those in ns are in nanoseconds"));
    if count > ROWS {
        details.push(note(format!("Only the first {ROWS} are shown.")));
    }
    let rows = rows.into_iter().take(ROWS).map(|(name, value)| vec![Html::text(name), Html::text(value)]);
    details.push(table(&["figure", "value"], rows));
    Html::element("details", &[], details)
}

/// Adds the values in `value`, each with the way to it.
fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}, {name}") };
    match value {
        Value::Null if path.is_empty() => (),
        Value::Null => rows.push((path.to_owned(), "not known".to_owned())),
        Value::Object(fields) => fields.iter().for_each(|(name, field)| flatten(&below(name), field, rows)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| {
            // Items are told from each other by the word that they have, if there is one.
            let word = item.as_object().and_then(|fields| fields.values().find_map(Value::as_str));
            flatten(&below(word.unwrap_or(&(index + 1).to_string())), item, rows);
        }),
        Value::String(text) => rows.push((path.to_owned(), text.clone())),
        Value::Bool(_) | Value::Number(_) => rows.push((path.to_owned(), value.to_string())),
    }
}
