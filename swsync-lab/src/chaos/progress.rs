//! What the terminal shows meanwhile.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use swsync_core::time::Span;
use swsync_time::host_now;

use super::network::Side;
use super::record::Record;
use super::rig::Rig;
use super::timeline::Presence;
use swsync_cli::output;

/// How often the line is renewed on a terminal, and else printed.
const ON_TERMINAL: Duration = Duration::from_millis(500);
const ELSEWHERE: Duration = Duration::from_secs(15);

/// A line on standard error.
pub struct Progress {
    duration: Duration,
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    /// Of a run of `duration`.
    pub fn new(duration: Duration) -> Self {
        Self { duration, shown: None, is_terminal: std::io::stderr().is_terminal() }
    }

    fn is_due(&mut self) -> bool {
        let interval = if self.is_terminal { ON_TERMINAL } else { ELSEWHERE };
        let is_due = self.shown.is_none_or(|shown| shown.elapsed() >= interval);
        if is_due {
            self.shown = Some(Instant::now());
        }
        is_due
    }

    fn line(&self, text: &str) {
        if self.is_terminal { output::status_line(text) } else { output::tell(text) }
    }

    /// Something that stays to be seen.
    pub fn tell(&mut self, text: &str) {
        output::status_line("");
        output::tell(text);
    }

    /// Nothing goes on any more.
    pub fn done(&mut self) {
        output::status_line("");
    }

    /// How a wait goes on.
    pub fn waiting(&mut self, what: &str, done: usize, all: usize) {
        if self.is_due() {
            self.line(&format!("{what}: {done} of {all}"));
        }
    }

    /// How the run goes on.
    pub fn show(&mut self, rig: &Rig, record: &Record, elapsed: Duration) {
        if !self.is_due() {
            return;
        }
        let up = |side| {
            (0..rig.devices.len()).filter(|device| rig.timeline.now(*device) == Presence::Up(side)).count()
        };
        let mut newest = BTreeMap::new();
        let since = host_now() - Span::from_secs(1);
        for reading in record.readings.iter().rev().take_while(|reading| reading.at > since) {
            newest.entry(reading.device).or_insert(reading);
        }
        let synced: Vec<_> = newest.values().filter(|reading| reading.sync.is_synced()).collect();
        let offsets =
            || synced.iter().filter(|reading| reading.side == Side::Main).map(|reading| reading.offset);
        let spread = offsets().max().unwrap_or_default() - offsets().min().unwrap_or_default();
        let leader = rig.leader(Side::Main).map_or("no leader".to_owned(), |index| format!("leader {index}"));
        let open = record.orders.values().filter(|given| given.going > 0).count();
        self.line(&format!(
            "{:.0} of {:.0} s: {} devices up and {} apart, {} synced within {:.0} us, {leader}, {} orders ({open} open), \
             {} faults",
            elapsed.as_secs_f64(),
            self.duration.as_secs_f64(),
            up(Side::Main),
            up(Side::Apart),
            synced.len(),
            spread.as_micros_f64(),
            record.orders.len(),
            record.faults.len(),
        ));
    }
}
