//! Progress of an order that runs, on standard error: redrawn on a terminal, else printed now and then.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use swsync_core::name::OrderId;
use swsync_core::order::Targets;
use swsync_rig::{Session, StatusReport};

use crate::table::{clean, size};
use swsync_client::snapshot::STATUS_TIMEOUT;

/// Time from one print to the next if standard error is no terminal.
const PRINT_INTERVAL: Duration = Duration::from_secs(10);

/// Prints how far an order is.
pub struct ProgressDisplay {
    order: OrderId,
    targets: Targets,
    begin: Instant,
    terminal: bool,
    lines: usize,
    last: Option<Instant>,
}

impl ProgressDisplay {
    pub fn new(order: OrderId, targets: Targets) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { order, targets, begin: Instant::now(), terminal, lines: 0, last: None }
    }

    /// Asks the devices and prints what they say.
    pub fn show(&mut self, session: &Session) {
        if !self.terminal && self.last.is_some_and(|last| last.elapsed() < PRINT_INTERVAL) {
            return;
        }
        self.last = Some(Instant::now());
        let reports = session.statuses(STATUS_TIMEOUT);
        let reports = reports.iter().filter(|report| self.targets.include(&report.status.device));
        let lines: Vec<String> = reports.map(|report| line(&self.order, report)).collect();
        let mut text = String::new();
        if self.terminal && self.lines > 0 {
            // Back to the first line of the last print (ECMA-48: CUU, EL).
            let _ = write!(text, "\x1b[{}A", self.lines);
        }
        let end = if self.terminal { "\x1b[K\n" } else { "\n" };
        let secs = self.begin.elapsed().as_secs();
        let _ = write!(text, "{}  {:02}:{:02}{end}", self.order, secs / 60, secs % 60);
        for line in &lines {
            let _ = write!(text, "{}{end}", clean(line));
        }
        self.lines = lines.len() + 1;
        let _ = std::io::stderr().write_all(text.as_bytes()); // it may be closed
    }
}

/// A device's line.
fn line(order: &OrderId, report: &StatusReport) -> String {
    let status = &report.status;
    let camera = status.frames.as_ref().map_or("no frames", |frames| frames.newest.lock_text());
    let Some(progress) = status.open.iter().find(|open| open.order == *order) else {
        return format!("  {}  done or not begun  {camera}", status.device);
    };
    let mut line =
        format!("  {}  {} frames  {}  {camera}", status.device, progress.saved, size(progress.bytes));
    if progress.lost > 0 {
        let _ = write!(line, "  {} lost: {}", progress.lost, progress.why.as_deref().unwrap_or("?"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{name, status};

    #[test]
    fn a_line_has_frames_holes_and_lock() {
        let now = Instant::now();
        let mut status = status("a");
        status.open[0].lost = 2;
        status.open[0].why = Some("the camera dropped this frame".into());
        let report = StatusReport { status, asked: now, heard: now };
        let expected = "  a  40 frames  4.00 MB  locked  2 lost: the camera dropped this frame";
        assert_eq!(line(&name("o1"), &report), expected);
        assert!(line(&name("o2"), &report).contains("done or not begun"));
    }
}
