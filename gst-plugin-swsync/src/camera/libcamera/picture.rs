//! The format of a stream, parsed from fixed caps, and the layout of its planes.

use ::libcamera::color_space::ColorSpace;
use ::libcamera::geometry::Size;
use ::libcamera::pixel_format::PixelFormat;
use gst_video::prelude::*;
use gst_video::{VideoFrameFlags, VideoFrameRef, VideoInfo, VideoMeta};
use swsync_core::time::Span;

use super::colour;
use super::formats::{FORMATS, Picture, by_drm_name};
use crate::camera::{CameraError, StreamRole, StreamSetup};
use crate::caps::DMABUF;

/// A stream's fixed caps, parsed.
#[derive(Debug, Clone)]
pub(super) struct StreamFormat {
    pub(super) role: StreamRole,
    pub(super) caps: gst::Caps,
    pub(super) pixel: PixelFormat,
    pub(super) picture: Picture,
    pub(super) size: Size,
    pub(super) period: Span,
    /// GStreamer's default layout of raw video.
    pub(super) layout: Option<VideoInfo>,
    /// The colour space, if the caps name one.
    pub(super) colour: Option<ColorSpace>,
    /// Downstream takes dma-bufs only: frames cannot be copied.
    pub(super) dma_bufs_only: bool,
}

impl StreamFormat {
    /// Parses fixed caps.
    ///
    /// # Errors
    /// What is missing or unknown, for people.
    pub(super) fn parse(setup: &StreamSetup) -> Result<Self, String> {
        let caps = &setup.caps;
        let structure = match caps.structure(0) {
            Some(structure) if caps.is_fixed() => structure,
            _ => return Err("the caps are not fixed".into()),
        };
        let (pixel, picture, layout) = format(caps, structure)?;
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
            role: setup.role,
            caps: caps.clone(),
            pixel,
            picture,
            size: Size::new(side("width")?, side("height")?),
            period: Span::from_secs(i64::from(rate.denom())) / i64::from(rate.numer()),
            layout,
            colour: colour::space_of(structure)?,
            dma_bufs_only: is_dma_buf(caps),
        })
    }

    /// The error that refuses these caps.
    pub(super) fn refused(&self, camera: &str, reason: String) -> CameraError {
        CameraError::refused(camera, &self.caps, reason)
    }

    /// Strides of all planes, given that of the first: libcamera tells no other. Empty for JPEG.
    fn strides(&self, stride: u32) -> Vec<u32> {
        match (&self.layout, self.picture) {
            (Some(info), _) => {
                let format = info.format_info();
                (0..info.n_planes()).map(|plane| format.extrapolate_stride(plane, stride)).collect()
            }
            (None, Picture::Bayer(..)) => vec![stride],
            (None, Picture::Raw(_) | Picture::Jpeg) => Vec::new(),
        }
    }

    /// Rows of each plane.
    fn rows(&self) -> Vec<u32> {
        match (&self.layout, self.picture) {
            (Some(info), _) => (0..info.n_planes())
                .map(|plane| {
                    let component = info.format_info().plane().iter().position(|of| *of == plane);
                    info.comp_height(component.and_then(|at| u8::try_from(at).ok()).unwrap_or_default())
                })
                .collect(),
            (None, Picture::Bayer(..)) => vec![self.size.height],
            (None, Picture::Raw(_) | Picture::Jpeg) => Vec::new(),
        }
    }

    /// Bytes of each plane, given the stride of the first, for buffers that libcamera does not allocate. `None` for JPEG and
    /// for sizes beyond 4 GiB.
    pub(super) fn plane_sizes(&self, stride: u32) -> Option<Vec<u32>> {
        let strides = self.strides(stride);
        (!strides.is_empty()).then(|| {
            strides.iter().zip(self.rows()).map(|(stride, rows)| stride.checked_mul(rows)).collect()
        })?
    }

    /// The layout of planes, by libcamera's `stride` and the offsets of its planes. A driver may give one plane for all:
    /// then the others follow it without gaps.
    ///
    /// # Errors
    /// The driver gives no plane.
    pub(super) fn placed(&self, stride: u32, planes: &[usize]) -> Result<PlaneLayout, String> {
        let strides = self.strides(stride);
        let mut offsets = planes.to_vec();
        let mut end = *planes.first().ok_or("the driver gave no plane")?;
        for (plane, (stride, rows)) in strides.iter().zip(self.rows()).enumerate() {
            match offsets.get(plane) {
                Some(known) => end = *known,
                None => offsets.push(end),
            }
            end += (*stride as usize) * (rows as usize);
        }
        offsets.truncate(strides.len().max(1));
        Ok(PlaneLayout { offsets, strides })
    }

    /// The stride that readers of Bayer pictures expect: they ignore GstVideoMeta (bayer2rgb).
    fn bayer_stride(&self) -> Option<u32> {
        match self.picture {
            Picture::Bayer(_, bytes) => self.size.width.checked_next_multiple_of(4)?.checked_mul(bytes),
            Picture::Raw(_) | Picture::Jpeg => None,
        }
    }

    /// Whether frames of this layout can go downstream without a copy.
    pub(super) fn goes_out_as(&self, placed: &PlaneLayout) -> bool {
        match self.picture {
            Picture::Raw(_) | Picture::Jpeg => placed.offsets.first() == Some(&0) || self.layout.is_some(),
            Picture::Bayer(..) => placed.offsets == [0] && Some(placed.strides[0]) == self.bayer_stride(),
        }
    }

    /// Bytes of a copied picture; `None` for JPEG.
    pub(super) fn copied_size(&self) -> Option<usize> {
        match (&self.layout, self.bayer_stride()) {
            (Some(info), _) => Some(info.size()),
            (None, Some(stride)) => Some(stride as usize * self.size.height as usize),
            (None, None) => None,
        }
    }

    /// Bytes of a frame, roughly, to decide how many buffers there may be.
    pub(super) fn bytes(&self) -> u32 {
        let pixels = self.size.width.saturating_mul(self.size.height);
        self.copied_size().and_then(|size| u32::try_from(size).ok()).unwrap_or(pixels / 2)
    }

    /// Gives `buffer` a GstVideoMeta of this layout, unless it has it already.
    ///
    /// # Errors
    /// GStreamer refuses the layout.
    pub(super) fn describe(&self, buffer: &mut gst::BufferRef, placed: &PlaneLayout) -> Result<(), String> {
        let Some(info) = &self.layout else {
            return Ok(());
        };
        let flags = VideoFrameFlags::empty();
        let (width, height) = (info.width(), info.height());
        if let Some(said) = buffer.meta_mut::<VideoMeta>() {
            let strides = said.stride().iter().map(|stride| u32::try_from(*stride).unwrap_or(0));
            let as_before = (said.format(), said.width(), said.height()) == (info.format(), width, height)
                && said.video_frame_flags() == flags
                && said.offset() == placed.offsets
                && strides.eq(placed.strides.iter().copied());
            if as_before {
                return Ok(());
            }
            said.remove().map_err(|error| error.to_string())?;
        }
        let strides =
            placed.strides.iter().map(|stride| i32::try_from(*stride)).collect::<Result<Vec<_>, _>>();
        let strides = strides.map_err(|error| error.to_string())?;
        VideoMeta::add_full(buffer, flags, info.format(), width, height, &placed.offsets, &strides)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    /// Copies the picture with the given planes into `target`, in GStreamer's default layout.
    ///
    /// # Errors
    /// The driver's planes are too few or too short for the format.
    pub(super) fn copy(
        &self,
        placed: &PlaneLayout,
        planes: &[&[u8]],
        target: &mut gst::BufferRef,
    ) -> Result<(), String> {
        if let Some(info) = &self.layout {
            let mut frame =
                VideoFrameRef::from_buffer_ref_writable(target, info).map_err(|error| error.to_string())?;
            for plane in 0..frame.n_planes() {
                let index = plane as usize;
                let to = usize::try_from(frame.plane_stride()[index]).map_err(|error| error.to_string())?;
                let rows = frame.plane_height(plane) as usize;
                let bytes = frame.plane_data_mut(plane).map_err(|error| error.to_string())?;
                let source = planes.get(index).ok_or_else(|| {
                    format!("the driver gave {} planes of {}", planes.len(), info.n_planes())
                })?;
                copy_rows(source, placed.strides[index] as usize, bytes, to, rows)
                    .map_err(|reason| format!("plane {plane} {reason}"))?;
            }
            return Ok(());
        }
        let stride = self.bayer_stride().ok_or("it has no rows")? as usize;
        let from = *placed.strides.first().ok_or("it has no rows")? as usize;
        let source = planes.first().ok_or("the driver gave no plane")?;
        let mut map = target.map_writable().map_err(|error| error.to_string())?;
        copy_rows(source, from, &mut map, stride, self.size.height as usize)
    }
}

/// Offsets and strides of a frame's planes, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlaneLayout {
    pub(super) offsets: Vec<usize>,
    pub(super) strides: Vec<u32>,
}

impl PlaneLayout {
    /// The planes in the mapped memories of a buffer, each from its offset to the end of its memory.
    ///
    /// # Errors
    /// A plane begins beyond the buffer's end.
    pub(super) fn bytes<'m, M: std::ops::Deref<Target = [u8]>>(
        &self,
        memories: &'m [M],
    ) -> Result<Vec<&'m [u8]>, String> {
        let of_plane = |offset: &usize| {
            let mut begin = *offset;
            for memory in memories {
                if begin < memory.len() {
                    return Ok(&memory[begin..]);
                }
                begin -= memory.len();
            }
            Err("a plane begins beyond its memory".to_owned())
        };
        self.offsets.iter().map(of_plane).collect()
    }
}

/// Whether `caps` are of dma-bufs.
fn is_dma_buf(caps: &gst::Caps) -> bool {
    caps.features(0).is_some_and(|features| features.contains(DMABUF))
}

/// Pixel format and layout of fixed `caps`.
fn format(
    caps: &gst::Caps,
    structure: &gst::StructureRef,
) -> Result<(PixelFormat, Picture, Option<VideoInfo>), String> {
    const UNKNOWN: &str = "no libcamera format has these pixels";
    let by_picture = |wanted: Picture| {
        FORMATS.into_iter().find(|(_, known)| *known == wanted).map(|(pixel, _)| pixel).ok_or(UNKNOWN)
    };
    let name = structure.get::<&str>("format").unwrap_or_default();
    match structure.name().as_str() {
        "image/jpeg" => Ok((by_picture(Picture::Jpeg)?, Picture::Jpeg, None)),
        "video/x-bayer" => {
            let known = FORMATS
                .into_iter()
                .find(|(_, known)| matches!(known, Picture::Bayer(known, _) if *known == name));
            known.map(|(pixel, picture)| (pixel, picture, None)).ok_or_else(|| UNKNOWN.into())
        }
        "video/x-raw" if name == "DMA_DRM" && is_dma_buf(caps) => {
            let drm = structure.get::<&str>("drm-format").map_err(|_| "no drm-format")?;
            let (pixel, picture) = by_drm_name(drm).ok_or(UNKNOWN)?;
            let Picture::Raw(format) = picture else {
                return Err(UNKNOWN.into());
            };
            let mut plain = structure.to_owned();
            plain.set("format", format.to_str());
            plain.remove_field("drm-format");
            let info = VideoInfo::from_caps(&gst::Caps::from(plain)).map_err(|error| error.to_string())?;
            Ok((pixel, picture, Some(info)))
        }
        "video/x-raw" => {
            let info = VideoInfo::from_caps(caps).map_err(|_| "raw video with parts missing".to_owned())?;
            let picture = Picture::Raw(info.format());
            Ok((by_picture(picture)?, picture, Some(info)))
        }
        _ => Err("neither raw video nor image/jpeg nor video/x-bayer".into()),
    }
}

/// Copies `rows` rows from the stride `from` to the stride `to`. The rest of a row is padding on either side.
fn copy_rows(source: &[u8], from: usize, target: &mut [u8], to: usize, rows: usize) -> Result<(), String> {
    let width = from.min(to);
    let needed = (rows.max(1) - 1) * from + width;
    if width == 0 || source.len() < needed {
        return Err(format!("has {} bytes, not {needed}", source.len()));
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(caps: &str) -> Result<StreamFormat, String> {
        gst::init().unwrap();
        StreamFormat::parse(&StreamSetup::new(caps.parse().unwrap()))
    }

    fn fourcc(wanted: &StreamFormat) -> [u8; 4] {
        wanted.pixel.fourcc().to_le_bytes()
    }

    #[test]
    fn packed_rgb_is_named_by_bits_in_libcamera_and_by_bytes_in_gstreamer() {
        let pixel = |format| {
            let caps = format!("video/x-raw,format={format},width=4,height=2,framerate=30/1");
            fourcc(&fixed(&caps).unwrap())
        };
        assert_eq!(pixel("BGR"), *b"RG24");
        assert_eq!(pixel("RGB"), *b"BG24");
        assert_eq!(pixel("BGRx"), *b"XR24");
        assert_eq!(pixel("RGBx"), *b"XB24");
        assert_eq!(pixel("ARGB"), *b"BA24");
    }

    #[test]
    fn caps_must_be_fixed_and_known() {
        let jpeg = fixed("image/jpeg,width=640,height=480,framerate=30000/1001").unwrap();
        assert_eq!((fourcc(&jpeg), jpeg.layout.is_none()), (*b"MJPG", true));
        assert_eq!(jpeg.period, Span::from_nanos(33_366_666));
        let raw = fixed("video/x-bayer,format=rggb10le,width=640,height=480,framerate=30/1").unwrap();
        assert_eq!((fourcc(&raw), raw.copied_size()), (*b"RG10", Some(640 * 2 * 480)));
        for (caps, reason) in [
            ("video/x-raw,format=NV12", "parts missing"),
            ("video/x-raw,format=NV12,width=[1,9],height=4,framerate=30/1", "not fixed"),
            ("video/x-raw,format=A420,width=4,height=4,framerate=30/1", "no libcamera format"),
            ("video/x-bayer,format=mosaic,width=4,height=4,framerate=30/1", "no libcamera format"),
            ("video/x-raw,format=NV12,width=4,height=4,framerate=0/1", "no frame rate"),
            ("video/x-raw,format=NV12,width=4,height=4,framerate=30/1,colorimetry=red", "colorimetry"),
            ("image/jpeg,width=4,framerate=30/1", "no height"),
            ("audio/x-raw", "neither"),
        ] {
            let error = fixed(caps).unwrap_err();
            assert!(error.contains(reason), "{caps}: {error}");
        }
    }

    #[test]
    fn dma_buf_caps_are_read_in_both_spellings() {
        for caps in [
            "video/x-raw(memory:DMABuf),format=BGRx,width=64,height=4,framerate=30/1",
            "video/x-raw(memory:DMABuf),format=DMA_DRM,drm-format=XR24,width=64,height=4,framerate=30/1",
        ] {
            let wanted = fixed(caps).unwrap();
            assert!(wanted.dma_bufs_only);
            assert_eq!((fourcc(&wanted), wanted.layout.unwrap().size()), (*b"XR24", 64 * 4 * 4));
        }
        let tiled = "video/x-raw(memory:DMABuf),format=DMA_DRM,drm-format=NV12:0x0100000000000002,width=64,\
                     height=4,framerate=30/1";
        assert!(fixed(tiled).unwrap_err().contains("no libcamera format"));
    }

    #[test]
    fn planes_lie_where_the_driver_says_or_one_after_the_other() {
        let i420 = fixed("video/x-raw,format=I420,width=6,height=4,framerate=30/1").unwrap();
        assert_eq!(i420.plane_sizes(16), Some(vec![64, 16, 16]));
        let said = PlaneLayout { offsets: vec![0, 100, 200], strides: vec![16, 8, 8] };
        assert_eq!(i420.placed(16, &[0, 100, 200]).unwrap(), said);
        let in_a_row = PlaneLayout { offsets: vec![0, 64, 80], strides: vec![16, 8, 8] };
        assert_eq!(i420.placed(16, &[0]).unwrap(), in_a_row);
        assert!(i420.placed(16, &[]).is_err());

        let nv24 = fixed("video/x-raw,format=NV24,width=8,height=4,framerate=30/1").unwrap();
        assert_eq!(nv24.placed(8, &[0]).unwrap().strides, [8, 16]);
        let mut buffer = gst::Buffer::with_size(200).unwrap();
        nv24.describe(buffer.make_mut(), &nv24.placed(16, &[0, 100]).unwrap()).unwrap();
        let meta = buffer.meta::<VideoMeta>().unwrap();
        assert_eq!((meta.offset(), meta.stride()), (&[0, 100][..], &[16, 32][..]));
    }

    #[test]
    fn bayer_readers_expect_rows_of_whole_words() {
        let bayer = fixed("video/x-bayer,format=bggr,width=6,height=2,framerate=30/1").unwrap();
        assert!(bayer.goes_out_as(&bayer.placed(8, &[0]).unwrap()));
        let padded = bayer.placed(16, &[0]).unwrap();
        assert!(!bayer.goes_out_as(&padded));
        let mut buffer = gst::Buffer::with_size(bayer.copied_size().unwrap()).unwrap();
        let source: Vec<u8> = (0..32).collect();
        bayer.copy(&padded, &[&source], buffer.make_mut()).unwrap();
        let map = buffer.map_readable().unwrap();
        assert_eq!((&map[..6], &map[8..14]), (&source[..6], &source[16..22]));
    }

    #[test]
    fn copied_rows_lose_the_drivers_padding() {
        let wanted = fixed("video/x-raw,format=I420,width=6,height=4,framerate=30/1").unwrap();
        let info = wanted.layout.clone().unwrap();
        let row = |value: u8, used: usize, stride: usize| {
            let mut row = vec![255; stride];
            row[..used].fill(value);
            row
        };
        let luma: Vec<u8> = (1..=4).flat_map(|y| row(y, 6, 16)).collect();
        let chroma: Vec<u8> = (5..=6).flat_map(|y| row(y, 3, 8)).collect();
        let mut buffer = gst::Buffer::with_size(info.size()).unwrap();
        let planes: [&[u8]; 3] = [&luma, &chroma, &chroma];
        let placed = wanted.placed(16, &[0]).unwrap();
        wanted.copy(&placed, &planes, buffer.make_mut()).unwrap();
        let map = buffer.map_readable().unwrap();
        assert_eq!(&map[8..14], &[2; 6]);
        assert_eq!(&map[info.offset()[1]..][..3], &[5; 3]);
        assert_eq!(&map[info.offset()[2] + 4..][..3], &[6; 3]);
        drop(map);

        let short: [&[u8]; 3] = [&luma[..50], &chroma, &chroma];
        assert!(wanted.copy(&placed, &short, buffer.make_mut()).is_err());
        assert!(wanted.copy(&placed, &planes[..2], buffer.make_mut()).is_err());
        let nothing = wanted.placed(0, &[0]).unwrap();
        assert!(wanted.copy(&nothing, &planes, buffer.make_mut()).is_err());
    }
}
