//! Brightness over the phase of the fast array, and what it should be.

use super::sample::Strip;

/// Slots of a period.
pub(super) const PERIOD: f64 = 10.0;
/// Bins of a period: 24 a slot, 8 us on the paper's panel.
pub(super) const BINS: usize = 240;

/// How an exposure becomes luma, as far as it is not known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Response {
    /// In slots.
    pub(super) exposure: f64,
    pub(super) gamma: f64,
    /// How many times the light at which luma is clipped; 1 for no clipping.
    pub(super) gain: f64,
}

impl Response {
    /// Luma of an LED, for the part of the exposure during which it is lit, as a part of the luma of one lit all the time that it can be.
    pub(super) fn luma(&self, lit: f64) -> f64 {
        let light = lit / self.exposure.recip().min(1.0) * self.gain;
        let clipped = if self.gain > 1.0 { light.min(1.0) } else { light };
        if clipped <= 0.0 { 0.0 } else { clipped.powf(self.gamma) }
    }
}

/// Part of an exposure during which an LED is lit whose slot begins at 0. Times in slots: the exposure's middle, and its length.
pub(super) fn lit(middle: f64, exposure: f64) -> f64 {
    let until = |slots: f64| {
        let rounds = (slots / PERIOD).floor();
        rounds + (slots - rounds * PERIOD).clamp(0.0, 1.0)
    };
    (until(middle + exposure / 2.0) - until(middle - exposure / 2.0)) / exposure
}

/// Luma over the phase for one response: two periods, so that every shift is a slice.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pub(super) response: Response,
    values: Vec<f64>,
    squares: Vec<f64>,
}

impl Template {
    pub(super) fn new(response: Response) -> Self {
        let values: Vec<f64> = (0..2 * BINS)
            .map(|bin| response.luma(lit(bin as f64 * PERIOD / BINS as f64, response.exposure)))
            .collect();
        let squares = values.iter().map(|v| v * v).collect();
        Self { response, values, squares }
    }
}

/// The strips by the phase at which their column goes on, relative to the chosen row's exposure.
#[derive(Debug, Clone)]
pub(super) struct Fold {
    counts: Vec<f64>,
    sums: Vec<f64>,
    weight: f64,
    sum: f64,
    square: f64,
}

/// How well a template at a shift explains the strips.
#[derive(Debug, Clone, Copy)]
pub(super) struct Match {
    /// Unexplained sum of squares.
    pub(super) rest: f64,
    /// Luma of an LED fully lit, above `dark`.
    pub(super) amplitude: f64,
    pub(super) dark: f64,
}

impl Fold {
    /// The strips that `keep` takes, with a readout of `readout` slots.
    pub(super) fn new(strips: &[Strip], readout: f64, keep: impl Fn(&Strip) -> bool) -> Self {
        let mut fold =
            Self { counts: vec![0.0; BINS], sums: vec![0.0; BINS], weight: 0.0, sum: 0.0, square: 0.0 };
        for strip in strips.iter().filter(|strip| keep(strip)) {
            let phase = (strip.below * readout - strip.column).rem_euclid(PERIOD) / PERIOD * BINS as f64;
            let bin = phase as usize;
            let part = phase - bin as f64;
            for (bin, part) in [(bin % BINS, 1.0 - part), ((bin + 1) % BINS, part)] {
                fold.counts[bin] += part;
                fold.sums[bin] += part * strip.value;
            }
            fold.weight += 1.0;
            fold.sum += strip.value;
            fold.square += strip.value * strip.value;
        }
        fold
    }

    /// Sum of squares of the values about their mean.
    pub(super) fn total(&self) -> f64 {
        self.square - self.sum * self.sum / self.weight.max(1.0)
    }

    /// Unexplained sum of squares if every bin of 8 (a third of a slot) may have any value.
    pub(super) fn scatter(&self) -> f64 {
        let explained: f64 = self
            .counts
            .chunks(8)
            .zip(self.sums.chunks(8))
            .map(|(n, s)| {
                let (n, s) = (n.iter().sum::<f64>(), s.iter().sum::<f64>());
                if n > 0.0 { s * s / n } else { 0.0 }
            })
            .sum();
        self.square - explained
    }

    /// The template, shifted by `shift` bins.
    pub(super) fn compare(&self, template: &Template, shift: usize) -> Match {
        let values = &template.values[shift..shift + BINS];
        let squares = &template.squares[shift..shift + BINS];
        let (h, hh, sh) = (dot(&self.counts, values), dot(&self.counts, squares), dot(&self.sums, values));
        let weight = self.weight.max(1.0);
        let (spread, common) = (hh - h * h / weight, sh - self.sum * h / weight);
        let amplitude = if spread > 1e-9 { (common / spread).max(0.0) } else { 0.0 };
        Match {
            rest: self.total() - amplitude * common,
            amplitude,
            dark: (self.sum - amplitude * h) / weight,
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum()
}
