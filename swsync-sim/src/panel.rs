//! The LED panel of the paper (section VI.A) and the ball beside it: what is lit when, and its place in a picture.
//!
//! | light | period | tells |
//! | --- | --- | --- |
//! | fast array, 10 columns x 10 rows | 2 ms: each column is lit for 200 us in turn | the time of every row that sees it, to microseconds |
//! | slow row, 10 LEDs at the bottom | 20 ms: each is lit for 2 ms in turn | which 2 ms |
//! | ball on a circle around a hub | 1 s, clockwise from 12 o'clock | which 20 ms |
//!
//! All start at true time zero. The paper also ran its panel at a slower pace, to exclude errors of multiples of 20 ms. Here the
//! ball excludes them up to a second.

use swsync_core::time::{Host, Span, Timestamp};

use crate::num::{index, real};

/// Columns of the fast array, and LEDs of the slow row.
pub const COLUMNS: usize = 10;
/// Rows of the fast array.
pub const ROWS: usize = 10;
/// How long a column of the fast array is lit: the paper's tau.
pub const FAST_SLOT: Span = Span::from_micros(200);
/// Period of the fast array.
pub const FAST_PERIOD: Span = Span::from_millis(2);
/// How long an LED of the slow row is lit.
pub const SLOW_SLOT: Span = FAST_PERIOD;
/// Period of the slow row.
pub const SLOW_PERIOD: Span = Span::from_millis(20);
/// Period of the ball and of the whole picture: times are read modulo this.
pub const PERIOD: Span = Span::from_secs(1);

/// Smallest readable pitch of LEDs, in pixels.
const MIN_PITCH: usize = 7;

/// The panel's time at `at`, in ns within [`PERIOD`].
#[must_use]
pub fn phase_ns(at: Timestamp<Host>) -> f64 {
    Span::from_nanos(at.as_nanos().rem_euclid(PERIOD.as_nanos())).as_nanos_f64()
}

/// For each LED of a row, the fraction of an exposure during which it is lit, in `[0, 1]`, if each is lit for `slot` in turn. The
/// fractions add up to 1.
///
/// The exposure starts `start_ns` after the first LED goes on, modulo the period. An empty exposure counts as 1 ns.
#[must_use]
pub fn lit_fractions(slot: Span, start_ns: f64, exposure_ns: f64) -> [f64; COLUMNS] {
    let slot = slot.as_nanos_f64();
    let exposure = exposure_ns.max(1.0);
    // In units of a slot, within one period.
    let start = (start_ns / slot).rem_euclid(real(COLUMNS));
    let length = exposure / slot;
    let end = start + length;
    let mut lit = [0.0; COLUMNS];
    for (column, lit) in lit.iter_mut().enumerate() {
        *lit = ((lit_until(column, end) - lit_until(column, start)) / length).clamp(0.0, 1.0);
    }
    lit
}

/// Number of slots for which the LED of `column` was lit from 0 until `slots`.
fn lit_until(column: usize, slots: f64) -> f64 {
    let period = real(COLUMNS);
    let rounds = (slots / period).floor();
    rounds + (slots - rounds * period - real(column)).clamp(0.0, 1.0)
}

/// Angle of the ball `phase_ns` into its period: radians clockwise from 12 o'clock.
#[must_use]
pub fn ball_angle(phase_ns: f64) -> f64 {
    phase_ns / PERIOD.as_nanos_f64() * std::f64::consts::TAU
}

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Rect {
    /// The column after its last.
    #[must_use]
    pub const fn right(&self) -> usize {
        self.left + self.width
    }

    /// The row after its last.
    #[must_use]
    pub const fn bottom(&self) -> usize {
        self.top + self.height
    }

    /// The rectangle without `margin` pixels on every side.
    #[must_use]
    pub const fn inset(&self, margin: usize) -> Self {
        Self {
            left: self.left + margin,
            top: self.top + margin,
            width: self.width.saturating_sub(2 * margin),
            height: self.height.saturating_sub(2 * margin),
        }
    }

    /// The rectangle with `margin` more pixels on every side, clipped at the origin.
    #[must_use]
    pub const fn outset(&self, margin: usize) -> Self {
        let left = self.left.saturating_sub(margin);
        let top = self.top.saturating_sub(margin);
        Self { left, top, width: self.right() + margin - left, height: self.bottom() + margin - top }
    }
}

/// The ball's orbit, in pixels. The camera's viewpoint moves it sideways by up to `max_parallax`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Orbit {
    /// Centre for a camera in the middle: column and row, in pixels from the left and top edge.
    pub centre: (f64, f64),
    /// From the hub's middle to the ball's.
    pub radius: f64,
    /// Radius of the ball.
    pub ball: f64,
    /// Radius of the hub, the bright spot in the centre.
    pub hub: f64,
    /// Largest shift of the whole orbit to the left or right.
    pub max_parallax: f64,
}

/// The picture is too small for a readable panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a picture of {width}x{height} is too small for the LED panel: use at least 160x120")]
pub struct SizeError {
    /// Requested columns.
    pub width: u32,
    /// Requested rows.
    pub height: u32,
}

/// The places of the panel and the ball in a picture of a given size. They are fixed, as if the camera stood on a tripod. The panel
/// is on the left, the ball's orbit on the right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PanelLayout {
    width: usize,
    height: usize,
    /// From one LED's left (or top) to the next one's.
    pitch: usize,
    /// Width and height of an LED.
    led: usize,
    /// Top left corner of the first fast LED.
    fast: (usize, usize),
    /// Top of the slow row.
    slow_top: usize,
    orbit: Orbit,
}

impl PanelLayout {
    /// The layout in pictures of `width` x `height` pixels.
    ///
    /// # Errors
    /// [`SizeError`] if LEDs would be too small to read: below 160x120 or so.
    pub fn new(width: u32, height: u32) -> Result<Self, SizeError> {
        let error = SizeError { width, height };
        let (w, h) = (f64::from(width), f64::from(height));
        // 10 rows, half a row of gap and the slow row, with 5 % of the height above and below.
        let pitch = index((w * 0.057).min(h * 0.90 / 12.1));
        let (width, height) = usize::try_from(width).ok().zip(usize::try_from(height).ok()).ok_or(error)?;
        if pitch < MIN_PITCH {
            return Err(error);
        }
        let led = index(real(pitch) * 0.78 + 0.5);
        let left = index(w * 0.04);
        let slow_offset = ROWS * pitch + pitch / 2;
        let top = (height - slow_offset - led) / 2;
        let room = w - real(left + COLUMNS * pitch + pitch / 2);
        let radius = (room * 0.31).min(h * 0.30);
        let ball = radius * 0.22;
        Ok(Self {
            width,
            height,
            pitch,
            led,
            fast: (left, top),
            slow_top: top + slow_offset,
            orbit: Orbit {
                centre: (w - room / 2.0, h / 2.0),
                radius,
                ball,
                hub: (radius * 0.10).max(1.5),
                // Less than half the distance from the hub to the ball, so that the ball is never where the hub may be.
                max_parallax: (room / 2.0 - radius - ball).clamp(0.0, radius * 0.27),
            },
        })
    }

    /// Columns of the picture.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Rows of the picture.
    #[must_use]
    pub const fn height(&self) -> usize {
        self.height
    }

    /// From one LED to the next, both ways, in pixels.
    #[must_use]
    pub const fn pitch(&self) -> usize {
        self.pitch
    }

    /// The fast LED in `column` and `row`, from the top left.
    #[must_use]
    pub const fn fast_led(&self, column: usize, row: usize) -> Rect {
        self.led_at(column, self.fast.1 + row * self.pitch)
    }

    /// The slow LED in `column`.
    #[must_use]
    pub const fn slow_led(&self, column: usize) -> Rect {
        self.led_at(column, self.slow_top)
    }

    const fn led_at(&self, column: usize, top: usize) -> Rect {
        Rect { left: self.fast.0 + column * self.pitch, top, width: self.led, height: self.led }
    }

    /// The rectangle of all LEDs and the gaps between them.
    #[must_use]
    pub const fn leds(&self) -> Rect {
        Rect {
            left: self.fast.0,
            top: self.fast.1,
            width: (COLUMNS - 1) * self.pitch + self.led,
            height: self.slow_top + self.led - self.fast.1,
        }
    }

    /// The area that an LED's light reaches: the LED and half of the gaps around it.
    #[must_use]
    pub(crate) const fn cell(&self, led: Rect) -> Rect {
        led.outset((self.pitch - self.led) / 2)
    }

    /// The part of an LED that is sampled: without its rim.
    #[must_use]
    pub(crate) const fn core(&self, led: Rect) -> Rect {
        led.inset(1 + self.led / 12)
    }

    /// The ball's orbit.
    #[must_use]
    pub const fn orbit(&self) -> Orbit {
        self.orbit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: [f64; COLUMNS], b: &[(usize, f64)]) {
        let mut expected = [0.0; COLUMNS];
        for &(column, lit) in b {
            expected[column] = lit;
        }
        for (a, b) in a.iter().zip(expected) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }

    #[test]
    fn columns_are_lit_in_turn() {
        close(lit_fractions(FAST_SLOT, 50_000.0, 100_000.0), &[(0, 1.0)]);
        close(lit_fractions(FAST_SLOT, 150_000.0, 100_000.0), &[(0, 0.5), (1, 0.5)]);
        close(lit_fractions(FAST_SLOT, 1_975_000.0, 100_000.0), &[(9, 0.25), (0, 0.75)]);
        close(lit_fractions(FAST_SLOT, -25_000.0, 100_000.0), &[(9, 0.25), (0, 0.75)]);
        close(lit_fractions(FAST_SLOT, 100_000.0, 400_000.0), &[(0, 0.25), (1, 0.5), (2, 0.25)]);
        close(lit_fractions(FAST_SLOT, 1_999_999.0, 0.0), &[(9, 1.0)]);
        close(
            lit_fractions(FAST_SLOT, 700.0, 4_000_000.0),
            &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|c| (c, 0.1)),
        );
    }

    proptest! {
        #[test]
        fn some_light_is_always_on(start in -1e9_f64..1e9, exposure in 0.0_f64..50e6) {
            let sum: f64 = lit_fractions(SLOW_SLOT, start, exposure).iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        }

        #[test]
        fn everything_is_in_the_picture(width in 160_u32..4100, height in 120_u32..3100) {
            // Some tall or flat pictures have no room, none panics.
            if let Ok(layout) = PanelLayout::new(width, height) {
                let leds = layout.cell(layout.leds());
                prop_assert!(leds.bottom() <= layout.height());
                let orbit = layout.orbit();
                let reach = orbit.radius + orbit.ball + orbit.max_parallax;
                prop_assert!(orbit.centre.0 - reach > real(leds.right()));
                prop_assert!(orbit.centre.0 + reach <= f64::from(width) + 1e-6);
                prop_assert!(orbit.centre.1 - orbit.radius - orbit.ball > 0.0);
                // with one camera's parallax the ball is never where the hub is with another's
                prop_assert!(orbit.radius - orbit.ball > 2.0 * orbit.max_parallax + orbit.hub + 2.0);
                let core = layout.core(layout.fast_led(0, 0));
                prop_assert!(core.width >= 2 && core.height >= 2);
            }
        }
    }

    #[test]
    fn common_sizes_have_room() {
        for (width, height) in [(160, 120), (320, 240), (640, 480), (1280, 720), (1920, 1080), (1080, 1920)] {
            assert!(PanelLayout::new(width, height).is_ok(), "{width}x{height}");
        }
        assert!(PanelLayout::new(100, 75).unwrap_err().to_string().contains("100x75"));
        assert!(PanelLayout::new(0, 0).is_err());
    }
}
