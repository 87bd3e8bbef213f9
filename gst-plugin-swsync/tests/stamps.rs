//! Cameras that stamp by either of the host's clocks, in a process whose boot time is an hour ahead of its monotonic clock: in a
//! real time namespace. If the kernel or the user's rights do not allow one, the tests say so and pass.

#![cfg(all(feature = "libcamera", feature = "simulation"))]

mod common;

use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use common::{LEADER, Pipeline};
use gst::prelude::*;

/// Environment variable that tells a child process that it is in the namespace, and which camera to run.
const CAMERA: &str = "SWSYNC_TEST_CAMERA";

/// Frames to take.
const FRAMES: usize = 20;

/// What was seen of a stream.
struct Seen {
    /// Running time of each buffer when it came, minus its PTS.
    ages: Vec<i64>,
    stats: gst::Structure,
}

fn run(camera: &str) -> Result<Seen, String> {
    let pipeline = Pipeline::launch(&format!(
        "{LEADER} swsyncsrc name=s num-buffers={FRAMES} {camera} ! fakesink name=sink sync=false signal-handoffs=true"
    ));
    let ages = Arc::new(Mutex::new(Vec::new()));
    let taken = ages.clone();
    pipeline.element("sink").connect("handoff", false, move |values| {
        let (sink, buffer) =
            (values[0].get::<gst::Element>().unwrap(), values[1].get::<gst::Buffer>().unwrap());
        let now = sink.current_running_time().unwrap().nseconds();
        taken.lock().unwrap().push(now.cast_signed() - buffer.pts().unwrap().nseconds().cast_signed());
        None
    });
    pipeline.try_reach(gst::State::Playing)?;
    let ended = pipeline
        .bus()
        .timed_pop_filtered(common::PATIENCE, &[gst::MessageType::Error, gst::MessageType::Eos]);
    let ended = ended.ok_or("neither EOS nor an error")?;
    if let gst::MessageView::Error(error) = ended.view() {
        return Err(error.error().to_string());
    }
    let stats = pipeline.element("s").property("stats");
    let ages = std::mem::take(&mut *ages.lock().unwrap());
    Ok(Seen { ages, stats })
}

/// Runs in the namespace and prints the result in one line.
#[test]
#[ignore = "run by others, as a process of its own"]
fn be_in_the_namespace() {
    let Ok(camera) = std::env::var(CAMERA) else { return };
    match run(&camera) {
        Ok(Seen { ages, stats }) => {
            let text = |name| stats.get::<String>(name).unwrap();
            let worst = ages.iter().map(|age| age.abs()).max().unwrap_or(i64::MAX);
            println!("RESULT {} {} {} {worst}", ages.len(), text("sensor-clock"), text("sensor-clock-basis"));
        }
        Err(error) => println!("RESULT error {error}"),
    }
}

/// What `camera` came to an hour ahead; `None` where there is no such namespace.
fn an_hour_ahead(camera: &str) -> Option<String> {
    common::init();
    let in_namespace = |command: &mut Command| -> Output {
        command.output().unwrap_or_else(|error| panic!("unshare: {error}"))
    };
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--time", "--boottime", "3600", "--fork", "--"]);
        command
    };
    if !in_namespace(unshare().arg("true")).status.success() {
        eprintln!("skipped: no time namespace may be made here");
        return None;
    }
    let mut command = unshare();
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "be_in_the_namespace", "--ignored", "--nocapture"]).env(CAMERA, camera);
    let output = in_namespace(&mut command);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let result =
        said.lines().find_map(|line| line.split_once("RESULT ")).map(|(_, result)| result.to_owned());
    Some(result.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr))))
}

/// All frames come, with the PTS of the instant at which they were taken.
fn assert_told(result: &str, clock: &str, basis: &str) {
    let words: Vec<&str> = result.split(' ').collect();
    assert_eq!(words[..3], [&FRAMES.to_string(), clock, basis], "{result}");
    let worst: i64 = words[3].parse().unwrap();
    // With the wrong clock it would be an hour off. A busy machine may be slow.
    assert!(worst < 60_000_000_000, "{result}");
}

#[test]
fn either_clock_is_recognised_by_its_stamps() {
    for clock in ["monotonic", "boottime"] {
        let Some(result) = an_hour_ahead(&format!("backend=simulated simulated-stamps={clock}")) else {
            return;
        };
        assert_told(&result, clock, "age");
    }
}

/// A real driver: libcamera's virtual camera stamps by the monotonic clock.
#[test]
fn the_virtual_cameras_clock_is_recognised() {
    common::init();
    if gstswsync::camera::libcamera::list().unwrap().is_empty() {
        eprintln!("skipped: libcamera has no camera");
        return;
    }
    let Some(result) = an_hour_ahead("camera-name=0") else { return };
    assert_told(&result, "monotonic", "age");
}

#[test]
fn another_clock_is_an_error() {
    let error = run("backend=simulated simulated-stamps=realtime").err().expect("an error");
    assert!(error.contains("neither CLOCK_BOOTTIME nor CLOCK_MONOTONIC"), "{error}");
}

#[test]
fn clocks_that_read_the_same_are_reported_so() {
    for stamps in ["boottime", "monotonic"] {
        let Seen { ages, stats } = run(&format!("backend=simulated simulated-stamps={stamps}")).unwrap();
        assert_eq!(ages.len(), FRAMES);
        let basis = stats.get::<String>("sensor-clock-basis").unwrap();
        // `age` on a machine that was suspended.
        assert!(["same", "age"].contains(&basis.as_str()), "{stats}");
    }
}
