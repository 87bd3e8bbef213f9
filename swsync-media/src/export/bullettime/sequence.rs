//! Which camera is shown when.

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use swsync_core::grid::FrameNumber;

use crate::export::rig_take::RigTake;
use swsync_cli::takes::DeviceTake;

/// How time runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Run {
    /// Freeze frame: time runs on the first camera, stands still while the view moves through all cameras, and runs on
    /// the last one.
    Freeze,
    /// Flow motion: each camera shows one frame later than the one before, so time runs while the view moves.
    Flow,
}

/// How to show a take.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Whether time runs. `None`: all cameras show one instant, and nothing else.
    pub run: Option<Run>,
    /// Frame numbers that are shown before and after the freeze.
    pub around: (u64, u64),
    /// Whether the view moves back again.
    pub bounce: bool,
    /// Whether the first picture follows the last one when it is played.
    pub loops: bool,
    /// Pictures that each camera of the movement stays for.
    pub dwell: u32,
}

/// A frame that is shown for one or more pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Index of the camera.
    pub camera: usize,
    /// The frame.
    pub number: FrameNumber,
    /// Number of pictures.
    pub pictures: u32,
}

/// What is shown, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// The frames.
    pub shown: Vec<Shown>,
    /// Cameras that lack the frame that they should show, with its number.
    pub left_out: Vec<(usize, FrameNumber)>,
    /// Frames before and after the freeze that are missing: the one before them stays.
    pub held: u64,
}

/// The frame at which time stands still: `given`, or the middle one of those that all cameras have.
///
/// # Errors
/// No camera has the frame.
pub fn choose(take: &RigTake, given: Option<FrameNumber>) -> anyhow::Result<FrameNumber> {
    let (first, last) = take.numbers.first().zip(take.numbers.last()).context("the take has no frames")?;
    if let Some(number) = given {
        ensure!(
            take.numbers.binary_search(&number).is_ok(),
            "no device has frame {number}: --frame takes a number from {first} to {last} (docs/takes.md; `swsync export csv` lists them)"
        );
        return Ok(number);
    }
    let common = take.common();
    if let Some(middle) = common.get(common.len().saturating_sub(1) / 2) {
        return Ok(*middle);
    }
    let cameras = |number: &FrameNumber| take.cameras.iter().filter(|camera| has(camera, *number)).count();
    // The first of those that most cameras have.
    take.numbers.iter().rev().max_by_key(|number| cameras(number)).copied().context("the take has no frames")
}

/// Whether `camera` has the frame.
fn has(camera: &DeviceTake, number: FrameNumber) -> bool {
    camera.records.binary_search_by_key(&number, |record| record.info.number).is_ok()
}

/// The pictures of `take`, whose cameras are in the order of the rig, around frame `number`.
///
/// # Errors
/// Fewer than two cameras have their frame, or the take is too short.
pub fn sequence(take: &RigTake, number: FrameNumber, plan: Plan) -> anyhow::Result<Sequence> {
    let mut sequence = Sequence { shown: Vec::new(), left_out: Vec::new(), held: 0 };
    match plan.run {
        Some(Run::Flow) => flow(take, number, plan, &mut sequence)?,
        Some(Run::Freeze) | None => freeze(take, number, plan, &mut sequence),
    }
    let mut cameras: Vec<_> = sequence.shown.iter().map(|shown| shown.camera).collect();
    cameras.sort_unstable();
    cameras.dedup();
    match cameras[..] {
        [] => bail!("no camera has frame {number}"),
        [only] => bail!(
            "only {} has frame {number}: there is nothing to move through with one camera",
            take.cameras[only].take.device
        ),
        _ => Ok(sequence),
    }
}

/// All cameras at one instant; with `run` also time before it on the first of them, and after it on the last.
fn freeze(take: &RigTake, number: FrameNumber, plan: Plan, sequence: &mut Sequence) {
    let (there, absent): (Vec<_>, Vec<_>) =
        (0..take.cameras.len()).partition(|camera| has(&take.cameras[*camera], number));
    sequence.left_out.extend(absent.into_iter().map(|camera| (camera, number)));
    let is_running = plan.run.is_some();
    let way = way(&there, plan.bounce, plan.loops && !is_running);
    let (Some(first), Some(last)) = (way.first(), way.last()) else { return };
    let (before, after) = plan.around;
    if is_running {
        time(take, *first, number.saturating_sub(before)..number, sequence);
    }
    for camera in &way {
        sequence.shown.push(Shown { camera: *camera, number, pictures: plan.dwell });
    }
    if is_running {
        time(take, *last, number + 1..number.saturating_add(after).saturating_add(1), sequence);
    }
}

/// Each camera one frame later than the one before. `number` is that of the camera in the middle.
fn flow(take: &RigTake, number: FrameNumber, plan: Plan, sequence: &mut Sequence) -> anyhow::Result<()> {
    let all: Vec<_> = (0..take.cameras.len()).collect();
    let way = way(&all, plan.bounce, false);
    let spare = take.numbers.len().checked_sub(way.len()).with_context(|| {
        format!(
            "each of {} pictures would be one frame later, but the take has {} frames: leave out --run flow, or record a longer \
             take",
            way.len(),
            take.numbers.len()
        )
    })?;
    let middle = take.numbers.partition_point(|other| *other < number);
    let begin = middle.saturating_sub(way.len() / 2).min(spare);
    for (camera, number) in way.into_iter().zip(&take.numbers[begin..]) {
        match has(&take.cameras[camera], *number) {
            true => sequence.shown.push(Shown { camera, number: *number, pictures: plan.dwell }),
            false => sequence.left_out.push((camera, *number)),
        }
    }
    Ok(())
}

/// The cameras one after the other, and back again if asked. A way that is repeated does not end with the camera that it begins with.
fn way(cameras: &[usize], bounce: bool, loops: bool) -> Vec<usize> {
    let mut way = cameras.to_vec();
    if bounce {
        way.extend(cameras.iter().rev().skip(1));
        if loops && way.len() > 2 {
            way.pop();
        }
    }
    way
}

/// Time runs on one camera, over `numbers`. If it lacks a frame, the one before stays.
fn time(take: &RigTake, camera: usize, numbers: std::ops::Range<FrameNumber>, sequence: &mut Sequence) {
    let (from, to) = (
        take.numbers.partition_point(|number| *number < numbers.start),
        take.numbers.partition_point(|number| *number < numbers.end),
    );
    for number in &take.numbers[from..to] {
        if has(&take.cameras[camera], *number) {
            sequence.shown.push(Shown { camera, number: *number, pictures: 1 });
        } else {
            sequence.held += 1;
            if let Some(shown) = sequence.shown.last_mut() {
                shown.pictures += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_cli::testing::device_take;

    /// A take of cameras that have these frames.
    fn take(cameras: &[&[FrameNumber]]) -> RigTake {
        let root = tempfile::tempdir().unwrap();
        for (camera, numbers) in cameras.iter().enumerate() {
            device_take(root.path(), "o1", &format!("c{camera}"), numbers);
        }
        RigTake::read(&root.path().join("o1"), &[]).unwrap()
    }

    const PLAN: Plan = Plan { run: None, around: (2, 2), bounce: false, loops: true, dwell: 1 };

    /// Camera and frame of each picture; an x and a number for each picture more.
    fn shown(sequence: &Sequence) -> String {
        let one = |shown: &Shown| match shown.pictures {
            1 => format!("{}:{}", shown.camera, shown.number),
            more => format!("{}:{}x{more}", shown.camera, shown.number),
        };
        sequence.shown.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_middle_frame_of_those_that_all_have_is_chosen() {
        let ring = take(&[&[100, 101, 102, 103], &[101, 102, 103, 104], &[101, 102, 103]]);
        assert_eq!(choose(&ring, None).unwrap(), 102);
        assert_eq!(choose(&ring, Some(104)).unwrap(), 104, "one camera has it");
        let error = choose(&ring, Some(99)).unwrap_err().to_string();
        assert!(error.contains("no device has frame 99: --frame takes a number from 100 to 104"), "{error}");
        let none = take(&[&[100, 101], &[101, 102], &[102]]);
        assert_eq!(choose(&none, None).unwrap(), 101, "of two that two cameras have, the first");
    }

    #[test]
    fn a_frozen_instant_goes_through_all_cameras() {
        let ring = take(&[&[100], &[100], &[100]]);
        let of = |plan| shown(&sequence(&ring, 100, plan).unwrap());
        assert_eq!(of(PLAN), "0:100 1:100 2:100");
        assert_eq!(of(Plan { dwell: 3, ..PLAN }), "0:100x3 1:100x3 2:100x3");
        assert_eq!(of(Plan { bounce: true, ..PLAN }), "0:100 1:100 2:100 1:100");
        assert_eq!(of(Plan { bounce: true, loops: false, ..PLAN }), "0:100 1:100 2:100 1:100 0:100");
    }

    #[test]
    fn time_runs_before_and_after_the_freeze() {
        let ring = take(&[&[100, 101, 102, 103, 104, 105], &[103], &[102, 103, 105, 106]]);
        let plan = Plan { run: Some(Run::Freeze), ..PLAN };
        let there = sequence(&ring, 103, plan).unwrap();
        assert_eq!(shown(&there), "0:101 0:102 0:103 1:103 2:103x2 2:105");
        assert_eq!((there.held, there.left_out.len()), (1, 0), "the last camera lacks 104");
        let back = sequence(&ring, 103, Plan { bounce: true, ..plan }).unwrap();
        assert_eq!(
            shown(&back),
            "0:101 0:102 0:103 1:103 2:103 1:103 0:103 0:104 0:105",
            "time goes on where it stood"
        );
    }

    #[test]
    fn in_flow_motion_each_camera_is_a_frame_later() {
        let all: Vec<_> = (100..110).collect();
        let ring = take(&[&all, &all, &all]);
        let plan = Plan { run: Some(Run::Flow), ..PLAN };
        let of = |number, plan| shown(&sequence(&ring, number, plan).unwrap());
        assert_eq!(of(105, plan), "0:104 1:105 2:106");
        assert_eq!(of(100, plan), "0:100 1:101 2:102", "the take begins there");
        assert_eq!(of(109, plan), "0:107 1:108 2:109");
        assert_eq!(of(105, Plan { bounce: true, ..plan }), "0:103 1:104 2:105 1:106 0:107");
        let short = take(&[&[100, 101], &[100, 101], &[100, 101]]);
        let error = sequence(&short, 100, plan).unwrap_err().to_string();
        assert!(error.contains("each of 3 pictures would be one frame later, but the take has 2"), "{error}");
    }

    #[test]
    fn a_camera_that_lacks_its_frame_is_left_out() {
        let ring = take(&[&[101], &[100, 101], &[100, 101]]);
        let without = sequence(&ring, 100, PLAN).unwrap();
        assert_eq!((shown(&without).as_str(), &without.left_out[..]), ("1:100 2:100", &[(0, 100)][..]));
        let error = sequence(&take(&[&[100], &[101]]), 100, PLAN).unwrap_err().to_string();
        assert!(error.contains("only c0 has frame 100"), "{error}");
    }
}
