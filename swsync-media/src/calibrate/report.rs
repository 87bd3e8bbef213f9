//! The result of a calibration: a plot, a summary, and JSON.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use swsync_core::align::calibrate::fit::Fit;
use swsync_core::align::calibrate::{Calibration, CalibrationPoint};
use swsync_core::profile::{CameraProfile, MeasuredResponse};

const COLUMNS: usize = 60;
const ROWS: usize = 16;
/// Points of the line that are drawn: a few in every column.
const STEPS: u32 = 240;

/// A plot of shift against exposure: `o` is a measurement, `x` one that is left out of the fit, `.` the line.
pub fn plot(points: &[CalibrationPoint], fit: &Fit) -> String {
    let most = |of: fn(&CalibrationPoint) -> f64| points.iter().map(of).fold(1.0, f64::max);
    let (wide, high) = (most(|point| point.exposure_ns) * 1.02, most(|point| point.shift_ns) * 1.05);
    let mut picture = vec![[' '; COLUMNS]; ROWS];
    let mut put = |exposure: f64, shift: f64, mark: char| {
        let (column, row) = (place(exposure / wide, COLUMNS), place(1.0 - shift / high, ROWS));
        if let (Some(column), Some(row)) = (column, row) {
            picture[row][column] = mark;
        }
    };
    for step in 0..STEPS {
        let exposure = wide * f64::from(step) / f64::from(STEPS);
        if exposure >= fit.min_exposure_ns {
            put(exposure, fit.shift(exposure), '.');
        }
    }
    for point in points {
        put(point.exposure_ns, point.shift_ns.max(0.0), if fit.explains(point) { 'o' } else { 'x' });
    }
    let mut text = String::new();
    for (row, cells) in picture.iter().enumerate() {
        let label = match row {
            0 => format!("{:>8.1} ms", high / 1e6),
            row if row + 1 == ROWS => "    0.0 ms".to_owned(),
            row if row == ROWS / 2 => "     shift".to_owned(),
            _ => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{label:>11} |{}", cells.iter().collect::<String>().trim_end());
    }
    let _ = writeln!(text, "{:>11} +{}", "", "-".repeat(COLUMNS));
    let _ = writeln!(text, "{:>13}0{:^width$}{:.1} ms", "", "exposure", wide / 1e6, width = COLUMNS - 8);
    let _ = write!(text, "{:>13}o measured   x does not follow the line: too short, or lost", "");
    text
}

/// The index of the cell, of `count`, at `share` of the axis.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a few dozen cells; casts saturate"
)]
fn place(share: f64, count: usize) -> Option<usize> {
    let cell = share * count as f64;
    (0.0..=count as f64).contains(&cell).then(|| (cell as usize).min(count - 1))
}

/// The fitted line in words.
pub fn summary(fit: &Fit) -> String {
    let response = fit.response().response;
    let sure = fit.sigma(fit.centre_ns) / 1e3;
    format!(
        "shift = {:.5} (exposure {} {:.3} ms), modulo {:.4} ms\n  \
         slope      {:.5} +- {:.5}\n  \
         overhead   {:.3} ms +- {:.3} ms\n  \
         shortest   {:.3} ms, which shifts by {} periods and {:.3} ms\n  \
         scatter    {:.1} us for a single injection: within 20 us of the grid {} in 10 times\n  \
         how sure   an injection of {:.1} ms lands within {:.1} us, 1 sigma\n  \
         from       {} injections, {} passed over",
        fit.slope,
        if response.overhead_ns < 0.0 { "-" } else { "+" },
        response.overhead_ns.abs() / 1e6,
        fit.period_ns / 1e6,
        fit.slope,
        fit.slope_sigma,
        response.overhead_ns / 1e6,
        overhead_sigma(fit) / 1e6,
        fit.min_exposure_ns / 1e6,
        fit.periods(),
        (fit.shift(fit.min_exposure_ns) - f64::from(fit.periods()) * fit.period_ns) / 1e6,
        fit.scatter_ns / 1e3,
        tenths_within(20_000.0 / fit.sigma(fit.centre_ns)),
        fit.centre_ns / 1e6,
        sure,
        fit.used,
        fit.strays,
    )
}

/// The error of the overhead, 1 sigma: it is extrapolated to exposure 0, far from all measurements.
fn overhead_sigma(fit: &Fit) -> f64 {
    fit.shift_sigma_ns.hypot(fit.slope_sigma * fit.centre_ns) / fit.slope
}

/// How many times in ten a normal variable is within so many standard deviations, by the logistic approximation, whose error is a
/// hundredth.
fn tenths_within(sigmas: f64) -> String {
    let share = 2.0 / (1.0 + (-1.702 * sigmas).exp()) - 1.0;
    format!("{:.0}", 10.0 * share)
}

/// The document of `swsync calibrate --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CalibrationDocument<'a> {
    /// The camera's model.
    pub model: &'a str,
    /// Its response to long exposures.
    pub response: &'a MeasuredResponse,
    /// What was measured. Empty: the response was given.
    pub points: Vec<PointDocument>,
    /// Where it was written to. `None`: nowhere, as with `--dry-run`.
    pub written: Option<&'a Path>,
    /// The profile with it.
    pub profile: &'a CameraProfile,
}

/// One exposure, and the shift of the frames after it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PointDocument {
    /// The exposure.
    pub exposure_ns: f64,
    /// The shift.
    pub shift_ns: f64,
    /// Whether it was to find the shortest exposure that shifts.
    pub looking_for_shortest: bool,
}

impl<'a> CalibrationDocument<'a> {
    /// Of a response that was measured by `measured`, or given.
    pub fn new(
        profile: &'a CameraProfile,
        response: &'a MeasuredResponse,
        measured: Option<&Calibration>,
        written: Option<&'a Path>,
    ) -> Self {
        let points = measured.map_or_else(Vec::new, |calibration| {
            let point = |point: &CalibrationPoint| PointDocument {
                exposure_ns: point.exposure_ns,
                shift_ns: point.shift_ns,
                looking_for_shortest: point.knee,
            };
            calibration.points().iter().map(point).collect()
        });
        Self { model: &profile.model, response, points, written, profile }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Vec<CalibrationPoint> {
        let point = |ms: f64| CalibrationPoint {
            exposure_ns: ms * 1e6,
            shift_ns: 2.0 * (ms * 1e6 + 2e5),
            knee: false,
        };
        [35.0, 50.0, 60.0, 80.0, 100.0].map(point).to_vec()
    }

    #[test]
    fn the_result_has_a_plot_and_a_summary() {
        let fit = Fit::through(&points(), 33_333_333.0).unwrap();
        let picture = plot(&points(), &fit);
        let above = picture.split_once('+').unwrap().0;
        assert_eq!(above.matches('o').count(), 5, "{picture}");
        assert!(picture.contains("210.4 ms") && picture.contains("102.0 ms"), "{picture}");
        let words = summary(&fit);
        assert!(words.contains("slope      2.00000") && words.contains("overhead   0.200 ms"), "{words}");
        assert!(words.contains("5 injections, 0 passed over"), "{words}");
    }

    #[test]
    fn tenths_are_those_of_the_normal_distribution() {
        assert_eq!((tenths_within(0.8).as_str(), tenths_within(2.0).as_str()), ("6", "9"));
    }
}
