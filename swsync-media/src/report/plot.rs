//! Plots as figures of the page: a heading, an SVG picture, its legend, and a sentence on what one sees.
//!
//! plotters writes colours as attributes. The page's style sheet gives each of the colours here another one, so that plots are
//! legible on a dark page and on paper too.

use std::ops::Range;

use anyhow::anyhow;
use plotters::prelude::*;

use super::html::Html;
use super::stats::quantile;

/// Size of a plot, in its own units: twice those of a page, since plotters draws at whole ones.
const SIZE: (u32, u32) = (960, 540);

/// Height of the text in it.
const TEXT: i32 = 26;

/// Text and axes.
const INK: RGBColor = RGBColor(1, 1, 1);
/// Lines of the grid.
const GRID: RGBColor = RGBColor(2, 2, 2);
/// Limits, and what is missing.
const LIMIT: RGBColor = RGBColor(3, 3, 3);

/// So many series have a colour of their own.
pub const COLOURS: usize = 8;

/// Columns of a histogram of many values, and of few.
const BINS: (usize, usize) = (48, 8);

/// The colour of a series.
fn colour(series: usize) -> RGBColor {
    const NUMBERS: [u8; COLOURS] = [1, 2, 3, 4, 5, 6, 7, 8];
    RGBColor(0x11, 0, NUMBERS[series % COLOURS])
}

/// What is written around a plot.
#[derive(Debug, Clone)]
pub struct Labels {
    /// Heading.
    pub title: String,
    /// What one sees, for someone who was not there.
    pub caption: String,
    /// The horizontal axis with its unit. A long one in seconds, `time (s)`, is drawn in hours.
    pub x: String,
    /// The vertical axis with its unit.
    pub y: String,
}

/// Points with a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// For the legend. Empty: it has no entry.
    pub name: String,
    /// In the order of x. `None` as y: nothing is known there, and the line is interrupted.
    pub points: Vec<(f64, Option<f64>)>,
}

/// How points are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As a line.
    Line,
    /// As dots.
    Dots,
}

/// Whether a value can be drawn. No axis reaches to those that cannot.
const fn is_usable(value: f64) -> bool {
    value.abs() <= 1e15
}

/// A plot of `series`, with a horizontal line at `limit`. `None`: no point is known.
pub fn series(labels: &Labels, all: &[Series], mark: Mark, limit: Option<f64>) -> Option<Html> {
    let peak = |series: &Series| {
        series
            .points
            .iter()
            .filter_map(|(_, y)| *y)
            .filter(|y| is_usable(*y))
            .map(f64::abs)
            .fold(f64::NAN, f64::max)
    };
    let mut known: Vec<&Series> = all.iter().filter(|series| !peak(series).is_nan()).collect();
    let mut labels = labels.clone();
    if known.len() > COLOURS {
        labels
            .caption
            .push_str(&format!(" Drawn are the {COLOURS} of {} with the largest values.", known.len()));
        known.sort_by(|one, two| peak(two).total_cmp(&peak(one)));
        known.truncate(COLOURS);
    }
    let points = || known.iter().flat_map(|series| &series.points).filter_map(|(x, y)| Some((*x, (*y)?)));
    let (x, divisor) = time_axis(&mut labels, range(points().map(|(x, _)| x), false)?);
    let y = range(points().map(|(_, y)| y).chain(limit), true)?;
    let drawn = draw(&labels, SIZE, x.clone(), y, |chart| {
        if let Some(limit) = limit {
            chart.draw_series(LineSeries::new([(x.start, limit), (x.end, limit)], LIMIT.stroke_width(3)))?;
        }
        for (index, series) in known.iter().enumerate() {
            // Many dots would hide each other.
            let radius = if series.points.len() > 300 { 2 } else { 4 };
            for run in series.points.split(|(x, y)| !is_usable(*x) || !y.is_some_and(is_usable)) {
                let run = run.iter().filter_map(|(x, y)| Some((*x / divisor, (*y)?)));
                // A line through one point cannot be seen.
                if mark == Mark::Dots || run.clone().count() == 1 {
                    chart.draw_series(run.map(|point| Circle::new(point, radius, colour(index).filled())))?;
                } else {
                    let width = if known.len() > 2 { 2 } else { 3 };
                    chart.draw_series(LineSeries::new(run, colour(index).stroke_width(width)))?;
                }
            }
        }
        Ok(())
    });
    let names = known.iter().map(|series| series.name.as_str()).collect::<Vec<_>>();
    Some(figure(&labels, drawn, &legend(&names)))
}

/// Histograms of `all`, each a name and its values: the share of values per column. `None`: there is no value.
pub fn histogram(labels: &Labels, all: &[(String, Vec<f64>)]) -> Option<Html> {
    let mut known: Vec<_> =
        all.iter().filter(|(_, values)| values.iter().any(|value| is_usable(*value))).collect();
    let mut labels = labels.clone();
    if known.len() > COLOURS {
        labels.caption.push_str(&format!(" Drawn are the first {COLOURS} of {}.", known.len()));
        known.truncate(COLOURS);
    }
    let mut sorted: Vec<f64> =
        known.iter().flat_map(|(_, values)| values).copied().filter(|value| is_usable(*value)).collect();
    sorted.sort_by(f64::total_cmp);
    let (full, body) =
        (*sorted.first()?..*sorted.last()?, quantile(&sorted, 0.005)?..quantile(&sorted, 0.995)?);
    let is_cut = full.end - full.start > 2.0 * (body.end - body.start) && body.end > body.start;
    let shown = if is_cut { body } else { full };
    if is_cut {
        let beyond = sorted.iter().filter(|value| **value < shown.start || **value > shown.end).count();
        labels
            .caption
            .push_str(&format!(" {beyond} of {} values are further out and not drawn.", sorted.len()));
    }
    let shown = widened(shown, false);
    let fewest = known.iter().map(|(_, values)| values.len()).min().unwrap_or_default();
    let bins = to_count(2.0 * to_f64(fewest).sqrt()).clamp(BINS.1, BINS.0);
    let width = (shown.end - shown.start) / to_f64(bins);
    let columns: Vec<Vec<f64>> =
        known.iter().map(|(_, values)| shares(values, shown.start, width, bins)).collect();
    let highest = columns.iter().flatten().copied().fold(0.0, f64::max);
    let drawn = draw(&labels, SIZE, shown.clone(), 0.0..highest * 1.08, |chart| {
        for (index, column) in columns.iter().enumerate() {
            let edge = |bin: usize| shown.start + width * to_f64(bin);
            let outline = column
                .iter()
                .enumerate()
                .flat_map(|(bin, share)| [(edge(bin), *share), (edge(bin + 1), *share)]);
            let outline = std::iter::once((shown.start, 0.0)).chain(outline).chain([(shown.end, 0.0)]);
            let outline: Vec<_> = outline.collect();
            // More areas than these over each other cannot be told apart.
            if columns.len() <= 3 {
                chart.draw_series([Polygon::new(outline.clone(), colour(index).mix(0.12).filled())])?;
            }
            chart.draw_series(LineSeries::new(outline, colour(index).stroke_width(3)))?;
        }
        Ok(())
    });
    let names = known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>();
    Some(figure(&labels, drawn, &legend(&names)))
}

/// In percent, how many of `values` are in each of `bins` columns of `width`, from `start` on.
fn shares(values: &[f64], start: f64, width: f64, bins: usize) -> Vec<f64> {
    let mut counts = vec![0_usize; bins];
    for value in values.iter().filter(|value| is_usable(**value)) {
        let place = (value - start) / width;
        if (0.0..=to_f64(bins)).contains(&place) {
            counts[to_count(place).min(bins - 1)] += 1;
        }
    }
    let all = values.iter().filter(|value| is_usable(**value)).count().max(1);
    counts.into_iter().map(|count| 100.0 * to_f64(count) / to_f64(all)).collect()
}

/// A row of [`rows`]: its name, and spans of x that are there and that are missing.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Above it.
    pub name: String,
    /// What is there.
    pub present: Vec<(f64, f64)>,
    /// What is missing.
    pub missing: Vec<(f64, f64)>,
    /// A place that is marked.
    pub dot: Option<f64>,
}

/// A row per device, with what is there and what is missing. `None`: there is nothing.
pub fn rows(labels: &Labels, rows: &[Row]) -> Option<Html> {
    /// So many rows can be told from each other.
    const MOST: usize = 60;
    /// Height of a row, and of all else.
    const HEIGHTS: (u32, u32) = (64, 110);
    let mut labels = labels.clone();
    if rows.len() > MOST {
        labels.caption.push_str(&format!(" Drawn are the first {MOST} of {} devices.", rows.len()));
    }
    let rows = &rows[..rows.len().min(MOST)];
    let spans = rows.iter().flat_map(|row| row.present.iter().chain(&row.missing));
    let x = range(spans.flat_map(|(from, to)| [*from, *to]), false)?;
    let x = if rows.iter().any(|row| row.dot.is_some()) { widened(x, true) } else { x };
    let (x, divisor) = time_axis(&mut labels, x);
    // What is a frame long in an hour would not be seen.
    let least = (x.end - x.start) / 400.0;
    let size = (SIZE.0, HEIGHTS.1 + HEIGHTS.0 * u32::try_from(rows.len()).ok()?);
    let begin = x.start;
    let drawn = draw(&labels, size, x, 0.0..to_f64(rows.len()), |chart| {
        for (index, row) in rows.iter().enumerate() {
            let middle = to_f64(rows.len() - index) - 0.7;
            let bar = |(from, to): &(f64, f64), colour: RGBColor, half: f64| {
                let from = from / divisor;
                let to = (to / divisor).max(from + least);
                Rectangle::new([(from, middle - half), (to, middle + half)], colour.filled())
            };
            chart.draw_series(row.present.iter().map(|span| bar(span, colour(0), 0.08)))?;
            chart.draw_series(row.missing.iter().map(|span| bar(span, LIMIT, 0.2)))?;
            chart.draw_series(
                row.dot.iter().map(|dot| Circle::new((*dot / divisor, middle), 9, colour(0).filled())),
            )?;
            let font = ("sans-serif", TEXT).into_font().color(&INK);
            chart.draw_series([plotters::element::Text::new(
                row.name.clone(),
                (begin, middle + 0.62),
                font,
            )])?;
        }
        Ok(())
    });
    Some(figure(&labels, drawn, &Html::new()))
}

type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

/// A plot with axes, in which `content` draws. Without a name of the vertical axis that has no numbers either.
fn draw(
    labels: &Labels,
    size: (u32, u32),
    x: Range<f64>,
    y: Range<f64>,
    content: impl FnOnce(&mut Chart<'_, '_>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw: {error}");
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let has_y = !labels.y.is_empty();
        let (x_step, y_step) = (x.end - x.start, y.end - y.start);
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .margin_right(30)
            .x_label_area_size(80)
            .y_label_area_size(if has_y { 116 } else { 12 })
            .build_cartesian_2d(x, y)
            .map_err(|error| failed(&error))?;
        let font = || ("sans-serif", TEXT).into_font().color(&INK);
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(font())
            .axis_desc_style(font())
            .x_labels(7)
            .y_labels(if has_y { 6 } else { 0 })
            .x_desc(&labels.x)
            .y_desc(&labels.y)
            .x_label_formatter(&|x| number(*x, x_step))
            .y_label_formatter(&|y| number(*y, y_step))
            .draw()
            .map_err(|error| failed(&error))?;
        content(&mut chart)?;
        area.present().map_err(|error| failed(&error))?;
    }
    Ok(svg)
}

/// A figure of the page. A drawing that failed is said, not left out.
fn figure(labels: &Labels, svg: anyhow::Result<String>, key: &Html) -> Html {
    let mut figure = Html::tagged("h3", &labels.title);
    figure.push(match svg {
        Ok(svg) => Html::svg(&svg, &format!("{}. {}", labels.title, labels.caption)),
        Err(error) => super::html::note(format!("{error:#}")),
    });
    figure.push(key.clone());
    figure.push(Html::tagged("figcaption", &labels.caption));
    Html::element("figure", &[], figure)
}

/// The names of series, with their colours.
fn legend(names: &[&str]) -> Html {
    const CLASSES: [&str; COLOURS] = ["s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8"];
    let entry = |(index, name): (usize, &&str)| {
        let mut entry = Html::literal("<i></i>");
        entry.push(Html::text(name));
        (!name.is_empty()).then(|| Html::element("li", &[("class", CLASSES[index % COLOURS])], entry))
    };
    let entries: Html = names.iter().enumerate().filter_map(entry).collect();
    if entries.is_empty() { entries } else { Html::element("ul", &[("class", "legend")], entries) }
}

/// The range of a horizontal axis in the unit that it is drawn in, and what values in its own unit are divided by.
fn time_axis(labels: &mut Labels, x: Range<f64>) -> (Range<f64>, f64) {
    const HOUR_S: f64 = 3600.0;
    match labels.x.strip_suffix("(s)") {
        Some(name) if x.end - x.start > 2.0 * HOUR_S => {
            labels.x = format!("{name}(h)");
            (x.start / HOUR_S..x.end / HOUR_S, HOUR_S)
        }
        _ => (x, 1.0),
    }
}

/// The range of `values`, a little widened. `None`: there is no finite one.
fn range(values: impl Iterator<Item = f64>, has_zero: bool) -> Option<Range<f64>> {
    let values = values.filter(|value| is_usable(*value));
    let both = values.fold(None, |range: Option<(f64, f64)>, value| {
        let (least, most) = range.unwrap_or((value, value));
        Some((least.min(value), most.max(value)))
    });
    let (least, most) = both?;
    let (least, most) = if has_zero { (least.min(0.0), most.max(0.0)) } else { (least, most) };
    Some(widened(least..most, has_zero))
}

/// `range`, not empty. With `margin` also a little wider, except at zero.
fn widened(range: Range<f64>, margin: bool) -> Range<f64> {
    let span = range.end - range.start;
    // Relative to the values too: else the ends would round to one value again.
    let least = (range.end.abs().max(range.start.abs()) * 1e-9).max(1e-9);
    if span < least {
        let half = (range.end.abs() * 0.05).max(0.5);
        return range.start - half..range.end + half;
    }
    let more = if margin { span * 0.06 } else { 0.0 };
    let start = if range.start == 0.0 { 0.0 } else { range.start - more };
    start..if range.end == 0.0 { 0.0 } else { range.end + more }
}

/// A number on an axis that is `span` long.
fn number(value: f64, span: f64) -> String {
    let digits = match span {
        span if span >= 20.0 => 0,
        span if span >= 2.0 => 1,
        span if span >= 0.2 => 2,
        span if span >= 0.02 => 3,
        _ => 6,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".into() } else { text.replace('-', "\u{2212}") }
}

/// A count as a coordinate.
#[expect(clippy::cast_precision_loss, reason = "counts of what is drawn or in memory are far below 2^52")]
pub const fn to_f64(count: usize) -> f64 {
    count as f64
}

/// A share of a count as a count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of rows in memory, times a share of them"
)]
pub const fn to_count(value: f64) -> usize {
    value as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels { title: "T<".into(), caption: "C&".into(), x: "x</text><script>".into(), y: "y".into() }
    }

    fn line(points: &[(f64, Option<f64>)]) -> Series {
        Series { name: "a<b".into(), points: points.to_vec() }
    }

    #[test]
    fn a_line_is_interrupted_where_nothing_is_known() {
        let all =
            [line(&[(0.0, Some(1.0)), (1.0, Some(2.0)), (2.0, None), (3.0, Some(2.0)), (4.0, Some(1.0))])];
        let html = series(&labels(), &all, Mark::Line, None).unwrap();
        let own = html.as_str().matches("stroke=\"#110001\"").count();
        assert_eq!(own, 2, "two pieces: {html:?}");
        assert!(!html.as_str().contains("<script") && html.as_str().contains("a&lt;b"), "{html:?}");
        assert!(!html.as_str().contains("http"), "{html:?}");
    }

    #[test]
    fn what_has_no_value_is_no_plot() {
        assert_eq!(series(&labels(), &[line(&[(0.0, None)])], Mark::Line, Some(5.0)), None);
        assert_eq!(series(&labels(), &[], Mark::Dots, None), None);
        assert_eq!(histogram(&labels(), &[("a".into(), vec![f64::NAN])]), None);
        assert!(rows(&labels(), &[]).is_none());
    }

    #[test]
    fn extreme_values_are_drawn() {
        let values = [0.0, 1e300, -1e300, f64::INFINITY, f64::NAN, 1e-300];
        for value in values {
            let all = [line(&[(0.0, Some(value)), (1.0, Some(1.0)), (value, Some(2.0))])];
            assert!(series(&labels(), &all, Mark::Line, None).is_some(), "{value}");
        }
        assert!(histogram(&labels(), &[("a".into(), values.to_vec())]).is_some());
        assert!(histogram(&labels(), &[("a".into(), vec![7.0; 3])]).is_some(), "all the same");
    }

    #[test]
    fn long_times_are_drawn_in_hours() {
        let at = |x: f64, name: &str| {
            let mut labels = Labels { x: name.into(), ..labels() };
            let (range, divisor) = time_axis(&mut labels, 0.0..x);
            (labels.x, range.end, divisor)
        };
        assert_eq!(at(36_000.0, "time (s)"), ("time (h)".into(), 10.0, 3600.0));
        assert_eq!(at(600.0, "time (s)"), ("time (s)".into(), 600.0, 1.0));
        assert_eq!(at(36_000.0, "delay (us)"), ("delay (us)".into(), 36_000.0, 1.0));
    }

    #[test]
    fn shares_count_what_is_in_each_column() {
        assert_eq!(shares(&[0.0, 0.5, 1.0, 4.0, f64::NAN], 0.0, 1.0, 4), [50.0, 25.0, 0.0, 25.0]);
    }

    #[test]
    fn numbers_have_as_many_digits_as_the_axis_needs() {
        for (value, span, text) in [
            (0.0, 1.0, "0"),
            (-0.0, 1.0, "0"),
            (1.5, 3.0, "1.5"),
            (-200.0, 500.0, "\u{2212}200"),
            (0.05, 0.1, "0.05"),
        ] {
            assert_eq!(number(value, span), text);
        }
    }
}
