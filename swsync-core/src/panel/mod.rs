//! Reads the time from a photograph of the paper's LED panel (section VI.A).
//!
//! The panel has a fast array of 10 x 10 LEDs, of which one column is lit at a time, and a slow row of 10 LEDs, each lit for one
//! period of the fast array. Four lights at its corners are always lit, and a fifth on the top edge, near the left corner. The
//! corners locate the panel, the fifth tells the rotation, and whether the picture is mirrored.
//!
//! The model of an LED's brightness: the part of its row's exposure during which it is lit, through an unknown response of the
//! camera (linear or gamma, perhaps clipped). Row y of the picture is exposed (y/height - row) x readout after the chosen row. All
//! values of what is not known (time, exposure, response) are weighed by how well they explain the LEDs. The mean is the
//! reading. The uncertainty is the standard deviation, and a floor for what the model leaves out.
//!
//! The uncertainty has been checked with the few simulated pictures of this module's tests only, not yet with
//! photographs, nor with the troubles of real ones: over exposure, defocus, motion, JPEG, unequal LEDs, reflections.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixel numbers and indices of small tables, which are exact in f64 and checked against the picture's size"
)]

mod find;
mod fit;
#[cfg(test)]
mod tests;

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
}

impl Panel {
    /// The paper's panel: 200 us a column, 2 ms an LED of the slow row.
    pub const PAPER: Self = Self {
        fast_slot: Span::from_micros(200),
        slow_y: 11.5,
        corners: [(-1.5, -1.5), (11.5, -1.5), (11.5, 13.5), (-1.5, 13.5)],
        orientation: (1.5, -1.5),
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
    /// From the first row's start to the last row's. Must be given: it is not estimated yet.
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
    /// Readout as estimated, if it was not given. It is not estimated yet: always `None`.
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
    /// Too few rows of the fast array are seen.
    #[error("{rows} of 10 rows of the fast array are readable: uncover the panel, or expose longer")]
    Hidden {
        /// Rows with light.
        rows: usize,
    },
    /// The LEDs are not lit as this panel's would be.
    #[error(
        "the lights are not as this panel's ({misfit:.2} of their power is unexplained): check period, exposure and readout"
    )]
    Mismatch {
        /// Unexplained part of the LEDs' power.
        misfit: f64,
    },
    /// The readout is not given.
    #[error("the camera's readout is not known: state the time from the first row's start to the last row's")]
    Readout,
    /// Several instants explain the picture.
    #[error("the instant is known to {} us only: expose for less than a period, state exposure and readout", uncertainty.as_micros_f64())]
    Ambiguous {
        /// Uncertainty of the best instant, 1 sigma.
        uncertainty: Span,
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
    let need = luma
        .stride
        .checked_mul(luma.height.saturating_sub(1))
        .and_then(|bytes| bytes.checked_add(luma.width));
    let fits = luma.stride >= luma.width && need.is_some_and(|need| need <= luma.pixels.len());
    if !fits || luma.width < 32 || luma.height < 32 {
        return Err(Unreadable::Size { width: luma.width, height: luma.height, got: luma.pixels.len() });
    }
    let (map, corners) = find::locate(luma, panel)?;
    let lights = fit::Lights::sample(luma, panel, &map, shutter.row);
    let fit = fit::fit(&lights, panel, shutter)?;
    let slot = panel.fast_slot.as_nanos_f64();
    let at =
        |slots: f64| Timestamp::from_nanos(Span::from_nanos_f64(slots.rem_euclid(100.0) * slot).as_nanos());
    Ok(Reading {
        start: at(fit.middle - fit.exposure / 2.0),
        end: at(fit.middle + fit.exposure / 2.0),
        middle: at(fit.middle),
        modulo: panel.period(),
        uncertainty: Span::from_nanos_f64(fit.uncertainty * slot),
        readout: None,
        corners,
    })
}
