//! Reads the panel in the pictures of takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail};
use swsync_core::frame::FrameInfo;
use swsync_core::manifest::{FrameRecord, Take};
use swsync_core::name::DeviceId;
use swsync_core::panel::{self, Luma, Panel, Shutter};
use swsync_core::path_offset;
use swsync_core::time::{Rig, Span, Timestamp};

use super::stills::Still;
use crate::export::RigTake;
use crate::video_file;
use swsync_cli::takes::DeviceTake;

/// Quality of the JPEGs that pictures of videos become on the way here.
const QUALITY: u8 = 98;

/// What is known of a device besides its stills.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// Its camera's model.
    pub camera: Option<String>,
    /// Pictures that were looked at.
    pub pictures: usize,
    /// Why pictures were not read, and how many.
    pub unread: BTreeMap<String, usize>,
    /// Whether it led the rig in some frame.
    pub led: bool,
}

/// All stills of some takes.
#[derive(Debug, Default)]
pub struct Stills {
    /// The devices, by name.
    pub devices: BTreeMap<DeviceId, Device>,
    /// The pictures that were read. Their devices are indices into [`Stills::devices`].
    pub stills: Vec<Still>,
}

/// How pictures are read.
pub struct Reader {
    pub panel: Panel,
    /// The readout, where the manifest does not have it.
    pub readout: Option<Span>,
    /// What the panel's own limits add to the uncertainty of a reading, 1 sigma.
    pub panel_error: Span,
    /// Most pictures per device and take.
    pub most: usize,
}

impl Reader {
    /// Reads the takes in `folders`.
    pub fn read(&self, folders: &[std::path::PathBuf]) -> anyhow::Result<Stills> {
        let takes = folders
            .iter()
            .map(|folder| RigTake::read(folder, &[]).with_context(|| format!("take {}", folder.display())))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let names: BTreeSet<_> =
            takes.iter().flat_map(|take| &take.cameras).map(|camera| camera.take.device.clone()).collect();
        let places: BTreeMap<_, _> = names.iter().cloned().zip(0..).collect();
        let mut all = Stills {
            devices: names.into_iter().map(|name| (name, Device::default())).collect(),
            stills: Vec::new(),
        };
        for (index, take) in takes.iter().enumerate() {
            // The same numbers of all devices, so that they can be compared.
            let numbers = spread(&take.numbers, self.most);
            for camera in &take.cameras {
                let name = &camera.take.device;
                let device = all.devices.entry(name.clone()).or_default();
                device.camera = camera.take.camera.clone().or(device.camera.take());
                let place = (places[name], index);
                self.read_camera(camera, &numbers, place, device, &mut all.stills)
                    .with_context(|| format!("{name} in take {}", folders[index].display()))?;
            }
        }
        Ok(all)
    }

    fn read_camera(
        &self,
        camera: &DeviceTake,
        numbers: &BTreeSet<u64>,
        (device_index, take): (usize, usize),
        device: &mut Device,
        stills: &mut Vec<Still>,
    ) -> anyhow::Result<()> {
        let path_offset = path_offset_of(&camera.take)?;
        let mut read = |record: &FrameRecord, picture: &[u8]| {
            device.pictures += 1;
            device.led |= record.info.sync == swsync_core::frame::SyncState::Leading;
            match self.read_picture(&record.info, picture) {
                Ok(read) => stills.push(Still {
                    device: device_index,
                    take,
                    number: record.info.number,
                    rig: record.info.rig_time_ns,
                    panel: read.middle - read.after,
                    modulo: read.modulo,
                    reading: read.uncertainty,
                    clock: record.info.clock_uncertainty_ns,
                    phase: record.info.phase_error_ns,
                    path_offset,
                }),
                Err(why) => *device.unread.entry(format!("{why:#}")).or_default() += 1,
            }
        };
        let wanted = camera.records.iter().filter(|record| numbers.contains(&record.info.number));
        let mut of_videos: BTreeMap<&str, BTreeMap<u64, &FrameRecord>> = BTreeMap::new();
        for record in wanted {
            if camera.take.segments.is_empty() {
                let path = camera.folder.join(&record.file);
                let bytes =
                    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                read(record, &bytes);
            } else {
                of_videos.entry(&record.file).or_default().insert(record.offset, record);
            }
        }
        for (file, records) in of_videos {
            read_video(&camera.folder.join(file), camera.media(), &records, &mut read)?;
        }
        Ok(())
    }

    fn read_picture(&self, info: &FrameInfo, bytes: &[u8]) -> anyhow::Result<ReadPicture> {
        let Some(exposure) = info.exposure_ns else { bail!("the camera did not state the exposure") };
        let known = self.readout_of(info, exposure);
        let picture =
            image::load_from_memory(bytes).context("it is no picture that can be decoded")?.to_luma8();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let luma = Luma { pixels: picture.as_raw(), width, height, stride: width };
        let shutter = Shutter { exposure: Some(exposure), readout: known, row: 0.5 };
        let reading = panel::read(&luma, &self.panel, &shutter)?;
        let Some(readout) = known.or(reading.readout) else {
            bail!("neither manifest nor picture tell how long the camera reads its rows: state --readout")
        };
        Ok(ReadPicture {
            middle: reading.middle,
            after: middle(info, exposure, readout) - info.rig_time_ns,
            modulo: reading.modulo,
            uncertainty: reading.uncertainty + self.panel_error,
        })
    }

    /// From the first row's start to the last row's, if the manifest or the user states it.
    fn readout_of(&self, info: &FrameInfo, exposure: Span) -> Option<Span> {
        // Half of it lies between the first row and the middle one.
        let stated = info.details.exposure_middle_ns.map(|middle| (middle - start(info) - exposure / 2) * 2);
        stated.or(self.readout)
    }
}

/// The start of the first row's exposure. Without details it is the frame's time: that is where frames are aligned by default.
fn start(info: &FrameInfo) -> Timestamp<Rig> {
    info.details.exposure_start_ns.unwrap_or(info.rig_time_ns)
}

/// When the middle row is exposed, as the device believed.
fn middle(info: &FrameInfo, exposure: Span, readout: Span) -> Timestamp<Rig> {
    info.details.exposure_middle_ns.unwrap_or_else(|| start(info) + readout / 2 + exposure / 2)
}

struct ReadPicture {
    middle: Timestamp<swsync_core::time::PanelClock>,
    /// From the frame's time to the middle row's.
    after: Span,
    modulo: Span,
    uncertainty: Span,
}

/// Reads the pictures of a video: `records` by index in it.
fn read_video(
    video: &Path,
    media: &str,
    records: &BTreeMap<u64, &FrameRecord>,
    read: &mut impl FnMut(&FrameRecord, &[u8]),
) -> anyhow::Result<()> {
    let last = records.keys().next_back().copied().unwrap_or(0);
    video_file::decode(video, media, QUALITY, |index, picture| {
        if let Some(record) = records.get(&index) {
            read(record, picture);
        }
        Ok(index < last)
    })
    .with_context(|| format!("cannot decode {}", video.display()))
}

/// At most `most` of `numbers`, evenly spread.
fn spread(numbers: &[u64], most: usize) -> BTreeSet<u64> {
    let count = numbers.len().min(most);
    (0..count).map(|i| numbers[i * numbers.len() / count]).collect()
}

/// The path offset that the device's clock applied while it recorded `take`.
fn path_offset_of(take: &Take) -> anyhow::Result<Span> {
    let clock =
        take.settings.values().find(|element| element.get("factory").is_some_and(|f| f == "swsyncclock"));
    let Some(value) = clock.and_then(|clock| clock.get("path-offset")) else { return Ok(Span::ZERO) };
    let text = value.as_str().unwrap_or_default();
    path_offset::parse(text).with_context(|| format!("take.json: path-offset of the clock is {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_cli::testing::{TakeBuilder, info};

    #[test]
    fn numbers_are_spread_evenly() {
        let numbers: Vec<_> = (100..200).collect();
        assert_eq!(spread(&numbers, 4), BTreeSet::from([100, 125, 150, 175]));
        assert_eq!(spread(&numbers[..3], 4), BTreeSet::from([100, 101, 102]));
        assert!(spread(&[], 4).is_empty());
    }

    #[test]
    fn the_path_offset_is_that_of_the_clock() {
        let mut take = TakeBuilder::new("o1", "a", 1).take;
        assert_eq!(path_offset_of(&take).unwrap(), Span::ZERO);
        let clock = [("factory", "swsyncclock"), ("path-offset", "-41.5us")];
        let clock = clock.map(|(name, value)| (name.to_owned(), value.into()));
        take.settings.insert("c".into(), clock.into());
        assert_eq!(path_offset_of(&take).unwrap(), Span::from_nanos(-41_500));
        take.settings.get_mut("c").unwrap().insert("path-offset".into(), 3.into());
        assert!(path_offset_of(&take).is_err());
    }

    #[test]
    fn the_middle_row_follows_from_the_manifest_or_the_readout() {
        let reader = |readout| Reader { panel: Panel::PAPER, readout, panel_error: Span::ZERO, most: 1 };
        let mut info = info(54_000_000_000);
        let exposure = info.exposure_ns.unwrap();
        let (stated, user) = (Span::from_millis(12), Span::from_millis(10));
        assert_eq!(reader(None).readout_of(&info, exposure), None);
        assert_eq!(reader(Some(user)).readout_of(&info, exposure), Some(user));
        let after = middle(&info, exposure, user) - info.rig_time_ns;
        assert_eq!(after, Span::from_millis(7), "half of 10 ms and of 4 ms");
        // As with align-point=exposure-center: the frame's time is the middle.
        info.details.exposure_start_ns = Some(info.rig_time_ns - Span::from_millis(8));
        info.details.exposure_middle_ns = Some(info.rig_time_ns);
        assert_eq!(reader(Some(user)).readout_of(&info, exposure), Some(stated));
        assert_eq!(middle(&info, exposure, stated), info.rig_time_ns);
    }
}
