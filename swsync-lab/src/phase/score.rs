//! Scores of many trials.

use super::trial::Outcome;
use crate::stats::{as_f64, quantile};
use swsync_cli::table::{Align, Column, NOTHING, Table};

/// The score of a method over many trials.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Number of trials.
    pub trials: usize,
    /// Fraction of trials that were aligned in time.
    pub success: f64,
    /// Steps (frames, injections, restarts) until aligned: median and 99 % quantile, of the trials that were aligned.
    pub steps: Option<(f64, f64)>,
    /// The same in seconds.
    pub seconds: Option<(f64, f64)>,
    /// Magnitude of the error while holding: mean, 95 % quantile, maximum, in us.
    pub hold_us: Option<(f64, f64, f64)>,
    /// Frames while holding whose length differs from the period by more than 1 %.
    pub off: usize,
}

impl Score {
    /// The score of these trials.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let steps: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.steps).collect();
        let seconds: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.seconds).collect();
        let hold_errors =
            outcomes.iter().flat_map(|outcome| outcome.hold_errors.iter().map(|ns| ns.abs() / 1e3));
        let mut hold_errors: Vec<f64> = hold_errors.collect();
        hold_errors.sort_by(f64::total_cmp);
        let hold_us = hold_errors.last().copied().map(|most| {
            let mean = hold_errors.iter().sum::<f64>() / as_f64(hold_errors.len());
            (mean, quantile(&hold_errors, 95), most)
        });
        Self {
            trials: outcomes.len(),
            success: as_f64(steps.len()) / as_f64(outcomes.len().max(1)),
            steps: median_and_p99(steps),
            seconds: median_and_p99(seconds),
            hold_us,
            off: outcomes.iter().map(|outcome| outcome.off).sum(),
        }
    }

    /// A row of [`table`].
    pub fn cells(&self, name: &str) -> [String; 9] {
        let one = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| NOTHING.to_owned(), |value| format!("{value:.digits$}"))
        };
        [
            name.to_owned(),
            format!("{:.1}", 100.0 * self.success),
            one(self.steps.map(|(median, _)| median), 0),
            one(self.steps.map(|(_, p99)| p99), 0),
            one(self.seconds.map(|(median, _)| median), 2),
            one(self.hold_us.map(|(mean, _, _)| mean), 1),
            one(self.hold_us.map(|(_, p95, _)| p95), 1),
            one(self.hold_us.map(|(_, _, most)| most), 1),
            self.hold_us.map_or_else(|| NOTHING.to_owned(), |_| self.off.to_string()),
        ]
    }

    /// The score as JSON.
    pub fn to_json(&self, name: &str) -> serde_json::Value {
        serde_json::json!({
            "method": name,
            "trials": self.trials,
            "success": self.success,
            "steps_median": self.steps.map(|(median, _)| median),
            "steps_p99": self.steps.map(|(_, p99)| p99),
            "seconds_median": self.seconds.map(|(median, _)| median),
            "seconds_p99": self.seconds.map(|(_, p99)| p99),
            "hold_mean_us": self.hold_us.map(|(mean, _, _)| mean),
            "hold_p95_us": self.hold_us.map(|(_, p95, _)| p95),
            "hold_max_us": self.hold_us.map(|(_, _, most)| most),
            "frames_off": self.hold_us.map(|_| self.off),
        })
    }
}

/// The table of a scenario whose steps are called `steps`.
pub fn table(steps: &'static str) -> Table<9> {
    let right = |heading, width| Column { heading, width, align: Align::Right };
    Table::new([
        Column { heading: "", width: 18, align: Align::Left },
        right("% ok", 6),
        right(steps, 10),
        right("p99", 5),
        right("s", 7),
        right("mean us", 8),
        right("p95", 8),
        right("max", 9),
        right("> 1 %", 6),
    ])
}

fn median_and_p99(mut values: Vec<f64>) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    (!values.is_empty()).then(|| (quantile(&values, 50), quantile(&values, 99)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_as_computed_by_hand() {
        let outcome = |steps, hold_errors: &[f64]| Outcome {
            steps,
            seconds: steps.map(|steps| steps / 30.0),
            hold_errors: hold_errors.to_vec(),
            off: 1,
        };
        let outcomes = [
            outcome(Some(6.0), &[-4_000.0, 2_000.0]),
            outcome(Some(9.0), &[6_000.0, 0.0]),
            outcome(Some(30.0), &[]),
            outcome(None, &[]),
        ];
        let score = Score::of(&outcomes);
        assert_eq!((score.trials, score.off), (4, 4));
        assert!((score.success - 0.75).abs() < 1e-9);
        assert_eq!((score.steps, score.hold_us), (Some((9.0, 30.0)), Some((3.0, 6.0, 6.0))));
        assert_eq!(Score::of(&[]).steps, None);
        assert_eq!(Score::of(&[]).cells("x")[2], "-");
    }
}
