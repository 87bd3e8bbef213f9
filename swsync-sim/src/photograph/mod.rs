//! Photographs of the paper's LED panel by a real camera, with what goes wrong in them, for the decoder in `swsync_core::panel`.
//!
//! Light is followed forwards: the emitting area of every LED is cut into small parts, each goes through perspective and lens to
//! the pixel where it lands, is blurred by defocus and motion, and counts there for as long as the LED was lit during the
//! exposure of that pixel's row. The sensor turns it into luma, with noise, saturation per colour, tone curve and sharpening.
//! Nothing here is shared with the decoder: not its geometry, not its formulas.
//!
//! | file | what it does |
//! | --- | --- |
//! | `lights` | places of the LEDs, and when each is lit |
//! | `optics` | from the panel to the pixel: perspective, distortion, blur |
//! | `render` | the picture's light: LEDs, board, surroundings, reflections, what is in front |
//! | `develop` | from light to luma |
//! | `draw` | random setups, by the trouble they have |
//!
//! JPEG is left to the caller, who has a codec: [`Setup::jpeg`] says which quality.

mod develop;
mod draw;
mod lights;
mod optics;
mod render;
#[cfg(test)]
mod tests;

pub use develop::{Sensor, Tone};
pub use draw::{Stated, Trouble};
pub use lights::{Board, Layout};
pub use optics::{Blur, Pose};
pub use render::{Disc, Occluder, Surroundings};

/// Luma of a photograph, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Photograph {
    /// Brightness, 0 to 255.
    pub pixels: Vec<u8>,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// When the rows are exposed, in microseconds after the panel's start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rolling {
    /// Start of the first row's exposure.
    pub start_us: f64,
    /// Exposure of each row.
    pub exposure_us: f64,
    /// From the first row's start to the last row's.
    pub readout_us: f64,
}

/// All that a photograph depends on but for the noise.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Where the camera stands.
    pub pose: Pose,
    /// When it exposes.
    pub rolling: Rolling,
    /// The panel.
    pub board: Board,
    /// How sharp the picture is.
    pub blur: Blur,
    /// What else is seen.
    pub surroundings: Surroundings,
    /// The sensor and its processing.
    pub sensor: Sensor,
    /// Quality of the JPEG that the picture is to go through.
    pub jpeg: Option<u8>,
}

impl Setup {
    /// Takes the picture; `seed` is that of its noise.
    #[must_use]
    pub fn take(&self, seed: u64) -> Photograph {
        let light = render::light(self, seed);
        Photograph { pixels: develop::develop(self, &light, seed), width: self.width, height: self.height }
    }

    /// Middle of the exposure at `row`, a fraction of the picture's height, in microseconds after the panel's start.
    #[must_use]
    pub fn middle_us(&self, row: f64) -> f64 {
        let y = row * crate::num::real(self.height) - 0.5;
        self.rolling.start_us + self.rolling.exposure_us / 2.0 + self.row_us(y)
    }

    /// When row `y` starts, after the first one.
    fn row_us(&self, y: f64) -> f64 {
        self.rolling.readout_us * y / crate::num::real(self.height - 1)
    }
}
