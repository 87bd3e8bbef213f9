//! Reads the pictures of a camera's take one after the other, from picture files or from video.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::pictures;
use super::rig_take::Slot;
use crate::video_file;
use swsync_cli::takes::DeviceTake;

/// Width and height of a picture.
pub fn size_of(buffer: &gst::Buffer, caps: &gst::Caps) -> anyhow::Result<(u32, u32)> {
    let field = |name: &str| caps.structure(0)?.get::<i32>(name).ok()?.try_into().ok();
    if let Some(size) = field("width").zip(field("height")) {
        return Ok(size);
    }
    let map = buffer.map_readable().context("a picture cannot be read")?;
    let reader = image::ImageReader::new(std::io::Cursor::new(map.as_slice())).with_guessed_format()?;
    reader.into_dimensions().context("a picture does not say how large it is")
}

/// Reads a camera's pictures in the order of their numbers.
pub struct PictureSource<'a> {
    camera: &'a DeviceTake,
    /// The video that is being decoded, and the index of its next picture.
    open: Option<(&'a str, video_file::PictureReader, u64)>,
    /// The last picture, with its file and index.
    last: Option<(&'a str, u64, gst::Buffer)>,
    caps: Option<gst::Caps>,
    /// Caps of raw pictures.
    raw: &'static str,
}

/// From this picture on a video is searched, rather than decoded from its beginning.
const FAR: u64 = 120;

/// Raw pictures of videos, unless asked otherwise.
const I420: &str = "video/x-raw,format=I420";

impl<'a> PictureSource<'a> {
    /// The pictures of `camera`, those of videos in I420.
    pub fn of(camera: &'a DeviceTake) -> anyhow::Result<Self> {
        Self::with_raw(camera, I420)
    }

    /// The pictures of `camera`, those of videos in the raw format of these caps.
    pub fn with_raw(camera: &'a DeviceTake, raw: &'static str) -> anyhow::Result<Self> {
        pictures::extension(camera)?;
        Ok(Self { camera, open: None, last: None, caps: None, raw })
    }

    /// What `slot` shows, which must not be missing: a coded picture file, or a raw picture of a video.
    pub fn picture_for(&mut self, slot: &Slot<'a>) -> anyhow::Result<(gst::Buffer, gst::Caps)> {
        let (record, is_shown) = match slot {
            Slot::Frame(record) | Slot::Repeated(record) => (Some(*record), true),
            // Black pictures have the size of the first frame.
            Slot::Black => (self.camera.records.first(), false),
            Slot::Missing => bail!("a hole has no picture"),
        };
        let Some(record) = record.filter(|_| is_shown || self.caps.is_none()) else {
            return self.black();
        };
        let here = (record.file.as_str(), record.offset);
        if self.last.as_ref().map(|(file, offset, _)| (*file, *offset)) != Some(here) {
            let (buffer, caps) = self.read(here.0, here.1)?;
            self.caps = Some(caps);
            self.last = Some((here.0, here.1, buffer));
        }
        if !is_shown {
            return self.black();
        }
        let buffer = self.last.as_ref().map(|(_, _, buffer)| buffer.clone());
        buffer.zip(self.caps.clone()).context("it was just read")
    }

    /// Reads picture `offset` of a file.
    fn read(&mut self, file: &'a str, offset: u64) -> anyhow::Result<(gst::Buffer, gst::Caps)> {
        let path = self.camera.folder.join(file);
        if !pictures::is_video(self.camera) {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let media = match path.extension().unwrap_or_default().to_str() {
                Some("png") => "image/png",
                Some("webp") => "image/webp",
                _ => "image/jpeg",
            };
            return Ok((gst::Buffer::from_slice(bytes), gst::Caps::new_empty_simple(media)));
        }
        if self.open.as_ref().is_none_or(|(open, _, next)| *open != file || *next > offset) {
            self.begin(file, &path, if offset < FAR { 0 } else { offset })?;
            if let Some(found) = self.advance(&path, offset)? {
                return Ok(found);
            }
            // Some containers cannot be searched exactly: from its beginning.
            self.begin(file, &path, 0)?;
        }
        if let Some(found) = self.advance(&path, offset)? {
            return Ok(found);
        }
        let next = self.open.as_ref().map_or(0, |(_, _, next)| *next);
        bail!(
            "picture {offset} (from 0) of {}, which the manifest names, cannot be decoded: is the file whole?{}",
            path.display(),
            if next == 0 { video_file::decoder_remedy(self.camera.media()) } else { "" }
        )
    }

    /// Begins to decode a video, shortly before picture `from`.
    fn begin(&mut self, file: &'a str, path: &Path, from: u64) -> anyhow::Result<()> {
        let pictures = video_file::PictureReader::near(path, self.camera.media(), self.raw, from)
            .with_context(|| format!("cannot decode {}", path.display()))?;
        self.open = Some((file, pictures, 0));
        Ok(())
    }

    /// Decodes up to picture `offset`, and returns it; `None` if it does not come.
    fn advance(&mut self, path: &Path, offset: u64) -> anyhow::Result<Option<(gst::Buffer, gst::Caps)>> {
        let (_, pictures, next) = self.open.as_mut().context("it was just opened")?;
        for picture in pictures {
            let (place, frame) = picture.with_context(|| format!("cannot decode {}", path.display()))?;
            *next = place + 1;
            if place == offset {
                return Ok(Some((frame.buffer, frame.caps)));
            }
            if place > offset {
                break;
            }
        }
        Ok(None)
    }

    /// A black picture in the format of the others.
    fn black(&self) -> anyhow::Result<(gst::Buffer, gst::Caps)> {
        let caps = self.caps.clone().unwrap_or_else(|| gst::Caps::new_empty_simple("image/jpeg"));
        let kind = caps.structure(0).map_or("", |structure| structure.name().as_str());
        let bytes = match kind {
            "video/x-raw" => {
                let info = gst_video::VideoInfo::from_caps(&caps)
                    .context("raw pictures say how they are laid out")?;
                if info.format() != gst_video::VideoFormat::I420 {
                    bail!("black pictures are made in I420 only, not in {}", info.format());
                }
                // The luma plane, then both chroma planes.
                let is_full = info.colorimetry().range() == gst_video::VideoColorRange::Range0_255;
                let mut black = vec![128; info.size()];
                black[..info.offset()[1]].fill(if is_full { 0 } else { 16 });
                black
            }
            "image/jpeg" => pictures::black_like(self.camera)?,
            _ => bail!("black pictures cannot be put among {kind}: choose another --fill"),
        };
        Ok((gst::Buffer::from_slice(bytes), caps))
    }
}
