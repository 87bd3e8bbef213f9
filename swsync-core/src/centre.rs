//! What the centre of a picture looks like: its median brightness and colour, to compare cameras that see one scene.
//!
//! A grid of a few thousand pixels of the middle half of the picture, in both directions, is read ([`measure`]). Medians do not
//! follow a lamp or a dark corner. Of each of the three colours the median is taken by itself, so that the result is not one
//! pixel's colour.

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::grid::FrameNumber;
use crate::name::DeviceId;

/// Pixels of the grid in each direction: the medians of 3072 pixels that vary by 20 are within 0.5 of that of all, 1 sigma.
const COLUMNS: usize = 64;
const ROWS: usize = 48;

/// How pixels lie in memory. Offsets are of bytes within a pixel, or a pair of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// Luma in plane 0; blue and red difference in planes 1 and 2, of half the width and height (I420).
    Planar,
    /// The same, with red difference in plane 1 and blue difference in plane 2 (YV12).
    PlanarSwapped,
    /// Luma in plane 0; pairs of blue and red difference in plane 1, of half the width and height (NV12).
    SemiPlanar,
    /// The same, with red difference first (NV21).
    SemiPlanarSwapped,
    /// Two pixels in four bytes, in one plane.
    Packed {
        /// Of the first pixel's luma; the second one's is two bytes later.
        luma: usize,
        /// Of the blue difference.
        blue: usize,
        /// Of the red difference.
        red: usize,
    },
    /// Red, green and blue in one plane.
    Rgb {
        /// Bytes of a pixel.
        size: usize,
        /// Of red.
        red: usize,
        /// Of green.
        green: usize,
        /// Of blue.
        blue: usize,
    },
    /// Brightness alone.
    Grey,
}

impl PixelFormat {
    /// The format that GStreamer calls `name`; `None`: its pixels cannot be read here.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let rgb = |size, red, green, blue| Some(Self::Rgb { size, red, green, blue });
        match name {
            "I420" => Some(Self::Planar),
            "YV12" => Some(Self::PlanarSwapped),
            "NV12" => Some(Self::SemiPlanar),
            "NV21" => Some(Self::SemiPlanarSwapped),
            "YUY2" => Some(Self::Packed { luma: 0, blue: 1, red: 3 }),
            "YVYU" => Some(Self::Packed { luma: 0, blue: 3, red: 1 }),
            "UYVY" => Some(Self::Packed { luma: 1, blue: 0, red: 2 }),
            "VYUY" => Some(Self::Packed { luma: 1, blue: 2, red: 0 }),
            "RGB" => rgb(3, 0, 1, 2),
            "BGR" => rgb(3, 2, 1, 0),
            "RGBx" | "RGBA" => rgb(4, 0, 1, 2),
            "BGRx" | "BGRA" => rgb(4, 2, 1, 0),
            "xRGB" | "ARGB" => rgb(4, 1, 2, 3),
            "xBGR" | "ABGR" => rgb(4, 3, 2, 1),
            "GRAY8" => Some(Self::Grey),
            _ => None,
        }
    }
}

/// How luma and colour differences are made of red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colorimetry {
    /// Part of red in luma.
    pub red: f32,
    /// Part of blue in luma.
    pub blue: f32,
    /// Whether values use all of 0 to 255; else luma is 16 to 235.
    pub full_range: bool,
}

impl Default for Colorimetry {
    /// BT.601 with the limited range.
    fn default() -> Self {
        Self { red: 0.299, blue: 0.114, full_range: false }
    }
}

/// One plane of a picture.
#[derive(Debug, Clone, Copy)]
pub struct Plane<'a> {
    /// Its bytes.
    pub data: &'a [u8],
    /// From a row to the next, in bytes.
    pub stride: usize,
}

/// A picture in memory.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// How its pixels lie.
    pub format: PixelFormat,
    /// How its colours are coded.
    pub colorimetry: Colorimetry,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Its planes.
    pub planes: &'a [Plane<'a>],
}

/// The centre of a picture: medians from 0, black, to 255, white.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CentreColour {
    /// Brightness: luma.
    pub brightness: u8,
    /// Red.
    pub red: u8,
    /// Green.
    pub green: u8,
    /// Blue.
    pub blue: u8,
}

impl CentreColour {
    /// Red and blue relative to green: what white balance sets. `None` if there is hardly any green.
    #[must_use]
    pub fn ratios(&self) -> Option<(f64, f64)> {
        const DARK: u8 = 8;
        let green = f64::from(self.green);
        (self.green >= DARK).then(|| (f64::from(self.red) / green, f64::from(self.blue) / green))
    }
}

/// A request to a device: to measure the centre of one of its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CentreRequest {
    /// The first frame that may be measured; 0: the next one.
    pub from: FrameNumber,
}

/// A device's reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CentreReply {
    /// The device.
    pub device: DeviceId,
    /// The frame that was measured.
    pub frame: FrameNumber,
    /// What it looks like; `None`: the pixels cannot be read.
    pub colour: Option<CentreColour>,
    /// The format of its frames.
    #[serde(deserialize_with = "bounded::text")]
    pub format: String,
}

/// The medians of the centre. `None` if the planes are too short for the picture, or it has no pixels.
#[must_use]
pub fn measure(picture: &Picture<'_>) -> Option<CentreColour> {
    let (width, height) = (picture.width, picture.height);
    if width == 0 || height == 0 {
        return None;
    }
    let mut counts = [[0_u32; 256]; 4];
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            // The middle half, at the middle of each cell of the grid.
            let x = width / 4 + width * (2 * column + 1) / (4 * COLUMNS);
            let y = height / 4 + height * (2 * row + 1) / (4 * ROWS);
            let pixel = picture.pixel(x.min(width - 1), y.min(height - 1))?;
            for (count, value) in counts.iter_mut().zip(pixel) {
                count[usize::from(value)] += 1;
            }
        }
    }
    let [brightness, red, green, blue] = counts.map(|counts| median(&counts));
    Some(CentreColour { brightness, red, green, blue })
}

fn median(counts: &[u32; 256]) -> u8 {
    let half = counts.iter().sum::<u32>().div_ceil(2);
    let mut below = 0;
    let reached = (0..=u8::MAX).find(|value| {
        below += counts[usize::from(*value)];
        below >= half
    });
    reached.unwrap_or(u8::MAX)
}

impl Picture<'_> {
    /// Brightness, red, green and blue of a pixel.
    fn pixel(&self, x: usize, y: usize) -> Option<[u8; 4]> {
        let byte = |plane: usize, row: usize, offset: usize| {
            let Plane { data, stride } = self.planes.get(plane)?;
            data.get(row * stride + offset).copied()
        };
        match self.format {
            PixelFormat::Planar => {
                self.rgb_of_yuv(byte(0, y, x)?, byte(1, y / 2, x / 2)?, byte(2, y / 2, x / 2)?)
            }
            PixelFormat::PlanarSwapped => {
                self.rgb_of_yuv(byte(0, y, x)?, byte(2, y / 2, x / 2)?, byte(1, y / 2, x / 2)?)
            }
            PixelFormat::SemiPlanar => {
                let pair = x / 2 * 2;
                self.rgb_of_yuv(byte(0, y, x)?, byte(1, y / 2, pair)?, byte(1, y / 2, pair + 1)?)
            }
            PixelFormat::SemiPlanarSwapped => {
                let pair = x / 2 * 2;
                self.rgb_of_yuv(byte(0, y, x)?, byte(1, y / 2, pair + 1)?, byte(1, y / 2, pair)?)
            }
            PixelFormat::Packed { luma, blue, red } => {
                let pair = x / 2 * 4;
                let own = pair + luma + x % 2 * 2;
                self.rgb_of_yuv(byte(0, y, own)?, byte(0, y, pair + blue)?, byte(0, y, pair + red)?)
            }
            PixelFormat::Rgb { size, red, green, blue } => {
                let at = |offset| byte(0, y, x * size + offset);
                let [red, green, blue] = [at(red)?, at(green)?, at(blue)?];
                let Colorimetry { red: kr, blue: kb, .. } = self.colorimetry;
                let luma = kr * f32::from(red) + (1.0 - kr - kb) * f32::from(green) + kb * f32::from(blue);
                Some([rounded(luma), red, green, blue])
            }
            PixelFormat::Grey => byte(0, y, x).map(|grey| [grey; 4]),
        }
    }

    /// From luma and the differences of blue and red.
    #[expect(clippy::unnecessary_wraps, reason = "the arms that call it return options")]
    fn rgb_of_yuv(&self, luma: u8, blue: u8, red: u8) -> Option<[u8; 4]> {
        let Colorimetry { red: kr, blue: kb, full_range } = self.colorimetry;
        let (black, luma_scale, colour_scale) =
            if full_range { (0.0, 1.0, 1.0) } else { (16.0, 255.0 / 219.0, 255.0 / 224.0) };
        let y = (f32::from(luma) - black) * luma_scale;
        let of = |difference: u8| (f32::from(difference) - 128.0) * colour_scale;
        // ITU-R BT.601, sec. 2.5: the differences are scaled so that they use the whole range.
        let r = y + 2.0 * (1.0 - kr) * of(red);
        let b = y + 2.0 * (1.0 - kb) * of(blue);
        let g = (y - kr * r - kb * b) / (1.0 - kr - kb);
        Some([y, r, g, b].map(rounded))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte's range")]
fn rounded(value: f32) -> u8 {
    value.clamp(0.0, 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 128;
    const HEIGHT: usize = 96;

    /// The planes of a picture of one colour, by GStreamer's name of the format.
    fn planes(format: &str, [y, u, v]: [u8; 3], [r, g, b]: [u8; 3]) -> Vec<(Vec<u8>, usize)> {
        let plane = |bytes: &[u8], width: usize, height: usize| {
            let stride = width * bytes.len() + 12; // rows have padding
            let row: Vec<u8> =
                bytes.iter().copied().cycle().take(width * bytes.len()).chain([99; 12]).collect();
            (row.repeat(height), stride)
        };
        let (half, low) = (WIDTH / 2, HEIGHT / 2);
        match format {
            "I420" => vec![plane(&[y], WIDTH, HEIGHT), plane(&[u], half, low), plane(&[v], half, low)],
            "YV12" => vec![plane(&[y], WIDTH, HEIGHT), plane(&[v], half, low), plane(&[u], half, low)],
            "NV12" => vec![plane(&[y], WIDTH, HEIGHT), plane(&[u, v], half, low)],
            "NV21" => vec![plane(&[y], WIDTH, HEIGHT), plane(&[v, u], half, low)],
            "YUY2" => vec![plane(&[y, u, y, v], half, HEIGHT)],
            "YVYU" => vec![plane(&[y, v, y, u], half, HEIGHT)],
            "UYVY" => vec![plane(&[u, y, v, y], half, HEIGHT)],
            "VYUY" => vec![plane(&[v, y, u, y], half, HEIGHT)],
            "RGB" => vec![plane(&[r, g, b], WIDTH, HEIGHT)],
            "BGR" => vec![plane(&[b, g, r], WIDTH, HEIGHT)],
            "RGBx" | "RGBA" => vec![plane(&[r, g, b, 7], WIDTH, HEIGHT)],
            "BGRx" | "BGRA" => vec![plane(&[b, g, r, 7], WIDTH, HEIGHT)],
            "xRGB" | "ARGB" => vec![plane(&[7, r, g, b], WIDTH, HEIGHT)],
            "xBGR" | "ABGR" => vec![plane(&[7, b, g, r], WIDTH, HEIGHT)],
            "GRAY8" => vec![plane(&[y], WIDTH, HEIGHT)],
            other => panic!("{other}"),
        }
    }

    fn measured(format: &str, planes: &[(Vec<u8>, usize)], full_range: bool) -> Option<CentreColour> {
        let planes: Vec<_> = planes.iter().map(|(data, stride)| Plane { data, stride: *stride }).collect();
        measure(&Picture {
            format: PixelFormat::from_name(format).unwrap(),
            colorimetry: Colorimetry { full_range, ..Colorimetry::default() },
            width: WIDTH,
            height: HEIGHT,
            planes: &planes,
        })
    }

    fn near(colour: CentreColour, expected: [u8; 4]) -> bool {
        let all = [colour.brightness, colour.red, colour.green, colour.blue];
        all.iter().zip(expected).all(|(value, expected)| value.abs_diff(expected) <= 1)
    }

    #[test]
    fn every_format_says_the_same_of_one_colour() {
        // RGB (200, 120, 60) by BT.601: Y' = 137.08; Cb, Cr in the limited range: 16 + 137.08 * 219 / 255 = 133.7, and
        // 128 + 224 / 255 * (60 - 137.08) / 1.772 = 89.8, 128 + 224 / 255 * (200 - 137.08) / 1.402 = 167.4.
        let (yuv, rgb) = ([134, 90, 167], [200, 120, 60]);
        for format in [
            "I420", "YV12", "NV12", "NV21", "YUY2", "YVYU", "UYVY", "VYUY", "RGB", "BGR", "RGBx", "RGBA",
            "BGRx", "BGRA", "xRGB", "ARGB", "xBGR", "ABGR",
        ] {
            let colour = measured(format, &planes(format, yuv, rgb), false).unwrap();
            assert!(near(colour, [137, 200, 120, 60]), "{format}: {colour:?}");
        }
        let grey = measured("GRAY8", &planes("GRAY8", [77, 0, 0], [0; 3]), false).unwrap();
        assert!(near(grey, [77; 4]), "{grey:?}");
        let full = measured("I420", &planes("I420", [255, 128, 128], [0; 3]), true).unwrap();
        assert!(near(full, [255; 4]), "{full:?}");
        assert_eq!(PixelFormat::from_name("SRGGB10"), None);
    }

    #[test]
    fn only_the_centre_counts_and_outliers_do_not() {
        let mut luma = vec![255; WIDTH * HEIGHT];
        for y in HEIGHT / 4..HEIGHT * 3 / 4 {
            for x in WIDTH / 4..WIDTH * 3 / 4 {
                // A lamp in a third of the centre.
                luma[y * WIDTH + x] = if x < WIDTH / 4 + WIDTH / 6 { 250 } else { 60 };
            }
        }
        let colour = measured("GRAY8", &[(luma, WIDTH)], true).unwrap();
        assert_eq!(colour.brightness, 60);
    }

    #[test]
    fn a_picture_with_too_few_bytes_is_not_measured() {
        let mut short = planes("NV12", [100, 128, 128], [0; 3]);
        assert!(measured("NV12", &short, false).is_some());
        short[1].0.truncate(100);
        assert_eq!(measured("NV12", &short, false), None);
        short.pop();
        assert_eq!(measured("NV12", &short, false), None);
    }

    #[test]
    fn white_balance_is_relative_to_green() {
        let colour = CentreColour { brightness: 100, red: 150, green: 100, blue: 50 };
        assert_eq!(colour.ratios(), Some((1.5, 0.5)));
        assert_eq!(CentreColour { green: 7, ..colour }.ratios(), None);
    }
}
