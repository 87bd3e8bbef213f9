//! Small JPEGs of frames, from picture files and from videos.

use std::collections::BTreeMap;
use std::io::{BufRead, Cursor, Seek};

use anyhow::{Context as _, bail, ensure};
use gst_video::prelude::*;
use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder as _, ImageReader};
use swsync_core::manifest::check_path;

use super::take::{DeviceData, Frame};
use crate::video_file::{PictureReader, decoder_remedy};

/// Largest width and height.
const SIZE: u32 = 300;

/// A picture with more pixels is none of a camera: decoding it would take gigabytes.
const MAX_PIXELS: u64 = 300_000_000;

/// Quality of the JPEGs: good enough to recognize what is shown.
const QUALITY: u8 = 72;

/// The small JPEGs of `frames` of `device`, in their order. Calls `step` once for each.
pub fn of_frames(device: &DeviceData, frames: &[Frame], step: &dyn Fn()) -> Vec<anyhow::Result<Vec<u8>>> {
    let mut made: Vec<_> = frames.iter().map(|_| Err(anyhow::anyhow!("it is not in the file"))).collect();
    let mut of_files: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, frame) in frames.iter().enumerate() {
        of_files.entry(frame.file).or_default().push(index);
    }
    for (file, indexes) in of_files {
        if device.is_video() {
            let wanted: BTreeMap<u64, usize> =
                indexes.iter().map(|index| (frames[*index].offset, *index)).collect();
            if let Err(error) = of_video(device, file, &wanted, &mut made) {
                let why = format!("{error:#}");
                let failed =
                    indexes.iter().filter(|index| made[**index].is_err()).copied().collect::<Vec<_>>();
                failed.into_iter().for_each(|index| made[index] = Err(anyhow::anyhow!(why.clone())));
            }
        } else {
            indexes.iter().for_each(|index| made[*index] = of_picture(device, file));
        }
        indexes.iter().for_each(|_| step());
    }
    made
}

/// The small JPEG of a picture file.
fn of_picture(device: &DeviceData, file: usize) -> anyhow::Result<Vec<u8>> {
    let path = device.folder.join(path_of(device, file)?);
    of_reader(ImageReader::open(path).context("the file cannot be read")?)
}

fn of_reader(reader: ImageReader<impl BufRead + Seek>) -> anyhow::Result<Vec<u8>> {
    let reader = reader.with_guessed_format().context("the file cannot be read")?;
    let mut decoder = reader.into_decoder().context("the picture cannot be decoded")?;
    let (width, height) = decoder.dimensions();
    ensure!(
        u64::from(width) * u64::from(height) <= MAX_PIXELS,
        "the picture is too large: {width} x {height}"
    );
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).context("the picture cannot be decoded")?;
    small_jpeg(picture, orientation)
}

/// The small JPEGs of the pictures of a video that are `wanted`, by their index in the file.
fn of_video(
    device: &DeviceData,
    file: usize,
    wanted: &BTreeMap<u64, usize>,
    made: &mut [anyhow::Result<Vec<u8>>],
) -> anyhow::Result<()> {
    let Some(last) = wanted.keys().next_back().copied() else { return Ok(()) };
    let path = device.folder.join(path_of(device, file)?);
    let media = device.take.caps.split(',').next().unwrap_or_default().trim();
    let orientation =
        device.take.orientation.and_then(|number| Orientation::from_exif(u8::try_from(number).ok()?));
    let mut decoded = 0;
    for picture in PictureReader::of(&path, media, "video/x-raw,format=RGB")? {
        let (place, frame) = picture.context("the video cannot be decoded")?;
        decoded += 1;
        if let Some(index) = wanted.get(&place) {
            made[*index] = rgb(&frame.buffer, &frame.caps)
                .and_then(|picture| small_jpeg(picture, orientation.unwrap_or(Orientation::NoTransforms)));
        }
        if place >= last {
            return Ok(());
        }
    }
    let remedy = if decoded == 0 { decoder_remedy(media) } else { "" };
    bail!("only {decoded} pictures of {} can be decoded{remedy}", path_of(device, file)?)
}

/// The path of a file in its device's folder. It must not lead out of that.
fn path_of(device: &DeviceData, file: usize) -> anyhow::Result<&str> {
    let path = device.files.get(file).context("the manifest names it")?;
    check_path(path)?;
    Ok(path)
}

/// A raw picture of GStreamer.
fn rgb(buffer: &gst::Buffer, caps: &gst::CapsRef) -> anyhow::Result<DynamicImage> {
    let info = gst_video::VideoInfo::from_caps(caps).context("raw pictures say how they are laid out")?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)
        .context("a picture cannot be read")?;
    let (width, height) = (frame.width(), frame.height());
    let stride = usize::try_from(frame.plane_stride()[0])?;
    let row = 3 * usize::try_from(width)?;
    let data = frame.plane_data(0).context("a picture cannot be read")?;
    ensure!(row > 0 && stride >= row, "a picture is empty");
    let rows = data.chunks(stride).take(usize::try_from(height)?);
    let pixels = rows.flat_map(|line| &line[..row.min(line.len())]).copied().collect();
    image::RgbImage::from_raw(width, height, pixels)
        .map(DynamicImage::ImageRgb8)
        .context("a picture is cut off")
}

/// `picture`, small and upright.
fn small_jpeg(picture: DynamicImage, orientation: Orientation) -> anyhow::Result<Vec<u8>> {
    let mut small =
        if picture.width().max(picture.height()) > SIZE { picture.thumbnail(SIZE, SIZE) } else { picture };
    small.apply_orientation(orientation);
    let mut jpeg = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode_image(&small.into_rgb8())
        .context("a small picture cannot be made")?;
    Ok(jpeg.into_inner())
}
