//! The brightness of the LEDs, in strips that were exposed at one time each.

use super::find::Found;
use super::map::Point;
use super::{COLUMNS, Luma, Panel};

/// Points per LED and axis. As many strips of as many points each.
const POINTS: usize = 5;
/// Distance of the points, in pitches.
const STEP: f64 = 0.09;

/// A strip of an LED.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strip {
    /// Its LED: row * 10 + column.
    pub(super) led: usize,
    /// Its LED's column, whose slot begins at this many slots.
    pub(super) column: f64,
    /// How far it is read out after the chosen row, as a part of the readout.
    pub(super) below: f64,
    /// Luma above the dark board.
    pub(super) value: f64,
    /// Its LED's place on the panel.
    pub(super) place: Point,
}

/// Strips of the fast array and of the slow row, as far as they are in the picture.
pub(super) fn strips(luma: &Luma, panel: &Panel, found: &Found, row: f64) -> (Vec<Strip>, Vec<Strip>) {
    let mut fast = Vec::new();
    let mut slow = Vec::new();
    for column in 0..COLUMNS {
        for r in 0..COLUMNS {
            sample(luma, found, row, (column, r, r as f64 + 0.5), &mut fast);
        }
        sample(luma, found, row, (column, 0, panel.slow_y), &mut slow);
    }
    (fast, slow)
}

fn sample(
    luma: &Luma,
    found: &Found,
    row: f64,
    (column, r, y): (usize, usize, f64),
    strips: &mut Vec<Strip>,
) {
    let x = column as f64 + 0.5;
    let height = luma.height as f64;
    let mut points = Vec::with_capacity(POINTS * POINTS);
    for i in 0..POINTS * POINTS {
        let offset = |i: usize| (i as f64 - (POINTS - 1) as f64 / 2.0) * STEP;
        let (u, v) = found.map.apply((x + offset(i % POINTS), y + offset(i / POINTS)));
        let Some(value) = luma.sample(u, v) else { return };
        // Row n of the picture has its middle at n + 0.5; the readout is from the first row to the last.
        points.push(((v - row * height) / (height - 1.0), value - found.dark));
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    for strip in points.chunks(POINTS) {
        let mean = |part: fn(&(f64, f64)) -> f64| strip.iter().map(part).sum::<f64>() / strip.len() as f64;
        strips.push(Strip {
            led: r * COLUMNS + column,
            column: column as f64,
            below: mean(|p| p.0),
            value: mean(|p| p.1),
            place: (x, y),
        });
    }
}
