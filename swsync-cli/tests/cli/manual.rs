//! `swsync completions` in real shells, and `swsync man` through the program that shows pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::rig::{Ran, swsync};

/// Whether this program is installed here. If not, the test says that it has checked less.
fn has(program: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: no {program} here");
    }
    found
}

/// What bash completes after these words of a command line, of which the last is being typed.
fn completed(script: &Path, words: &[&str]) -> BTreeSet<String> {
    let line = format!(
        "source {}; COMP_WORDS=({}); COMP_CWORD={}; _swsync swsync '{}' '{}'; printf '%s\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    let ran = Ran::of(Command::new("bash").args(["--norc", "-c", &line]));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}: {ran:#?}");
    ran.stdout.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("swsync.bash");
    let ran = Ran::of(&mut swsync(&["completions", "bash"]));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    fs::write(&script, ran.stdout).unwrap();
    let commands = completed(&script, &["swsync", ""]);
    for command in ["shoot", "collect", "export", "lab", "completions", "--help"] {
        assert!(commands.contains(command), "{command} in {commands:?}");
    }
    assert!(!commands.contains("man"), "it is for packages: {commands:?}");
    assert_eq!(completed(&script, &["swsync", "sh"]), ["shoot".to_owned()].into());
    let options = completed(&script, &["swsync", "collect", "--"]);
    assert!(options.contains("--json") && options.contains("--delete-verified"), "{options:?}");
    assert_eq!(completed(&script, &["swsync", "config", "sh"]), ["show".to_owned()].into());
    assert_eq!(completed(&script, &["swsync", "completions", "z"]), ["zsh".to_owned()].into());
    // Files are bash's own to complete.
    assert_eq!(completed(&script, &["swsync", "certify", "ta"]), BTreeSet::new());
    assert!(fs::read_to_string(&script).unwrap().contains("-o default swsync"));
}

#[test]
fn other_shells_take_their_scripts() {
    for (shell, check) in [("zsh", &["-n"][..]), ("fish", &["--no-execute"])] {
        let ran = Ran::of(&mut swsync(&["completions", shell]));
        assert!(
            ran.code == 0 && ran.stdout.contains("collect") && ran.stdout.contains("delete-verified"),
            "{shell}"
        );
        if has(shell) {
            let script = tempfile::NamedTempFile::new().unwrap();
            fs::write(script.path(), ran.stdout).unwrap();
            let checked = Ran::of(Command::new(shell).args(check).arg(script.path()));
            assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "{shell}: {checked:#?}");
        }
    }
}

#[test]
fn every_command_has_a_page_that_groff_shows_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let ran = Ran::of(&mut swsync(&["man", "--out", pages.to_str().unwrap()]));
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""));
    let names: BTreeSet<_> = fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in ["swsync.1", "swsync-shoot.1", "swsync-key-new.1", "swsync-export.1", "swsync-lab.1"] {
        assert!(names.contains(name), "{name} in {names:?}");
    }
    assert!(!names.contains("swsync-man.1"), "{names:?}");
    if !has("groff") {
        return;
    }
    for name in &names {
        let shown =
            Ran::of(Command::new("groff").args(["-man", "-Tutf8", "-ww", "-P-cbou"]).arg(pages.join(name)));
        assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{name}: {shown:#?}");
        if name == "swsync-shoot.1" {
            for part in ["SYNOPSIS", "swsync shoot [OPTIONS]", "--count", "EXIT CODES", "  0  every device"] {
                assert!(shown.stdout.contains(part), "{part} in {}", shown.stdout);
            }
        }
    }
}
