//! The picture: the paper's LED panel beside a ball on a one-second orbit, through a rolling shutter.
//!
//! Row `r` is exposed from `start + r * row_time` on, for `exposure` ([`Shutter`]). The brightness of an LED is proportional to the
//! fraction of the row's exposure for which it was lit (the paper: "short exposures and rolling shutter means some LEDs will only
//! be partially captured"). Each row shows the ball at its place during that row's exposure, blurred by its motion.
//!
//! Everything static is painted once, with all LEDs off and with all LEDs lit. A frame is the dark picture, plus noise, plus the
//! light of the lit columns, plus the ball. Rendering does not allocate.

mod ball;
mod i420;
mod paint;
mod view;

pub use i420::{I420Buffer, I420Mut, PlaneError, PlaneMut};
pub use view::View;

use crate::noise::hash;
use crate::num::{byte, index, real, weight};
use crate::panel::{self, COLUMNS, FAST_SLOT, PanelLayout, ROWS, Rect, SLOW_SLOT, SizeError};
use crate::shutter::Shutter;
use ball::Ball;
use paint::Canvas;

/// Length of the noise table without the overhang of one row.
const NOISE_LEN: usize = 1 << 14;
/// Standard deviation of the luma noise, in levels: low enough to compress well.
const NOISE_SIGMA: f64 = 1.3;
/// Largest difference between a lit and a dark sample, in levels, so that its product with a weight of 256 fits into 16 bit.
const MAX_LIGHT: f64 = 127.0;

/// The scene in front of one camera.
#[derive(Debug, Clone)]
pub struct Scene {
    layout: PanelLayout,
    /// The static picture, plane by plane.
    y: Layer,
    u: Layer,
    v: Layer,
    ball: Ball,
    /// Luma noise to add, in two's complement.
    noise: Vec<u8>,
}

/// One plane of the static picture.
#[derive(Debug, Clone)]
struct Layer {
    width: usize,
    height: usize,
    dark: Vec<u8>,
    /// The area of the LEDs, in this plane's samples.
    lit_area: Rect,
    /// Levels that a lit LED adds to each sample of `lit_area`.
    light: Vec<i16>,
}

/// The LEDs in a row of the picture.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leds {
    Fast,
    Slow,
}

impl Scene {
    /// The scene in pictures of `width` x `height`, as seen from `view`.
    ///
    /// # Errors
    /// [`SizeError`] if the panel would be too small to be read.
    pub fn new(width: u32, height: u32, view: View) -> Result<Self, SizeError> {
        let layout = PanelLayout::new(width, height)?;
        let dark = paint::paint_dark(&layout, &view);
        let lit = paint::paint_lit(&dark, &layout);
        let area = layout.cell(layout.leds());
        let luma = |canvas: &Canvas, x: usize, y: usize| paint::yuv(canvas.pixel(x, y), &view)[0];
        let chroma = |channel: usize| {
            move |canvas: &Canvas, x: usize, y: usize| paint::yuv(canvas.quad(x, y), &view)[channel]
        };
        let half = Rect {
            left: area.left / 2,
            top: area.top / 2,
            width: area.right().div_ceil(2) - area.left / 2,
            height: area.bottom().div_ceil(2) - area.top / 2,
        };
        let (cw, ch) = (layout.width().div_ceil(2), layout.height().div_ceil(2));
        Ok(Self {
            y: Layer::new((layout.width(), layout.height()), area, &dark, &lit, luma),
            u: Layer::new((cw, ch), half, &dark, &lit, chroma(1)),
            v: Layer::new((cw, ch), half, &dark, &lit, chroma(2)),
            ball: Ball::new(&layout, &view),
            noise: noise_table(layout.width()),
            layout,
        })
    }

    /// The layout of the picture.
    #[must_use]
    pub const fn layout(&self) -> &PanelLayout {
        &self.layout
    }

    /// Renders the picture that `shutter` takes. The same shutter gives the same picture, including its noise.
    ///
    /// # Errors
    /// [`PlaneError`] if a plane is too small; then nothing is written.
    pub fn render(&self, shutter: &Shutter, out: I420Mut<'_>) -> Result<(), PlaneError> {
        let I420Mut { y, u, v } = out;
        self.y.check('Y', &y)?;
        self.u.check('U', &u)?;
        self.v.check('V', &v)?;
        self.render_luma(shutter, y);
        for (layer, plane, ball) in [(&self.u, u, self.ball.u), (&self.v, v, self.ball.v)] {
            self.render_chroma(shutter, layer, plane, ball);
        }
        Ok(())
    }

    fn render_luma(&self, shutter: &Shutter, plane: PlaneMut<'_>) {
        let layer = &self.y;
        let frame = shutter.start.as_nanos().cast_unsigned();
        let rows = plane.data.chunks_mut(plane.stride).zip(layer.dark.chunks_exact(layer.width));
        for (y, (out, dark)) in rows.enumerate() {
            let out = &mut out[..layer.width];
            let noise_at = index(real(NOISE_LEN) * crate::noise::uniform(hash(frame, 0, y as u64)));
            for ((out, dark), noise) in out.iter_mut().zip(dark).zip(&self.noise[noise_at..]) {
                *out = dark.wrapping_add(*noise);
            }
            if let Some(leds) = self.leds_at(y) {
                let lit = lit_row(shutter, leds, real(y));
                let light = layer.light_row(y);
                for (column, lit) in lit.into_iter().enumerate().filter(|(_, lit)| *lit > 0.0) {
                    let cell = self.layout.cell(self.layout.fast_led(column, 0));
                    let light = &light[cell.left - layer.lit_area.left..][..cell.width];
                    add_light(&mut out[cell.left..cell.right()], light, weight(lit));
                }
            }
            self.ball.draw_luma(shutter, y, out, dark);
        }
    }

    fn render_chroma(&self, shutter: &Shutter, layer: &Layer, plane: PlaneMut<'_>, ball: f64) {
        let rows = plane.data.chunks_mut(plane.stride).zip(layer.dark.chunks_exact(layer.width));
        for (y, (out, dark)) in rows.enumerate() {
            let out = &mut out[..layer.width];
            out.copy_from_slice(dark);
            if let Some(leds) = self.leds_at(2 * y).or_else(|| self.leds_at(2 * y + 1)) {
                // A chroma sample covers two rows, which are exposed one after the other.
                let (upper, lower) =
                    (lit_row(shutter, leds, real(2 * y)), lit_row(shutter, leds, real(2 * y + 1)));
                let lit = upper.into_iter().zip(lower).map(|(upper, lower)| (upper + lower) / 2.0);
                let light = layer.light_row(y);
                for (column, lit) in lit.enumerate().filter(|(_, lit)| *lit > 0.0) {
                    let cell = self.layout.cell(self.layout.fast_led(column, 0));
                    // A sample that two cells share is in a dark gap; it belongs to the left cell.
                    let (left, right) = (cell.left.div_ceil(2), cell.right().div_ceil(2));
                    let light = &light[left - layer.lit_area.left..right - layer.lit_area.left];
                    add_light(&mut out[left..right], light, weight(lit));
                }
            }
            self.ball.draw_chroma(shutter, y, out, dark, ball);
        }
    }

    /// The LEDs in row `y` of the picture.
    fn leds_at(&self, y: usize) -> Option<Leds> {
        let within = |rows: Rect| (rows.top..rows.bottom()).contains(&y);
        let first = self.layout.cell(self.layout.fast_led(0, 0));
        let last = self.layout.cell(self.layout.fast_led(0, ROWS - 1));
        if (first.top..last.bottom()).contains(&y) {
            Some(Leds::Fast)
        } else {
            within(self.layout.cell(self.layout.slow_led(0))).then_some(Leds::Slow)
        }
    }
}

/// The fraction of a row's exposure for which each LED was lit.
fn lit_row(shutter: &Shutter, leds: Leds, row: f64) -> [f64; COLUMNS] {
    let slot = match leds {
        Leds::Fast => FAST_SLOT,
        Leds::Slow => SLOW_SLOT,
    };
    let start = panel::phase_ns(shutter.start) + shutter.row_offset_ns(row);
    panel::lit_fractions(slot, start, shutter.timing.exposure.as_nanos_f64())
}

/// Adds `weight / 256` of `light` to the samples of `out`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "light and weight are within +-127 and 256, dark plus light within 16..=240"
)]
fn add_light(out: &mut [u8], light: &[i16], weight: u16) {
    let weight = weight as i16;
    for (out, light) in out.iter_mut().zip(light) {
        *out = (i16::from(*out) + ((light * weight) >> 8)) as u8;
    }
}

fn noise_table(overhang: usize) -> Vec<u8> {
    let draw = |knot| NOISE_SIGMA * crate::noise::gaussian(hash(0x401e, 0, knot));
    (0..(NOISE_LEN + overhang) as u64).map(|knot| byte(draw(knot) + 128.0).wrapping_sub(128)).collect()
}

impl Layer {
    fn new(
        (width, height): (usize, usize),
        lit_area: Rect,
        dark: &Canvas,
        lit: &Canvas,
        sample: impl Fn(&Canvas, usize, usize) -> f64,
    ) -> Self {
        let all = |area: Rect| {
            (area.top..area.bottom()).flat_map(move |y| (area.left..area.right()).map(move |x| (x, y)))
        };
        let light = |(x, y)| {
            let levels = (sample(lit, x, y) - sample(dark, x, y)).clamp(-MAX_LIGHT, MAX_LIGHT);
            i16::from(byte(levels + 128.0)) - 128
        };
        Self {
            width,
            height,
            dark: all(Rect { left: 0, top: 0, width, height })
                .map(|(x, y)| byte(sample(dark, x, y)))
                .collect(),
            lit_area,
            light: all(lit_area).map(light).collect(),
        }
    }

    /// The light in row `y` of the plane, from the left edge of `lit_area` on.
    fn light_row(&self, y: usize) -> &[i16] {
        let row = y.clamp(self.lit_area.top, self.lit_area.bottom() - 1) - self.lit_area.top;
        &self.light[row * self.lit_area.width..][..self.lit_area.width]
    }

    fn check(&self, plane: char, out: &PlaneMut<'_>) -> Result<(), PlaneError> {
        let need = (self.height - 1) * out.stride + self.width;
        if out.stride < self.width || out.data.len() < need {
            let (len, stride) = (out.data.len(), out.stride);
            return Err(PlaneError { plane, len, stride, width: self.width, height: self.height });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
