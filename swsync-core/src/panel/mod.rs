//! Reads the time from a photograph of the paper's LED panel (section VI.A).
//!
//! The panel has a fast array of 10 x 10 LEDs, of which one column is lit at a time, and a slow row of 10 LEDs, each lit for one
//! period of the fast array. Four lights at its corners are always lit, and a fifth on the top edge, near the left corner. The
//! corners locate the panel, the fifth tells the rotation, and whether the picture is mirrored. A sixth, on the bottom edge, may tell the
//! period's number over consecutive frames ([`read_sequence`]).
//!
//! | file | what it does |
//! | --- | --- |
//! | `spots`, `find` | the marker lights, and from them the homography `map` |
//! | `sample` | each LED's brightness, in strips that were exposed at one time |
//! | `fold` | brightness over the phase of the fast array, compared with what an exposure should give |
//! | `fit` | the exposure that explains the LEDs best, its uncertainty, and reasons to refuse |
//! | `slow` | which period it was |
//! | `sequence` | consecutive frames |
//!
//! Brightness is the part of the exposure of an LED's strip during which it is lit, through an unknown response of the camera
//! (linear or gamma, perhaps clipped). Row y of the picture is exposed (y/height - row) x readout after the chosen row. So the
//! phase of each strip is known but for the time that is asked, and all strips together show one curve over the phase, whatever
//! the readout. Its centre is the reading. The uncertainty has the spread over all explanations that are nearly as good, and how much the
//! reading changes if a tenth of the LEDs is left out.
//!
//! Uncertainty and limits were set with simulated photographs (`swsync-sim/src/photograph/`, docs/panel.md).

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixel numbers and indices of small tables, which are exact in f64 and checked against the picture's size"
)]

mod find;
mod fit;
mod fold;
mod map;
mod sample;
mod sequence;
mod slow;
mod spots;
#[cfg(test)]
mod tests;

pub use sequence::{CODE_PERIODS, Frame, Sequence, code_bit, read_sequence};

use crate::time::{PanelClock, Span, Timestamp};

/// LEDs of a row of the panel, and rows of the fast array.
pub const COLUMNS: usize = 10;

/// A picture's luma, rows from the top.
#[derive(Debug, Clone, Copy)]
pub struct Luma<'a> {
    /// Brightness, 0 to 255.
    pub pixels: &'a [u8],
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes from one row to the next.
    pub stride: usize,
}

impl Luma<'_> {
    fn at(&self, x: usize, y: usize) -> f64 {
        f64::from(self.pixels[y * self.stride + x])
    }

    /// Brightness at pixel `(x, y)`, between the centres of four pixels. `None` outside the picture.
    fn sample(&self, x: f64, y: f64) -> Option<f64> {
        let (x, y) = (x - 0.5, y - 0.5);
        if !(x >= 0.0 && y >= 0.0 && x < (self.width - 1) as f64 && y < (self.height - 1) as f64) {
            return None;
        }
        let (left, top) = (x as usize, y as usize);
        let (fx, fy) = (x - left as f64, y - top as f64);
        let upper = self.at(left, top) * (1.0 - fx) + self.at(left + 1, top) * fx;
        let lower = self.at(left, top + 1) * (1.0 - fx) + self.at(left + 1, top + 1) * fx;
        Some(upper * (1.0 - fy) + lower * fy)
    }
}

/// The panel's geometry and periods. Lengths are in pitches: fast LED (column c, row r) is at (c + 0.5, r + 0.5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Panel {
    /// How long a column of the fast array is lit.
    pub fast_slot: Span,
    /// Height of the slow row's LEDs below the panel's top edge.
    pub slow_y: f64,
    /// The corner lights: top left, top right, bottom right, bottom left.
    pub corners: [(f64, f64); 4],
    /// The fifth light.
    pub orientation: (f64, f64),
    /// A light that tells the number of the period, one bit per period; see [`read_sequence`].
    pub code: Option<(f64, f64)>,
}

impl Panel {
    /// The paper's panel: 200 us a column, 2 ms an LED of the slow row.
    pub const PAPER: Self = Self {
        fast_slot: Span::from_micros(200),
        slow_y: 11.5,
        corners: [(-1.5, -1.5), (11.5, -1.5), (11.5, 13.5), (-1.5, 13.5)],
        orientation: (1.5, -1.5),
        code: Some((5.0, 13.5)),
    };

    /// The same panel at another pace, for screens. The slow row follows: each of its LEDs is lit for ten slots.
    #[must_use]
    pub const fn with_fast_slot(mut self, slot: Span) -> Self {
        self.fast_slot = slot;
        self
    }

    /// Period of the whole panel: a hundred slots.
    #[must_use]
    pub fn period(&self) -> Span {
        self.fast_slot * 100
    }
}

/// What is known of the exposure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shutter {
    /// Exposure of each row.
    pub exposure: Option<Span>,
    /// From the first row's start to the last row's. If it is not known, it is estimated.
    pub readout: Option<Span>,
    /// The row whose instant is asked, as a fraction of the picture's height.
    pub row: f64,
}

/// The exposure of the chosen row. Its times are modulo [`Reading::modulo`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Start of the exposure.
    pub start: Timestamp<PanelClock>,
    /// End of the exposure: less than `start` if the panel's period ended meanwhile.
    pub end: Timestamp<PanelClock>,
    /// Middle of the exposure.
    pub middle: Timestamp<PanelClock>,
    /// Times are known modulo this.
    pub modulo: Span,
    /// Uncertainty of `middle`, 1 sigma.
    pub uncertainty: Span,
    /// Readout as estimated, if it was not given.
    pub readout: Option<Span>,
    /// Corner lights in the picture, in pixels: top left, top right, bottom right, bottom left of the panel.
    pub corners: [(f64, f64); 4],
}

/// Why a picture tells no time.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The sizes do not fit the pixels.
    #[error("a picture of {width}x{height} with {got} bytes: check width, height and stride")]
    Size {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes.
        got: usize,
    },
    /// No panel, or its corner lights are hidden, or the picture is too blurred.
    #[error(
        "no panel among {lights} lights: show all five marker lights, sharp, and expose so that only lights are bright"
    )]
    NotFound {
        /// Bright spots found.
        lights: usize,
    },
    /// The picture is too blurred.
    #[error("the picture is too blurred: a marker's light is {:.0} % as bright at the next LED's place; focus, hold still", halo * 100.0)]
    Blurred {
        /// Light a pitch away from a marker, as a part of the marker's.
        halo: f64,
    },
    /// Too few LEDs of the fast array are seen, or light up as they should.
    #[error("{leds} of 100 LEDs of the fast array are readable: uncover the panel, avoid reflections")]
    Hidden {
        /// LEDs that are seen and as the model says.
        leds: usize,
    },
    /// The LEDs are not lit as this panel's would be.
    #[error(
        "the lights are not as this panel's ({misfit:.2} of their power is unexplained): check period, exposure and readout"
    )]
    Mismatch {
        /// Unexplained part of the LEDs' power.
        misfit: f64,
    },
    /// The readout is not given, and the picture does not tell it.
    #[error(
        "the picture does not tell the camera's readout: state the time from the first row's start to the last row's"
    )]
    Readout,
    /// Several instants explain the picture.
    #[error("the instant is known to {} us only: expose for less than a period, state exposure and readout", uncertainty.as_micros_f64())]
    Ambiguous {
        /// Uncertainty of the best instant, 1 sigma.
        uncertainty: Span,
    },
    /// The frame contradicts the other frames of its sequence.
    #[error("the reading is {} us away from where the other frames and the stamps put it", apart.as_micros_f64())]
    Contradicts {
        /// How far it is away, modulo the panel's period.
        apart: Span,
    },
    /// The slow row does not tell which period of the fast array it was.
    #[error("the slow row does not tell which period it was: uncover it, or take the picture again")]
    SlowRow,
}

/// The exposure of the chosen row of `luma`, a picture of `panel`.
///
/// # Errors
/// [`Unreadable`] if the picture does not tell the instant to less than half a slot.
pub fn read(luma: &Luma, panel: &Panel, shutter: &Shutter) -> Result<Reading, Unreadable> {
    read_one(luma, panel, shutter).map(|(reading, _)| reading)
}

fn read_one(luma: &Luma, panel: &Panel, shutter: &Shutter) -> Result<(Reading, find::Found), Unreadable> {
    let need = luma
        .stride
        .checked_mul(luma.height.saturating_sub(1))
        .and_then(|bytes| bytes.checked_add(luma.width));
    let fits = luma.stride >= luma.width && need.is_some_and(|need| need <= luma.pixels.len());
    if !fits || luma.width < 32 || luma.height < 32 {
        return Err(Unreadable::Size { width: luma.width, height: luma.height, got: luma.pixels.len() });
    }
    let found = find::locate(luma, panel)?;
    let strips = sample::strips(luma, panel, &found, shutter.row);
    let fit = fit::fit(strips, &found, panel, shutter)?;
    let slot = panel.fast_slot.as_nanos_f64();
    let at =
        |slots: f64| Timestamp::from_nanos(Span::from_nanos_f64(slots.rem_euclid(100.0) * slot).as_nanos());
    let reading = Reading {
        start: at(fit.middle - fit.exposure / 2.0),
        end: at(fit.middle + fit.exposure / 2.0),
        middle: at(fit.middle),
        modulo: panel.period(),
        uncertainty: Span::from_nanos_f64(fit.uncertainty * slot),
        readout: shutter.readout.is_none().then(|| Span::from_nanos_f64(fit.readout * slot)),
        corners: found.corners,
    };
    Ok((reading, found))
}
