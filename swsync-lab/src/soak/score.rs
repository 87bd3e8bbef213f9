//! Scores of a soak's days.

use serde::Serialize;
use swsync_cli::table::{Align, Column, Table, micros_unsigned};
use swsync_core::time::Span;

use super::args::SoakArgs;
use super::simulate::{ClockSample, PhaseSample};
use crate::stats::{as_f64, quantile};

/// One day.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Day {
    /// Samples of clocks while nothing happened.
    samples: usize,
    /// Magnitude of the clocks' errors then, without the asymmetry: mean, 99 % quantile, maximum.
    clock_mean_ns: Span,
    clock_p99_ns: Span,
    clock_max_ns: Span,
    /// Mean magnitude of what the latencies of the paths add.
    asymmetry_ns: Span,
    /// Mean of the stated uncertainties, 1 sigma.
    uncertainty_ns: Span,
    /// Share of these samples whose error is within twice and three times the stated uncertainty.
    pub within_2_sigma: f64,
    within_3_sigma: f64,
    /// Clocks that did not say they are synced although nothing happened.
    unsynced: usize,
    /// Events, and the largest error of clocks that said they are synced in them and soon after.
    pub events: usize,
    disturbed_max_ns: Span,
    /// Magnitude of the phase error of locked frames: mean of the cameras' minutes, and maximum.
    phase_mean_ns: Span,
    phase_max_ns: Span,
}

impl Day {
    /// Of these samples.
    pub fn of(clocks: &[ClockSample], phases: &[PhaseSample], unsynced: usize, events: usize) -> Self {
        let without = |sample: &ClockSample| (sample.error - sample.asymmetry).abs();
        let (disturbed, quiet): (Vec<_>, Vec<_>) = clocks.iter().partition(|sample| sample.is_disturbed);
        let mut errors: Vec<Span> = quiet.iter().map(&without).collect();
        errors.sort();
        let within = |sigmas: i64| {
            let inside = quiet.iter().filter(|sample| without(sample) <= sample.uncertainty * sigmas).count();
            as_f64(inside) / as_f64(quiet.len().max(1))
        };
        Self {
            samples: quiet.len(),
            clock_mean_ns: mean(errors.iter().copied()),
            clock_p99_ns: if errors.is_empty() { Span::ZERO } else { quantile(&errors, 99) },
            clock_max_ns: errors.last().copied().unwrap_or(Span::ZERO),
            asymmetry_ns: mean(quiet.iter().map(|sample| sample.asymmetry.abs())),
            uncertainty_ns: mean(quiet.iter().map(|sample| sample.uncertainty)),
            within_2_sigma: within(2),
            within_3_sigma: within(3),
            unsynced,
            events,
            disturbed_max_ns: disturbed.iter().map(without).max().unwrap_or(Span::ZERO),
            phase_mean_ns: mean(phases.iter().map(|sample| sample.mean)),
            phase_max_ns: phases.iter().map(|sample| sample.most).max().unwrap_or(Span::ZERO),
        }
    }

    /// The figures that tests compare, in us: the clocks' mean and maximum, and the mean phase error.
    #[cfg(test)]
    pub fn headline(&self) -> [f64; 3] {
        [self.clock_mean_ns, self.clock_max_ns, self.phase_mean_ns].map(Span::as_micros_f64)
    }
}

fn mean(spans: impl Iterator<Item = Span>) -> Span {
    let (count, sum) = spans.fold((0, Span::ZERO), |(count, sum), span| (count + 1, sum + span));
    sum / count.max(1)
}

/// The figures as JSON.
pub fn to_json(days: &[Day]) -> serde_json::Value {
    serde_json::json!({ "days": days })
}

/// The figures as a table.
pub fn to_text(args: &SoakArgs, days: &[Day]) -> String {
    let right = |heading, width| Column { heading, width, align: Align::Right };
    let table = Table::new([
        right("day", 4),
        right("clock us", 8),
        right("p99", 6),
        right("max", 7),
        right("asymmetry", 9),
        right("sigma", 6),
        right("% in 2", 6),
        right("in 3", 6),
        right("not synced", 10),
        right("events", 6),
        right("max", 8),
        right("phase us", 8),
        right("max", 6),
    ]);
    let mut text = format!(
        "{} devices, seed {}, {} Mbit/s a device\n{}",
        args.devices,
        args.seed,
        args.traffic,
        table.headings()
    );
    for (number, day) in (1_usize..).zip(days) {
        let percent = |share: f64| format!("{:.1}", 100.0 * share);
        let cells = [
            number.to_string(),
            micros_unsigned(day.clock_mean_ns),
            micros_unsigned(day.clock_p99_ns),
            micros_unsigned(day.clock_max_ns),
            micros_unsigned(day.asymmetry_ns),
            micros_unsigned(day.uncertainty_ns),
            percent(day.within_2_sigma),
            percent(day.within_3_sigma),
            day.unsynced.to_string(),
            day.events.to_string(),
            micros_unsigned(day.disturbed_max_ns),
            micros_unsigned(day.phase_mean_ns),
            micros_unsigned(day.phase_max_ns),
        ];
        text += "\n";
        text += &table.row(&cells);
    }
    text
}
