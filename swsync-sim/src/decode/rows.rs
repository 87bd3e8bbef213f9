//! Fits a time to the light of a row of LEDs, as each picture row shows it.

use std::f64::consts::TAU;

use swsync_core::time::Span;

use super::picture::Picture;
use crate::num::real;
use crate::panel::{COLUMNS, PanelLayout, Rect, lit_fractions};
use crate::shutter::RowTiming;

/// What one picture row shows of ten LEDs.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowSample {
    /// The row of LEDs.
    pub(super) group: usize,
    /// Start of its exposure, in ns after the first row's.
    pub(super) after_ns: f64,
    /// Mean luma of each LED.
    pub(super) levels: [f64; COLUMNS],
}

/// Samples the picture rows of one row of LEDs; `led` gives the rectangle of each LED.
pub(super) fn sample_rows(
    picture: &Picture<'_>,
    layout: &PanelLayout,
    timing: RowTiming,
    group: usize,
    led: impl Fn(usize) -> Rect,
) -> Vec<RowSample> {
    let rows = layout.core(led(0));
    let sample = |y: usize| {
        let mut levels = [0.0; COLUMNS];
        for (column, level) in levels.iter_mut().enumerate() {
            let core = layout.core(led(column));
            let sum: f64 = (core.left..core.right()).map(|x| picture.at(x, y)).sum();
            *level = sum / real(core.width);
        }
        RowSample { group, after_ns: real(y) * timing.row_time_ns, levels }
    };
    (rows.top..rows.bottom()).map(sample).collect()
}

impl RowSample {
    /// Levels minus their mean.
    fn centred(&self) -> [f64; COLUMNS] {
        let mean = self.levels.iter().sum::<f64>() / real(COLUMNS);
        self.levels.map(|level| level - mean)
    }

    /// Sum of squared deviations from the row's mean.
    pub(super) fn variation(&self) -> f64 {
        self.centred().iter().map(|level| level * level).sum()
    }

    /// The circular centre of mass of the light: length, and angle. A full turn covers all columns; the middle of the first is at
    /// zero. An even background has no effect.
    pub(super) fn centre_of_mass(&self) -> (f64, f64) {
        let (mut re, mut im) = (0.0, 0.0);
        for (column, level) in self.levels.iter().enumerate() {
            let (sin, cos) = (TAU * real(column) / real(COLUMNS)).sin_cos();
            re += level * cos;
            im += level * sin;
        }
        (re.hypot(im), im.atan2(re))
    }

    /// The part of the row's variation that LEDs which are lit for `slot` in turn do not explain, if the exposure of the picture's
    /// first row starts at `start_ns`. Brightness (not negative) and background are fitted per row.
    pub(super) fn unexplained(&self, slot: Span, start_ns: f64, exposure_ns: f64) -> f64 {
        let lit = lit_fractions(slot, start_ns + self.after_ns, exposure_ns);
        let mean = 1.0 / real(COLUMNS);
        let (mut product, mut square) = (0.0, 0.0);
        for (level, lit) in self.centred().iter().zip(lit) {
            product += level * (lit - mean);
            square += (lit - mean) * (lit - mean);
        }
        let explained = if square > 1e-12 { product.max(0.0).powi(2) / square } else { 0.0 };
        self.variation() - explained
    }
}

/// Sum over all rows of the variation that a start at `start_ns` does not explain.
pub(super) fn cost(rows: &[RowSample], slot: Span, start_ns: f64, exposure_ns: f64) -> f64 {
    rows.iter().map(|row| row.unexplained(slot, start_ns, exposure_ns)).sum()
}

/// Brightness of each LED, if the exposure starts at `start_ns`: the slope of its level over its lit fraction, relative to the
/// row's mean.
pub(super) fn brightness(rows: &[RowSample], slot: Span, start_ns: f64, exposure_ns: f64) -> [f64; COLUMNS] {
    let (mut products, mut squares) = ([0.0; COLUMNS], [0.0; COLUMNS]);
    for row in rows {
        let lit = lit_fractions(slot, start_ns + row.after_ns, exposure_ns);
        for (column, (level, lit)) in row.centred().into_iter().zip(lit).enumerate() {
            let more = lit - 1.0 / real(COLUMNS);
            products[column] += level * more;
            squares[column] += more * more;
        }
    }
    std::array::from_fn(|column| products[column] / squares[column].max(1e-12))
}

/// The start within `reach_ns` of `start_ns` that explains the rows best, to 20 ns: first on a grid, then by golden section.
pub(super) fn refine(rows: &[RowSample], slot: Span, start_ns: f64, reach_ns: f64, exposure_ns: f64) -> f64 {
    const STEPS: usize = 24;
    const RESOLUTION_NS: f64 = 20.0;
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let at = |start: f64| cost(rows, slot, start, exposure_ns);
    let step = 2.0 * reach_ns / real(STEPS);
    let best = (0..=STEPS)
        .map(|k| start_ns - reach_ns + step * real(k))
        .map(|start| (at(start), start))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map_or(start_ns, |(_, start)| start);

    let (mut low, mut high) = (best - step, best + step);
    let (mut left, mut right) = (high - golden * (high - low), low + golden * (high - low));
    let (mut cost_left, mut cost_right) = (at(left), at(right));
    while high - low > RESOLUTION_NS {
        if cost_left < cost_right {
            (high, right, cost_right) = (right, left, cost_left);
            left = high - golden * (high - low);
            cost_left = at(left);
        } else {
            (low, left, cost_left) = (left, right, cost_right);
            right = low + golden * (high - low);
            cost_right = at(right);
        }
    }
    f64::midpoint(low, high)
}
