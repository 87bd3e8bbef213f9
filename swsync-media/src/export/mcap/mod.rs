//! MCAP: one file, with a topic of pictures or coded video per device, and a topic of frame metadata per device.
//!
//! Pictures are `foxglove.CompressedImage`, coded frames `foxglove.CompressedVideo`, both in Protobuf, which adds little to their
//! size. Frame metadata is the manifest's JSON. Log time and publish time are the frame's rig time, by which all messages are
//! sorted. Metadata records describe the takes and devices.
//! <https://docs.foxglove.dev/docs/sdk/schemas/compressed-video>

mod messages;
mod source;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufWriter;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use mcap::records::{MessageHeader, Metadata};
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::utc;
use swsync_core::order::Fill;
use swsync_core::time::{Rig, Span, Timestamp};

use super::pictures;
use super::rig_take::RigTake;
use super::target::Target;
use source::{FrameData, TimedFrame};
use swsync_cli::takes::DeviceTake;

/// Writes all takes into one file, `<first order>.mcap`.
pub fn export(takes: &[RigTake], fill: Fill, target: &mut Target) -> anyhow::Result<()> {
    let Some(first) = takes.first() else { return Ok(()) };
    for camera in takes.iter().flat_map(|take| &take.cameras) {
        ensure!(
            fill == Fill::None || !pictures::is_video(camera),
            "{}: nothing can be put into coded video where frames are missing; leave out --fill, or export pictures",
            camera.take.device
        );
    }
    let name = PathBuf::from(format!("{}.mcap", first.order));
    let Some(path) = target.begin(&name)? else { return Ok(()) };
    let mut writer = Writer::create(&path)?;
    let mut sources = Vec::new();
    for take in takes {
        writer.metadata(take)?;
        for camera in &take.cameras {
            sources.push(Source::Waiting { begins: source::begins(take, camera), take, camera });
            target.plan(camera.records.len());
        }
    }
    while let Some(frame) = next(&mut sources, fill)? {
        if writer.frame(frame)? {
            target.step();
        }
    }
    writer.finish()
}

/// The frames of one camera in one take. Opened only when their time comes: many takes can have thousands of videos.
enum Source<'a> {
    Waiting { begins: Timestamp<Rig>, take: &'a RigTake, camera: &'a DeviceTake },
    Open(Peekable<source::TimedFrames<'a>>),
}

/// The earliest frame of all sources.
fn next(sources: &mut Vec<Source<'_>>, fill: Fill) -> anyhow::Result<Option<TimedFrame>> {
    loop {
        let mut earliest: Option<(Timestamp<Rig>, usize)> = None;
        let mut index = 0;
        while index < sources.len() {
            let at = match &mut sources[index] {
                Source::Waiting { begins, .. } => Some(*begins),
                Source::Open(frames) => match frames.peek() {
                    Some(Ok(frame)) => Some(frame.at),
                    // An error is returned at once.
                    Some(Err(_)) => return frames.next().transpose(),
                    None => None,
                },
            };
            match at {
                Some(at) => {
                    earliest = earliest.filter(|(earliest, _)| *earliest <= at).or(Some((at, index)));
                    index += 1;
                }
                None => drop(sources.remove(index)),
            }
        }
        let Some((_, index)) = earliest else { return Ok(None) };
        match &mut sources[index] {
            Source::Waiting { take, camera, .. } => {
                let frames = source::frames(take, camera, fill)
                    .with_context(|| format!("{} of {}", camera.take.device, take.order))?;
                sources[index] = Source::Open(frames.peekable());
            }
            Source::Open(frames) => return frames.next().transpose(),
        }
    }
}

/// The file that is being written.
struct Writer {
    mcap: mcap::Writer<BufWriter<File>>,
    /// Channels by topic, and the next message's number.
    channels: HashMap<String, (u16, u32)>,
    /// What was written, by device.
    devices: HashMap<String, WrittenFrames>,
    image_schema: u16,
    video_schema: u16,
    frame_schema: u16,
}

/// The frames of one device that are in the file already.
#[derive(Default)]
struct WrittenFrames {
    /// The last frame.
    last: Option<FrameNumber>,
    /// The last frame with metadata.
    described: Option<FrameNumber>,
    /// Hashes of coded frames, as far back as a file can begin: from the last key frame but one.
    hashes: BTreeMap<FrameNumber, u64>,
    /// The last key frame.
    key: FrameNumber,
}

impl WrittenFrames {
    /// Registers frame `number`; returns whether it still has to be written. It may have been: takes overlap, and the lead-in of a
    /// file is in the file before, too.
    fn accept(&mut self, number: FrameNumber, data: &FrameData) -> anyhow::Result<bool> {
        let is_there = self.last.is_some_and(|last| number <= last);
        if let FrameData::Coded { hash, is_key, .. } = data {
            if is_there {
                let known = self.hashes.get(&number);
                ensure!(
                    known == Some(hash),
                    "frame {number} is in two files, coded in two ways, so that no decoder could go from the one to the other: \
                     export takes that overlap one by one, or pictures"
                );
            } else {
                if *is_key {
                    let before = std::mem::replace(&mut self.key, number);
                    self.hashes = self.hashes.split_off(&before);
                }
                self.hashes.insert(number, *hash);
            }
        }
        self.last = self.last.max(Some(number));
        Ok(!is_there)
    }
}

impl Writer {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        // Frames are compressed already.
        let mut mcap = mcap::WriteOptions::new()
            .compression(None)
            .library(concat!("swsync ", env!("CARGO_PKG_VERSION")))
            .create(BufWriter::new(file))?;
        Ok(Self {
            image_schema: mcap.add_schema(
                "foxglove.CompressedImage",
                "protobuf",
                &messages::image_schema(),
            )?,
            video_schema: mcap.add_schema(
                "foxglove.CompressedVideo",
                "protobuf",
                &messages::video_schema(),
            )?,
            frame_schema: mcap.add_schema("swsync.Frame", "jsonschema", br#"{"type":"object"}"#)?,
            mcap,
            channels: HashMap::new(),
            devices: HashMap::new(),
        })
    }

    /// Writes what there is of one frame, as far as it is not there yet; whether it is one of the take.
    fn frame(&mut self, frame: TimedFrame) -> anyhow::Result<bool> {
        let TimedFrame { at, number, device, data, metadata } = frame;
        let written = self.devices.entry(device.clone()).or_default();
        let is_new = written.accept(number, &data).with_context(|| device.clone())?;
        let is_told = written.described.is_some_and(|described| number <= described);
        if metadata.is_some() {
            written.described = written.described.max(Some(number));
        }
        if is_new {
            let (topic, schema) = match data {
                FrameData::Picture { .. } => ("image", self.image_schema),
                FrameData::Coded { .. } => ("video", self.video_schema),
            };
            let message = data.into_message(at, &device);
            self.message(&format!("/{device}/{topic}"), schema, "protobuf", at, &message)?;
        }
        let Some(metadata) = metadata else { return Ok(false) };
        if !is_told {
            let schema = self.frame_schema;
            self.message(&format!("/{device}/frame"), schema, "json", at, metadata.as_bytes())?;
        }
        Ok(true)
    }

    fn message(
        &mut self,
        topic: &str,
        schema: u16,
        encoding: &str,
        at: Timestamp<Rig>,
        data: &[u8],
    ) -> anyhow::Result<()> {
        if !self.channels.contains_key(topic) {
            let id = self.mcap.add_channel(schema, topic, encoding, &BTreeMap::new())?;
            self.channels.insert(topic.to_owned(), (id, 0));
        }
        let Some((channel_id, next)) = self.channels.get_mut(topic) else { return Ok(()) };
        let time =
            u64::try_from(at.as_nanos()).context("a frame from before 1970 has no place in an MCAP file")?;
        let header =
            MessageHeader { channel_id: *channel_id, sequence: *next, log_time: time, publish_time: time };
        *next = next.wrapping_add(1);
        self.mcap.write_to_known_channel(&header, data)?;
        Ok(())
    }

    /// A record `swsync.take` of a take, and one `swsync.device` of each of its cameras.
    fn metadata(&mut self, take: &RigTake) -> anyhow::Result<()> {
        let devices: Vec<_> = take.cameras.iter().map(|camera| camera.take.device.as_str()).collect();
        let records = || take.cameras.iter().flat_map(|camera| &camera.records);
        let (frames, seconds) = take.grid.rate();
        let mut metadata = bounds(take.cameras.iter());
        metadata.extend([
            ("order".to_owned(), take.order.to_string()),
            ("devices".to_owned(), devices.join(",")),
            ("frames_per_second".to_owned(), format!("{frames}/{seconds}")),
            ("first_number".to_owned(), take.numbers.first().map_or_else(String::new, ToString::to_string)),
            ("count".to_owned(), take.numbers.len().to_string()),
        ]);
        if let Some(note) = &take.note {
            metadata
                .extend([("note".to_owned(), note.text.clone()), ("note_by".to_owned(), note.by.clone())]);
        }
        let times = || records().map(|record| record.info.rig_time_ns);
        for (name, at) in [("begin", times().min()), ("end", times().max())] {
            if let Some(at) = at {
                metadata.insert(format!("{name}_ns"), at.as_nanos().to_string());
                metadata.insert(format!("{name}_utc"), utc(at));
            }
        }
        self.mcap.write_metadata(&Metadata { name: "swsync.take".into(), metadata })?;
        for camera in &take.cameras {
            let mut metadata = bounds(std::iter::once(camera));
            metadata.extend([
                ("order".to_owned(), take.order.to_string()),
                ("device".to_owned(), camera.take.device.to_string()),
                ("frames".to_owned(), camera.records.len().to_string()),
                ("missing".to_owned(), camera.take.missing().to_string()),
                ("take.json".to_owned(), camera.take.to_json()),
            ]);
            self.mcap.write_metadata(&Metadata { name: "swsync.device".into(), metadata })?;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.mcap.finish()?;
        self.mcap.into_inner().into_inner().map_err(std::io::IntoInnerError::into_error)?;
        Ok(())
    }
}

/// The quality of the times: the worst errors, and the numbers of frames without an error bound or not on the grid.
fn bounds<'a>(cameras: impl Iterator<Item = &'a DeviceTake> + Clone) -> BTreeMap<String, String> {
    let infos = || cameras.clone().flat_map(|camera| &camera.records).map(|record| &record.info);
    let worst =
        |spans: &mut dyn Iterator<Item = Span>| spans.map(|span| span.as_nanos().unsigned_abs()).max();
    let phase = worst(&mut infos().map(|info| info.phase_error_ns));
    let clock = worst(&mut infos().filter_map(|info| info.clock_uncertainty_ns));
    let unbound = infos().filter(|info| info.clock_uncertainty_ns.is_none()).count();
    let unlocked = infos().filter(|info| info.lock != Some(swsync_core::frame::LockState::Locked)).count();
    let text = |nanos: Option<u64>| nanos.map_or_else(String::new, |nanos| nanos.to_string());
    BTreeMap::from([
        ("worst_phase_error_ns".into(), text(phase)),
        ("worst_clock_uncertainty_ns".into(), text(clock)),
        ("frames_without_clock_uncertainty".into(), unbound.to_string()),
        ("frames_not_locked".into(), unlocked.to_string()),
    ])
}
