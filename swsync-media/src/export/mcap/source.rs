//! Reads the frames of one camera in one take, in the order of time.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use prost::Message as _;
use swsync_core::coded::NalCodec;
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::FrameRecord;
use swsync_core::order::Fill;
use swsync_core::time::{Rig, Span, Timestamp};

use super::messages::{CompressedImage, CompressedVideo, timestamp};
use crate::export::pictures;
use crate::export::rig_take::{RigTake, Slot};
use crate::export::tables::shown_at;
use crate::video_file::{FrameReader, VideoFrame};
use swsync_cli::takes::DeviceTake;

/// A frame with its time and metadata.
pub struct TimedFrame {
    pub at: Timestamp<Rig>,
    pub number: FrameNumber,
    pub device: String,
    pub data: FrameData,
    /// Its metadata as JSON; `None`: it belongs to the lead-in, which the decoder needs.
    pub metadata: Option<String>,
}

/// The data of a frame.
pub enum FrameData {
    Picture {
        bytes: Vec<u8>,
        format: String,
    },
    Coded {
        bytes: Vec<u8>,
        format: &'static str,
        /// Hash of its slices, without parameter sets and delimiters.
        hash: u64,
        is_key: bool,
    },
}

impl FrameData {
    pub fn into_message(self, at: Timestamp<Rig>, device: &str) -> Vec<u8> {
        let (timestamp, frame_id) = (Some(timestamp(at)), device.to_owned());
        match self {
            Self::Picture { bytes: data, format } => {
                CompressedImage { timestamp, data, format, frame_id }.encode_to_vec()
            }
            Self::Coded { bytes: data, format, .. } => {
                CompressedVideo { timestamp, frame_id, data, format: format.into() }.encode_to_vec()
            }
        }
    }
}

/// The frames of a camera, by time.
pub type TimedFrames<'a> = Box<dyn Iterator<Item = anyhow::Result<TimedFrame>> + 'a>;

/// A lower bound for the time of `camera`'s first frame, lead-in included. The lead-in may have lost every other frame.
pub fn begins(take: &RigTake, camera: &DeviceTake) -> Timestamp<Rig> {
    let first = take.numbers.first().map(|first| take.grid.instant(*first));
    let of_first = camera.records.first().map(|record| {
        let lead_in = i64::try_from(record.offset).unwrap_or(i64::MAX).saturating_mul(2).saturating_add(1);
        record.info.rig_time_ns - take.grid.period() * lead_in
    });
    first.into_iter().chain(of_first).min().unwrap_or(take.grid.instant(0))
}

/// The frames of `camera` in `take`.
pub fn frames<'a>(take: &'a RigTake, camera: &'a DeviceTake, fill: Fill) -> anyhow::Result<TimedFrames<'a>> {
    if pictures::is_video(camera) { videos(take, camera) } else { stills(take, camera, fill) }
}

fn stills<'a>(take: &'a RigTake, camera: &'a DeviceTake, fill: Fill) -> anyhow::Result<TimedFrames<'a>> {
    let extension = pictures::extension(camera)?;
    let slots = RigTake::slots(camera, &take.numbers, fill).into_iter();
    let frame = move |(number, slot): (FrameNumber, Slot<'_>)| -> Option<anyhow::Result<TimedFrame>> {
        let at = shown_at(take, number, &slot)?;
        Some(picture(camera, slot, &extension).map(|data| {
            let device = camera.take.device.to_string();
            let metadata = match slot {
                Slot::Frame(record) => record.to_line().trim_end().to_owned(),
                // A substitute is marked as such.
                _ => serde_json::json!({ "device": device, "number": number, "filled_in": true }).to_string(),
            };
            TimedFrame { at, number, device, data, metadata: Some(metadata) }
        }))
    };
    Ok(Box::new(slots.filter_map(frame)))
}

fn picture(camera: &DeviceTake, slot: Slot<'_>, extension: &str) -> anyhow::Result<FrameData> {
    let Some(record) = slot.record() else {
        return Ok(FrameData::Picture { bytes: pictures::black_like(camera)?, format: "jpeg".into() });
    };
    let path = camera.folder.join(&record.file);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let format = if extension == "jpg" { "jpeg" } else { extension };
    Ok(FrameData::Picture { bytes, format: format.into() })
}

fn videos<'a>(take: &RigTake, camera: &'a DeviceTake) -> anyhow::Result<TimedFrames<'a>> {
    let media = camera.media();
    let format = match media {
        "video/x-h264" => "h264",
        "video/x-h265" => "h265",
        "video/x-vp9" => "vp9",
        other => bail!(
            "it recorded {other:?}, which cannot be put into foxglove.CompressedVideo: H.264, H.265 and VP9 can"
        ),
    };
    let mut by_file: Vec<BTreeMap<u64, &FrameRecord>> = Vec::new();
    for record in &camera.records {
        match by_file.last_mut() {
            Some(file) if file.values().all(|other| other.file == record.file) => {
                file.insert(record.offset, record);
            }
            _ => by_file.push(BTreeMap::from([(record.offset, record)])),
        }
    }
    let grid = take.grid;
    let files = by_file.into_iter().flat_map(move |records| -> TimedFrames<'a> {
        match VideoFile::open(camera, format, grid, records) {
            Ok(file) => Box::new(file),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    });
    Ok(Box::new(files))
}

/// A video file that is being read.
struct VideoFile<'a> {
    path: PathBuf,
    media: &'a str,
    device: String,
    format: &'static str,
    grid: FrameGrid,
    records: BTreeMap<u64, &'a FrameRecord>,
    frames: FrameReader,
    /// Lead-in frames, kept until the first frame with a record: their times count back from it.
    lead_in: Vec<VideoFrame>,
    ready: std::collections::VecDeque<TimedFrame>,
    index: u64,
    shown: Option<gst::ClockTime>,
}

impl<'a> VideoFile<'a> {
    fn open(
        camera: &'a DeviceTake,
        format: &'static str,
        grid: FrameGrid,
        records: BTreeMap<u64, &'a FrameRecord>,
    ) -> anyhow::Result<Self> {
        let file = records.values().next().context("a file has frames")?.file.as_str();
        let path = camera.folder.join(file);
        let (media, device) = (camera.media(), camera.take.device.to_string());
        let frames = FrameReader::coded(&path, media)?;
        let (lead_in, ready) = (Vec::new(), std::collections::VecDeque::new());
        Ok(Self { path, media, device, format, grid, records, frames, lead_in, ready, index: 0, shown: None })
    }

    /// Reads on until there is a frame to be handed out; `false` at the end.
    fn read(&mut self) -> anyhow::Result<bool> {
        while self.ready.is_empty() {
            let Some(frame) = self.frames.next().transpose()? else {
                let last = self.records.last_key_value().map_or(0, |(last, _)| *last);
                ensure!(
                    last < self.index,
                    "it has {} frames, but the manifest names frame {last} of it (from 0): is the file whole?",
                    self.index
                );
                return Ok(false);
            };
            ensure!(
                self.shown < frame.pts() || frame.pts().is_none(),
                "it has frames that are shown in another order than they are stored (B-frames), which Foxglove does \
                 not play: have the encoder leave them out, as with x264enc bframes=0, or use `swsync export video`"
            );
            ensure!(self.index > 0 || frame.is_key, "it does not begin with a key frame");
            self.shown = frame.pts();
            let record = self.records.get(&self.index).copied();
            self.index += 1;
            match record {
                Some(record) => {
                    for frame in std::mem::take(&mut self.lead_in) {
                        let frame = self.leading(&frame, record, self.shown)?;
                        self.ready.push_back(frame);
                    }
                    let metadata = Some(record.to_line().trim_end().to_owned());
                    let frame = self.frame(&frame, record.info.rig_time_ns, record.info.number, metadata)?;
                    self.ready.push_back(frame);
                }
                None if self.records.first_key_value().is_some_and(|(first, _)| self.index <= *first) => {
                    self.lead_in.push(frame);
                }
                // After the last frame of the take.
                None => {}
            }
        }
        Ok(true)
    }

    /// A lead-in frame. `record` is the first frame with a record, `shown` its presentation time.
    fn leading(
        &self,
        frame: &VideoFrame,
        record: &FrameRecord,
        shown: Option<gst::ClockTime>,
    ) -> anyhow::Result<TimedFrame> {
        let apart = shown.zip(frame.pts()).context("it does not say when its frames are shown")?;
        let apart = Span::from_nanos(i64::try_from(apart.0.nseconds() - apart.1.nseconds())?);
        let at = record.info.rig_time_ns - apart;
        self.frame(frame, at, self.grid.nearest(at), None)
    }

    fn frame(
        &self,
        frame: &VideoFrame,
        at: Timestamp<Rig>,
        number: FrameNumber,
        metadata: Option<String>,
    ) -> anyhow::Result<TimedFrame> {
        let bytes = frame.bytes()?;
        let mut hash = DefaultHasher::new();
        let codec = NalCodec::of_media(self.media);
        codec.map_or_else(|| bytes.clone(), |codec| codec.slices(&bytes)).hash(&mut hash);
        let data = FrameData::Coded { bytes, format: self.format, hash: hash.finish(), is_key: frame.is_key };
        Ok(TimedFrame { at, number, device: self.device.clone(), data, metadata })
    }
}

impl Iterator for VideoFile<'_> {
    type Item = anyhow::Result<TimedFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read().with_context(|| self.path.display().to_string()) {
            Ok(_) => self.ready.pop_front().map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}
