//! From a point of the panel to a point of the picture, and the blur on the way.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

/// Where the camera stands, and its lens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Pixels per pitch in the panel's middle.
    pub scale: f64,
    /// Distance of the camera, in pitches of the panel's LEDs.
    pub distance: f64,
    /// Angle between the line of sight and the normal of the panel.
    pub tilt: f64,
    /// Direction of the axis about which it is tilted.
    pub axis: f64,
    /// Turn about the line of sight.
    pub roll: f64,
    /// The picture is mirrored.
    pub mirrored: bool,
    /// The panel's middle in the picture, in pixels.
    pub centre: (f64, f64),
    /// Radial distortion at the corner of the picture, as a part of the distance from its middle.
    pub distortion: f64,
}

impl Pose {
    /// Where the panel's point is seen in a picture of this size.
    pub(super) fn project(&self, (x, y): (f64, f64), width: f64, height: f64) -> (f64, f64) {
        let (x, y) = (x - 5.0, y - 6.0);
        // Tilt: what is across the axis gets shorter, and one side of it nearer.
        let (sin, cos) = self.axis.sin_cos();
        let (along, across) = (x * cos + y * sin, y * cos - x * sin);
        let (far, across) = (across * self.tilt.sin(), across * self.tilt.cos());
        let (x, y) = (along * cos - across * sin, along * sin + across * cos);
        let (sin, cos) = self.roll.sin_cos();
        let (x, y) = (x * cos - y * sin, x * sin + y * cos);
        let scale = self.scale * self.distance / (self.distance + far);
        let x = if self.mirrored { -x } else { x };
        let (u, v) = (self.centre.0 + x * scale, self.centre.1 + y * scale);
        let (du, dv) = (u - width / 2.0, v - height / 2.0);
        let radius = (du * du + dv * dv) / (width * width + height * height) * 4.0;
        let factor = 1.0 + self.distortion * radius;
        (width / 2.0 + du * factor, height / 2.0 + dv * factor)
    }
}

/// How light is spread around the point where it should land, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Blur {
    /// Radius of the disc of a point out of focus.
    pub defocus: f64,
    /// Standard deviation of the lens's blur.
    pub soft: f64,
    /// Movement of the picture in a microsecond.
    pub motion: (f64, f64),
    /// Part of the light that the lens scatters widely, as a veil with a standard deviation of 8 pixels.
    pub veil: f64,
}

/// A light's point as it is spread over pixels; all parts together add up to 1.
pub(super) struct Kernel {
    /// Of each of its pixels.
    pub(super) sharp: Vec<(i32, i32, f64)>,
    /// Of the veil, which is so wide that the light counts as a point.
    pub(super) veil: Vec<(i32, i32, f64)>,
}

impl Blur {
    /// The kernel for this exposure, from random rays.
    #[expect(clippy::cast_possible_truncation, reason = "offsets of some pixels")]
    pub(super) fn kernel(&self, exposure_us: f64, seed: u64) -> Kernel {
        let rays = 12_000_u32;
        let mut rng = crate::noise::generator(seed, 11);
        let mut hits: [BTreeMap<(i32, i32), u32>; 2] = Default::default();
        for _ in 0..rays {
            let radius = self.defocus * rng.random::<f64>().sqrt();
            let angle = rng.random::<f64>() * std::f64::consts::TAU;
            let moved = exposure_us * (rng.random::<f64>() - 0.5);
            let veil = rng.random::<f64>() < self.veil;
            let spread = if veil { 8.0 } else { self.soft };
            let gauss = |rng: &mut _| -> f64 { spread * Distribution::<f64>::sample(&StandardNormal, rng) };
            let dx = radius * angle.cos() + self.motion.0 * moved + gauss(&mut rng);
            let dy = radius * angle.sin() + self.motion.1 * moved + gauss(&mut rng);
            *hits[usize::from(veil)].entry((dx.round() as i32, dy.round() as i32)).or_default() += 1;
        }
        let [sharp, veil] = hits
            .map(|hits| hits.into_iter().map(|((x, y), n)| (x, y, f64::from(n) / f64::from(rays))).collect());
        Kernel { sharp, veil }
    }
}
