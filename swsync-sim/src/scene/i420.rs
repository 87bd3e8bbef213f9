//! I420 pictures: the render targets.

use crate::num::byte;
use crate::panel::PanelLayout;

/// One plane of a picture to write: its samples and the distance from row to row.
#[derive(Debug)]
pub struct PlaneMut<'a> {
    /// Samples.
    pub data: &'a mut [u8],
    /// Samples from one row's first to the next one's; at least the plane's width.
    pub stride: usize,
}

/// An I420 picture to write (BT.601, limited range): chroma planes have half the width and height,
/// rounded up.
#[derive(Debug)]
pub struct I420Mut<'a> {
    /// Luma.
    pub y: PlaneMut<'a>,
    /// Blue difference.
    pub u: PlaneMut<'a>,
    /// Red difference.
    pub v: PlaneMut<'a>,
}

/// A plane is too small for the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("plane {plane} of {len} samples, {stride} a row, is too small for {width}x{height}")]
pub struct PlaneError {
    /// `Y`, `U` or `V`.
    pub plane: char,
    /// Its number of samples.
    pub len: usize,
    /// Its stride.
    pub stride: usize,
    /// Columns to write.
    pub width: usize,
    /// Rows to write.
    pub height: usize,
}

/// A picture that owns its planes, without gaps between rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct I420Buffer {
    width: usize,
    height: usize,
    /// Luma, `width` a row.
    pub y: Vec<u8>,
    /// Blue difference, half of `width` a row, rounded up.
    pub u: Vec<u8>,
    /// Red difference, half of `width` a row, rounded up.
    pub v: Vec<u8>,
}

impl I420Buffer {
    /// A black picture of the layout's size.
    #[must_use]
    pub fn new(layout: &PanelLayout) -> Self {
        let (width, height) = (layout.width(), layout.height());
        let chroma = vec![128; width.div_ceil(2) * height.div_ceil(2)];
        Self { width, height, y: vec![16; width * height], u: chroma.clone(), v: chroma }
    }

    /// The planes, to render into.
    pub fn planes_mut(&mut self) -> I420Mut<'_> {
        let half = self.width.div_ceil(2);
        I420Mut {
            y: PlaneMut { data: &mut self.y, stride: self.width },
            u: PlaneMut { data: &mut self.u, stride: half },
            v: PlaneMut { data: &mut self.v, stride: half },
        }
    }

    /// Red, green, blue, 8 bit each, full range.
    #[must_use]
    pub fn to_rgb8(&self) -> Vec<u8> {
        let mut rgb = Vec::with_capacity(self.y.len() * 3);
        for (row, line) in self.y.chunks_exact(self.width).enumerate() {
            for (x, y) in line.iter().enumerate() {
                let chroma = row / 2 * self.width.div_ceil(2) + x / 2;
                let y = 255.0 / 219.0 * (f64::from(*y) - 16.0);
                let u = (f64::from(self.u[chroma]) - 128.0) / 112.0 * 127.5;
                let v = (f64::from(self.v[chroma]) - 128.0) / 112.0 * 127.5;
                rgb.extend([y + 1.402 * v, y - 0.344_136 * u - 0.714_136 * v, y + 1.772 * u].map(byte));
            }
        }
        rgb
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limited_range_yuv_becomes_full_range_rgb() {
        let layout = PanelLayout::new(161, 121).unwrap();
        let mut picture = I420Buffer::new(&layout);
        assert_eq!(picture.u.len(), 81 * 61);
        assert!(picture.to_rgb8().iter().all(|&channel| channel == 0));
        picture.y.fill(235);
        assert!(picture.to_rgb8().iter().all(|&channel| channel == 255));
        // pure red, BT.601
        picture.y.fill(81);
        picture.u.fill(90);
        picture.v.fill(240);
        let rgb = picture.to_rgb8();
        assert!(rgb[0] > 252 && rgb[1] < 3 && rgb[2] < 3, "{:?}", &rgb[..3]);
    }
}
