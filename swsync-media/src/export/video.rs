//! A video per device, all of one length: picture k of each shows the same instant.
//!
//! Coded frames are copied if they are exactly the ones to show. Else the camera's pictures are decoded and encoded again: a coded
//! video can only begin with a key frame, and frames can be neither inserted nor removed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use swsync_core::grid::FrameNumber;
use swsync_core::order::Fill;
use swsync_core::time::{Rig, Span, Timestamp};

use super::rig_take::{RigTake, Slot};
use super::target::Target;
use super::{pictures, tables};
use crate::video_file::{self, FrameReader, Mp4Writer, VideoIndex};
use swsync_cli::takes::DeviceTake;

/// Writes per take `<order>/<device>.mp4`, its timecodes `<order>/<device>.pts`, and `<order>/<order>-grid.csv` with a row per
/// picture.
///
/// Without a fill only the frames that every device has are in the videos, so that they have as many frames.
pub fn export(takes: &[RigTake], fill: Option<Fill>, target: &mut Target) -> anyhow::Result<()> {
    for take in takes {
        let ordered = take.cameras.first().map_or(Fill::None, |camera| camera.take.fill);
        let (fill, folder) = (fill.unwrap_or(ordered), PathBuf::from(take.order.as_str()));
        let numbers = take.numbers_for_all(fill)?;
        let columns: Vec<_> =
            take.cameras.iter().map(|camera| RigTake::slots(camera, &numbers, fill)).collect();
        let times: Vec<_> = columns.iter().map(|slots| tables::shown_times(take, slots)).collect();
        let instant = numbers.first().map(|first| take.grid.instant(*first));
        let start = times.iter().flatten().copied().chain(instant).min().context("there are no frames")?;
        for ((camera, slots), times) in take.cameras.iter().zip(&columns).zip(&times) {
            let path = folder.join(format!("{}.mp4", camera.take.device));
            let how = write(take, camera, slots, &path, target)?;
            target.write(&path.with_extension("pts"), tables::timecodes(times, start).as_bytes())?;
            if !target.is_dry_run() {
                target.print(&format!("{}: {}, {how}", take.order, camera.take.device));
            }
        }
        let left = take.numbers.len() - numbers.len();
        let left = if left == 0 { String::new() } else { format!("; {left} numbers are not on all devices") };
        target.print(&format!("{}: {} pictures each{left}", take.order, numbers.len()));
        let table = tables::grid_table(take, &numbers, fill);
        target.write(&folder.join(format!("{}-grid.csv", take.order)), table.as_bytes())?;
    }
    Ok(())
}

/// Writes one camera's video, which shows `slots`; none may be missing. Returns how it was made, for a message.
pub fn write(
    take: &RigTake,
    camera: &DeviceTake,
    slots: &[(FrameNumber, Slot<'_>)],
    path: &Path,
    target: &mut Target,
) -> anyhow::Result<String> {
    let Some(out) = target.begin(path)? else { return Ok("not written".into()) };
    target.plan(slots.len());
    let timing = timing(take, slots);
    let written = match plan_copy(camera, slots)? {
        Ok(runs) => copy(camera, &runs, &timing, &out, target).map(|()| "copied as it is".into()),
        Err(why) => encode(camera, slots, &timing, &out, target)
            .map(|scaled| format!("coded anew (H.264): {why}{scaled}")),
    };
    written.with_context(|| format!("cannot make {}", path.display()))
}

/// The times at which pictures are shown.
struct Timing {
    /// Rig time of the first picture.
    begin: Timestamp<Rig>,
    /// For each picture its time since the first, and its duration.
    at: Vec<(Span, Span)>,
    /// Pictures per second.
    rate: gst::Fraction,
}

/// Pictures are shown as far apart as their numbers are: a time lapse has its own rate.
fn timing(take: &RigTake, slots: &[(FrameNumber, Slot<'_>)]) -> Timing {
    let instants: Vec<_> = slots.iter().map(|(number, _)| take.grid.instant(*number)).collect();
    let begin = instants.first().copied().unwrap_or(take.grid.instant(0));
    let mut steps: Vec<_> = instants.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.push(steps.last().copied().unwrap_or(take.grid.period()));
    let numbers = slots.first().zip(slots.last()).map_or(0, |(first, last)| last.0 - first.0);
    let (frames, seconds) = take.grid.rate();
    let (frames, seconds) = match (slots.len() as u64).saturating_sub(1) {
        0 => (u64::from(frames), u64::from(seconds)),
        count => (u64::from(frames) * count, u64::from(seconds) * numbers.max(1)),
    };
    Timing {
        begin,
        at: instants.iter().zip(steps).map(|(instant, step)| (*instant - begin, step)).collect(),
        rate: fraction(frames, seconds),
    }
}

/// `above / below`, as exactly as a GStreamer fraction can be.
fn fraction(mut above: u64, mut below: u64) -> gst::Fraction {
    let (mut a, mut b) = (above, below);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (above, below) = (above / a.max(1), below / a.max(1));
    while above.max(below) > u64::from(i32::MAX.unsigned_abs()) {
        (above, below) = (above.div_ceil(2), below.div_ceil(2));
    }
    gst::Fraction::new(
        i32::try_from(above).unwrap_or(i32::MAX),
        i32::try_from(below.max(1)).unwrap_or(i32::MAX),
    )
}

/// Consecutive coded frames of one file.
struct CopiedRun<'a> {
    file: &'a str,
    /// Index of the first in the file.
    first: usize,
    count: usize,
    /// For each stored frame its index in presentation order.
    shown: Vec<usize>,
}

/// The coded frames that are exactly what `slots` show; or the reason why pictures have to be encoded again.
fn plan_copy<'a>(
    camera: &'a DeviceTake,
    slots: &[(FrameNumber, Slot<'a>)],
) -> anyhow::Result<Result<Vec<CopiedRun<'a>>, &'static str>> {
    if !pictures::is_video(camera) {
        return Ok(Err("it saved pictures"));
    }
    if !video_file::fits_mp4(camera.media()) {
        return Ok(Err("MP4 does not hold it"));
    }
    let mut runs: Vec<CopiedRun<'_>> = Vec::new();
    for (_, slot) in slots {
        let Slot::Frame(record) = *slot else { return Ok(Err("frames are filled in")) };
        let offset = usize::try_from(record.offset)?;
        match runs.last_mut() {
            Some(run) if run.file == record.file && run.first + run.count == offset => run.count += 1,
            _ => runs.push(CopiedRun { file: &record.file, first: offset, count: 1, shown: Vec::new() }),
        }
    }
    let mut known: Option<(Vec<u8>, Option<gst::Caps>)> = None;
    for run in &mut runs {
        let path = camera.folder.join(run.file);
        let index = VideoIndex::of(&path, camera.media())
            .with_context(|| format!("cannot read {}", path.display()))?;
        let (frames, last) = (index.shown.len(), run.first + run.count - 1);
        ensure!(
            last < frames,
            "{} has {frames} frames, but the manifest names frame {last} of it (from 0): is the file whole?",
            path.display()
        );
        let Some(parameters) = index.keys.get(&run.first) else {
            return Ok(Err("what it begins with builds on frames of before"));
        };
        if index.is_reordered() && (run.first, run.count) != (0, frames) {
            return Ok(Err("it builds on frames that are not shown"));
        }
        let own = (parameters.clone(), index.caps.clone());
        if *known.get_or_insert_with(|| own.clone()) != own {
            return Ok(Err("its files have different parameters"));
        }
        run.shown = index.shown;
    }
    Ok(Ok(runs))
}

/// Copies coded frames into an MP4 file.
fn copy(
    camera: &DeviceTake,
    runs: &[CopiedRun<'_>],
    timing: &Timing,
    out: &Path,
    target: &Target,
) -> anyhow::Result<()> {
    let mut video: Option<Mp4Writer<'_>> = None;
    let mut done = 0;
    // The reorder depth: at most so many frames are stored before one that is shown before them. All are decoded that much earlier.
    let late =
        |run: &CopiedRun<'_>| run.shown.iter().enumerate().map(|(at, shown)| at.saturating_sub(*shown)).max();
    let depth = i64::try_from(runs.iter().filter_map(late).max().unwrap_or_default())?;
    let (_, step) = timing.at.first().context("there are no frames")?;
    let early = *step * depth;
    for run in runs {
        let path = camera.folder.join(run.file);
        let frames = FrameReader::coded(&path, camera.media())?.enumerate();
        for (stored, frame) in frames.skip(run.first).take(run.count) {
            let frame = frame.with_context(|| format!("cannot read {}", path.display()))?;
            let (at, duration) = timing.at[done + run.shown[stored] - run.first];
            let decoded = timing.at[done + stored - run.first].0 - early;
            let video = match &mut video {
                Some(video) => video,
                None => video.insert(Mp4Writer::copying(&with_rate(&frame.caps, timing.rate), early, out)?),
            };
            video.push(&frame.buffer, at, decoded, duration)?;
            target.step();
        }
        done += run.count;
    }
    video.context("there are no frames")?.finish(timing.begin)
}

fn with_rate(caps: &gst::Caps, rate: gst::Fraction) -> gst::Caps {
    let mut caps = caps.clone();
    caps.make_mut().set("framerate", rate);
    caps
}

/// Encodes pictures, from picture files or decoded video. Returns a remark if some had to be scaled, else an empty text.
fn encode(
    camera: &DeviceTake,
    slots: &[(FrameNumber, Slot<'_>)],
    timing: &Timing,
    out: &Path,
    target: &Target,
) -> anyhow::Result<String> {
    gst::init().context("cannot start GStreamer")?;
    let mut source = PictureSource::of(camera)?;
    let mut video: Option<Mp4Writer<'_>> = None;
    let mut kind: Option<gst::Caps> = None;
    let mut sizes = Vec::new();
    for ((_, slot), (at, duration)) in slots.iter().zip(&timing.at) {
        let (buffer, caps) = source.picture_for(slot)?;
        // Picture files have no rate of their own.
        let caps = with_rate(&caps, timing.rate);
        let size = size_of(&buffer, &caps)?;
        if !sizes.contains(&size) {
            sizes.push(size);
        }
        let video = match &mut video {
            Some(video) => video,
            None => video.insert(Mp4Writer::encoding(&caps, size, out)?),
        };
        if kind.replace(caps.clone()).is_some_and(|before| before != caps) {
            // The camera's format changed within the take.
            video.change(&caps)?;
        }
        video.push(&buffer, *at, *at, *duration)?;
        target.step();
    }
    video.context("there are no pictures")?.finish(timing.begin)?;
    let [(width, height), others @ ..] = &sizes[..] else { return Ok(String::new()) };
    let others =
        others.iter().map(|(width, height)| format!("{width}x{height}")).collect::<Vec<_>>().join(", ");
    let scaled = format!("; pictures of {others} are scaled to {width}x{height}, as its first ones have");
    Ok(if others.is_empty() { String::new() } else { scaled })
}

/// Width and height of a picture.
fn size_of(buffer: &gst::Buffer, caps: &gst::Caps) -> anyhow::Result<(u32, u32)> {
    let field = |name: &str| caps.structure(0)?.get::<i32>(name).ok()?.try_into().ok();
    if let Some(size) = field("width").zip(field("height")) {
        return Ok(size);
    }
    let map = buffer.map_readable().context("a picture cannot be read")?;
    let reader = image::ImageReader::new(std::io::Cursor::new(map.as_slice())).with_guessed_format()?;
    reader.into_dimensions().context("a picture does not say how large it is")
}

/// Reads a camera's pictures in the order of their numbers.
struct PictureSource<'a> {
    camera: &'a DeviceTake,
    /// The video that is being decoded, and the index of its next picture.
    open: Option<(&'a str, video_file::PictureReader, u64)>,
    /// The last picture, with its file and index.
    last: Option<(&'a str, u64, gst::Buffer)>,
    caps: Option<gst::Caps>,
}

impl<'a> PictureSource<'a> {
    fn of(camera: &'a DeviceTake) -> anyhow::Result<Self> {
        pictures::extension(camera)?;
        Ok(Self { camera, open: None, last: None, caps: None })
    }

    fn picture_for(&mut self, slot: &Slot<'a>) -> anyhow::Result<(gst::Buffer, gst::Caps)> {
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
            let pictures =
                video_file::PictureReader::of(&path, self.camera.media(), "video/x-raw,format=I420")
                    .with_context(|| format!("cannot decode {}", path.display()))?;
            self.open = Some((file, pictures, 0));
        }
        let (_, pictures, next) = self.open.as_mut().context("it was just opened")?;
        for picture in pictures {
            let (place, frame) = picture.with_context(|| format!("cannot decode {}", path.display()))?;
            *next = place + 1;
            if place == offset {
                return Ok((frame.buffer, frame.caps));
            }
            if place > offset {
                break;
            }
        }
        bail!(
            "picture {offset} (from 0) of {}, which the manifest names, cannot be decoded: is the file whole?{}",
            path.display(),
            if *next == 0 { video_file::decoder_remedy(self.camera.media()) } else { "" }
        )
    }

    /// A black picture in the format of the others.
    fn black(&self) -> anyhow::Result<(gst::Buffer, gst::Caps)> {
        let caps = self.caps.clone().unwrap_or_else(|| gst::Caps::new_empty_simple("image/jpeg"));
        let kind = caps.structure(0).map_or("", |structure| structure.name().as_str());
        let bytes = match kind {
            "video/x-raw" => {
                // I420: the luma plane, then both chroma planes.
                let info = gst_video::VideoInfo::from_caps(&caps)
                    .context("raw pictures say how they are laid out")?;
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
