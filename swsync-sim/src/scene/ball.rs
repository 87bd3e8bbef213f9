//! The ball on its orbit.

use swsync_core::time::Span;

use crate::num::{byte, index, real};
use crate::panel::{self, PERIOD, PanelLayout, ball_angle};
use crate::shutter::Shutter;

use super::paint::{self, Rgb};
use super::view::View;

const BALL: Rgb = [255.0, 196.0, 48.0];
const BALL_LIT: Rgb = [255.0, 236.0, 170.0];

/// The ball: its orbit and its looks.
#[derive(Debug, Clone)]
pub(super) struct Ball {
    /// Centre of its orbit, and radii, in pixels.
    centre: (f64, f64),
    orbit: f64,
    radius: f64,
    /// Luma at its edge and where the light falls on it.
    y: f64,
    y_lit: f64,
    pub(super) u: f64,
    pub(super) v: f64,
    /// Time in which it moves half a pixel, in ns.
    half_pixel_ns: f64,
}

impl Ball {
    pub(super) fn new(layout: &PanelLayout, view: &View) -> Self {
        let orbit = layout.orbit();
        let [_, u, v] = paint::yuv(BALL, view);
        Self {
            centre: (orbit.centre.0 + view.parallax * orbit.max_parallax, orbit.centre.1),
            orbit: orbit.radius,
            radius: orbit.ball,
            y: f64::from(paint::luma(BALL, view)),
            y_lit: f64::from(paint::luma(BALL_LIT, view)),
            u,
            v,
            half_pixel_ns: PERIOD.as_nanos_f64() / (std::f64::consts::TAU * orbit.radius) / 2.0,
        }
    }

    /// Draws the ball into row `y` of the luma plane.
    pub(super) fn draw_luma(&self, shutter: &Shutter, y: usize, out: &mut [u8], dark: &[u8]) {
        let row = real(y) + 0.5;
        self.draw(shutter, row, real(y), 1.0, out, dark, |dx, dy| {
            let (dx, dy) = (dx / self.radius + 0.35, dy / self.radius + 0.4);
            self.y + (self.y_lit - self.y) * (1.0 - dx * dx - dy * dy).max(0.0)
        });
    }

    /// Draws the ball into row `y` of a chroma plane, where it has the sample `level`.
    pub(super) fn draw_chroma(&self, shutter: &Shutter, y: usize, out: &mut [u8], dark: &[u8], level: f64) {
        let row = real(2 * y) + 1.0;
        self.draw(shutter, row, real(2 * y) + 0.5, 2.0, out, dark, |_, _| level);
    }

    /// Draws the ball into one row. `row` is the height of the samples' middle in luma pixels, `time_row` the row whose exposure
    /// counts, `pitch` the samples' width in luma pixels.
    #[expect(clippy::too_many_arguments, reason = "one private routine for both kinds of plane")]
    fn draw(
        &self,
        shutter: &Shutter,
        row: f64,
        time_row: f64,
        pitch: f64,
        out: &mut [u8],
        dark: &[u8],
        level: impl Fn(f64, f64) -> f64,
    ) {
        if (row - self.centre.1).abs() > self.orbit + self.radius + 1.0 {
            return;
        }
        let start = panel::phase_ns(shutter.start) + shutter.row_offset_ns(time_row);
        let instants = blur_instants(shutter.timing.exposure, self.half_pixel_ns);
        let share = 1.0 / real(instants.clone().count());
        for after in instants {
            let (sin, cos) = ball_angle(start + after).sin_cos();
            let (bx, by) = (self.centre.0 + self.orbit * sin, self.centre.1 - self.orbit * cos);
            let dy = row - by;
            let reach = self.radius + pitch;
            if dy.abs() > reach {
                continue;
            }
            let half = (reach * reach - dy * dy).sqrt();
            let first = index((bx - half) / pitch);
            let last = index((bx + half) / pitch + 1.0).min(out.len());
            for x in first..last {
                let dx = (real(x) + 0.5) * pitch - bx;
                let cover = ((self.radius - dx.hypot(dy)) / pitch + 0.5).clamp(0.0, 1.0) * share;
                if cover > 0.0 {
                    let gain = (level(dx, dy) - f64::from(dark[x])) * cover;
                    out[x] = byte(f64::from(out[x]) + gain);
                }
            }
        }
    }
}

/// Most instants of the exposure at which the ball is drawn, to blur it.
const BLUR_STEPS: usize = 8;

/// The instants at which the ball is drawn, in ns after the start of the exposure: the middles of equal parts of at most `step_ns`.
fn blur_instants(exposure: Span, step_ns: f64) -> impl Iterator<Item = f64> + Clone {
    let exposure = exposure.as_nanos_f64().max(0.0);
    let steps = index((exposure / step_ns).ceil()).clamp(1, BLUR_STEPS);
    (0..steps).map(move |step| (real(step) + 0.5) / real(steps) * exposure)
}
