//! `swsync export` into pictures and for FreeMoCap, read by the programs that it is for.

use std::fs;
use std::path::Path;
use std::process::Command;

use swsync_core::manifest::{FRAMES_JSONL, FrameRecord, TAKE_JSON};

use swsync_cli::testing::{FIRST, Ran, TakeBuilder};

use crate::scene::Scene;
use crate::swsync_media;
use crate::videos::{grey, python, video};

fn export(format: &str, takes: &[&Path], out: &Path, args: &[&str]) -> Ran {
    let mut words = vec!["export", format, "-o", out.to_str().unwrap()];
    words.extend(takes.iter().map(|take| take.to_str().unwrap()));
    words.extend(args);
    Ran::of(&mut swsync_media(&words))
}

/// A take of `order` with `count` frames asked for, of which `devices` have those from `from` to before `to`.
fn cut_short(root: &Path, order: &str, devices: &[&str], count: u64, (from, to): (u64, u64)) {
    for device in devices {
        let dropped: Vec<_> = (0..count).filter(|index| !(from..to).contains(index)).collect();
        TakeBuilder::new(order, device, count).pictures(&dropped, |_| grey(100)).write(root);
    }
}

#[test]
fn frames_that_no_camera_has_are_left_out_with_a_warning() {
    let root = tempfile::tempdir().unwrap();
    // A take that was cancelled after 39 of 450 frames, and one whose begin was no longer in the ring.
    cut_short(root.path(), "cancelled", &["a", "b"], 450, (0, 39));
    cut_short(root.path(), "past", &["a", "b"], 60, (48, 60));
    for (order, frames, said) in [
        (
            "cancelled",
            39,
            format!(
                "no device has 411 of the 450 frames that cancelled names: {} to {}",
                FIRST + 39,
                FIRST + 449
            ),
        ),
        ("past", 12, format!("no device has 48 of the 60 frames that past names: {FIRST} to {}", FIRST + 47)),
    ] {
        let out = root.path().join(format!("out-{order}"));
        let ran = export("freemocap", &[&root.path().join(order)], &out, &[]);
        assert_eq!(ran.code, 0, "{ran:#?}");
        assert!(ran.stderr.contains(&said), "{ran:#?}");
        let table = out.join(format!("{order}/synchronized_videos/timestamps/{order}_timestamps.csv"));
        assert_eq!(fs::read_to_string(table).unwrap().lines().count(), 1 + frames, "{order}");
    }
    // The grid table still has a row for each frame that the order names.
    let out = root.path().join("tables");
    assert_eq!(export("csv", &[&root.path().join("cancelled")], &out, &[]).code, 0);
    assert_eq!(fs::read_to_string(out.join("cancelled-grid.csv")).unwrap().lines().count(), 451);
}

#[test]
fn a_black_picture_has_the_format_of_the_others() {
    let root = tempfile::tempdir().unwrap();
    let mut png = std::io::Cursor::new(Vec::new());
    image::DynamicImage::new_luma8(16, 16).write_to(&mut png, image::ImageFormat::Png).unwrap();
    for (device, dropped) in [("a", &[][..]), ("b", &[1])] {
        let mut part = TakeBuilder::new("o1", device, 3).pictures(dropped, |_| png.get_ref().clone());
        for record in &mut part.records {
            record.file = record.file.replace(".jpg", ".png");
        }
        part.files =
            part.files.into_iter().map(|(name, bytes)| (name.replace(".jpg", ".png"), bytes)).collect();
        part.write(root.path());
    }
    let out = root.path().join("out");
    let ran = export("colmap", &[&root.path().join("o1")], &out, &["--fill", "black"]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let black = fs::read(out.join(format!("images/rig1/b/{}.png", FIRST + 1))).unwrap();
    assert_eq!(image::guess_format(&black).unwrap(), image::ImageFormat::Png);
}

#[test]
fn takes_of_one_name_do_not_overwrite_each_other() {
    let root = tempfile::tempdir().unwrap();
    let (monday, tuesday) = (root.path().join("monday"), root.path().join("tuesday"));
    cut_short(&monday, "walk", &["a"], 3, (0, 3));
    cut_short(&tuesday, "Walk", &["a"], 3, (0, 3));
    for format in ["colmap", "freemocap", "csv", "mcap", "timecode"] {
        let out = root.path().join(format);
        let ran = export(format, &[&monday.join("walk"), &tuesday.join("Walk")], &out, &[]);
        assert_eq!(ran.code, 1, "{ran:#?}");
        assert!(ran.stderr.contains("have one name: export them one by one"), "{ran:#?}");
        assert!(!out.exists(), "{format}");
    }
}

#[test]
fn colmap_gets_a_frame_of_two_takes_once_and_refuses_two_instants_of_one_number() {
    let root = tempfile::tempdir().unwrap();
    cut_short(root.path(), "one", &["a", "b"], 4, (0, 4));
    cut_short(root.path(), "two", &["a", "b"], 6, (2, 6));
    let (one, two, out) = (root.path().join("one"), root.path().join("two"), root.path().join("out"));
    let ran = export("colmap", &[&one, &two], &out, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    for device in ["a", "b"] {
        assert_eq!(fs::read_dir(out.join("images/rig1").join(device)).unwrap().count(), 6);
    }

    // A leader that came back with an earlier wall clock: the numbers repeat with other instants.
    let manifest = two.join("a").join(FRAMES_JSONL);
    let records = fs::read_to_string(&manifest).unwrap();
    let later = records.lines().map(|line| {
        let mut record = FrameRecord::from_line(line).unwrap();
        record.info.rig_time_ns += swsync_core::time::Span::from_micros(40);
        record.to_line()
    });
    fs::write(&manifest, later.collect::<String>()).unwrap();
    let ran = export("colmap", &[&one, &two], &root.path().join("again"), &[]);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stderr.contains("is another instant than in another take"), "{ran:#?}");
}

#[test]
fn freemocap_tells_cameras_with_similar_names_apart() {
    let root = tempfile::tempdir().unwrap();
    let devices = ["cam1-left", "cam1-right", "pi.4", "pi10"];
    cut_short(root.path(), "walk", &devices, 12, (0, 12));
    let out = root.path().join("sessions");
    let ran = export("freemocap", &[&root.path().join("walk")], &out, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let recording = out.join("walk");
    let videos = recording.join("synchronized_videos");

    // 2.0 takes the ids from here, ...
    let info = fs::read(recording.join("walk_recording_info.json")).unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
    let named = info["videos"].as_object().unwrap();
    assert_eq!(named.keys().collect::<Vec<_>>(), devices);
    for (index, file) in named.values().enumerate() {
        let file = file.as_str().unwrap();
        assert!(videos.join(file).is_file(), "{file}");
        // ... and without it from file names of this form: <recording>.id-<camera without dots>.idx-<index>.mp4.
        let stem =
            file.strip_prefix("walk.id-").and_then(|rest| rest.strip_suffix(&format!(".idx-{index}.mp4")));
        assert_eq!(stem, Some(devices[index].replace('.', "-").as_str()));
    }
    for device in devices {
        assert!(
            videos.join(format!("timestamps/camera_timestamps/walk.camera{device}.timestamps.csv")).is_file()
        );
    }

    // 1.8, by its own code.
    let Some(read) = python("freemocap_check.py", &[&recording]) else { return };
    let read: serde_json::Value = serde_json::from_str(read.lines().last().unwrap()).unwrap();
    assert_eq!(read["cameras"].as_array().unwrap().len(), devices.len());
    assert_eq!(read["frames"], 12);
    let (first, last) = (read["means"][0].as_f64().unwrap(), read["means"][11].as_f64().unwrap());
    assert!((last - first - 11e9 / 30.0).abs() < 1e3, "{first} to {last} ns");
}

#[test]
fn colmap_makes_a_model_of_the_rig_by_the_steps_that_are_printed() {
    let root = tempfile::tempdir().unwrap();
    let scene = Scene::new();
    let cameras = 4_u8;
    for camera in 0..cameras {
        let along = f64::from(camera);
        let place = [2.2 + 0.35 * along, 1.6 + 0.1 * (along % 2.0), 3.0 - 0.3 * along];
        // The rig moves.
        let moved = |by: f64, to: [f64; 3]| [to[0] + 0.15 * by, to[1] + 0.1 * by, to[2] + 0.2 * by];
        let picture = |index: u64| {
            let by = f64::from(u32::try_from(index).unwrap());
            scene.picture(moved(by, place), moved(by, [0.6; 3]))
        };
        TakeBuilder::new("scan", &format!("cam{camera}"), 3).pictures(&[], picture).write(root.path());
    }
    let out = root.path().join("workspace");
    let ran = export("colmap", &[&root.path().join("scan")], &out, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains("COLMAP 3.12 or later"), "{ran:#?}");
    let steps: Vec<_> = ran.stdout.lines().filter_map(|line| line.trim().strip_prefix("colmap ")).collect();
    let commands: Vec<_> = steps.iter().map(|step| step.split(' ').next().unwrap()).collect();
    let expected = ["feature_extractor", "exhaustive_matcher", "mapper", "rig_configurator", "mapper"];
    assert_eq!(commands, expected);
    assert!(steps[3].ends_with("--input_path sparse/0"), "the rig's poses come from the first model");

    let Some(models) = python("colmap_check.py", &[&out]) else { return };
    let models: serde_json::Value = serde_json::from_str(models.lines().last().unwrap()).unwrap();
    let [alone, rig] = [&models[0], &models[1]];
    assert_eq!((&alone["images"], &alone["rigs"]), (&12.into(), &4.into()), "{models}");
    assert_eq!(
        (&rig["images"], &rig["frames"], &rig["rigs"]),
        (&12.into(), &3.into(), &1.into()),
        "{models}"
    );
    assert!(rig["error"].as_f64().unwrap() < 1.0, "{models}");
}

#[test]
fn pictures_out_of_videos_have_exif_with_time_and_camera() {
    let root = tempfile::tempdir().unwrap();
    let mut part = TakeBuilder::new("o1", "pi7", 3);
    part.take.caps = "video/x-h264, width=(int)64, height=(int)48, framerate=(fraction)30/1".into();
    let folder = part.video(0, 3, &[], video(&[40, 80, 120])).write(root.path());
    assert!(folder.join(TAKE_JSON).is_file());
    let out = root.path().join("out");
    let ran = export("colmap", &[&root.path().join("o1")], &out, &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let picture = out.join(format!("images/rig1/pi7/{}.jpg", FIRST + 1));
    let told = match Command::new("exiftool")
        .args([
            "-validate",
            "-warning",
            "-a",
            "-s3",
            "-SubSecDateTimeOriginal",
            "-ISO",
            "-SerialNumber",
            "-OwnerName",
        ])
        .args(["-Model", "-ExifImageWidth", "-ExifImageHeight"])
        .arg(&picture)
        .output()
    {
        Ok(output) => String::from_utf8(output.stdout).unwrap(),
        Err(error) => panic!("exiftool, of Debian's libimage-exiftool-perl (tools/packages.txt): {error}"),
    };
    let told: Vec<_> = told.lines().collect();
    let expected = ["OK", "2027:01:15 08:00:00.033338+00:00", "150", "pi7", "pi7", "imx708", "64", "48"];
    assert_eq!(told, expected);
}
