//! The examples of docs/dashboard.md, as they are there.

use std::path::Path;
use std::process::Command;

use crate::rig::{Program, Rig};
use crate::wait_for;

/// The example that begins with the comment `# dashboard: NAME`.
fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/dashboard.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("# dashboard: {name}\n")).expect("the page has it");
    rest.split_once("```").expect("its end").0.to_owned()
}

fn run(rig: &Rig, program: &Program, interpreter: &[&str], name: &str) -> String {
    let (first, options) = interpreter.split_first().unwrap();
    let mut command = Command::new(first);
    command.args(options).arg(example(name)).current_dir(rig.path(""));
    command.env("SWSYNC_DASHBOARD", program.url.trim_end_matches('/'));
    let ran = command.output().unwrap_or_else(|error| panic!("{first}: {error}"));
    let out = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{out}{}", String::from_utf8_lossy(&ran.stderr));
    out
}

#[test]
fn the_examples_of_the_page_work() {
    let rig = Rig::new(2);
    let program = rig.dashboard(&[]);
    wait_for(&program, 2);
    let out = run(&rig, &program, &["sh", "-euc"], "curl");
    assert!(out.starts_with("2\n") && out.contains("all saved: 2 of 2 devices complete"), "{out}");
    let zipped = std::fs::read(rig.path("take.zip")).unwrap();
    let zip = zip::ZipArchive::new(std::io::Cursor::new(zipped)).unwrap();
    assert_eq!(zip.file_names().filter(|name| name.ends_with(".jpg")).count(), 2);
    let out = run(&rig, &program, &["python3", "-c"], "python");
    // Devices answer in any order.
    let parts = ["cam0 answered 1\n", "cam1 answered 1\n", "\nall saved"];
    assert!(parts.iter().all(|part| out.contains(part)), "{out}");
}
