//! Converts libcamera's colour spaces to GStreamer's colorimetry, and back.
//!
//! Both have range, matrix, transfer function and primaries. libcamera knows fewer values of each. GStreamer's others become
//! the nearest, as in libcamera's own element.

use ::libcamera::color_space::{ColorSpace, Primaries, Range, TransferFunction, YcbcrEncoding};
use gst_video::{
    VideoColorMatrix, VideoColorPrimaries, VideoColorRange, VideoColorimetry, VideoTransferFunction,
};

/// `space` as colorimetry.
pub(super) fn colorimetry(space: ColorSpace) -> VideoColorimetry {
    VideoColorimetry::new(
        match space.range {
            Range::Full => VideoColorRange::Range0_255,
            Range::Limited => VideoColorRange::Range16_235,
        },
        match space.ycbcr_encoding {
            YcbcrEncoding::None => VideoColorMatrix::Rgb,
            YcbcrEncoding::Rec601 => VideoColorMatrix::Bt601,
            YcbcrEncoding::Rec709 => VideoColorMatrix::Bt709,
            YcbcrEncoding::Rec2020 => VideoColorMatrix::Bt2020,
        },
        match space.transfer_function {
            TransferFunction::Linear => VideoTransferFunction::Gamma10,
            TransferFunction::Srgb => VideoTransferFunction::Srgb,
            TransferFunction::Rec709 => VideoTransferFunction::Bt709,
        },
        match space.primaries {
            Primaries::Raw => VideoColorPrimaries::Unknown,
            Primaries::Smpte170m => VideoColorPrimaries::Smpte170m,
            Primaries::Rec709 => VideoColorPrimaries::Bt709,
            Primaries::Rec2020 => VideoColorPrimaries::Bt2020,
        },
    )
}

/// `colorimetry` as a colour space.
///
/// # Errors
/// The part that libcamera does not have.
pub(super) fn space(colorimetry: &VideoColorimetry) -> Result<ColorSpace, String> {
    let unknown = |what: &str, value: &dyn std::fmt::Debug| format!("libcamera has no {what} {value:?}");
    Ok(ColorSpace::new(
        match colorimetry.primaries() {
            VideoColorPrimaries::Unknown => Primaries::Raw,
            VideoColorPrimaries::Bt709 => Primaries::Rec709,
            VideoColorPrimaries::Smpte170m | VideoColorPrimaries::Smpte240m => Primaries::Smpte170m,
            VideoColorPrimaries::Bt2020 => Primaries::Rec2020,
            other => return Err(unknown("colour primaries", &other)),
        },
        match colorimetry.transfer() {
            VideoTransferFunction::Gamma10 => TransferFunction::Linear,
            VideoTransferFunction::Srgb => TransferFunction::Srgb,
            // The same curve with more or fewer digits (BT.2020 table 4).
            VideoTransferFunction::Bt709
            | VideoTransferFunction::Bt601
            | VideoTransferFunction::Bt202010
            | VideoTransferFunction::Bt202012 => TransferFunction::Rec709,
            other => return Err(unknown("transfer function", &other)),
        },
        match colorimetry.matrix() {
            VideoColorMatrix::Rgb => YcbcrEncoding::None,
            // FCC's matrix is BT.601's with fewer digits.
            VideoColorMatrix::Bt601 | VideoColorMatrix::Fcc => YcbcrEncoding::Rec601,
            VideoColorMatrix::Bt709 => YcbcrEncoding::Rec709,
            VideoColorMatrix::Bt2020 => YcbcrEncoding::Rec2020,
            other => return Err(unknown("YCbCr matrix", &other)),
        },
        match colorimetry.range() {
            VideoColorRange::Range0_255 => Range::Full,
            VideoColorRange::Range16_235 => Range::Limited,
            other => return Err(unknown("colour range", &other)),
        },
    ))
}

/// The colour space in the structure of fixed caps; `None` if it names none.
///
/// # Errors
/// Why libcamera does not have it.
pub(super) fn space_of(structure: &gst::StructureRef) -> Result<Option<ColorSpace>, String> {
    let Ok(named) = structure.get::<&str>("colorimetry") else {
        return Ok(None);
    };
    let colorimetry: VideoColorimetry =
        named.parse().map_err(|_| format!("`{named}` is no colorimetry that GStreamer knows"))?;
    space(&colorimetry).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_spaces_are_the_same_after_conversion_and_back() {
        gst::init().unwrap();
        for primaries in [Primaries::Raw, Primaries::Smpte170m, Primaries::Rec709, Primaries::Rec2020] {
            for transfer in [TransferFunction::Linear, TransferFunction::Srgb, TransferFunction::Rec709] {
                for matrix in [
                    YcbcrEncoding::None,
                    YcbcrEncoding::Rec601,
                    YcbcrEncoding::Rec709,
                    YcbcrEncoding::Rec2020,
                ] {
                    for range in [Range::Full, Range::Limited] {
                        let there = ColorSpace::new(primaries, transfer, matrix, range);
                        assert_eq!(space(&colorimetry(there)), Ok(there));
                    }
                }
            }
        }
    }

    #[test]
    fn the_usual_ones_have_their_usual_names() {
        gst::init().unwrap();
        for (space, name) in
            [(ColorSpace::srgb(), "sRGB"), (ColorSpace::rec709(), "bt709"), (ColorSpace::sycc(), "1:4:7:1")]
        {
            let expected: VideoColorimetry = name.parse().unwrap();
            assert_eq!(colorimetry(space), expected, "{name}");
        }
        let structure = |text: &str| text.parse::<gst::Structure>().unwrap();
        assert_eq!(space_of(&structure("video/x-raw")), Ok(None));
        assert!(space_of(&structure("video/x-raw,colorimetry=beautiful")).is_err());
        let pq = space_of(&structure("video/x-raw,colorimetry=bt2100-pq")).unwrap_err();
        assert!(pq.contains("transfer"), "{pq}");
    }
}
