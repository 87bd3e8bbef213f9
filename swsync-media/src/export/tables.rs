//! CSV tables and timecode files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use swsync_core::grid::{FrameGrid, FrameNumber};
use swsync_core::manifest::{FrameRecord, csv, pts, utc};
use swsync_core::order::Fill;
use swsync_core::time::{Rig, Span, Timestamp};

use super::pictures;
use super::rig_take::{RigTake, Slot};
use super::target::Target;
use crate::video_file::VideoIndex;
use swsync_cli::takes::DeviceTake;

/// Writes per take `<order>-frames.csv`, with a row per frame and device as on the devices, and `<order>-grid.csv`, with a row per
/// frame number and the file of each device.
pub fn export_csv(takes: &[RigTake], fill: Fill, target: &mut Target) -> anyhow::Result<()> {
    for take in takes {
        let mut rows: Vec<_> = take.cameras.iter().flat_map(|camera| &camera.records).collect();
        rows.sort_by(|a, b| (a.info.number, &a.device).cmp(&(b.info.number, &b.device)));
        let table: String = std::iter::once(csv::header()).chain(rows.into_iter().map(csv::line)).collect();
        target.write(&PathBuf::from(format!("{}-frames.csv", take.order)), table.as_bytes())?;
        // Without a fill, frames that no camera has get a row too.
        let numbers = if fill == Fill::None { &take.asked } else { &take.numbers };
        let table = grid_table(take, numbers, fill);
        target.write(&PathBuf::from(format!("{}-grid.csv", take.order)), table.as_bytes())?;
    }
    Ok(())
}

/// A table with a row per frame number: its instant, and per device the file that shows it, relative to the take's folder. The
/// index in a video follows a `#`. Empty if the device shows nothing.
pub fn grid_table(take: &RigTake, numbers: &[FrameNumber], fill: Fill) -> String {
    let mut table = String::from("number,instant_ns,utc");
    for camera in &take.cameras {
        table.push(',');
        csv::push_text(&mut table, camera.take.device.as_str());
    }
    table.push_str("\r\n");
    let columns: Vec<_> = take.cameras.iter().map(|camera| RigTake::slots(camera, numbers, fill)).collect();
    for (row, number) in numbers.iter().enumerate() {
        let instant = take.grid.instant(*number);
        table.push_str(&format!("{number},{},{}", instant.as_nanos(), utc(instant)));
        for (camera, slots) in take.cameras.iter().zip(&columns) {
            table.push(',');
            let slot = &slots[row].1;
            let text = match slot.record() {
                Some(record) if camera.take.segments.is_empty() => {
                    format!("{}/{}", record.device, record.file)
                }
                Some(record) => format!("{}/{}#{}", record.device, record.file, record.offset),
                None if *slot == Slot::Black => "black".into(),
                None => String::new(),
            };
            csv::push_text(&mut table, &text);
        }
        table.push_str("\r\n");
    }
    table
}

/// Writes per take `<order>/<device>/<file>.pts` for each video file, with a line for each picture in it, and for pictures
/// `<order>/<device>.pts`. Times count from the take's begin: the instant of its first frame number, or the earliest picture if that
/// is earlier. So the origin is the same for all devices, and no time is negative. A substitute has the instant of its number.
pub fn export_timecodes(takes: &[RigTake], fill: Fill, target: &mut Target) -> anyhow::Result<()> {
    for take in takes {
        let mut files = Vec::new();
        for camera in &take.cameras {
            let folder = PathBuf::from(take.order.as_str());
            if !pictures::is_video(camera) {
                let times = shown_times(take, &RigTake::slots(camera, &take.numbers, fill));
                files.push((folder.join(format!("{}.pts", camera.take.device)), times));
                continue;
            }
            ensure!(
                fill == Fill::None,
                "{} recorded videos, whose timecodes fit them as they are: leave out --fill; `swsync export video` fills in, \
                 and writes timecodes",
                camera.take.device
            );
            for (file, records) in &files_of(camera) {
                let times = times_in(camera, file, records, take.grid)?;
                let name = Path::new(camera.take.device.as_str()).join(file).with_extension("pts");
                files.push((folder.join(name), times));
            }
        }
        let instant = take.numbers.first().map(|first| take.grid.instant(*first));
        let start = files.iter().flat_map(|(_, times)| times).copied().chain(instant).min();
        let Some(start) = start else { continue };
        for (path, times) in files {
            target.write(&path, timecodes(&times, start).as_bytes())?;
        }
    }
    Ok(())
}

/// Timecodes, format v2, of pictures taken at `times`, counted from `start`.
pub fn timecodes(times: &[Timestamp<Rig>], start: Timestamp<Rig>) -> String {
    let lines = times.iter().map(|time| pts::line(*time - start));
    std::iter::once(pts::HEADER.to_owned()).chain(lines).collect()
}

/// The times of what `slots` show.
pub fn shown_times(take: &RigTake, slots: &[(FrameNumber, Slot<'_>)]) -> Vec<Timestamp<Rig>> {
    slots.iter().filter_map(|(number, slot)| shown_at(take, *number, slot)).collect()
}

/// A camera's video files, and the frames of each by index.
fn files_of(camera: &DeviceTake) -> BTreeMap<&str, BTreeMap<u64, &FrameRecord>> {
    let mut files = BTreeMap::<_, BTreeMap<_, _>>::new();
    for record in &camera.records {
        files.entry(record.file.as_str()).or_default().insert(record.offset, record);
    }
    files
}

/// The time of each picture of a video file. For pictures without a record (lead-in, and after the end) it follows from the file's
/// presentation times, relative to the nearest one with a record.
fn times_in(
    camera: &DeviceTake,
    file: &str,
    records: &BTreeMap<u64, &FrameRecord>,
    grid: FrameGrid,
) -> anyhow::Result<Vec<Timestamp<Rig>>> {
    let path = camera.folder.join(file);
    let index =
        VideoIndex::of(&path, camera.media()).with_context(|| format!("cannot read {}", path.display()))?;
    let count = index.shown.len() as u64;
    let last = records.last_key_value().map_or(0, |(last, _)| *last);
    ensure!(
        last < count,
        "{} has {count} pictures, but the manifest names picture {last} of it (from 0): is the file whole?",
        path.display()
    );
    let time = |place: u64| -> anyhow::Result<Timestamp<Rig>> {
        let near = records.range(..=place).next_back().or_else(|| records.range(place..).next());
        let (known, record) = near.context("a file has frames")?;
        let at = |place: u64| index.times.get(usize::try_from(place).ok()?).copied();
        let nanos = |at: gst::ClockTime| Span::from_nanos(i64::try_from(at.nseconds()).unwrap_or(i64::MAX));
        let apart = match (at(place), at(*known)) {
            (Some(this), Some(known)) => nanos(this) - nanos(known),
            _ => grid.period() * (i64::try_from(place)? - i64::try_from(*known)?),
        };
        Ok(record.info.rig_time_ns + apart)
    };
    (0..count).map(time).collect()
}

/// The time of what a slot shows: a frame has its own time, a substitute the instant of its number.
pub fn shown_at(take: &RigTake, number: u64, slot: &Slot<'_>) -> Option<Timestamp<Rig>> {
    match slot {
        Slot::Frame(record) => Some(record.info.rig_time_ns),
        Slot::Repeated(_) | Slot::Black => Some(take.grid.instant(number)),
        Slot::Missing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_cli::testing::device_take;

    #[test]
    fn timecodes_begin_with_the_earliest_frame() {
        let root = tempfile::tempdir().unwrap();
        device_take(root.path(), "o1", "late", &[30]);
        let early = device_take(root.path(), "o1", "early", &[30]).join("frames.jsonl");
        // 3 us after the instant of frame 30, as testing's frames are, and 2 us before it.
        let text = std::fs::read_to_string(&early).unwrap().replace(":1000003000,", ":999998000,");
        std::fs::write(&early, text).unwrap();
        let take = RigTake::read(&root.path().join("o1"), &[]).unwrap();
        let out = root.path().join("out");
        let mut target = Target::to(&out);
        export_timecodes(&[take], Fill::None, &mut target).unwrap();
        target.finish().unwrap();
        let text = |device| std::fs::read_to_string(out.join(format!("o1/{device}.pts"))).unwrap();
        assert_eq!(text("early"), "# timecode format v2\n0.000000\n");
        assert_eq!(text("late"), "# timecode format v2\n0.005000\n");
    }

    #[test]
    fn the_grid_table_has_a_row_per_number_and_a_column_per_device() {
        let root = tempfile::tempdir().unwrap();
        device_take(root.path(), "o1", "a", &[30, 31]);
        device_take(root.path(), "o1", "b", &[30, 31, 32]);
        let take = RigTake::read(&root.path().join("o1"), &[]).unwrap();
        assert_eq!(
            grid_table(&take, &take.numbers, Fill::None),
            "number,instant_ns,utc,a,b\r\n\
             30,1000000000,1970-01-01T00:00:01.000000000Z,a/00000030.jpg,b/00000030.jpg\r\n\
             31,1033333333,1970-01-01T00:00:01.033333333Z,a/00000031.jpg,b/00000031.jpg\r\n\
             32,1066666667,1970-01-01T00:00:01.066666667Z,,b/00000032.jpg\r\n"
        );
        assert!(grid_table(&take, &take.numbers, Fill::Hold).ends_with("a/00000031.jpg,b/00000032.jpg\r\n"));
        assert!(grid_table(&take, &take.numbers, Fill::Black).ends_with("black,b/00000032.jpg\r\n"));
    }
}
