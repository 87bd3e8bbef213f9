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
