//! A video per device, all of one length: picture k of each shows the same instant.
//!
//! Coded frames are copied if they are exactly the ones to show. Else the camera's pictures are decoded and encoded again: a coded
//! video can only begin with a key frame, and frames can be neither inserted nor removed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use swsync_core::grid::FrameNumber;
use swsync_core::order::Fill;
use swsync_core::time::{Rig, Span, Timestamp};

use super::picture_source::{PictureSource, size_of};
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
