//! Which period of the fast array it was, by the slow row.

use super::fold::{PERIOD, Response, lit};
use super::sample::Strip;
use super::{COLUMNS, Unreadable};

/// Largest unexplained part of the slow row's power.
const MOST_MISFIT: f64 = 0.2;
/// The next best period must leave at least so much more unexplained.
const MARGIN: f64 = 0.4;
/// LEDs of the slow row that must be in the picture.
const LEAST_STRIPS: usize = 50;
/// How bright its LEDs are at least, as a part of the fast array's.
const LEAST_LIGHT: f64 = 0.5;
/// How much an LED's luma may differ from the model's, as a part of a lit one's: none may be dark that should shine.
const MOST_APART: f64 = 0.35;

/// The period's number, 0 to 9. `within` is the middle of the chosen row's exposure in the fast array's period, `amplitude` the
/// luma of the fast array's LEDs.
pub(super) fn period(
    slow: &[Strip],
    within: f64,
    readout: f64,
    response: &Response,
    amplitude: f64,
) -> Result<f64, Unreadable> {
    if slow.len() < LEAST_STRIPS {
        return Err(Unreadable::SlowRow);
    }
    let mut misfits = (0..10_u32)
        .map(|k| {
            let middle = within + PERIOD * f64::from(k);
            let clipped = misfit(slow, middle, readout, response, true, amplitude);
            let open = misfit(slow, middle, readout, response, false, amplitude);
            (clipped.min(open), f64::from(k))
        })
        .collect::<Vec<_>>();
    misfits.sort_by(|a, b| a.0.total_cmp(&b.0));
    match misfits[..] {
        [(least, k), (next, _), ..] if least < MOST_MISFIT && next > least + MARGIN => Ok(k),
        _ => Err(Unreadable::SlowRow),
    }
}

/// Unexplained part of the slow row's power. An LED of it may be brighter than one of the fast array, as it is lit for longer.
fn misfit(
    slow: &[Strip],
    middle: f64,
    readout: f64,
    response: &Response,
    clipped: bool,
    amplitude: f64,
) -> f64 {
    let most = response.exposure.recip().min(1.0);
    let mut models = Vec::with_capacity(slow.len());
    let (mut n, mut h, mut hh, mut v, mut vv, mut hv) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for strip in slow {
        let at = (middle + strip.below * readout) / PERIOD - strip.column;
        let part = lit(at, response.exposure / PERIOD);
        let light = if clipped { part.min(most) } else { part };
        let model = response.luma(light);
        models.push(model);
        n += 1.0;
        h += model;
        hh += model * model;
        v += strip.value;
        vv += strip.value * strip.value;
        hv += model * strip.value;
    }
    let (spread, common, total) = (hh - h * h / n, hv - h * v / n, vv - v * v / n);
    if spread < 1e-9 || total < 1e-9 || common <= 0.0 || common / spread < LEAST_LIGHT * amplitude {
        return 1.0;
    }
    let amplitude = common / spread;
    let dark = (v - amplitude * h) / n;
    let mut apart = [0.0; COLUMNS];
    let mut strips = [0.0; COLUMNS];
    for (strip, model) in slow.iter().zip(&models) {
        apart[strip.led] += strip.value - dark - amplitude * model;
        strips[strip.led] += 1.0;
    }
    if apart.iter().zip(strips).any(|(apart, n): (&f64, f64)| apart.abs() > MOST_APART * amplitude * n) {
        return 1.0;
    }
    1.0 - common * common / (spread * total)
}
