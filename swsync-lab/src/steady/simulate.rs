//! Runs one rig, takes stills, and reads the time out of their pictures.

use anyhow::{Context, ensure};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use swsync_core::certificate;
use swsync_core::frame::FrameInfo;
use swsync_core::grid::FrameNumber;
use swsync_core::time::{Host, Span, Timestamp};
use swsync_sim::decode::{Picture, decode};
use swsync_sim::rig::{DeviceConfig, Rig};
use swsync_sim::scene::{I420Buffer, Scene, View};
use swsync_sim::shutter::RowTiming;

use crate::simulated_rig::{Camera, Hardware, RigModel, STEP, Taken, grid, wait_until_synced};

/// Size of the pictures. At the panel's exposure they are read to 0.3 us (swsync-sim's `decode`).
const SIZE: (u32, u32) = (320, 240);
/// Stills in the first ten seconds.
const FIRST: u32 = 10;
/// Longest wait until all cameras are aligned.
const ALIGNED_WITHIN: Span = Span::from_secs(60);
/// What the profiles of a Raspberry Pi's cameras say (profiles/), for both that nobody has measured yet.
const STAMP_ERROR: Span = Span::from_micros(20);
const EXPOSURE_REFERENCE_ERROR: Span = Span::from_micros(40);
/// Frames from the order of a still to the still.
const AHEAD: FrameNumber = 6;

/// One device's picture of one still, against the leader's. Spans are positive if it is later.
#[derive(Debug, Clone, Copy)]
pub struct Still {
    /// The rig.
    pub rig: u64,
    /// The device.
    pub device: usize,
    /// Seconds since all cameras were aligned.
    pub at_s: f64,
    /// By the pictures.
    pub total: Span,
    /// Part of the clock: the device's was behind by this much.
    pub clock: Span,
    /// Part of the phase that the aligner left, by the device's own clock and its camera's median stamp.
    pub phase: Span,
    /// Part of the exposure reference.
    pub exposure_reference: Span,
    /// Part of the bias of stamps: those that come late are corrected to early frames.
    pub stamp: Span,
    /// What both devices' certificates together claim: the total is no larger. `None`: one of them claims nothing.
    pub bound: Option<Span>,
}

impl Still {
    /// Whether it is not one of the first ten seconds.
    pub fn is_settled(&self) -> bool {
        self.at_s > 30.0
    }

    /// Whether the pictures are further apart than the certificates claim.
    pub fn is_beyond(&self) -> bool {
        self.bound.is_some_and(|bound| self.total.abs() > bound)
    }
}

/// The stills of the rig of `hardware`, over so many minutes.
///
/// # Errors
/// A clock does not get synced, a camera not aligned, or a picture is not readable.
pub fn run(model: &RigModel, minutes: u32, hardware: u64, seed: u64) -> anyhow::Result<Vec<Still>> {
    let mut run = Run::begin(model, hardware, seed)?;
    let begun = run.rig.now();
    let first = (0..FIRST).map(i64::from);
    let mut stills = Vec::new();
    for at in first.chain((1..i64::from(minutes)).map(|minute| 60 * minute)) {
        while run.rig.now() < begun + Span::from_secs(at) {
            run.step(None);
        }
        let at_s = (run.rig.now() - begun).as_secs_f64();
        stills.extend(run.still(at_s).with_context(|| format!("rig {hardware}, {at} s"))?);
    }
    Ok(stills)
}

struct Run<'a> {
    model: &'a RigModel,
    hardware: u64,
    rig: Rig,
    cameras: Vec<Camera>,
    scenes: Vec<Scene>,
}

impl<'a> Run<'a> {
    /// Devices start together; cameras once all clocks are synced. Returns when all are aligned.
    fn begin(model: &'a RigModel, hardware: u64, seed: u64) -> anyhow::Result<Self> {
        let mut rig = model.start(seed, DeviceConfig::client);
        wait_until_synced(&mut rig)?;
        let start = |(index, device): (u64, &Hardware)| {
            Camera::start(device, seed.wrapping_mul(1_000).wrapping_add(index), rig.now())
        };
        let cameras: Vec<Camera> = (0..).zip(&model.devices).map(start).collect();
        let scenes = (0..).take(cameras.len()).map(|index| Scene::new(SIZE.0, SIZE.1, View::new(index)));
        let scenes = scenes.collect::<Result<_, _>>()?;
        let mut run = Self { model, hardware, rig, cameras, scenes };
        let end = run.rig.now() + ALIGNED_WITHIN;
        while !run.cameras.iter().all(Camera::is_locked) {
            let limit = ALIGNED_WITHIN.as_secs_f64();
            ensure!(run.rig.now() < end, "rig {hardware}: some camera is not aligned after {limit} s");
            run.step(None);
        }
        Ok(run)
    }

    /// Goes on by a frame. Returns each device's frame `wanted`, if it came.
    fn step(&mut self, wanted: Option<FrameNumber>) -> Vec<Option<Taken>> {
        self.rig.run_for(STEP);
        let rig = &self.rig;
        let frame = |(device, camera): (usize, &mut Camera)| {
            let mut found = None;
            camera
                .run(rig, device, |taken| found = (Some(taken.number) == wanted).then_some(taken).or(found));
            found
        };
        self.cameras.iter_mut().enumerate().map(frame).collect()
    }

    /// Takes one still. A device whose frame was lost is not in it, and none is if the leader's was lost.
    fn still(&mut self, at_s: f64) -> anyhow::Result<Vec<Still>> {
        let now = self.rig.rig_time(0, self.rig.now()).context("the leader is off")?;
        let wanted = grid().nearest(now) + AHEAD;
        let mut frames = vec![None; self.cameras.len()];
        for _ in 0..2 * AHEAD {
            let new = self.step(Some(wanted));
            frames.iter_mut().zip(new).for_each(|(frame, new)| *frame = frame.or(new));
        }
        let Some(leader) = frames[0] else { return Ok(Vec::new()) };
        let shown = self.read(0, &leader)?;
        let bound_of_leader = self.bound(0, &leader);
        let taken = frames.iter().enumerate().skip(1).filter_map(|(device, frame)| Some((device, (*frame)?)));
        taken
            .map(|(device, frame)| {
                let total = self.read(device, &frame)? - shown;
                let begun = frame.frame.exposure_start_first_row;
                let by_leader = self.rig.rig_time(0, begun).context("the leader is off")?;
                let [own, leaders] = [device, 0].map(|index| &self.model.devices[index].sensor);
                Ok(Still {
                    rig: self.hardware,
                    device,
                    at_s,
                    total,
                    clock: by_leader - frame.time,
                    phase: frame.phase - leader.phase,
                    exposure_reference: own.exposure_reference - leaders.exposure_reference,
                    stamp: leaders.stamp_bias - own.stamp_bias,
                    bound: bound_of_leader.zip(self.bound(device, &frame)).map(|(one, two)| one + two),
                })
            })
            .collect()
    }

    /// What the device's certificate claims of a frame that it has just taken, by what it knows.
    fn bound(&self, device: usize, taken: &Taken) -> Option<Span> {
        let reading = self.rig.reading(device)?;
        let info = FrameInfo::new(taken.number, taken.time, taken.stated_phase);
        let mut info = FrameInfo { sync: reading.quality, clock_uncertainty_ns: reading.uncertainty, ..info };
        info.details.stamp_error_ns = Some(STAMP_ERROR);
        info.details.exposure_reference_error_ns = Some(EXPOSURE_REFERENCE_ERROR);
        certificate::bound(&info)
    }

    /// The true time of the picture of `taken`, as its panel shows it; the simulation only says which second.
    fn read(&self, device: usize, taken: &Taken) -> anyhow::Result<Timestamp<Host>> {
        let (scene, frame) = (&self.scenes[device], &taken.frame);
        let mut picture = I420Buffer::new(scene.layout());
        scene.render(&frame.shutter(SIZE.1), picture.planes_mut())?;
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, 85).encode(
            &picture.to_rgb8(),
            SIZE.0,
            SIZE.1,
            ExtendedColorType::Rgb8,
        )?;
        let back = image::load_from_memory(&jpeg)?.to_rgb8();
        let model = &self.model.devices[device].sensor;
        // As the camera reports them: by a crystal that is right.
        let row_time_ns = model.line_time_ns * f64::from(model.height) / f64::from(SIZE.1);
        let timing = RowTiming { exposure: frame.reported_exposure, row_time_ns };
        let pixels = Picture::rgb8(back.as_raw(), SIZE.0 as usize, SIZE.1 as usize)?;
        Ok(decode(&pixels, scene.layout(), timing)?.nearest(frame.exposure_start_first_row))
    }
}
