//! libcamera's formats as GStreamer caps.
//!
//! libcamera names packed RGB formats as DRM does, by their bits in a little-endian word. GStreamer
//! names them by their bytes in memory. So `RGB888` is GStreamer's BGR, and vice versa.

use ::libcamera::camera::{Camera, CameraConfiguration};
use ::libcamera::geometry::{Size, SizeRange};
use ::libcamera::pixel_format::PixelFormat;
use ::libcamera::stream::StreamRole as Role;
use gst_video::VideoFormat;
use gst_video::prelude::*;

use crate::camera::StreamRole;
use crate::camera::mode::Mode;
use crate::caps::DMABUF;

/// A picture format of GStreamer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Picture {
    Raw(VideoFormat),
    Jpeg,
    /// Raw Bayer data: the name in caps, and bytes per pixel.
    Bayer(&'static str, u32),
}

/// Since this version of GStreamer, caps of dma-bufs name formats as DRM does.
const DRM_CAPS: (u32, u32) = (1, 24);

impl Picture {
    /// Whether the caps structure has this format.
    pub(super) fn is_in(self, structure: &gst::StructureRef) -> bool {
        let own = self.structure();
        own.name() == structure.name()
            && own.get::<&str>("format").ok() == structure.get::<&str>("format").ok()
    }

    fn structure(self) -> gst::Structure {
        match self {
            Self::Raw(format) => {
                gst::Structure::builder("video/x-raw").field("format", format.to_str()).build()
            }
            Self::Jpeg => gst::Structure::new_empty("image/jpeg"),
            Self::Bayer(name, _) => gst::Structure::builder("video/x-bayer").field("format", name).build(),
        }
    }
}

/// A format by libcamera's fourcc. The binding's own list is empty for libcamera 0.4.
const fn drm(fourcc: [u8; 4]) -> PixelFormat {
    PixelFormat::new(u32::from_le_bytes(fourcc), 0)
}

/// The supported formats (libcamera's `formats.yaml` without modifiers), in order of preference: what encoders take, what
/// converts cheaply, compressed pictures, which cost quality, and last what only few elements read.
pub(super) const FORMATS: [(PixelFormat, Picture); 47] = [
    (drm(*b"NV12"), Picture::Raw(VideoFormat::Nv12)),
    (drm(*b"YU12"), Picture::Raw(VideoFormat::I420)),
    (drm(*b"YV12"), Picture::Raw(VideoFormat::Yv12)),
    (drm(*b"NV21"), Picture::Raw(VideoFormat::Nv21)),
    (drm(*b"NV16"), Picture::Raw(VideoFormat::Nv16)),
    (drm(*b"NV61"), Picture::Raw(VideoFormat::Nv61)),
    (drm(*b"NV24"), Picture::Raw(VideoFormat::Nv24)),
    (drm(*b"YU16"), Picture::Raw(VideoFormat::Y42b)),
    (drm(*b"YU24"), Picture::Raw(VideoFormat::Y444)),
    (drm(*b"YUYV"), Picture::Raw(VideoFormat::Yuy2)),
    (drm(*b"UYVY"), Picture::Raw(VideoFormat::Uyvy)),
    (drm(*b"YVYU"), Picture::Raw(VideoFormat::Yvyu)),
    (drm(*b"VYUY"), Picture::Raw(VideoFormat::Vyuy)),
    (drm(*b"BG24"), Picture::Raw(VideoFormat::Rgb)),  // BGR888
    (drm(*b"RG24"), Picture::Raw(VideoFormat::Bgr)),  // RGB888
    (drm(*b"XR24"), Picture::Raw(VideoFormat::Bgrx)), // XRGB8888
    (drm(*b"XB24"), Picture::Raw(VideoFormat::Rgbx)), // XBGR8888
    (drm(*b"RX24"), Picture::Raw(VideoFormat::Xbgr)), // RGBX8888
    (drm(*b"BX24"), Picture::Raw(VideoFormat::Xrgb)), // BGRX8888
    (drm(*b"AR24"), Picture::Raw(VideoFormat::Bgra)), // ARGB8888
    (drm(*b"AB24"), Picture::Raw(VideoFormat::Rgba)), // ABGR8888
    (drm(*b"RA24"), Picture::Raw(VideoFormat::Abgr)), // RGBA8888
    (drm(*b"BA24"), Picture::Raw(VideoFormat::Argb)), // BGRA8888
    (drm(*b"RG16"), Picture::Raw(VideoFormat::Rgb16)),
    (drm(*b"R8  "), Picture::Raw(VideoFormat::Gray8)),
    (drm(*b"R16 "), Picture::Raw(VideoFormat::Gray16Le)),
    (drm(*b"MJPG"), Picture::Jpeg),
    (drm(*b"BA81"), Picture::Bayer("bggr", 1)),
    (drm(*b"GBRG"), Picture::Bayer("gbrg", 1)),
    (drm(*b"GRBG"), Picture::Bayer("grbg", 1)),
    (drm(*b"RGGB"), Picture::Bayer("rggb", 1)),
    (drm(*b"BG10"), Picture::Bayer("bggr10le", 2)),
    (drm(*b"GB10"), Picture::Bayer("gbrg10le", 2)),
    (drm(*b"BA10"), Picture::Bayer("grbg10le", 2)),
    (drm(*b"RG10"), Picture::Bayer("rggb10le", 2)),
    (drm(*b"BG12"), Picture::Bayer("bggr12le", 2)),
    (drm(*b"GB12"), Picture::Bayer("gbrg12le", 2)),
    (drm(*b"BA12"), Picture::Bayer("grbg12le", 2)),
    (drm(*b"RG12"), Picture::Bayer("rggb12le", 2)),
    (drm(*b"BG14"), Picture::Bayer("bggr14le", 2)),
    (drm(*b"GB14"), Picture::Bayer("gbrg14le", 2)),
    (drm(*b"BA14"), Picture::Bayer("grbg14le", 2)),
    (drm(*b"RG14"), Picture::Bayer("rggb14le", 2)),
    (drm(*b"BYR2"), Picture::Bayer("bggr16le", 2)),
    (drm(*b"GB16"), Picture::Bayer("gbrg16le", 2)),
    (drm(*b"GR16"), Picture::Bayer("grbg16le", 2)),
    (drm(*b"RGB6"), Picture::Bayer("rggb16le", 2)),
];

/// A format in which a camera may deliver what it lists as `listed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offer {
    /// As the camera lists it, for its sizes.
    pub(super) listed: PixelFormat,
    /// The format to ask for.
    pub(super) pixel: PixelFormat,
    pub(super) picture: Picture,
}

/// The formats to try, given those that a camera lists, in order of preference.
///
/// Raspberry Pi's pipeline handlers list raw formats only as CSI-2 delivers them, packed. But `validate` also takes unpacked ones:
/// the VC4's (up to the Pi 4) in the same depth, the PiSP's (Pi 5) in 16 bits, whatever the depth
/// (`Vc4CameraData::platformValidate`, `PiSPCameraData::platformValidate`). A packed format is the unpacked one's fourcc with a
/// modifier. They also list the colour order of a sensor that is not flipped, but take that of a flipped one, as most of their
/// cameras are mounted (`RPiCameraConfiguration::validate`). So each is tried in all these ways. What `validate` adjusts is not
/// offered.
pub(super) fn offers(listed: &[PixelFormat]) -> Vec<Offer> {
    let of_format = |(pixel, picture)| {
        let as_it_is = listed.iter().filter(move |known| **known == pixel);
        let otherwise = listed.iter().filter(move |known| may_be_read_as(**known, pixel, picture));
        as_it_is.chain(otherwise).map(move |listed| Offer { listed: *listed, pixel, picture })
    };
    FORMATS.into_iter().flat_map(of_format).collect()
}

/// Whether a camera that lists `listed` may deliver `pixel`.
fn may_be_read_as(listed: PixelFormat, pixel: PixelFormat, picture: Picture) -> bool {
    let packed = listed.modifier() != 0;
    match (picture, depth_of(listed)) {
        (Picture::Bayer(..), Some(depth)) if is_bayer(listed) && listed != pixel => {
            depth_of(pixel) == Some(depth) || packed && depth_of(pixel) == Some(16)
        }
        // Monochrome sensors.
        (Picture::Raw(VideoFormat::Gray16Le), Some(_)) => packed && !is_bayer(listed),
        _ => false,
    }
}

/// Bits per pixel of a raw format, packed or not; `None` for other formats.
pub(super) fn depth_of(pixel: PixelFormat) -> Option<u32> {
    match &pixel.fourcc().to_le_bytes() {
        b"R8  " | b"BA81" | b"GBRG" | b"GRBG" | b"RGGB" => Some(8),
        b"R10 " | b"BG10" | b"GB10" | b"BA10" | b"RG10" => Some(10),
        b"R12 " | b"BG12" | b"GB12" | b"BA12" | b"RG12" => Some(12),
        b"R14 " | b"BG14" | b"GB14" | b"BA14" | b"RG14" => Some(14),
        b"R16 " | b"BYR2" | b"GB16" | b"GR16" | b"RGB6" => Some(16),
        _ => None,
    }
}

fn is_bayer(pixel: PixelFormat) -> bool {
    let of = FORMATS.iter().find(|(known, _)| known.fourcc() == pixel.fourcc());
    of.is_some_and(|(_, picture)| matches!(picture, Picture::Bayer(..)))
}

/// The name of `pixel` in dma-buf caps: DRM's fourcc, linear.
fn drm_name(pixel: PixelFormat) -> Option<String> {
    let fourcc = pixel.fourcc().to_le_bytes();
    let printable = fourcc.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    printable.then(|| fourcc.iter().map(|byte| char::from(*byte)).collect())
}

/// The format with this name in dma-buf caps.
pub(super) fn by_drm_name(name: &str) -> Option<(PixelFormat, Picture)> {
    // The linear modifier means the same as none.
    let name = name.strip_suffix(":0x0000000000000000").unwrap_or(name);
    FORMATS.into_iter().find(|(pixel, _)| drm_name(*pixel).is_some_and(|known| known == name))
}

/// Frame rates in caps if libcamera cannot tell before `configure`: half an hour per frame
/// to a thousand frames a second.
const SLOWEST: (i32, i32) = (1, 1800);
const FASTEST: (i32, i32) = (1000, 1);

/// Other roles to try if a camera does not know the one asked for, likeliest first. Every pipeline handler
/// knows at least one of them.
const FALLBACKS: [StreamRole; 3] =
    [StreamRole::VideoRecording, StreamRole::ViewFinder, StreamRole::StillCapture];

const fn role(role: StreamRole) -> Role {
    match role {
        StreamRole::StillCapture => Role::StillCapture,
        StreamRole::Raw => Role::Raw,
        StreamRole::VideoRecording => Role::VideoRecording,
        StreamRole::ViewFinder => Role::ViewFinder,
    }
}

/// libcamera's default configuration of streams of these roles. A single stream whose role the camera does not
/// know gets another role, except for raw, which determines the pixels.
pub(super) fn default_configuration(
    camera: &Camera<'_>,
    roles: &[StreamRole],
) -> Option<CameraConfiguration> {
    let generate = |roles: &[StreamRole]| {
        let wanted: Vec<Role> = roles.iter().map(|wanted| role(*wanted)).collect();
        camera.generate_configuration(&wanted).filter(|generated| generated.len() == roles.len())
    };
    generate(roles).or_else(|| match roles {
        [StreamRole::Raw] => None,
        [_] => FALLBACKS.iter().find_map(|other| generate(&[*other])),
        _ => None,
    })
}

/// All formats of a stream of `role`; empty caps if GStreamer knows none of them. `dma_bufs`: whether frames will be in dma-bufs.
///
/// The range of frame rates ends at `fastest_us` per frame if that is known. A pipeline handler may list sizes that it then
/// adjusts: the virtual one lists every common size between its smallest and its largest. So each is tried, and a range
/// is offered only if all common sizes in it are accepted.
pub(super) fn camera_caps(
    camera: &Camera<'_>,
    (role, mode): (StreamRole, &Mode),
    fastest_us: Option<i64>,
    dma_bufs: bool,
) -> gst::Caps {
    let mut caps = gst::Caps::new_empty();
    let Some(mut configuration) = default_configuration(camera, &[role]) else {
        return caps;
    };
    for Offer { listed, pixel, picture } in offers(&listed_formats(&configuration)) {
        let Some((listed, range)) = sizes(&configuration, listed) else {
            continue;
        };
        let mut taken = listed.clone();
        taken.retain(|&size| try_stream(&mut configuration, mode, pixel, size).is_ok());
        let single = |size: &Size| SizeRange { min: *size, max: *size, h_step: 1, v_step: 1 };
        let range = (taken.len() == listed.len()).then_some(range);
        for range in taken.iter().map(single).chain(range) {
            let width = dimension(range.min.width, range.max.width, range.h_step);
            let height = dimension(range.min.height, range.max.height, range.v_step);
            if let (Some(width), Some(height)) = (width, height) {
                let mut structure = picture.structure();
                structure.set_value("width", width);
                structure.set_value("height", height);
                structure.set("framerate", rates(fastest_us));
                caps.merge_structure(structure);
            }
        }
    }
    if dma_bufs {
        caps.merge(dma_buf_caps(&caps, gst::version()));
    }
    caps
}

/// The raw video of `caps` in dma-bufs, as this version of GStreamer names it.
///
/// These caps come last: frames in dma-bufs also go to elements that ask for ordinary memory, so only
/// elements that take nothing else need them.
fn dma_buf_caps(caps: &gst::CapsRef, version: (u32, u32, u32, u32)) -> gst::Caps {
    let mut dma_bufs = gst::Caps::new_empty();
    for structure in caps.iter().filter(|structure| structure.name() == "video/x-raw") {
        let mut structure = structure.to_owned();
        if (version.0, version.1) >= DRM_CAPS {
            let format =
                structure.get::<&str>("format").map_or(VideoFormat::Unknown, VideoFormat::from_string);
            let known = FORMATS.iter().find(|(_, picture)| *picture == Picture::Raw(format));
            let Some(name) = known.and_then(|(pixel, _)| drm_name(*pixel)) else {
                continue;
            };
            structure.set("format", "DMA_DRM");
            structure.set("drm-format", name);
        }
        dma_bufs.merge_structure_full(structure, Some(gst::CapsFeatures::new([DMABUF])));
    }
    dma_bufs
}

/// The formats that the pipeline handler lists for the first stream.
pub(super) fn listed_formats(configuration: &CameraConfiguration) -> Vec<PixelFormat> {
    configuration
        .get(0)
        .map(|stream| stream.formats().pixel_formats().into_iter().collect())
        .unwrap_or_default()
}

/// The common sizes that the pipeline handler lists for `listed`, and the range of all sizes.
fn sizes(configuration: &CameraConfiguration, listed: PixelFormat) -> Option<(Vec<Size>, SizeRange)> {
    let stream = configuration.get(0)?;
    let formats = stream.formats();
    Some((formats.sizes(listed), formats.range(listed)))
}

/// Sets up the first stream and lets libcamera validate it.
///
/// # Errors
/// See [`check_stream`].
pub(super) fn try_stream(
    configuration: &mut CameraConfiguration,
    mode: &Mode,
    pixel: PixelFormat,
    size: Size,
) -> Result<(), String> {
    mode.ask(configuration);
    let mut stream = configuration.get_mut(0).ok_or("the camera has no stream")?;
    stream.set_pixel_format(pixel);
    stream.set_size(size);
    if configuration.validate().is_invalid() {
        return Err("libcamera calls the configuration invalid".into());
    }
    check_stream(configuration, 0, pixel, size)
}

/// Whether a validated configuration has this format and size in its stream `index`.
///
/// # Errors
/// What libcamera offers instead. It may choose another stride or number of buffers.
pub(super) fn check_stream(
    configuration: &CameraConfiguration,
    index: usize,
    pixel: PixelFormat,
    size: Size,
) -> Result<(), String> {
    let stream = configuration.get(index).ok_or("libcamera removed the stream")?;
    let got = stream.get_size();
    if stream.get_pixel_format() == pixel && (got.width, got.height) == (size.width, size.height) {
        Ok(())
    } else {
        Err(format!("the nearest it offers is {}", stream.to_string_repr()))
    }
}

/// Frame rates down to [`SLOWEST`], and up to one frame in `fastest_us`.
///
/// Limits and frame durations are whole microseconds. So half a microsecond to either side is the same limit: otherwise
/// 30/1 would not fit a camera that reports 33333 us.
fn rates(fastest_us: Option<i64>) -> gst::FractionRange {
    let limit = fastest_us
        .and_then(|us| i32::try_from(us.checked_mul(2)?.checked_sub(1)?).ok())
        .filter(|half_us| *half_us > 0)
        .map(|half_us| gst::Fraction::new(2_000_000, half_us));
    let slowest = gst::Fraction::from(SLOWEST);
    let fastest = limit.unwrap_or_else(|| gst::Fraction::from(FASTEST));
    gst::FractionRange::new(slowest, fastest.max(slowest))
}

/// `min..=max` in steps, as a caps field. In GStreamer both ends have to be multiples of the step.
fn dimension(min: u32, max: u32, step: u32) -> Option<gst::glib::SendValue> {
    let step = step.max(1);
    let low = i32::try_from(min.max(1).checked_next_multiple_of(step)?).ok()?;
    let high = i32::try_from(max - max % step).ok()?;
    let step = i32::try_from(step).ok()?;
    match low.cmp(&high) {
        std::cmp::Ordering::Less => Some(gst::IntRange::with_step(low, high, step).to_send_value()),
        std::cmp::Ordering::Equal => Some(low.to_send_value()),
        std::cmp::Ordering::Greater => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_rate_is_within_half_a_microsecond_of_the_limit() {
        gst::init().unwrap();
        assert!(rates(Some(33_333)).max() >= gst::Fraction::new(30, 1));
        assert!(rates(Some(33_334)).max() < gst::Fraction::new(30, 1));
        assert_eq!(rates(None).max(), gst::Fraction::new(1000, 1));
        for odd in [0, -5, i64::MAX, i64::MIN] {
            assert_eq!(rates(Some(odd)).max(), gst::Fraction::new(1000, 1));
        }
    }

    #[test]
    fn ranges_are_cut_to_multiples_of_their_step() {
        gst::init().unwrap();
        let range = dimension(33, 1281, 2).unwrap();
        let range = range.get::<gst::IntRange<i32>>().unwrap();
        assert_eq!((range.min(), range.max(), range.step()), (34, 1280, 2));
        assert_eq!(dimension(640, 640, 0).unwrap().get::<i32>().unwrap(), 640);
        assert!(dimension(9, 3, 1).is_none());
        assert!(dimension(u32::MAX, u32::MAX, 16).is_none());
    }

    #[test]
    fn every_format_is_listed_once() {
        gst::init().unwrap();
        for (index, (pixel, picture)) in FORMATS.iter().enumerate() {
            let rest = &FORMATS[index + 1..];
            assert!(rest.iter().all(|(other, _)| other != pixel), "{pixel:?}");
            let caps: gst::Caps = picture.structure().into();
            assert!(!caps.is_empty() && !caps.to_string().contains("UNKNOWN"), "{picture:?}");
        }
    }

    /// MIPI_FORMAT_MOD_CSI2_PACKED and PISP_FORMAT_MOD_COMPRESS(1), from libcamera's `formats.yaml` and `drm_fourcc.h`.
    const CSI2_PACKED: u64 = 0x0b00_0000_0000_0001;
    const PISP_COMPRESSED: u64 = 0x0c00_0000_0000_0001;

    /// What the pipeline handlers' `validate` makes of a raw stream's format: colour order and depth are those of
    /// the sensor, the packing that of the stream. Written after libcamera's source, which needs the boards to run.
    fn validated_by_vc4(pixel: PixelFormat, order: [u8; 2], depth: [u8; 2]) -> PixelFormat {
        let packing = if pixel.modifier() == 0 { 0 } else { CSI2_PACKED };
        PixelFormat::new(u32::from_le_bytes([order[0], order[1], depth[0], depth[1]]), packing)
    }

    fn validated_by_pisp(pixel: PixelFormat, sixteen: [u8; 4]) -> PixelFormat {
        let packing = if pixel.modifier() == 0 { 0 } else { PISP_COMPRESSED };
        PixelFormat::new(u32::from_le_bytes(sixteen), packing)
    }

    #[test]
    fn packed_raw_formats_of_a_raspberry_pi_are_offered_unpacked() {
        let listed =
            [*b"RG10", *b"RG12"].map(|fourcc| PixelFormat::new(u32::from_le_bytes(fourcc), CSI2_PACKED));
        let names = |accepts: &dyn Fn(PixelFormat) -> bool| -> Vec<&'static str> {
            let offers = offers(&listed).into_iter().filter(|offer| accepts(offer.pixel));
            let name = |offer: Offer| match offer.picture {
                Picture::Bayer(name, 2) => name,
                other => panic!("{other:?}"),
            };
            let mut names: Vec<_> = offers.map(name).collect();
            names.dedup();
            names
        };
        // In the mode of 12 bits, then of 10, and flipped.
        assert_eq!(names(&|pixel| validated_by_vc4(pixel, *b"RG", *b"12") == pixel), ["rggb12le"]);
        assert_eq!(names(&|pixel| validated_by_vc4(pixel, *b"RG", *b"10") == pixel), ["rggb10le"]);
        assert_eq!(names(&|pixel| validated_by_vc4(pixel, *b"BG", *b"10") == pixel), ["bggr10le"]);
        assert_eq!(names(&|pixel| validated_by_pisp(pixel, *b"RGB6") == pixel), ["rggb16le"]);
        assert_eq!(names(&|pixel| validated_by_pisp(pixel, *b"BYR2") == pixel), ["bggr16le"]);
        // GStreamer has no name for the listed formats themselves. Sizes are those of both modes.
        let all = offers(&listed);
        assert!(all.iter().all(|offer| offer.pixel.modifier() == 0));
        let of_sixteen = all.iter().filter(|offer| offer.picture == Picture::Bayer("rggb16le", 2));
        assert_eq!(of_sixteen.map(|offer| offer.listed).collect::<Vec<_>>(), listed);
    }

    #[test]
    fn listed_formats_come_first_and_only_variants_of_raw_ones_are_added() {
        let plain = [drm(*b"NV12"), drm(*b"RG10")];
        let offered = offers(&plain);
        assert!(
            plain
                .iter()
                .all(|plain| offered.iter().any(|offer| offer.listed == *plain && offer.pixel == *plain))
        );
        // Other colour orders of the same depth are tried; other depths and pictures are not.
        assert!(offered.iter().all(|offer| offer.pixel == plain[0] || depth_of(offer.pixel) == Some(10)));
        // Tiled formats are not offered as linear ones.
        let tiled = PixelFormat::new(u32::from_le_bytes(*b"NV12"), CSI2_PACKED);
        assert!(offers(&[tiled]).is_empty());
        let grey = PixelFormat::new(u32::from_le_bytes(*b"R10 "), CSI2_PACKED);
        let offered: Vec<_> = offers(&[grey]).into_iter().map(|offer| offer.picture).collect();
        assert_eq!(offered, [Picture::Raw(VideoFormat::Gray16Le)]);
        for (pixel, picture) in FORMATS {
            assert_eq!(
                depth_of(pixel).is_some(),
                matches!(
                    picture,
                    Picture::Bayer(..) | Picture::Raw(VideoFormat::Gray8 | VideoFormat::Gray16Le)
                ),
                "{picture:?}"
            );
        }
    }

    #[test]
    fn dma_bufs_are_named_by_the_version() {
        gst::init().unwrap();
        let caps: gst::Caps =
            "video/x-raw,format=BGRx,width=4; video/x-raw,format=NV12; image/jpeg".parse().unwrap();
        let old = dma_buf_caps(&caps, (1, 22, 0, 0)).to_string();
        assert_eq!(old.matches("memory:DMABuf").count(), 2, "{old}");
        assert!(old.contains("BGRx") && !old.contains("drm-format"), "{old}");
        let new = dma_buf_caps(&caps, (1, 26, 2, 0)).to_string();
        assert!(new.contains("drm-format=(string)XR24") && new.contains("drm-format=(string)NV12"), "{new}");
        let whole = "video/x-raw,format=BGRx,width=64,height=64,framerate=30/1";
        for version in [(1, 22, 0, 0), (1, 26, 2, 0)] {
            let offered = dma_buf_caps(&whole.parse::<gst::Caps>().unwrap(), version);
            assert!(offered.is_subset(&crate::caps::template_caps()), "{offered}");
        }
        let (pixel, picture) = by_drm_name("XR24").unwrap();
        assert_eq!((pixel, picture), (drm(*b"XR24"), Picture::Raw(VideoFormat::Bgrx)));
        assert!(by_drm_name("NV12:0x0000000000000000").is_some());
        assert!(by_drm_name("NV12:0x0100000000000002").is_none(), "tiled");
    }
}
