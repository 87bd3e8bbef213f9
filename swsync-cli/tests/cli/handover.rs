//! Subcommands that are programs of their own. Here system programs stand in for swsync-media and swsync-lab.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use swsync_cli::testing::Ran;
use tempfile::TempDir;

/// The command in a folder of its own, and another folder, which alone is its PATH.
struct Installed {
    _root: TempDir,
    beside: PathBuf,
    path: PathBuf,
}

impl Installed {
    fn new() -> Self {
        let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (beside, path) = (root.path().join("beside"), root.path().join("path"));
        fs::create_dir(&beside).unwrap();
        fs::create_dir(&path).unwrap();
        // Not a symbolic link: the command looks beside the file that it really is.
        fs::hard_link(env!("CARGO_BIN_EXE_swsync"), beside.join("swsync")).unwrap();
        Self { _root: root, beside, path }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.beside.join("swsync"));
        command.args(args).env("PATH", &self.path);
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&mut self.command(args))
    }
}

/// Makes `name` in `folder` a link to a program of the system.
fn stand_in(folder: &Path, name: &str, program: &str) {
    symlink(Path::new("/bin").join(program), folder.join(name)).unwrap();
}

#[test]
fn the_program_beside_the_command_is_found_first() {
    let installed = Installed::new();
    stand_in(&installed.path, "swsync-media", "false");
    assert_eq!(installed.run(&["export", "csv", "take"]).code, 1);
    stand_in(&installed.beside, "swsync-media", "echo");
    let ran = installed.run(&["-v", "export", "csv", "--", "take"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "-v export csv -- take\n"), "{ran:#?}");
}

#[test]
fn the_program_is_found_in_path() {
    let installed = Installed::new();
    stand_in(&installed.path, "swsync-lab", "echo");
    assert_eq!(installed.run(&["lab", "clock", "live"]).stdout, "clock live\n");
    assert_eq!(installed.run(&["demo", "--cameras", "3"]).stdout, "demo --cameras 3\n");
}

#[test]
fn exit_codes_and_signals_are_those_of_the_program() {
    let installed = Installed::new();
    stand_in(&installed.beside, "swsync-lab", "sh");
    assert_eq!(installed.run(&["lab", "-c", "exit 7"]).code, 7);
    let status = installed.command(&["lab", "-c", "kill -TERM $$"]).status().unwrap();
    assert_eq!(status.signal(), Some(15));
}

#[test]
fn a_program_that_is_missing_is_named_with_the_remedy() {
    let installed = Installed::new();
    for (name, program) in [("cameras", "swsync-media"), ("lab", "swsync-lab")] {
        let ran = installed.run(&[name]);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:#?}");
        for part in [&format!("swsync: `swsync {name}`"), program, "cargo install --path"] {
            assert!(ran.stderr.contains(part), "{part} in {ran:#?}");
        }
    }
}

#[test]
fn help_lists_them() {
    let ran = Installed::new().run(&["--help"]);
    for name in ["shoot", "export", "report", "cameras", "calibrate", "demo", "lab"] {
        assert!(ran.stdout.lines().any(|line| line.starts_with(&format!("  {name} "))), "{name} in {ran:#?}");
    }
}
