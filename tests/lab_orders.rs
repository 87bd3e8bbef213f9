//! `swsync lab orders`, briefly: random orders, of pictures and of video, devices and leaders that are killed, and lost
//! frames.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Ended, Process, built, command};
use crate::rig::Lab;

/// It takes a quarter of a minute where the machine is idle.
const PATIENCE: Duration = Duration::from_secs(300);
/// Of one of those that SWSYNC_TEST_ORDERS asks for.
const LONG: Duration = Duration::from_secs(3600);

#[test]
fn random_orders_are_accounted_for_frame_by_frame() {
    holds(&["--orders", "20", "--kill-every", "8", "--kill-leader"]);
}

#[test]
fn random_orders_of_video_too() {
    holds(&["--orders", "16", "--kill-every", "6", "--video"]);
}

#[test]
fn random_orders_of_video_with_b_frames_too() {
    holds(&["--orders", "16", "--kill-every", "6", "--video", "--b-frames"]);
}

/// Runs them, with pictures that prove their time; more of them, and others, where SWSYNC_TEST_ORDERS and SWSYNC_TEST_SEED
/// say so.
fn holds(args: &[&str]) {
    let lab = Lab::alone();
    let more = std::env::var("SWSYNC_TEST_ORDERS").ok();
    let args: Vec<_> = match &more {
        Some(more) => ["--orders", more].iter().chain(&args[2..]).copied().collect(),
        None => args.to_vec(),
    };
    let (ended, report) = orders(&lab, &[&["--devices", "3"], &args[..]].concat());
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(report["violations"], Value::Array(Vec::new()), "{report:#}");
    assert_eq!(report["devices"], 3, "{report:#}");
    for counted in ["saved", "files", "kills"] {
        assert!(report[counted].as_u64() > Some(0), "{counted}: {report:#}");
    }
    for format in ["csv", "timecode", "colmap", "freemocap"] {
        let written = fs::read_dir(lab.path("lab/exports").join(format)).map(Iterator::count);
        assert!(matches!(written, Ok(1..)), "{format}: {written:?}");
    }
    for counted in ["on_grid", "spread"] {
        assert!(report["truth"][counted]["count"].as_u64() > Some(5), "{counted}: {report:#}");
    }
}

#[test]
fn files_that_no_answer_names_are_found() {
    let lab = Lab::alone();
    let stray = lab.path("lab/takes/o0000/device1");
    fs::create_dir_all(&stray).unwrap();
    fs::write(stray.join("stray.jpg"), "not a picture").unwrap();
    let (ended, report) = orders(&lab, &["--devices", "2", "--orders", "1", "--source", "test"]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let violations = report["violations"].to_string();
    assert!(violations.contains("o0000, device1"), "{report:#}");
}

fn orders(lab: &Lab, args: &[&str]) -> (Ended, Value) {
    let mut command = command(built("swsync"));
    let seed = std::env::var("SWSYNC_TEST_SEED").unwrap_or_else(|_| "7".into());
    command.args(["lab", "orders", "--seed", &seed, "--json", "--out"]).arg(lab.path("lab")).args(args);
    let ended = Process::start("swsync-lab", &lab.path(""), &mut command)
        .wait_for_up_to(if std::env::var_os("SWSYNC_TEST_ORDERS").is_some() { LONG } else { PATIENCE });
    let report = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:#?}"));
    (ended, report)
}

#[test]
fn the_way_from_an_order_to_its_files_is_timed() {
    let lab = Lab::alone();
    let mut command = command(built("swsync"));
    command
        .args(["lab", "shutter", "--devices", "2", "--shots", "3", "--json", "--out"])
        .arg(lab.path("lab"));
    let ended = Process::start("swsync-lab", &lab.path(""), &mut command).wait_for_up_to(PATIENCE);
    let report: Value = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:#?}"));
    let times = report["times"].as_array().unwrap();
    assert_eq!(times.len(), 5, "{report:#}");
    // A busy machine drops frames; network and disk answer all the same.
    let missed = report["missed"].as_array().unwrap().len();
    let counted: u64 = times[..3].iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert!(counted + missed as u64 >= 9 && counted <= 9, "{report:#}");
    for row in &times[3..] {
        let [least, most] = ["least_ms", "largest_ms"].map(|name| row[name].as_f64().unwrap());
        assert!(row["count"] == 3 && 0.0 < least && least <= most, "{report:#}");
    }
    let kept = fs::read_dir(lab.path("lab/takes")).unwrap().count();
    assert!(kept as u64 >= counted, "the files stay where --out is given: {kept}");
}
