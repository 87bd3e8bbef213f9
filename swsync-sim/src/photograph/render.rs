//! The light on the sensor, before noise and response: 1 saturates.

use super::Setup;
use super::lights::{Drive, Light};
use crate::num::{index, real};

/// A bright disc of the surroundings, in front of the board: a lamp, or its reflection in the panel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disc {
    /// Its middle, in pixels.
    pub at: (f64, f64),
    /// Its radius, in pixels.
    pub radius: f64,
    /// Its brightness; 1 saturates.
    pub brightness: f64,
    /// Its edge is soft, over its whole radius.
    pub soft: bool,
}

/// A rectangle in front of the panel: a hand, a cable, a card.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Occluder {
    /// Its middle, in pixels.
    pub at: (f64, f64),
    /// Half of its width and height, in pixels.
    pub half: (f64, f64),
    /// Its turn.
    pub turn: f64,
    /// Its brightness; 1 saturates.
    pub brightness: f64,
}

/// What is seen besides the lights.
#[derive(Debug, Clone, PartialEq)]
pub struct Surroundings {
    /// Brightness of a white wall; 1 saturates.
    pub ambient: f64,
    /// Part of its light that the board reflects.
    pub board: f64,
    /// Part of its light that LEDs reflect in addition to the board.
    pub bodies: f64,
    /// Change of the ambient light across the picture, to the right and down.
    pub gradient: (f64, f64),
    /// Light that falls off towards the corners, for all light.
    pub vignette: f64,
    /// Patches of the wall: random rectangles, this many.
    pub patches: u32,
    /// Lamps and highlights.
    pub discs: Vec<Disc>,
    /// Things in front of the panel.
    pub occluders: Vec<Occluder>,
    /// A second image of the lights, reflected in glass: how far away in pixels, and its brightness.
    pub ghost: (f64, f64, f64),
}

/// Light of the panel's lights and of everything else, per pixel.
pub(super) struct Plane {
    pub(super) panel: Vec<f32>,
    pub(super) other: Vec<f32>,
}

pub(super) fn light(setup: &Setup, seed: u64) -> Plane {
    let mut light = Plane { panel: vec![0.0; setup.width * setup.height], other: surroundings(setup) };
    lights(setup, seed, &mut light);
    let (width, height) = (real(setup.width), real(setup.height));
    for y in 0..setup.height {
        for x in 0..setup.width {
            let at = y * setup.width + x;
            let (u, v) = (real(x) + 0.5, real(y) + 0.5);
            for occluder in &setup.surroundings.occluders {
                let hidden = occluder.covers(u, v);
                light.panel[at] *= 1.0 - hidden;
                light.other[at] = light.other[at] * (1.0 - hidden) + narrow(occluder.brightness) * hidden;
            }
            let (du, dv) = (u / width - 0.5, v / height - 0.5);
            let falloff = narrow(1.0 - setup.surroundings.vignette * 2.0 * (du * du + dv * dv));
            light.panel[at] *= falloff;
            light.other[at] *= falloff;
        }
    }
    light
}

impl Occluder {
    /// How much of a pixel it hides: its edge is two pixels wide.
    fn covers(&self, u: f64, v: f64) -> f32 {
        let (sin, cos) = self.turn.sin_cos();
        let (du, dv) = (u - self.at.0, v - self.at.1);
        let (a, b) = ((du * cos + dv * sin).abs(), (dv * cos - du * sin).abs());
        let inside = (self.half.0 - a).min(self.half.1 - b);
        narrow((inside / 2.0 + 0.5).clamp(0.0, 1.0))
    }
}

/// Wall, board and lamps.
fn surroundings(setup: &Setup) -> Vec<f32> {
    let s = &setup.surroundings;
    let (width, height) = (real(setup.width), real(setup.height));
    let edge = [(-2.3, -2.3), (12.3, -2.3), (12.3, 14.3), (-2.3, 14.3)]
        .map(|corner| setup.pose.project(corner, width, height));
    let patch = |i: u32| {
        let place = |series| crate::noise::uniform(crate::noise::hash(setup.board.seed, series, i.into()));
        (place(20) * width, place(21) * height, place(22) * width / 4.0, place(23) * height / 4.0, place(24))
    };
    let patches: Vec<_> = (0..s.patches).map(patch).collect();
    let mut plane = Vec::with_capacity(setup.width * setup.height);
    for y in 0..setup.height {
        for x in 0..setup.width {
            let (u, v) = (real(x) + 0.5, real(y) + 0.5);
            let ambient =
                s.ambient * (1.0 + s.gradient.0 * (u / width - 0.5) + s.gradient.1 * (v / height - 0.5));
            let albedo = if inside(&edge, u, v) {
                s.board
            } else {
                patches
                    .iter()
                    .rev()
                    .find(|p| (u - p.0).abs() < p.2 && (v - p.1).abs() < p.3)
                    .map_or(0.6, |p| 0.1 + 0.9 * p.4)
            };
            let mut light = ambient * albedo;
            for disc in &s.discs {
                let near = 1.0 - (u - disc.at.0).hypot(v - disc.at.1) / disc.radius;
                let part = if disc.soft { near.max(0.0) } else { (near * disc.radius + 0.5).clamp(0.0, 1.0) };
                light += disc.brightness * part;
            }
            plane.push(narrow(light));
        }
    }
    plane
}

/// Whether the point is inside of the convex polygon.
fn inside(edge: &[(f64, f64); 4], u: f64, v: f64) -> bool {
    let sides = (0..4).map(|i| {
        let ((a, b), (c, d)) = (edge[i], edge[(i + 1) % 4]);
        (c - a) * (v - b) - (d - b) * (u - a) > 0.0
    });
    let right = sides.filter(|&right| right).count();
    right == 0 || right == 4
}

fn lights(setup: &Setup, seed: u64, plane: &mut Plane) {
    let kernel = setup.blur.kernel(setup.rolling.exposure_us, seed);
    let mut times: Vec<(Drive, Vec<f32>)> = Vec::new();
    let brightest = setup.rolling.exposure_us.min(setup.board.slot_us);
    for light in setup.board.lights() {
        if !times.iter().any(|(drive, _)| *drive == light.drive) {
            let row = |y| {
                let start = setup.rolling.start_us + setup.row_us(real(y));
                let lit = setup.board.shines(light.drive, start, setup.rolling.exposure_us);
                // Markers are always lit: a driver would dim them in long exposures, so that they are as bright as the rest.
                let most = if light.drive == Drive::Always || light.drive == Drive::Code {
                    setup.rolling.exposure_us
                } else {
                    brightest
                };
                narrow(lit / most)
            };
            times.push((light.drive, (0..setup.height).map(row).collect()));
        }
        let Some((_, rows)) = times.iter().find(|(drive, _)| *drive == light.drive) else { continue };
        let footprint = footprint(setup, &light);
        let bodies = setup.surroundings.ambient * setup.surroundings.bodies;
        let (dx, dy, ghost) = setup.surroundings.ghost;
        let mut splat = |x: f64, y: f64, power: f64| {
            if let Some((at, row)) = pixel(setup, x, y) {
                plane.panel[at] += narrow(power * light.brightness * setup.sensor.level) * rows[row];
                plane.other[at] += narrow(power * bodies);
            }
            if ghost > 0.0
                && let Some((at, row)) = pixel(setup, x + dx, y + dy)
            {
                plane.panel[at] += narrow(power * ghost * light.brightness * setup.sensor.level) * rows[row];
            }
        };
        let (mut all, mut middle) = (0.0, (0.0, 0.0));
        for &(x, y, part) in &footprint {
            all += part;
            middle = (middle.0 + part * x, middle.1 + part * y);
            for &(kx, ky, weight) in &kernel.sharp {
                splat(x + f64::from(kx), y + f64::from(ky), part * weight);
            }
        }
        for &(kx, ky, weight) in &kernel.veil {
            splat(middle.0 / all + f64::from(kx), middle.1 / all + f64::from(ky), all * weight);
        }
    }
}

fn pixel(setup: &Setup, x: f64, y: f64) -> Option<(usize, usize)> {
    let inside = x >= 0.0 && y >= 0.0 && x < real(setup.width) && y < real(setup.height);
    inside.then(|| (index(y) * setup.width + index(x), index(y)))
}

/// The parts of pixels that the light covers, sharp: each pixel once, by its middle.
fn footprint(setup: &Setup, light: &Light) -> Vec<(f64, f64, f64)> {
    let (width, height) = (real(setup.width), real(setup.height));
    let radius = setup.board.radius;
    // About three rays per pixel and axis where the panel is nearest.
    let rays = index(radius * setup.pose.scale * 2.0 * 3.0).max(4);
    let step = 2.0 * radius / real(rays);
    // The area of the picture that a ray stands for; over one light it hardly changes.
    let place = |dx: f64, dy: f64| setup.pose.project((light.at.0 + dx, light.at.1 + dy), width, height);
    let ((u0, v0), (ux, vx), (uy, vy)) = (place(0.0, 0.0), place(0.01, 0.0), place(0.0, 0.01));
    let area = ((ux - u0) * (vy - v0) - (uy - u0) * (vx - v0)).abs() / 1e-4 * step * step;
    let mut hits = Vec::with_capacity(rays * rays);
    for i in 0..rays * rays {
        let dx = (real(i % rays) + 0.5) * step - radius;
        let dy = (real(i / rays) + 0.5) * step - radius;
        if !setup.board.square && dx.hypot(dy) > radius {
            continue;
        }
        let (u, v) = place(dx, dy);
        let late = setup.row_us(v) - setup.rolling.readout_us / 2.0;
        let (u, v) = (u + setup.blur.motion.0 * late, v + setup.blur.motion.1 * late);
        if u > -50.0 && v > -50.0 && u < width + 50.0 && v < height + 50.0 {
            hits.push((index(u + 64.0), index(v + 64.0)));
        }
    }
    hits.sort_unstable();
    hits.chunk_by(|a, b| a == b)
        .map(|same| (real(same[0].0) - 63.5, real(same[0].1) - 63.5, area * real(same.len())))
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "light is stored with less precision than it is computed"
)]
fn narrow(x: f64) -> f32 {
    x as f32
}
