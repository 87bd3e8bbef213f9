//! All readings of each run of each device, and all pictures that were saved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use swsync_core::manifest::{FRAMES_JSONL, FrameRecord};
use swsync_core::time::{Host, Local, Span, Timestamp};

use crate::chaos::reading::{Reading, Whose, instant_of};
use crate::chaos::record::Record;
use crate::chaos::rig::Rig;
use crate::panel;

/// Statuses further apart do not tell whose time a clock had in between.
const MAX_GAP: Span = Span::from_secs(2);

/// What was seen of all devices.
#[derive(Default)]
pub struct Runs {
    /// By device and run, in the order of time.
    pub readings: BTreeMap<(usize, usize), Vec<Reading>>,
    pub pictures: Vec<TimedPicture>,
    /// Pictures whose time cannot be told, and why.
    pub unreadable: Vec<String>,
}

/// A saved picture, and when the LED panel in it says that it was taken.
pub struct TimedPicture {
    pub device: usize,
    pub record: FrameRecord,
    /// The true instant at which the exposure of its first row began.
    pub at: Timestamp<Host>,
    /// Whose time the device had, if that is known.
    pub whose: Option<Whose>,
}

impl Runs {
    /// All readings of `record`, and the pictures in the manifests of the devices.
    pub fn of(rig: &Rig, record: &Record) -> Self {
        let mut runs = Self::default();
        for reading in &record.readings {
            runs.readings.entry((reading.device, reading.run)).or_default().push(reading.clone());
        }
        for readings in runs.readings.values_mut() {
            readings.sort_by_key(|reading| reading.at);
        }
        for device in &rig.devices {
            for (path, record) in manifest(&rig.setup.out.join(device.name()), &device.name()) {
                let Some(stamp) = record.info.sensor_time_ns.map(|stamp| local(stamp.as_nanos())) else {
                    runs.unreadable.push(format!("{}: has no sensor time", path.display()));
                    continue;
                };
                let Some((run, about)) = instant_of(stamp, device.clocks()) else {
                    runs.unreadable.push(format!("{}: no run of the device took it", path.display()));
                    continue;
                };
                match read_panel(&path, &record, about) {
                    Ok(at) => {
                        let readings = runs.readings.get(&(device.index, run)).map_or(&[][..], |all| all);
                        let whose = whose_at(readings, at);
                        runs.pictures.push(TimedPicture { device: device.index, record, at, whose });
                    }
                    Err(why) => runs.unreadable.push(format!("{}: {why:#}", path.display())),
                }
            }
        }
        runs
    }
}

/// The local time of a sensor's stamp: sensors count the time in suspend, too.
fn local(stamp: i64) -> Timestamp<Local> {
    let arrival = swsync_time::arrival_on_host();
    Timestamp::from_nanos(stamp - (arrival.boottime.as_nanos() - arrival.monotonic.as_nanos()))
}

/// When a picture was taken, which was at `about` that time.
fn read_panel(path: &Path, record: &FrameRecord, about: Timestamp<Host>) -> anyhow::Result<Timestamp<Host>> {
    let picture = image::open(path)?.into_rgb8();
    Ok(panel::read(&picture, &record.info)?.nearest(about))
}

/// Whose time the clock had at `at`: what the statuses before and after it say, if they say the same.
fn whose_at(readings: &[Reading], at: Timestamp<Host>) -> Option<Whose> {
    let after = readings.partition_point(|reading| reading.at < at);
    let (before, after) = (readings.get(after.checked_sub(1)?)?, readings.get(after)?);
    let same = before.whose == after.whose && after.at - before.at < MAX_GAP;
    before.whose.filter(|_| same)
}

/// The lines of all manifests of a device, each with the path of its picture.
fn manifest(folder: &Path, device: &str) -> Vec<(PathBuf, FrameRecord)> {
    let mut found = Vec::new();
    for order in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let part = order.path().join(device);
        let Ok(text) = std::fs::read_to_string(part.join(FRAMES_JSONL)) else { continue };
        let records = text.lines().filter_map(|line| FrameRecord::from_line(line).ok());
        found.extend(records.map(|record| (part.join(&record.file), record)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::reading::testing::reading;

    #[test]
    fn whose_time_it_was_is_known_between_statuses_that_agree() {
        let of = |millis: i64, leader| Reading {
            whose: Some(Whose { timescale: 1, leader }),
            ..reading(0, millis, Span::ZERO)
        };
        let readings = [of(1_000, 5), of(1_200, 5), of(1_400, 6), of(4_000, 6)];
        let at = |millis: i64| Timestamp::from_nanos(millis * 1_000_000);
        let leader = |millis| whose_at(&readings, at(millis)).map(|whose| whose.leader);
        assert_eq!([900, 1_100, 1_300, 2_000, 4_100].map(leader), [None, Some(5), None, None, None]);
    }
}
