//! The screen as lines of text, for a terminal of any size.

use std::time::Duration;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span as Text};
use swsync_core::name::DeviceId;

use super::actions::Tone;
use super::history::{History, Series, WINDOW};
use super::model::{MAX_RUNNING, Model, Page};
use crate::status::details;
use crate::status::report::RigStatus;
use crate::table::{Align, Column, NOTHING, clean};

/// Columns of `swsync status` that are shown first, however narrow the terminal is.
const FIRST: [&str; 5] = ["device", "clock", "+- us", "camera", "phase us"];

/// Least and largest width of a sparkline.
const SPARK: (usize, usize) = (10, 60);

/// Width of the mark before a device in trouble.
const MARK: usize = 1;

/// Most lines of orders, and of what concerns the rig as a whole.
const MAX_LINES: usize = 4;

/// The colours, if there are any.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    /// Whether colours are used: not with NO_COLOR.
    pub has_colours: bool,
}

impl Theme {
    fn coloured(self, colour: Color) -> Style {
        if self.has_colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn bad(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Good => self.coloured(Color::Green),
            Tone::Bad => self.bad(),
        }
    }

    fn title(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn heading(self) -> Style {
        self.coloured(Color::Cyan).add_modifier(Modifier::BOLD)
    }
}

/// The screen at `now`, counted from the start: exactly `height` lines, each cut to `width`.
pub fn screen(model: &Model, theme: Theme, now: Duration, width: usize, height: usize) -> Vec<Line<'static>> {
    let page = Screen { model, theme, now, width };
    let mut lines = vec![page.header()];
    let footer = page.footer();
    let room = height.saturating_sub(2);
    lines.extend(match &model.page {
        Page::Devices => page.devices(room),
        Page::Details(device) => page.details(device, room),
        Page::Help => page.help(),
    });
    lines.truncate(height.saturating_sub(1));
    lines.resize(height.saturating_sub(1), Line::default());
    lines.push(footer);
    lines.truncate(height);
    lines.into_iter().map(|line| fit(line, width)).collect()
}

struct Screen<'a> {
    model: &'a Model,
    theme: Theme,
    now: Duration,
    width: usize,
}

impl Screen<'_> {
    /// The rig's name and how many devices are well; bad if any is not, or if that is not known.
    fn header(&self) -> Line<'static> {
        let model = self.model;
        let left = format!(" swsync  rig {} ", model.rig);
        let (right, is_bad) = match &model.status {
            None => ("asking the devices ... ".to_owned(), false),
            Some(_) if model.is_stale(self.now) => {
                let silent = self.now.saturating_sub(model.updated).as_secs();
                (format!("NO NEWS for {silent} s: what is below is old "), true)
            }
            Some(status) => {
                let (all, ready) = (status.snapshot().devices().count(), status.ready());
                let silent = model.silent_for.len();
                let rest = all.saturating_sub(ready + silent);
                let text = format!("{all} devices: {ready} ready, {rest} not ready, {silent} silent ");
                (text, ready < all || all == 0)
            }
        };
        // How the devices are is more than the rig's name.
        let left = if left.len() + right.len() <= self.width { left } else { String::new() };
        let blank = self.width.saturating_sub(left.chars().count() + right.chars().count());
        let title = self.theme.title();
        let right_style = if is_bad { title.patch(self.theme.bad()) } else { title };
        Line::from(vec![
            Text::styled(clean(&left), title),
            Text::styled(" ".repeat(blank), title),
            Text::styled(right, right_style),
        ])
    }

    fn footer(&self) -> Line<'static> {
        let model = self.model;
        if model.is_filtering {
            let text = format!("/{}_   (Enter: keep, Esc: all devices)", model.filter);
            return Line::from(clean(&text));
        }
        let stop = model.stoppable().map_or("r record".to_owned(), |order| format!("r stop {order}"));
        let busy = if model.running >= MAX_RUNNING { "  (busy)" } else { "" };
        let filter = if model.filter.is_empty() { String::new() } else { format!(" [{}]", model.filter) };
        let text = match model.page {
            Page::Devices => {
                format!(" s shoot  q quit  ? help  Enter info  / filter{filter}  {stop}{busy}")
            }
            Page::Details(_) => format!(" Esc back  q quit  up/down other device  s shoot  {stop}{busy}"),
            Page::Help => " Esc back  q quit".to_owned(),
        };
        Line::styled(clean(&text), self.theme.title())
    }

    /// The page of all devices, in `room` lines: what concerns the rig, the table, orders, messages.
    fn devices(&self, room: usize) -> Vec<Line<'static>> {
        let Some(status) = &self.model.status else { return Vec::new() };
        let about = self.capped(status.about_rig(), Style::new());
        let orders = self.orders(status);
        // A third of the screen at most for what happened, and a line at least.
        let taken = about.len() + orders.len() + 1;
        let messages = (room / 3).min(room.saturating_sub(taken + 3)).max(1);
        let messages = self.messages(messages);
        let table = self.table(status, room.saturating_sub(about.len() + orders.len() + messages.len()));
        let mut lines = about;
        lines.extend(table);
        lines.resize(room.saturating_sub(orders.len() + messages.len()).max(lines.len()), Line::default());
        lines.extend(orders);
        lines.extend(messages);
        lines
    }

    /// At most [`MAX_LINES`] of `texts`, the last of which says how many more there are.
    fn capped(&self, texts: Vec<String>, style: Style) -> Vec<Line<'static>> {
        let more = texts.len().saturating_sub(MAX_LINES);
        let kept = if more > 0 { MAX_LINES - 1 } else { MAX_LINES };
        let mut lines: Vec<_> =
            texts.iter().take(kept).map(|text| Line::styled(clean(text), style)).collect();
        if more > 0 {
            lines.push(Line::from(format!("... and {} more", texts.len() - kept)));
        }
        lines
    }

    fn orders(&self, status: &RigStatus) -> Vec<Line<'static>> {
        let (now, devices) = (status.snapshot().time(), status.snapshot().devices().count());
        let orders = self.model.orders();
        let mut lines = self.capped(
            orders.iter().map(|order| order.line(now, devices)).collect(),
            self.theme.coloured(Color::Yellow),
        );
        for (line, order) in lines.iter_mut().zip(&orders) {
            if order.has_losses() {
                line.style = self.theme.bad();
            }
        }
        lines
    }

    /// The latest messages in `room` lines at most, the last at the bottom. Each is given as many lines as it needs, up to
    /// [`MAX_LINES`].
    fn messages(&self, room: usize) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        for logged in self.model.messages.iter().rev() {
            let ago = age(self.now.saturating_sub(logged.at).as_secs());
            let texts = wrapped(&logged.message.text, self.width.saturating_sub(6));
            let style = self.theme.tone(logged.message.tone);
            let text = |(index, text): (usize, String)| {
                let begin = if index == 0 { format!("{ago:>4}  ") } else { " ".repeat(6) };
                Line::styled(begin + &text, style)
            };
            let mut block: Vec<_> = texts.into_iter().take(MAX_LINES).enumerate().map(text).collect();
            if block.len() > room.saturating_sub(lines.len()) {
                if !lines.is_empty() {
                    break;
                }
                block.truncate(room);
            }
            block.append(&mut lines);
            lines = block;
        }
        lines
    }

    /// The table in `room` lines: the headings, and devices around the cursor, each with what is wrong with it below.
    fn table(&self, status: &RigStatus, room: usize) -> Vec<Line<'static>> {
        let devices = self.model.devices();
        let table = status.table();
        let layout = Layout::of(table.columns(), self.width);
        let mut lines = vec![Line::styled(clean(&layout.headings()), self.theme.heading())];
        let rows = status.rows();
        let blocks: Vec<Vec<Line<'static>>> = devices
            .iter()
            .map(|device| {
                let row = rows.get(device).map_or(&[][..], |row| &row[..]);
                self.block(status, device, row, &layout)
            })
            .collect();
        if blocks.is_empty() {
            let filter = &self.model.filter;
            let none =
                if filter.is_empty() { "no devices".into() } else { format!("no device has {filter:?}") };
            lines.push(Line::from(none));
            return lines;
        }
        let selected =
            self.model.selected.as_ref().and_then(|device| devices.iter().position(|other| other == device));
        let room = room.saturating_sub(1);
        let first = first_shown(&blocks, selected.unwrap_or(0), room.saturating_sub(1));
        let mut used = 0;
        for (index, block) in blocks.iter().enumerate().skip(first) {
            let below = blocks.len() - index;
            let is_last = below == 1;
            // One line is kept to say what is below.
            if used + block.len() + usize::from(!is_last) > room {
                lines.push(Line::from(format!(
                    " ... {below} more below, {first} above (arrows, PgDn, / filter)"
                )));
                return lines;
            }
            used += block.len();
            lines.extend(block.iter().cloned());
        }
        if first > 0 && used < room {
            lines.push(Line::from(format!(" ... {first} above")));
        }
        lines
    }

    /// A device's row, and below it what is wrong with it.
    fn block(
        &self,
        status: &RigStatus,
        device: &DeviceId,
        row: &[String],
        layout: &Layout,
    ) -> Vec<Line<'static>> {
        let trouble = status.trouble(device);
        let mark = if trouble.is_empty() { " " } else { "!" };
        let empty = History::default();
        let history = self.model.history.get(device).unwrap_or(&empty);
        let text = layout.row(mark, row, history, self.now);
        let mut style = if trouble.is_empty() { Style::new() } else { self.theme.bad() };
        if self.model.selected.as_ref() == Some(device) {
            style = style.add_modifier(Modifier::REVERSED);
        }
        let mut lines = vec![Line::styled(clean(&text), style)];
        if !trouble.is_empty() {
            let silent = self.model.silent_for.get(device);
            let silent =
                silent.map(|silent| format!("silent for {} s: ", silent.as_secs())).unwrap_or_default();
            let why = format!("    {silent}{}", trouble.join("; "));
            lines.push(Line::styled(clean(&why), self.theme.coloured(Color::Red)));
        }
        let warnings = status.warnings(device);
        if !warnings.is_empty() {
            let text = format!("    warning: {}", warnings.join("; "));
            lines.push(Line::styled(clean(&text), self.theme.coloured(Color::Yellow)));
        }
        lines
    }

    /// All that is known of `device`.
    fn details(&self, device: &DeviceId, room: usize) -> Vec<Line<'static>> {
        let gone = || vec![Line::from(format!("{device} is in the rig no more"))];
        let Some(status) = &self.model.status else { return gone() };
        let rows = status.rows();
        let Some(row) = rows.get(device) else { return gone() };
        let mut lines = Vec::new();
        let silent = self.model.silent_for.get(device);
        if let Some(silent) = silent {
            lines.push(Line::styled(format!("silent for {} s", silent.as_secs()), self.theme.bad()));
        }
        for why in status.trouble(device) {
            lines.extend(
                wrapped(&why, self.width).into_iter().map(|line| Line::styled(line, self.theme.bad())),
            );
        }
        for what in status.warnings(device) {
            let text = format!("warning: {what}");
            let lines_of_it = wrapped(&text, self.width).into_iter();
            lines.extend(lines_of_it.map(|line| Line::styled(line, self.theme.coloured(Color::Yellow))));
        }
        let table = status.table();
        for (column, cell) in table.columns().iter().zip(row) {
            lines.push(Line::from(format!("{:<10}  {}", column.heading, clean(cell))));
        }
        let report = status.snapshot().reports.iter().find(|report| report.status.device == *device);
        if let Some(report) = report {
            let known = details::pairs(&report.status).into_iter().filter(|(_, value)| value != NOTHING);
            let known: Vec<_> = known.map(|(heading, value)| format!("{heading} {value}")).collect();
            if !known.is_empty() {
                lines.extend(wrapped(&known.join(", "), self.width).into_iter().map(Line::from));
            }
            for order in &report.status.open {
                let lost = order.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let text = format!(
                    "{:<10}  {}: {} saved, {} lost{lost}",
                    "order", order.order, order.saved, order.lost
                );
                lines.push(Line::from(clean(&clean(&text))));
            }
        }
        let empty = History::default();
        let history = self.model.history.get(device).unwrap_or(&empty);
        let minutes = WINDOW.as_secs() / 60;
        let spark = |name: &str, series| {
            let width = self.width.saturating_sub(12);
            Line::from(format!("{name:<10}  {}", history.sparkline(series, self.now, width)))
        };
        lines.push(Line::styled(format!("the last {minutes} minutes"), self.theme.heading()));
        lines.extend([spark("phase", Series::Phase), spark("clock", Series::Clock)]);
        lines.truncate(room);
        lines
    }

    fn help(&self) -> Vec<Line<'static>> {
        HELP.lines().map(|line| Line::from(clean(line))).collect()
    }
}

const HELP: &str = "\
s       shoot: one picture with every device, half a second from now. Only if
        all are ready; else it says who is not, and why
r       record with every device until it is pressed again; stops a take that
        is running, whoever gave it
Enter   all that is known of a device     Esc  back, and no filter
/       show only devices with this text in their name or trouble
up, down, PgUp, PgDn, Home, End           q, Ctrl-C  quit: orders go on

!       a device in trouble, above the others; what it is stands below
clock   leading, synced, foreign: good; acquiring, unsynced, holdover: not
+- us   what the error of its clock may be, 1 sigma
camera  locked: its frames are on the grid; searching, aligning, lost: not
phase us   its newest frame's time minus the grid instant
phase, clock: the last 3 minutes, the worst of each part; blank: not known
  \u{2581} below 3 us  \u{2582} 3  \u{2583} 10  \u{2584} 30  \u{2585} 100  \u{2586} 300 us  \u{2587} 1 ms  \u{2588} 3 ms and more
swsync status has more columns; wide terminals show them here too";

/// The columns that fit: those that are always shown, two sparklines, and as many others as there is room for.
struct Layout {
    /// Each column with its place in a row.
    columns: Vec<(usize, Column)>,
    spark: usize,
}

impl Layout {
    fn of(all: &[Column], width: usize) -> Self {
        let is_first = |column: &Column| FIRST.contains(&column.heading);
        let widths =
            |columns: &[(usize, Column)]| columns.iter().map(|(_, column)| column.width + 1).sum::<usize>();
        let numbered = || all.iter().copied().enumerate();
        let mut columns: Vec<_> = numbered().filter(|(_, column)| is_first(column)).collect();
        let left = |columns: &[(usize, Column)]| width.saturating_sub(MARK + widths(columns));
        for (place, column) in numbered().filter(|(_, column)| !is_first(column)) {
            // Sparklines of twice the least width come first.
            if left(&columns) > column.width + 1 + 4 * SPARK.0 {
                columns.push((place, column));
            }
        }
        columns.sort_by_key(|(place, _)| *place);
        let spark = (left(&columns).saturating_sub(1) / 2).min(SPARK.1);
        Self { columns, spark: if spark < SPARK.0 { 0 } else { spark } }
    }

    fn headings(&self) -> String {
        let mut text = " ".repeat(MARK);
        for (_, column) in &self.columns {
            text.push_str(&padded(column.heading, column));
        }
        if self.spark > 0 {
            text.push_str(&format!("{:<width$} {}", "phase 3min", "clock 3min", width = self.spark));
        }
        text
    }

    fn row(&self, mark: &str, row: &[String], history: &History, now: Duration) -> String {
        let mut text = mark.to_owned();
        for (place, column) in &self.columns {
            text.push_str(&padded(row.get(*place).map_or("", String::as_str), column));
        }
        if self.spark > 0 {
            let spark = |series| history.sparkline(series, now, self.spark);
            text.push_str(&format!("{} {}", spark(Series::Phase), spark(Series::Clock)));
        }
        text
    }
}

/// A cell and the blank after it.
fn padded(cell: &str, column: &Column) -> String {
    let (cell, width) = (clean(cell), column.width);
    match column.align {
        Align::Left => format!("{cell:<width$} "),
        Align::Right => format!("{cell:>width$} "),
    }
}

/// The first block to show, so that `selected` is within `room` lines.
fn first_shown(blocks: &[Vec<Line<'static>>], selected: usize, room: usize) -> usize {
    let (mut first, mut used) = (selected, 0);
    for index in (0..=selected).rev() {
        used += blocks.get(index).map_or(0, Vec::len);
        if used > room {
            break;
        }
        first = index;
    }
    first
}

/// `line` in `width` characters, with an ellipsis where it is cut.
fn fit(line: Line<'static>, width: usize) -> Line<'static> {
    if line.width() <= width {
        return line;
    }
    let mut room = width.saturating_sub(1);
    let mut fitted = Line { spans: Vec::new(), ..line };
    for span in line.spans {
        let kept: String = span.content.chars().take(room).collect();
        room -= kept.chars().count();
        fitted.spans.push(Text::styled(kept, span.style));
    }
    if let Some(last) = fitted.spans.last_mut().filter(|_| width > 0) {
        last.content.to_mut().push('…');
    }
    fitted
}

/// `text` in lines of `width`, broken at blanks where there are any.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in clean(text).split(' ') {
        let line = lines.last_mut().expect("there is one");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    lines
}

/// Seconds, minutes or hours since something happened.
fn age(secs: u64) -> String {
    match secs {
        0..100 => format!("{secs}s"),
        100..6_000 => format!("{}m", secs / 60),
        _ => format!("{}h", secs / 3_600),
    }
}

#[cfg(test)]
mod tests;
