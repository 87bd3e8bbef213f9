//! Keeps the frame rate exact on average for a camera that is not aligned.
//!
//! A frame is a whole number of lines, and libcamera counts whole microseconds: a period of 1/30 s is neither. So some frames
//! are made a line longer or shorter, such that after any number of frames the time they took is off by less than a line.
//!
//! If the sensor's line time is not known, the driver truncates the requested microseconds to lines. The reported frame
//! durations show by how much, and the accumulated shortfall is requested in addition. As these reports are in whole
//! microseconds, the rate is then exact to 10 ppm or so.

use swsync_core::grid::FrameGrid;
use swsync_core::time::Span;

use crate::camera::FrameDurationControl;

/// Each frame makes up for this part of the shortfall. The loop is stable with the ten frames or so from a request to its
/// report.
const GAIN: i64 = 32;

/// See the module's documentation.
#[derive(Debug)]
pub struct Dither {
    control: FrameDurationControl,
    grid: FrameGrid,
    frames: u64,
    /// Time that frames should have taken but were not requested to take, in ns.
    owed_ns: f64,
    /// Time that frames should have taken but did not take, by their reports.
    short: Span,
    lines: u32,
}

impl Dither {
    /// For frames of `grid`'s rate.
    pub fn new(control: FrameDurationControl, grid: FrameGrid) -> Self {
        Self { control, grid, frames: 0, owed_ns: 0.0, short: Span::ZERO, lines: 0 }
    }

    /// The duration to request after a frame that reports the duration `reported`; `None` if it has not changed.
    pub fn next(&mut self, reported: Option<Span>) -> Option<Span> {
        // From the grid, because the period need not be a whole number of nanoseconds.
        let period = self.grid.instant(self.frames + 1) - self.grid.instant(self.frames);
        self.frames += 1;
        if let Some(reported) = reported {
            // Bounded: a camera that was too slow must not race once it can keep up.
            self.short = (self.short + period - reported).clamp(-period, period);
        }
        self.owed_ns += (period + self.short / GAIN).as_nanos_f64();
        let lines = self.lines_of(self.owed_ns);
        self.owed_ns -= f64::from(lines) * self.control.line_time_ns;
        // Bounded likewise: the rest did not fit between shortest and longest frame.
        self.owed_ns = self.owed_ns.clamp(-period.as_nanos_f64(), period.as_nanos_f64());
        let changed = std::mem::replace(&mut self.lines, lines) != lines;
        changed.then(|| self.control.duration_of(lines))
    }

    /// The lines nearest to `ns`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float to int casts saturate, and the result is clamped"
    )]
    fn lines_of(&self, ns: f64) -> u32 {
        let lines = (ns / self.control.line_time_ns).round() as u32;
        lines.clamp(self.control.min_lines, self.control.max_lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// How far the time that frames take is from what it should be, after each of `frames` frames, in ns.
    ///
    /// The driver cuts to lines of `true_line_ns`, takes up a duration six frames late, and reports whole
    /// microseconds, if it reports.
    fn errors(
        rate: (u32, u32),
        stated_line_ns: f64,
        true_line_ns: f64,
        reports: bool,
        frames: u64,
    ) -> Vec<f64> {
        let grid = FrameGrid::new(rate.0, rate.1).unwrap();
        let control = FrameDurationControl {
            line_time_ns: stated_line_ns,
            min_lines: 10,
            max_lines: 9_000_000,
            latency: 2,
            exposure_margin: 0,
        };
        let mut dither = Dither::new(control, grid);
        let cut = |span: Span| (span.as_nanos_f64() / true_line_ns).floor() * true_line_ns;
        let mut under_way: VecDeque<Span> = std::iter::repeat_n(grid.period(), 6).collect();
        let (mut asked, mut taken, mut errors) = (grid.period(), 0.0, Vec::new());
        for frame in 1..=frames {
            let length = cut(under_way.pop_front().unwrap());
            taken += length;
            let reported = Span::from_nanos_f64((length / 1e3).round() * 1e3);
            asked = dither.next(reports.then_some(reported)).unwrap_or(asked);
            under_way.push_back(asked);
            let ideal = (grid.instant(frame) - grid.instant(0)).as_nanos_f64();
            errors.push(taken - ideal);
        }
        errors
    }

    #[test]
    fn with_known_line_times_the_error_stays_below_a_line() {
        for (line, rate) in
            [(18_904.0, (30, 1)), (13_361.0, (30_000, 1_001)), (26_290.0, (25, 1)), (1_000.0, (30, 1))]
        {
            let errors = errors(rate, line, line, false, 20_000);
            // The first frames are truncated, and not requested.
            let start = errors[6];
            let worst = errors[7..].iter().map(|error| (error - start).abs()).fold(0.0, f64::max);
            assert!(worst <= 2.0 * line, "{line} {rate:?}: {worst}");
            let mean_ppm = (errors[19_999] - start) / 20_000.0 / 33_333_333.0 * 1e6;
            assert!(mean_ppm.abs() < 0.1, "{line} {rate:?}: {mean_ppm} ppm");
        }
    }

    #[test]
    fn requested_microseconds_add_up_to_the_exact_rate() {
        for rate in [(30, 1), (30_000, 1_001), (25, 1), (120, 1)] {
            let grid = FrameGrid::new(rate.0, rate.1).unwrap();
            let control = FrameDurationControl {
                line_time_ns: 1_000.0,
                min_lines: 10,
                max_lines: 9_000_000,
                latency: 2,
                exposure_margin: 0,
            };
            let mut dither = Dither::new(control, grid);
            let (mut asked, mut sum) = (Span::ZERO, Span::ZERO);
            for frame in 1..=100_000 {
                asked = dither.next(None).unwrap_or(asked);
                sum += asked;
                let error = sum - (grid.instant(frame) - grid.instant(0));
                assert!(error.abs() <= Span::from_micros(1), "{rate:?}, frame {frame}: {error:?}");
            }
        }
    }

    #[test]
    fn unknown_line_times_are_compensated_by_reported_durations() {
        let error_ppm = |reports| {
            let errors = errors((30, 1), 1_000.0, 18_904.0, reports, 20_000);
            (errors[19_999] - errors[4_999]) / 15_000.0 / 33_333_333.0 * 1e6
        };
        assert!(
            error_ppm(false).abs() > 100.0,
            "or there would be nothing to make up for: {}",
            error_ppm(false)
        );
        assert!(error_ppm(true).abs() < 15.0, "{}", error_ppm(true));
    }

    #[test]
    fn a_camera_that_was_too_slow_does_not_race_afterwards() {
        let grid = FrameGrid::new(30, 1).unwrap();
        let control = FrameDurationControl {
            line_time_ns: 1e4,
            min_lines: 5_000,
            max_lines: 9_000,
            latency: 2,
            exposure_margin: 0,
        };
        let mut dither = Dither::new(control, grid);
        for _ in 0..1_000 {
            dither.next(Some(Span::from_millis(50)));
        }
        assert_eq!(dither.lines, 5_000);
        let mut dither = Dither::new(FrameDurationControl { min_lines: 100, ..control }, grid);
        for _ in 0..1_000 {
            dither.next(Some(Span::from_millis(50)));
        }
        let back: Vec<_> = (0..200).filter_map(|_| dither.next(Some(grid.period()))).collect();
        assert!(back.iter().all(|asked| *asked > Span::from_millis(30)), "{back:?}");
    }
}
