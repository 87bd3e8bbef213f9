//! Paints the static parts of the scene: wall, panel, dial. Done once per scene, in floating point.

use crate::noise::{hash, uniform};
use crate::num::{byte, index, real};
use crate::panel::{COLUMNS, PanelLayout, ROWS, Rect};

use super::view::View;

/// Red, green, blue in `[0, 255]`.
pub(super) type Rgb = [f64; 3];

const WALL_TOP: Rgb = [17.0, 20.0, 38.0];
const WALL_BOTTOM: Rgb = [36.0, 34.0, 58.0];
/// Out-of-focus lights far behind the panel.
const LAMPS: [Rgb; 4] =
    [[70.0, 120.0, 150.0], [140.0, 90.0, 150.0], [160.0, 110.0, 70.0], [60.0, 130.0, 110.0]];
const LAMP_COUNT: u64 = 30;
/// Parallax of the far lights relative to the ball's.
const LAMP_PARALLAX: f64 = 2.5;
const HOUSING: Rgb = [15.0, 16.0, 20.0];
const HOUSING_EDGE: Rgb = [66.0, 70.0, 86.0];
const FAST_OFF: Rgb = [52.0, 17.0, 20.0];
const FAST_ON: Rgb = [255.0, 84.0, 66.0];
const SLOW_OFF: Rgb = [15.0, 40.0, 26.0];
const SLOW_ON: Rgb = [92.0, 240.0, 130.0];
const DIAL: Rgb = [74.0, 82.0, 108.0];
const HUB: Rgb = [226.0, 232.0, 244.0];

/// A picture in floating point.
#[derive(Clone)]
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pixels: Vec<Rgb>,
}

impl Canvas {
    fn new(width: usize, height: usize, colour: impl Fn(f64, f64) -> Rgb) -> Self {
        let mut pixels = Vec::with_capacity(width * height);
        for y in 0..height {
            pixels.extend((0..width).map(|x| colour(real(x) + 0.5, real(y) + 0.5)));
        }
        Self { width, height, pixels }
    }

    /// Blends `colour` over `area`; `cover` gives the opacity at a pixel's middle.
    fn blend(&mut self, area: Rect, colour: Rgb, cover: impl Fn(f64, f64) -> f64) {
        for y in area.top..area.bottom().min(self.height) {
            for x in area.left..area.right().min(self.width) {
                let opacity = cover(real(x) + 0.5, real(y) + 0.5).clamp(0.0, 1.0);
                if opacity > 0.0 {
                    let pixel = &mut self.pixels[y * self.width + x];
                    *pixel = mix(*pixel, colour, opacity);
                }
            }
        }
    }

    pub(super) fn pixel(&self, x: usize, y: usize) -> Rgb {
        self.pixels[y.min(self.height - 1) * self.width + x.min(self.width - 1)]
    }

    /// Mean of the 2x2 pixels that share a chroma sample.
    pub(super) fn quad(&self, x: usize, y: usize) -> Rgb {
        let four = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(dx, dy)| self.pixel(2 * x + dx, 2 * y + dy));
        [0, 1, 2].map(|channel| four.iter().map(|pixel| pixel[channel]).sum::<f64>() / 4.0)
    }
}

fn mix(a: Rgb, b: Rgb, share: f64) -> Rgb {
    [0, 1, 2].map(|channel| a[channel] + (b[channel] - a[channel]) * share)
}

/// Y, U, V of a colour as seen from `view`, in BT.601 with limited range: GStreamer's default for I420 of up to 576 lines.
pub(super) fn yuv(colour: Rgb, view: &View) -> [f64; 3] {
    let [r, g, b] = [0, 1, 2].map(|channel| (colour[channel] * view.gain[channel]).min(255.0) / 255.0);
    [
        16.0 + 65.481 * r + 128.553 * g + 24.966 * b,
        128.0 - 37.797 * r - 74.203 * g + 112.0 * b,
        128.0 + 112.0 * r - 93.786 * g - 18.214 * b,
    ]
}

/// The luma of a colour, as a sample.
pub(super) fn luma(colour: Rgb, view: &View) -> u8 {
    byte(yuv(colour, view)[0])
}

/// The scene with all LEDs off.
pub(super) fn paint_dark(layout: &PanelLayout, view: &View) -> Canvas {
    let (w, h) = (real(layout.width()), real(layout.height()));
    let mut canvas = Canvas::new(layout.width(), layout.height(), |x, y| {
        // Darker towards the corners: vignetting.
        let corner = ((x / w - 0.5).powi(2) + (y / h - 0.5).powi(2)) / 0.5;
        let wall = mix(WALL_TOP, WALL_BOTTOM, y / h);
        wall.map(|channel| channel * (1.0 - 0.45 * corner))
    });
    paint_lamps(&mut canvas, view.parallax * layout.orbit().max_parallax * LAMP_PARALLAX);
    paint_housing(&mut canvas, layout);
    paint_leds(&mut canvas, layout, FAST_OFF, SLOW_OFF, 0.0);
    paint_dial(&mut canvas, layout, view);
    canvas
}

/// The scene with all LEDs lit.
pub(super) fn paint_lit(dark: &Canvas, layout: &PanelLayout) -> Canvas {
    let mut canvas = dark.clone();
    paint_leds(&mut canvas, layout, FAST_ON, SLOW_ON, 0.16);
    canvas
}

fn paint_lamps(canvas: &mut Canvas, shift: f64) {
    let (w, h) = (real(canvas.width), real(canvas.height));
    for lamp in 0..LAMP_COUNT {
        let draw = |series| uniform(hash(0x1a3f, series, lamp));
        let radius = h * (0.02 + 0.06 * draw(0));
        // Fewer lamps further down.
        let (x, y) = (w * draw(1) + shift, h * (0.06 + 0.86 * draw(2).powf(1.5)));
        let colour = LAMPS[index(draw(5) * 4.0).min(3)];
        let strength = 0.07 + 0.17 * draw(6);
        let area = square_around(x, y, radius + 1.0);
        canvas.blend(area, colour, |px, py| {
            let distance = (px - x).hypot(py - y);
            // Discs of an open lens: slightly brighter at the rim.
            (radius + 0.5 - distance).clamp(0.0, 1.0) * strength * (0.75 + 0.25 * (distance / radius).powi(4))
        });
    }
}

fn paint_housing(canvas: &mut Canvas, layout: &PanelLayout) {
    let pitch = real(layout.pitch());
    let body = layout.leds().outset(layout.pitch() * 2 / 5);
    let corner = pitch * 0.35;
    let soft = pitch * 0.5;
    let shade =
        |x: f64, y: f64| 0.55 * (1.0 - rounded(body, corner, x - pitch * 0.06, y - pitch * 0.14) / soft);
    canvas.blend(body.outset(layout.pitch()), [4.0, 4.0, 8.0], |x, y| shade(x, y).min(0.55));
    let rim = (pitch * 0.045).max(0.8);
    canvas.blend(body.outset(2), HOUSING_EDGE, |x, y| 0.5 - rounded(body, corner, x, y));
    canvas.blend(body.outset(2), HOUSING, |x, y| 0.5 - rim - rounded(body, corner, x, y));
}

/// LEDs in the given colours, with a halo of `glow` in the gaps around each.
fn paint_leds(canvas: &mut Canvas, layout: &PanelLayout, fast: Rgb, slow: Rgb, glow: f64) {
    for column in 0..COLUMNS {
        for row in 0..ROWS {
            paint_led(canvas, layout, layout.fast_led(column, row), fast, glow);
        }
        paint_led(canvas, layout, layout.slow_led(column), slow, glow);
    }
}

fn paint_led(canvas: &mut Canvas, layout: &PanelLayout, led: Rect, colour: Rgb, glow: f64) {
    let size = real(led.width);
    let corner = size * 0.24;
    let gap = real(layout.pitch() - led.width).max(1.0);
    if glow > 0.0 {
        canvas
            .blend(layout.cell(led), colour, |x, y| glow * (1.0 - rounded(led, corner, x, y).max(0.0) / gap));
    }
    canvas.blend(led.outset(1), colour, |x, y| 0.5 - rounded(led, corner, x, y));
    if glow > 0.0 {
        // The middle is slightly overexposed.
        let (cx, cy) = (real(led.left) + size / 2.0, real(led.top) + size / 2.0);
        let white = colour.map(|channel| channel + (255.0 - channel) * 0.55);
        canvas.blend(led, white, |x, y| 0.75 * (1.0 - ((x - cx).hypot(y - cy) / (size * 0.5)).powi(2)));
    }
}

fn paint_dial(canvas: &mut Canvas, layout: &PanelLayout, view: &View) {
    let orbit = layout.orbit();
    let (cx, cy) = (orbit.centre.0 + view.parallax * orbit.max_parallax, orbit.centre.1);
    let thin = (orbit.radius * 0.018).max(0.6);
    let reach = orbit.radius + orbit.ball + 2.0;
    let area = square_around(cx, cy, reach);
    // The orbit, with a tick every tenth of a second outside it.
    let ring = |x: f64, y: f64| 0.55 * (thin / 2.0 + 0.5 - ((x - cx).hypot(y - cy) - orbit.radius).abs());
    canvas.blend(area, DIAL, ring);
    let tick = |x: f64, y: f64| {
        let distance = (x - cx).hypot(y - cy);
        let turn = (x - cx).atan2(cy - y) / std::f64::consts::TAU * 10.0;
        let across = (turn - turn.round()).abs() * std::f64::consts::TAU / 10.0 * distance;
        let (inner, outer) = (orbit.radius + orbit.ball * 0.45, orbit.radius + orbit.ball * 0.95);
        let along = ((distance - inner).min(outer - distance) + 0.5).clamp(0.0, 1.0);
        0.8 * along * (thin * 0.9 + 0.5 - across)
    };
    canvas.blend(area, DIAL, tick);
    let hub = |x: f64, y: f64| orbit.hub + 0.5 - (x - cx).hypot(y - cy);
    canvas.blend(square_around(cx, cy, orbit.hub + 2.0), HUB, hub);
}

/// Signed distance of a point from the edge of a rounded rectangle, negative inside.
fn rounded(area: Rect, corner: f64, x: f64, y: f64) -> f64 {
    let (half_width, half_height) = (real(area.width) / 2.0, real(area.height) / 2.0);
    let dx = (x - real(area.left) - half_width).abs() - half_width + corner;
    let dy = (y - real(area.top) - half_height).abs() - half_height + corner;
    dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0) - corner
}

/// The pixels within `reach` of a point, clipped at the origin.
fn square_around(x: f64, y: f64, reach: f64) -> Rect {
    let (left, top) = (index(x - reach), index(y - reach));
    Rect {
        left,
        top,
        width: index(x + reach + 1.0).saturating_sub(left),
        height: index(y + reach + 1.0).saturating_sub(top),
    }
}
