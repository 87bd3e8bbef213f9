//! What the viewer remembers of a device: phase errors and clock uncertainties of the last minutes, as a line of blocks.

use std::collections::VecDeque;
use std::time::Duration;

use swsync_core::status::Status;
use swsync_core::time::Span;

/// How far back a sparkline reaches.
pub const WINDOW: Duration = Duration::from_secs(180);

/// Most samples of one device: the window, at five a second.
const MAX_SAMPLES: usize = 900;

/// Blocks of rising height, and above which value each begins: about three times the one before. The scale is the same for all
/// devices and does not move, so that a glance tells tens of microseconds from milliseconds.
const BLOCKS: [(i64, char); 8] = [
    (0, '▁'),
    (3_000, '▂'),
    (10_000, '▃'),
    (30_000, '▄'),
    (100_000, '▅'),
    (300_000, '▆'),
    (1_000_000, '▇'),
    (3_000_000, '█'),
];

/// A moment at which nothing was heard, or no value was known.
const UNKNOWN: char = ' ';

/// What a sparkline shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// The newest frame's phase error, without sign.
    Phase,
    /// The uncertainty of the clock.
    Clock,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    phase: Option<Span>,
    clock: Option<Span>,
}

/// The last minutes of a device.
#[derive(Debug, Clone, Default)]
pub struct History(VecDeque<Sample>);

impl History {
    /// Adds what the device says at `at`, counted from the viewer's start.
    pub fn add(&mut self, at: Duration, status: &Status) {
        let phase = status.frames.as_ref().map(|frames| frames.newest.phase_error_ns);
        let clock = status.clock.and_then(|clock| clock.uncertainty_ns);
        self.0.push_back(Sample { at, phase, clock });
        while self.0.len() > MAX_SAMPLES || self.0.front().is_some_and(|first| first.at + WINDOW < at) {
            self.0.pop_front();
        }
    }

    /// `width` characters, the newest at the right. Each stands for an equal part of the window, and shows its worst value.
    pub fn sparkline(&self, series: Series, now: Duration, width: usize) -> String {
        let cells = u64::try_from(width.max(1)).unwrap_or(1);
        let part = (u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX) / cells).max(1);
        let index = |at: Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX) / part;
        let mut worst = vec![None; width];
        for sample in &self.0 {
            let age = index(now).saturating_sub(index(sample.at));
            let cell = usize::try_from(age).ok().and_then(|age| width.checked_sub(age + 1));
            let value = match series {
                Series::Phase => sample.phase.map(Span::abs),
                Series::Clock => sample.clock,
            };
            if let (Some(cell), Some(value)) = (cell.and_then(|cell| worst.get_mut(cell)), value) {
                *cell = Some(cell.map_or(value, |worst: Span| worst.max(value)));
            }
        }
        worst.into_iter().map(|value| value.map_or(UNKNOWN, block)).collect()
    }
}

fn block(value: Span) -> char {
    let of = BLOCKS.iter().rev().find(|(from, _)| value.as_nanos() >= *from);
    of.map_or(BLOCKS[0].1, |(_, block)| *block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::status;

    fn with(phase_us: i64) -> Status {
        let mut status = status("a");
        status.frames.as_mut().unwrap().newest.phase_error_ns = Span::from_micros(phase_us);
        status
    }

    #[test]
    fn each_part_of_the_window_shows_its_worst_value_and_silence_is_blank() {
        let mut history = History::default();
        let at = |part: u64| Duration::from_secs(part * 18);
        for (part, phase) in [(0, 1), (1, -20), (1, 5), (3, 40_000)] {
            history.add(at(part), &with(phase));
        }
        assert_eq!(history.sparkline(Series::Phase, at(3), 10), "      ▁▃ █");
        assert_eq!(history.sparkline(Series::Clock, at(3), 10), "      ▃▃ ▃");
        assert_eq!(history.sparkline(Series::Phase, at(11), 10), " █        ");
        assert_eq!(history.sparkline(Series::Phase, at(3), 0), "");
    }

    #[test]
    fn memory_is_bounded() {
        let mut history = History::default();
        for number in 0..2_000 {
            history.add(Duration::from_millis(number), &with(1));
        }
        assert_eq!(history.0.len(), MAX_SAMPLES);
        history.add(WINDOW * 3, &with(1));
        assert_eq!(history.0.len(), 1, "older than the window");
    }
}
