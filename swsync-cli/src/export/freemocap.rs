//! FreeMoCap: `<recording>/synchronized_videos/<device>.mp4`, each with as many frames, and timestamps.
//!
//! Its reader (freemocap, recording_framerate.py) takes the recording's rate from the median of
//! `from_previous.framerate.hz` in `synchronized_videos/timestamps/*_timestamps.csv`; columns are called as skellycam,
//! its own recorder, calls them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::utc;
use swsync_core::order::Fill;
use swsync_core::time::{Rig, Span, Timestamp};

use super::footage::Footage;
use super::tables::shown_at;
use super::target::Target;
use super::video;
use crate::output;

/// Per take a recording folder.
///
/// Without a fill only the frames that every device has are in the videos, so that they have as many frames.
pub fn export(takes: &[Footage], fill: Fill, target: &mut Target) -> anyhow::Result<()> {
    for take in takes {
        let numbers = take.alike(fill)?;
        let recording = PathBuf::from(take.order.as_str());
        let videos = recording.join("synchronized_videos");
        for camera in &take.cameras {
            let cells = Footage::cells(camera, &numbers, fill);
            let path = videos.join(format!("{}.mp4", camera.take.device));
            video::write(take, camera, &cells, &path, target)?;
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
