//! The layout of the Neural 3D Video dataset (github.com/facebookresearch/Neural_3D_Video): `cam00.mp4`, `cam01.mp4`, ... of one
//! length, and `poses_bounds.npy`.
//!
//! What readers expect, by their code of 2024:
//!
//! - They sort the names `cam*.mp4` (4DGaussians, neural_3D_dataset_NDC.py) or `*.mp4` (K-Planes, video_datasets.py) as texts, and
//!   take row k of `poses_bounds.npy` for file k. So all names have as many digits, and no other MP4 is in the folder.
//! - They keep the first camera, `cam00`, for testing; in the dataset it is the one in the centre.
//! - They decode each file from its first picture on, and take picture k of all files for one instant. 4DGaussians reads 300 of
//!   them; both take 300 for the length of time.
//! - They take width and height of the first camera for those of all.

mod poses;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::name::{DeviceId, Name, OrderId};
use swsync_core::order::Fill;
use swsync_core::place::DevicePlace;

use super::rig_take::{RigTake, Slot};
use super::ring::OrderSource;
use super::target::{Target, TargetOptions};
use super::{WriteArgs, pictures, read_take, ring, tables, video, warn_of_missing};
use poses::Poses;
use swsync_cli::{exit, output};

/// Pictures in each video of the dataset, and what readers take for the length of time.
const USUAL: usize = 300;

/// cam00.mp4, cam01.mp4, ... as readers of the Neural 3D Video dataset take them: 4DGaussians, K-Planes and others.
///
/// All videos have as many pictures, and picture k of each has one frame number. cameras.json says which device is which
/// camera. They are in the order of their places in the rig, or as --order says. The poses of the cameras
/// (poses_bounds.npy) come from a calibration, which swsync does not make: --poses adds them.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct N3dvArgs {
    /// The take: the folder that `swsync collect` made, as takes/walk.
    take: PathBuf,
    /// The folder of the scene. cam00.mp4 and the others are right in it.
    #[arg(short, long, value_name = "FOLDER")]
    out: PathBuf,
    /// The devices, or groups of them, in order; others are not exported. [default: all by their places, else by their
    /// ids, with numbers as people count]
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    order: Vec<Name>,
    /// The device that becomes cam00, which readers keep for testing: one that has neighbours on both sides. The others
    /// keep their order.
    #[arg(long, value_name = "DEVICE")]
    test: Option<DeviceId>,
    /// A calibration: poses_bounds.npy with a row of 17 numbers for each camera, in the order of cameras.json.
    #[arg(long, value_name = "FILE")]
    poses: Option<PathBuf>,
    /// Only the first N pictures. 4DGaussians reads 300.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    first: Option<u32>,
    /// What stands where a device lacks a frame: hold, the one before; black; none, which leaves out every number that
    /// is not on all devices. [default: what the take was ordered with]
    #[arg(long, value_name = "FILL")]
    fill: Option<Fill>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    write: WriteArgs,
}

const AFTER_HELP: &str = "\
Examples:
  swsync export n3dv takes/walk -o n3dv/walk --first 300
  swsync export n3dv takes/walk -o n3dv/walk --test pi12 --poses poses_bounds.npy";

/// cameras.json, and what `--json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct N3dvDocument {
    /// The order whose take it is.
    order: OrderId,
    /// The cameras, in the order of their files.
    cameras: Vec<N3dvCamera>,
    /// What that order comes from.
    ordered_by: OrderSource,
    /// Width of all pictures.
    width: u32,
    /// Height of all pictures.
    height: u32,
    /// Frames per second, as a numerator and a denominator.
    rate: FrameGrid,
    /// The frame number of each picture: picture k of every video is frame `numbers[k]`.
    numbers: Vec<FrameNumber>,
    /// What stands where a device lacks a frame.
    fill: Fill,
    /// Whether poses_bounds.npy is there.
    poses: bool,
    /// What the user should know.
    notes: Vec<String>,
}

/// A camera of cameras.json.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct N3dvCamera {
    /// The video.
    file: String,
    /// Its device.
    device: DeviceId,
    /// The device's group and place in the rig.
    #[serde(skip_serializing_if = "DevicePlace::is_unset")]
    place: DevicePlace,
    /// Model of the camera, if known.
    model: Option<String>,
    /// The numbers that it lacks, which are filled in.
    filled: Vec<FrameNumber>,
}

/// Runs the command.
///
/// # Errors
/// The take cannot be read or does not fit the layout, or the export cannot be written.
pub fn run(args: &N3dvArgs) -> anyhow::Result<ExitCode> {
    let WriteArgs { dry_run, force } = args.write;
    let given = ring::devices(&args.take, &args.order)?;
    let mut take = read_take(&args.take, &given)?;
    let source = ring::sort(&mut take, &given);
    if let Some(device) = &args.test {
        let at = take.cameras.iter().position(|camera| camera.take.device == *device);
        let at = at.with_context(|| format!("--test: the take has no device {device}"))?;
        take.cameras[..=at].rotate_right(1);
    }
    let poses = args.poses.as_deref().map(|path| poses::read(path, take.cameras.len())).transpose()?;
    let ordered = take.cameras.first().map_or(Fill::None, |camera| camera.take.fill);
    let mut scene = scene(args, &take, source, args.fill.unwrap_or(ordered))?;
    scene.notes = notes(&take, &scene, poses.as_ref());
    let mut target = Target::open(&args.out, TargetOptions { copy: true, dry_run, force })?;
    target.set_quiet(args.json);
    if !args.json {
        output::line(&ring::describe(&take, source));
    }
    write(&take, &scene, poses, &mut target)?;
    let summary = target.finish()?;
    if args.json {
        output::json(&scene);
    } else {
        scene.notes.iter().for_each(|note| output::line(&format!("note: {note}")));
        output::line(&format!(
            "{summary}; {} videos of {} pictures each",
            scene.cameras.len(),
            scene.numbers.len()
        ));
    }
    let missing = warn_of_missing(&args.take, &given);
    Ok(ExitCode::from(if missing == 0 { 0 } else { exit::INCOMPLETE }))
}

/// What is to be written, without notes.
fn scene(
    args: &N3dvArgs,
    take: &RigTake,
    ordered_by: OrderSource,
    fill: Fill,
) -> anyhow::Result<N3dvDocument> {
    let (width, height) = common_size(take)?;
    let mut numbers = take.numbers_for_all(fill)?;
    numbers.truncate(args.first.map_or(usize::MAX, |first| usize::try_from(first).unwrap_or(usize::MAX)));
    let digits = take.cameras.len().saturating_sub(1).to_string().len().max(2);
    let camera = |(index, part): (usize, &swsync_cli::takes::DeviceTake)| N3dvCamera {
        file: format!("cam{index:0digits$}.mp4"),
        device: part.take.device.clone(),
        place: part.take.place.clone(),
        model: part.take.camera.clone(),
        filled: RigTake::slots(part, &numbers, fill)
            .into_iter()
            .filter_map(|(number, slot)| (!matches!(slot, Slot::Frame(_))).then_some(number))
            .collect(),
    };
    Ok(N3dvDocument {
        order: take.order.clone(),
        cameras: take.cameras.iter().enumerate().map(camera).collect(),
        ordered_by,
        width,
        height,
        rate: take.grid,
        numbers,
        fill,
        poses: args.poses.is_some(),
        notes: Vec::new(),
    })
}

/// The size that all cameras have.
fn common_size(take: &RigTake) -> anyhow::Result<(u32, u32)> {
    let mut known: Option<((u32, u32), &DeviceId)> = None;
    for camera in &take.cameras {
        let device = &camera.take.device;
        ensure!(!camera.records.is_empty(), "{device} has no frames: name the other devices with --order");
        let size = pictures::dimensions(camera)?;
        let (other, of) = *known.get_or_insert((size, device));
        ensure!(
            size == other,
            "{of} has pictures of {}x{} and {device} of {}x{}, but readers take one size for all: name those of one size with \
             --order, or record in one mode",
            other.0,
            other.1,
            size.0,
            size.1
        );
    }
    Ok(known.context("there are no cameras")?.0)
}

/// Writes the files of the scene.
fn write(
    take: &RigTake,
    scene: &N3dvDocument,
    poses: Option<Poses>,
    target: &mut Target,
) -> anyhow::Result<()> {
    for (camera, part) in scene.cameras.iter().zip(&take.cameras) {
        let slots = RigTake::slots(part, &scene.numbers, scene.fill);
        let how = video::write(take, part, &slots, Path::new(&camera.file), target)?;
        if !target.is_dry_run() {
            target.print(&format!("{}: {}, {how}", camera.file, camera.device));
        }
    }
    let table = tables::grid_table(take, &scene.numbers, scene.fill);
    target.write(Path::new("frames.csv"), table.as_bytes())?;
    target
        .write(Path::new("cameras.json"), format!("{}\n", serde_json::to_string_pretty(scene)?).as_bytes())?;
    if let Some(poses) = poses {
        target.write(Path::new("poses_bounds.npy"), &poses.bytes)?;
    }
    Ok(())
}

/// What the user should know of the scene.
fn notes(take: &RigTake, scene: &N3dvDocument, poses: Option<&Poses>) -> Vec<String> {
    let mut notes = ring::doubts(take, scene.ordered_by);
    let filled = scene.cameras.iter().filter(|camera| !camera.filled.is_empty());
    notes.extend(filled.map(|camera| {
        format!(
            "{} lacks {} of the {} frames: filled in ({}), and listed in cameras.json",
            camera.device,
            camera.filled.len(),
            scene.numbers.len(),
            scene.fill.as_str()
        )
    }));
    let (first, last) =
        (scene.numbers.first().copied().unwrap_or(0), scene.numbers.last().copied().unwrap_or(0));
    let within = |number: &&FrameNumber| (first..=last).contains(*number);
    let left_out = take.asked.iter().filter(within).count() - scene.numbers.len();
    if left_out > 0 {
        notes.push(format!(
            "{left_out} frames between the first and the last are left out: time takes a longer step there, which readers do not know"
        ));
    }
    if let Some(poses) = poses {
        let sizes = poses.sizes.iter().zip(&scene.cameras);
        let differs = |(width, height): &(f64, f64)| {
            (*width, *height) != (f64::from(scene.width), f64::from(scene.height))
        };
        notes.extend(sizes.filter(|(size, _)| differs(size)).map(|((width, height), camera)| {
            format!(
                "the poses are of pictures of {width}x{height} for {}, which has {}x{}",
                camera.file, scene.width, scene.height
            )
        }));
    } else {
        notes.push(
            "poses_bounds.npy is missing: swsync does not calibrate. Readers need it; add one with a row per camera in the order \
             of cameras.json (--poses)"
                .into(),
        );
    }
    if scene.numbers.len() != USUAL {
        notes.push(format!(
            "each video has {} pictures; readers are written for {USUAL}{}",
            scene.numbers.len(),
            if scene.numbers.len() > USUAL { ": --first 300 cuts them" } else { "" }
        ));
    }
    let test = scene.cameras.first().map(|camera| camera.device.as_str()).unwrap_or_default();
    notes.push(format!(
        "cam00 is {test}: readers keep it for testing, and train with the others (--test names another)"
    ));
    notes
}
