//! The exposure that explains the LEDs best, and how well it is known. Times in slots of the fast array.

use super::find::Map;
use super::{COLUMNS, Luma, Panel, Shutter, Unreadable};

const PERIOD: f64 = COLUMNS as f64;
/// Steps of the middle of the exposure: 1/40 slot, 5 us on the paper's panel.
const STEPS: u32 = 400;
/// Floor of the uncertainty, in slots: half of a step, and the unequal LEDs. Chosen, not measured.
const FLOOR: f64 = 0.04;
/// Unexplained part of the power that any picture may have, as LEDs and optics are never as the model. Chosen.
const LEAST_MISFIT: f64 = 5e-3;
/// Strips of an LED: each is exposed at a time of its own.
const STRIPS: usize = 3;
/// Largest part of the LEDs' power that may be unexplained. Chosen.
const MISFIT: f64 = 0.12;
/// Least brightness of a row's LEDs together, above the dark.
const LEAST_LIGHT: f64 = 20.0;

/// One row of LEDs.
struct Row {
    /// Its place in the picture below the chosen row, per strip of an LED, as a fraction of the picture's height.
    below: [[f64; STRIPS]; COLUMNS],
    /// Brightness above the darkest LED of the row.
    light: [[f64; STRIPS]; COLUMNS],
}

/// The brightness of all LEDs.
pub(super) struct Lights {
    fast: Vec<Row>,
    slow: Option<Row>,
}

impl Lights {
    pub(super) fn sample(luma: &Luma, panel: &Panel, map: &Map, row: f64) -> Self {
        let read = |y: f64| -> Option<Row> {
            let mut found = Row { below: [[0.0; STRIPS]; COLUMNS], light: [[0.0; STRIPS]; COLUMNS] };
            for column in 0..COLUMNS {
                let x = column as f64 + 0.5;
                for strip in 0..STRIPS {
                    let y = y + 0.15 * (strip as f64 - 1.0);
                    found.below[column][strip] = map.apply((x, y)).1 / luma.height as f64 - row;
                    let mut sum = 0.0;
                    for i in 0..5_u32 {
                        let (u, v) = map.apply((x + 0.1 * (f64::from(i) - 2.0), y));
                        sum += luma.sample(u, v)?;
                    }
                    found.light[column][strip] = sum / 5.0;
                }
            }
            let dark = found.light.iter().flatten().copied().fold(f64::INFINITY, f64::min);
            found.light = found.light.map(|strips| strips.map(|light| light - dark));
            (found.light.iter().flatten().sum::<f64>() > LEAST_LIGHT * STRIPS as f64).then_some(found)
        };
        Self { fast: (0..COLUMNS).filter_map(|r| read(r as f64 + 0.5)).collect(), slow: read(panel.slow_y) }
    }
}

/// One guess of what is not known, but for the time.
#[derive(Clone, Copy)]
struct Guess {
    exposure: f64,
    readout: f64,
    gamma: f64,
    gain: f64,
}

pub(super) struct Fit {
    pub(super) middle: f64,
    pub(super) exposure: f64,
    pub(super) uncertainty: f64,
}

/// Part of an exposure during which the LED of `column` is lit; `middle` in slots of that LED's row.
fn lit(column: usize, middle: f64, exposure: f64) -> f64 {
    let until = |slots: f64| {
        let rounds = (slots / PERIOD).floor();
        rounds + (slots - rounds * PERIOD - column as f64).clamp(0.0, 1.0)
    };
    (until(middle + exposure / 2.0) - until(middle - exposure / 2.0)) / exposure
}

/// Unexplained part of the power of `rows`, if the LED is lit for `slot` and the chosen row's middle is `middle`.
fn misfit<'a>(rows: impl Iterator<Item = &'a Row>, slot: f64, middle: f64, guess: &Guess) -> f64 {
    let (mut mm, mut mv, mut vv) = (0.0, 0.0, 1e-9);
    let exposure = guess.exposure / slot;
    let most = exposure.recip().min(1.0);
    for row in rows {
        let strips = row.below.iter().zip(&row.light).enumerate();
        for (column, below, value) in
            strips.flat_map(|(c, (b, l))| b.iter().zip(l).map(move |(b, l)| (c, b, l)))
        {
            let part = lit(column, (middle + below * guess.readout) / slot, exposure) / most;
            let model = if part <= 0.0 { 0.0 } else { (part * guess.gain).min(1.0).powf(guess.gamma) };
            mm += model * model;
            mv += model * value;
            vv += value * value;
        }
    }
    if mm > 0.0 { (vv - mv * mv / mm) / vv } else { 1.0 }
}

fn guesses(panel: &Panel, shutter: &Shutter, readout: crate::time::Span) -> Vec<Guess> {
    let slots = |span: crate::time::Span| span.as_nanos_f64() / panel.fast_slot.as_nanos_f64();
    let exposures = shutter
        .exposure
        .map_or_else(|| (0..14).map(|i| 0.15 * 1.3_f64.powi(i)).collect(), |e| vec![slots(e)]);
    let mut all = Vec::new();
    for &exposure in &exposures {
        for gamma in [1.0, 0.45] {
            all.extend([1.0, 1.8, 3.0].map(|gain| Guess {
                exposure: exposure.max(0.01),
                readout: slots(readout),
                gamma,
                gain,
            }));
        }
    }
    all
}

pub(super) fn fit(lights: &Lights, panel: &Panel, shutter: &Shutter) -> Result<Fit, Unreadable> {
    let known_readout = shutter.readout.ok_or(Unreadable::Readout)?;
    let rows = lights.fast.len();
    if rows < 6 {
        return Err(Unreadable::Hidden { rows });
    }
    let mut tried = Vec::new();
    for guess in guesses(panel, shutter, known_readout) {
        for step in 0..STEPS {
            let middle = PERIOD * f64::from(step) / f64::from(STEPS);
            tried.push((misfit(lights.fast.iter(), 1.0, middle, &guess), middle, guess));
        }
    }
    let best = tried.iter().min_by(|a, b| a.0.total_cmp(&b.0)).copied().ok_or(Unreadable::SlowRow)?;
    if best.0.is_nan() || best.0 >= MISFIT {
        return Err(Unreadable::Mismatch { misfit: best.0 });
    }
    // The errors of a row's LEDs are alike, so that each row counts as one measurement of the noise.
    let scale = (best.0.max(LEAST_MISFIT) / rows as f64) * 2.0;
    let (mut total, mut shift, mut square, mut exposure) = (0.0, 0.0, 0.0, 0.0);
    for (misfit, middle, guess) in &tried {
        let weight = ((best.0 - misfit) / scale).exp();
        let apart = (middle - best.1 + PERIOD / 2.0).rem_euclid(PERIOD) - PERIOD / 2.0;
        total += weight;
        shift += weight * apart;
        square += weight * apart * apart;
        exposure += weight * guess.exposure;
    }
    let mean = shift / total;
    let uncertainty = (square / total - mean * mean).max(0.0).sqrt().hypot(FLOOR);
    if uncertainty.is_nan() || uncertainty >= 0.5 {
        let slot = panel.fast_slot;
        return Err(Unreadable::Ambiguous { uncertainty: slot.mul_f64(uncertainty) });
    }
    let exposure = exposure / total;
    let within = (best.1 + mean).rem_euclid(PERIOD);
    let guess = Guess { exposure, ..best.2 };
    let middle = within + PERIOD * period(lights.slow.as_ref(), within, &guess)?;
    Ok(Fit { middle, exposure, uncertainty })
}

/// Which period of the fast array it was, by the slow row: 0 to 9.
fn period(slow: Option<&Row>, within: f64, guess: &Guess) -> Result<f64, Unreadable> {
    let row = slow.ok_or(Unreadable::SlowRow)?;
    let mut misfits = (0..10_u32)
        .map(f64::from)
        .map(|k| (misfit(std::iter::once(row), PERIOD, within + PERIOD * k, guess), k))
        .collect::<Vec<_>>();
    misfits.sort_by(|a, b| a.0.total_cmp(&b.0));
    match misfits[..] {
        [(least, k), (next, _), ..] if least < 0.2 && next > least + 0.25 => Ok(k),
        _ => Err(Unreadable::SlowRow),
    }
}
