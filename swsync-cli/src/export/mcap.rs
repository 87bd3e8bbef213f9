//! MCAP: one file, per device a topic of pictures or of coded video, and one of what is known of each frame.
//!
//! Pictures are `foxglove.CompressedImage`, coded frames `foxglove.CompressedVideo`, in Protobuf, since that costs no
//! space beyond the frames'; what is known of frames is the manifest's JSON. Log time and publish time are the frame's
//! own: its rig time.
//! <https://docs.foxglove.dev/docs/sdk/schemas/compressed-video>

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use mcap::records::MessageHeader;
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::FrameRecord;
use swsync_core::order::Fill;
use swsync_core::time::{Rig, Timestamp};

use super::footage::{Cell, Footage};
use super::pictures;
use super::tables::shown_at;
use super::target::Target;
use crate::media;
use crate::takes::DeviceTake;

/// `foxglove.CompressedImage`.
#[derive(Clone, PartialEq, prost::Message)]
struct CompressedImage {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<prost_types::Timestamp>,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
    #[prost(string, tag = "3")]
    format: String,
    #[prost(string, tag = "4")]
    frame_id: String,
}

/// `foxglove.CompressedVideo`.
#[derive(Clone, PartialEq, prost::Message)]
struct CompressedVideo {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<prost_types::Timestamp>,
    #[prost(string, tag = "2")]
    frame_id: String,
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
    #[prost(string, tag = "4")]
    format: String,
}

/// The file that is being written.
struct Writer {
    mcap: mcap::Writer<BufWriter<File>>,
    /// Channels by topic, and the next message's number.
    channels: HashMap<String, (u16, u32)>,
    image_schema: u16,
    video_schema: u16,
    frame_schema: u16,
}

/// Writes all takes into one file, `<first order>.mcap`.
pub fn export(takes: &[Footage], fill: Fill, target: &mut Target) -> anyhow::Result<()> {
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
    // Under its name only once it is whole.
    let part = path.with_extension("mcap.part");
    let mut writer = Writer::create(&part)?;
    for take in takes {
        writer.take_pictures(take, fill, target)?;
        for camera in take.cameras.iter().filter(|camera| pictures::is_video(camera)) {
            writer.take_videos(camera, target)?;
        }
    }
    writer.finish()?;
    fs::rename(&part, &path).with_context(|| format!("cannot write {}", path.display()))?;
    target.finish(&path);
    Ok(())
}

impl Writer {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        // Frames are compressed already.
        let mut mcap = mcap::WriteOptions::new()
            .compression(None)
            .library(concat!("swsync ", env!("CARGO_PKG_VERSION")))
            .create(BufWriter::new(file))?;
        let image =
            descriptor("CompressedImage", &[("timestamp", 1), ("data", 2), ("format", 3), ("frame_id", 4)]);
        let video =
            descriptor("CompressedVideo", &[("timestamp", 1), ("frame_id", 2), ("data", 3), ("format", 4)]);
        Ok(Self {
            image_schema: mcap.add_schema("foxglove.CompressedImage", "protobuf", &image)?,
            video_schema: mcap.add_schema("foxglove.CompressedVideo", "protobuf", &video)?,
            frame_schema: mcap.add_schema("swsync.Frame", "jsonschema", br#"{"type":"object"}"#)?,
            mcap,
            channels: HashMap::new(),
        })
    }

    /// Writes the pictures of a take's cameras by number, so that readers find together what belongs together.
    fn take_pictures(&mut self, take: &Footage, fill: Fill, target: &mut Target) -> anyhow::Result<()> {
        let cameras: Vec<_> = take.cameras.iter().filter(|camera| !pictures::is_video(camera)).collect();
        let columns: Vec<_> =
            cameras.iter().map(|camera| Footage::cells(camera, &take.numbers, fill)).collect();
        let extensions: Vec<_> =
            cameras.iter().map(|camera| pictures::extension(camera)).collect::<Result<_, _>>()?;
        target.plan(take.numbers.len() * cameras.len());
        for (row, number) in take.numbers.iter().enumerate() {
            for ((camera, cells), extension) in cameras.iter().zip(&columns).zip(&extensions) {
                target.step();
                let cell = cells[row].1;
                let Some(at) = shown_at(take, *number, &cell) else { continue };
                self.picture(camera, *number, cell, at, extension)?;
            }
        }
        Ok(())
    }

    fn picture(
        &mut self,
        camera: &DeviceTake,
        number: FrameNumber,
        cell: Cell<'_>,
        at: Timestamp<Rig>,
        extension: &str,
    ) -> anyhow::Result<()> {
        let (data, format) = match cell.record() {
            Some(record) => {
                let path = camera.folder.join(&record.file);
                let data = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                (data, if extension == "jpg" { "jpeg" } else { extension })
            }
            None => (pictures::black_like(camera)?, "jpeg"),
        };
        let device = camera.take.device.to_string();
        let image = CompressedImage {
            timestamp: Some(timestamp(at)),
            data,
            format: format.into(),
            frame_id: device.clone(),
        };
        let schema = self.image_schema;
        self.message(&format!("/{device}/image"), schema, "protobuf", at, &image.encode_to_vec())?;
        match cell {
            Cell::Frame(record) => self.frame(record),
            // What stands in for a frame is said to.
            _ => {
                let json = serde_json::json!({ "device": device, "number": number, "filled_in": true });
                self.json(&device, at, &json.to_string())
            }
        }
    }

    /// Writes a camera's coded frames.
    fn take_videos(&mut self, camera: &DeviceTake, target: &mut Target) -> anyhow::Result<()> {
        let media = camera.take.caps.split(',').next().unwrap_or_default().trim();
        let format = match media {
            "video/x-h264" => "h264",
            "video/x-h265" => "h265",
            "video/x-vp9" => "vp9",
            other => bail!(
                "{} recorded {other:?}, which foxglove.CompressedVideo has no name for: H.264, H.265 and VP9 it has",
                camera.take.device
            ),
        };
        let mut by_file: BTreeMap<&str, BTreeMap<u64, &FrameRecord>> = BTreeMap::new();
        for record in &camera.records {
            by_file.entry(&record.file).or_default().insert(record.offset, record);
        }
        target.plan(camera.records.len());
        for (file, records) in by_file {
            let path = camera.folder.join(file);
            self.video(camera, &path, media, format, &records, target)
                .with_context(|| format!("{}", path.display()))?;
        }
        Ok(())
    }

    fn video(
        &mut self,
        camera: &DeviceTake,
        path: &Path,
        media: &str,
        format: &str,
        records: &BTreeMap<u64, &FrameRecord>,
        target: &mut Target,
    ) -> anyhow::Result<()> {
        let device = camera.take.device.to_string();
        let topic = format!("/{device}/video");
        let (mut index, mut shown) = (0_u64, None);
        media::units(path, media, |unit| {
            ensure!(
                shown < unit.pts || unit.pts.is_none(),
                "it has frames that are shown in another order than they are stored (B-frames), which Foxglove does \
                 not play: have the encoder leave them out, as with x264enc bframes=0"
            );
            shown = unit.pts;
            // The lead-in is needed to decode what comes after it, and is before it in time.
            let at = match records.get(&index) {
                Some(record) => Some(record.info.rig_time_ns),
                None => {
                    records.first_key_value().filter(|(first, _)| index < **first).map(|(first, record)| {
                        let back = i64::try_from(first - index).unwrap_or(i64::MAX);
                        record.info.rig_time_ns - camera.take.grid.period() * back
                    })
                }
            };
            if let Some(at) = at {
                let video = CompressedVideo {
                    timestamp: Some(timestamp(at)),
                    frame_id: device.clone(),
                    data: unit.bytes,
                    format: format.into(),
                };
                let schema = self.video_schema;
                self.message(&topic, schema, "protobuf", at, &video.encode_to_vec())?;
            }
            if let Some(record) = records.get(&index) {
                self.frame(record)?;
                target.step();
            }
            index += 1;
            Ok(true)
        })?;
        if let Some((last, _)) = records.last_key_value().filter(|(last, _)| **last >= index) {
            bail!(
                "it has {index} frames, but the manifest names frame {last} of it (from 0): is the file whole?"
            );
        }
        Ok(())
    }

    /// What the manifest says of a frame.
    fn frame(&mut self, record: &FrameRecord) -> anyhow::Result<()> {
        self.json(record.device.as_str(), record.info.rig_time_ns, record.to_line().trim_end())
    }

    fn json(&mut self, device: &str, at: Timestamp<Rig>, json: &str) -> anyhow::Result<()> {
        let schema = self.frame_schema;
        self.message(&format!("/{device}/frame"), schema, "json", at, json.as_bytes())
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

    fn finish(mut self) -> anyhow::Result<()> {
        self.mcap.finish()?;
        let file = self.mcap.into_inner().into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(())
    }
}

fn timestamp(at: Timestamp<Rig>) -> prost_types::Timestamp {
    let nanos = at.as_nanos();
    prost_types::Timestamp {
        seconds: nanos.div_euclid(1_000_000_000),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).expect("less than 10^9"),
    }
}

/// The schema of `foxglove.<name>` with these fields, as Protobuf describes itself: with all that it is built upon.
fn descriptor(name: &str, fields: &[(&str, i32)]) -> Vec<u8> {
    let field = |name: &str, number: i32, kind: Type, type_name: Option<&str>| FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        type_name: type_name.map(Into::into),
        json_name: Some(name.into()),
        ..Default::default()
    };
    let file = |path: &str, package: &str, needs: &[&str], message: &str, field| FileDescriptorProto {
        name: Some(path.into()),
        package: Some(package.into()),
        dependency: needs.iter().map(ToString::to_string).collect(),
        message_type: vec![DescriptorProto { name: Some(message.into()), field, ..Default::default() }],
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    let time = "google/protobuf/timestamp.proto";
    let time_fields = vec![field("seconds", 1, Type::Int64, None), field("nanos", 2, Type::Int32, None)];
    let fields = fields.iter().map(|(name, number)| match *name {
        "timestamp" => field(name, *number, Type::Message, Some(".google.protobuf.Timestamp")),
        "data" => field(name, *number, Type::Bytes, None),
        _ => field(name, *number, Type::String, None),
    });
    let path = format!("foxglove/{name}.proto");
    let set = FileDescriptorSet {
        file: vec![
            file(time, "google.protobuf", &[], "Timestamp", time_fields),
            file(&path, "foxglove", &[time], name, fields.collect()),
        ],
    };
    set.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_describes_its_message() {
        let set =
            descriptor("CompressedVideo", &[("timestamp", 1), ("frame_id", 2), ("data", 3), ("format", 4)]);
        let set = FileDescriptorSet::decode(&set[..]).unwrap();
        let message = &set.file[1].message_type[0];
        assert_eq!(message.name(), "CompressedVideo");
        let fields: Vec<_> = message.field.iter().map(|field| (field.name(), field.number())).collect();
        assert_eq!(fields, [("timestamp", 1), ("frame_id", 2), ("data", 3), ("format", 4)]);
        assert_eq!(set.file[1].dependency, [set.file[0].name()]);
    }

    #[test]
    fn times_split_into_seconds_and_the_rest() {
        let split = |nanos| timestamp(Timestamp::from_nanos(nanos));
        assert_eq!(
            split(1_800_000_000_033_333_400),
            prost_types::Timestamp { seconds: 1_800_000_000, nanos: 33_333_400 }
        );
        assert_eq!(split(-1), prost_types::Timestamp { seconds: -1, nanos: 999_999_999 });
    }
}
