//! `swsync export`: turns collected takes into the layouts that other programs read, one module per format.

mod bullettime;
mod colmap;
mod freemocap;
mod mcap;
mod n3dv;
mod picture_source;
mod pictures;
mod rig_take;
mod ring;
mod tables;
mod target;
mod video;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;
use swsync_client::pending::Pending;
use swsync_core::manifest::TAKE_JSON;
use swsync_core::name::DeviceId;
use swsync_core::order::Fill;

use bullettime::BullettimeArgs;
pub use bullettime::BullettimeDocument;
use n3dv::N3dvArgs;
pub use n3dv::N3dvDocument;
pub(crate) use rig_take::RigTake;
use swsync_cli::takes;
use swsync_cli::{exit, output};
use target::{Target, TargetOptions, Written};

/// Turn collected takes into what another program opens.
///
/// Frames of one number show one instant, on all devices, so what comes out needs no alignment. The collected
/// files stay as they are: pictures are linked where that is possible, and copied where it is not.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ExportArgs {
    /// What for.
    #[command(subcommand)]
    format: Format,
}

/// The format of the export.
#[derive(Debug, Clone, Subcommand)]
enum Format {
    /// One instant seen from one camera after the other, as an animated GIF or as an MP4: bullet time.
    Bullettime(BullettimeArgs),
    /// cam00.mp4, cam01.mp4, ... as readers of the Neural 3D Video dataset take them: 4DGaussians, K-Planes and others.
    N3dv(N3dvArgs),
    /// Pictures in folders as COLMAP's rig_configurator wants them (3.12 and later), and rig_config.json.
    Colmap(ColmapArgs),
    /// synchronized_videos/ with timestamps, as FreeMoCap imports them: as many frames in each.
    Freemocap(FolderArgs),
    /// Tables: one row per frame and device, and one row per frame number.
    Csv(FolderArgs),
    /// One MCAP file for Foxglove and Rerun, its log times being the frames' own.
    Mcap(FolderArgs),
    /// Timecode format v2 per device, on one time line: a line for each picture of each video file.
    Timecode(FolderArgs),
    /// A video per device, all of one length: pictures of one index show one instant. Frames are copied where
    /// possible.
    Video(FolderArgs),
}

/// What all exports of takes to a folder have in common.
#[derive(Debug, Clone, Args)]
struct FolderArgs {
    /// Takes: the folders that `swsync collect` made, as takes/shot-1.
    #[arg(value_name = "TAKE", required = true)]
    takes: Vec<PathBuf>,
    /// Where the files go.
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// What stands where a device lacks a frame: hold, the one before; black; none. [default: hold for freemocap, what
    /// the take was ordered with for video, else none]
    #[arg(long, value_name = "FILL")]
    fill: Option<Fill>,
    /// Only this device. Repeatable, or separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    device: Vec<DeviceId>,
    /// Copy pictures rather than link them: what edits the export then leaves the collected files alone.
    #[arg(long)]
    copy: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// Whether files are written, and over others.
#[derive(Debug, Clone, Copy, Args)]
struct WriteArgs {
    /// Say what would be written, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write though OUT is there already, and replace what has the same name.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Args)]
struct ColmapArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Only frames whose number is a multiple of N: the same on all devices.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
}

const AFTER_HELP: &str = "\
Examples:
  swsync export bullettime takes/shot-1 -o shot-1.gif --bounce
  swsync export bullettime takes/jump -o jump.mp4 --run freeze
  swsync export n3dv takes/walk -o n3dv/walk
  swsync export colmap takes/shot-1 takes/shot-2 -o scan
  swsync export colmap takes/walk -o scan --every 15
  swsync export freemocap takes/walk -o freemocap_data/recording_sessions
  swsync export video takes/walk -o cut
  swsync export mcap takes/walk -o walk
  swsync export csv takes/walk -o tables

Pictures out of videos, and videos out of pictures or across holes, are coded anew, with GStreamer's elements.

Exit codes:
  0  written
  1  nothing written; or written, and a device's part of a take is not whole here, and was not given up
     (`swsync collect OUT --without DEVICE`), or bullettime left a device out (but for --allow-missing)
  2  wrong arguments";

/// Runs the command.
///
/// # Errors
/// A take cannot be read, or the export cannot be written.
pub fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    match &args.format {
        Format::Bullettime(args) => bullettime::run(args),
        Format::N3dv(args) => n3dv::run(args),
        Format::Colmap(ColmapArgs { folder, every }) => {
            to_folder(folder, |takes, target| colmap::export(takes, fill_of(folder), *every, target))
        }
        Format::Freemocap(folder) => to_folder(folder, |takes, target| {
            freemocap::export(takes, folder.fill.unwrap_or(Fill::Hold), target)
        }),
        Format::Csv(folder) => {
            to_folder(folder, |takes, target| tables::export_csv(takes, fill_of(folder), target))
        }
        Format::Mcap(folder) => {
            to_folder(folder, |takes, target| mcap::export(takes, fill_of(folder), target))
        }
        Format::Timecode(folder) => {
            to_folder(folder, |takes, target| tables::export_timecodes(takes, fill_of(folder), target))
        }
        Format::Video(folder) => to_folder(folder, |takes, target| video::export(takes, folder.fill, target)),
    }
}

/// What stands for missing frames: nothing, unless the user asked for it.
fn fill_of(folder: &FolderArgs) -> Fill {
    folder.fill.unwrap_or(Fill::None)
}

/// Reads the takes, and writes what `export` makes of them.
fn to_folder(
    args: &FolderArgs,
    export: impl FnOnce(&[RigTake], &mut Target) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let takes: Vec<_> =
        args.takes.iter().map(|take| read_take(take, &args.device)).collect::<Result<_, _>>()?;
    check_names(&takes, &args.takes)?;
    let WriteArgs { dry_run, force } = args.write;
    let mut target = Target::open(&args.out, TargetOptions { copy: args.copy, dry_run, force })?;
    target.set_quiet(args.json);
    export(&takes, &mut target)?;
    let written = target.finish()?;
    let missing: Vec<_> = args.takes.iter().flat_map(|take| missing_parts(take, &args.device)).collect();
    missing.iter().for_each(MissingPart::warn);
    let complete = missing.iter().all(|part| part.given_up);
    if args.json {
        output::json(&ExportDocument { complete, written, missing });
    } else {
        output::line(&written.to_string());
    }
    Ok(ExitCode::from(if complete { 0 } else { exit::INCOMPLETE }))
}

/// The document of `swsync export FORMAT --json`, but for the formats that have one of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExportDocument {
    /// Whether every device's part of the takes is whole here, or was given up.
    pub complete: bool,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
    /// Parts that are not whole here. What is here of them is in the export.
    pub missing: Vec<MissingPart>,
}

/// A device's part of a take that is not whole here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MissingPart {
    /// The folder of the take.
    pub take: PathBuf,
    /// The device.
    pub device: DeviceId,
    /// Why, for a person.
    pub why: String,
    /// Whether it was given up (`swsync collect OUT --without DEVICE`).
    pub given_up: bool,
}

impl MissingPart {
    fn warn(&self) {
        let Self { take, device, why, given_up } = self;
        let advice =
            if *given_up { "it was given up" } else { "collect it again, or give it up with --without" };
        output::warn(&format!("{}: {device} is not whole here: {why}; {advice}", take.display()));
    }
}

/// Reads the take in the folder `take`. If `devices` are named, only theirs.
fn read_take(take: &Path, devices: &[DeviceId]) -> anyhow::Result<RigTake> {
    check_is_take(take)?;
    RigTake::read(take, devices).with_context(|| format!("take {}", take.display()))
}

/// Fails if `take` is not the folder of a take but the one above.
pub(crate) fn check_is_take(take: &Path) -> anyhow::Result<()> {
    let has_part = std::fs::read_dir(take)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.path().join(TAKE_JSON).is_file());
    let inside = takes::orders(take);
    let paths = inside.iter().map(|order| take.join(order.as_str()).display().to_string());
    ensure!(
        has_part || inside.is_empty(),
        "{} is no take, but the folder of takes: name those that are meant: {}",
        take.display(),
        paths.collect::<Vec<_>>().join(" ")
    );
    Ok(())
}

/// The parts of a take that are not whole here: those of `devices`, if any are named.
fn missing_parts(take: &Path, devices: &[DeviceId]) -> Vec<MissingPart> {
    let Ok(folder) = take.canonicalize() else { return Vec::new() };
    let meant = |device: &DeviceId| devices.is_empty() || devices.contains(device);
    let missing = Pending::of_take(&folder).into_iter().filter(|(device, _)| meant(device));
    missing
        .map(|(device, Pending { why, given_up })| MissingPart {
            take: take.to_owned(),
            device,
            why,
            given_up,
        })
        .collect()
}

/// Warns of parts of a take that are not whole here. Returns the number of those that were not given up.
fn warn_of_missing(take: &Path, devices: &[DeviceId]) -> usize {
    let missing = missing_parts(take, devices);
    missing.iter().for_each(MissingPart::warn);
    missing.iter().filter(|part| !part.given_up).count()
}

/// Fails if two takes have one name: files of an export are named after their orders.
fn check_names(takes: &[RigTake], folders: &[PathBuf]) -> anyhow::Result<()> {
    let mut known: BTreeMap<String, &Path> = BTreeMap::new();
    for (take, folder) in takes.iter().zip(folders) {
        // Regardless of case, as the file systems of some machines compare them.
        if let Some(other) = known.insert(take.order.as_str().to_lowercase(), folder) {
            bail!(
                "{} and {} have one name: export them one by one, each to a folder of its own",
                other.display(),
                folder.display()
            );
        }
    }
    Ok(())
}
