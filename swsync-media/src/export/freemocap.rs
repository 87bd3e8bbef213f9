//! FreeMoCap: `<recording>/synchronized_videos/`, one MP4 per camera, each with as many frames, and timestamps.
//!
//! Versions 1.8 and 2.0 read different files, and an export has both:
//!
//! - 1.8 takes cameras in the order of their file names, and reads `timestamps/*.npy`, which it expects wherever there is
//!   a folder `timestamps` (data_loader.py, recording_info_model.py).
//! - 2.0 takes the cameras' ids from `<recording>_recording_info.json` (video_group_helper.py), else from file names of
//!   the form `<recording>.id-<camera>.idx-<index>.mp4` (skellycam, parse_video_filename.py): of other names it
//!   keeps a part only, so that cam1-left and cam1-right became one camera. It takes the rate from the median of
//!   `from_previous.framerate.hz` in `timestamps/*_timestamps.csv`, and a camera's times from
//!   `timestamps/camera_timestamps/<recording>.camera<camera>.timestamps.csv`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use swsync_core::grid::FrameNumber;
use swsync_core::manifest::utc;
use swsync_core::order::Fill;
use swsync_core::time::{Rig, Span, Timestamp};

use super::rig_take::RigTake;
use super::tables::shown_at;
use super::target::Target;
use super::video;
use swsync_cli::output;
use swsync_cli::takes::DeviceTake;

/// Writes a recording folder per take. Without a fill the videos have only frames that every device has, so that all have the same
/// number of frames.
pub fn export(takes: &[RigTake], fill: Fill, target: &mut Target) -> anyhow::Result<()> {
    for take in takes {
        let numbers = take.numbers_for_all(fill)?;
        let recording = PathBuf::from(take.order.as_str());
        let videos = recording.join("synchronized_videos");
        for (index, camera) in take.cameras.iter().enumerate() {
            let slots = RigTake::slots(camera, &numbers, fill);
            let path = videos.join(format!("{}.mp4", video_stem(take, index)));
            video::write(take, camera, &slots, &path, target)?;
        }
        write_timestamps(take, &numbers, fill, &videos.join("timestamps"), target)?;
        let info = recording.join(format!("{}_recording_info.json", take.order));
        target.write(&info, recording_info(take).as_bytes())?;
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

/// The name of a camera's video without its extension. FreeMoCap 2.0 reads an id, without dots, and an index from it.
fn video_stem(take: &RigTake, index: usize) -> String {
    let id = take.cameras[index].take.device.as_str().replace('.', "-");
    format!("{}.id-{id}.idx-{index}", take.order)
}

/// The recording info: the file of each camera's video.
fn recording_info(take: &RigTake) -> String {
    let video = |(index, camera): (usize, &DeviceTake)| {
        (camera.take.device.to_string(), format!("{}.mp4", video_stem(take, index)).into())
    };
    let videos: serde_json::Map<String, serde_json::Value> =
        take.cameras.iter().enumerate().map(video).collect();
    format!("{:#}\n", serde_json::json!({ "recording_name": take.order, "videos": videos }))
}

/// Writes each camera's times, and the mean times of all cameras.
fn write_timestamps(
    take: &RigTake,
    numbers: &[FrameNumber],
    fill: Fill,
    folder: &Path,
    target: &mut Target,
) -> anyhow::Result<()> {
    let Some(start) = numbers.first().map(|first| take.grid.instant(*first)) else { return Ok(()) };
    let mut columns = Vec::new();
    for (index, camera) in take.cameras.iter().enumerate() {
        let slots = RigTake::slots(camera, numbers, fill);
        let times: Vec<_> = slots.iter().filter_map(|(number, slot)| shown_at(take, *number, slot)).collect();
        let name = format!("{}.camera{}.timestamps.csv", take.order, camera.take.device);
        let path = folder.join("camera_timestamps").join(name);
        target.write(&path, table("recording_frame_number", numbers, &times, start).as_bytes())?;
        let path = folder.join(format!("{}_binary.npy", video_stem(take, index)));
        target.write(&path, &npy(&times))?;
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

/// Times as a NumPy file, format 1.0 (numpy.lib.format): a one-dimensional array of 64-bit integers, nanoseconds since 1970.
fn npy(times: &[Timestamp<Rig>]) -> Vec<u8> {
    let about = format!("{{'descr': '<i8', 'fortran_order': False, 'shape': ({},), }}", times.len());
    // Magic, version and length take ten bytes; spaces and a newline fill the header up to a multiple of 64.
    let length = (10 + about.len() + 1).next_multiple_of(64) - 10;
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(length).expect("a header of some 80 characters").to_le_bytes());
    file.extend(format!("{about:<width$}\n", width = length - 1).into_bytes());
    file.extend(times.iter().flat_map(|time| time.as_nanos().to_le_bytes()));
    file
}

/// A table of times as skellycam writes it.
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
    fn the_table_has_the_columns_of_skellycam() {
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
