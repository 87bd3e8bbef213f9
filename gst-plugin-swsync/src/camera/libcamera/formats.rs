//! Which GStreamer caps a libcamera stream can have, and the way of its pixels into a GstBuffer.
//!
//! libcamera names packed RGB formats as DRM does, by their bits in a little-endian word; GStreamer
//! names them by their bytes in memory. So `RGB888` is GStreamer's BGR, and the other way round.

use ::libcamera::camera::{Camera, CameraConfiguration};
use ::libcamera::geometry::{Size, SizeRange};
use ::libcamera::pixel_format::PixelFormat;
use ::libcamera::stream::StreamRole;
use gst_video::prelude::*;
use gst_video::{VideoFormat, VideoFrameRef, VideoInfo};
use swsync_core::time::Span;

use crate::camera::CameraError;

/// What a stream's frames are in GStreamer's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Picture {
    Raw(VideoFormat),
    Jpeg,
}

impl Picture {
    fn structure(self) -> gst::Structure {
        match self {
            Self::Raw(format) => {
                gst::Structure::builder("video/x-raw").field("format", format.to_str()).build()
            }
            Self::Jpeg => gst::Structure::new_empty("image/jpeg"),
        }
    }
}

/// A format by libcamera's fourcc; the binding's own list of them is empty for libcamera 0.4.
const fn drm(fourcc: [u8; 4]) -> PixelFormat {
    PixelFormat::new(u32::from_le_bytes(fourcc), 0)
}

/// The formats that are passed on, most wanted first: what encoders take, what converts cheaply,
/// and compressed pictures last, because they cost quality.
const FORMATS: [(PixelFormat, Picture); 8] = [
    (drm(*b"NV12"), Picture::Raw(VideoFormat::Nv12)),
    (drm(*b"YU12"), Picture::Raw(VideoFormat::I420)),
    (drm(*b"YUYV"), Picture::Raw(VideoFormat::Yuy2)),
    (drm(*b"BG24"), Picture::Raw(VideoFormat::Rgb)),  // BGR888
    (drm(*b"RG24"), Picture::Raw(VideoFormat::Bgr)),  // RGB888
    (drm(*b"XR24"), Picture::Raw(VideoFormat::Bgrx)), // XRGB8888
    (drm(*b"XB24"), Picture::Raw(VideoFormat::Rgbx)), // XBGR8888
    (drm(*b"MJPG"), Picture::Jpeg),
];

/// Frame rates named in caps where libcamera can't tell before `configure`: half an hour per frame
/// to a thousand frames a second.
const SLOWEST: (i32, i32) = (1, 1800);
const FASTEST: (i32, i32) = (1000, 1);

/// A stream's roles, the likeliest first: every pipeline handler knows at least one of them.
const ROLES: [StreamRole; 3] = [StreamRole::VideoRecording, StreamRole::ViewFinder, StreamRole::StillCapture];

/// A configuration of one stream to start from.
pub(super) fn default_configuration(camera: &Camera<'_>) -> Option<CameraConfiguration> {
    Some(camera.generate_first_supported_configuration(&ROLES)?.0)
}

/// Everything that `camera` can deliver; empty caps where it has no format that GStreamer knows.
///
/// The range of frame rates ends at `fastest_us` per frame where that is known. A pipeline handler
/// may list sizes that it then adjusts: the virtual one lists every common size between its
/// smallest and its largest. So each is tried, and a range is believed only where all common sizes
/// in it are taken.
pub(super) fn camera_caps(camera: &Camera<'_>, fastest_us: Option<i64>) -> gst::Caps {
    let mut caps = gst::Caps::new_empty();
    let Some(mut configuration) = default_configuration(camera) else {
        return caps;
    };
    for (pixel, picture) in FORMATS {
        let Some((listed, range)) = sizes(&configuration, pixel) else {
            continue;
        };
        let mut taken = listed.clone();
        taken.retain(|&size| try_stream(&mut configuration, pixel, size).is_ok());
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
    caps
}

/// The common sizes that the pipeline handler lists for `pixel`, and the range of all sizes.
fn sizes(configuration: &CameraConfiguration, pixel: PixelFormat) -> Option<(Vec<Size>, SizeRange)> {
    let stream = configuration.get(0)?;
    let formats = stream.formats();
    let present = formats.pixel_formats().into_iter().any(|p| p == pixel);
    present.then(|| (formats.sizes(pixel), formats.range(pixel)))
}

/// Sets up the first stream and lets libcamera validate it.
///
/// # Errors
/// What libcamera makes of it instead, where that is another format or size. Another stride or
/// number of buffers is libcamera's to choose.
pub(super) fn try_stream(
    configuration: &mut CameraConfiguration,
    pixel: PixelFormat,
    size: Size,
) -> Result<(), String> {
    let mut stream = configuration.get_mut(0).ok_or("the camera has no stream")?;
    stream.set_pixel_format(pixel);
    stream.set_size(size);
    if configuration.validate().is_invalid() {
        return Err("libcamera calls the configuration invalid".into());
    }
    let stream = configuration.get(0).ok_or("libcamera removed the stream")?;
    let got = stream.get_size();
    if stream.get_pixel_format() == pixel && (got.width, got.height) == (size.width, size.height) {
        Ok(())
    } else {
        Err(format!("the nearest it offers is {}", stream.to_string_repr()))
    }
}

/// Frame rates down to [`SLOWEST`], and up to one frame in `fastest_us`.
///
/// Limits are whole microseconds, and so is the frame duration asked for: half a microsecond to
/// either side is the same limit, or 30/1 would not fit a camera that reports 33333 us.
fn rates(fastest_us: Option<i64>) -> gst::FractionRange {
    let limit = fastest_us
        .and_then(|us| i32::try_from(us.checked_mul(2)?.checked_sub(1)?).ok())
        .filter(|half_us| *half_us > 0)
        .map(|half_us| gst::Fraction::new(2_000_000, half_us));
    let slowest = gst::Fraction::from(SLOWEST);
    let fastest = limit.unwrap_or_else(|| gst::Fraction::from(FASTEST));
    gst::FractionRange::new(slowest, fastest.max(slowest))
}

/// `min..=max` in steps as a caps field: GStreamer wants both ends to be multiples of the step.
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

/// The refusal of `caps`.
pub(super) fn refused(camera: &str, caps: &gst::Caps, reason: String) -> CameraError {
    CameraError::Format { camera: camera.to_owned(), caps: caps.to_string(), reason }
}

/// Fixed caps, parsed.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) caps: gst::Caps,
    pub(super) pixel: PixelFormat,
    pub(super) size: Size,
    pub(super) period: Span,
    /// GStreamer's default layout; `None` for JPEG, which has none.
    pub(super) layout: Option<VideoInfo>,
}

impl Wanted {
    /// # Errors
    /// What is missing or unknown, for people.
    pub(super) fn parse(caps: &gst::Caps) -> Result<Self, String> {
        let structure = match caps.structure(0) {
            Some(structure) if caps.is_fixed() => structure,
            _ => return Err("the caps are not fixed".into()),
        };
        let (picture, layout) = match structure.name().as_str() {
            "image/jpeg" => (Picture::Jpeg, None),
            _ => {
                let info =
                    VideoInfo::from_caps(caps).map_err(|_| "neither raw video nor image/jpeg".to_owned())?;
                (Picture::Raw(info.format()), Some(info))
            }
        };
        let pixel = FORMATS
            .iter()
            .find(|(_, known)| *known == picture)
            .ok_or("no libcamera format has these pixels")?
            .0;
        let side = |name| {
            let side = structure.get::<i32>(name).ok().and_then(|side| u32::try_from(side).ok());
            side.filter(|side| *side > 0).ok_or(format!("no {name}"))
        };
        let rate = structure
            .get::<gst::Fraction>("framerate")
            .ok()
            .filter(|rate| rate.numer() > 0 && rate.denom() > 0)
            .ok_or("no frame rate")?;
        Ok(Self {
            caps: caps.clone(),
            pixel,
            size: Size::new(side("width")?, side("height")?),
            period: Span::from_secs(i64::from(rate.denom())) / i64::from(rate.numer()),
            layout,
        })
    }

    /// The refusal of these caps.
    pub(super) fn refused(&self, camera: &str, reason: String) -> CameraError {
        refused(camera, &self.caps, reason)
    }

    /// Bytes of each plane of a frame whose first plane has rows of `stride` bytes, for buffers
    /// that libcamera does not allocate. `None` for JPEG and for sizes beyond 4 GiB.
    pub(super) fn plane_sizes(&self, stride: u32) -> Option<Vec<u32>> {
        let info = self.layout.as_ref()?;
        (0..info.n_planes())
            .map(|plane| {
                // Planes and components are numbered alike in all formats of the table.
                let rows = info.comp_height(u8::try_from(plane).ok()?);
                plane_stride(info.format(), stride, plane).checked_mul(rows)
            })
            .collect()
    }
}

/// libcamera tells the stride of the first plane only; that of the others follows from the format.
fn plane_stride(format: VideoFormat, stride: u32, plane: u32) -> u32 {
    match (format, plane) {
        (VideoFormat::I420, 1..) => stride / 2,
        _ => stride,
    }
}

/// Copies a frame's planes, their rows `stride` bytes apart, into `buffer` laid out as `info` says.
///
/// # Errors
/// Where the driver's planes are too few or too short for the format.
pub(super) fn copy_picture(
    info: &VideoInfo,
    stride: u32,
    planes: &[&[u8]],
    buffer: &mut gst::BufferRef,
) -> Result<(), String> {
    let mut frame = VideoFrameRef::from_buffer_ref_writable(buffer, info).map_err(|e| e.to_string())?;
    for plane in 0..frame.n_planes() {
        let index = plane as usize;
        let source = *planes
            .get(index)
            .ok_or_else(|| format!("the driver gave {} of {} planes", planes.len(), frame.n_planes()))?;
        let from = plane_stride(info.format(), stride, plane) as usize;
        let to = usize::try_from(frame.plane_stride()[index]).map_err(|e| e.to_string())?;
        let rows = frame.plane_height(plane) as usize;
        let target = frame.plane_data_mut(plane).map_err(|e| e.to_string())?;
        // What is beyond the picture in a row is padding on either side.
        let width = from.min(to);
        let needed = (rows.max(1) - 1) * from + width;
        if width == 0 || source.len() < needed {
            return Err(format!("plane {plane} has {} bytes, not {needed}", source.len()));
        }
        if from == to {
            let all = source.len().min(target.len()).min(rows * from);
            target[..all].copy_from_slice(&source[..all]);
        } else {
            for (target, source) in target.chunks_mut(to).zip(source.chunks(from)).take(rows) {
                let width = width.min(target.len()).min(source.len());
                target[..width].copy_from_slice(&source[..width]);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(caps: &str) -> Result<Wanted, String> {
        gst::init().unwrap();
        Wanted::parse(&caps.parse().unwrap())
    }

    #[test]
    fn packed_rgb_is_named_by_bits_here_and_by_bytes_there() {
        let pixel = |format| {
            let caps = format!("video/x-raw,format={format},width=4,height=2,framerate=30/1");
            fixed(&caps).unwrap().pixel
        };
        assert_eq!(pixel("BGR"), drm(*b"RG24"));
        assert_eq!(pixel("RGB"), drm(*b"BG24"));
        assert_eq!(pixel("BGRx"), drm(*b"XR24"));
        assert_eq!(pixel("RGBx"), drm(*b"XB24"));
    }

    #[test]
    fn caps_must_be_fixed_and_known() {
        let jpeg = fixed("image/jpeg,width=640,height=480,framerate=30000/1001").unwrap();
        assert_eq!((jpeg.pixel, jpeg.layout.is_none()), (drm(*b"MJPG"), true));
        assert_eq!(jpeg.period, Span::from_nanos(33_366_666));
        for (caps, reason) in [
            ("video/x-raw,format=NV12", "not fixed|neither"),
            ("video/x-raw,format=NV12,width=[1,9],height=4,framerate=30/1", "not fixed"),
            ("video/x-raw,format=GRAY8,width=4,height=4,framerate=30/1", "no libcamera format"),
            ("video/x-raw,format=NV12,width=4,height=4,framerate=0/1", "no frame rate"),
            ("image/jpeg,width=4,framerate=30/1", "no height"),
            ("audio/x-raw", "neither"),
        ] {
            let error = fixed(caps).unwrap_err();
            assert!(reason.split('|').any(|r| error.contains(r)), "{caps}: {error}");
        }
    }

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
    fn rows_lose_the_drivers_padding() {
        let wanted = fixed("video/x-raw,format=I420,width=6,height=4,framerate=30/1").unwrap();
        let info = wanted.layout.as_ref().unwrap();
        assert_eq!(wanted.plane_sizes(16), Some(vec![64, 16, 16]));
        let row = |value: u8, used: usize, stride: usize| {
            let mut row = vec![255; stride];
            row[..used].fill(value);
            row
        };
        let luma: Vec<u8> = (1..=4).flat_map(|y| row(y, 6, 16)).collect();
        let chroma: Vec<u8> = (5..=6).flat_map(|y| row(y, 3, 8)).collect();
        let mut buffer = gst::Buffer::with_size(info.size()).unwrap();
        let planes: [&[u8]; 3] = [&luma, &chroma, &chroma];
        copy_picture(info, 16, &planes, buffer.make_mut()).unwrap();
        let map = buffer.map_readable().unwrap();
        assert_eq!(&map[8..14], &[2; 6]);
        assert_eq!(&map[info.offset()[1]..][..3], &[5; 3]);
        assert_eq!(&map[info.offset()[2] + 4..][..3], &[6; 3]);
        drop(map);

        let short: [&[u8]; 3] = [&luma[..50], &chroma, &chroma];
        assert!(copy_picture(info, 16, &short, buffer.make_mut()).is_err());
        assert!(copy_picture(info, 16, &planes[..2], buffer.make_mut()).is_err());
        assert!(copy_picture(info, 0, &planes, buffer.make_mut()).is_err());
    }
}
