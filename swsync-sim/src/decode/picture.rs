//! The picture to decode: borrowed samples, of which only luma is used.

/// There are too few samples for the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes with {stride} a row are too few for a picture of {width}x{height}")]
pub struct PictureError {
    /// Number of bytes.
    pub len: usize,
    /// Bytes from row to row.
    pub stride: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// A picture from a camera or a JPEG decoder.
///
/// The decoder uses luma only, relative to its surroundings. So range, brightness and tint make no difference, and chroma, which
/// compression blurs most, is not needed.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    data: &'a [u8],
    stride: usize,
    width: usize,
    height: usize,
    format: Format,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Luma,
    Rgb8,
}

impl<'a> Picture<'a> {
    /// The luma plane of a YUV picture (or a grey one), with `stride` bytes from row to row.
    ///
    /// # Errors
    /// [`PictureError`] if there are too few samples.
    pub fn luma(data: &'a [u8], stride: usize, width: usize, height: usize) -> Result<Self, PictureError> {
        Self::new(data, stride, width, height, Format::Luma)
    }

    /// Red, green, blue, 8 bit each, without gaps between rows.
    ///
    /// # Errors
    /// [`PictureError`] if there are too few samples.
    pub fn rgb8(data: &'a [u8], width: usize, height: usize) -> Result<Self, PictureError> {
        Self::new(data, width.saturating_mul(3), width, height, Format::Rgb8)
    }

    fn new(
        data: &'a [u8],
        stride: usize,
        width: usize,
        height: usize,
        format: Format,
    ) -> Result<Self, PictureError> {
        let bytes = match format {
            Format::Luma => width,
            Format::Rgb8 => width.saturating_mul(3),
        };
        let need = height.saturating_sub(1).saturating_mul(stride).saturating_add(bytes);
        if width == 0 || height == 0 || stride < bytes || data.len() < need {
            return Err(PictureError { len: data.len(), stride, width, height });
        }
        Ok(Self { data, stride, width, height, format })
    }

    /// Columns and rows.
    #[must_use]
    pub const fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Luma at a column and row.
    pub(super) fn at(&self, x: usize, y: usize) -> f64 {
        let row = &self.data[y * self.stride..];
        match self.format {
            Format::Luma => f64::from(row[x]),
            Format::Rgb8 => {
                let [r, g, b] = [row[3 * x], row[3 * x + 1], row[3 * x + 2]].map(f64::from);
                0.299 * r + 0.587 * g + 0.114 * b
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_samples_are_refused() {
        let data = [0; 100];
        assert!(Picture::luma(&data, 10, 10, 10).is_ok());
        assert!(Picture::luma(&data[..99], 10, 10, 10).is_err());
        assert!(Picture::luma(&data[..95], 10, 5, 10).is_ok()); // the last row needs no padding
        assert!(Picture::luma(&data, 9, 10, 10).is_err());
        assert!(Picture::rgb8(&data, 6, 6).is_err());
        assert!(Picture::rgb8(&data, usize::MAX, 2).is_err());
        assert!(Picture::luma(&data, 10, 0, 0).is_err());
    }

    #[test]
    fn rgb_becomes_luma() {
        let data = [255, 255, 255, 255, 0, 0];
        let picture = Picture::rgb8(&data, 2, 1).unwrap();
        assert!((picture.at(0, 0) - 255.0).abs() < 1e-9);
        assert!((picture.at(1, 0) - 76.245).abs() < 1e-9);
    }
}
