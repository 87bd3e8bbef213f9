//! Animated GIFs: each picture has a palette of its own, and what lies between its colours comes from error diffusion.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context as _;
use gif::{Encoder, Frame, Repeat};
use image::RgbImage;
use swsync_core::grid::FrameGrid;

use super::palette::{Colour, distance, palette};

/// Browsers show pictures of less than two hundredths of a second for ten of them.
pub const FASTEST: u32 = 50;

/// A picture in the colours of its palette.
pub struct Picture {
    palette: Vec<Colour>,
    /// For each pixel the index of its colour, row by row.
    indices: Vec<u8>,
}

impl Picture {
    /// Chooses the colours for `picture`.
    pub fn of(picture: &RgbImage) -> Self {
        let palette = palette(picture);
        Self { indices: dither(picture, &palette), palette }
    }
}

/// An animated GIF that is being written, which repeats for ever.
pub struct GifWriter {
    encoder: Encoder<BufWriter<File>>,
    width: u16,
    height: u16,
    rate: FrameGrid,
    /// Pictures so far, of which one frame may stand for several.
    shown: u64,
}

impl GifWriter {
    /// A file with pictures of this size and rate.
    pub fn create(path: &Path, (width, height): (u32, u32), rate: FrameGrid) -> anyhow::Result<Self> {
        let side = |side: u32| u16::try_from(side).context("a GIF is at most 65535 pixels wide and high");
        let file = BufWriter::new(File::create(path)?);
        let (width, height) = (side(width)?, side(height)?);
        let mut encoder = Encoder::new(file, width, height, &[])?;
        encoder.set_repeat(Repeat::Infinite)?;
        Ok(Self { encoder, width, height, rate, shown: 0 })
    }

    /// Adds a picture that is shown for so many.
    pub fn push(&mut self, picture: &Picture, pictures: u32) -> anyhow::Result<()> {
        let begin = self.hundredths(self.shown);
        self.shown += u64::from(pictures);
        // Rounded ends, not lengths: no error adds up.
        let delay = self.hundredths(self.shown) - begin;
        let frame = Frame {
            delay: u16::try_from(delay).unwrap_or(u16::MAX),
            width: self.width,
            height: self.height,
            buffer: Cow::Borrowed(&picture.indices),
            palette: Some(picture.palette.concat()),
            ..Frame::default()
        };
        Ok(self.encoder.write_frame(&frame)?)
    }

    /// Ends the file.
    pub fn finish(self) -> anyhow::Result<()> {
        Ok(self.encoder.into_inner()?.flush()?)
    }

    /// When a picture begins, in hundredths of a second.
    fn hundredths(&self, picture: u64) -> u64 {
        let (frames, seconds) = self.rate.rate();
        (picture * 100 * u64::from(seconds) + u64::from(frames) / 2) / u64::from(frames)
    }
}

/// For each pixel the index of a colour, by Floyd and Steinberg's error diffusion. Rows go to the right and to the left in turn, so
/// that errors do not drift to one side.
fn dither(picture: &RgbImage, palette: &[Colour]) -> Vec<u8> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mut nearest = NearestColour::new(palette);
    let mut indices = vec![0; width * height];
    // Errors of this row and the next in sixteenths, with a column more on both sides.
    let (mut errors, mut below) = (vec![[0_i32; 3]; width + 2], vec![[0_i32; 3]; width + 2]);
    for (row, pixels) in picture.as_raw().chunks_exact(width * 3).enumerate() {
        let is_left = row % 2 == 1;
        for step in 0..width {
            let column = if is_left { width - 1 - step } else { step };
            let at = column + 1;
            let (ahead, behind) = if is_left { (at - 1, at + 1) } else { (at + 1, at - 1) };
            let wanted: [i32; 3] = std::array::from_fn(|part| {
                (i32::from(pixels[column * 3 + part]) + errors[at][part] / 16).clamp(0, 255)
            });
            let index = nearest.index_of(wanted);
            indices[row * width + column] = index;
            for part in 0..3 {
                let error = wanted[part] - i32::from(palette[usize::from(index)][part]);
                errors[ahead][part] += error * 7;
                below[behind][part] += error * 3;
                below[at][part] += error * 5;
                below[ahead][part] += error;
            }
        }
        std::mem::swap(&mut errors, &mut below);
        below.fill([0; 3]);
    }
    indices
}

/// Finds the colour of a palette that is nearest to another one.
struct NearestColour<'a> {
    palette: &'a [Colour],
    /// What was found, by the upper six bits of red, green and blue.
    known: Vec<Option<u8>>,
}

impl<'a> NearestColour<'a> {
    fn new(palette: &'a [Colour]) -> Self {
        Self { palette, known: vec![None; 1 << 18] }
    }

    /// The index of the colour nearest to `wanted`, whose parts are from 0 to 255.
    fn index_of(&mut self, wanted: [i32; 3]) -> u8 {
        let cell = wanted.iter().fold(0, |cell, part| cell << 6 | (part >> 2).unsigned_abs() as usize);
        if let Some(index) = self.known[cell] {
            return index;
        }
        let nearest = self.palette.iter().enumerate().min_by_key(|(_, colour)| distance(wanted, colour));
        let index = nearest.and_then(|(index, _)| u8::try_from(index).ok()).unwrap_or(0);
        *self.known[cell].insert(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slow slope of colours: far more than 256 of them.
    fn slope() -> RgbImage {
        let part = |at: u32, of: u32| u8::try_from(at * 255 / of).unwrap();
        RgbImage::from_fn(320, 200, |x, y| image::Rgb([part(x, 320), part(y, 200), part(x + y, 520)]))
    }

    /// Mean of each part over a block of 8x8 pixels.
    fn mean(picture: &RgbImage, (left, top): (u32, u32)) -> [f64; 3] {
        std::array::from_fn(|part| {
            let pixels = (0..64).map(|at| f64::from(picture.get_pixel(left + at % 8, top + at / 8).0[part]));
            pixels.sum::<f64>() / 64.0
        })
    }

    #[test]
    fn seen_from_afar_the_colours_are_those_of_the_picture() {
        let picture = slope();
        let Picture { palette, indices } = Picture::of(&picture);
        assert!(palette.len() <= 256);
        let shown = RgbImage::from_fn(320, 200, |x, y| {
            image::Rgb(palette[usize::from(indices[(y * 320 + x) as usize])])
        });
        // Inside, and at the black corner. Along its edges the colours of this picture are outside of any small palette.
        let inside = (40..320).step_by(40).flat_map(|left| (40..200).step_by(40).map(move |top| (left, top)));
        for at in inside.chain([(0, 0)]) {
            let (is, should) = (mean(&shown, at), mean(&picture, at));
            for part in 0..3 {
                assert!((is[part] - should[part]).abs() < 6.0, "{at:?}: {is:?}, not {should:?}");
            }
        }
    }

    #[test]
    fn delays_keep_the_rate_on_average() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        let mut writer = GifWriter::create(&path, (8, 8), FrameGrid::new(30, 1).unwrap()).unwrap();
        let picture = Picture::of(&RgbImage::new(8, 8));
        (0..30).for_each(|_| writer.push(&picture, 1).unwrap());
        writer.push(&picture, 15).unwrap();
        writer.finish().unwrap();
        let mut decoder = gif::DecodeOptions::new().read_info(File::open(&path).unwrap()).unwrap();
        let mut delays = Vec::new();
        while let Some(frame) = decoder.next_frame_info().unwrap() {
            delays.push(frame.delay);
        }
        assert_eq!((delays.len(), delays.iter().sum::<u16>()), (31, 150));
        assert_eq!(&delays[..4], [3, 4, 3, 3]);
        assert_eq!(delays[30], 50);
        assert_eq!(decoder.repeat(), Repeat::Infinite);
    }
}
