//! A camera's frames as picture files, from pictures or from video.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use image::codecs::jpeg::JpegEncoder;
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::exif::{Origin, with_exif};
use swsync_core::manifest::{FrameRecord, Take};

use super::rig_take::Slot;
use super::target::Target;
use crate::video_file;
use swsync_cli::takes::DeviceTake;

/// Quality of JPEGs made here. The loss is hardly visible.
const QUALITY: u8 = 95;

/// PictureReader that other programs open.
const KNOWN: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Whether a camera's frames are in video files.
pub fn is_video(camera: &DeviceTake) -> bool {
    !camera.take.segments.is_empty()
}

/// The extension of pictures of `camera`: that of its files, or `jpg` for pictures out of its videos.
pub fn extension(camera: &DeviceTake) -> anyhow::Result<String> {
    if is_video(camera) {
        return Ok("jpg".into());
    }
    let Some(record) = camera.records.first() else { return Ok("jpg".into()) };
    let extension = Path::new(&record.file).extension().unwrap_or_default().to_string_lossy().to_lowercase();
    ensure!(
        KNOWN.contains(&extension.as_str()),
        "{} saved .{extension} files, which are no pictures that other programs open: put an encoder before \
         swsyncsink, as in `jpegenc ! swsyncsink`",
        camera.take.device
    );
    Ok(extension)
}

/// Writes a picture for each of `slots` that is not missing. `path` returns the file for index and frame number.
pub fn write(
    camera: &DeviceTake,
    slots: &[(FrameNumber, Slot<'_>)],
    target: &mut Target,
    path: impl Fn(usize, FrameNumber) -> PathBuf,
) -> anyhow::Result<()> {
    let mut black = None;
    // For each video and index in it, the files to write.
    let mut of_videos: BTreeMap<&str, BTreeMap<u64, Wanted<'_>>> = BTreeMap::new();
    target.plan(slots.len());
    for (index, (number, slot)) in slots.iter().enumerate() {
        let path = path(index, *number);
        match slot.record() {
            Some(record) if is_video(camera) => {
                let wanted = of_videos.entry(&record.file).or_default().entry(record.offset);
                wanted.or_insert_with(|| Wanted { record, paths: Vec::new() }).paths.push(path);
                continue;
            }
            Some(record) => target.place(&camera.folder.join(&record.file), &path)?,
            None if *slot == Slot::Black => {
                if black.is_none() {
                    black = Some(black_file(camera)?);
                }
                target.write(&path, black.as_deref().unwrap_or_default())?;
            }
            None => (),
        }
        target.step();
    }
    for (file, wanted) in of_videos {
        from_video(camera, &camera.folder.join(file), wanted, target)?;
    }
    Ok(())
}

/// A picture of a video, and the files to write it to.
struct Wanted<'a> {
    record: &'a FrameRecord,
    paths: Vec<PathBuf>,
}

/// Writes the `wanted` pictures of a video, which are by index, with their manifest record as EXIF.
fn from_video(
    camera: &DeviceTake,
    video: &Path,
    mut wanted: BTreeMap<u64, Wanted<'_>>,
    target: &mut Target,
) -> anyhow::Result<()> {
    if target.is_dry_run() {
        let paths = wanted.into_values().flat_map(|wanted| wanted.paths);
        return paths.into_iter().try_for_each(|path| target.write(&path, &[]));
    }
    let Take { maker, camera: model, software, .. } = &camera.take;
    let software = format!("swsync {software}");
    let origin = Origin {
        make: maker.as_deref().unwrap_or_default(),
        model: model.as_deref().unwrap_or_default(),
        software: &software,
        orientation: camera.take.orientation,
    };
    let Some(last) = wanted.keys().next_back().copied() else { return Ok(()) };
    let mut decoded = 0;
    video_file::decode(video, camera.media(), QUALITY, |index, picture| {
        decoded += 1;
        if let Some(Wanted { record, paths }) = wanted.remove(&index) {
            let picture = with_exif(picture, record, &origin)?.to_vec();
            for path in paths {
                target.write(&path, &picture)?;
                target.step();
            }
        }
        Ok(index < last)
    })
    .with_context(|| format!("cannot decode {}", video.display()))?;
    if let Some(missing) = wanted.keys().next() {
        bail!(
            "{decoded} pictures of {} can be decoded, and picture {missing} (from 0), which the manifest names, is not among \
             them: is the file whole?{}",
            video.display(),
            if decoded == 0 { video_file::decoder_remedy(camera.media()) } else { "" }
        );
    }
    Ok(())
}

/// A black picture in the format of `camera`'s files.
fn black_file(camera: &DeviceTake) -> anyhow::Result<Vec<u8>> {
    match extension(camera)?.as_str() {
        "jpg" | "jpeg" => black_like(camera),
        "png" => {
            let (width, height) = dimensions(camera)?;
            let mut png = Cursor::new(Vec::new());
            let picture = image::DynamicImage::new_rgb8(width, height);
            picture.write_to(&mut png, image::ImageFormat::Png).context("cannot make a black picture")?;
            Ok(png.into_inner())
        }
        other => bail!("no black .{other} file can be made here: use --fill hold or --fill none"),
    }
}

/// A black JPEG of the size of `camera`'s frames.
pub fn black_like(camera: &DeviceTake) -> anyhow::Result<Vec<u8>> {
    let (width, height) = dimensions(camera)?;
    let mut jpeg = Vec::new();
    let picture = image::GrayImage::new(width, height);
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode_image(&image::DynamicImage::ImageLuma8(picture).into_rgb8())
        .context("cannot make a black picture")?;
    Ok(jpeg)
}

/// Width and height of `camera`'s frames, from its first picture or its caps.
pub fn dimensions(camera: &DeviceTake) -> anyhow::Result<(u32, u32)> {
    if !is_video(camera)
        && let Some(record) = camera.records.first()
    {
        let path = camera.folder.join(&record.file);
        return image::image_dimensions(&path).with_context(|| format!("cannot read {}", path.display()));
    }
    let field = |name: &str| {
        let (_, value) = camera.take.caps.split_once(&format!("{name}="))?;
        let digits: String =
            value.trim_start_matches("(int)").chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    let size = field("width").zip(field("height"));
    size.with_context(|| format!("{} does not say how large its frames are", camera.take.device))
}
