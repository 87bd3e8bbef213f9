//! What `swsync export bullettime` tells of the file that it made.

use serde::Serialize;
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::utc;
use swsync_core::name::{DeviceId, OrderId};

use super::BullettimeArgs;
use super::frames::Size;
use super::sequence::Sequence;
use crate::export::rig_take::RigTake;
use crate::export::ring::{self, OrderSource};
use swsync_cli::output;
use swsync_cli::table::size;

/// The result, as `--json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BullettimeDocument {
    /// The file.
    pub file: String,
    /// Its size in bytes. `null`: it was not written (`--dry-run`).
    pub bytes: Option<u64>,
    /// The order whose take it shows.
    pub order: OrderId,
    /// The frame number at which time stands still; with `--run flow` that of the picture in the middle.
    pub frame: FrameNumber,
    /// When that frame was taken: rig time, in nanoseconds since 1970.
    pub instant_ns: i64,
    /// The same as a date.
    pub utc: String,
    /// The first and the last frame number that is shown.
    pub numbers: (FrameNumber, FrameNumber),
    /// The devices that are shown, in order.
    pub devices: Vec<DeviceId>,
    /// What that order comes from.
    pub ordered_by: OrderSource,
    /// Devices that lack the frame that they should show.
    pub left_out: Vec<LeftOut>,
    /// Frames before and after a freeze that are missing: the one before them stays.
    pub held: u64,
    /// Width, in pixels.
    pub width: u32,
    /// Height, in pixels.
    pub height: u32,
    /// Pictures per second, as a numerator and a denominator.
    pub rate: (u32, u32),
    /// Number of pictures. In a GIF one image may stand for several.
    pub pictures: u64,
    /// What the user should know of how it was made.
    pub notes: Vec<String>,
}

/// A device that lacks a frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LeftOut {
    /// The device.
    pub device: DeviceId,
    /// The frame.
    pub number: FrameNumber,
    /// The reason, as its take.json has it.
    pub why: String,
}

impl BullettimeDocument {
    /// The report on a file that shows `sequence`, by frame number, rate and size.
    pub fn new(
        args: &BullettimeArgs,
        take: &RigTake,
        ordered_by: OrderSource,
        sequence: &Sequence,
        (frame, rate, (width, height)): (FrameNumber, FrameGrid, Size),
    ) -> Self {
        let mut devices: Vec<DeviceId> = Vec::new();
        for shown in &sequence.shown {
            let device = &take.cameras[shown.camera].take.device;
            if !devices.contains(device) {
                devices.push(device.clone());
            }
        }
        let left_out = |(camera, number): &(usize, FrameNumber)| {
            let part = &take.cameras[*camera].take;
            let why = part.why_missing(*number).unwrap_or("its take.json does not say why");
            LeftOut { device: part.device.clone(), number: *number, why: why.into() }
        };
        let numbers = || sequence.shown.iter().map(|shown| shown.number);
        let instant = take.grid.instant(frame);
        Self {
            file: args.out.path.display().to_string(),
            bytes: None,
            order: take.order.clone(),
            frame,
            instant_ns: instant.as_nanos(),
            utc: utc(instant),
            numbers: (numbers().min().unwrap_or(frame), numbers().max().unwrap_or(frame)),
            devices,
            ordered_by,
            left_out: sequence.left_out.iter().map(left_out).collect(),
            held: sequence.held,
            width,
            height,
            rate: rate.rate(),
            pictures: sequence.shown.iter().map(|shown| u64::from(shown.pictures)).sum(),
            notes: ring::doubts(take, ordered_by),
        }
    }

    /// Prints it.
    pub fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            output::json(self);
            return Ok(());
        }
        for note in &self.notes {
            output::line(&format!("note: {note}"));
        }
        if self.held > 0 {
            output::line(&format!(
                "note: {} frames before and after the freeze are missing: the one before stays for them",
                self.held
            ));
        }
        output::line(&self.summary());
        Ok(())
    }

    fn summary(&self) -> String {
        let Self { file, devices, frame, utc, width, height, pictures, .. } = self;
        let (first, last) = self.numbers;
        let frames = if first == last {
            format!("frame {frame}, {utc}")
        } else {
            format!("frames {first} to {last} around {frame}, {utc}")
        };
        let (above, below) = self.rate;
        let rate = f64::from(above) / f64::from(below);
        #[expect(clippy::cast_precision_loss, reason = "a length for people")]
        let seconds = *pictures as f64 / rate;
        let written = self.bytes.map_or_else(|| "not written".into(), size);
        let rate = format!("{rate:.2}");
        let rate = rate.trim_end_matches('0').trim_end_matches('.');
        format!(
            "{file}: {} cameras at {frames}; {width}x{height}, {pictures} pictures at {rate} a second ({seconds:.1} s), {written}",
            devices.len()
        )
    }
}
