//! What the terminal shows while an experiment runs: lines on standard error.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use swsync_cli::output;

/// How often the line is renewed on a terminal, and else printed.
const ON_TERMINAL: Duration = Duration::from_millis(500);
const ELSEWHERE: Duration = Duration::from_secs(15);

/// A line on standard error.
pub struct Progress {
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        Self { shown: None, is_terminal: std::io::stderr().is_terminal() }
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
        self.show(|| format!("{what}: {done} of {all}"));
    }

    /// Shows `line`, if the last one has stood for long enough.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        let interval = if self.is_terminal { ON_TERMINAL } else { ELSEWHERE };
        if self.shown.is_some_and(|shown| shown.elapsed() < interval) {
            return;
        }
        self.shown = Some(Instant::now());
        if self.is_terminal { output::status_line(&line()) } else { output::tell(&line()) }
    }
}
