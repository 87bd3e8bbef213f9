//! FreeMoCap: `<recording>/synchronized_videos/<device>.mp4`, each with as many frames, and timestamps.
//!
//! Its reader (freemocap, recording_framerate.py) takes the recording's rate from the median of
//! `from_previous.framerate.hz` in `synchronized_videos/timestamps/*_timestamps.csv`; columns are called as skellycam,
//! its own recorder, calls them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::utc;
use swsync_core::order::Fill;
use swsync_core::time::{Rig, Span, Timestamp};

use super::footage::{Cell, Footage};
use super::pictures;
use super::tables::shown_at;
use super::target::Target;
use crate::media;
use crate::output;
use crate::takes::DeviceTake;

/// Per take a recording folder.
///
/// Without a fill only the frames that every device has are in the videos, so that they have as many frames.
pub fn export(takes: &[Footage], fill: Fill, target: &mut Target) -> anyhow::Result<()> {
    for take in takes {
        let numbers = match fill {
            Fill::None => take.common(),
            Fill::Hold | Fill::Black => take.numbers.clone(),
        };
        ensure!(
            !numbers.is_empty(),
            "no frame of {} is on all devices: fill in with --fill hold",
            take.order
        );
        let recording = PathBuf::from(take.order.as_str());
        let videos = recording.join("synchronized_videos");
        for camera in &take.cameras {
            let cells = Footage::cells(camera, &numbers, fill);
            let video = videos.join(format!("{}.mp4", camera.take.device));
            write_video(take, camera, &cells, &video, target)
                .with_context(|| format!("cannot make {}", video.display()))?;
        }
        write_timestamps(take, &numbers, fill, &videos.join("timestamps"), target)?;
        output::line(&format!(
            "{}: {} videos of {} frames each; import the folder {} in FreeMoCap",
            take.order,
            take.cameras.len(),
            numbers.len(),
            recording.display()
        ));
    }
    Ok(())
}

/// Writes one camera's video: as it is where it shows just these frames, else coded anew.
fn write_video(
    take: &Footage,
    camera: &DeviceTake,
    cells: &[(FrameNumber, Cell<'_>)],
    path: &Path,
    target: &mut Target,
) -> anyhow::Result<()> {
    let Some(out) = target.begin(path)? else { return Ok(()) };
    if let Some(file) = as_it_is(camera, cells) {
        let media = camera.take.caps.split(',').next().unwrap_or_default().trim();
        media::remux(&camera.folder.join(file), media, cells.len(), &out)?;
    } else {
        let Some(scratch) = target.scratch()? else { return Ok(()) };
        let extension = pictures::extension(camera)?;
        let folder = scratch.path();
        // Without a frame to be seen of this camera there is nothing but black.
        let picture = |index, _| folder.join(format!("{index}.{extension}"));
        target.uncounted(|target| pictures::write(camera, cells, target, picture))?;
        media::encode(folder, &extension, cells.len(), take.grid, &out)?;
    }
    target.finish(&out);
    Ok(())
}

/// The one video file that shows just these frames, if there is one.
fn as_it_is<'a>(camera: &'a DeviceTake, cells: &[(FrameNumber, Cell<'a>)]) -> Option<&'a str> {
    let [segment] = &camera.take.segments[..] else { return None };
    let in_place = |(index, cell): (usize, &(FrameNumber, Cell<'_>))| matches!(cell.1, Cell::Frame(record) if record.file == segment.file && record.offset == index as u64);
    let coded = ["video/x-h264", "video/x-h265"].iter().any(|media| camera.take.caps.starts_with(media));
    let whole = cells.len() == camera.records.len() && camera.take.lead_in == 0;
    (coded && whole && cells.iter().enumerate().all(in_place)).then_some(segment.file.as_str())
}

/// Writes each camera's times, and those of all together, which are their mean.
fn write_timestamps(
    take: &Footage,
    numbers: &[FrameNumber],
    fill: Fill,
    folder: &Path,
    target: &mut Target,
) -> anyhow::Result<()> {
    let Some(start) = numbers.first().map(|first| take.grid.instant(*first)) else { return Ok(()) };
    let mut columns = Vec::new();
    for camera in &take.cameras {
        let cells = Footage::cells(camera, numbers, fill);
        let times: Vec<_> = cells.iter().filter_map(|(number, cell)| shown_at(take, *number, cell)).collect();
        let path = folder.join("camera_timestamps").join(format!("{}_timestamps.csv", camera.take.device));
        target.write(&path, table("recording_frame_number", numbers, &times, start).as_bytes())?;
        columns.push(times);
    }
    let devices = i64::try_from(columns.len()).context("too many devices")?;
    let mean = |row: usize| {
        let since: Vec<Span> = columns.iter().map(|times| times[row] - start).collect();
        start + since.into_iter().sum::<Span>() / devices
    };
    let times: Vec<_> = (0..numbers.len()).map(mean).collect();
    let path = folder.join(format!("{}_timestamps.csv", take.order));
    target.write(&path, table("multiframe_number", numbers, &times, start).as_bytes())
}

/// Times as skellycam writes them.
fn table(
    index_name: &str,
    numbers: &[FrameNumber],
    times: &[Timestamp<Rig>],
    start: Timestamp<Rig>,
) -> String {
    let mut table = format!(
        "{index_name},connection_frame_number,timestamp.from_recording_start.sec,timestamp.utc.seconds,\
         timestamp.local.iso8601,timestamp.perf_counter_ns.ns,from_previous.frame_duration.ms,\
         from_previous.framerate.hz\r\n"
    );
    let mut before: Option<Timestamp<Rig>> = None;
    for (index, (number, time)) in numbers.iter().zip(times).enumerate() {
        let nanos = time.as_nanos();
        let since = (*time - start).as_secs_f64();
        let seconds = format!("{}.{:09}", nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        let step = before.map(|before| (*time - before).as_secs_f64()).filter(|step| *step > 0.0);
        let (ms, hz) = step.map_or_else(Default::default, |step| {
            (format!("{:.6}", step * 1e3), format!("{:.6}", step.recip()))
        });
        table
            .push_str(&format!("{index},{number},{since:.9},{seconds},{},{nanos},{ms},{hz}\r\n", utc(*time)));
        before = Some(*time);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_skellycams_columns() {
        let at = Timestamp::from_nanos;
        let table =
            table("multiframe_number", &[30, 31], &[at(1_000_000_000), at(1_025_000_000)], at(999_000_000));
        let rows: Vec<_> = table.lines().collect();
        assert_eq!(rows.len(), 3);
        assert!(
            rows[0]
                .starts_with("multiframe_number,connection_frame_number,timestamp.from_recording_start.sec,")
        );
        assert_eq!(rows[1], "0,30,0.001000000,1.000000000,1970-01-01T00:00:01.000000000Z,1000000000,,");
        assert_eq!(
            rows[2],
            "1,31,0.026000000,1.025000000,1970-01-01T00:00:01.025000000Z,1025000000,25.000000,40.000000"
        );
    }
}
