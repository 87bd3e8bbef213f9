//! `swsyncsink` with real encoders, in the containers that take their streams.

mod common;

use std::path::Path;

use common::coded::{AV1, Codec, H264, H265, VP8, VP9};
use common::sink::{answer, grid, manifest, place, rig, rig_now, take};
use common::{LEADER, Pipeline};
use swsync_core::grid::FrameNumber;
use swsync_core::name::Name;
use swsync_core::order::{Answer, Fill, Order, OrderKind};
use swsync_core::time::Span;

/// Frames of a take: two files, the second shorter.
const FRAMES: u64 = 45;
/// Frames of a take of the past.
const PAST: u64 = 20;

/// Records a future take in two files, and a take of the past whose file has to begin before its first frame, with `encoder`.
fn takes(codec: &Codec, encoder: &str, extensions: &[&str]) {
    // svtav1enc makes no key frames on request: its files begin with pictures that are not named.
    let obeys = !encoder.starts_with("svtav1enc");
    for extension in extensions {
        let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
        let pipeline = Pipeline::launch(&format!(
            "{LEADER} videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! queue ! \
             {encoder} ! swsyncsink name=a listen=tcp/127.0.0.1:0 rig={rig} device-id=pi \
             location={}/{{take}}/{{device}}/{{segment}}.{extension}",
            folder.path().display()
        ));
        pipeline.reach(gst::State::Playing);
        let what = format!("{encoder} in {extension}");
        let order = |first, frames| {
            let id = format!("t{first}-{frames}");
            let kind = OrderKind::Take { segment: Some(Span::from_secs(1)), fill: Fill::None };
            let (at, stop) = (grid().instant(first), Some(grid().instant(first + frames)));
            let answer = answer(place(&rig, Order::new(Name::new(&*id).unwrap(), at, stop, kind).unwrap()));
            (answer, folder.path().join(id).join("pi"))
        };
        // A busy machine drops frames, and the answer says so.
        common::eventually("a complete take to come", || {
            let first = now() + 27;
            let (answer, folder) = order(first, FRAMES);
            is_complete(&answer, &what) && {
                let lead_in = check(codec, &folder, first, FRAMES, extension, &what);
                if lead_in > 0 {
                    eprintln!("{what}: no key frame at the requested frame, {lead_in} lead-in pictures");
                }
                lead_in == 0 || !obeys
            }
        });
        common::eventually("a complete take of the past", || {
            let first = now() - 10 - PAST;
            let (answer, folder) = order(first, PAST);
            is_complete(&answer, &what) && check(codec, &folder, first, PAST, extension, &what) > 0
        });
    }
}

fn now() -> FrameNumber {
    grid().nearest(rig_now())
}

fn is_complete(answer: &Answer, what: &str) -> bool {
    if !answer.is_complete() {
        eprintln!("{what}: {:?}", answer.frames.iter().filter_map(|run| run.why()).collect::<Vec<_>>());
    }
    answer.is_complete()
}

/// Checks a take's files against its manifest. Returns how many lead-in pictures the files have.
fn check(codec: &Codec, folder: &Path, first: FrameNumber, frames: u64, extension: &str, what: &str) -> u64 {
    let records = manifest(folder);
    let numbers: Vec<_> = records.iter().map(|record| record.info.number).collect();
    assert_eq!(numbers, (first..first + frames).collect::<Vec<_>>(), "{what}");
    let take = take(folder);
    assert!(take.complete && (take.first, take.count) == (first, frames), "{what}: {take:?}");
    let mut lead_ins = 0;
    for (index, begin) in (first..first + frames).step_by(30).enumerate() {
        let name = format!("{index:04}.{extension}");
        let records: Vec<_> = records.iter().filter(|record| record.file == name).collect();
        let count = (first + frames - begin).min(30);
        let segment = &take.segments[index];
        assert_eq!((&*segment.file, segment.first, segment.count), (&*name, begin, count), "{what}");
        assert_eq!(records.len() as u64, count, "{what}");
        let played = codec.play(&folder.join(&name));
        assert!(played.begins_with_key, "{what}: {name}");
        assert_eq!(codec.decode(&folder.join(&name)), played.pictures, "{what}: {name}");
        let lead_in = usize::try_from(records[0].offset).unwrap();
        lead_ins += records[0].offset;
        // To decode the last frame, one that is shown after it may be needed.
        let surplus =
            played.pictures.checked_sub(lead_in + records.len()).expect("all frames of the manifest");
        assert!(
            surplus <= if what.contains("bframes=2") { 2 } else { 0 },
            "{what}: {name} has {surplus} more"
        );
        let begin = played.times[lead_in];
        for (record, time) in records.iter().zip(&played.times[lead_in..]) {
            let expected = record.info.rig_time_ns - records[0].info.rig_time_ns;
            let error = Span::from_nanos(i64::try_from((*time - begin).nseconds()).unwrap()) - expected;
            assert!(error.abs() <= Span::from_millis(1), "{what}: {error:?}");
        }
        if codec.has_date(extension) {
            let date = played.date.expect("a date");
            let year = swsync_core::manifest::utc(records[0].info.rig_time_ns)[..10].to_owned();
            assert!(date.starts_with(&year), "{what}: {date} is not {year}");
        }
        if let Some(made) = created(&folder.join(&name)) {
            let times = std::fs::read_to_string(folder.join(&name).with_extension("pts")).unwrap();
            // Milliseconds with six decimals.
            let before: i64 = times.lines().nth(1 + lead_in).unwrap().replace('.', "").parse().unwrap();
            let first = records[0].info.rig_time_ns - Span::from_nanos(before);
            assert_eq!(
                made,
                first.as_nanos().div_euclid(1_000_000_000),
                "{what}: the time of the first picture"
            );
        }
    }
    lead_ins
}

/// The creation time of an MP4 or a Matroska file, in seconds since 1970.
fn created(file: &Path) -> Option<i64> {
    let bytes = std::fs::read(file).unwrap();
    let behind = |mark: &[u8]| {
        let at = bytes.windows(mark.len()).position(|window| window == mark)? + mark.len();
        Some(&bytes[at..])
    };
    let seconds = |bytes: &[u8]| u32::from_be_bytes(*bytes.first_chunk().unwrap());
    match file.extension()?.to_str()? {
        "mp4" => {
            let movie = behind(b"mvhd")?;
            let of_track = behind(b"mdhd")?;
            assert_eq!(movie[4..12], of_track[4..12], "creation and modification, of movie and track");
            Some(i64::from(seconds(&movie[4..])) - 2_082_844_800)
        }
        // DateUTC, of eight bytes: nanoseconds since 2001.
        "mkv" | "webm" => {
            let date = behind(&[0x44, 0x61, 0x88])?;
            Some(i64::from_be_bytes(*date.first_chunk().unwrap()).div_euclid(1_000_000_000) + 978_307_200)
        }
        _ => None,
    }
}

#[test]
fn h264_of_x264() {
    if common::installed("x264enc") {
        takes(
            &H264,
            "x264enc speed-preset=ultrafast tune=zerolatency key-int-max=3000",
            &["mp4", "mkv", "ts", "avi"],
        );
        takes(&H264, "x264enc speed-preset=ultrafast bframes=2 key-int-max=3000", &["mp4", "ts"]);
        let byte_stream = "x264enc speed-preset=ultrafast tune=zerolatency key-int-max=3000 ! h264parse ! \
                           video/x-h264,stream-format=byte-stream,alignment=au";
        takes(&H264, byte_stream, &["mp4"]);
    }
}

#[test]
fn h264_of_openh264() {
    if common::installed("openh264enc") {
        takes(&H264, "openh264enc gop-size=3000", &["mp4", "mkv"]);
    }
}

#[test]
fn h265() {
    if common::installed(H265.element) {
        takes(&H265, H265.encoder, &["mp4", "mkv", "ts"]);
        let reordered = "x265enc speed-preset=ultrafast option-string=open-gop=0:bframes=2 key-int-max=3000 ! h265parse \
                         config-interval=-1";
        takes(&H265, reordered, &["mp4"]);
    }
}

/// Records takes of the past that begin anywhere in open groups of pictures: all pictures in their files decode, and are those of the manifest.
fn open_groups(codec: &Codec, encoder: &str) {
    if !common::installed(codec.element) {
        return;
    }
    let (folder, rig) = (tempfile::tempdir().unwrap(), rig());
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=160,height=120,framerate=30/1 ! queue ! \
         {encoder} ! swsyncsink name=a listen=tcp/127.0.0.1:0 rig={rig} device-id=pi \
         location={}/{{take}}/{{device}}/{{segment}}.mp4",
        folder.path().display()
    ));
    pipeline.reach(gst::State::Playing);
    let (mut wholes, begin) = (0, now());
    common::eventually("takes of a whole group's beginnings", || {
        let now = now();
        if now < begin + 120 {
            return false;
        }
        // One take more per attempt, so that all positions in a group are tried.
        let first = now - 60 - wholes;
        let id = format!("p{wholes}-{now}");
        let kind = OrderKind::Take { segment: None, fill: Fill::None };
        let (at, stop) = (grid().instant(first), Some(grid().instant(first + PAST)));
        let answer = answer(place(&rig, Order::new(Name::new(&*id).unwrap(), at, stop, kind).unwrap()));
        if !is_complete(&answer, encoder) {
            return false;
        }
        let folder = folder.path().join(id).join("pi");
        let file = folder.join("0000.mp4");
        let (played, records) = (codec.play(&file), manifest(&folder));
        // FFmpeg decodes, since OpenH264 does not support reordered pictures.
        let Some(decoded) = common::python("decode.py", &[&file]) else { return true };
        assert_eq!(
            decoded.trim(),
            played.pictures.to_string(),
            "{encoder}: all of {} decodes",
            file.display()
        );
        let begin = played.times[usize::try_from(records[0].offset).unwrap()];
        for record in &records {
            let expected = record.info.rig_time_ns - records[0].info.rig_time_ns;
            let shown = played.times[usize::try_from(record.offset).unwrap()] - begin;
            let error = Span::from_nanos(i64::try_from(shown.nseconds()).unwrap()) - expected;
            assert!(error.abs() <= Span::from_millis(1), "{encoder}: {error:?} of {record:?}");
        }
        wholes += 1;
        wholes >= 14
    });
}

#[test]
fn open_groups_of_h265() {
    open_groups(
        &H265,
        "x265enc speed-preset=ultrafast key-int-max=12 option-string=bframes=3:b-adapt=0:scenecut=0 ! h265parse config-interval=-1",
    );
}

#[test]
fn open_groups_of_h264() {
    let encoder =
        "x264enc speed-preset=ultrafast key-int-max=12 bframes=3 b-adapt=false option-string=open-gop=1";
    open_groups(&H264, encoder);
}

#[test]
fn vp8() {
    if common::installed(VP8.element) {
        takes(&VP8, VP8.encoder, &["mkv", "webm"]);
    }
}

#[test]
fn vp9() {
    if common::installed(VP9.element) {
        takes(&VP9, VP9.encoder, &["mp4", "mkv"]);
    }
}

#[test]
fn av1() {
    if common::installed(AV1.element) {
        takes(&AV1, AV1.encoder, &["mp4", "mkv"]);
    }
}

#[test]
fn av1_of_svt() {
    if common::installed("svtav1enc") {
        takes(&AV1, "svtav1enc preset=12 intra-period-length=3000", &["mp4"]);
    }
}
