//! `swsync export bullettime` and `n3dv`: cameras in the order of the rig, read by FFmpeg and OpenCV.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use swsync_cli::testing::schemas::OfSchema as _;
use swsync_cli::testing::{FIRST, Ran, TakeBuilder};

use crate::swsync_media;
use crate::videos::{grey, python, sized_video, video};

const H264: &str = "video/x-h264, width=(int)64, height=(int)48, framerate=(fraction)30/1";

/// Shade of frame `index` of a camera.
fn tone(camera: u8, index: u64) -> u8 {
    40 + 50 * camera + 8 * u8::try_from(index).unwrap()
}

/// A take of five frames on four devices. The video of `pi2` has a lead-in, and `pi10` lacks frames 0 and 4; `pi3` has frame 0 only.
fn ring() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let shades = |camera| (0..5).map(|index| tone(camera, index)).collect::<Vec<_>>();
    TakeBuilder::new("o1", "pi1", 5).pictures(&[], |index| grey(tone(0, index))).write(root.path());
    let mut pi2 = TakeBuilder::new("o1", "pi2", 5);
    pi2.take.caps = H264.into();
    pi2.video_after(2, 0, 5, &[], video(&[&[16, 16][..], &shades(1)].concat())).write(root.path());
    TakeBuilder::new("o1", "pi3", 5).pictures(&[1, 2, 3, 4], |index| grey(tone(3, index))).write(root.path());
    TakeBuilder::new("o1", "pi10", 5).pictures(&[0, 4], |index| grey(tone(2, index))).write(root.path());
    root
}

fn run(format: &str, root: &Path, out: &Path, args: &[&str]) -> Ran {
    let take = root.join("o1");
    let paths = ["export", format, take.to_str().unwrap(), "-o", out.to_str().unwrap()];
    Ran::of(&mut swsync_media(&[&paths, args].concat()))
}

/// What FFmpeg shows of a file.
fn played(file: &Path) -> Option<Value> {
    Some(serde_json::from_str(&python("sequence.py", &[file])?).unwrap())
}

fn assert_near(greys: &Value, expected: &[u8], file: &Path) {
    let greys: Vec<_> = greys.as_array().unwrap().iter().map(|grey| grey.as_u64().unwrap()).collect();
    let is_near = |(grey, expected): (&u64, &u8)| grey.abs_diff(u64::from(*expected)) <= 3;
    assert_eq!(greys.len(), expected.len(), "{}: {greys:?}, not {expected:?}", file.display());
    assert!(greys.iter().zip(expected).all(is_near), "{}: {greys:?}, not {expected:?}", file.display());
}

fn names(folder: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

#[test]
fn bullet_time_goes_from_camera_to_camera() {
    let (root, folder) = (ring(), tempfile::tempdir().unwrap());
    let middle = (FIRST + 2).to_string();
    // Frame 2 is the middle one that three devices have; the fourth lacks it.
    let devices = ["--order", "pi1,pi2,pi10"];
    let gif = folder.path().join("a.gif");
    let ran =
        run("bullettime", root.path(), &gif, &[&devices[..], &["--fps", "20", "--dwell", "2"]].concat());
    assert_eq!(ran.code, 0, "{ran:#?}");
    for said in [
        "order of cameras, as given: pi1 pi2 pi10",
        &format!(
            "a.gif: 3 cameras at frame {middle}, 2027-01-15T08:00:00.066666667Z; 64x48, 6 pictures at 20 a second (0.3 s), "
        ),
        "note: brightness differs between cameras: a median of",
    ] {
        assert!(ran.stdout.contains(said), "{said}: {ran:#?}");
    }
    if let Some(shown) = played(&gif) {
        assert_near(&shown["greys"], &[tone(0, 2), tone(1, 2), tone(2, 2)], &gif);
        assert_eq!(
            (&shown["times"], &shown["size"]),
            (&vec![0, 100, 200].into(), &vec![64, 48].into()),
            "{shown}"
        );
    }

    // By their ids, with numbers as people count: pi3 lacks the frame, which is no success.
    let video = folder.path().join("a.mp4");
    let some = ["--bounce", "--dwell", "1", "--frame", &middle];
    let ran = run("bullettime", root.path(), &video, &some);
    assert_eq!(ran.code, 1, "{ran:#?}");
    assert!(ran.stdout.contains("by their ids, since no device had a place in this take"), "{ran:#?}");
    assert!(ran.stdout.contains(": pi1 pi2 pi3 pi10\n"), "{ran:#?}");
    assert!(
        ran.stderr.contains(&format!("pi3 is left out: it lacks frame {middle}: the camera dropped")),
        "{ran:#?}"
    );
    if let Some(shown) = played(&video) {
        let there_and_back = [0, 1, 2, 1, 0].map(|camera| tone(camera, 2));
        assert_near(&shown["greys"], &there_and_back, &video);
        assert_eq!(
            (&shown["codec"], &shown["times"]),
            (&"h264".into(), &vec![0, 33, 67, 100, 133].into()),
            "{shown}"
        );
    }

    // Time runs: the first camera up to the frame, all cameras, the last one from there on, which lacks frame 4.
    let args = [&devices[..], &["--run", "freeze", "--lead", "40ms", "--dwell", "1", "--json"]].concat();
    let freeze = folder.path().join("freeze.mp4");
    let ran = run("bullettime", root.path(), &freeze, &args);
    assert_eq!(ran.code, 0, "{ran:#?}");
    let report = ran.json_of("bullettime");
    assert_eq!(
        (&report["held"], &report["pictures"], &report["ordered_by"]),
        (&1.into(), &6.into(), &"given".into())
    );
    if let Some(shown) = played(&freeze) {
        let expected = [tone(0, 1), tone(0, 2), tone(1, 2), tone(2, 2), tone(2, 3), tone(2, 3)];
        assert_near(&shown["greys"], &expected, &freeze);
    }

    // Each camera a frame later.
    let flow = folder.path().join("flow.gif");
    let ran = run(
        "bullettime",
        root.path(),
        &flow,
        &[&devices[..], &["--run", "flow", "--size", "32x32"]].concat(),
    );
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains("64x48 of pi1, pi2, pi10 scaled and cropped to 32x32"), "{ran:#?}");
    if let Some(shown) = played(&flow) {
        assert_near(&shown["greys"], &[tone(0, 1), tone(1, 2), tone(2, 3)], &flow);
        assert_eq!(shown["size"], Value::from(vec![32, 32]));
    }
    assert_eq!(names(folder.path()), ["a.gif", "a.mp4", "flow.gif", "freeze.mp4"], "and nothing else");
}

#[test]
fn a_bullet_time_that_cannot_be_made_leaves_the_file_before() {
    let (root, folder) = (ring(), tempfile::tempdir().unwrap());
    let gif = folder.path().join("a.gif");
    fs::write(&gif, b"before").unwrap();
    let code_and_word = |args: &[&str]| {
        let ran = run("bullettime", root.path(), &gif, args);
        assert_eq!(fs::read(&gif).unwrap(), b"before");
        (ran.code, ran.stderr)
    };
    let (code, said) = code_and_word(&[]);
    assert!(
        code == 1 && said.contains("a.gif is there already: name another file, or replace it with --force"),
        "{said}"
    );
    let (code, said) = code_and_word(&["--force", "--frame", "7"]);
    assert!(code == 1 && said.contains("no device has frame 7"), "{said}");
    let (code, said) = code_and_word(&["--force", "--order", "pi3,pi10"]);
    assert!(code == 1 && said.contains("nothing to move through with one camera"), "{said}");
    let (code, said) = code_and_word(&["--force", "--fps", "100"]);
    assert!(code == 1 && said.contains("a GIF has at most 50 pictures per second"), "{said}");
    fs::write(root.path().join("o1/pi2/0000.mp4"), b"no video").unwrap();
    let (code, said) = code_and_word(&["--force", "--order", "pi1,pi2"]);
    assert!(code == 1 && said.contains("0000.mp4"), "{said}");
    assert_eq!(names(folder.path()), ["a.gif"], "nothing half made");
    // Left out by intention, and a dry run.
    let frame = (FIRST + 1).to_string();
    let args = ["--force", "--order", "pi1,pi3,pi10", "--frame", &frame, "--allow-missing", "--dry-run"];
    let (code, said) = code_and_word(&args);
    assert!(code == 0 && said.contains("pi3 is left out"), "{said}");
}

#[test]
fn a_scene_is_read_as_neural_3d_video() {
    let (root, folder) = (ring(), tempfile::tempdir().unwrap());
    let scene = folder.path().join("scene");
    let poses = folder.path().join("poses.npy");
    let given = ["--order", "pi1,pi2,pi10", "--test", "pi2"];
    let made =
        python("n3dv.py", &[Path::new("poses"), &poses, Path::new("3"), Path::new("64"), Path::new("48")]);
    let with_poses = ["--poses", poses.to_str().unwrap()];
    let args = if made.is_some() { [&given[..], &with_poses].concat() } else { given.to_vec() };
    let ran = run("n3dv", root.path(), &scene, &args);
    assert_eq!(ran.code, 0, "{ran:#?}");
    for said in [
        "cam00.mp4: pi2, coded anew (H.264): what it begins with builds on frames of before",
        "note: pi10 lacks 2 of the 5 frames: filled in (hold)",
        "note: each video has 5 pictures; readers are written for 300",
        "note: cam00 is pi2: readers keep it for testing",
        "3 videos of 5 pictures each",
    ] {
        assert!(ran.stdout.contains(said), "{said}: {ran:#?}");
    }
    let cameras: Value = serde_json::from_slice(&fs::read(scene.join("cameras.json")).unwrap()).unwrap();
    let named: Vec<_> = (0..3)
        .map(|at| (cameras["cameras"][at]["file"].clone(), cameras["cameras"][at]["device"].clone()))
        .collect();
    let expected = [("cam00.mp4", "pi2"), ("cam01.mp4", "pi1"), ("cam02.mp4", "pi10")];
    assert_eq!(named, expected.map(|(file, device)| (file.into(), device.into())));
    assert_eq!(cameras["numbers"], (FIRST..FIRST + 5).collect::<Value>());
    assert_eq!(cameras["cameras"][2]["filled"], Value::from(vec![FIRST, FIRST + 4]));
    assert!(
        fs::read_to_string(scene.join("frames.csv"))
            .unwrap()
            .starts_with("number,instant_ns,utc,pi2,pi1,pi10\r\n")
    );
    if made.is_none() {
        return;
    }
    let read = python("n3dv.py", &[Path::new("read"), &scene]).unwrap();
    let shown: Vec<Value> = read.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let all = |camera| (0..5).map(|index| tone(camera, index)).collect::<Vec<_>>();
    let held = vec![0, tone(2, 1), tone(2, 2), tone(2, 3), tone(2, 3)];
    for (video, expected) in shown.iter().zip([all(1), all(0), held]) {
        assert_near(&video["greys"], &expected, &scene.join(video["file"].as_str().unwrap()));
        assert!((video["rate"].as_f64().unwrap() - 30.0).abs() < 0.01);
    }

    // Without a fill only what all have; --first cuts; too few rows of poses are refused.
    let cut = folder.path().join("cut");
    let ran =
        run("n3dv", root.path(), &cut, &[&args[..], &["--fill", "none", "--first", "2", "--json"]].concat());
    assert_eq!(ran.code, 0, "{ran:#?}");
    let report = ran.json_of("n3dv");
    assert_eq!(
        (&report["numbers"], &report["poses"]),
        (&Value::from(vec![FIRST + 1, FIRST + 2]), &true.into())
    );
    let none = folder.path().join("none");
    let ran = run("n3dv", root.path(), &none, &with_poses);
    assert!(ran.code == 1 && ran.stderr.contains("its shape is (3, 17), and should be (4, 17)"), "{ran:#?}");
    assert!(!none.exists());
}

#[test]
fn cameras_of_other_sizes_are_named() {
    let (root, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    TakeBuilder::new("o1", "a", 2).pictures(&[], |_| grey(100)).write(root.path());
    TakeBuilder::new("o1", "b", 2).pictures(&[], |_| grey(100)).write(root.path());
    let mut wide = TakeBuilder::new("o1", "c", 2);
    wide.take.caps = H264.replace("width=(int)64", "width=(int)128");
    wide.video(0, 2, &[], sized_video(&[100, 100], ",width=128,height=48")).write(root.path());
    let ran = run("bullettime", root.path(), &folder.path().join("a.mp4"), &[]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(ran.stdout.contains("note: 128x48 of c scaled and cropped to 64x48"), "{ran:#?}");
    let scene: PathBuf = folder.path().join("scene");
    let ran = run("n3dv", root.path(), &scene, &[]);
    assert!(ran.code == 1 && ran.stderr.contains("a has pictures of 64x48 and c of 128x48"), "{ran:#?}");
    assert!(!scene.exists());
}
