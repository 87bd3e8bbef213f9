//! `swsync lab orders`, `chaos` and `shutter`, in short runs: random orders of pictures and of video, while devices and
//! leaders are killed, networks are cut and frames are lost.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::process::{Ended, Process, built, command};
use crate::rig::TestBed;

/// A run takes a quarter of a minute on an idle machine. This is what a busy one may take.
const RUN_TIMEOUT: Duration = Duration::from_secs(300);
/// The same for the longer runs that SWSYNC_TEST_ORDERS asks for.
const LONG_RUN_TIMEOUT: Duration = Duration::from_secs(3600);

#[test]
fn every_frame_of_random_orders_of_pictures_is_accounted_for() {
    assert_all_accounted_for(&["--orders", "20", "--kill-every", "8", "--kill-leader"]);
}

#[test]
fn every_frame_of_random_orders_of_video_is_accounted_for() {
    assert_all_accounted_for(&["--orders", "16", "--kill-every", "6", "--video"]);
}

#[test]
fn every_frame_of_random_orders_of_video_with_b_frames_is_accounted_for() {
    assert_all_accounted_for(&["--orders", "16", "--kill-every", "6", "--video", "--b-frames"]);
}

/// Runs random orders and asserts that the report has no violation, and that pictures prove their time. SWSYNC_TEST_ORDERS
/// sets how many orders, SWSYNC_TEST_SEED which ones.
fn assert_all_accounted_for(args: &[&str]) {
    let bed = TestBed::exclusive();
    let more = std::env::var("SWSYNC_TEST_ORDERS").ok();
    let args: Vec<_> = match &more {
        Some(more) => ["--orders", more].iter().chain(&args[2..]).copied().collect(),
        None => args.to_vec(),
    };
    let (ended, report) = orders(&bed, &[&["--devices", "3"], &args[..]].concat());
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(report["violations"], Value::Array(Vec::new()), "{report:#}");
    assert_eq!(report["devices"], 3, "{report:#}");
    for counted in ["saved", "files", "kills"] {
        assert!(report[counted].as_u64() > Some(0), "{counted}: {report:#}");
    }
    for format in ["csv", "timecode", "colmap", "freemocap"] {
        let written = fs::read_dir(bed.path("lab/exports").join(format)).map(Iterator::count);
        assert!(matches!(written, Ok(1..)), "{format}: {written:?}");
    }
    for counted in ["on_grid", "spread"] {
        assert!(report["truth"][counted]["count"].as_u64() > Some(5), "{counted}: {report:#}");
    }
}

#[test]
fn a_file_that_no_answer_names_is_a_violation() {
    let bed = TestBed::exclusive();
    let stray = bed.path("lab/takes/o0000/device1");
    fs::create_dir_all(&stray).unwrap();
    fs::write(stray.join("stray.jpg"), "not a picture").unwrap();
    let (ended, report) = orders(&bed, &["--devices", "2", "--orders", "1", "--source", "test"]);
    assert_eq!(ended.code, Some(1), "{ended:#?}");
    let violations = report["violations"].to_string();
    assert!(violations.contains("o0000, device1"), "{report:#}");
}

fn orders(bed: &TestBed, args: &[&str]) -> (Ended, Value) {
    let mut command = command(built("swsync"));
    let seed = std::env::var("SWSYNC_TEST_SEED").unwrap_or_else(|_| "7".into());
    command.args(["lab", "orders", "--seed", &seed, "--json", "--out"]).arg(bed.path("lab")).args(args);
    let ended = Process::start("swsync-lab", &bed.path(""), &mut command).wait_for_up_to(
        if std::env::var_os("SWSYNC_TEST_ORDERS").is_some() { LONG_RUN_TIMEOUT } else { RUN_TIMEOUT },
    );
    let report = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:#?}"));
    (ended, report)
}

#[test]
fn the_time_from_an_order_to_its_files_is_measured() {
    let bed = TestBed::exclusive();
    let mut command = command(built("swsync"));
    command
        .args(["lab", "shutter", "--devices", "2", "--shots", "3", "--json", "--out"])
        .arg(bed.path("lab"));
    let ended = Process::start("swsync-lab", &bed.path(""), &mut command).wait_for_up_to(RUN_TIMEOUT);
    let report: Value = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e}: {ended:#?}"));
    let times = report["times"].as_array().unwrap();
    assert_eq!(times.len(), 5, "{report:#}");
    // A busy machine drops frames. The times of network and disk are there nevertheless.
    let missed = report["missed"].as_array().unwrap().len();
    let counted: u64 = times[..3].iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert!(counted + missed as u64 >= 9 && counted <= 9, "{report:#}");
    for row in &times[3..] {
        let [least, most] = ["least_ms", "largest_ms"].map(|name| row[name].as_f64().unwrap());
        assert!(row["count"] == 3 && 0.0 < least && least <= most, "{report:#}");
    }
    let kept = fs::read_dir(bed.path("lab/takes")).unwrap().count();
    assert!(kept as u64 >= counted, "with --out the files stay: {kept}");
}

/// `swsync lab chaos` in a short run: devices that elect their leader are killed, stopped and cut off.
#[test]
fn a_rig_that_is_disturbed_answers_every_order_and_steps_no_time() {
    if !crate::is_set("SWSYNC_NETNS", "swsync lab chaos, which makes network namespaces") {
        return;
    }
    assert_chaos_is_survived("kill,stop,leader-killed,leader-stopped,partition");
}

/// The same on bad links and a slow disk, and with the device killed through which the others reach each other.
#[test]
fn a_rig_on_bad_links_answers_every_order_and_tears_no_file() {
    if !crate::is_set("SWSYNC_NETNS", "swsync lab chaos, which makes network namespaces") {
        return;
    }
    assert_chaos_is_survived("lossy,stalls,hub-killed,hub-lost,slow-disk");
}

fn assert_chaos_is_survived(faults: &str) {
    let bed = TestBed::exclusive();
    let mut command = command(built("swsync"));
    command
        .args(["lab", "chaos", "--devices", "4", "--duration", "60s", "--seed", "3", "--json", "--out"])
        .arg(bed.path("lab"))
        .args(["--faults", faults]);
    let ended = Process::start("swsync-lab", &bed.path(""), &mut command).wait_for_up_to(RUN_TIMEOUT);
    let lines = ended.out.lines().map(|line| serde_json::from_str(line).unwrap());
    let (faults, checks): (Vec<Value>, Vec<Value>) =
        lines.partition(|line: &Value| line["fault"].is_string());
    assert_eq!(ended.code, Some(0), "{checks:#?}\n{}", ended.err);
    assert!(faults.len() >= 3, "{faults:#?}");
    assert!(checks.len() >= 7 && checks.iter().all(|check| check["ok"] == true), "{checks:#?}");
    let figure = |name: &str| checks.iter().find_map(|check| check["figures"][name].as_u64());
    for (name, least) in
        [("orders", 25), ("saved", 50), ("pairs", 500), ("asked", 100), ("pictures", 50), ("files", 50)]
    {
        assert!(figure(name) >= Some(least), "{name}: {checks:#?}");
    }
}
