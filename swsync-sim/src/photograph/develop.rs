//! From light to luma: saturation per colour, noise, tone curve, sharpening.

use rand_distr::{Distribution, StandardNormal};

use super::Setup;
use super::render::Plane;
use crate::num::byte;

/// How the camera maps light to luma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// In proportion.
    Linear,
    /// As sRGB and video do.
    Gamma,
    /// As phones do: a gamma with more contrast, dark parts darker and bright ones compressed.
    Curve,
}

/// The sensor and its processing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sensor {
    /// Brightness of an LED that is lit for the whole exposure (or as long as it is ever); 1 saturates.
    pub level: f64,
    /// Electrons at saturation; fewer with more gain.
    pub electrons: f64,
    /// Noise of reading a pixel, in electrons.
    pub read_noise: f64,
    /// Luma of no light.
    pub black: f64,
    /// The tone curve.
    pub tone: Tone,
    /// The LEDs' light in red, green and blue; the brightest is 1.
    pub colour: [f64; 3],
    /// Strength of the sharpening (unsharp mask): 0 for none.
    pub sharpen: f64,
    /// Part of the pixels that are always bright.
    pub hot: f64,
}

pub(super) fn develop(setup: &Setup, light: &Plane, seed: u64) -> Vec<u8> {
    let sensor = &setup.sensor;
    let mut rng = crate::noise::generator(seed, 12);
    // The tone curve as a table: pictures have many pixels.
    let table: Vec<f64> = (0..=1024_u32).map(|i| tone(sensor.tone, f64::from(i) / 1024.0)).collect();
    let mut luma = Vec::with_capacity(light.panel.len());
    for (i, (&panel, &other)) in light.panel.iter().zip(&light.other).enumerate() {
        let mut sum = 0.0;
        for (part, weight) in sensor.colour.into_iter().zip([0.299, 0.587, 0.114]) {
            let electrons = (f64::from(panel) * part + f64::from(other)) * sensor.electrons;
            let noise: f64 = StandardNormal.sample(&mut rng);
            let electrons = electrons + noise * (electrons + sensor.read_noise * sensor.read_noise).sqrt();
            let value = (electrons / sensor.electrons).clamp(0.0, 1.0);
            sum += weight * table[crate::num::index(value * 1024.0 + 0.5)];
        }
        if crate::noise::uniform(crate::noise::hash(setup.board.seed, 30, i as u64)) < sensor.hot {
            sum = 1.0;
        }
        luma.push(sensor.black + (255.0 - sensor.black) * sum);
    }
    if sensor.sharpen > 0.0 {
        luma = sharpen(&luma, setup.width, setup.height, sensor.sharpen);
    }
    luma.into_iter().map(byte).collect()
}

fn tone(tone: Tone, light: f64) -> f64 {
    let gamma = if light < 0.003_130_8 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
    match tone {
        Tone::Linear => light,
        Tone::Gamma => gamma,
        Tone::Curve => gamma + 0.25 * (gamma * gamma * (3.0 - 2.0 * gamma) - gamma),
    }
}

/// Adds `strength` times the difference to the mean of the pixels around.
fn sharpen(luma: &[f64], width: usize, height: usize, strength: f64) -> Vec<f64> {
    let mut out = luma.to_vec();
    for y in 1..height - 1 {
        for x in 1..width - 1 {
            let at = y * width + x;
            let around: f64 = [
                at - width - 1,
                at - width,
                at - width + 1,
                at - 1,
                at + 1,
                at + width - 1,
                at + width,
                at + width + 1,
            ]
            .into_iter()
            .map(|at| luma[at])
            .sum();
            out[at] = (luma[at] + strength * (luma[at] - around / 8.0)).clamp(0.0, 255.0);
        }
    }
    out
}
