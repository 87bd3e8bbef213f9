//! The plots of a table, by what its columns are called.
//!
//! | columns | plot |
//! | --- | --- |
//! | `to_leader_ns`, `to_client_ns` | histogram of one-way delays (the paper's Fig. 7) |
//! | `round_trip_ns`, `offset_error_ns` | wedge: the error of each exchange over its round trip (supplement, Fig. 1) |
//! | `time_s` or `at_s`, and errors | lines over time (supplement, Fig. 2) |
//! | `at_s`, and other columns in ns | lines over time |
//! | errors without a time, or with `at_s` | histograms (Fig. 6) |
//! | `..._injections`, `..._starts`, `..._s` | histograms of counts and durations |
//!
//! Errors are the columns `..._error_ns`; in a table with `at_s` also `total_ns` and its parts.

use super::super::html::Html;
use super::super::plot::{self, Labels, Mark, Series};
use super::super::stats::quantile;
use super::csv::Table;

/// The parts of a total error.
pub const PARTS: [&str; 5] = ["total_ns", "clock_ns", "phase_ns", "exposure_reference_ns", "stamp_ns"];

/// Columns of numbers that name what a row belongs to.
const KEYS: [&str; 3] = ["rig", "device", "camera"];

/// Columns of words that say how a row came about, and not what it belongs to.
const STATES: [&str; 1] = ["disturbed"];

/// Most lines that are drawn one by one. Of more, the mean and the largest are drawn.
const LINES: usize = 8;

/// What a still of the beginning is: the rig has not settled yet.
const BEGINNING_S: f64 = 10.0;

/// Columns of times.
const TIMES: [&str; 2] = ["time_s", "at_s"];

/// Most points of a scatter plot.
const DOTS: usize = 2500;

/// Most points of a line.
const POINTS: usize = 400;

/// The columns of `table` that are errors.
pub fn errors(table: &Table) -> Vec<&str> {
    let has_parts = TIMES.iter().any(|time| table.numbers(time).is_some());
    table.known().filter(|name| name.ends_with("_error_ns") || (has_parts && PARTS.contains(name))).collect()
}

/// The rows whose errors belong together: those with the same words, and in a table of stills those of the beginning by themselves.
pub fn populations(table: &Table) -> Vec<(String, Vec<usize>)> {
    let groups = table.groups(&[], &[]);
    let Some(times) = table.numbers("at_s").filter(|_| table.numbers("total_ns").is_some()) else {
        return groups;
    };
    let is_early = |row: &usize| times.get(*row).copied().flatten().is_some_and(|at| at < BEGINNING_S);
    let split = |(group, rows): (String, Vec<usize>)| {
        let (early, late): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_early);
        let name = |when: &str| if group.is_empty() { when.to_owned() } else { format!("{when}, {group}") };
        [(name("first 10 s"), early), (name("after that"), late)]
    };
    groups.into_iter().flat_map(split).filter(|(_, rows)| !rows.is_empty()).collect()
}

/// The unit for values of this size, in ns, and how many ns it has.
pub fn unit(largest: f64) -> (&'static str, f64) {
    if largest >= 1e7 { ("ms", 1e6) } else { ("us", 1e3) }
}

/// The unit for the values in a column.
fn unit_of(column: &[Option<f64>]) -> (&'static str, f64) {
    unit(column.iter().flatten().fold(0.0_f64, |most, value| most.max(value.abs())))
}

/// A column's name without its unit, for people.
pub fn spoken(name: &str) -> String {
    let name = ["_error_ns", "_ns", "_s"].iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
    let mut spoken = name.replace('_', " ");
    if let Some(first) = spoken.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    spoken
}

/// All plots of `table`.
pub fn all(table: &Table) -> Vec<Html> {
    let mut plots = delays(table);
    plots.extend(wedge(table));
    let times = TIMES.iter().find_map(|time| table.numbers(time));
    plots.extend(times.map(|times| over_time(table, times)).into_iter().flatten());
    if times.is_none() || table.numbers("at_s").is_some() {
        plots.extend(error_histograms(table));
    }
    plots.extend(counts(table));
    plots
}

/// The values of `column` in `rows`, divided by `unit`.
fn values(column: &[Option<f64>], rows: &[usize], unit: f64) -> Vec<f64> {
    rows.iter().filter_map(|row| column.get(*row).copied().flatten()).map(|value| value / unit).collect()
}

fn labels(title: &str, caption: &str, x: &str, y: &str) -> Labels {
    Labels { title: title.into(), caption: caption.into(), x: x.into(), y: y.into() }
}

fn delays(table: &Table) -> Vec<Html> {
    let rows: Vec<_> = (0..table.rows).collect();
    let named = [("leader to client", "to_client_ns"), ("client to leader", "to_leader_ns")];
    let known = named
        .iter()
        .filter_map(|(name, column)| Some(((*name).to_owned(), values(table.numbers(column)?, &rows, 1e3))));
    let known: Vec<_> = known.collect();
    if known.len() < named.len() {
        return Vec::new();
    }
    let labels = labels(
        "One-way delays",
        "How long messages took in each direction. If both were alike, the clock's offset would follow from any message; half of the \
         difference of their means is the error of a filter that takes the mean. This is the paper's Fig. 7.",
        "delay (us)",
        "% of messages",
    );
    plot::histogram(&labels, &known).into_iter().collect()
}

fn wedge(table: &Table) -> Option<Html> {
    let (trips, errors) = (table.numbers("round_trip_ns")?, table.numbers("offset_error_ns")?);
    let mut sorted: Vec<f64> = trips.iter().flatten().copied().collect();
    sorted.sort_by(f64::total_cmp);
    // A few that took very long would press all others together.
    let longest = quantile(&sorted, 0.995)?;
    let beyond = sorted.iter().filter(|trip| **trip > longest).count();
    let every = table.rows.div_ceil(DOTS).max(1);
    let points =
        trips.iter().zip(errors).filter(|(trip, _)| trip.is_some_and(|trip| trip <= longest)).step_by(every);
    let points =
        points.filter_map(|(trip, error)| Some((trip.as_ref()? / 1000.0, error.map(|error| error / 1000.0))));
    let mut thinned = if every == 1 { String::new() } else { format!(" One of {every} messages is drawn.") };
    if beyond > 0 {
        thinned.push_str(&format!(" {beyond} took longer and are not drawn."));
    }
    let labels = labels(
        "Offset of each message over its round trip",
        &format!(
            "How far the offset by a single message is from the true one. Messages that were fast are right; of slow ones most were \
             held up in one direction, which makes the limbs of a wedge. Filters look for its apex. This is Fig. 1 of the paper's \
             supplement.{thinned}"
        ),
        "round trip (us)",
        "error of the offset (us)",
    );
    plot::series(&labels, &[Series { name: String::new(), points: points.collect() }], Mark::Dots, None)
}

fn over_time(table: &Table, times: &[Option<f64>]) -> Vec<Html> {
    let is_still = table.numbers("at_s").is_some();
    let columns: Vec<&str> = if is_still {
        table.known().filter(|name| name.ends_with("_ns")).collect()
    } else {
        errors(table).into_iter().filter(|name| *name != "offset_error_ns").collect()
    };
    let groups = table.groups(&KEYS, &STATES);
    if columns.len() > 1 && groups.len() == 1 && !is_still {
        return filters(table, times, &columns);
    }
    let plot = |name: &str| {
        let numbers = table.numbers(name)?;
        let (unit, divisor) = unit_of(numbers);
        let many = groups.iter().map(|(_, rows)| rows.len()).max().unwrap_or_default();
        let (lines, caption) = if groups.len() > LINES {
            let by_words = table.groups(&[], &STATES);
            let lines =
                by_words.iter().flat_map(|(group, rows)| mean_and_most(group, times, numbers, rows, divisor));
            let caption = format!(
                "The column {name}: mean and largest magnitude of all {} lines that it has.",
                groups.len()
            );
            (lines.collect::<Vec<_>>(), caption)
        } else {
            let lines = groups.iter().filter_map(|(group, rows)| line(group, times, numbers, rows, divisor));
            (lines.collect(), format!("The column {name}, over time.{}", of_many(many)))
        };
        let labels = labels(&format!("{}, over time", spoken(name)), &caption, "time (s)", unit);
        plot::series(&labels, &lines, Mark::Line, None)
    };
    columns.into_iter().filter_map(plot).collect()
}

/// Several estimates of the same, in one plot: the paper's convergence of filters.
fn filters(table: &Table, times: &[Option<f64>], columns: &[&str]) -> Vec<Html> {
    let rows: Vec<_> = (0..table.rows).collect();
    let plot = |(title, share, text): (&str, f64, &str)| {
        let first = &rows[..rows.len().min(plot::to_count(plot::to_f64(rows.len()) * share).max(2))];
        let lines =
            columns.iter().filter_map(|name| line(&spoken(name), times, table.numbers(name)?, first, 1e3));
        let caption = format!("{text} This is Fig. 2 of the paper's supplement.{}", of_many(first.len()));
        let labels = labels(title, &caption, "time (s)", "error (us)");
        plot::series(&labels, &lines.collect::<Vec<_>>(), Mark::Line, None)
    };
    [
        ("Errors of the filters", 1.0, "What each filter makes of all messages so far, less the truth."),
        (
            "The same, the first 3 %",
            0.03,
            "The beginning of the plot before: how soon each filter is near the truth.",
        ),
    ]
    .into_iter()
    .filter_map(plot)
    .collect()
}

fn of_many(rows: usize) -> String {
    match rows.div_ceil(POINTS) {
        0 | 1 => String::new(),
        each => format!(" Each point is the largest of {each} rows."),
    }
}

/// The values of `rows`, divided by `unit`, over their times: of many rows in a row the largest.
fn line(
    name: &str,
    times: &[Option<f64>],
    values: &[Option<f64>],
    rows: &[usize],
    unit: f64,
) -> Option<Series> {
    let chunk = |rows: &[usize]| {
        let time = times.get(*rows.first()?).copied().flatten()?;
        let values = rows.iter().filter_map(|row| values.get(*row).copied().flatten());
        Some((time, values.max_by(|one, two| one.abs().total_cmp(&two.abs())).map(|value| value / unit)))
    };
    let points: Vec<_> = rows.chunks(rows.len().div_ceil(POINTS).max(1)).filter_map(chunk).collect();
    (!points.is_empty()).then(|| Series { name: name.to_owned(), points })
}

/// Mean and largest magnitude of `rows` of similar times.
fn mean_and_most(
    name: &str,
    times: &[Option<f64>],
    values: &[Option<f64>],
    rows: &[usize],
    unit: f64,
) -> [Series; 2] {
    /// Points of a line.
    const BINS: usize = 80;
    let time = |row: &usize| times.get(*row).copied().flatten();
    let mut known: Vec<(f64, f64)> = rows
        .iter()
        .filter_map(|row| Some((time(row)?, values.get(*row).copied().flatten()?.abs() / unit)))
        .collect();
    known.sort_by(|one, two| one.0.total_cmp(&two.0));
    let chunks: Vec<_> = known.chunks(known.len().div_ceil(BINS).max(1)).collect();
    let series = |what: &str, values: Vec<f64>| {
        let name = if name.is_empty() { what.to_owned() } else { format!("{what}, {name}") };
        let points = chunks.iter().zip(values).map(|(chunk, value)| (chunk[0].0, Some(value)));
        Series { name, points: points.collect() }
    };
    let mean =
        |chunk: &&[(f64, f64)]| chunk.iter().map(|(_, value)| value).sum::<f64>() / plot::to_f64(chunk.len());
    let most = |chunk: &&[(f64, f64)]| chunk.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    [series("mean", chunks.iter().map(mean).collect()), series("largest", chunks.iter().map(most).collect())]
}

fn error_histograms(table: &Table) -> Vec<Html> {
    let groups = populations(table);
    let histogram = |name: &str| {
        let column = table.numbers(name)?;
        let (unit, divisor) = unit_of(column);
        let of = |(group, rows): &(String, Vec<usize>)| (group.clone(), values(column, rows, divisor));
        let caption = format!("How often the error was how large: the column {name}.");
        let labels = labels(&format!("{} error", spoken(name)), &caption, &format!("error ({unit})"), "%");
        plot::histogram(&labels, &groups.iter().map(of).collect::<Vec<_>>())
    };
    errors(table).into_iter().filter_map(histogram).collect()
}

/// Histograms of counts and durations, several columns in one plot.
fn counts(table: &Table) -> Vec<Html> {
    let plots = [
        (
            "_injections",
            "Injected frames",
            "injections",
            "How many frames were made longer until the camera was on the grid.",
        ),
        (
            "_starts",
            "Starts of the camera",
            "starts",
            "How often the camera was started until it happened to be on the grid.",
        ),
        ("_s", "Time", "s", "How long it took until the camera was on the grid."),
    ];
    let of = |(suffix, title, unit, caption): (&str, &str, &str, &str)| {
        let columns = table
            .known()
            .filter(|name| name.ends_with(suffix) && !TIMES.contains(name) && *name != "ready_s");
        let series = columns.filter_map(|name| {
            let values = table.numbers(name)?.iter().copied().flatten().collect();
            Some((name.strip_suffix(suffix)?.replace('_', " "), values))
        });
        plot::histogram(&labels(title, caption, unit, "% of trials"), &series.collect::<Vec<_>>())
    };
    let ready = table.numbers("ready_s").map(|_| {
        let groups = table.groups(&[], &[]);
        let values = |rows: &[usize]| {
            rows.iter().filter_map(|row| table.numbers("ready_s")?.get(*row).copied().flatten()).collect()
        };
        let series: Vec<_> = groups.iter().map(|(group, rows)| (group.clone(), values(rows))).collect();
        plot::histogram(
            &labels(
                "Time until ready",
                "From nothing to a clock and a camera that are ready.",
                "s",
                "% of trials",
            ),
            &series,
        )
    });
    plots.into_iter().filter_map(of).chain(ready.flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(csv: &str) -> Vec<String> {
        let table = Table::read(csv.as_bytes()).unwrap();
        let title = |html: Html| {
            let (_, rest) = html.as_str().split_once("<h3>").unwrap();
            rest.split_once("</h3>").unwrap().0.to_owned()
        };
        all(&table).into_iter().map(title).collect()
    }

    #[test]
    fn columns_decide_what_is_drawn() {
        assert_eq!(
            titles(
                "message,time_s,to_leader_ns,to_client_ns,round_trip_ns,offset_error_ns\n0,0.1,5,6,11,1\n1,0.2,7,6,13,2\n"
            ),
            ["One-way delays", "Offset of each message over its round trip"]
        );
        assert_eq!(
            titles("messages,time_s,mean_error_ns,min_error_ns\n1,0.1,5,6\n2,0.2,7,6\n3,0.3,1,1\n"),
            ["Errors of the filters", "The same, the first 3 %"]
        );
        assert_eq!(
            titles("camera,trial,ready_s,clock_error_ns,total_error_ns\na,0,3.1,5,6\nb,1,3.0,7,\n"),
            ["Clock error", "Total error", "Time until ready"]
        );
        assert_eq!(titles("trial,a_starts,a_s\n0,3,2.0\n1,,\n"), ["Starts of the camera", "Time"]);
        assert_eq!(
            titles("rig,device,path_offset,at_s,total_ns,stamp_ns\n1,1,false,60,5,5\n1,1,false,120,6,5\n"),
            ["Total, over time", "Stamp, over time", "Total error", "Stamp error"]
        );
        assert!(titles("name,value\na,1\n").is_empty() && titles("time_s,x_error_ns\n").is_empty());
    }

    #[test]
    fn stills_of_the_beginning_are_counted_by_themselves() {
        let csv =
            "device,path_offset,at_s,total_ns\n1,false,0,5\n1,false,9.9,5\n1,true,60,7\n2,false,120,6\n";
        let populations = populations(&Table::read(csv.as_bytes()).unwrap());
        let expected = [
            ("first 10 s, path_offset false", vec![0, 1]),
            ("after that, path_offset false", vec![3]),
            ("after that, path_offset true", vec![2]),
        ];
        assert_eq!(populations, expected.map(|(name, rows)| (name.to_owned(), rows)));
    }

    #[test]
    fn many_lines_become_their_mean_and_largest() {
        let times = [Some(1.0), Some(0.0), None, Some(0.0)];
        let values = [Some(-4000.0), Some(1000.0), Some(9e9), Some(-3000.0)];
        let [mean, largest] = mean_and_most("x", &times, &values, &[0, 1, 2, 3], 1e3);
        assert_eq!(mean.points, [(0.0, Some(1.0)), (0.0, Some(3.0)), (1.0, Some(4.0))]);
        assert_eq!((mean.name.as_str(), largest.name.as_str()), ("mean, x", "largest, x"));
    }

    #[test]
    fn cells_that_are_not_known_are_not_drawn() {
        let times = [Some(0.0), Some(1.0), None, Some(3.0)];
        let values = [Some(5000.0), None, Some(1.0), Some(-7000.0)];
        let series = line("a", &times, &values, &[0, 1, 2, 3], 1e3).unwrap();
        assert_eq!(series.points, [(0.0, Some(5.0)), (1.0, None), (3.0, Some(-7.0))]);
    }
}
