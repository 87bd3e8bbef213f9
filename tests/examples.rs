//! Runs the Rust and Python examples as a user does.

use std::path::Path;
use std::process::Command;

use crate::process::{Ended, Process, built, command, retry_on_drops, source};
use crate::rig::{TestBed, mentions_drops};
use crate::shots::{assert_only_complete_files, files_below};

fn rust() -> Command {
    command(built("swsync-example"))
}

fn python() -> Command {
    let mut python = command("python3");
    python.arg(source("examples/python/shoot.py"));
    python
}

/// Runs `example` as the only device of a rig.
fn run(bed: &TestBed, mut example: Command, location: &Path, camera: &[&str]) -> Ended {
    example
        .args(["--rig", bed.rig_name(), "--device-id", "device", "--listen", bed.endpoint()])
        .args(["--bind-address", "127.0.0.1", "--port", "0", "--location"])
        .arg(location)
        .args(camera);
    Process::start("example", &bed.path("."), &mut example).wait()
}

#[test]
fn the_rust_example_takes_a_picture() {
    assert_takes_a_picture(rust);
}

#[test]
fn the_python_example_takes_a_picture() {
    assert_takes_a_picture(python);
}

fn assert_takes_a_picture(example: fn() -> Command) {
    let bed = TestBed::exclusive();
    let (ended, folder) = retry_on_drops(|| {
        let folder = tempfile::tempdir().unwrap();
        let ended = run(&bed, example(), folder.path(), &["--simulated"]);
        (!mentions_drops(&ended.out)).then_some((ended, folder))
    });
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:#?}");
    assert!(ended.out.contains("camera locked"), "{ended:#?}");
    assert!(ended.out.ends_with("complete, devices: 1\n"), "{ended:#?}");
    let files = files_below(folder.path());
    assert_only_complete_files(&files);
    let pictures = files.iter().filter(|file| file.extension().is_some_and(|e| e == "jpg"));
    let pictures: Vec<_> = pictures.map(|file| format!("device: {}", file.display())).collect();
    let [picture] = &pictures[..] else { panic!("one picture: {files:?}") };
    assert!(ended.out.lines().any(|line| line == picture), "{picture} in {ended:#?}");
}

/// Of the Pico's panel: the slots are as long as they are said to be, by the instructions' cycles.
#[test]
fn the_panel_of_the_pico_keeps_its_slots() {
    let mut python = command("python3");
    python.arg(source("tests/pico_panel.py")).arg(source("examples/pico"));
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"the panel keeps its slots\n");
}

#[test]
fn the_rust_example_reports_errors() {
    assert_reports_errors(rust);
}

#[test]
fn the_python_example_reports_errors() {
    assert_reports_errors(python);
}

fn assert_reports_errors(example: fn() -> Command) {
    let bed = TestBed::shared();
    let ended = run(&bed, example(), Path::new("/dev/null/x"), &["--simulated"]);
    ended.assert_failed(1, &["cannot write to /dev/null/x", "Choose another `location`"]);
    let ended = run(&bed, example(), &bed.path("shots"), &["--camera-name", "nope"]);
    ended.assert_failed(1, &["nope"]);
}

/// The environment of an example that is the only device of its rig.
fn alone(bed: &TestBed, mut example: Command) -> Command {
    example.env("SWSYNC_RIG", bed.rig_name()).env("SWSYNC_CONFIG", "/dev/null").current_dir(bed.path("."));
    example
}

#[test]
fn the_c_example_compiles_without_a_warning_and_takes_a_picture() {
    let bed = TestBed::exclusive();
    let program = bed.path("shoot");
    let line = format!(
        "cc -std=c99 -Wall -Wextra -Werror {} -o {} $(pkg-config --cflags --libs gstreamer-1.0)",
        source("examples/c/shoot.c").display(),
        program.display()
    );
    let compiled = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let ended = retry_on_drops(|| {
        let mut example = alone(&bed, command(&program));
        let ended = Process::start("shoot", &bed.path("."), example.arg("simulated")).wait();
        (ended.code == Some(0)).then_some(ended)
    });
    assert!(
        ended.out.contains("camera locked") && ended.out.ends_with("complete, devices: 1\n"),
        "{ended:#?}"
    );
}

#[test]
fn python_gets_frames_with_their_instants() {
    let bed = TestBed::exclusive();
    let Some(python) = std::env::var_os("SWSYNC_PYTHON").map(std::path::PathBuf::from) else {
        return assert!(!crate::is_set("CI", "frames in Python: no SWSYNC_PYTHON"));
    };
    // numpy and OpenCV are in the tools' own environment, GStreamer's bindings in the system's.
    let library = python.parent().unwrap().parent().unwrap().join("lib");
    let version = std::fs::read_dir(library).unwrap().next().unwrap().unwrap().path();
    let mut example = alone(&bed, command("python3"));
    example.env("PYTHONPATH", version.join("site-packages"));
    example.arg(source("examples/python/capture_times.py")).args(["--simulated", "--frames", "10"]);
    let ended = Process::start("python", &bed.path("."), example.args(["--opencv", "last.png"])).wait();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let frames: Vec<(i64, i64)> = ended
        .out
        .lines()
        .map(|line| {
            let mut words = line.split(' ').map(|word| word.parse::<i64>());
            (words.next().unwrap().unwrap(), words.next().unwrap().unwrap())
        })
        .collect();
    assert_eq!(frames.len(), 10, "{ended:#?}");
    for (number, time) in frames {
        let off = time - i64::try_from(i128::from(number) * 1_000_000_000 / 30).unwrap();
        assert!(off.abs() < 1_000_000, "frame {number} is {off} ns off the grid: {ended:#?}");
    }
    assert!(bed.path("last.png").is_file(), "OpenCV wrote no picture");
}
