//! Bullet time: one instant, or time that runs, seen from one camera of the rig after the other, as a GIF or an MP4.
//!
//! `sequence` decides which frame is shown when, `frames` reads them at one size, and `gif` or the MP4 writer of
//! [`crate::video_file`] writes them, one after the other.

mod args;
mod frames;
mod gif;
mod palette;
mod report;
mod sequence;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use image::RgbImage;
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::time::{Rig, Timestamp};

pub use args::BullettimeArgs;
use args::Kind;
use frames::{Frames, Size};
use gif::GifWriter;
pub use report::BullettimeDocument;
use report::LeftOut;
use sequence::{Plan, Sequence, Shown};

use super::rig_take::RigTake;
use super::target::{Target, TargetOptions};
use super::{WriteArgs, read_take, ring, warn_of_missing};
use crate::video_file::Mp4Writer;
use swsync_cli::{exit, output};

/// The longer side of a GIF unless told otherwise: larger ones have many megabytes.
const GIF_SIDE: u32 = 640;

/// The longer side of an MP4 unless told otherwise: all players show it.
const MP4_SIDE: u32 = 1920;

/// Cameras whose median brightness differs by this factor are named. Views of one scene differ a little anyway.
const BRIGHTNESS_RATIO: f64 = 1.25;

/// Runs the command.
///
/// # Errors
/// The take cannot be read, or the file cannot be written.
pub fn run(args: &BullettimeArgs) -> anyhow::Result<ExitCode> {
    let WriteArgs { dry_run, force } = args.write;
    let mut target = Target::open_file(&args.out.path, TargetOptions { copy: false, dry_run, force })?;
    let given = ring::devices(&args.take, &args.order)?;
    let mut take = read_take(&args.take, &given)?;
    let source = ring::sort(&mut take, &given);
    let number = sequence::choose(&take, args.frame)?;
    let rate = args.rate(take.grid)?;
    let plan = plan(args, &take, rate);
    let sequence = sequence::sequence(&take, number, plan)?;
    let size = size(args, &take)?;
    let mut report = BullettimeDocument::new(args, &take, source, &sequence, (number, rate, size));
    if !args.json {
        output::line(&ring::describe(&take, source));
    }
    if let Some(staged) = target.begin_file()? {
        report.notes.extend(
            write(&take, &sequence, (size, rate), args.out.kind, &staged, &target)
                .with_context(|| format!("cannot make {}", args.out.path.display()))?,
        );
        target.finish()?;
        report.bytes = Some(std::fs::metadata(&args.out.path)?.len());
    }
    report.print(args.json)?;
    for LeftOut { device, number, why } in &report.left_out {
        output::warn(&format!("{device} is left out: it lacks frame {number}: {why}"));
    }
    let missing = warn_of_missing(&args.take, &given);
    let is_whole = missing == 0 && report.left_out.is_empty();
    Ok(ExitCode::from(if is_whole || args.allow_missing { 0 } else { exit::INCOMPLETE }))
}

/// What to show, from the arguments.
fn plan(args: &BullettimeArgs, take: &RigTake, rate: FrameGrid) -> Plan {
    let (frames, seconds) = rate.rate();
    // A movement of a second at least: of few cameras each stays for longer.
    let cameras = u32::try_from(take.cameras.len()).unwrap_or(u32::MAX);
    let second = frames.div_ceil(seconds.saturating_mul(cameras).max(1));
    let period = u128::from(take.grid.period().as_nanos().max(1).unsigned_abs());
    let numbers = |time: Duration| u64::try_from(time.as_nanos() / period).unwrap_or(u64::MAX);
    Plan {
        run: args.run,
        around: (numbers(args.lead), numbers(args.tail)),
        bounce: args.bounce,
        loops: args.out.kind == Kind::Gif,
        dwell: args.dwell.unwrap_or(second.max(1)),
    }
}

/// The size of the pictures.
fn size(args: &BullettimeArgs, take: &RigTake) -> anyhow::Result<Size> {
    let usual = || frames::usual_size(take);
    let (width, height) = match (args.size, args.out.kind) {
        (Some(size), _) => size,
        (None, Kind::Gif) => frames::within(usual()?, GIF_SIDE),
        (None, Kind::Mp4) => frames::within(usual()?, MP4_SIDE),
    };
    // H.264 stores colours for blocks of two by two pixels.
    let even = |side: u32| (side - side % 2).max(2);
    Ok(if args.out.kind == Kind::Mp4 { (even(width), even(height)) } else { (width, height) })
}

/// Writes the file to `path`. Returns notes for the user.
fn write(
    take: &RigTake,
    sequence: &Sequence,
    (size, rate): (Size, FrameGrid),
    kind: Kind,
    path: &Path,
    target: &Target,
) -> anyhow::Result<Vec<String>> {
    let mut frames = Frames::of(take, size)?;
    let begin = sequence.shown.first().map_or(0, |shown| shown.number);
    let mut writer = Writer::create(kind, path, size, rate, take.grid.instant(begin))?;
    // Frames that come again, on the way back, are kept until then.
    let mut uses: BTreeMap<(usize, FrameNumber), usize> = BTreeMap::new();
    sequence.shown.iter().for_each(|shown| *uses.entry((shown.camera, shown.number)).or_default() += 1);
    let mut kept: BTreeMap<(usize, FrameNumber), Prepared> = BTreeMap::new();
    let mut brightness: BTreeMap<usize, u8> = BTreeMap::new();
    target.plan(sequence.shown.len());
    for Shown { camera, number, pictures } in &sequence.shown {
        let key = (*camera, *number);
        let picture = match kept.remove(&key) {
            Some(picture) => picture,
            None => {
                let picture = frames.read(*camera, *number)?;
                brightness.entry(*camera).or_insert_with(|| frames::brightness(&picture));
                writer.prepare(&picture)
            }
        };
        writer.push(&picture, *pictures)?;
        let left = uses.get_mut(&key).context("it was counted")?;
        *left -= 1;
        if *left > 0 {
            kept.insert(key, picture);
        }
        target.step();
    }
    writer.finish()?;
    let mut notes = frames.notes();
    notes.extend(brightness_note(take, &brightness));
    Ok(notes)
}

/// A note on cameras of different brightness.
fn brightness_note(take: &RigTake, brightness: &BTreeMap<usize, u8>) -> Option<String> {
    let (darkest, dark) = brightness.iter().min_by_key(|(_, value)| **value)?;
    let (brightest, bright) = brightness.iter().max_by_key(|(_, value)| **value)?;
    let name = |camera: &usize| &take.cameras[*camera].take.device;
    (f64::from(*bright) > f64::from((*dark).max(1)) * BRIGHTNESS_RATIO).then(|| {
        format!(
            "brightness differs between cameras: a median of {dark} (of 255) on {}, {bright} on {}; `swsync lock 3a` makes \
             cameras alike before the next take",
            name(darkest),
            name(brightest)
        )
    })
}

/// A picture, ready to be added to a file.
enum Prepared {
    Gif(gif::Picture),
    /// Four bytes per pixel.
    Mp4(gst::Buffer),
}

/// The file that is being written.
enum Writer<'a> {
    Gif(GifWriter),
    Mp4 { video: Mp4Writer<'a>, rate: FrameGrid, begin: Timestamp<Rig>, shown: u64 },
}

impl<'a> Writer<'a> {
    /// A file of pictures of this size and rate, the first of which was taken at `begin`.
    fn create(
        kind: Kind,
        path: &'a Path,
        size: Size,
        rate: FrameGrid,
        begin: Timestamp<Rig>,
    ) -> anyhow::Result<Self> {
        if kind == Kind::Gif {
            return Ok(Self::Gif(GifWriter::create(path, size, rate)?));
        }
        let side = |side: u32| i32::try_from(side).context("the pictures are too large");
        let (frames, seconds) = rate.rate();
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "RGBx")
            .field("width", side(size.0)?)
            .field("height", side(size.1)?)
            .field("framerate", gst::Fraction::new(i32::try_from(frames)?, i32::try_from(seconds)?))
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .build();
        Ok(Self::Mp4 { video: Mp4Writer::encoding(&caps, size, path)?, rate, begin, shown: 0 })
    }

    /// What the file has of a picture, which may be added several times.
    fn prepare(&self, picture: &RgbImage) -> Prepared {
        match self {
            Self::Gif(_) => Prepared::Gif(gif::Picture::of(picture)),
            Self::Mp4 { .. } => {
                let pixels = picture.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 0]);
                Prepared::Mp4(gst::Buffer::from_slice(pixels.collect::<Vec<_>>()))
            }
        }
    }

    /// Adds a picture that is shown for so many.
    fn push(&mut self, picture: &Prepared, pictures: u32) -> anyhow::Result<()> {
        match (self, picture) {
            (Self::Gif(gif), Prepared::Gif(picture)) => gif.push(picture, pictures),
            (Self::Mp4 { video, rate, shown, .. }, Prepared::Mp4(buffer)) => {
                for _ in 0..pictures {
                    let begin = rate.instant(*shown) - rate.instant(0);
                    *shown += 1;
                    let end = rate.instant(*shown) - rate.instant(0);
                    video.push(buffer, begin, begin, end - begin)?;
                }
                Ok(())
            }
            (Self::Gif(_), Prepared::Mp4(_)) | (Self::Mp4 { .. }, Prepared::Gif(_)) => {
                bail!("a picture was prepared for another kind of file")
            }
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Gif(gif) => gif.finish(),
            Self::Mp4 { video, begin, .. } => video.finish(begin),
        }
    }
}
