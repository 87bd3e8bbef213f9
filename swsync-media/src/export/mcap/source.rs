//! What one camera has of one take, frame by frame.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use prost::Message as _;
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::FrameRecord;
use swsync_core::order::Fill;
use swsync_core::time::{Rig, Span, Timestamp};

use super::messages::{CompressedImage, CompressedVideo, timestamp};
use crate::export::footage::{Cell, Footage};
use crate::export::pictures;
use crate::export::tables::shown_at;
use crate::video_file::{self, Unit, Units};
use swsync_cli::takes::DeviceTake;

/// What there is of one frame.
pub struct Moment {
    pub at: Timestamp<Rig>,
    pub number: FrameNumber,
    pub device: String,
    pub data: Data,
    /// What is known of it, as JSON; `None`: it is not of the take, but one of it builds on it.
    pub about: Option<String>,
}

/// A frame.
pub enum Data {
    Picture {
        bytes: Vec<u8>,
        format: String,
    },
    Coded {
        bytes: Vec<u8>,
        format: &'static str,
        /// Of what it shows, whatever stands around that.
        sum: u64,
        is_key: bool,
    },
}

impl Data {
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

/// What a camera has, by time.
pub type Moments<'a> = Box<dyn Iterator<Item = anyhow::Result<Moment>> + 'a>;

/// No earlier than this begins what `camera` has: a lead-in may have lost every other frame.
pub fn begins(take: &Footage, camera: &DeviceTake) -> Timestamp<Rig> {
    let first = take.numbers.first().map(|first| take.grid.instant(*first));
    let of_first = camera.records.first().map(|record| {
        let lead_in = i64::try_from(record.offset).unwrap_or(i64::MAX).saturating_mul(2).saturating_add(1);
        record.info.rig_time_ns - take.grid.period() * lead_in
    });
    first.into_iter().chain(of_first).min().unwrap_or(take.grid.instant(0))
}

/// What `camera` has of `take`.
pub fn moments<'a>(take: &'a Footage, camera: &'a DeviceTake, fill: Fill) -> anyhow::Result<Moments<'a>> {
    if pictures::is_video(camera) { videos(take, camera) } else { stills(take, camera, fill) }
}

fn stills<'a>(take: &'a Footage, camera: &'a DeviceTake, fill: Fill) -> anyhow::Result<Moments<'a>> {
    let extension = pictures::extension(camera)?;
    let cells = Footage::cells(camera, &take.numbers, fill).into_iter();
    let moment = move |(number, cell): (FrameNumber, Cell<'_>)| -> Option<anyhow::Result<Moment>> {
        let at = shown_at(take, number, &cell)?;
        Some(picture(camera, cell, &extension).map(|data| {
            let device = camera.take.device.to_string();
            let about = match cell {
                Cell::Frame(record) => record.to_line().trim_end().to_owned(),
                // What stands in for a frame is said to.
                _ => serde_json::json!({ "device": device, "number": number, "filled_in": true }).to_string(),
            };
            Moment { at, number, device, data, about: Some(about) }
        }))
    };
    Ok(Box::new(cells.filter_map(moment)))
}

fn picture(camera: &DeviceTake, cell: Cell<'_>, extension: &str) -> anyhow::Result<Data> {
    let Some(record) = cell.record() else {
        return Ok(Data::Picture { bytes: pictures::black_like(camera)?, format: "jpeg".into() });
    };
    let path = camera.folder.join(&record.file);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let format = if extension == "jpg" { "jpeg" } else { extension };
    Ok(Data::Picture { bytes, format: format.into() })
}

fn videos<'a>(take: &Footage, camera: &'a DeviceTake) -> anyhow::Result<Moments<'a>> {
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
    let files = by_file.into_iter().flat_map(move |records| -> Moments<'a> {
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
    units: Units,
    /// Frames that come before the first record, until that has come: their times count back from it.
    lead_in: Vec<Unit>,
    ready: std::collections::VecDeque<Moment>,
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
        let units = Units::coded(&path, media)?;
        let (lead_in, ready) = (Vec::new(), std::collections::VecDeque::new());
        Ok(Self { path, media, device, format, grid, records, units, lead_in, ready, index: 0, shown: None })
    }

    /// Reads on until there is a moment to be handed out; `false` at the end.
    fn read(&mut self) -> anyhow::Result<bool> {
        while self.ready.is_empty() {
            let Some(unit) = self.units.next().transpose()? else {
                let last = self.records.last_key_value().map_or(0, |(last, _)| *last);
                ensure!(
                    last < self.index,
                    "it has {} frames, but the manifest names frame {last} of it (from 0): is the file whole?",
                    self.index
                );
                return Ok(false);
            };
            ensure!(
                self.shown < unit.pts() || unit.pts().is_none(),
                "it has frames that are shown in another order than they are stored (B-frames), which Foxglove does \
                 not play: have the encoder leave them out, as with x264enc bframes=0, or use `swsync export video`"
            );
            ensure!(self.index > 0 || unit.is_key, "it does not begin with a key frame");
            self.shown = unit.pts();
            let record = self.records.get(&self.index).copied();
            self.index += 1;
            match record {
                Some(record) => {
                    for unit in std::mem::take(&mut self.lead_in) {
                        let moment = self.leading(&unit, record, self.shown)?;
                        self.ready.push_back(moment);
                    }
                    let about = Some(record.to_line().trim_end().to_owned());
                    let moment = self.moment(&unit, record.info.rig_time_ns, record.info.number, about)?;
                    self.ready.push_back(moment);
                }
                None if self.records.first_key_value().is_some_and(|(first, _)| self.index <= *first) => {
                    self.lead_in.push(unit);
                }
                // Of no use to what is named.
                None => {}
            }
        }
        Ok(true)
    }

    /// A frame of before the first one `record`, which is shown at `shown` in the file's time.
    fn leading(
        &self,
        unit: &Unit,
        record: &FrameRecord,
        shown: Option<gst::ClockTime>,
    ) -> anyhow::Result<Moment> {
        let apart = shown.zip(unit.pts()).context("it does not say when its frames are shown")?;
        let apart = Span::from_nanos(i64::try_from(apart.0.nseconds() - apart.1.nseconds())?);
        let at = record.info.rig_time_ns - apart;
        self.moment(unit, at, self.grid.nearest(at), None)
    }

    fn moment(
        &self,
        unit: &Unit,
        at: Timestamp<Rig>,
        number: FrameNumber,
        about: Option<String>,
    ) -> anyhow::Result<Moment> {
        let bytes = unit.bytes()?;
        let mut sum = DefaultHasher::new();
        video_file::pictures_of(self.media, &bytes).hash(&mut sum);
        let data = Data::Coded { bytes, format: self.format, sum: sum.finish(), is_key: unit.is_key };
        Ok(Moment { at, number, device: self.device.clone(), data, about })
    }
}

impl Iterator for VideoFile<'_> {
    type Item = anyhow::Result<Moment>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.read().with_context(|| self.path.display().to_string()) {
            Ok(_) => self.ready.pop_front().map(Ok),
            Err(error) => Some(Err(error)),
        }
    }
}
