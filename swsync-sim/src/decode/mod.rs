//! Reads the true time back out of a picture of the LED panel, independently of any timestamp.
//!
//! The result is the frame's time: the start of exposure of the first row, modulo one second.
//!
//! 1. The fast array gives it modulo 2 ms. Each picture row through an LED row shows ten intensities. Their circular centre of
//!    mass is the middle of that row's exposure, to within half a slot. Minus the row's delay, all rows agree on one start (their
//!    vector mean); rows that contradict it are left out. Least squares then find the start that explains all intensities best.
//!    Partially lit LEDs give fractions of a slot, as in the paper.
//! 2. The slow row tells which 2 ms of 20 ms: those that explain its intensities best.
//! 3. The ball tells which 20 ms of the second, by its angle around the hub.
//!
//! An unclear step is an error; the decoder never guesses.
//!
//! # Precision
//!
//! Measured with `examples/decode_precision.rs`: error of 100 random pictures each (all sensors, four
//! views, the scene's noise) after JPEG at quality 85, median / largest, in us:
//!
//! | exposure | 160x120 | 320x240 | 640x480 | 1920x1080 |
//! | --- | --- | --- | --- | --- |
//! | 95 us | 0.3 / 0.8 | 0.06 / 0.3 | 0.02 / 0.1 | 0.01 / 0.04 |
//! | 500 us | 0.4 / 2.2 | 0.13 / 0.7 | 0.07 / 0.2 | 0.03 / 0.1 |
//! | 1 ms | 1.6 / 4.9 | 0.4 / 1.6 | 0.15 / 0.6 | 0.07 / 0.2 |
//! | 1.5 ms | 2.4 / 6.1 | 0.4 / 1.8 | 0.15 / 0.8 | 0.07 / 0.3 |
//! | 1.9 ms | 3.6 / 17 | 1.2 / 6.2 | 0.4 / 1.6 | 0.14 / 0.7 |
//!
//! An LED that is fully lit during the exposure gives no information, but some row always sees an edge. Longer exposures spread
//! the light over more columns. At 2 ms, the array's period, all columns look alike, so exposures of 2 ms and more are refused.
//! The exposure has to be known: half of its error goes into the result. So does the row time's error, times the number of rows
//! above the panel's middle. Beyond 0.2 % or so, the halves of the panel show different times, which is an error.

mod orbit;
mod picture;
mod rows;

use std::f64::consts::TAU;

use swsync_core::time::{Host, Span, Timestamp};

pub use picture::{Picture, PictureError};

use crate::num::real;
use crate::panel::{COLUMNS, FAST_PERIOD, FAST_SLOT, PERIOD, PanelLayout, ROWS, SLOW_PERIOD, SLOW_SLOT};
use crate::shutter::RowTiming;
use rows::RowSample;

/// Exposures of this length and more do not show the fast array: its period.
pub const EXPOSURE_LIMIT: Span = FAST_PERIOD;

/// Share of the intensities' variation that the panel must explain. Noise alone reaches 0.2.
const LEAST_FIT: f64 = 0.6;
/// Root mean square variation between columns below which there is no panel, in luma levels.
const LEAST_VARIATION: f64 = 1.0;
/// Share of the panel's rows that must agree.
const LEAST_AGREEMENT: f64 = 0.5;
/// Number of the ten columns that may be dark or hidden.
const MOST_DEAD: usize = 2;
/// A row whose centre of mass is further than this from the others' start is left out, in ns: one and a half slots. The centre of
/// mass of a short exposure may be half a slot off.
const FURTHEST_ROW: f64 = 300_000.0;
/// Largest difference between the ball and the panel, in ns. Half of 20 ms would be ambiguous.
const FURTHEST_BALL: f64 = 8_000_000.0;
/// Least uncertainty of a reading, in ns, from the rounding of rows and exposures.
const FLOOR: f64 = 500.0;

/// Why the time of a picture cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The picture is not of the layout's size.
    #[error("a picture of {got_width}x{got_height} where {width}x{height} was expected")]
    Size {
        /// Its columns.
        got_width: usize,
        /// Its rows.
        got_height: usize,
        /// The layout's columns.
        width: usize,
        /// The layout's rows.
        height: usize,
    },
    /// The exposure is too long, or not positive.
    #[error("an exposure of {exposure:?}: it has to be positive and below {EXPOSURE_LIMIT:?}")]
    Exposure {
        /// The exposure.
        exposure: Span,
    },
    /// The row time is not positive.
    #[error("a row time of {row_time_ns} ns")]
    RowTime {
        /// The row time.
        row_time_ns: f64,
    },
    /// There is no fast array, or it does not fit this exposure and row time.
    #[error("no LED panel: contrast {contrast:.1} levels, fit {fit:.2}, {agreement:.2} of the rows agree")]
    NoPanel {
        /// Root mean square difference between the columns of a row, in luma levels.
        contrast: f64,
        /// Share of the variation that the best time explains.
        fit: f64,
        /// Share of the rows that agree on a time.
        agreement: f64,
    },
    /// The halves of the fast array show different times: the row time is wrong, so the first row's time cannot be extrapolated.
    #[error("the panel's lower half is {apart:?} later than the upper one: is the row time right?")]
    HalvesDisagree {
        /// The lower half's start of the first row minus the upper half's.
        apart: Span,
    },
    /// The slow row is unclear.
    #[error("the slow LEDs are unclear: fit {fit:.2}, the next best {next:.2}")]
    NoSlowRow {
        /// Share of the variation that the best 2 ms explain.
        fit: f64,
        /// Share of the variation that the second best 2 ms explain.
        next: f64,
    },
    /// There is no hub, or no ball on its orbit.
    #[error("no ball on its orbit")]
    NoBall,
    /// The ball contradicts the panel.
    #[error("the ball is {apart:?} from where the LEDs put it")]
    BallElsewhere {
        /// Their difference, as a time.
        apart: Span,
    },
}

/// The time read from a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PanelReading {
    /// Start of exposure of the first row: true time modulo one second ([`PERIOD`]), in `[0, 1 s)`.
    pub time: Span,
    /// Standard error, from the differences of the ten rows of LEDs (a jackknife).
    pub uncertainty: Span,
    /// Share of the intensities' variation that this time explains, up to 1.
    pub fit: f64,
    /// Number of picture rows that were used.
    pub rows: usize,
}

impl PanelReading {
    /// The instant nearest to `guess` with this reading.
    #[must_use]
    pub fn nearest(&self, guess: Timestamp<Host>) -> Timestamp<Host> {
        let there = Span::from_nanos(guess.as_nanos().rem_euclid(PERIOD.as_nanos()));
        guess + fold(self.time - there)
    }
}

/// `a` minus `b`, in (-0.5 s, 0.5 s].
#[must_use]
pub fn difference(a: &PanelReading, b: &PanelReading) -> Span {
    fold(a.time - b.time)
}

/// Reduces a difference of times to (-period/2, period/2].
fn fold(span: Span) -> Span {
    let period = PERIOD.as_nanos();
    let folded = span.as_nanos().rem_euclid(period);
    Span::from_nanos(if folded > period / 2 { folded - period } else { folded })
}

/// Reads the time of a picture's first row.
///
/// # Errors
/// [`DecodeError`] if the picture does not show a time clearly.
pub fn decode(
    picture: &Picture<'_>,
    layout: &PanelLayout,
    timing: RowTiming,
) -> Result<PanelReading, DecodeError> {
    let (got_width, got_height) = picture.size();
    let (width, height) = (layout.width(), layout.height());
    if (got_width, got_height) != (width, height) {
        return Err(DecodeError::Size { got_width, got_height, width, height });
    }
    if timing.exposure <= Span::ZERO || timing.exposure >= EXPOSURE_LIMIT {
        return Err(DecodeError::Exposure { exposure: timing.exposure });
    }
    if !(timing.row_time_ns.is_finite() && timing.row_time_ns > 0.0) {
        return Err(DecodeError::RowTime { row_time_ns: timing.row_time_ns });
    }
    let fast = read_fast(picture, layout, timing)?;
    let within_20ms = fast.start_ns + read_slow(picture, layout, timing, fast.start_ns)?;
    let ball = orbit::find_ball(picture, layout).ok_or(DecodeError::NoBall)?;

    // The start of the first row's exposure, by the ball alone.
    let by_ball = ball.angle / TAU * PERIOD.as_nanos_f64()
        - ball.row * timing.row_time_ns
        - timing.exposure.as_nanos_f64() / 2.0;
    let rounds = ((by_ball - within_20ms) / SLOW_PERIOD.as_nanos_f64()).round();
    let start = within_20ms + rounds * SLOW_PERIOD.as_nanos_f64();
    if (start - by_ball).abs() > FURTHEST_BALL {
        return Err(DecodeError::BallElsewhere { apart: Span::from_nanos_f64(start - by_ball) });
    }
    let time = Span::from_nanos_f64(start).as_nanos().rem_euclid(PERIOD.as_nanos());
    Ok(PanelReading {
        time: Span::from_nanos(time),
        uncertainty: Span::from_nanos_f64(fast.uncertainty_ns),
        fit: fast.fit,
        rows: fast.rows,
    })
}

/// The result of the fast array.
struct Fast {
    /// Start of exposure of the first row, modulo 2 ms.
    start_ns: f64,
    uncertainty_ns: f64,
    fit: f64,
    rows: usize,
}

fn read_fast(picture: &Picture<'_>, layout: &PanelLayout, timing: RowTiming) -> Result<Fast, DecodeError> {
    let exposure = timing.exposure.as_nanos_f64();
    let all: Vec<RowSample> = (0..ROWS)
        .flat_map(|row| {
            rows::sample_rows(picture, layout, timing, row, |column| layout.fast_led(column, row))
        })
        .collect();
    let variation = |rows: &[RowSample]| rows.iter().map(RowSample::variation).sum::<f64>();
    let contrast = (variation(&all) / real(all.len() * COLUMNS)).sqrt();

    let rough = vector_mean(&all, exposure);
    let agreeing: Vec<RowSample> = all
        .iter()
        .filter(|row| (row_start(row, exposure) - rough).abs_within(FAST_PERIOD) < FURTHEST_ROW)
        .copied()
        .collect();
    let agreement = real(agreeing.len()) / real(all.len());
    let no_panel = |fit: f64| DecodeError::NoPanel { contrast, fit, agreement };
    if contrast < LEAST_VARIATION || agreement < LEAST_AGREEMENT {
        return Err(no_panel(0.0));
    }
    let first = rows::refine(&agreeing, FAST_SLOT, rough, 120_000.0, exposure);
    // Check this before removing outliers: with a wrong row time, the top and bottom rows are outliers.
    if let Some(apart_ns) = halves_apart(&agreeing, first, exposure) {
        return Err(DecodeError::HalvesDisagree { apart: Span::from_nanos_f64(apart_ns) });
    }
    let kept = without_outliers(agreeing, first, exposure);
    let start_ns = rows::refine(&kept, FAST_SLOT, first, 20_000.0, exposure);
    let fit = 1.0 - rows::cost(&kept, FAST_SLOT, start_ns, exposure) / variation(&kept);
    if fit.is_nan() || fit < LEAST_FIT || dead_columns(&kept, start_ns, exposure) > MOST_DEAD {
        return Err(no_panel(fit));
    }
    let uncertainty_ns = jackknife(&kept, start_ns, exposure).hypot(FLOOR);
    Ok(Fast { start_ns, uncertainty_ns, fit, rows: kept.len() })
}

/// Start of the first row's exposure, from one row's centre of mass.
fn row_start(row: &RowSample, exposure_ns: f64) -> f64 {
    let (_, angle) = row.centre_of_mass();
    // The middle of column 0 is half a slot into the period; the middle of the light is the middle of the exposure.
    let middle = angle / TAU * FAST_PERIOD.as_nanos_f64() + FAST_SLOT.as_nanos_f64() / 2.0;
    middle - exposure_ns / 2.0 - row.after_ns
}

/// The rows' common start: the vector mean of their centres of mass, in which faint rows count little.
fn vector_mean(rows: &[RowSample], exposure_ns: f64) -> f64 {
    let turn = TAU / FAST_PERIOD.as_nanos_f64();
    let (re, im) = rows.iter().fold((0.0, 0.0), |(re, im), row| {
        let (length, _) = row.centre_of_mass();
        let (sin, cos) = (row_start(row, exposure_ns) * turn).sin_cos();
        (re + length * cos, im + length * sin)
    });
    im.atan2(re) / turn
}

/// Removes the rows that `start_ns` explains far worse than most: something covers the panel there.
fn without_outliers(rows: Vec<RowSample>, start_ns: f64, exposure_ns: f64) -> Vec<RowSample> {
    const TOLERANCE: f64 = 9.0; // three times the median deviation
    const ALLOWANCE: f64 = 20.0; // of compression, in squared levels
    let left_by = |row: &RowSample| row.unexplained(FAST_SLOT, start_ns, exposure_ns);
    let mut left: Vec<f64> = rows.iter().map(left_by).collect();
    left.sort_by(f64::total_cmp);
    let limit = TOLERANCE * left.get(left.len() / 2).copied().unwrap_or(0.0) + ALLOWANCE;
    rows.into_iter().filter(|row| left_by(row) <= limit).collect()
}

/// Number of columns that do not light up when they should, because the panel is not at its place.
fn dead_columns(rows: &[RowSample], start_ns: f64, exposure_ns: f64) -> usize {
    let brightness = rows::brightness(rows, FAST_SLOT, start_ns, exposure_ns);
    let brightest = brightness.into_iter().fold(0.0, f64::max);
    brightness.into_iter().filter(|level| *level < brightest / 3.0).count()
}

/// The start by the lower half of the array minus the start by the upper half, if two starts explain the light notably better than
/// one.
fn halves_apart(rows: &[RowSample], start_ns: f64, exposure_ns: f64) -> Option<f64> {
    const NOTABLE: f64 = 0.75; // of the unexplained light left; noise alone leaves all but a percent
    const LEAST_APART: f64 = 10_000.0;
    let (upper, lower): (Vec<RowSample>, Vec<RowSample>) = rows.iter().partition(|row| row.group < ROWS / 2);
    let start = |half: &[RowSample]| rows::refine(half, FAST_SLOT, start_ns, 150_000.0, exposure_ns);
    let (upper_start, lower_start) = (start(&upper), start(&lower));
    let cost = |half: &[RowSample], start: f64| rows::cost(half, FAST_SLOT, start, exposure_ns);
    let together = cost(rows, start_ns);
    let apart = cost(&upper, upper_start) + cost(&lower, lower_start);
    let notable = (lower_start - upper_start).abs() > LEAST_APART && apart < NOTABLE * together;
    (notable && !upper.is_empty() && !lower.is_empty()).then_some(lower_start - upper_start)
}

/// Standard error of the start, by leaving out one row of LEDs at a time.
fn jackknife(rows: &[RowSample], start_ns: f64, exposure_ns: f64) -> f64 {
    let without = |group: usize| {
        let others: Vec<RowSample> = rows.iter().filter(|row| row.group != group).copied().collect();
        rows::refine(&others, FAST_SLOT, start_ns, 20_000.0, exposure_ns) - start_ns
    };
    let shifts: Vec<f64> = (0..ROWS).map(without).collect();
    let mean = shifts.iter().sum::<f64>() / real(ROWS);
    let squares: f64 = shifts.iter().map(|shift| (shift - mean).powi(2)).sum();
    (squares * real(ROWS - 1) / real(ROWS)).sqrt()
}

/// The 2 ms of the slow row's 20 ms, as ns to add to a start that is known modulo 2 ms.
fn read_slow(
    picture: &Picture<'_>,
    layout: &PanelLayout,
    timing: RowTiming,
    start_ns: f64,
) -> Result<f64, DecodeError> {
    let exposure = timing.exposure.as_nanos_f64();
    let rows = rows::sample_rows(picture, layout, timing, 0, |column| layout.slow_led(column));
    let variation: f64 = rows.iter().map(RowSample::variation).sum();
    let mut fits: Vec<(f64, f64)> = (0..COLUMNS)
        .map(|turn| real(turn) * SLOW_SLOT.as_nanos_f64())
        .map(|later| (1.0 - rows::cost(&rows, SLOW_SLOT, start_ns + later, exposure) / variation, later))
        .collect();
    fits.sort_by(|a, b| b.0.total_cmp(&a.0));
    let [(fit, later), (next, _), ..] = fits[..] else {
        return Err(DecodeError::NoSlowRow { fit: 0.0, next: 0.0 });
    };
    if variation < LEAST_VARIATION * real(rows.len()) || fit.is_nan() || fit < LEAST_FIT || fit - next < 0.2 {
        return Err(DecodeError::NoSlowRow { fit, next });
    }
    Ok(later)
}

/// Distance on a circle.
trait Circular {
    fn abs_within(self, period: Span) -> f64;
}

impl Circular for f64 {
    fn abs_within(self, period: Span) -> f64 {
        let turns = self / period.as_nanos_f64();
        (turns - turns.round()).abs() * period.as_nanos_f64()
    }
}

#[cfg(test)]
mod tests;
