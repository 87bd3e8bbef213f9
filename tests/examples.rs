//! The examples, run as a user runs them.

use std::path::Path;
use std::process::Command;

use crate::process::{Ended, Process, built, command, despite_drops, source};
use crate::rig::{Lab, tells_of_drops};
use crate::shots::{assert_only_whole_files, files_below};

fn rust() -> Command {
    command(built("swsync-example"))
}

fn python() -> Command {
    let mut python = command("python3");
    python.arg(source("examples/python/shoot.py"));
    python
}

/// Runs an example as the only device of a rig.
fn run(lab: &Lab, mut example: Command, location: &Path, camera: &[&str]) -> Ended {
    example
        .args(["--rig", lab.rig_name(), "--device-id", "device", "--listen", lab.endpoint()])
        .args(["--bind-address", "127.0.0.1", "--port", "0", "--location"])
        .arg(location)
        .args(camera);
    Process::start("example", &lab.path("."), &mut example).wait()
}

#[test]
fn the_rust_example_shoots() {
    shoots(rust);
}

#[test]
fn the_python_example_shoots() {
    shoots(python);
}

fn shoots(example: fn() -> Command) {
    let lab = Lab::alone();
    let (ended, folder) = despite_drops(|| {
        let folder = tempfile::tempdir().unwrap();
        let ended = run(&lab, example(), folder.path(), &["--simulated"]);
        (!tells_of_drops(&ended.out)).then_some((ended, folder))
    });
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{ended:#?}");
    assert!(ended.out.contains("camera locked"), "{ended:#?}");
    assert!(ended.out.ends_with("complete, devices: 1\n"), "{ended:#?}");
    let files = files_below(folder.path());
    assert_only_whole_files(&files);
    let pictures = files.iter().filter(|file| file.extension().is_some_and(|e| e == "jpg"));
    let pictures: Vec<_> = pictures.map(|file| format!("device: {}", file.display())).collect();
    let [picture] = &pictures[..] else { panic!("one picture: {files:?}") };
    assert!(ended.out.lines().any(|line| line == picture), "{picture} in {ended:#?}");
}

#[test]
fn the_rust_example_says_what_is_wrong() {
    says_what_is_wrong(rust);
}

#[test]
fn the_python_example_says_what_is_wrong() {
    says_what_is_wrong(python);
}

fn says_what_is_wrong(example: fn() -> Command) {
    let lab = Lab::shared();
    let ended = run(&lab, example(), Path::new("/dev/null/x"), &["--simulated"]);
    ended.assert_failed(1, &["cannot write to /dev/null/x", "Choose another `location`"]);
    let ended = run(&lab, example(), &lab.path("shots"), &["--camera-name", "nope"]);
    ended.assert_failed(1, &["nope"]);
}
