//! Tables and timecodes.

use std::path::PathBuf;

use swsync_core::manifest::{csv, pts, utc};
use swsync_core::order::Fill;
use swsync_core::time::{Rig, Timestamp};

use super::footage::{Cell, Footage};
use super::target::Target;

/// Per take `<order>-frames.csv`, a row per frame and device as on the devices, and `<order>-grid.csv`, a row per
/// frame number with the file of each device.
pub fn export_csv(takes: &[Footage], fill: Fill, target: &mut Target) -> anyhow::Result<()> {
    for take in takes {
        let mut rows: Vec<_> = take.cameras.iter().flat_map(|camera| &camera.records).collect();
        rows.sort_by(|a, b| (a.info.number, &a.device).cmp(&(b.info.number, &b.device)));
        let table: String = std::iter::once(csv::header()).chain(rows.into_iter().map(csv::line)).collect();
        target.write(&PathBuf::from(format!("{}-frames.csv", take.order)), table.as_bytes())?;
        target
            .write(&PathBuf::from(format!("{}-grid.csv", take.order)), grid_table(take, fill).as_bytes())?;
    }
    Ok(())
}

/// A row per frame number: its instant, and per device the file that shows it, relative to the take's folder;
/// behind a `#` the picture's index in a video. Empty where nothing does. Without a fill, frames that no camera has are
/// rows too.
fn grid_table(take: &Footage, fill: Fill) -> String {
    let mut table = String::from("number,instant_ns,utc");
    for camera in &take.cameras {
        table.push(',');
        csv::push_text(&mut table, camera.take.device.as_str());
    }
    table.push_str("\r\n");
    let numbers = if fill == Fill::None { &take.asked } else { &take.numbers };
    let columns: Vec<_> = take.cameras.iter().map(|camera| Footage::cells(camera, numbers, fill)).collect();
    for (row, number) in numbers.iter().enumerate() {
        let instant = take.grid.instant(*number);
        table.push_str(&format!("{number},{},{}", instant.as_nanos(), utc(instant)));
        for (camera, cells) in take.cameras.iter().zip(&columns) {
            table.push(',');
            let cell = &cells[row].1;
            let text = match cell.record() {
                Some(record) if camera.take.segments.is_empty() => {
                    format!("{}/{}", record.device, record.file)
                }
                Some(record) => format!("{}/{}#{}", record.device, record.file, record.offset),
                None if *cell == Cell::Black => "black".into(),
                None => String::new(),
            };
            csv::push_text(&mut table, &text);
        }
        table.push_str("\r\n");
    }
    table
}

/// Per take and device `<order>/<device>.pts`: the times of its frames since the take began, which is the instant of
/// its first frame number, or whatever frame came a little before that: alike for all devices, and never negative.
/// What stands in for a frame has that frame's instant.
pub fn export_timecodes(takes: &[Footage], fill: Fill, target: &mut Target) -> anyhow::Result<()> {
    for take in takes {
        let times = |camera| -> Vec<Timestamp<Rig>> {
            let cells = Footage::cells(camera, &take.numbers, fill);
            cells.iter().filter_map(|(number, cell)| shown_at(take, *number, cell)).collect()
        };
        let columns: Vec<_> = take.cameras.iter().map(times).collect();
        let instant = take.numbers.first().map(|first| take.grid.instant(*first));
        let Some(start) = columns.iter().flatten().copied().chain(instant).min() else { continue };
        for (camera, times) in take.cameras.iter().zip(columns) {
            let lines = times.into_iter().map(|time| pts::line(time - start));
            let text: String = std::iter::once(pts::HEADER.to_owned()).chain(lines).collect();
            let path = PathBuf::from(take.order.as_str()).join(format!("{}.pts", camera.take.device));
            target.write(&path, text.as_bytes())?;
        }
    }
    Ok(())
}

/// When what a cell shows was taken: a frame at its own time, what stands in for one at the instant of its number.
pub fn shown_at(take: &Footage, number: u64, cell: &Cell<'_>) -> Option<Timestamp<Rig>> {
    match cell {
        Cell::Frame(record) => Some(record.info.rig_time_ns),
        Cell::Held(_) | Cell::Black => Some(take.grid.instant(number)),
        Cell::Hole => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::device_take;

    #[test]
    fn timecodes_begin_with_the_earliest_frame() {
        let root = tempfile::tempdir().unwrap();
        device_take(root.path(), "o1", "late", &[30]);
        let early = device_take(root.path(), "o1", "early", &[30]).join("frames.jsonl");
        // 3 us after the instant of frame 30, as testing's frames are, and 2 us before it.
        let text = std::fs::read_to_string(&early).unwrap().replace(":1000003000,", ":999998000,");
        std::fs::write(&early, text).unwrap();
        let take = Footage::read(&root.path().join("o1"), &[]).unwrap();
        let out = root.path().join("out");
        let mut target = Target::to(&out);
        export_timecodes(&[take], Fill::None, &mut target).unwrap();
        let text = |device| std::fs::read_to_string(out.join(format!("o1/{device}.pts"))).unwrap();
        assert_eq!(text("early"), "# timecode format v2\n0.000000\n");
        assert_eq!(text("late"), "# timecode format v2\n0.005000\n");
    }

    #[test]
    fn a_row_per_number_and_a_column_per_device() {
        let root = tempfile::tempdir().unwrap();
        device_take(root.path(), "o1", "a", &[30, 31]);
        device_take(root.path(), "o1", "b", &[30, 31, 32]);
        let take = Footage::read(&root.path().join("o1"), &[]).unwrap();
        assert_eq!(
            grid_table(&take, Fill::None),
            "number,instant_ns,utc,a,b\r\n\
             30,1000000000,1970-01-01T00:00:01.000000000Z,a/00000030.jpg,b/00000030.jpg\r\n\
             31,1033333333,1970-01-01T00:00:01.033333333Z,a/00000031.jpg,b/00000031.jpg\r\n\
             32,1066666667,1970-01-01T00:00:01.066666667Z,,b/00000032.jpg\r\n"
        );
        assert!(grid_table(&take, Fill::Hold).ends_with("a/00000031.jpg,b/00000032.jpg\r\n"));
        assert!(grid_table(&take, Fill::Black).ends_with("black,b/00000032.jpg\r\n"));
    }
}
