//! Frames of all cameras as pictures of one size.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use swsync_core::grid::FrameNumber;

use crate::export::picture_source::PictureSource;
use crate::export::pictures;
use crate::export::rig_take::{RigTake, Slot};
use swsync_cli::takes::DeviceTake;

/// Raw pictures of videos: four bytes per pixel, without padding between rows.
const RAW: &str = "video/x-raw,format=RGBx";

/// Width and height, in pixels.
pub type Size = (u32, u32);

/// Reads frames of a take's cameras, upright and of one size.
pub struct Frames<'a> {
    cameras: &'a [DeviceTake],
    sources: Vec<PictureSource<'a>>,
    size: Size,
    /// Sizes that were scaled, or scaled and cropped, and their cameras' indices.
    fitted: BTreeMap<(Size, bool), Vec<usize>>,
}

impl<'a> Frames<'a> {
    /// Frames of `take`, to be shown at `size`.
    pub fn of(take: &'a RigTake, size: Size) -> anyhow::Result<Self> {
        gst::init().context("cannot start GStreamer")?;
        let sources = take
            .cameras
            .iter()
            .map(|camera| PictureSource::with_raw(camera, RAW))
            .collect::<Result<_, _>>()?;
        Ok(Self { cameras: &take.cameras, sources, size, fitted: BTreeMap::new() })
    }

    /// Frame `number` of a camera, which it must have. The numbers of a camera should rise: of a video, going back means to
    /// decode it from its beginning again.
    pub fn read(&mut self, camera: usize, number: FrameNumber) -> anyhow::Result<RgbImage> {
        let part = &self.cameras[camera];
        let at = part.records.binary_search_by_key(&number, |record| record.info.number);
        let record =
            at.ok().map(|at| &part.records[at]).context("the sequence has only frames that are there")?;
        let (buffer, caps) = self.sources[camera].picture_for(&Slot::Frame(record))?;
        let map = buffer.map_readable().context("a picture cannot be read")?;
        let is_raw = caps.structure(0).is_some_and(|structure| structure.name() == "video/x-raw");
        let picture = if is_raw { raw(&map, &caps) } else { coded(&map) };
        let picture = picture.with_context(|| {
            format!(
                "picture {} of {} cannot be shown",
                record.offset,
                part.folder.join(&record.file).display()
            )
        })?;
        let upright = upright(picture, part.take.orientation);
        Ok(self.fit(camera, upright))
    }

    /// Scales a picture to the common size, and crops what stands over.
    fn fit(&mut self, camera: usize, picture: DynamicImage) -> RgbImage {
        let (is, (width, height)) = ((picture.width(), picture.height()), self.size);
        if is == self.size {
            return picture.into_rgb8();
        }
        let cameras = self.fitted.entry((is, is_other_shape(is, self.size))).or_default();
        if !cameras.contains(&camera) {
            cameras.push(camera);
        }
        picture.resize_to_fill(width, height, FilterType::CatmullRom).into_rgb8()
    }

    /// What was done to pictures of other sizes, in words; nothing if all are scaled alike.
    pub fn notes(&self) -> Vec<String> {
        let all_alike = self.fitted.len() == 1
            && self.fitted.iter().all(|((_, crops), cameras)| !crops && cameras.len() == self.cameras.len());
        if all_alike {
            return Vec::new();
        }
        let (width, height) = self.size;
        let note = |((size, crops), cameras): (&(Size, bool), &Vec<usize>)| {
            let names: Vec<_> =
                cameras.iter().map(|camera| self.cameras[*camera].take.device.as_str()).collect();
            let how = if *crops { "scaled and cropped" } else { "scaled" };
            format!("{}x{} of {} {how} to {width}x{height}", size.0, size.1, names.join(", "))
        };
        self.fitted.iter().map(note).collect()
    }
}

/// Whether a picture of size `a` has to be cropped to have the shape of `b`: by more than a pixel's rounding.
fn is_other_shape(a: Size, b: Size) -> bool {
    let [one, other] = [u64::from(a.0) * u64::from(b.1), u64::from(b.0) * u64::from(a.1)];
    one.abs_diff(other) > u64::from(a.0.max(a.1)) * 2
}

/// The size that most cameras of `take` have, of several the first camera's.
pub fn usual_size(take: &RigTake) -> anyhow::Result<Size> {
    let mut sizes: Vec<(Size, usize)> = Vec::new();
    for camera in take.cameras.iter().filter(|camera| !camera.records.is_empty()) {
        let (width, height) = pictures::dimensions(camera)?;
        let is_on_its_side = matches!(camera.take.orientation, Some(5..=8));
        let size = if is_on_its_side { (height, width) } else { (width, height) };
        match sizes.iter_mut().find(|(known, _)| *known == size) {
            Some((_, cameras)) => *cameras += 1,
            None => sizes.push((size, 1)),
        }
    }
    let usual = sizes.iter().rev().max_by_key(|(_, cameras)| cameras).context("there are no frames")?;
    Ok(usual.0)
}

/// `size` scaled down so that its longer side is at most `longest`.
pub fn within(size: Size, longest: u32) -> Size {
    let long = size.0.max(size.1).max(1);
    if long <= longest {
        return size;
    }
    let scaled = |side: u32| (u64::from(side) * u64::from(longest) + u64::from(long) / 2) / u64::from(long);
    let side = |side: u32| u32::try_from(scaled(side)).unwrap_or(longest).max(1);
    (side(size.0), side(size.1))
}

/// A picture file.
fn coded(bytes: &[u8]) -> anyhow::Result<DynamicImage> {
    image::load_from_memory(bytes).context("only JPEG and PNG pictures can be read here, whole ones")
}

/// A raw picture in [`RAW`].
fn raw(bytes: &[u8], caps: &gst::Caps) -> anyhow::Result<DynamicImage> {
    let info = gst_video::VideoInfo::from_caps(caps).context("it does not say how it is laid out")?;
    let expected = info.width() as usize * info.height() as usize * 4;
    ensure!(bytes.len() == expected, "it has {} bytes, and should have {expected}", bytes.len());
    let pixels = bytes.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    let picture = RgbImage::from_raw(info.width(), info.height(), pixels).context("its size is wrong")?;
    Ok(picture.into())
}

/// Turns a picture as its Exif orientation says.
fn upright(mut picture: DynamicImage, orientation: Option<u16>) -> DynamicImage {
    let known = orientation.and_then(|number| Orientation::from_exif(u8::try_from(number).ok()?));
    picture.apply_orientation(known.unwrap_or(Orientation::NoTransforms));
    picture
}

/// The median brightness of a picture, from 0 to 255 (luma of BT.601).
pub fn brightness(picture: &RgbImage) -> u8 {
    let mut counts = [0_usize; 256];
    for pixel in picture.pixels() {
        let [red, green, blue] = pixel.0.map(u32::from);
        counts[((299 * red + 587 * green + 114 * blue) / 1000) as usize] += 1;
    }
    let half = picture.pixels().len().div_ceil(2);
    let mut below = 0;
    let median = counts.iter().position(|count| {
        below += count;
        below >= half
    });
    median.and_then(|median| u8::try_from(median).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_side_is_limited_and_the_shape_kept() {
        assert_eq!(within((640, 480), 640), (640, 480));
        assert_eq!(within((4056, 3040), 640), (640, 480));
        assert_eq!(within((1080, 1920), 640), (360, 640));
        assert!(!is_other_shape((4056, 3040), (640, 480)) && is_other_shape((1920, 1080), (640, 480)));
        assert!(!is_other_shape((1919, 1079), (1918, 1078)));
    }

    #[test]
    fn a_picture_that_lies_on_its_side_is_turned() {
        let mut picture = RgbImage::new(4, 2);
        picture.put_pixel(0, 0, image::Rgb([255, 0, 0]));
        let turned = upright(picture.into(), Some(6)).into_rgb8();
        assert_eq!(turned.dimensions(), (2, 4));
        assert_eq!(turned.get_pixel(1, 0).0, [255, 0, 0], "a quarter clockwise");
    }

    #[test]
    fn brightness_is_the_median() {
        let grey = |x: u32, _| image::Rgb([if x < 6 { 50 } else { 200 }; 3]);
        assert_eq!(brightness(&RgbImage::from_fn(10, 10, grey)), 50);
    }
}
