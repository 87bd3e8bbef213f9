//! The lights of a panel: where they are and when they are lit.

use crate::num::{index, real};

/// What is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// As the paper's panel, with corner markers.
    Paper,
    /// A panel of another make, with `n` columns and rows and the same markers around.
    Grid(usize),
    /// The paper's LEDs, but the markers are elsewhere.
    OtherMarkers,
    /// Lights at random places.
    Scattered,
    /// Nothing that shines.
    Nothing,
}

/// The panel. Lengths are in pitches of its LEDs: the fast array is from (0, 0) to (10, 10).
#[derive(Debug, Clone, PartialEq)]
pub struct Board {
    /// What is built.
    pub layout: Layout,
    /// How long a column is lit.
    pub slot_us: f64,
    /// Time constants of the LEDs' going on and off.
    pub rise_us: f64,
    /// See `rise_us`.
    pub fall_us: f64,
    /// Part of their light that LEDs have while they are off.
    pub glow: f64,
    /// Radius of an LED.
    pub radius: f64,
    /// An LED is a square rather than a disc.
    pub square: bool,
    /// Brightness of the markers as part of an LED's.
    pub markers: f64,
    /// Spread of the LEDs' brightness.
    pub spread: f64,
    /// Part of the LEDs that are broken.
    pub dead: f64,
    /// Whether there is a code light.
    pub code: bool,
    /// What the LEDs' spread, the broken ones and scattered places are drawn from.
    pub seed: u64,
}

/// When a light is lit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drive {
    Always,
    /// Column of the fast array.
    Fast(usize),
    /// LED of the slow row.
    Slow(usize),
    /// One bit per period of the panel, of the sequence of 127 bits.
    Code,
}

pub(super) struct Light {
    pub(super) at: (f64, f64),
    pub(super) drive: Drive,
    pub(super) brightness: f64,
}

impl Board {
    /// Columns of the fast array.
    fn columns(&self) -> usize {
        if let Layout::Grid(n) = self.layout { n } else { 10 }
    }

    pub(super) fn lights(&self) -> Vec<Light> {
        let n = self.columns();
        let mut lights = Vec::new();
        let mut add = |x: f64, y: f64, drive, factor: f64| {
            let number = lights.len() as u64;
            let hash = |series| crate::noise::hash(self.seed, series, number);
            let dead = drive != Drive::Always && crate::noise::uniform(hash(1)) < self.dead;
            let spread = (1.0 + self.spread * crate::noise::gaussian(hash(2))).clamp(0.4, 1.8);
            let brightness = if dead { 0.0 } else { factor * spread };
            lights.push(Light { at: (x, y), drive, brightness });
        };
        let markers: &[(f64, f64)] = match self.layout {
            Layout::Nothing => return lights,
            Layout::Scattered => {
                for i in 0..60 {
                    let place = |series| crate::noise::uniform(crate::noise::hash(self.seed, series, i));
                    add(place(7) * 14.0 - 2.0, place(8) * 16.0 - 2.0, Drive::Always, 1.0);
                }
                return lights;
            }
            Layout::OtherMarkers => &[(-1.5, -1.5), (11.5, -1.5), (11.5, 13.5), (-1.5, 13.5), (5.0, -1.5)],
            Layout::Paper | Layout::Grid(_) => {
                &[(-1.5, -1.5), (11.5, -1.5), (11.5, 13.5), (-1.5, 13.5), (1.5, -1.5)]
            }
        };
        for &(x, y) in markers {
            add(x, y, Drive::Always, self.markers);
        }
        let pitch = 10.0 / real(n);
        for column in 0..n {
            let x = (real(column) + 0.5) * pitch;
            for row in 0..n {
                add(x, (real(row) + 0.5) * pitch, Drive::Fast(column), 1.0);
            }
            add(x, 11.5, Drive::Slow(column), 1.0);
        }
        if self.code {
            add(5.0, 13.5, Drive::Code, self.markers);
        }
        lights
    }

    /// For how many microseconds' worth of full light a light shines from `start` for `length` microseconds.
    pub(super) fn shines(&self, drive: Drive, start: f64, length: f64) -> f64 {
        let columns = real(self.columns());
        let (slot, place) = match drive {
            Drive::Always => return length,
            Drive::Fast(column) => (self.slot_us, column),
            Drive::Slow(column) => (self.slot_us * columns, column),
            Drive::Code => return self.code_shines(start, length),
        };
        let lit = self.pulse(start - real(place) * slot, length, slot, slot * columns);
        lit + self.glow * (length - lit)
    }

    /// Light between `start` and `start + length` of pulses that begin at 0 and every `period`, and last for `on`.
    fn pulse(&self, start: f64, length: f64, on: f64, period: f64) -> f64 {
        // From the pulse's beginning, the light until `t`: it rises and falls exponentially.
        let until = |t: f64| {
            let up = |t: f64| t - self.rise_us * (1.0 - (-t / self.rise_us).exp());
            if t <= 0.0 {
                0.0
            } else if t <= on {
                up(t)
            } else {
                let level = 1.0 - (-on / self.rise_us).exp();
                up(on) + level * self.fall_us * (1.0 - (-(t - on) / self.fall_us).exp())
            }
        };
        let first = (start / period).floor() - 1.0;
        let pulses = index((length / period).ceil()) + 3;
        (0..pulses)
            .map(|i| {
                let begins = (first + real(i)) * period;
                until(start + length - begins) - until(start - begins)
            })
            .sum()
    }

    fn code_shines(&self, start: f64, length: f64) -> f64 {
        let period = self.slot_us * 100.0;
        let bits = code();
        let steps = 200;
        let lit = (0..steps).filter(|&i| {
            let at = start + length * (real(i) + 0.5) / real(steps);
            bits[index((at / period).rem_euclid(127.0)).min(126)]
        });
        length * real(lit.count()) / real(steps)
    }
}

/// The sequence of the code light: bit n+7 is the sum of bits n and n+1, after seven ones.
fn code() -> [bool; 127] {
    let mut bits = [true; 127];
    for n in 7..127 {
        bits[n] = bits[n - 7] ^ bits[n - 6];
    }
    bits
}
