//! Running a program, and what it wrote.

use std::process::{Command, Output, Stdio};

use swsync_client::settings::{CONFIG_VARIABLE, Setting};

/// A run of `program` with these arguments, outside of any rig.
pub fn command(program: &str, args: &[&str]) -> Command {
    // `env` restores signals that are ignored when tests run in the background.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,TERM", program]);
    command.args(args).stdin(Stdio::null()).env(CONFIG_VARIABLE, "/dev/null");
    command.env_remove("SWSYNC_MAX_ERROR");
    for setting in Setting::ALL {
        command.env_remove(setting.variable());
    }
    command
}

/// What it said, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(command: &mut std::process::Command) -> Self {
        command.output().unwrap().into()
    }

    /// The cells of the row that begins with `device`.
    pub fn row(&self, device: &str) -> Vec<&str> {
        let rows = self.stdout.lines().map(|line| line.split("  ").map(str::trim));
        let mut rows = rows.map(|cells| cells.filter(|cell| !cell.is_empty()).collect::<Vec<_>>());
        rows.find(|cells| cells.first() == Some(&device))
            .unwrap_or_else(|| panic!("no row of {device} in {self:#?}"))
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:#?}"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("ended by itself"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
